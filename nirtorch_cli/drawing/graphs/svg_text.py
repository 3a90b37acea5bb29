"""Numbers and text as they stand in an SVG document. Cost: linear in the text."""

from __future__ import annotations

import html


def number(value: float) -> str:
    """A number in as few characters as a tenth of a pixel needs."""
    return f"{round(value, 1) + 0.0:g}" if abs(value) < 1e5 else f"{value:.1f}"


def escaped(text: str) -> str:
    """Text of a file as text content, which means nothing to SVG."""
    return html.escape(text)
