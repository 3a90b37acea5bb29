"""Values as JSON has them.

In: numbers, texts, and lists, tuples and dicts of them. Out: the same; infinity and NaN, which JSON
lacks, as the texts "inf", "-inf" and "nan". Cost: linear in the values.
"""

from __future__ import annotations

import math
from typing import Any


def plain(value: Any) -> Any:
    """A value for a JSON document."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
