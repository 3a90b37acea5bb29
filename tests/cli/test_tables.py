"""Tables in terminals of every width: no number, head or shape is ever broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import DATA, on_terminal
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from nirtorch_cli.cli.tables import RULE, Column, Lines, columns_of, fitted, folded
from nirtorch_cli.comparison.table import LEFT, comparison_rows
from nirtorch_cli.running.activity import COLUMNS, NARROW_COLUMNS, RIGHT, activity, activity_rows
from nirtorch_cli.running.activity import folded as folded_activity

WIDTHS = (24, 34, 40, 60, 80, 120, 200)

HEADS = ("node", "NIR", "spikes", "rate", "parameters")
ROWS = (
    ("features/block.1/a_long_name_of_a_layer", "CubaLIF", "1,234,567", "12,346 Hz", ""),
    ("神経細胞神経細胞神経細胞", "LIF", "5", "0.5 Hz", "tau 0.01, r 1, v_threshold 12 in 0.5..3"),
    ("ro", "LI", "", "", "weight 100x100 in -23.7..20"),
)


def table(width: int, narrow: list[Column] | None = None) -> Lines:
    columns = columns_of(HEADS, ROWS, right=["spikes", "rate"], lists=["parameters"])
    return fitted(columns, width, cell_len, narrow or [])


@pytest.mark.parametrize("width", WIDTHS)
def test_numbers_heads_and_shapes_stay_whole(width: int) -> None:
    found = table(width)
    assert max(map(cell_len, found.text)) <= width
    words = " ".join(found.text).replace(",", " ").split()
    whole = " ".join(found.text)
    for text in ("1,234,567", "12,346 Hz", "0.5 Hz", "CubaLIF", "spikes", "rate", "parameters"):
        assert text in whole
    assert {"tau", "0.01", "0.5..3", "100x100", "-23.7..20"} <= set(words)


def test_what_fits_is_one_line_a_row() -> None:
    found = table(200)
    assert len(found.text) == 2 + len(ROWS)
    assert found.heads == {0}
    assert set(found.text[1]) == {RULE}
    ends = {cell_len(line[: line.index("Hz") + 2]) for line in found.text if "Hz" in line}
    assert len(ends) == 1  # in cells, of which each of these characters takes two


def test_a_list_is_broken_after_its_commas() -> None:
    [start] = [n for n, line in enumerate(table(80).text) if "tau" in line]
    assert table(80).text[start].endswith("tau 0.01, r 1,")


def test_columns_are_spread_and_then_turned_into_blocks() -> None:
    assert len(table(60).heads) == 2
    assert all(table(60).text[head].startswith("node ") for head in table(60).heads)
    blocks = table(30).text
    assert RULE not in "".join(blocks)
    assert "  spikes      1,234,567" in blocks
    assert "ro" in blocks


def test_spread_columns_are_equally_wide() -> None:
    columns = [Column("node", ("a",)), *(Column(f"number{n}", ("1",), "number") for n in range(6))]
    found = fitted(columns, 56, cell_len)
    assert [found.text[head].count("number") for head in sorted(found.heads)] == [3, 3]


def test_columns_without_a_word_go_first() -> None:
    columns = columns_of(("node", "silent", "spikes"), [("lif", "", "12")], right=["spikes"])
    assert "silent" in fitted(columns, 20, cell_len).text[0]
    assert fitted(columns, 15, cell_len).text[0].split() == ["node", "spikes"]


def test_the_narrow_form_is_taken_where_the_wide_one_does_not_fit() -> None:
    wide = columns_of(("node", "spikes A", "spikes B"), [("lif", "12", "13")], right=())
    narrow = columns_of(("node", "A/B"), [("lif", "12/13")], right=())
    assert fitted(wide, 24, cell_len, narrow).text[0].split() == [
        "node",
        "spikes",
        "A",
        "spikes",
        "B",
    ]
    assert fitted(wide, 23, cell_len, narrow).text[0].split() == ["node", "A/B"]


@given(st.text("ab/._ ,神é", max_size=60), st.integers(2, 30), st.sampled_from(["prose", "list"]))
def test_folding_loses_nothing_but_spaces(text: str, width: int, kind: str) -> None:
    lines = folded(text, width, cell_len, kind)  # type: ignore[arg-type]
    assert max(map(cell_len, lines)) <= width or cell_len(text) <= width
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_a_very_long_name_shows_its_start_and_its_end() -> None:
    lines = folded("net/" + "x" * 100 + "/last", 20, cell_len, "name")
    assert len(lines) == 2
    assert lines[0].startswith("net/")
    assert lines[1].startswith("…")
    assert lines[1].endswith("/last")
    assert folded("features/block/lif", 12, cell_len, "name") == ["features/", "block/lif"]


def comparison() -> Any:
    spikes = SimpleNamespace(
        spikes_a=1538,
        spikes_b=1402,
        missing=1538,
        extra=12,
        shifted=3,
        rate_a=2403.0,
        rate_b=2190.0,
        van_rossum=0.453,
    )
    nodes = [
        SimpleNamespace(node=f"layer_{n}", first_step=3, spikes=spikes, values={}, not_compared={})
        for n in range(2)
    ]
    return SimpleNamespace(nodes=nodes)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_comparison_in_every_terminal(width: int) -> None:
    heads, rows = comparison_rows(comparison())
    narrow_heads, narrow_rows = comparison_rows(comparison(), narrow=True)
    right = [head for head in (*heads, *narrow_heads) if head not in LEFT]
    text = fitted(
        columns_of(heads, rows, right=right),
        width,
        cell_len,
        columns_of(narrow_heads, narrow_rows, right=right),
    ).text
    assert max(map(cell_len, text)) <= width
    words = set(" ".join(text).replace("/", " ").split())
    assert {"1,538", "1,402", "12", "3", "2,403", "2,190", "0.453"} <= words
    if width == 80:
        assert len(text) == 4  # a head, a rule, and a line for each node


@pytest.mark.parametrize("width", WIDTHS)
def test_activity_in_every_terminal(width: int) -> None:
    nodes = activity({"silent": [[0] * 12], "hidden": [[20_000] * 12]}, 20_000, 1e-4)
    text = fitted(
        columns_of(COLUMNS, activity_rows(nodes), right=RIGHT),
        width,
        cell_len,
        columns_of(NARROW_COLUMNS, activity_rows(nodes, narrow=True), right=RIGHT),
    ).text
    assert max(map(cell_len, text)) <= width
    words = " ".join(text).split()
    assert {"240,000", "100.00%", "10,000", "neurons", "saturated"} <= set(words)


def test_silent_nodes_in_a_row_share_a_line() -> None:
    counts = {"a": [[1, 2]], **{f"l{n}": [[0, 0]] for n in range(5)}, "z": [[3]], "y": [[0]]}
    nodes = folded_activity(activity(counts, 10, 1e-3))
    assert [node.node for node in nodes] == ["a", "l0 ... l4 (5 nodes)", "z", "y"]
    assert (nodes[1].neurons, nodes[1].silent, nodes[1].mark) == (10, 10, "silent")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize("width", [40, 80])
def test_a_table_in_a_terminal(width: int, tmp_path: Path) -> None:
    """What a terminal of so many columns gets; a pipe gets lines that are as long as need be."""
    environment = {"COLUMNS": str(width), "TERM": "xterm", "NO_COLOR": "1"}
    arguments = ["inspect", str(DATA / "digits.nir")]
    shown = on_terminal(*arguments, stderr=subprocess.DEVNULL, **environment)
    lines = shown.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    drawn = lines[[RULE in line for line in lines].index(True) - 1 :]
    assert max(map(cell_len, drawn)) <= width
    command = [sys.executable, "-m", "nirtorch_cli", *arguments]
    piped = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert max(map(len, piped.splitlines())) > 80
