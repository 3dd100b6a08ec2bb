"""What the author of a function uses.

    import corefn

    @corefn.function
    def say_hello(name: str) -> str:
        return f"Hello, {name}!"

is called as `/<account>/<name>/SayHello`, with the body as the argument and what is returned as the answer.
"""

import dataclasses
import inspect
import re
import typing

__all__ = ["function"]

# All functions of the process, by the names under which they are called.
exports = {}

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclasses.dataclass(frozen=True)
class Export:
    """A function that can be called from outside.

    `argument` and `answer` are "none", "text" or "json"; or None where it is the request's `Content-Type`, or what is
    returned, that says.
    """

    name: str
    call: typing.Callable
    argument: typing.Optional[str]
    answer: typing.Optional[str]
    type: typing.Any = None


def function(call=None, *, name=None):
    """Exports a function, under its own name in PascalCase or the one that is given.

    It takes nothing or one argument: text if it is annotated with `str`, JSON for any other annotation, among them
    data classes; without one, JSON if the request says that it is, else text. Text that is returned is the answer as it
    is, `None` an empty one, `bytes` are bytes, and everything else is JSON. What it raises is answered with 500 and its
    message; the traceback is in the log. It may be `async`.
    """
    if call is None:
        return lambda call: function(call, name=name)
    export = describe(call, name)
    if export.name in exports:
        raise TypeError(f"two functions are exported as {export.name}: give one of them another name, as in "
                        f'@corefn.function(name="Other")')
    exports[export.name] = export
    return call


def describe(call, name=None):
    """What there is to know of a function."""
    own = getattr(call, "__name__", str(call))
    if name is None:
        name = "".join(word[:1].upper() + word[1:] for word in own.split("_"))
    if not _NAME.fullmatch(name):
        raise TypeError(f'{own} can\'t be exported as "{name}": a name has ASCII letters, digits, _, - and ., and begins '
                        "with a letter, a digit or _")
    parameters = list(inspect.signature(call).parameters.values())
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(required) > 1 or any(p.kind is p.KEYWORD_ONLY for p in required):
        raise TypeError(f"{own} takes {len(required)} arguments: a function takes nothing or one, which may be a data "
                        "class or a dict")
    hints = typing.get_type_hints(call)
    argument, type_ = "none", None
    if required:
        type_ = hints.get(required[0].name)
        argument = None if type_ is None else "text" if type_ is str else "json"
    answer = None
    if "return" in hints:
        returned = hints["return"]
        answer = "none" if returned is type(None) else "text" if returned is str else "json"
        if returned is bytes:
            answer = None
    return Export(name, call, argument, answer, type_)
