"""Finds what a repository serves: functions, or an application. Run by the build, it writes down the exports."""

import dataclasses
import glob
import importlib
import inspect
import json
import os
import sys
import traceback
import typing

import corefn
from corefn import project

# The modules that are looked at, in this order.
MODULES = ["main", "app", "asgi", "wsgi", "function", "functions"]

# What an application is called, where nobody says.
ATTRIBUTES = ["app", "application", "api"]


class NotFound(Exception):
    """There is nothing to serve; the text says what to do."""


def find():
    """The application of the current folder, as ASGI; of functions, the one that calls them.

    Raises `NotFound`, or whatever importing the author's module raises.
    """
    named = project.setting("app")
    if named is not None:
        module, _, attribute = named.partition(":")
        if not attribute:
            raise NotFound(f'app = "{named}" in [tool.corefn] of pyproject.toml names no application: write '
                           '"module:app"')
        found = importlib.import_module(module)
        for part in attribute.split("."):
            if not hasattr(found, part):
                raise NotFound(f'{module} has no {attribute}, which app = "{named}" in pyproject.toml names')
            found = getattr(found, part)
        return as_asgi(found, named)
    modules = candidates()
    if not modules:
        raise NotFound("there is no main.py or app.py at the root: add one, or name the application in pyproject.toml, as "
                       'in [tool.corefn] app = "package.module:app"')
    for name in modules:
        module = importlib.import_module(name)
        applications = [a for a in ATTRIBUTES if callable(getattr(module, a, None))]
        if corefn.exports and applications:
            raise NotFound(f"{name} has functions that carry @corefn.function and an application {applications[0]}: leave "
                           "one of them out")
        if corefn.exports:
            from corefn.functions import application
            return application(corefn.exports)
        if applications:
            return as_asgi(getattr(module, applications[0]), f"{name}:{applications[0]}")
    raise NotFound(f"there is nothing to serve in {', '.join(modules)}: let functions carry @corefn.function, or call a "
                   "WSGI or ASGI application app")


def candidates():
    """Modules that may have it, among them those of a package one folder deeper, as Django makes them."""
    names = [name for name in MODULES if os.path.exists(f"{name}.py")]
    for name in ("asgi", "wsgi"):
        for path in sorted(glob.glob(f"*/{name}.py")):
            names.append(f"{os.path.dirname(path)}.{name}")
    return names


def as_asgi(application, name):
    """An application as ASGI, whatever it is."""
    if not callable(application):
        raise NotFound(f"{name} is no application: it can't be called")
    call = application if inspect.isroutine(application) or inspect.isclass(application) else application.__call__
    if inspect.iscoroutinefunction(call):
        return application
    from asgiref.wsgi import WsgiToAsgi
    return WsgiToAsgi(application)


def main(path):
    """Writes down the exports, if there are functions, in the form that the builder reads."""
    try:
        find()
    except NotFound as error:
        sys.exit(f"error: {error}")
    except BaseException:
        # (What the author's module raises, SystemExit included. Our own frames say nothing to them.)
        traceback.print_exception(*sys.exc_info()[:2], cut(sys.exc_info()[2]))
        sys.exit("error: the module can't be imported; its own message is above")
    if not corefn.exports:
        print("An application: it gets all paths")
        return
    known = sorted(corefn.exports.values(), key=lambda export: export.name)
    listed = []
    for export in known:
        entry = {"name": export.name, "argument": export.argument, "answer": export.answer}
        if export.argument == "json":
            entry["example"] = json.dumps(example(export.type), separators=(",", ":"))
        listed.append({key: value for key, value in entry.items() if value is not None})
    with open(path, "w", encoding="utf-8") as file:
        json.dump(listed, file)
    print("Exports: " + ", ".join(export.name for export in known))


def example(wanted):
    """A value of a type, as JSON has it, to be shown to people."""
    if dataclasses.is_dataclass(wanted):
        hints = typing.get_type_hints(wanted)
        return {field.name: example(hints[field.name]) for field in dataclasses.fields(wanted) if field.init}
    return {int: 1, float: 1.5, bool: True, str: "text", list: []}.get(typing.get_origin(wanted) or wanted, {})


def cut(frames):
    """The frames of a traceback from the author's own on."""
    first = frames
    while first is not None and not in_the_open(first.tb_frame.f_code.co_filename):
        first = first.tb_next
    return first or frames


def in_the_open(filename):
    return not filename.startswith("<") and not filename.startswith(os.path.dirname(__file__)) \
        and not filename.startswith(os.path.dirname(os.__file__))


if __name__ == "__main__":
    main(sys.argv[1])
