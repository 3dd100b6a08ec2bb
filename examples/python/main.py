"""A first function: text and JSON in, text and JSON out."""

from dataclasses import dataclass
from datetime import datetime, timezone

import corefn


@dataclass
class Operands:
    """Two numbers: `{"A":1,"B":2}`."""

    A: int
    B: int


@dataclass
class Answer:
    """What came out: `{"Result":3}`."""

    Result: int


@corefn.function
def hello_world() -> str:
    return "Hello world!"


@corefn.function
def say_hello(name: str) -> str:
    return f"Hello, {name}!"


@corefn.function
def now() -> str:
    """The time, as RFC 3339 has it."""
    return datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")


@corefn.function
def add(operands: Operands) -> Answer:
    return Answer(operands.A + operands.B)


@corefn.function
def multiply(operands: Operands) -> Answer:
    return Answer(operands.A * operands.B)
