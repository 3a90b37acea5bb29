"""Options and arguments that several commands share; a letter means the same everywhere."""

from __future__ import annotations

import sys
from typing import Annotated, BinaryIO

import typer

from nirtorch_cli.errors import UsageError
from nirtorch_cli.findings import Finding

Model = Annotated[str, typer.Argument(help="A .nir file; - for stdin.", metavar="MODEL")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, on failure too.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="On stderr, print errors only.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
MaxBytes = Annotated[
    int, typer.Option(metavar="N", help="Refuse a file whose data claim more bytes.", min=1)
]


def usage_error(message: str, hint: str | None = None) -> UsageError:
    """The error for an option that cannot be used."""
    return UsageError(Finding("NIR700", "error", message, hint=hint))


def model_source(model: str) -> str | BinaryIO:
    """The path that MODEL names, or for `-` stdin."""
    if model != "-":
        return model
    if sys.stdin.isatty():
        raise usage_error("MODEL is - but stdin is a terminal", "pipe a .nir file into it")
    return sys.stdin.buffer


def seconds(text: str, option: str) -> float | None:
    """A positive number, or None for 'auto'."""
    if text == "auto":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise usage_error(f"{option} {text!r} is neither 'auto' nor a positive number")
    return value
