"""Python source as text: names and sentences of strangers in it, literals, calls on several lines.

In: plain values, names from a file among them. Out: text that can stand in source: what a file
calls its nodes ends no comment and no docstring. Cost: linear.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from nirtorch_cli.findings.text import printable

WIDTH = 100
"""How long a line of a readable module may be, where names allow it."""


def in_docstring(text: str) -> str:
    """A text in a docstring, on one line."""
    safe = printable(text).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'{safe[:-1]}\\"' if safe.endswith('"') else safe


def literal(value: Any) -> str | None:
    """A plain value as source; None if it is none: a number, a text, a dtype, or some of these."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if value is None or type(value) in (bool, int, float):
        return repr(value)
    if type(value) is str:
        return string(value)
    if isinstance(value, torch.dtype):
        return str(value)
    if isinstance(value, Mapping):
        entries = [(literal(key), literal(inner)) for key, inner in value.items()]
        if any(None in entry for entry in entries):
            return None
        return "{" + ", ".join(f"{key}: {inner}" for key, inner in entries) + "}"
    if type(value) in (tuple, list, torch.Size):
        parts = [literal(inner) for inner in value]
        if None in parts:
            return None
        inside = ", ".join(str(part) for part in parts)
        if type(value) is list:
            return f"[{inside}]"
        return f"({inside},)" if len(parts) == 1 else f"({inside})"
    return None


def string(text: str) -> str:
    """A text in double quotes."""
    shown = repr(text)
    return f'"{shown[1:-1]}"' if shown[0] == "'" and '"' not in shown else shown


def call(start: str, arguments: Sequence[str], end: str = ")", indent: int = 8) -> str:
    """`start`, arguments and `end` on as few lines as fit; only the first is not indented.

    Arguments:
        start: up to and with the bracket. indent: of the line that the call begins.
    """
    inside, space = ", ".join(arguments), " " * indent
    if indent + len(start) + len(inside) + len(end) <= WIDTH or not arguments:
        return f"{start}{inside}{end}"
    if indent + 4 + len(inside) <= WIDTH:
        return f"{start}\n{space}    {inside}\n{space}{end}"
    return listing(start, arguments, end, indent)


def listing(start: str, entries: Sequence[str], end: str, indent: int = 8) -> str:
    """`start`, entries and `end`, with each entry on a line of its own."""
    space = " " * indent
    lines = "".join(f"{space}    {entry},\n" for entry in entries)
    return f"{start}\n{lines}{space}{end}"
