"""What a stream can show: colours, and lines that are overwritten.

The conventions, in the order of precedence:
1. NO_COLOR, if it is not empty (no-color.org): no colours;
2. FORCE_COLOR, if it is not empty (force-color.org): colours, in a pipe too;
3. TERM=dumb: no colours, no cursor that moves, and tables as in a pipe, whatever FORCE_COLOR says
   of colours;
4. else colours in a terminal, and none in a pipe.
Files, and documents for programs, never get colours: they are not written through this.
"""

from __future__ import annotations

import os
from typing import TextIO


def has_colours(stream: TextIO) -> bool:
    """Whether what goes to a stream may be coloured."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or can_draw(stream)


def can_draw(stream: TextIO) -> bool:
    """Whether a stream is a terminal that moves its cursor."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
