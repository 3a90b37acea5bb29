"""The text on nodes, and the styles of the kinds of nodes.

In: names, NIR types and shapes from a file. Out: printable text of a bounded length, and for each
kind a style that all formats share.

Always holds: the text is printable, on one line, and without characters that XML forbids; it still
has to be quoted for the format that it is written in. Cost: linear in the
length of the text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nirtorch_cli.findings.text import printable
from nirtorch_cli.primitives.table import Role, primitive_named

NodeKind = Literal["neuron", "weights", "port", "pooling", "other", "graph", "missing"]

LONGEST = 26
"""The most columns of a label; longer text is cut in the middle, as names differ at their ends."""


@dataclass(frozen=True)
class Style:
    """How a kind of node is drawn: its meaning for people, fill, line, and shapes.

    `dark` has fill and line for a dark page.
    """

    meaning: str
    fill: str
    line: str
    dark: tuple[str, str]
    dot_shape: str
    mermaid: tuple[str, str]


STYLES: dict[NodeKind, Style] = {
    "port": Style(
        "input, output", "#e5e7eb", "#374151", ("#374151", "#9ca3af"), "hexagon", ("{{", "}}")
    ),
    "weights": Style("weights", "#dcfce7", "#15803d", ("#14532d", "#4ade80"), "box", ("[", "]")),
    "neuron": Style("neurons", "#dbeafe", "#1d4ed8", ("#1e3a8a", "#93c5fd"), "box", ("([", "])")),
    "pooling": Style(
        "pooling, reshaping",
        "#f3e8ff",
        "#7e22ce",
        ("#581c87", "#d8b4fe"),
        "invtrapezium",
        ("[\\", "/]"),
    ),
    "other": Style("other", "#fef3c7", "#b45309", ("#713f12", "#fbbf24"), "octagon", ("[[", "]]")),
    "graph": Style("nested graph", "#f8fafc", "#64748b", ("#1e293b", "#94a3b8"), "box", ("[", "]")),
    "missing": Style(
        "not in the graph", "#ffffff", "#b91c1c", ("#0f172a", "#f87171"), "box", ("[", "]")
    ),
}

Mark = Literal["error", "warning", "repaired"]
"""The marks of nodes with findings, the worst first."""


@dataclass(frozen=True)
class MarkStyle:
    """How a mark is drawn: its meaning for people, and its colour for a light and a dark page."""

    meaning: str
    colour: str
    dark: str


MARKS: dict[Mark, MarkStyle] = {
    "error": MarkStyle("error", "#b91c1c", "#f87171"),
    "warning": MarkStyle("warning", "#a16207", "#facc15"),
    "repaired": MarkStyle("repaired", "#0f766e", "#2dd4bf"),
}
"""Formats also distinguish marks by a sign or a line of text."""

FORWARD, FORWARD_DARK = "#475569", "#94a3b8"
"""The colour of an edge, on a light and on a dark page."""

DELAYED, DELAYED_DARK = "#c2410c", "#fb923c"
"""The colour of a delayed edge, which is dashed too."""

TEXT, TEXT_DARK = "#0f172a", "#e2e8f0"
DETAIL, DETAIL_DARK = "#475569", "#cbd5e1"
PAPER, PAPER_DARK = "#ffffff", "#0f172a"
"""The colour of the page, and of backgrounds of text that lies on lines."""

DELAY_TEXT = "1 step"
"""The label of a delayed edge."""

_KINDS: dict[Role, NodeKind] = {"delay": "other", "reshaping": "pooling"}
"""The kinds as which other roles are drawn."""


def kind_of(nir_type: str) -> NodeKind:
    """The kind of a NIR type; a type that is not known is `other`."""
    known = primitive_named(nir_type)
    if known is None:
        return "graph" if nir_type == "NIRGraph" else "other"
    return _KINDS.get(known.role, known.role)  # type: ignore[arg-type]


def shortened(text: str, longest: int = LONGEST) -> str:
    """`text` made printable, and cut in the middle if it is longer than `longest`."""
    if len(text) > 4 * longest:  # only the ends of a very long text are read
        text = f"{text[: 2 * longest]}{text[-2 * longest :]}"
    text = printable(text) or "''"
    if columns(text) <= longest:
        return text
    head = _within(text, longest - 1 - longest // 2)
    tail = _within(text[::-1], longest // 2)[::-1]
    return f"{head}…{tail}"


def _within(text: str, most: int) -> str:
    used = 0
    for place, character in enumerate(text):
        used += columns(character)
        if used > most:
            return text[:place]
    return text


def columns(text: str) -> int:
    """How many columns of a terminal a printable text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(map(_is_combining, text))


def _is_combining(character: str) -> bool:
    return unicodedata.combining(character) > 0


def shape_label(shape: Sequence[int] | None) -> str:
    """A shape as people write it, `?` if it is not known."""
    return "?" if shape is None else "x".join(map(str, shape)) or "scalar"
