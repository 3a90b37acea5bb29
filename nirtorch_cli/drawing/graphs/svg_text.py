"""Numbers and text for an SVG document. Cost: linear in the text."""

from __future__ import annotations

import html


def number(value: float) -> str:
    """A number to a tenth of a pixel, in few characters."""
    return f"{round(value, 1) + 0.0:g}" if abs(value) < 1e5 else f"{value:.1f}"


def escaped(text: str) -> str:
    """Text of a file, escaped as text content."""
    return html.escape(text)
