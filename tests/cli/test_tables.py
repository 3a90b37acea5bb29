"""Tables in terminals of every width: no number, head or shape is ever broken; none in a pipe."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import DATA, on_terminal
from rich.cells import cell_len
from rich.console import Console

from nirtorch_cli.cli.tables import Form, fitted, table
from nirtorch_cli.comparison.table import LEFT, comparison_rows
from nirtorch_cli.running.activity import COLUMNS, NARROW_COLUMNS, RIGHT, activity, activity_rows
from nirtorch_cli.running.activity import folded as folded_activity

WIDTHS = (*range(40, 124, 4), 160, 200)
RULE = "─"

HEADS = ("node", "NIR", "spikes", "rate", "parameters")
ROWS = (
    ("features/block.1/a_long_name_of_a_layer", "CubaLIF", "1,234,567", "12,346 Hz", ""),
    ("神経細胞神経細胞神経細胞", "LIF", "5", "0.5 Hz", "tau 0.01, r 1, v_threshold 12 in 0.5..3"),
    ("ro", "LI", "", "", "weight 100x100 in -23.7..20"),
)


def drawn(
    width: int, *forms: Form, right: Sequence[str] = (), folds: Sequence[str] = ()
) -> list[str]:
    """The lines of a table in a terminal of so many cells; none is wider."""
    stream = io.StringIO()
    Console(file=stream, width=width).print(fitted(forms, right, folds, width), crop=False)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert max(map(cell_len, lines)) <= width
    return lines


def sample(width: int) -> list[str]:
    return drawn(width, (HEADS, ROWS), right=("spikes", "rate"), folds=("parameters",))


@pytest.mark.parametrize("width", WIDTHS)
def test_numbers_heads_and_shapes_stay_whole(width: int) -> None:
    text = " ".join(sample(width))
    for whole in ("1,234,567", "12,346 Hz", "0.5 Hz", "CubaLIF", "spikes", "rate", "parameters"):
        assert whole in text
    assert {"tau", "0.01", "0.5..3", "100x100", "-23.7..20"} <= set(text.replace(",", " ").split())


@pytest.mark.parametrize("width", WIDTHS)
def test_a_folded_name_is_all_there(width: int) -> None:
    letters = [line.partition(" ")[0] for line in sample(width)]
    assert "".join(letters).count("features/block.1/a_long_name_of_a_layer") == 1


def test_what_fits_is_one_line_a_row() -> None:
    lines = sample(200)
    assert len(lines) == 2 + len(ROWS)
    assert set(lines[1]) == {RULE}
    ends = {cell_len(line[: line.index("Hz") + 2]) for line in lines if "Hz" in line}
    assert len(ends) == 1  # in cells, of which each of these characters takes two


def test_what_does_not_fit_is_turned_into_blocks() -> None:
    assert RULE in "".join(sample(60))
    assert RULE not in "".join(sample(40))
    assert "  spikes      1,234,567" in sample(40)
    assert "  rate        0.5 Hz" in sample(40)
    assert "ro" in sample(40)


def test_columns_without_a_word_are_left_out() -> None:
    heads, rows = ("node", "silent", "spikes"), [("lif", "", "12")]
    assert drawn(80, (heads, rows))[0].split() == ["node", "spikes"]


def test_the_narrow_form_is_taken_where_the_wide_one_does_not_fit() -> None:
    wide = (("node", "spikes A", "spikes B"), [("lif", "12", "13")])
    narrow = (("node", "A/B"), [("lif", "12/13")])
    assert drawn(24, wide, narrow)[0].split() == ["node", "spikes", "A", "spikes", "B"]
    assert drawn(23, wide, narrow)[0].split() == ["node", "A/B"]


@pytest.mark.parametrize("width", [40, 200])
def test_a_name_is_no_markup(width: int) -> None:
    text = " ".join(drawn(width, (("node", "n"), [("[bold]a[/x]", ":smile: 1")])))
    assert "[bold]a[/x]" in text
    assert ":smile: 1" in text


def test_a_pipe_gets_every_column_whole(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    table(("node", "none", "n"), [("a", "", "1"), (long, "", "1,234")], right=("n",))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "node" + " " * 298 + "none" + "      n"
    assert lines[1] == "a" + " " * 311 + "1"
    assert lines[2] == long + " " * 8 + "1,234"


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
    wide, narrow = comparison_rows(comparison()), comparison_rows(comparison(), narrow=True)
    right = [head for head in (*wide[0], *narrow[0]) if head not in LEFT]
    lines = drawn(width, wide, narrow, right=right)
    words = set(" ".join(lines).replace("/", " ").split())
    assert {"1,538", "1,402", "12", "3", "2,403", "2,190", "0.453"} <= words
    if width == 80:
        assert len(lines) == 4  # a head, a rule, and a line for each node


@pytest.mark.parametrize("width", WIDTHS)
def test_activity_in_every_terminal(width: int) -> None:
    nodes = activity({"silent": [[0] * 12], "hidden": [[20_000] * 12]}, 20_000, 1e-4)
    lines = drawn(
        width,
        (COLUMNS, activity_rows(nodes)),
        (NARROW_COLUMNS, activity_rows(nodes, narrow=True)),
        right=RIGHT,
    )
    assert {"240,000", "100.00%", "10,000", "neurons", "saturated"} <= set(" ".join(lines).split())


def test_silent_nodes_in_a_row_share_a_line() -> None:
    counts = {"a": [[1, 2]], **{f"l{n}": [[0, 0]] for n in range(5)}, "z": [[3]], "y": [[0]]}
    nodes = folded_activity(activity(counts, 10, 1e-3))
    assert [node.node for node in nodes] == ["a", "l0 ... l4 (5 nodes)", "z", "y"]
    assert (nodes[1].neurons, nodes[1].silent, nodes[1].mark) == (10, 10, "silent")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize("width", [40, 80])
def test_a_table_in_a_terminal(width: int) -> None:
    """What a terminal of so many columns gets; a pipe gets lines that are as long as need be."""
    environment = {"COLUMNS": str(width), "TERM": "xterm", "NO_COLOR": "1"}
    arguments = ["inspect", str(DATA / "digits.nir")]
    shown = on_terminal(*arguments, stderr=subprocess.DEVNULL, **environment)
    lines = shown.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert max(map(cell_len, lines[lines.index("") :])) <= width
    command = [sys.executable, "-m", "nirtorch_cli", *arguments]
    piped = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert max(map(len, piped.splitlines())) > 80
