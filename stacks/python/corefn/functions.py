"""Calls functions for requests: an ASGI application."""

import asyncio
import dataclasses
import inspect
import json
import sys
import traceback
import typing

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


class BadArgument(Exception):
    """The body is not what the function takes."""


def application(exports):
    """An ASGI application that calls each function by the name that is the path."""

    async def serve(scope, receive, send):
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close"})
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        export = exports.get(scope["path"].lstrip("/"))
        if export is None:
            status, kind, answer = 404, TEXT, b"There is no such function\n"
        else:
            status, kind, answer = await call(export, content_type(scope), bytes(body))
        headers = [(b"content-length", str(len(answer)).encode())] if status != 204 else []
        if kind:
            headers.append((b"content-type", kind.encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer})

    return serve


async def lifespan(receive, send):
    """Nothing is to be done when it begins and ends, which is said."""
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


def content_type(scope):
    for name, value in scope["headers"]:
        if name == b"content-type":
            return value.decode("latin-1").split(";")[0].strip().lower()
    return ""


async def call(export, kind, body):
    """Status, type and body of the answer."""
    try:
        arguments = [] if export.argument == "none" else [argument(export, kind, body)]
    except BadArgument as error:
        return 400, TEXT, f"The body isn't the function's argument: {error}".encode()
    try:
        if inspect.iscoroutinefunction(export.call):
            returned = await export.call(*arguments)
        else:
            # Of functions that wait, several do so at the same time.
            returned = await asyncio.to_thread(export.call, *arguments)
        return answer(returned)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return 500, TEXT, (str(error) or type(error).__name__).encode()


def argument(export, kind, body):
    """The argument that a body stands for."""
    is_json = export.argument == "json" or (export.argument is None and (kind == JSON or kind.endswith("+json")))
    if export.type is bytes:
        return body
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadArgument(error) from error
    if not is_json:
        return text
    try:
        value = json.loads(text)
    except ValueError as error:
        raise BadArgument(error) from error
    return shaped(export.type, value)


def shaped(wanted, value):
    """A JSON value as what is wanted: a data class is made of an object, and the plain types are checked."""
    if dataclasses.is_dataclass(wanted):
        return filled(wanted, value)
    plain = {str: "a text", int: "an integer", bool: "true or false", dict: "an object", list: "an array"}
    if wanted in plain and (not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))):
        raise BadArgument(f"{plain[wanted]} is wanted")
    if wanted is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BadArgument("a number is wanted")
        return float(value)
    return value


def filled(wanted, value):
    """A data class made of an object, with neither too few nor too many members."""
    fields = {field.name: field for field in dataclasses.fields(wanted) if field.init}
    all_of_them = ", ".join(fields)
    if not isinstance(value, dict):
        raise BadArgument(f"an object is wanted, with {all_of_them}")
    for name in value:
        if name not in fields:
            raise BadArgument(f"{name} is not known; there is {all_of_them}")
    for name, field in fields.items():
        if name not in value and field.default is field.default_factory is dataclasses.MISSING:
            raise BadArgument(f"{name} is missing; there is {all_of_them}")
    hints = typing.get_type_hints(wanted)
    members = {}
    for name, member in value.items():
        try:
            members[name] = shaped(hints.get(name), member)
        except BadArgument as error:
            raise BadArgument(f"{name}: {error}") from error
    return wanted(**members)


def answer(returned):
    """Status, type and body for what a function returned."""
    if returned is None:
        return 204, None, b""
    if isinstance(returned, str):
        return 200, TEXT, returned.encode()
    if isinstance(returned, (bytes, bytearray)):
        return 200, "application/octet-stream", bytes(returned)
    return 200, JSON, json.dumps(returned, default=plain, ensure_ascii=False, separators=(",", ":")).encode()


def plain(value):
    """What the JSON of other values is made of."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"a {type(value).__name__} can't be JSON: return text, numbers, lists, dicts or data classes")
