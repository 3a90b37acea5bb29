"""Events as inputs: each in its step and place, and errors that name the event."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np
import pytest
from conftest import DATA
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from nirtorch_cli.cli import options as cli_options
from nirtorch_cli.cli.app import app
from nirtorch_cli.findings.errors import NirtorchError, ReadError, UsageError
from nirtorch_cli.running.signals import axes, events
from nirtorch_cli.running.signals.axes import Port
from nirtorch_cli.running.signals.inputs import InputOptions, read_inputs

DT = 1e-3
CAMERA = Port("input", "in", (2, 3, 4))
"""An Input with the axes p, y, x."""

COLUMNS: dict[str, Any] = {
    "t": np.array([0, 999, 1000, 1500, 4001, 1000]),
    "x": np.array([0, 3, 1, 1, 2, 3], dtype=np.int16),
    "y": np.array([0, 2, 1, 1, 0, 2], dtype=np.int16),
    "p": np.array([0, 1, 1, 1, 0, 0], dtype=bool),
}
"""Microseconds; two events of one pixel in one step."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fed(spec: str, port: Port = CAMERA, **options: Any) -> Any:
    """The whole signal of a spec."""
    signals = read_inputs({port.argument: spec}, [port], InputOptions(dt=DT, **options))
    return signals[port.argument].part()


def refused(spec: str, port: Port = CAMERA, **options: Any) -> str:
    with pytest.raises(NirtorchError) as caught:
        fed(spec, port, **options)
    return str(caught.value)


def by_hand(rows: list[dict[str, float]], shape: tuple[int, ...], unit: float) -> Any:
    """The grid, event by event, with no function of the program."""
    steps = max(math.floor(row["t"] * unit / DT + 1e-9) for row in rows) + 1
    samples = max(int(row.get("sample", 0)) for row in rows) + 1
    grid = np.zeros((steps, samples, *shape))
    for row in rows:
        place = tuple(int(row[axis]) for axis in ("p", "y", "x") if axis in row)
        if "neuron" in row:
            place = tuple(int(n) for n in np.unravel_index(int(row["neuron"]), shape))
        grid[(math.floor(row["t"] * unit / DT + 1e-9), int(row.get("sample", 0)), *place)] += 1
    return grid


def rows_of(columns: dict[str, Any]) -> list[dict[str, float]]:
    names = list(columns)
    return [dict(zip(names, map(float, row))) for row in zip(*columns.values())]


EXPECTED = by_hand(rows_of(COLUMNS), (2, 3, 4), 1e-6)


def structured(columns: dict[str, Any], order: str = "xytp") -> Any:
    made = np.zeros(len(columns["t"]), [(name, columns[name].dtype) for name in order])
    for name in order:
        made[name] = columns[name]
    return made


def write_h5(path: str, columns: dict[str, Any], group: str = "") -> None:
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[f"{group}{name}"] = values.astype("u1") if values.dtype == bool else values


WRITERS: dict[str, Any] = {
    "a.npz": lambda columns: np.savez("a.npz", **columns),
    "b.npz": lambda columns: np.savez_compressed("b.npz", events=structured(columns)),
    "a.npy": lambda columns: np.save("a.npy", structured(columns)),
    "b.npy": lambda columns: np.save("b.npy", structured(columns, "tpyx")),
    "a.h5": lambda columns: write_h5("a.h5", columns),
    "b.hdf5": lambda columns: write_h5("b.hdf5", columns, "events/"),
    "a.csv": lambda columns: Path("a.csv").write_text(
        "# a camera\nt,x,y,p\n"
        + "".join(f"{t},{x},{y},{int(p)}\n\n" for t, x, y, p in zip(*columns.values()))
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format(name: str) -> None:
    WRITERS[name](COLUMNS)
    assert np.array_equal(fed(name, time_unit="us"), EXPECTED)
    assert EXPECTED.max() == 2
    assert np.array_equal(fed(name, time_unit="us", events="one"), np.minimum(EXPECTED, 1))
    assert "its t are whole numbers, up to 4,001, and their unit is not known" in refused(name)
    seconds = {**COLUMNS, "t": COLUMNS["t"] * 1e-6}
    WRITERS[name](seconds)
    assert np.array_equal(fed(name), EXPECTED)


@pytest.mark.parametrize(
    ("unit", "seconds"), [("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9), ("step", DT)]
)
def test_units(unit: str, seconds: float) -> None:
    times = np.array([0, 7, 20_000]) if unit in ("us", "ns") else np.array([0, 1, 2])
    np.savez("a.npz", t=times, neuron=np.array([0, 1, 1]))
    port = Port("input", "in", (2,))
    rows = [{"t": float(t), "neuron": n} for t, n in zip(times, (0, 1, 1))]
    assert np.array_equal(fed("a.npz", port, time_unit=unit), by_hand(rows, (2,), seconds))


def test_polarity_is_left_out_by_name() -> None:
    flat = Port("input", "in", (3, 4))
    channel = Port("input", "in", (1, 3, 4))
    for name in ("a.npz", "a.npy", "a.h5", "a.csv"):
        WRITERS[name](COLUMNS)
        hint = f"'{name}:t,x,y' leaves p out: both polarities count"
        assert hint in refused(name, flat, time_unit="us")
        expected = EXPECTED.sum(axis=2)
        assert np.array_equal(fed(f"{name}:t,x,y", flat, time_unit="us"), expected)
        found = fed(f"{name}:t,x,y", channel, time_unit="us")
        assert np.array_equal(found, expected[:, :, np.newaxis])
        assert np.array_equal(fed(f"{name}:t,y", Port("i", "i", (3,)), time_unit="us"),
                              expected.sum(axis=3))  # fmt: skip


def test_a_polarity_of_minus_one() -> None:
    np.savez("a.npz", **{**COLUMNS, "p": np.where(COLUMNS["p"], 1, -1)})
    assert np.array_equal(fed("a.npz", time_unit="us"), EXPECTED)


def test_batch_rows() -> None:
    Path("a.csv").write_text("sample,t,neuron\n1,0.0005,2\n0,0.0015,0\n1,0.0015,2\n1,0.0015,2\n")
    port = Port("input", "in", (3,))
    found = fed("a.csv", port)
    assert found.shape == (2, 2, 3)
    assert found.tolist() == [[[0, 0, 0], [0, 0, 1]], [[1, 0, 0], [0, 0, 2]]]
    assert "has 2 batch rows, and --batch asks for 3" in refused("a.csv", port, batch=3)


def test_a_recording_goes_on_behind_its_last_event() -> None:
    WRITERS["a.npz"](COLUMNS)
    found = fed("a.npz", time_unit="us", steps=9)
    assert found.shape == (9, 1, 2, 3, 4)
    assert np.array_equal(found[:5], EXPECTED)
    assert not found[5:].any()
    found = fed("a.npz", time_unit="us", steps=2, start=1)
    assert np.array_equal(found, EXPECTED[1:3])
    assert np.array_equal(fed("a.npz", time_unit="us", start=3), EXPECTED[3:])


def test_a_long_recording_takes_no_memory() -> None:
    """A billion steps, of which only the asked are made."""
    np.savez("a.npz", t=np.array([0.5, 1e6]), neuron=np.array([0, 1]))
    port = Port("input", "in", (1000,))
    signal = read_inputs({"input": "a.npz"}, [port], InputOptions(dt=DT))["input"]
    assert len(signal) == 10**9 + 1
    assert signal.part(500, 501)[0, 0, 0] == 1
    assert signal.part(10**9, 10**9 + 1)[0, 0, 1] == 1
    assert not signal.part(501, 600).any()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_events_in_any_parts(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 40))
    times = data.draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    columns = {
        "t": np.array(times),
        "x": np.array(data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))),
        "y": np.array(data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))),
        "p": np.array(data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))),
        "sample": np.array(data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))),
    }
    np.savez("h.npz", **columns)
    expected = by_hand(rows_of(columns), (2, 3, 4), DT)
    made = read_inputs({"input": "h.npz"}, [CAMERA], InputOptions(dt=DT, time_unit="step"))
    signal = made["input"]
    assert np.array_equal(signal.part(), expected)
    cut = data.draw(st.integers(0, len(signal)))
    parts = [signal.part(0, cut), signal.part(cut)]
    assert np.array_equal(np.concatenate(parts), expected)


# ------------------------------------------------------------------------------- refused

NEURONS = Port("input", "in", (4,))

BAD: dict[str, tuple[str, Port, dict[str, Any], str]] = {
    "a neuron that is not there": ("t,neuron\n0.5,1\n# no\n0.1,4\n", NEURONS, {},
        "line 4: neuron is 4; the Input has 4 places there, from 0 on"),
    "a neuron before the first": ("t,neuron\n0.5,-1\n", NEURONS, {}, "line 2: neuron is -1"),
    "half a neuron": ("t,neuron\n0.5,1.5\n", NEURONS, {}, "line 2: neuron is 1.5"),
    "a time before the start": ("t,neuron\n\n-0.5,1\n", NEURONS, {},
        "line 3: t is -0.5, before the start"),
    "a time that is none": ("t,neuron\nnan,1\n", NEURONS, {}, "line 2: t is nan"),
    "an infinite time": ("t,neuron\n0.1,1\ninf,1\n", NEURONS, {}, "line 3: t is inf"),
    "half a step": ("t,neuron\n1,1\n1.5,1\n", NEURONS, {"time_unit": "step"},
        "line 3: t is 1.5, not a whole step"),
    "no events": ("t,neuron\n", NEURONS, {}, "has no events"),
    "x and neuron": ("t,neuron,x\n0.1,1,1\n", NEURONS, {}, "has both neuron and 'x': which"),
    "another shape": ("t,x,y\n0.1,1,1\n", NEURONS, {},
        "has events of (y, x); the Input has the shape (4,)"),
    "x too large": ("t,x,y,p\n0.1,4,0,0\n", CAMERA, {}, "line 2: x is 4; the Input has 4 places"),
    "y too large": ("t,x,y,p\n0.1,0,3,0\n", CAMERA, {}, "line 2: y is 3; the Input has 3 places"),
    "p too large": ("t,x,y,p\n0.1,0,0,2\n", CAMERA, {}, "line 2: p is 2; the Input has 2 places"),
    "a sample before the first": ("t,neuron,sample\n.1,0,-1\n", NEURONS, {}, "sample is -1"),
    "seconds in nanoseconds": ("t,neuron\n1e18,0\n", NEURONS, {"time_unit": "s"},
        "its last event is at step 1e+21 of 0.001; --time-unit says"),
    "no shape": ("t,x,y\n0.1,1,1\n", Port("input", "in", None), {},
        "the shape of this input is not in the model; give events of t,neuron"),
    "a short line": ("t,neuron\n0.1,1\n0.2\n", NEURONS, {}, "line 3 has 1 column"),
    "a word": ("t,neuron\n0.1,one\n", NEURONS, {}, "line 2 has 'one'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named(case: str) -> None:
    text, port, options, said = BAD[case]
    Path("bad.csv").write_text(text)
    found = refused("bad.csv", port, **options)
    assert found.startswith("bad.csv: ")
    assert said in found


def test_a_shape_that_is_not_in_the_model() -> None:
    Path("a.csv").write_text("t,neuron\n0.0005,4\n")
    assert fed("a.csv", Port("input", "in", None)).tolist() == [[[0, 0, 0, 0, 1]]]


def test_an_event_of_an_array_is_named_by_its_place() -> None:
    np.savez("a.npz", **{**COLUMNS, "x": np.array([0, 0, 9, 0, 0, 0])})
    assert "a.npz: node 'in': event 2: x is 9" in refused("a.npz", time_unit="us")


def test_columns_that_are_none() -> None:
    np.savez("a.npz", t=np.zeros(3), neuron=np.zeros(2))
    with pytest.raises(ReadError, match=r"no columns of one length: t \(3,\), neuron \(2,\)"):
        fed("a.npz")
    np.savez("a.npz", t=np.zeros((3, 1)), neuron=np.zeros((3, 1)))
    with pytest.raises(ReadError, match="no columns of one length"):
        fed("a.npz")
    np.savez("a.npz", t=np.array(["a"]), neuron=np.zeros(1))
    with pytest.raises(ReadError, match="its t holds <U1, not numbers"):
        fed("a.npz")
    np.savez("a.npz", t=np.zeros(3), other=np.zeros(2))  # a name of its own: an array is chosen
    with pytest.raises(ReadError, match="holds 2 arrays; name one"):
        fed("a.npz")
    np.save("a.npy", np.zeros(3, [("a", "f4"), ("b", "f4")]))
    with pytest.raises(ReadError, match="not real numbers"):
        fed("a.npy")


def test_what_claims_too_much() -> None:
    np.savez_compressed("a.npz", t=np.zeros(10**6), neuron=np.zeros(10**6))
    with pytest.raises(ReadError, match="claim more than"):
        fed("a.npz", NEURONS, max_bytes=10**6)


def test_names_of_neurons_are_no_events() -> None:
    """A table with other columns beside t is one of neurons, as before."""
    Path("a.csv").write_text("t,neuron,n2\n1,2,3\n")
    assert fed("a.csv", Port("input", "in", (3,))).tolist() == [[[1, 2, 3]]]


# ------------------------------------------------------------------------------- commands


def test_the_choices_are_the_same_everywhere() -> None:
    assert get_args(cli_options.TimeUnit) == get_args(events.TimeUnit)
    assert get_args(cli_options.EventCount) == get_args(events.EventCount)
    assert get_args(cli_options.Layout) == get_args(axes.Layout)


def test_commands() -> None:
    Path("a.csv").write_text("t,neuron\n12,3\n250,7\n250,7\n1031,0\n")
    model = str(DATA / "digits_recurrent.nir")
    arguments = ["-i", "a.csv", "--time-unit", "us", "-q"]
    answer = CliRunner().invoke(app, ["run", model, *arguments])
    assert "input 11x1x8 from a.csv" in answer.stdout
    answer = CliRunner().invoke(app, ["compare", "default", "default", "-M", model, *arguments])
    assert answer.exit_code == 0, answer.stderr
    assert "over   11 steps" in answer.stdout
    for unused in (("--time-unit", "us"), ("--events", "one")):
        answer = CliRunner().invoke(app, ["run", model, "-i", "zeros", *unused])
        assert answer.exit_code == 2
        assert f"{unused[0]} is not used here: no input holds events" in answer.stderr


def test_unused_options_are_a_usage_error() -> None:
    with pytest.raises(UsageError):
        fed("zeros", events="one")
