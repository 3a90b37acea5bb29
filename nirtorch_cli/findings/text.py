"""Names, lists, numbers and rates as messages show them.

In: plain values, names from a stranger's file among them. Out: text on one line, without characters
that control a terminal.
"""

from __future__ import annotations


def quoted(name: str) -> str:
    """`name` in quotes, on one line and printable, whatever a file calls its nodes."""
    return ascii(name) if not name.isprintable() else f"'{name}'"


def printable(text: str) -> str:
    """`text` with line breaks and control characters escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def listed(names: list[str], most: int = 12) -> str:
    """Names for a message, quoted and cut to a length that a person reads."""
    shown = ", ".join(quoted(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def counted(number: int, what: str) -> str:
    """A number of things in words: 1 step, 1,000 steps."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def hertz(rate: float) -> str:
    """A rate as people read it."""
    return f"{rate:,.4g} Hz" if rate < 1000 else f"{rate:,.0f} Hz"
