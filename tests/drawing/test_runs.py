"""What a run did, as a table, as characters and as a picture; each against counting by hand."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NETWORKS, converted
from typer.testing import CliRunner

from nirtorch_cli.cli.app import app as application
from nirtorch_cli.drawing.runs import pictures
from nirtorch_cli.drawing.runs.axes import binned, flat_rows, part_size, round_step, time_unit
from nirtorch_cli.drawing.runs.choice import Choice, choice_of, most_active
from nirtorch_cli.drawing.runs.layout import Recorded
from nirtorch_cli.drawing.runs.panels import PIXELS
from nirtorch_cli.drawing.runs.pictures import (
    MOST_PANELS,
    _settings,
    figure,
    picture,
    picture_format,
    plot,
)
from nirtorch_cli.drawing.runs.raster import HEIGHT, WIDTH, can_draw, raster, rasters
from nirtorch_cli.findings.errors import MissingFrameworkError, OutputError, UsageError
from nirtorch_cli.findings.text import hertz
from nirtorch_cli.running.activity import COLUMNS, NodeActivity, activity, activity_rows
from nirtorch_cli.running.arrays import as_array
from nirtorch_cli.running.recording import thresholds

DT = 1e-3
RANDOM = np.random.default_rng(5)
sizes = st.integers(1, 40)
seeds = st.integers(0, 2**31)


def random_spikes(steps: int, neurons: int, seed: int, part: float = 0.2) -> np.ndarray:
    return np.random.default_rng(seed).random((steps, neurons)) < part


# ------------------------------------------------------------------------------- arrays


def test_tensors_of_any_type_become_arrays() -> None:
    values = [0.0, 1.5, -2.0]
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        array = as_array(torch.tensor(values, dtype=dtype, requires_grad=True))
        assert array.tolist() == values
    assert as_array(torch.tensor([True])).dtype == bool
    assert as_array([[1, 2]]).shape == (1, 2)


# ------------------------------------------------------------------------------ activity


@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 5), seeds)
def test_activity_is_what_counting_gives(steps: int, rows: int, neurons: int, seed: int) -> None:
    spikes = np.random.default_rng(seed).random((steps, rows, neurons)) < 0.6
    [found] = activity({"n": spikes.sum(axis=0)}, steps, DT)
    trains = [
        [bool(spikes[t, b, n]) for t in range(steps) for b in range(rows)] for n in range(neurons)
    ]
    total = sum(map(sum, trains))
    assert (found.neurons, found.spikes) == (neurons, total)
    assert found.per_step == pytest.approx(total / (steps * rows * neurons))
    assert found.rate == pytest.approx(total / (steps * rows * neurons * DT))
    assert found.silent == sum(not any(train) for train in trains)
    assert found.saturated == sum(all(train) for train in trains)
    expected = None
    if found.silent == neurons:
        expected = "silent"
    elif found.saturated == neurons:
        expected = "saturated"
    assert found.mark == expected


def test_activity_counts_neurons_of_any_shape_and_keeps_the_order() -> None:
    counts = {"z": torch.zeros(2, 3, 4, 5), "a": torch.full((2,), 7.0), "none": np.zeros((2, 0))}
    assert activity(counts, 7, DT) == [
        NodeActivity("z", 60, 0, 0.0, 0.0, 60, 0, "silent"),
        NodeActivity("a", 1, 14, 1.0, 1000.0, 0, 1, "saturated"),
        NodeActivity("none", 0, 0, 0.0, 0.0, 0, 0, None),
    ]
    assert [node.mark for node in activity({"a": np.zeros((2, 3))}, 0, DT)] == [None]


def test_activity_as_rows() -> None:
    rows = activity_rows(activity({"lif": [[0, 5, 2000, 2000]], "quiet": [[0]]}, 2000, 1e-4))
    assert rows == [
        ["lif", "4", "4,005", "50.06%", "5,006 Hz", "1", "2", ""],
        ["quiet", "1", "0", "0.00%", "0 Hz", "1", "", "all silent"],
    ]
    assert all(len(row) == len(COLUMNS) for row in rows)


# ---------------------------------------------------------------------------------- axes


@given(sizes, sizes, sizes, sizes, seeds)
def test_bins_sum_equal_parts(steps: int, neurons: int, columns: int, rows: int, seed: int) -> None:
    values = random_spikes(steps, neurons, seed)
    bins = binned(values, part_size(steps, columns), part_size(neurons, rows))
    assert bins.sums.shape[0] <= columns
    assert bins.sums.shape[1] <= rows
    for size, length, most in ((bins.steps, steps, columns), (bins.neurons, neurons, rows)):
        assert size == 1 or -(-length // (size - 1)) > most  # less would not be enough
    assert bins.sums.sum() == values.sum()
    assert bins.sizes.sum() == values.size
    for (column, row), found in np.ndenumerate(bins.sums):
        part = [
            values[t, n]
            for t in range(column * bins.steps, min((column + 1) * bins.steps, steps))
            for n in range(row * bins.neurons, min((row + 1) * bins.neurons, neurons))
        ]
        assert found == sum(part)
        assert bins.means[column, row] == pytest.approx(sum(part) / len(part))


@pytest.mark.parametrize(
    ("length", "most", "expected"),
    [(1, 10, 0.1), (1, 9, 0.2), (100, 7, 20), (0.03, 3, 0.01), (0.031, 3, 0.02), (7, 1, 10)],
)
def test_round_steps(length: float, most: int, expected: float) -> None:
    assert round_step(length, most) == pytest.approx(expected)
    assert round_step(0, most) == round_step(float("inf"), most) == 1


@pytest.mark.parametrize(
    ("duration", "name"),
    [
        (2, "s"),
        (1, "s"),
        (0.5, "ms"),
        (1e-3, "ms"),
        (3e-6, "µs"),
        (5e-9, "ns"),
        (0, "s"),
        (1e-12, "s"),
    ],
)
def test_time_units(duration: float, name: str) -> None:
    assert time_unit(duration).name == name


def test_rates_as_text() -> None:
    assert [hertz(rate) for rate in (0, 12.345, 999.94, 12345.6)] == [
        "0 Hz",
        "12.35 Hz",
        "999.9 Hz",
        "12,346 Hz",
    ]


def test_one_batch_row_in_a_line() -> None:
    values = np.arange(2 * 3 * 4).reshape(2, 3, 2, 2)
    assert flat_rows(values, 1).tolist() == [[4, 5, 6, 7], [16, 17, 18, 19]]
    assert flat_rows(np.zeros((5, 2))).shape == (5, 1)
    assert flat_rows(np.zeros((0, 2, 3))).shape == (0, 3)


# -------------------------------------------------------------------------------- raster


def rows_of(text: str) -> list[str]:
    """What stands right of the axis, a line for each row of neurons."""
    first = re.search(r"^ +0 [┤+]", text, re.MULTILINE)
    if first is None:
        return []
    lines = text[first.start() :].splitlines()
    return [
        line[len(first[0]) :] for line in lines if line[len(first[0]) - 1 :][:1] in tuple("│┤|+")
    ]


def test_a_raster_to_look_at() -> None:
    spikes = np.zeros((30, 3))
    spikes[[0, 10, 29], 0] = spikes[4, 2] = 1
    assert raster(spikes, DT, title="lif") == "\n".join(
        [
            "lif: 3 neurons, 30 steps, 4 spikes, 44.44 Hz",
            " 0 ┤│         │                  │",
            " 1 ┤",
            " 2 ┤    │",
            "    ┬─────────┬─────────┬─────────",
            "    0         10        20",
            " time in ms; │ = a spike in 1 step (1 ms)",
        ]
    )


def test_a_raster_in_ascii_to_look_at() -> None:
    spikes = np.zeros((60, 2))
    spikes[:6, 0] = spikes[5::20, 1] = 1
    assert raster(spikes, 1e-6, title="µ²", width=24, ascii_only=True) == "\n".join(
        [
            "u\\xb2: 2 neurons, 60",
            "steps, 9 spikes, 75,000",
            "Hz",
            " 0 +42",
            " 1 + 1    1    1",
            "    +-----------+--",
            "    0           50",
            " time in us; 4 = 4",
            " spikes in 4 steps (4",
            " us)",
        ]
    )


def test_the_example_in_the_docstring() -> None:
    text = raster(np.eye(3), 1e-3, title="lif", ascii_only=True)
    shown = [line.strip() for line in str(raster.__doc__).splitlines()]
    assert all(line.strip() in shown for line in text.splitlines())


def dots_of(rows: list[str]) -> set[tuple[int, int]]:
    """Column and row of every dot of braille characters, by Unicode's numbering of dots."""
    numbered = {
        1: (0, 0),
        2: (0, 1),
        3: (0, 2),
        4: (1, 0),
        5: (1, 1),
        6: (1, 2),
        7: (0, 3),
        8: (1, 3),
    }
    return {
        (2 * x + column, 4 * y + row)
        for y, line in enumerate(rows)
        for x, character in enumerate(line)
        for dot, (column, row) in numbered.items()
        if character != " " and (ord(character) - 0x2800) >> (dot - 1) & 1
    }


@given(st.integers(1, 400), st.integers(13, 4 * HEIGHT), seeds)
def test_each_dot_is_a_neuron_with_a_spike(steps: int, neurons: int, seed: int) -> None:
    spikes = random_spikes(steps, neurons, seed, part=0.02)
    spikes[0, 0] = True
    text = raster(spikes, DT)
    assert "= a neuron with a spike" in text
    cells = WIDTH - len(str(neurons - 1)) - 3
    if steps <= cells:  # a step is a character, which is two dots wide
        expected = {(2 * t + half, n) for t, n in zip(*np.nonzero(spikes)) for half in (0, 1)}
    else:
        per = -(-steps // (2 * cells))
        expected = {(t // per, n) for t, n in zip(*np.nonzero(spikes))}
    assert dots_of(rows_of(text)) == expected


@given(st.integers(1, 300), st.integers(1, 300), seeds, st.booleans())
@settings(deadline=None)
def test_every_spike_is_seen(steps: int, neurons: int, seed: int, ascii_only: bool) -> None:
    """One spike alone is drawn in one place, which is where it is."""
    random = np.random.default_rng(seed)
    spikes = np.zeros((steps, neurons), bool)
    step, neuron = random.integers(steps), random.integers(neurons)
    spikes[step, neuron] = True
    rows = rows_of(raster(spikes, DT, ascii_only=ascii_only))
    [(y, line)] = [(y, line) for y, line in enumerate(rows) if line.strip()]
    x = len(line) - 1
    assert line.strip() == line[-1]
    columns = WIDTH - len(str(neurons - 1)) - 3
    assert x == (step if steps <= columns else step // (2 * -(-steps // (2 * columns))))
    assert y == pytest.approx(neuron * len(rows) / neurons, abs=2)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 120), st.integers(0, 30), seeds)
@settings(deadline=None)
def test_no_line_is_too_long(steps: int, neurons: int, width: int, height: int, seed: int) -> None:
    spikes = random_spikes(steps, neurons, seed)
    for ascii_only in (False, True):
        text = raster(spikes, 1e-4, title="a/node of some length", width=width, height=height,
                      ascii_only=ascii_only)  # fmt: skip
        assert max(map(len, text.splitlines())) <= max(width, 24)
        assert len(rows_of(text)) <= max(height, 1)
        assert not ascii_only or text.isascii()


def test_shades_grow_with_the_spikes() -> None:
    """A quarter of the neurons each fire never, seldom, often, always."""
    steps, neurons = 700, 1200
    parts = np.repeat([0.0, 0.1, 0.6, 1.0], neurons // 4)
    spikes = RANDOM.random((steps, neurons)) < parts
    for shades, ascii_only in ((" ░▓█", False), (" .*@", True)):
        rows = rows_of(raster(spikes, DT, ascii_only=ascii_only))
        assert len(rows) == 12
        for quarter, shade in enumerate(shades):
            middle = rows[quarter * 3 + 1].ljust(60)
            assert middle.count(shade) > 0.8 * len(middle), (quarter, middle)
    legend = " ".join(raster(spikes, DT).split()).partition("; ")[2]
    assert re.fullmatch(
        r"░ to █ = 0\.0\d+ up to 1 spike per step and neuron, in 100 neurons × 10 steps \(10 ms\)",
        legend,
    )


@pytest.mark.parametrize(("neurons", "ascii_only"), [(1, False), (1, True), (1200, False)])
def test_a_steady_rate_is_seen_to_vary(neurons: int, ascii_only: bool) -> None:
    """All parts have about as many spikes: from the lowest to the highest there are all levels."""
    spikes = random_spikes(20_000, neurons, 4, part=0.5)
    text = raster(spikes, DT, ascii_only=ascii_only)
    shown = Counter("".join(rows_of(text)))
    assert max(shown.values()) < 0.6 * sum(shown.values())
    assert len(shown) >= 4
    first, last = ("1", "9") if ascii_only else ("░", "█") if neurons > 1 else ("▁", "█")
    assert f"{first} to {last} = " in text
    assert {first, last} <= set(shown)


def test_a_bar_stands_for_up_to_so_many_spikes() -> None:
    spikes = np.zeros((720, 1))
    for start, many in ((0, 2), (10, 5), (20, 10)):
        spikes[start : start + many] = 1
    text = raster(spikes, DT)
    assert rows_of(text) == ["▁▃█"]
    assert "▁ to █ = 2 up to 10 spikes in 10 steps (10 ms)" in text
    assert "█ = 2 spikes in 10 steps" in raster(np.arange(720)[:, None] % 10 < 2, DT)


def test_a_short_part_at_the_end_is_drawn_like_the_others() -> None:
    """Neurons that fire at every step are as high in the last part, which has fewer steps."""
    rows = rows_of(raster(np.ones((200, 12)), DT, width=40))
    assert {*"".join(rows)} == {"█"}


def test_nan_is_no_spike() -> None:
    spikes = np.zeros((30, 2))
    spikes[3, 0], spikes[7:9, 1] = 1, np.nan
    text = raster(spikes, DT)
    assert "1 spike, 16.67 Hz, 2 NaN (no spikes)" in text
    assert "".join(rows_of(text)).count("│") == 1
    nothing = raster(np.full((3, 2), np.nan), DT)
    assert nothing == "2 neurons, 3 steps, 0 spikes, 0 Hz, 6 NaN (no spikes)"


def test_silent_nodes_share_a_line() -> None:
    one, none = random_spikes(20, 2, 1, part=0.5)[:, None], np.zeros((20, 1, 3))
    trace = {name: {"spikes": one if name == "c" else none} for name in "abcd"}
    first, middle, last = rasters(trace, DT).split("\n\n")
    assert first == "2 silent nodes, a ... b: 6 neurons, 20 steps, 0 spikes"
    assert middle == raster(one[:, 0], DT, title="c")
    assert last == "d: 3 neurons, 20 steps, 0 spikes, 0 Hz"


def test_a_small_part_at_the_end_does_not_set_the_scale() -> None:
    spikes = np.zeros((80, 1201), bool)
    spikes[:, :1200] = RANDOM.random((80, 1200)) < 0.25
    spikes[:, 1200] = True
    assert "█" in "".join(rows_of(raster(spikes, DT))[:10])


@pytest.mark.parametrize("shape", [(0, 3), (5, 0), (0, 0)])
def test_a_raster_of_nothing_is_its_title(shape: tuple[int, int]) -> None:
    text = raster(np.zeros(shape), DT, title="n")
    assert text.startswith(f"n: {shape[1]} neurons, {shape[0]} steps, 0 spikes, 0 Hz")
    assert "\n" not in text


@pytest.mark.parametrize("neurons", [1, 100, 10_000])
def test_rasters_of_every_size_are_small(neurons: int) -> None:
    started = time.perf_counter()
    text = raster(random_spikes(1000, neurons, 0), DT)
    assert len(text.splitlines()) <= HEIGHT + 5
    assert time.perf_counter() - started < 20


def test_a_raster_for_each_node_with_spikes() -> None:
    spikes = np.zeros((4, 2, 2))
    spikes[1, 1, 0] = 1
    trace = {"a/b\n": {"spikes": torch.tensor(spikes), "v": spikes}, "li": {"v": spikes}}
    text = rasters(trace, DT, row=1)
    assert text == raster(spikes[:, 1], DT, title="a/b\\n, batch row 1 of 2")
    both = rasters({"x": {"spikes": spikes[:, 1:]}, "y": {"spikes": spikes[:, 1:]}}, DT)
    assert both.split("\n\n") == [raster(spikes[:, 1], DT, title=name) for name in "xy"]
    assert rasters({"li": {"v": spikes}}, DT) == ""


def test_rasters_of_one_run_have_one_axis_of_time() -> None:
    for steps in (40, 150, 997):
        trace = {
            f"{neurons}": {"spikes": random_spikes(steps, neurons, 0, part=0.01)[:, None]}
            for neurons in (1, 12, 40, 3000)
        }
        axes = re.findall(r"^ +┬.*\n.*$", rasters(trace, DT), re.MULTILINE)
        assert len(axes) == 4
        assert len(set(axes)) == 1


def test_what_a_terminal_can_draw() -> None:
    assert can_draw("utf-8")
    assert not any(map(can_draw, ("ascii", "latin-1", "cp437", "no-such-encoding", None)))


# ------------------------------------------------------------------------------ pictures

SIGNATURES = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def recorded(steps: int = 50, rows: int = 1, neurons: int = 4, **settings: Any) -> Recorded:
    random = np.random.default_rng(3)
    spikes = (random.random((steps, rows, neurons)) < 0.1).astype(np.float32)
    v = random.random((steps, rows, neurons))
    return Recorded(
        **{
            "dt": DT,
            "inputs": {"input": random.random((steps, rows, neurons))},
            "trace": {"a": {"spikes": spikes, "v": v, "count": spikes.sum(0)}, "li": {"v": v}},
            "thresholds": {"a": np.array(0.8)},
            "title": "a run",
            **settings,
        }
    )


def texts_of(axes: Any) -> str:
    return str(axes.get_title(loc="left"))


@pytest.fixture
def matplotlib() -> Any:
    return pytest.importorskip("matplotlib", reason="matplotlib, the extra 'plot', is not there")


@pytest.mark.parametrize("form", SIGNATURES)
def test_pictures_are_the_same_every_time(matplotlib: Any, form: str) -> None:
    before = dict(matplotlib.rcParams)
    first = picture(recorded(), form)
    assert first.startswith(SIGNATURES[form])
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"lines.linewidth": 9.0, "font.size": 30.0, "axes.grid": True}):
        mine = dict(matplotlib.rcParams)
        assert picture(recorded(), form) == first
        assert dict(matplotlib.rcParams) == mine
    changed = recorded()
    changed.trace["a"]["v"][7] += 0.5
    assert picture(changed, form) != first


def test_pictures_leave_pyplot_alone(matplotlib: Any) -> None:
    code = (
        "import sys, numpy as np; "
        "from nirtorch_cli.drawing.runs.pictures import Recorded, picture; "
        "assert 'matplotlib' not in sys.modules; "
        "picture(Recorded(1e-3, trace={'a': {'spikes': np.eye(3)[:, None]}})); "
        "assert 'matplotlib' in sys.modules; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_panels_in_order_over_one_axis_of_time(matplotlib: Any) -> None:
    drawn = figure(recorded(steps=50, rows=2, row=1))
    panels = drawn.axes
    assert [texts_of(axes).partition(": ")[0] for axes in panels] == ["input", "a", "a:v", "li:v"]
    assert {axes.get_xlim() for axes in panels} == {(0.0, 50.0)}
    assert panels[-1].get_xlabel() == "time (ms)"
    heights = [axes.get_position().y0 for axes in panels]
    assert heights == sorted(heights, reverse=True)
    assert drawn.texts[0].get_text() == "a run, batch row 1 of 2"


def test_marks_are_where_the_spikes_are(matplotlib: Any) -> None:
    run = recorded(neurons=30)
    spikes = run.trace["a"]["spikes"][:, 0]
    [axes] = [axes for axes in figure(run).axes if texts_of(axes).startswith("a: ")]
    [marks] = axes.lines
    x, y = marks.get_xdata(), marks.get_ydata()
    expected = {(t + 0.5, n) for t, n in zip(*np.nonzero(spikes))}
    assert {(round(float(a), 6), int(b)) for a, b in zip(x, y)} == expected
    assert len(x) == spikes.sum()


def images_of(drawn: Any) -> list[Any]:
    return [image for axes in drawn.axes for image in axes.images]


def test_many_spikes_are_an_image_of_rates(matplotlib: Any) -> None:
    spikes = random_spikes(700, 2000, 1, part=0.1)[:, None]
    [image] = images_of(figure(Recorded(DT, trace={"a": {"spikes": spikes}})))
    rates = np.asarray(image.get_array())
    assert rates.shape[0] < 500
    assert rates.shape[1] <= 380
    assert rates.mean() == pytest.approx(100, rel=0.05)  # Hz: a tenth of the steps of 1 ms
    left, right, bottom, top = image.get_extent()
    assert (left, top) == (0, -0.5)
    assert right >= 700
    assert bottom >= 1999.5


def test_an_input_of_many_values_is_an_image(matplotlib: Any) -> None:
    values = np.tile(np.linspace(-1, 3, 20), (50, 1))[:, None]
    [image] = images_of(figure(Recorded(DT, inputs={"x": values})))
    np.testing.assert_allclose(np.asarray(image.get_array())[:, 0], np.linspace(-1, 3, 20))
    assert image.get_clim() == (-3, 3)
    assert (
        figure(Recorded(DT, inputs={"x": values[..., :3]})).axes[0].lines[2].get_ydata()[0]
        == (values[0, 0, 2])
    )
    binary = (values > 0) * (np.arange(50) % 2)[:, None, None]
    assert "spikes" in texts_of(figure(Recorded(DT, inputs={"x": binary})).axes[0])


def test_traces_of_some_neurons_and_the_range_of_all(matplotlib: Any) -> None:
    v = RANDOM.random((50, 1, 100))
    axes = figure(Recorded(DT, trace={"li": {"v": v}})).axes[0]
    chosen = [int(line.get_label()) for line in axes.lines]
    by_change = sorted(range(100), key=lambda n: np.ptp(v[:, 0, n]))
    assert chosen == sorted(by_change[-5:])
    for neuron, line in zip(chosen, axes.lines):
        np.testing.assert_array_equal(line.get_ydata(), v[:, 0, neuron])
        np.testing.assert_allclose(line.get_xdata(), np.arange(50) + 0.5)
    corners = axes.collections[0].get_paths()[0].vertices
    assert corners[:, 1].min() == v.min()
    assert corners[:, 1].max() == v.max()


def panel_of(run: Recorded, start: str) -> Any:
    [axes] = [axes for axes in figure(run).axes if texts_of(axes).startswith(start)]
    return axes


def legend_of(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize("neurons", [1, 3, 100])
def test_many_steps_are_drawn_by_parts(matplotlib: Any, neurons: int) -> None:
    """The mean of each part as a point of a line; the range of all is that of every step."""
    v = RANDOM.random((20_000, 1, neurons))
    axes = panel_of(Recorded(DT, trace={"a": {"v": v}}, thresholds={"a": np.array(1.0)}), "a:v")
    assert "; each point is the mean of 44 steps (44 ms)" in texts_of(axes)
    chosen = [int(label) for label in legend_of(axes) if label.isdigit()]
    *lines, threshold = axes.lines
    assert len(lines) == len(chosen) == min(neurons, 3)
    for line, neuron in zip(lines, chosen):
        assert len(line.get_xdata()) <= PIXELS // 2
        parts = v[:, 0, neuron].reshape(-1)[: 20_000 // 44 * 44].reshape(-1, 44)
        np.testing.assert_allclose(line.get_ydata()[: len(parts)], parts.mean(axis=1))
        np.testing.assert_allclose(  # in seconds
            line.get_xdata()[: len(parts)], np.arange(len(parts)) * 0.044 + 0.022
        )
    assert list(threshold.get_ydata()) == [1.0, 1.0]
    if neurons > 3:
        shade = axes.collections[-1].get_paths()[0].vertices
        assert (shade[:, 1].min(), shade[:, 1].max()) == (v.min(), v.max())


def test_as_many_steps_as_pixels_are_drawn_each(matplotlib: Any) -> None:
    v = RANDOM.random((PIXELS, 1, 4))
    axes = panel_of(Recorded(DT, trace={"a": {"v": v}}), "a:v")
    assert len(axes.lines[0].get_xdata()) == PIXELS
    assert "mean" not in texts_of(axes)


def test_parts_leave_nan_out(matplotlib: Any) -> None:
    v = np.where(np.arange(4000) % 3 == 0, np.nan, 2.0)[:, None, None]
    v[:400] = np.nan
    axes = panel_of(Recorded(DT, trace={"a": {"v": v}}), "a:v")
    drawn = axes.lines[0].get_ydata()
    assert np.isnan(drawn[0])
    assert set(drawn[np.isfinite(drawn)]) == {2.0}
    assert "with NaN" in texts_of(axes)


def test_the_range_of_all_is_cut_where_it_is_far_from_the_lines(matplotlib: Any) -> None:
    v = RANDOM.random((100, 1, 60))
    for extreme, expected in ((-1.0, -1.0), (-1100.0, 0.0)):
        v[:, 0, 7] = extreme
        axes = panel_of(Recorded(DT, trace={"a": {"v": v}}), "a:v")
        assert axes.get_ylim()[0] == pytest.approx(expected, abs=0.3)
        assert f"60 neurons, {extreme:.4g} to" in texts_of(axes)


def test_the_range_of_all_is_whole_where_the_lines_are_flat(matplotlib: Any) -> None:
    v = np.zeros((100, 1, 60))
    v[:, 0, 7] = np.linspace(0, 5, 100)
    low, high = panel_of(Recorded(DT, trace={"a": {"v": v}}), "a:v").get_ylim()
    assert -1 < low < 0
    assert 5 < high < 6


def test_a_threshold_is_drawn_far_above_quiet_neurons(matplotlib: Any) -> None:
    v = RANDOM.random((100, 1, 3)) * 0.12
    run = Recorded(DT, trace={"a": {"v": v}}, thresholds={"a": np.array(1.0)})
    axes = panel_of(run, "a:v")
    assert [list(line.get_ydata()) for line in axes.lines if line.is_dashed()] == [[1.0, 1.0]]
    assert axes.get_ylim()[1] > 1


def ticks_of(axes: Any) -> list[Any]:
    return [line for line in axes.lines if line.get_marker() == "|"]


def test_spikes_above_a_trace_have_a_row_for_each_neuron_that_fired(matplotlib: Any) -> None:
    v, spikes = RANDOM.random((50, 1, 3)), np.zeros((50, 1, 3))
    spikes[10, 0, 0] = spikes[10:12, 0, 2] = 1
    axes = panel_of(Recorded(DT, trace={"a": {"spikes": spikes, "v": v}}), "a:v")
    first, second = ticks_of(axes)
    assert list(first.get_xdata()) == [10.5]
    assert list(second.get_xdata()) == [10.5, 11.5]
    assert first.get_ydata()[0] > second.get_ydata()[0] > 1
    assert first.get_color() != second.get_color()
    below = axes.title.get_position()[1]
    assert texts_of(axes) == f"a:v: 3 neurons, {v.min():.4g} to {v.max():.4g}"
    assert below >= 1


def test_too_many_spikes_above_a_trace_are_said(matplotlib: Any) -> None:
    v, spikes = RANDOM.random((1000, 1, 2)), np.zeros((1000, 1, 2))
    spikes[:307] = 1
    run = Recorded(DT, trace={"a": {"spikes": spikes, "v": v}})
    axes = panel_of(run, "a:v")
    assert ticks_of(axes) == []
    assert "too many spikes to mark" in texts_of(axes)
    spikes[306] = 0
    assert len(ticks_of(panel_of(run, "a:v"))) == 2


@pytest.mark.parametrize(("spikes", "is_image"), [(300, False), (320, True), (1481, True)])
def test_spikes_that_would_touch_are_an_image(matplotlib: Any, spikes: int, is_image: bool) -> None:
    fired = (np.arange(20_000) % (20_000 // spikes) == 0)[:, None, None]
    quiet = np.zeros((20_000, 1, 50))
    for values in (fired, np.concatenate([fired, quiet], axis=2)):  # those do not count
        drawn = figure(Recorded(DT, trace={"a": {"spikes": values}}))
        assert bool(images_of(drawn)) == is_image
        assert ("; a cell is " in texts_of(drawn.axes[0])) == is_image


@pytest.mark.parametrize(("spikes", "is_image"), [(33, False), (64, True)])
def test_spikes_that_would_cover_each_other_at_a_step_are_an_image(
    matplotlib: Any, spikes: int, is_image: bool
) -> None:
    values = np.zeros((5, 1, 10_000))
    values[2:, 0, :: 10_000 // spikes] = 1
    drawn = figure(Recorded(DT, trace={"a": {"spikes": values}}))
    assert bool(images_of(drawn)) == is_image
    if not is_image:
        high = drawn.axes[0].lines[0].get_markersize()
        assert high * spikes < drawn.axes[0].get_position().height * drawn.get_figheight() * 72
    few = figure(Recorded(DT, trace={"a": {"spikes": np.ones((5, 1, 100))}}))
    assert not images_of(few)


@pytest.mark.parametrize(("spikes", "least"), [(1, 8), (100, 5), (3000, 2)])
def test_few_marks_are_large(matplotlib: Any, spikes: int, least: float) -> None:
    values = np.zeros((100, 1, 100))
    values.reshape(-1)[:: 10_000 // spikes][:spikes] = 1
    [marks] = panel_of(Recorded(DT, trace={"a": {"spikes": values}}), "a").lines
    assert marks.get_markersize() >= least
    assert len(marks.get_xdata()) == spikes


def titles_of(run: Recorded) -> list[str]:
    return [texts_of(axes).partition(": ")[0] for axes in figure(run).axes]


def test_outputs_are_drawn_once(matplotlib: Any) -> None:
    spikes, v = random_spikes(30, 2, 0)[:, None], RANDOM.random((30, 1, 2))
    trace = {
        "lif": {"output": spikes * 1.0, "spikes": spikes, "count": spikes.sum(0)},
        "li": {"output": v, "v": v},
        "ro": {"output": v + 1},
        "flat": {"output": spikes},
    }
    run = Recorded(DT, trace=trace, outputs={"output": v + 1, "o2": v + 2})
    assert titles_of(run) == ["lif", "li:v", "ro:output", "flat:output", "output o2"]
    assert "spikes" in texts_of(figure(run).axes[3])


def test_run_draws_what_it_recorded_and_gave(
    matplotlib: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An LI has no spikes and was not drawn; that of the end is an output of the model."""
    drawn: list[Recorded] = []
    monkeypatch.setattr(pictures, "plot", lambda _, run, clobber: drawn.append(run))
    one, path = np.ones(2, np.float32), tmp_path / "li.nir"
    nodes = {
        "input": nir.Input({"input": np.array([2])}),
        "first": nir.LI(tau=one, r=one, v_leak=0 * one),
        "last": nir.LI(tau=one, r=2 * one, v_leak=0 * one),
        "output": nir.Output({"output": np.array([2])}),
    }
    nir.write(path, nir.NIRGraph(nodes, list(zip([*nodes][:-1], [*nodes][1:]))))
    arguments = ["run", str(path), "-i", "uniform", "--record", "first", "--plot", "a.png"]
    assert CliRunner().invoke(application, arguments).exit_code == 0
    assert titles_of(drawn[0]) == ["input", "first:output", "output"]


def test_variables_have_one_order(matplotlib: Any) -> None:
    v, spikes = RANDOM.random((9, 1, 2)), random_spikes(9, 2, 1, part=0.5)[:, None]
    run = Recorded(DT, trace={"b": {"i": v, "v": v, "spikes": spikes}, "a": {"v": v}})
    assert titles_of(run) == ["b", "b:v", "b:i", "a:v"]


def test_nan_is_no_spike_in_a_picture(matplotlib: Any) -> None:
    spikes = np.zeros((30, 1, 2))
    spikes[3, 0, 0], spikes[7:9, 0, 1] = 1, np.nan
    axes = panel_of(Recorded(DT, trace={"a": {"spikes": spikes}}), "a")
    assert texts_of(axes) == "a: 2 neurons, 1 spike, 16.67 Hz, 2 NaN (no spikes)"
    assert list(axes.lines[0].get_xdata()) == [3.5]


@pytest.mark.parametrize("neurons", [3, 100])
def test_what_is_constant_is_no_spike_train(matplotlib: Any, neurons: int) -> None:
    ones = np.ones((50, 1, neurons))
    [axes] = figure(Recorded(DT, inputs={"input": ones})).axes
    assert texts_of(axes) == f"input: {neurons} values, all 1, constant over time"
    assert set(axes.lines[0].get_ydata()) == {1}
    assert axes.get_legend() is None
    bits = np.arange(neurons) % 2 * ones
    title = texts_of(figure(Recorded(DT, inputs={"input": bits})).axes[0])
    assert title.startswith(f"input: {neurons} values, 0 to 1, constant over time")
    assert "spike" in texts_of(figure(Recorded(DT, inputs={"input": bits[:1]})).axes[0])


def test_an_image_of_values_goes_from_nearly_the_least_to_nearly_the_most(matplotlib: Any) -> None:
    values = RANDOM.random((20_000, 1, 100)) + 3
    values[0, 0, 0] = 1000
    run = Recorded(DT, inputs={"x": values})
    image, scale = images_of(figure(run))[0], figure(run).axes[1]
    low, high = image.get_clim()
    means = np.asarray(image.get_array())
    assert low == pytest.approx(np.quantile(means, 0.005))
    assert high == pytest.approx(np.quantile(means, 0.995))
    assert scale.get_ylabel() == "mean"
    assert texts_of(figure(run).axes[0]) == (
        f"input x: 100 values, {values.min():.4g} to 1000; "
        "a cell is the mean of 2 values × 53 steps (53 ms)"
    )
    single = figure(Recorded(DT, inputs={"x": values[:50, :, :20]}))
    assert single.axes[1].get_ylabel() == "value"
    assert "mean" not in texts_of(single.axes[0])


def test_titles_fit_the_picture(matplotlib: Any) -> None:
    v, spikes = RANDOM.random((20_000, 1, 100)), random_spikes(20_000, 100, 0)[:, None]
    name = "node/" * 40
    run = Recorded(1e-4, {name: v}, {name: {"spikes": spikes, "v": v - 0.5}}, title=name)
    with _settings():
        drawn = figure(run)
        drawn.draw_without_rendering()
    width = drawn.bbox.width
    for axes in drawn.axes:
        assert axes.get_window_extent().x1 <= width
        assert axes._left_title.get_window_extent().x1 <= width, texts_of(axes)
    assert drawn.texts[0].get_window_extent().x1 <= width


def test_thresholds_are_drawn_where_they_belong(matplotlib: Any) -> None:
    v = RANDOM.random((20, 1, 2))

    def dashed(threshold: Any) -> list[float]:
        run = Recorded(DT, trace={"a": {"v": v}}, thresholds={"a": threshold})
        lines = figure(run).axes[0].lines
        return [float(line.get_ydata()[0]) for line in lines if line.is_dashed()]

    assert dashed(np.array(0.7)) == [0.7]
    assert dashed(np.array([0.7, 0.9])) == [0.7, 0.9]
    assert dashed(np.array([1e6, 1e6])) == []  # it would squeeze the traces into a line
    assert dashed(np.zeros((3, 3))) == []
    assert dashed(torch.tensor([0.5])) == [0.5]


def test_the_thresholds_of_a_module() -> None:
    found = thresholds(converted(NETWORKS["nested"]()))
    assert set(found) == {"first.layer", "middle/lambda/lif", "middle/0"}
    np.testing.assert_allclose(found["first.layer"], np.linspace(0.3, 0.6, 3), rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["$x_1$", "a$", "\u4e2d\u6587", "line\nbreak", "x" * 400, "\udc80", "%s {0}", "\u0301"]
)
@pytest.mark.parametrize("form", SIGNATURES)
def test_any_name_can_be_drawn(matplotlib: Any, name: str, form: str) -> None:
    run = recorded(steps=3)
    run = Recorded(DT, {name: run.inputs["input"]}, {name: run.trace["a"]}, title=name)
    assert picture(run, form).startswith(SIGNATURES[form])


@pytest.mark.parametrize(
    "values",
    [
        np.full((5, 1, 3), np.nan),
        np.full((5, 1, 9), np.inf),
        np.zeros((5, 1, 9)),
        np.full((1, 1, 1), 7.0),
        np.where(np.arange(50).reshape(5, 1, 10) % 7 == 0, np.nan, 1.5),
        np.zeros((0, 1, 3)),
        np.zeros((5, 1, 0)),
        np.zeros((5, 1)),
        np.full((5, 1, 2), 1e300),
        np.ones((5, 1, 2, 3, 4), bool),
        np.arange(20, dtype=np.int64).reshape(5, 1, 4),
        torch.ones((5, 1, 3), dtype=torch.bfloat16, requires_grad=True),
    ],
)
def test_any_numbers_can_be_drawn(matplotlib: Any, values: Any) -> None:
    fired = as_array(values) > 0
    run = Recorded(DT, {"x": values}, {"a": {"spikes": fired, "v": values, "i": values}})
    assert picture(run).startswith(SIGNATURES["png"])
    assert len(rasters(run.trace, DT)) > 0


def test_nothing_and_too_much_can_be_drawn(matplotlib: Any) -> None:
    assert figure(Recorded(DT)).texts[0].get_text() == "nothing was recorded"
    trace = {f"n{i}": {"v": np.zeros((2, 1, 1))} for i in range(MOST_PANELS + 3)}
    drawn = figure(Recorded(DT, trace=trace))
    assert len(drawn.axes) == MOST_PANELS
    assert drawn.texts[0].get_text() == "3 more panels are not drawn"
    assert drawn.axes[-1].get_xlabel()
    assert picture(Recorded(DT, trace=trace)).startswith(SIGNATURES["png"])


@pytest.mark.parametrize("form", SIGNATURES)
def test_ten_thousand_neurons_take_seconds_and_little_room(matplotlib: Any, form: str) -> None:
    spikes = random_spikes(1000, 10_000, 2)[:, None]
    v = RANDOM.random((1000, 1, 10_000), dtype=np.float32)
    run = Recorded(DT, {"x": spikes}, {"a": {"spikes": spikes, "v": v}, "b": {"spikes": spikes}})
    started = time.perf_counter()
    content = picture(run, form)
    assert time.perf_counter() - started < 30  # about one, on an idle machine
    assert len(content) < 3_000_000


def test_a_picture_is_written_as_its_name_ends(matplotlib: Any, tmp_path: Path) -> None:
    for form, signature in SIGNATURES.items():
        path = tmp_path / f"run.{form.upper()}"
        plot(path, recorded())
        assert path.read_bytes() == picture(recorded(), form)
        assert path.read_bytes().startswith(signature)
    with pytest.raises(OutputError, match="exists already"):
        plot(path, recorded(), clobber=False)


@pytest.mark.parametrize("name", ["run", "run.jpg", "png", ""])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r".*; end it in \.png, \.svg, \.pdf"):
        picture_format(name)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    with pytest.raises(MissingFrameworkError) as caught:
        picture(recorded())
    assert caught.value.exit_code == 4
    assert str(caught.value) == ("matplotlib is not installed; pip install 'nirtorch-cli[plot]'")


def test_a_png_has_the_size_of_its_panels(matplotlib: Any) -> None:
    image = pytest.importorskip("PIL.Image")
    run = Recorded(DT, trace={"a": {"v": np.arange(5.0).reshape(5, 1, 1)}})
    assert image.open(io.BytesIO(picture(run))).size == (1200, 360)


def test_lines_are_of_neurons_that_do_something() -> None:
    values = np.zeros((300, 1000))
    values[10:, [7, 500, 501, 800]] = np.linspace(0, 1, 290)[:, np.newaxis]
    assert most_active(values, 3).tolist() == [7, 501, 800]
    assert most_active(values[:5], 3).tolist() == [0, 500, 999], "all are quiet"
    assert most_active(values[:, :4], 5).tolist() == [0, 1, 2, 3], "there are few"
    assert most_active(values[:0], 3).tolist() == [0, 500, 999], "no steps"
    values[:, 600] = np.linspace(0, 2, 300)
    assert most_active(values, 1).tolist() == [600], "it changes most"
    assert most_active(values, 3).tolist() == [7, 600, 800]
    values[4, 9] = np.nan
    assert most_active(values, 6).tolist() == [7, 500, 501, 600, 800]


def test_lines_are_of_neurons_that_fire() -> None:
    values = np.tile(np.linspace(0, 1, 50)[:, np.newaxis], 400) * np.linspace(0.1, 0.9, 400)
    values[:, 399] = -np.arange(50) * 20.0  # inhibited without end, which changes most
    spikes = np.zeros((50, 400), bool)
    for neuron, count in ((13, 20), (77, 3), (200, 9), (201, 9), (202, 9)):
        spikes[:count, neuron] = True
    assert most_active(values, 1, spikes).tolist() == [13]
    assert most_active(values, 4, spikes).tolist() == [13, 200, 201, 202]
    assert most_active(values, 3, spikes).tolist() == [13, 201, 202], "the highest of equals"
    assert most_active(values, 7, spikes).tolist() == [13, 77, 200, 201, 202, 397, 398]
    values[:, :] = values[:, :1]
    assert most_active(values, 3, spikes).tolist() == [13, 200, 202], "equals at equal distances"
    assert most_active(values, 3, spikes & False).tolist() == [0, 200, 399]


@given(st.integers(2, 9), st.integers(1, 30), st.integers(1, 5), seeds)
def test_the_most_active_neurons_are_those_that_counting_finds(
    steps: int, neurons: int, most: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    values, spikes = random.random((steps, neurons)), random.random((steps, neurons)) < 0.2
    chosen = most_active(values, most, spikes).tolist()
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(most, neurons)
    counts = spikes.sum(axis=0)
    if counts.any() and neurons > most:
        left = [int(counts[n]) for n in range(neurons) if n not in chosen]
        assert min(int(counts[n]) for n in chosen) >= max(left, default=0)


def test_voltages_are_drawn_of_the_neurons_that_fire(matplotlib: Any) -> None:
    """Of 400 neurons 12 fire; those at equal distances would all be silent."""
    spikes, v = np.zeros((200, 1, 400)), RANDOM.random((200, 1, 400))
    fires = np.arange(5, 400, 35)
    for rank, neuron in enumerate(fires):
        spikes[: 2 + rank, 0, neuron] = 1
    held = {"spikes": spikes, "v": v, "i": v * 2}
    run = Recorded(DT, trace={"hidden": held})
    for name in ("hidden:v", "hidden:i"):
        shown = [int(text) for text in legend_of(panel_of(run, name)) if text.isdigit()]
        assert shown == fires[-5:].tolist()
    few = np.where(np.arange(400) == 40, spikes[:, :, [390]], 0)
    run = Recorded(DT, trace={"hidden": {"spikes": few, "v": np.where(few, 1.0, 0.0)}})
    assert [text for text in legend_of(panel_of(run, "hidden:v")) if text.isdigit()] == ["40"]


# ---------------------------------------------------------------------- chosen neurons


def test_neurons_are_chosen_by_number() -> None:
    drawn = {"lif1": 10, "a=b": 3, "x": None}
    assert choice_of([], drawn) == Choice()
    assert choice_of(["0,3,7"], drawn) == Choice({}, (0, 3, 7))
    choice = choice_of(["lif1=3, 0,3", "a=b=2", "1"], drawn)
    assert choice == Choice({"lif1": (3, 0), "a=b": (2,)}, (1,))
    assert choice.of("lif1", 10) == (0, 3)
    assert choice.of("other", 10) == (1,)
    assert choice.of("other", 1) == ()
    assert choice_of(["x=999"], drawn).of("x", 1000) == (999,)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a"], "--neurons 'a' is not a list of neurons; give [NODE=]N,N,... such as 0,3,7"),
        (["lif1="], "'lif1=' is not a list of neurons"),
        (["lif1=1,,2"], "'lif1=1,,2' is not a list of neurons"),
        (["-1"], "'-1' is not a list of neurons"),
        (["1.5"], "'1.5' is not a list of neurons"),
        (["1" * 5000], "is not a list of neurons"),
        (["\u0663"], "is not a list of neurons"),
        (["0,1,2,3,4,5"], "6 lines cannot be told apart; give at most 5 neurons"),
        (["lif=0"], "nothing is drawn of 'lif'; record it, or did you mean 'lif1', 'li'?"),
        (["lif1=10"], "'lif1=10': no neuron 10; there are 10 neurons, from 0 on"),
        (["li=1"], "'li=1': no neuron 1; there is 1 neuron, from 0 on"),
        (["7,10,12"], "'7,10,12': no neuron 10, 12; there are 10 neurons, from 0 on"),
        (["lif1=1", "lif1=2"], "'lif1' is given twice; join the lists"),
        (["1", "2"], "a list for all nodes is given twice; join them"),
    ],
)
def test_what_is_no_choice_of_neurons_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        choice_of(texts, {"lif1": 10, "li": 1})
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_chosen_neurons_are_drawn(matplotlib: Any) -> None:
    v, spikes = RANDOM.random((2000, 1, 50)), random_spikes(2000, 50, 1)[:, None]
    choice = Choice({"a": (7, 3, 9, 11), "out": (4,), "in": (0, 2)}, (49, 1))
    run = Recorded(
        DT,
        inputs={"in": spikes, "in2": v[:, :, :3]},
        trace={"a": {"spikes": spikes, "v": v}, "b": {"v": v}},
        outputs={"out": spikes[:, :, ::-1]},
        choice=choice,
    )
    expected = {
        "input in:": ["0", "2"],
        "a:v": ["3", "7", "9", "11"],
        "b:v": ["1", "49"],
        "input in2": ["1"],
        "output out": ["4"],
    }
    for start, numbers in expected.items():
        axes = panel_of(run, start)
        assert [text for text in legend_of(axes) if text.isdigit()] == numbers


# ---------------------------------------------------------------------- labels


def visible_texts(drawn: Any) -> list[tuple[str, Any]]:
    """Every text of a drawn figure, and the box around it."""
    from matplotlib.axes import Axes
    from matplotlib.text import Text

    hidden: set[int] = set()
    for axes in drawn.findobj(Axes):
        for axis in (axes.xaxis, axes.yaxis):
            shown = {id(tick.label1) for tick in axis._update_ticks() if tick.label1.get_visible()}
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            hidden |= {id(tick.label1) for tick in ticks} - shown | {id(t.label2) for t in ticks}
    texts = [t for t in drawn.findobj(Text) if t.get_visible() and t.get_text().strip()]
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts if id(t) not in hidden]
    return [(text, box) for text, box in boxes if box.width > 0]


def colliding_texts(run: Recorded) -> list[str]:
    with _settings():
        drawn = figure(run)
        drawn.draw_without_rendering()
        texts = visible_texts(drawn)
    found = [
        f"{one!r} over {other!r}"
        for (one, a), (other, b) in combinations(texts, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5
    ]
    page = drawn.bbox
    return found + [
        f"{text!r} is cut off"
        for text, box in texts
        if box.x0 < 0 or box.y0 < 0 or box.x1 > page.width or box.y1 > page.height
    ]


@pytest.mark.parametrize("neurons", [1, 2, 5, 6, 40])
@pytest.mark.parametrize("panels", [1, 2, 5, 12])
def test_no_text_lies_on_another_or_is_cut_off(matplotlib: Any, panels: int, neurons: int) -> None:
    random = np.random.default_rng(panels * neurons)

    def values(scale: float, shift: float = 0.0) -> Any:
        return random.random((100, 1, neurons)) * scale + shift

    trace = {
        f"node{'/deep' * 10}{n}": {
            "spikes": random.random((100, 1, neurons)) < 0.1,
            "v": values(10.0 ** (n % 7 - 9)),
            "i": values(1e5, -3e7),
        }
        for n in range(panels)
    }
    levels = {path: np.arange(neurons) * 1.234e4 + 1 for path in trace}
    outputs = {"output": values(1.0), "value": np.ones((100, 1, neurons)) * -1.234567e-10}
    run = Recorded(DT, {"input": values(1e-12)}, trace, outputs, levels, title="x" * 100)
    assert colliding_texts(run) == []


@pytest.mark.parametrize("steps", [1, 2, 100, 500, 20_000])
@pytest.mark.parametrize("neurons", [1, 3, 5, 40])
def test_no_text_collides_whatever_the_numbers(matplotlib: Any, steps: int, neurons: int) -> None:
    v = RANDOM.random((steps, 1, neurons)) - 0.5
    same = np.ones((steps, 1, neurons)) * 1.23456789e-10
    run = Recorded(
        DT,
        {"input": same, "second": v},
        {
            "lif": {"spikes": v > 0.3, "v": v, "output": same},
            "a": {"output": np.cumsum(v, axis=0) * 1e6},
            "b": {"spikes": 0 * same, "v": same},
            "down": {"v": np.cumsum(v, axis=0) - np.arange(steps)[:, None, None] * 1e4},
        },
        {"output": same * 2, "value": -same * 1e19, "z": v + 2},
        {"lif": np.full(neurons, 0.7), "b": np.full(neurons, -1.234e-7), "down": np.ones(neurons)},
    )
    assert colliding_texts(run) == []


def test_the_test_of_texts_sees_them_collide(matplotlib: Any) -> None:
    """It would also pass if it looked at nothing."""
    with _settings():
        drawn = figure(recorded())
        drawn.draw_without_rendering()
        texts = [text for text, _ in visible_texts(drawn)]
    assert {"a run", "time (ms)", "v", "neuron"} <= set(texts)
    assert {"0.0", "10"} <= set(texts)


def test_a_power_of_ten_stands_beside_what_the_values_are_of(matplotlib: Any) -> None:
    v = np.linspace(0, 3e-9, 50)[:, None, None] * np.ones(2)
    axes = panel_of(Recorded(DT, trace={"a": {"v": v}}), "a:v")
    assert axes.get_ylabel() == "v (1e\u22129)"
    with _settings():
        axes.figure.draw_without_rendering()
        assert [t.get_text() for t in axes.get_yticklabels()][1:4] == ["0", "1", "2"]
        assert [text for text, _ in visible_texts(axes.figure) if "1e" in text] == ["v (1e\u22129)"]
    assert panel_of(Recorded(DT, trace={"a": {"v": v * 1e9}}), "a:v").get_ylabel() == "v"


def test_pictures_have_a_ground_of_their_own(matplotlib: Any) -> None:
    """On a dark page black text would be lost."""
    image = pytest.importorskip("PIL.Image")
    with matplotlib.rc_context({"savefig.transparent": True, "figure.facecolor": "black"}):
        pixels = np.asarray(image.open(io.BytesIO(picture(recorded()))).convert("RGBA"))
        text = picture(recorded(), "svg").decode()
    assert (pixels[..., 3] == 255).all()
    assert (pixels[:3] == 255).all()
    [ground] = re.findall(r'<g id="patch_1">\s*<path d="([^"]*)"\s*style="([^"]*)"', text)
    assert "fill: #ffffff" in ground[1]
    [width] = re.findall(r'viewBox="0 0 ([0-9.]+) ', text)
    assert f"L {width} " in ground[0]
