"""A comparison as rows of text for a table. In: a `Comparison`. Out: columns, rows of cells.

Columns that no node has anything to say in are left out.
"""

from __future__ import annotations

from nirtorch_cli.comparing.comparison import Comparison, NodeComparison
from nirtorch_cli.seeing.axes import hertz

_COLUMNS = (
    "node",
    "parts at",
    "spikes A",
    "spikes B",
    "missing",
    "extra",
    "shifted",
    "rate A",
    "rate B",
    "distance",
    "v differs",
    "i differs",
    "output differs",
    "not compared",
)
LEFT = ("node", "not compared")
"""The columns that hold no numbers."""


def comparison_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """The columns that are needed, and a row for each node."""
    rows = [_row(node) for node in comparison.nodes]
    used = [n for n in range(len(_COLUMNS)) if n < 2 or any(row[n] for row in rows)]
    return [_COLUMNS[n] for n in used], [[row[n] for n in used] for row in rows]


def _row(node: NodeComparison) -> list[str]:
    step, spikes = node.first_step, node.spikes
    cells = [node.node, "" if step is None else f"step {step:,}"]
    if spikes is None:
        cells += [""] * 8
    else:
        cells += [f"{spikes.spikes_a:,}", f"{spikes.spikes_b:,}"]
        cells += [f"{n:,}" if n else "" for n in (spikes.missing, spikes.extra, spikes.shifted)]
        cells += [hertz(spikes.rate_a), hertz(spikes.rate_b), f"{spikes.van_rossum:.3g}"]
    for name in ("v", "i", "output"):
        value = node.values.get(name)
        largest = None if value is None else value.largest
        text = "" if largest is None else f"{largest:.3g}"
        if value is not None and value.not_finite:
            text = f"{text} {value.not_finite:,} NaN".strip()
        cells.append(text)
    return [*cells, ", ".join(node.not_compared)]
