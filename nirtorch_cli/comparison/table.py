"""A comparison as rows of text for a table. In: a `Comparison`. Out: columns, rows of cells.

Columns that are empty for all nodes are left out. A narrow table has the same content, with both
sides, or all kinds of differences, in one column.
"""

from __future__ import annotations

from nirtorch_cli.comparison.comparison import Comparison, NodeComparison
from nirtorch_cli.comparison.differences import SpikeDifference
from nirtorch_cli.findings.text import hertz

_COLUMNS = (
    "node",
    "diverges at",
    "spikes A",
    "spikes B",
    "missing",
    "extra",
    "shifted",
    "rate A",
    "rate B",
    "distance",
)
_NARROW_COLUMNS = (
    "node",
    "diverges at",
    "spikes A/B",
    "missing/extra/shifted",
    "Hz A/B",
    _COLUMNS[9],
)
LEFT = ("node", "not compared")
"""The columns without numbers."""


def comparison_rows(
    comparison: Comparison, *, narrow: bool = False
) -> tuple[list[str], list[list[str]]]:
    """The columns that are needed, and a row for each node."""
    held = {name: name == "output" for node in comparison.nodes for name in node.values}
    names = sorted(held, key=held.__getitem__)  # the output last
    fixed = _NARROW_COLUMNS if narrow else _COLUMNS
    columns = [*fixed, *(f"{name} differs" for name in names), "not compared"]
    rows = [_row(node, narrow, names) for node in comparison.nodes]
    used = [n for n in range(len(columns)) if n < 2 or any(row[n] for row in rows)]
    return [columns[n] for n in used], [[row[n] for n in used] for row in rows]


def _row(node: NodeComparison, narrow: bool, names: list[str]) -> list[str]:
    step, spikes = node.first_step, node.spikes
    cells = [node.node, "" if step is None else f"step {step:,}"]
    if spikes is None:
        cells += [""] * (4 if narrow else 8)
    else:
        cells += _narrow_spikes(spikes) if narrow else _spikes(spikes)
    for name in names:
        value = node.values.get(name)
        largest = None if value is None else value.largest
        text = "" if largest is None else f"{largest:.3g}"
        if value is not None and value.not_finite:
            text = f"{text} {value.not_finite:,} NaN".strip()
        cells.append(text)
    return [*cells, ", ".join(node.not_compared)]


def _spikes(spikes: SpikeDifference) -> list[str]:
    return [
        f"{spikes.spikes_a:,}",
        f"{spikes.spikes_b:,}",
        *(f"{n:,}" if n else "" for n in (spikes.missing, spikes.extra, spikes.shifted)),
        hertz(spikes.rate_a),
        hertz(spikes.rate_b),
        f"{spikes.van_rossum:.3g}",
    ]


def _narrow_spikes(spikes: SpikeDifference) -> list[str]:
    deviations = (spikes.missing, spikes.extra, spikes.shifted)
    rates = (hertz(rate).removesuffix(" Hz") for rate in (spikes.rate_a, spikes.rate_b))
    return [
        f"{spikes.spikes_a:,}/{spikes.spikes_b:,}",
        "/".join(f"{n:,}" for n in deviations) if any(deviations) else "",
        "/".join(rates),
        f"{spikes.van_rossum:.3g}",
    ]
