"""What is fed: generators, the axes of arrays, events on a grid, and several inputs at once."""

from __future__ import annotations

import io
import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nirtorch_cli.findings.errors import ExitCode, NirtorchError, ReadError, UsageError
from nirtorch_cli.running.signals.axes import Port, arranged, require_finite
from nirtorch_cli.running.signals.binning import binned, steps_of
from nirtorch_cli.running.signals.generators import PARAMETERS, generated, is_generator, parsed
from nirtorch_cli.running.signals.inputs import InputOptions, assigned, read_inputs
from nirtorch_cli.running.signals.signal import Signal, blocks

ONE = [Port("input", "input", (2, 3))]
TWO = [Port("left", "left", (2,)), Port("nir_node_in", "in", (3,))]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def signals(
    *specs: str, ports: list[Port] = ONE, stdin: Any = None, **options: Any
) -> dict[str, Signal]:
    """The signals for some --input options, at dt 1e-3."""
    chosen = InputOptions(**{"dt": 1e-3, **options})
    return read_inputs(assigned(specs, ports), ports, chosen, stdin)


def fed(*specs: str, **options: Any) -> Any:
    """The whole arrays for some --input options, at dt 1e-3."""
    return {name: signal.part() for name, signal in signals(*specs, **options).items()}


def refused(
    *specs: str, kind: type[NirtorchError] = UsageError, ports: list[Port] = ONE, **options: Any
) -> str:
    """The text of the error; its kind says the exit code."""
    with pytest.raises(NirtorchError) as caught:
        fed(*specs, ports=ports, **options)
    assert type(caught.value) is kind
    assert caught.value.exit_code == (ExitCode.USAGE if kind is UsageError else 3)
    return str(caught.value)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).random(shape, np.float32)


# ------------------------------------------------------------------------------ generators


def made(text: str, *shape: int, dt: float = 1e-3, seed: int = 0, **more: int) -> np.ndarray:
    return generated(parsed(text), shape, dt=dt, seed=seed, **more)


def test_constants_impulses_and_zeros() -> None:
    assert (made("constant:0.3", 4, 2, 3) == np.float32(0.3)).all()
    assert (made("constant:value=-2", 4, 1) == -2).all()
    assert not made("zeros", 5, 1, 2).any()
    impulse = made("impulse", 4, 2, 3)
    assert (impulse[0] == 1).all()
    assert not impulse[1:].any()
    later = made("impulse:at=3,amplitude=2", 4, 1, 2)
    assert later[:, 0, 0].tolist() == [0, 0, 0, 2]
    assert made("impulse:2", 4, 1)[:, 0].tolist() == [0, 0, 1, 0]


def test_poisson_has_its_rate() -> None:
    spikes = made("poisson:rate=50", 4000, 10, 5)
    assert set(np.unique(spikes)) == {0, 1}
    expected, count = 0.05, spikes.size
    assert abs(spikes.mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / count)
    assert set(np.unique(made("poisson:50,amplitude=0.5", 100, 1, 9))) == {0, 0.5}
    assert (made("poisson:rate=1000", 50, 1) == 1).all()
    assert not made("poisson:rate=0", 50, 1).any()


def test_uniform_fills_its_range() -> None:
    values = made("uniform", 1000, 1, 10)
    assert 0 <= values.min() < 0.01
    assert 0.99 < values.max() < 1
    assert abs(values.mean() - 0.5) < 0.02
    values = made("uniform:low=-2,high=-1", 1000, 1)
    assert -2 <= values.min() < -1.9 < -1.1 < values.max() <= -1


def test_random_numbers_are_these_for_ever() -> None:
    """From the raw bits of PCG64, which NumPy promises not to change."""
    assert made("uniform", 4, 1).ravel().tolist() == FOREVER
    assert np.flatnonzero(made("poisson:rate=100", 60, 1)).tolist() == FIRED


FOREVER = [0.9429374933242798, 0.31633710861206055, 0.7223425507545471, 0.1256030797958374]
FIRED = [6, 11, 17, 36, 43, 46]


@pytest.mark.parametrize("text", ["poisson:rate=100", "uniform"])
def test_seeds_streams_and_lengths(text: str) -> None:
    base = made(text, 100, 2, 3)
    assert (made(text, 100, 2, 3) == base).all()
    assert (made(text, 40, 2, 3) == base[:40]).all()
    assert (made(text, 100, 2, 3, seed=1) != base).any()
    assert (made(text, 100, 2, 3, stream=1) != base).any()
    assert (made(text, 100, 2, 3, seed=-1) != base).any()


@settings(deadline=None)
@given(
    text=st.sampled_from(
        ["poisson:rate=300", "uniform:-1,high=2", "impulse:at=7", "constant:0.1", "zeros"]
    ),
    cuts=st.lists(st.integers(0, 20), max_size=5),
    start=st.integers(0, 9),
)
def test_parts_of_a_generator_leave_no_seam(text: str, cuts: list[int], start: int) -> None:
    """Wherever it is cut, and wherever it begins; two inputs are cut apart."""
    whole = made(text, 20 + start, 2, 3, seed=3, stream=1)[start:]
    ports = [Port("other", "other", (5,)), Port("x", "x", (3,))]
    options = {"steps": 20, "batch": 2, "seed": 3, "start": start, "ports": ports}
    signal = signals("other=uniform", f"x={text}", **options)["x"]
    assert (signal.shape, signal.dtype, len(signal)) == ((20, 2, 3), np.float32, 20)
    places = [0, *sorted(cuts), 20]
    parts = [signal.part(*pair) for pair in itertools.pairwise(places)]
    assert (np.concatenate(parts) == whole).all()
    assert (signal.part(13) == whole[13:]).all()
    assert (signal.rows(1, 2).part() == whole[:, 1:]).all()
    assert (signal.rows(0, 1).part(5, 9) == whole[5:9, :1]).all()


def test_blocks_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made("uniform", 50, 3, 7)
    monkeypatch.setattr("nirtorch_cli.running.signals.generators._BLOCK", 13)
    assert (made("uniform", 50, 3, 7) == whole).all()
    monkeypatch.setattr("nirtorch_cli.running.signals.signal._BLOCK", 13)
    for width in (1, 5, 7, 13, 99):
        values = numbers(50, width)
        pieces = list(blocks(50, width))
        assert all((stop - start) * width <= max(13, width) for start, stop in pieces)
        assert (np.concatenate([values[a:b] for a, b in pieces]) == values).all()
        assert (Signal.of(values).rows(0, 1).part()[:, 0] == values[:, 0]).all()


def test_a_signal_is_made_when_a_part_is_asked_for() -> None:
    """A run as long as it may be takes the memory of a part."""
    for text in ("uniform", "poisson:50", "constant:1", "zeros", "impulse:at=1000000000"):
        signal = signals(text, steps=10**12)["input"]
        assert signal.shape == (10**12, 1, 2, 3)
        assert signal.part(10**9, 10**9 + 5).shape == (5, 1, 2, 3)
    assert signal.part(10**9 - 1, 10**9 + 2)[:, 0, 0, 0].tolist() == [0, 1, 0]
    tracemalloc.start()
    values = np.zeros((1000, 1, 2, 3000), np.float64)
    held = tracemalloc.get_traced_memory()[1]
    signal = read_held(values)
    signal.part(0, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - held < values.nbytes / 2
    with pytest.raises(MemoryError):
        signals("zeros", steps=10**30)


def read_held(values: np.ndarray) -> Signal:
    """The signal of a recording that has been read."""
    require_finite(values, ONE[0], dtype="float32", file="f")
    return Signal.of(values, "float32")


def test_numbers_that_a_type_does_not_hold_are_refused_before_they_are_made() -> None:
    for text, said in (
        ("constant:1e6", "constant: value is 1e+06, which float16 does not hold"),
        ("poisson:1,amplitude=-1e5", "poisson: amplitude is -100000, which float16 does not"),
        ("impulse:amplitude=7e4", "impulse: amplitude is 70000, which float16 does not hold"),
        ("uniform:high=1e9", "uniform: high is 1e+09, which float16 does not hold"),
    ):
        assert said in refused(text, dtype="float16")
        assert fed(text, dtype="float16", allow_nan=True)["input"].dtype == np.float16
    assert fed("constant:0.1", dtype="float64")["input"].flat[0] == np.float32(0.1)


def test_a_run_in_pieces_skips_the_steps_before() -> None:
    values = numbers(9, 4, 2, 3)
    np.save("a.npy", values)
    assert (fed("a.npy", start=4)["input"] == values[4:]).all()
    assert (fed("a.npy", start=4, steps=3)["input"] == values[4:7]).all()
    assert (fed("a.npy", start=8)["input"] == values[8:]).all()
    assert refused("a.npy", start=9) == "a.npy: has 9 steps, and --start 9 skips all of them"
    assert refused("a.npy", start=4, steps=6) == (
        "a.npy: has 9 steps, and --steps asks for 6 from step 4 on"
    )
    spoilt = values.copy()
    spoilt[6, 0, 0, 0] = np.nan
    np.save("a.npy", spoilt)
    assert "has nan at step 6, batch row 0" in refused("a.npy", start=4)
    assert fed("a.npy", start=7)["input"].shape == fed("a.npy", start=4, steps=2)["input"].shape
    np.save("b.npy", numbers(9, 4, 2))
    found = fed("left=b.npy", "in=uniform", ports=TWO, start=5)
    assert found["nir_node_in"].shape == (4, 4, 3)
    assert (found["nir_node_in"] == made("uniform", 9, 4, 3, stream=1)[5:]).all()
    impulse = "impulse:at=5"
    assert not fed(impulse, start=6, steps=9)["input"].any()
    assert not fed(impulse, start=1, steps=3)["input"].any()
    assert fed(impulse, start=1, steps=5)["input"][4].all()


def test_a_nan_in_the_last_step_is_found_before_anything_is_fed() -> None:
    values = np.zeros((3000, 1, 2, 300))
    values[2999, 0, 1, 299] = np.inf
    with pytest.raises(UsageError, match=r"has inf at step 2999, batch row 0, neuron \(1, 299\)"):
        read_held(values)
    values[2999, 0, 1, 299] = 1e39
    with pytest.raises(UsageError, match=r"has 1e.39 at step 2999, .*which float32 does not hold"):
        read_held(values)
    assert np.isinf(Signal.of(values, "float32").part(2998)).sum() == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "posson:rate=50",
            "'posson:rate=50' is neither a file nor a generator; did you mean 'poisson'?",
        ),
        ("poisson", "'poisson': poisson needs its rate; such as "),
        ("poisson:rat=50", "poisson has no parameter 'rat'; did you mean 'rate'?"),
        ("poisson:rate=fast", "rate is 'fast', not a number that float32 holds"),
        ("poisson:rate=nan", "rate is 'nan', not a number"),
        ("poisson:rate=-1", "rate is negative"),
        ("poisson:rate=1,rate=2", "rate is given twice"),
        (
            "poisson:rate=1001",
            "a rate of 1001 is 1.001 spikes per step at dt 0.001; the most is 1 ",
        ),
        ("constant", "constant needs its value"),
        ("constant:1e99", "value is '1e99', not a number that float32 holds"),
        (
            "constant:1,2",
            "'constant:1,2': '2' is not NAME=VALUE, as all but the first must be; constan",
        ),
        ("constant:1,value=2", "value is given twice"),
        ("constant:0_3", "value is '0_3', not a number that float32 holds"),
        ("impulse:at=1_0", "at is '1_0', not a step's number"),
        (
            "poisson:50,2",
            "'2' is not NAME=VALUE, as all but the first must be; poisson has rate, ampli",
        ),
        ("poisson:amplitude=2,50", "'50' is not NAME=VALUE, as all but the first must be"),
        (
            "uniform:0,1",
            "'1' is not NAME=VALUE, as all but the first must be; uniform has low, high",
        ),
        ("impulse:at=1.5", "at is '1.5', not a step's number"),
        ("impulse:at=-1", "at is negative"),
        ("impulse:at=100", "there is no step 100 in 100 steps; they begin at 0"),
        ("uniform:low=2", "low is above high"),
        ("zeros:1", "zeros has no parameter '1'; it has none"),
    ],
)
def test_generators_that_do_not_exist(text: str, said: str) -> None:
    line = refused(text)
    assert said in line
    assert "\n" not in line


def test_generators_have_names_that_no_file_needs() -> None:
    assert all(is_generator(name) and is_generator(f"{name}:1") for name in PARAMETERS)
    assert not any(map(is_generator, ["./zeros", "zeros.npy", "", "-", "zero"]))


def test_a_file_may_be_called_as_a_generator_is() -> None:
    np.save("zeros.npy", numbers(4, 2, 3))
    Path("zeros.npy").rename("zeros")
    assert not fed("zeros", steps=4)["input"].any()
    assert fed("./zeros")["input"].all()


def test_an_array_that_cannot_be() -> None:
    with pytest.raises(MemoryError):
        made("zeros", 10**30, 1)


# ---------------------------------------------------------------------------------- axes


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((5, 4, 2, 3), "TB", (5, 4, 2, 3)),
        ((5, 4, 2, 3), "BT", (4, 5, 2, 3)),
        ((5, 2, 3), "TB", (5, 1, 2, 3)),
        ((5, 2, 3), "BT", (5, 1, 2, 3)),
        ((2, 3, 2, 3), "TB", (2, 3, 2, 3)),
    ],
)
def test_the_number_of_axes_decides(shape: Any, layout: Any, expected: Any) -> None:
    values = numbers(*shape)
    found = arranged(values, ONE[0], layout=layout, is_flat=False, file="f")
    assert found.shape == expected
    for place in np.ndindex(*shape):
        axes = (place[0], 0, *place[1:]) if len(shape) == 3 else place
        axes = axes if layout == "TB" or len(shape) == 3 else (axes[1], axes[0], *axes[2:])
        assert found[axes] == values[place]


def test_a_scalar_input() -> None:
    port = [Port("x", "x", ())]
    np.save("t.npy", numbers(5))
    np.save("tb.npy", numbers(5, 2))
    assert fed("t.npy", ports=port)["x"].shape == (5, 1)
    assert fed("tb.npy", ports=port, layout="BT")["x"].shape == (2, 5)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((5, 4, 2), "(5, 4, 2); expected (T, B, 2, 3) or (T, 2, 3)"),
        ((5, 1, 1), "(5, 1, 1); expected"),
        ((5, 4, 1, 3), "(5, 4, 1, 3); expected"),
        ((5, 4, 6), "(5, 4, 6); expected"),
        ((5,), "(5,); expected"),
        ((2, 3), "(2, 3); expected"),
        ((1, 5, 4, 2, 3), "(1, 5, 4, 2, 3); expected"),
        ((2, 3, 7), "its last axes seem to be time and batch; put them first"),
        ((0, 2, 3), "has no time steps"),
        ((0, 4, 2, 3), "has no time steps"),
        ((4, 0, 2, 3), "has no batch rows"),
        ((), "(); expected"),
    ],
)
def test_shapes_that_do_not_fit(shape: Any, said: str) -> None:
    np.save("a.npy", np.zeros(shape, np.float32))
    line = refused("a.npy")
    assert line.startswith("a.npy: node 'input': has ")
    assert said in line
    assert "\n" not in line


def test_the_layout_is_told_in_the_expectation_and_the_hint() -> None:
    np.save("a.npy", numbers(5, 4, 2))
    assert "expected (B, T, 2, 3) or (T, 2, 3)" in refused("a.npy", layout="BT")
    np.save("a.npy", numbers(7, 4, 2, 3))
    assert refused("a.npy", batch=7).endswith(
        "has 4 batch rows, and --batch asks for 7; --layout BT would fit"
    )
    assert not refused("a.npy", batch=5).endswith("would fit")


def test_neurons_in_one_axis_are_those_of_all_axes() -> None:
    flat = numbers(5, 4, 6)
    found = arranged(flat, ONE[0], layout="BT", is_flat=True, file="f")
    assert (found == flat.reshape(5, 4, 2, 3)).all()
    for count, said in ((7, "7 neurons"), (1, "1 neuron")):
        with pytest.raises(UsageError, match=rf"has {said}; expected 6, for the shape \(2, 3\)"):
            arranged(numbers(5, 4, count), ONE[0], layout="TB", is_flat=True, file="f")


def test_an_input_that_has_no_shape() -> None:
    port = [Port("x", "x", None)]
    np.save("a.npy", numbers(5, 4, 9))
    assert fed("a.npy", ports=port)["x"].shape == (5, 4, 9)
    np.save("a.npy", numbers(5))
    assert "the shape of this input is not in the model" in refused("a.npy", ports=port)
    assert "the shape of this input is not in the model" in refused("zeros", ports=port)


# ------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite(bad: float) -> None:
    values = numbers(5, 4, 2, 3)
    values[3, 1, 0, 2] = values[4, 0, 0, 0] = bad
    np.save("a.npy", values)
    assert refused("a.npy") == (
        f"a.npy: node 'input': has {bad} at step 3, batch row 1, neuron (0, 2); "
        "--allow-nan feeds it all the same"
    )
    assert np.array_equal(fed("a.npy", allow_nan=True)["input"], values, equal_nan=True)
    assert fed("a.npy", steps=3)["input"].shape == (3, 4, 2, 3)


def test_what_the_type_does_not_hold() -> None:
    np.save("a.npy", np.full((5, 2, 3), 1e39))
    assert "has 1e+39 at step 0, batch row 0, neuron (0, 0), which float32 does not hold" in (
        refused("a.npy")
    )
    assert fed("a.npy", dtype="float64")["input"].dtype == np.float64
    np.save("line.npy", np.full((5, 3), np.nan))
    line = refused("line.npy", ports=[Port("x", "x", (3,))])
    assert "has nan at step 0, batch row 0, neuron 0; --allow-nan" in line
    np.save("a.npy", np.full((5, 2, 3), 7e4))
    assert "which float16 does not hold" in refused("a.npy", dtype="float16")


@pytest.mark.parametrize("dtype", ["?", "u1", "i8", ">f4", "<f8", "f2"])
def test_numbers_of_any_type(dtype: str) -> None:
    values = (numbers(5, 4, 2, 3) * 2).astype(dtype)
    np.save("a.npy", values)
    found = fed("a.npy")["input"]
    assert found.dtype == np.float32
    assert found.flags.writeable
    assert found.flags.c_contiguous
    assert (found == values.astype(np.float32)).all()


# -------------------------------------------------------------------------- several inputs


def test_inputs_by_either_name() -> None:
    for name in ("in", "nir_node_in"):
        found = fed(f"{name}=constant:2", "left=constant:1", ports=TWO, steps=4, batch=2)
        assert list(found) == ["left", "nir_node_in"]
        assert (found["left"] == 1).all()
        assert found["nir_node_in"].shape == (4, 2, 3)
        assert (found["nir_node_in"] == 2).all()
    assert fed("input=poisson:rate=50")["input"].shape == (100, 1, 2, 3)


def test_two_inputs_of_one_generator_are_not_the_same() -> None:
    ports = [Port("a", "a", (3,)), Port("b", "b", (3,))]
    found = fed("a=uniform", "b=uniform", ports=ports)
    assert (found["a"] != found["b"]).any()


def test_a_generator_takes_its_size_from_the_files() -> None:
    np.save("a.npy", numbers(7, 4, 2))
    found = fed("left=a.npy", "in=zeros", ports=TWO)
    assert found["nir_node_in"].shape == (7, 4, 3)
    assert fed("left=a.npy", "in=zeros", ports=TWO, steps=3)["nir_node_in"].shape == (3, 4, 3)


@pytest.mark.parametrize(
    ("specs", "said"),
    [
        ([], ["no input is given for 'left', 'in': --input left=FILE, or a generator: poisson"]),
        (["left=zeros"], ["no input is given for 'in': --input in=FILE"]),
        (["zeros"], ["--input 'zeros' must name its Input, one of 'left', 'in'"]),
        (["left=zeros", "right=zeros"], ["has no input 'right'; it has 'left', 'in'"]),
        (["left=zeros", "left=zeros", "in=zeros"], ["the input 'left' is given twice"]),
        (["x=zeros", "zeros"], ["has no input 'x'", "must name its Input"]),
        (["left=-", "in=-"], ["stdin can be read once only"]),
    ],
)
def test_inputs_that_are_missing_or_unknown(specs: list[str], said: list[str]) -> None:
    lines = refused(*specs, ports=TWO).splitlines()
    assert len(lines) == len(said)
    for line, words in zip(lines, said, strict=True):
        assert words in line


def test_one_input_that_is_missing() -> None:
    assert refused() == (
        "no input is given: --input FILE, or a generator: "
        "poisson:rate=50, constant:0.3, impulse:at=0, uniform, zeros"
    )


def test_a_name_with_an_equals_sign() -> None:
    """A file may have one, and so may an Input, whose name wins."""
    np.save("a=b.npy", numbers(5, 2, 3))
    np.savez("a=b.npz", x=numbers(5, 2, 3))
    assert fed("a=b.npy")["input"].shape == (5, 1, 2, 3)
    assert fed("a=b.npz:x")["input"].shape == (5, 1, 2, 3)
    assert fed("./a=b.npy")["input"].shape == (5, 1, 2, 3)
    assert fed("input=a=b.npy")["input"].shape == (5, 1, 2, 3)
    assert "no input 'a'" in refused("a=c.npy")
    port = [Port("x", "a=b", (2, 3))]
    assert not fed("a=b=zeros", ports=port)["x"].any()
    np.save("b.npy", numbers(9, 2, 3))
    port = [Port("x", "a", (2, 3))]
    assert len(fed("a=b.npy", ports=port)["x"]) == 9
    assert len(fed("./a=b.npy", ports=port)["x"]) == 5
    assert "must name its Input, one of 'left', 'in'" in refused("a=b.npy", ports=TWO)


def test_all_that_is_wrong_with_the_files_is_said_at_once() -> None:
    np.save("a.npy", numbers(5, 3))
    lines = refused("left=a.npy", "in=no.npy", ports=TWO, kind=ReadError).splitlines()
    assert lines == [
        "a.npy: node 'left': has the shape (5, 3); expected (T, B, 2) or (T, 2)",
        "no.npy: no such file",
    ]


def test_sizes_that_differ() -> None:
    np.save("a.npy", numbers(5, 4, 2))
    np.save("b.npy", numbers(6, 3, 3))
    assert refused("left=a.npy", "in=b.npy", ports=TWO).splitlines() == [
        "the inputs differ in steps: a.npy 5, b.npy 6",
        "the inputs differ in batch rows: a.npy 4, b.npy 3",
    ]


def test_one_file_for_two_inputs() -> None:
    """What differs is told of each Input, not of each name of a file."""
    ports = [Port("a", "a", (3,)), Port("b", "b", (4, 3))]
    np.save("x.npy", numbers(5, 4, 3))
    assert refused("a=x.npy", "b=x.npy", ports=ports) == (
        "the inputs differ in batch rows: x.npy 4, x.npy 1"
    )


def test_inputs_are_cut_before_they_are_compared() -> None:
    np.save("a.npy", numbers(5, 4, 2))
    np.save("b.npy", numbers(6, 4, 3))
    found = fed("left=a.npy", "in=b.npy", ports=TWO, steps=4)
    assert [len(values) for values in found.values()] == [4, 4]
    assert refused("left=a.npy", "in=b.npy", ports=TWO, steps=7).splitlines() == [
        "a.npy: has 5 steps, and --steps asks for 7",
        "b.npy: has 6 steps, and --steps asks for 7",
    ]


def test_one_file_for_both_inputs_of_different_sizes() -> None:
    np.savez("a.npz", l=numbers(5, 4, 2), r=numbers(6, 4, 3))
    line = refused("left=a.npz:l", "in=a.npz:r", ports=TWO)
    assert line == "the inputs differ in steps: a.npz:l 5, a.npz:r 6"


def test_steps_cut_a_file_and_never_stretch_it() -> None:
    values = numbers(5, 4, 2, 3)
    np.save("a.npy", values)
    assert (fed("a.npy", steps=2)["input"] == values[:2]).all()
    assert (fed("a.npy", steps=5, batch=4)["input"] == values).all()
    assert refused("a.npy", steps=6) == "a.npy: has 5 steps, and --steps asks for 6"
    assert refused("a.npy", batch=1) == "a.npy: has 4 batch rows, and --batch asks for 1"
    np.save("a.npy", values[:1, :1])
    assert refused("a.npy", batch=2) == "a.npy: has 1 batch row, and --batch asks for 2"
    assert refused("a.npy", steps=2) == "a.npy: has 1 step, and --steps asks for 2"


def test_from_stdin() -> None:
    values = numbers(5, 4, 2, 3)
    stream = io.BytesIO()
    np.save(stream, values)
    stream.seek(0)
    assert (fed("-", stdin=stream)["input"] == values).all()
    assert refused("-", stdin=io.BytesIO(), kind=ReadError).startswith("<stdin>: is empty")
    assert refused("-no.npy", stdin=stream, kind=ReadError) == "-no.npy: no such file"
    assert refused("-", "-no.npy") == "the input 'input' is given twice"


# -------------------------------------------------------------------------------- events


@settings(deadline=None)
@given(
    step=st.integers(0, 10**6),
    dt=st.sampled_from([1e-4, 1e-3, 0.1, 1.0, 1 / 3, 2.5e-5]) | st.floats(1e-6, 10),
    way=st.sampled_from(["product", "quotient", "float32"]),
)
def test_an_event_at_a_multiple_of_dt_is_in_that_step(step: int, dt: float, way: str) -> None:
    time: Any = step * dt
    if way == "quotient":
        time = step / (1 / dt)
    elif way == "float32":
        time = np.float32(step) * np.float32(dt) if step < 10**5 else np.float32(time)
        dt = float(np.float32(dt))
        step = step if step < 10**5 else int(np.rint(float(time) / dt))
    assert steps_of([time], dt)[0] == step


@settings(deadline=None)
@given(step=st.integers(0, 10**5), part=st.floats(0.001, 0.999), dt=st.floats(1e-6, 10))
def test_an_event_between_two_steps_is_in_the_one_that_began(
    step: int, part: float, dt: float
) -> None:
    assert steps_of([(step + part) * dt], dt)[0] == step


def grid(idx: Any, time: Any, value: Any = None, **more: Any) -> np.ndarray:
    options = {"neurons": 3, "t_max": 1.0, "dt": 0.1, **more}
    values = None if value is None else np.array(value, float)
    return binned(np.array(idx), np.array(time, float), values, **options)


def test_events_are_counted_and_values_added() -> None:
    idx, time = [[0, 0, 2, -1]], [[0.3, 0.35, 0.0, np.inf]]
    counted = grid(idx, time)
    assert counted.shape == (10, 1, 3)
    assert counted[3, 0, 0] == 2
    assert counted[0, 0, 2] == 1
    assert counted.sum() == 3
    added = grid(idx, time, [[0.5, 0.25, -1, 9]])
    assert added[3, 0, 0] == 0.75
    assert added[0, 0, 2] == -1
    assert added.sum() == pytest.approx(-0.25)


def test_an_event_at_the_very_end_is_not_lost() -> None:
    assert grid([[1]], [[0.95]]).shape == (10, 1, 3)
    late = grid([[1]], [[1.0]])
    assert late.shape == (11, 1, 3)
    assert late[10, 0, 1] == 1


@pytest.mark.parametrize(("t_max", "steps"), [(1.0, 10), (0.3, 3), (0.31, 4), (0.29, 3), (0, 0)])
def test_how_many_steps_there_are(t_max: float, steps: int) -> None:
    assert len(grid([[-1]], [[np.inf]], t_max=t_max)) == steps


@settings(deadline=None)
@given(st.data())
def test_binned_events_are_the_grid_they_came_from(data: st.DataObject) -> None:
    """The oracle is nir's own way from a grid to events."""
    shape = data.draw(st.tuples(*[st.integers(1, n) for n in (3, 30, 4)]))
    dt = data.draw(st.sampled_from([1e-4, 0.1, 1e-3, 0.3]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    spikes = rng.random(shape) < 0.3
    events = nir.TimeGriddedData(spikes, dt).to_event(spikes.size)
    found = binned(events.idx, events.time, None, neurons=shape[2], t_max=events.t_max, dt=dt)
    assert (found.swapaxes(0, 1) == spikes).all()


@pytest.mark.parametrize(
    ("idx", "time", "more", "said"),
    [
        ([[3]], [[0]], {}, "an event of neuron 3, where there are 3"),
        ([[-2]], [[0]], {}, "an event of neuron -2"),
        ([[0]], [[-0.2]], {}, "at the time -0.2, before the start"),
        ([[0]], [[np.inf]], {}, "an event at the time inf"),
        ([[0]], [[np.nan]], {}, "an event at the time nan"),
        ([[0]], [[1.2]], {}, "an event at 1.2, after t_max, which is 1"),
        ([[0]], [[0, 1]], {}, "must be (samples, events) all alike, not idx (1, 1), time (1, 2)"),
        ([0], [0], {}, "must be (samples, events)"),
        ([[0.0]], [[0]], {}, "idx holds float64"),
        ([[0]], [[0]], {"t_max": np.inf}, "make no recording"),
        ([[0]], [[0]], {"neurons": -1}, "make no recording"),
    ],
)
def test_events_that_cannot_be(idx: Any, time: Any, more: Any, said: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        grid(idx, time, **more)
    assert said in str(caught.value)


# ------------------------------------------------------------------------ several processes


def test_processes_look_for_nan_in_parts_of_the_batch() -> None:
    """Each in its own: together in all rows, and each row is named as it is in the file."""
    for row in range(7):
        values = numbers(5, 7, 3)
        values[4, row, 2] = np.nan
        np.save("nan.npy", values)
        found = []
        for number in range(3):
            try:
                signals("nan.npy", ports=[Port("input", "input", (3,))], share=(number, 3))
            except UsageError as error:
                found.append(str(error))
        (text,) = found
        assert f"has nan at step 4, batch row {row}, neuron 2" in text
