"""Two runs compared: each number against one that is found by trying everything."""

from __future__ import annotations

import io
import itertools
import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import h5py
import nir
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from networks import DT, NETWORKS, converted, li, lif, module_of
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

import nirtorch_cli
from nirtorch_cli import Session, default_map, nir_to_torch, run_sequence, save
from nirtorch_cli.comparison.capture import recorded
from nirtorch_cli.comparison.comparison import Comparison
from nirtorch_cli.comparison.differences import (
    Position,
    no_spikes,
    spike_difference,
    value_difference,
)
from nirtorch_cli.comparison.expected import expected_variables, spiking_outputs
from nirtorch_cli.comparison.grid import coarser_spikes, coarser_values, common_grid
from nirtorch_cli.comparison.loading import same_inputs
from nirtorch_cli.comparison.nodes import compare
from nirtorch_cli.comparison.pairing import Asked, paired
from nirtorch_cli.comparison.recording import Recording, read_recording
from nirtorch_cli.comparison.specs import Side, parse_side
from nirtorch_cli.comparison.table import comparison_rows
from nirtorch_cli.comparison.trains import Match, largest_shift, matched, van_rossum
from nirtorch_cli.findings.errors import NirtorchError, ReadError, UsageError
from nirtorch_cli.primitives.table import is_spiking
from nirtorch_cli.reading.graphs import ModelFile
from nirtorch_cli.running.recording import node_types
from nirtorch_cli.running.sampling import random_inputs
from nirtorch_cli.running.signals.outputs import Label, write_signals

trains = st.lists(st.integers(0, 30), max_size=9).map(sorted)
shifts = st.integers(0, 5)


# ------------------------------------------------------------------------- spike trains


def runs(train: list[int]) -> list[tuple[int, int]]:
    """A list of steps as a train."""
    return sorted(Counter(train).items())


def most_pairs(a: list[int], b: list[int], max_shift: int) -> int:
    """The size of a largest matching, by another program."""
    if not a or not b:
        return 0
    near = np.abs(np.subtract.outer(a, b)) <= max_shift
    return int((maximum_bipartite_matching(csr_matrix(near.astype(int))) >= 0).sum())


@given(trains, trains, shifts)
@example([1, 2], [2, 3], 1)
@example([1, 2], [2], 1)
@example([0, 3, 3], [3, 3, 6], 3)
def test_as_many_spikes_are_matched_as_can_be(a: list[int], b: list[int], max_shift: int) -> None:
    found = matched(runs(a), runs(b), max_shift)
    pairs = most_pairs(a, b, max_shift)
    assert found.same + found.shifted == pairs
    assert (found.missing, found.extra) == (len(a) - pairs, len(b) - pairs)
    common = sum(min(a.count(step), b.count(step)) for step in set(a))
    assert found.same <= common
    if max_shift == 0 or pairs == common:
        assert found.same == common
    mirrored = matched(runs(b), runs(a), max_shift)
    assert (mirrored.missing, mirrored.extra) == (found.extra, found.missing)


def test_spikes_at_the_same_step_stay_together_if_that_costs_none() -> None:
    assert matched(runs([1, 2]), runs([2]), 1) == Match(same=1, shifted=0, missing=1, extra=0)
    assert matched(runs([1, 2]), runs([2, 3]), 1) == Match(same=0, shifted=2, missing=0, extra=0)
    assert matched([], [(4, 2)], 9) == Match(same=0, shifted=0, missing=0, extra=2)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=6))
def test_the_largest_shift_is_the_least_that_is_enough(pairs: list[tuple[int, int]]) -> None:
    a, b = (sorted(train) for train in zip(*pairs)) if pairs else ([], [])
    everyway = (
        max((abs(x - y) for x, y in zip(a, order)), default=0)
        for order in itertools.permutations(b)
    )
    assert largest_shift(runs(a), runs(b)) == min(everyway)


@given(trains, trains, shifts)
def test_the_largest_shift_is_where_nothing_is_missing(
    a: list[int], b: list[int], max_shift: int
) -> None:
    least = largest_shift(runs(a), runs(b))
    found = matched(runs(a), runs(b), max_shift)
    assert (least is not None and least <= max_shift) == (found.missing == found.extra == 0)


def directly(a: list[int], b: list[int], tau: float) -> float:
    """Van Rossum's distance by the integrals of all products of two exponentials."""

    def products(x: list[int], y: list[int]) -> float:
        return sum(math.exp(-abs(s - t) / tau) for s in x for t in y) / 2

    return math.sqrt(max(products(a, a) + products(b, b) - 2 * products(a, b), 0.0))


def counts_of(train: list[int], steps: int = 31) -> np.ndarray:
    return np.bincount(np.array(train, dtype=int), minlength=steps)[:, None]


@given(trains, trains, st.sampled_from([0.01, 0.5, 1.0, 7.3, 50.0, 1e4]))
def test_van_rossum_is_the_sum_over_all_pairs(a: list[int], b: list[int], tau: float) -> None:
    [found] = van_rossum(counts_of(a), counts_of(b), tau)
    assert found == pytest.approx(directly(a, b, tau), rel=1e-6, abs=1e-6)


def test_van_rossum_is_the_integral_that_defines_it() -> None:
    a, b, tau = [0, 3, 4, 20], [1, 4, 4, 30], 6.0
    time = np.linspace(0, 400, 4_000_001)
    difference = np.zeros_like(time)
    for sign, train in ((1, a), (-1, b)):
        for spike in train:
            difference[time >= spike] += sign * np.exp(-(time[time >= spike] - spike) / tau)
    expected = math.sqrt(np.sum(difference**2) * (time[1] - time[0]) / tau)
    assert van_rossum(counts_of(a), counts_of(b), tau)[0] == pytest.approx(expected, rel=1e-4)


def test_van_rossum_takes_all_neurons_at_once_and_any_type() -> None:
    random = np.random.default_rng(0)
    a, b = random.random((2, 40, 7)) < 0.2
    expected = [van_rossum(a[:, n : n + 1], b[:, n : n + 1], 4.0)[0] for n in range(7)]
    for kind in (bool, np.uint8, np.float16, np.int64):
        np.testing.assert_allclose(van_rossum(a.astype(kind), b.astype(kind), 4.0), expected)
    one, none = np.zeros((9, 1)), np.zeros((9, 1))
    one[5] = 1
    assert van_rossum(one, none, 3.0)[0] ** 2 == pytest.approx(0.5)


# ---------------------------------------------------------------------------------- grids


@pytest.mark.parametrize(
    ("dt_a", "dt_b", "expected"),
    [
        (1e-4, 1e-4, (1e-4, 1, 1)),
        (1e-4, 1e-5, (1e-4, 1, 10)),
        (1e-3, 3e-3, (3e-3, 3, 1)),
        (float(np.float32(1e-4)), 1e-5, (float(np.float32(1e-4)), 1, 10)),
    ],
)
def test_common_grids(dt_a: float, dt_b: float, expected: tuple[float, int, int]) -> None:
    grid = common_grid(dt_a, dt_b)
    assert (grid.dt, grid.a, grid.b) == expected


@pytest.mark.parametrize(
    ("dt_a", "dt_b", "text"),
    [
        (2e-3, 3e-3, "the steps 0.002 and 0.003 have no common grid; one dt must be a whole"),
        (1e-3, 1.001e-3, "have no common grid"),
        (None, 1e-3, "how long a step is in A is not known; add ',dt=SECONDS' to its spec"),
        (1e-3, None, "how long a step is in B is not known"),
    ],
)
def test_no_common_grid(dt_a: float | None, dt_b: float | None, text: str) -> None:
    with pytest.raises(UsageError, match=text) as caught:
        common_grid(dt_a, dt_b)
    assert caught.value.exit_code == 2


def test_coarser_spikes_are_counted_and_values_are_those_at_the_end() -> None:
    values = np.arange(14).reshape(7, 1, 2)
    assert coarser_spikes(values, 3)[:, 0].tolist() == [[6, 9], [24, 27]]
    assert coarser_values(values, 3)[:, 0].tolist() == [[4, 5], [10, 11]]
    assert coarser_spikes(np.ones((4, 1), bool), 2).tolist() == [[2], [2]]
    assert coarser_spikes(values, 1) is values
    np.testing.assert_array_equal(coarser_values(values, 1), values)


# ---------------------------------------------------------------------------- differences


@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.3, 1.0, np.inf]))
@settings(deadline=None)
def test_value_differences(seed: int, atol: float) -> None:
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, 4, size=random.integers(2, 5)))
    a, b = random.integers(0, 4, size=(2, *shape)) / 2
    a[random.random(shape) < 0.1] = random.choice([np.nan, np.inf, -np.inf])
    b[random.random(shape) < 0.1] = random.choice([np.nan, np.inf, -np.inf])
    found = value_difference(a, b, atol)
    beyond, wrong, largest, first = 0, 0, [], []
    for place in itertools.product(*map(range, shape)):
        x, y = float(a[place]), float(b[place])
        if not (math.isfinite(x) and math.isfinite(y)):
            wrong += 1
            first.append(place[0])
            continue
        largest.append(abs(x - y))
        if abs(x - y) > atol:
            beyond += 1
            first.append(place[0])
    assert (found.beyond, found.not_finite) == (beyond, wrong)
    assert found.largest == (max(largest) if largest else None)
    assert found.first_step == (min(first) if first else None)
    if found.place is not None:
        place = (found.place.step, found.place.row, *found.place.neuron)
        assert abs(a[place] - b[place]) == found.largest


def test_value_differences_are_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(1).random((2, 50, 2, 3))
    b[17, 1, 2] = np.nan
    whole = value_difference(a, b, 0.99)
    for size in (1, 7, 100):
        monkeypatch.setattr("nirtorch_cli.comparison.differences._AT_A_TIME", size)
        assert value_difference(a, b, 0.99) == whole


def test_values_of_half_precision_are_subtracted_in_double() -> None:
    a, b = np.full((1, 1, 1), 60_000, np.float16), np.full((1, 1, 1), -60_000, np.float16)
    assert value_difference(a, b, 0).largest == 120_000  # float16 has no such number


@given(st.integers(0, 2**31), shifts)
@settings(deadline=None)
def test_spike_differences(seed: int, max_shift: int) -> None:
    random = np.random.default_rng(seed)
    shape = (12, *random.integers(1, 4, size=random.integers(1, 3)))
    a = (random.random(shape) < 0.3).astype(np.float32)
    b = a.copy()
    for place in zip(*(random.integers(0, size, size=3) for size in shape)):
        b[place] = 1 - b[place]
    found = spike_difference(a, b, dt=0.5, max_shift=max_shift, tau=3.0)
    totals, distances, least = np.zeros(3, int), [], []
    for neuron in itertools.product(*map(range, shape[1:])):
        train_a, train_b = ([t for t in range(12) if x[(t, *neuron)]] for x in (a, b))
        match = matched(runs(train_a), runs(train_b), max_shift)
        totals += match.missing, match.extra, match.shifted
        distances.append(directly(train_a, train_b, 3.0))
        least.append(largest_shift(runs(train_a), runs(train_b)))
    assert (found.missing, found.extra, found.shifted) == tuple(totals)
    assert found.least_shift == (None if None in least else max(least))  # type: ignore[type-var]
    assert (found.spikes_a, found.spikes_b) == (a.sum(), b.sum())
    assert found.rate_a == pytest.approx(a.mean() / 0.5)
    assert found.rate_b == pytest.approx(b.mean() / 0.5)
    assert found.van_rossum == pytest.approx(np.mean(distances), abs=1e-6)
    assert found.largest_van_rossum == pytest.approx(max(distances), abs=1e-6)
    places = np.argwhere(a != b)
    assert found.first_step == (int(places[0][0]) if len(places) else None)
    if found.first is not None:
        assert [found.first.step, found.first.row, *found.first.neuron] == places[0].tolist()


def test_what_can_be_numbers_of_spikes() -> None:
    assert no_spikes(np.array([[True, False]])) is None
    assert no_spikes(np.array([[0, 1.0, 3.0]], np.float16)) is None
    assert no_spikes(np.array([[2**53 - 1]])) is None
    for wrong in (0.5, -1, np.nan, np.inf, 2.0**53):
        found = no_spikes(np.array([[[0, 0]], [[0, wrong]]]))
        assert found == (Position(1, 0, (1,)), f"{wrong:.9g}")


def test_numbers_of_spikes_cost_nothing() -> None:
    """Spikes are matched as they would be one by one, however many fall in a step."""
    many = 2**52
    a, b = np.zeros((20, 1, 2)), np.zeros((20, 1, 2))
    a[3, 0, 0] = b[4, 0, 0] = a[9] = many
    b[9] = many + 3
    found = spike_difference(a, b, dt=1.0, max_shift=1, tau=2.0)
    assert (found.missing, found.extra, found.shifted) == (0, 6, many)
    assert (found.spikes_a, found.least_shift) == (3 * many, None)
    assert found.van_rossum == pytest.approx(found.largest_van_rossum / 2)
    b[9] = many
    assert spike_difference(a, b, dt=1.0, max_shift=0, tau=2.0).least_shift == 1


@pytest.mark.parametrize("count", [1e18, 1e308])
def test_more_spikes_than_can_be_counted_are_not_compared(count: float) -> None:
    spikes = np.full((4, 1, 2), count)
    found = compared({"lif": {"spikes": spikes}}, {"lif": {"spikes": spikes}})
    [_, failure] = found.failures(np.inf, 9)
    assert failure.message == (
        f"spikes could not be compared: A has {count:.9g} at step 0, row 0, neuron 0, "
        "which is not a number of spikes up to 9,007,199,254,740,991"
    )
    halves = np.full((8, 1, 2), 2.0**52)
    found = compared({"lif": {"spikes": halves[:4]}}, {"lif": {"spikes": halves}}, DT / 2)
    assert "B has 9.00719925e+15 at step 0" in found.failures()[-1].message


# ----------------------------------------------------------------------------- comparison

Trace = Mapping[str, Mapping[str, np.ndarray]]


def trace(seed: int = 0, steps: int = 20) -> dict[str, dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    spikes = (random.random((steps, 2, 3)) < 0.2).astype(np.float32)
    return {
        "lif": {"spikes": spikes, "v": random.random((steps, 2, 3))},
        "out": {"output": random.random((steps, 2, 1))},
    }


def compared(a: Trace, b: Trace, dt_b: float = DT, **settings: Any) -> Comparison:
    return compare(Recording("a", DT, a), Recording("b", dt_b, b), **settings)


def test_equal_runs_pass_whatever_is_asked() -> None:
    found = compared(trace(), trace(), atol=0.0)
    assert found.passes()
    assert found.failures() == []
    assert found.first_parting is None
    assert (found.steps, found.rows, found.dt) == (20, 2, DT)
    assert found.nodes[0].spikes.van_rossum == 0
    assert found.nodes[0].values["v"].largest == 0


@given(st.data())
@settings(deadline=None)
def test_any_single_change_is_found(data: st.DataObject) -> None:
    a, b = trace(), trace()
    node, name = data.draw(st.sampled_from([("lif", "spikes"), ("lif", "v"), ("out", "output")]))
    values = b[node][name]
    place = tuple(data.draw(st.integers(0, size - 1)) for size in values.shape)
    values[place] = 1 - values[place] if name == "spikes" else values[place] + 0.25
    found = compared(a, b)
    assert not found.passes()
    assert found.first_parting is not None
    assert (found.first_parting.node, found.first_parting.first_step) == (node, place[0])
    [failure] = found.failures()
    assert (failure.code, failure.node) == ("NIR620", node)
    assert f"at step {place[0]}" in failure.message
    if name == "spikes":
        assert not found.passes(atol=np.inf, max_spike_shift=1000)
    else:
        assert f"(step {place[0]}, row {place[1]}, neuron {place[2]})" in failure.message
        assert found.passes(atol=0.26)
        assert not found.passes(atol=0.24)


@given(st.integers(0, 2**31), shifts)
@settings(deadline=None)
def test_tolerances_may_be_given_later(seed: int, max_shift: int) -> None:
    """What passes by the numbers of one comparison passes if compared so, and the other way."""
    random = np.random.default_rng(seed)
    a, b = trace(), trace()
    b["lif"]["spikes"] = np.roll(b["lif"]["spikes"], random.integers(0, 4), axis=0)
    b["lif"]["v"] = b["lif"]["v"] + random.random() / 10
    later = compared(a, b).passes(atol=0.05, max_spike_shift=max_shift)
    assert later == compared(a, b, atol=0.05, max_spike_shift=max_shift).passes()


def test_shifted_spikes() -> None:
    a, b = trace(), trace()
    spikes = np.zeros((20, 2, 3))
    a["lif"]["spikes"], b["lif"]["spikes"] = spikes.copy(), spikes.copy()
    a["lif"]["spikes"][5, 1, 2] = b["lif"]["spikes"][7, 1, 2] = 1
    found = compared(a, b)
    [failure] = found.failures()
    assert failure.message == "the runs diverge at step 5: spikes shifted by up to 2 steps"
    assert (found.nodes[0].spikes.missing, found.nodes[0].spikes.extra) == (1, 1)
    assert not found.passes(max_spike_shift=1)
    assert found.passes(max_spike_shift=2)
    near = compared(a, b, max_spike_shift=2)
    assert near.passes()
    assert (near.nodes[0].spikes.shifted, near.nodes[0].spikes.missing) == (1, 0)
    assert near.first_parting is not None  # it passes, and is told all the same


UNFIT = {
    "missing in A": (("lif", "v"), None, "v could not be compared: A does not have it"),
    "missing in B": (None, ("lif", "v"), "v could not be compared: B does not have it"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_variable_of_one_run_only_fails(case: str) -> None:
    gone_a, gone_b, text = UNFIT[case]
    runs = trace(), trace()
    for run, gone in zip(runs, (gone_a, gone_b)):
        if gone is not None:
            del run[gone[0]][gone[1]]
    found = compared(*runs)
    assert not found.passes(atol=np.inf, max_spike_shift=1000)
    assert [(f.code, f.node, f.message) for f in found.failures()] == [("NIR621", "lif", text)]


@pytest.mark.parametrize("which", [0, 1])
def test_a_node_of_one_run_only_fails(which: int) -> None:
    runs = trace(), trace()
    del runs[which]["out"]
    found = compared(*runs)
    [failure] = found.failures(atol=np.inf)
    assert (failure.code, failure.node) == ("NIR621", "out")


def test_what_was_expected_and_neither_has_fails() -> None:
    expected = {"gone": ["v"], "lif": ["spikes", "v", "i"]}
    found = compared(trace(), trace(), expected=expected)
    assert [(f.node, f.message) for f in found.failures()] == [
        ("gone", "v could not be compared: neither has it"),
        ("lif", "i could not be compared: neither has it"),
    ]
    assert [node.node for node in found.nodes] == ["gone", "lif", "out"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda x: x[:-1], "A has 20 steps of it and B 19"),
        (lambda x: x[:, :1], "(T, B, ...) is 20x2x3 in A and 20x1x3 in B"),
        (lambda x: x[..., :2], "(T, B, ...) is 20x2x3 in A and 20x2x2 in B"),
        (lambda x: x[:, 0, 0], "(T, B, ...) is 20x2x3 in A and 20 in B"),
        (lambda x: x[0, 0, 0], "(T, B, ...) is 20x2x3 in A and one number in B"),
    ],
)
@pytest.mark.parametrize("name", ["spikes", "v"])
def test_other_shapes_fail(change: Any, text: str, name: str) -> None:
    a, b = trace(), trace()
    b["lif"][name] = np.asarray(change(b["lif"][name]))
    [failure] = compared(a, b).failures(np.inf, 1000)
    assert failure.message == f"{name} could not be compared: {text}"


def test_two_empty_runs_do_not_agree() -> None:
    for run in ({}, {"lif": {"v": np.zeros((0, 1, 2))}}, {"lif": {"v": np.zeros((5, 1, 0))}}):
        found = compared(run, run)
        assert not found.passes(np.inf, 1000)
        assert "nothing was recorded that could be compared" in found.failures()[0].message


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("sides", [(0,), (1,), (0, 1)])
def test_nan_fails_even_where_both_have_it(value: float, sides: tuple[int, ...]) -> None:
    runs = trace(), trace()
    for side in sides:
        runs[side]["lif"]["v"][4, 0, 1] = value
    found = compared(*runs)
    [failure] = found.failures(atol=np.inf)
    assert failure.message == "the runs diverge at step 4: v is NaN or infinity in 1 value"
    for side in sides:
        runs[side]["lif"]["v"][4, 0, 1] = 0
        runs[side]["lif"]["spikes"][3, 1, 1] = value
    [failure] = compared(*runs).failures(np.inf, 1000)[:1]
    assert failure.code == "NIR621"
    assert failure.message == (
        f"spikes could not be compared: {'AB'[sides[0]]} has {'NaN' if value != value else 'inf'} "
        "at step 3, row 1, neuron 1, which is not a number of spikes"
    )


def test_no_node_is_the_first_if_one_before_it_was_not_compared() -> None:
    a, b = trace(), trace()
    b["out"]["output"][3:] += 1
    assert compared(a, b).first_parting.node == "out"
    for step, first, unknown in [(0, None, "lif"), (3, None, "lif"), (4, "out", None)]:
        bad = trace()
        bad["lif"]["spikes"][step, 0, 0] = np.nan
        found = compared(a, {**bad, "out": b["out"]})
        told = found.to_json()
        assert (told["first_parting"], told["first_unknown"]) == (first, unknown)
        assert found.nodes[0].unknown_from == step
    a["lif"]["spikes"][1] = 1 - b["lif"]["spikes"][1]  # before there is a NaN to be seen
    assert compared(a, {**bad, "out": b["out"]}).nodes[0].unknown_from == 1
    del b["lif"]["v"]  # spikes say what other nodes get
    assert compared(trace(), b).first_parting.node == "out"
    del b["lif"]
    assert compared(trace(), b).first_parting is None


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"atol": math.nan}, "atol must be 0 or more, not nan"),
        ({"atol": -1e-9}, "atol must be 0 or more, not -1e-09"),
        ({"max_spike_shift": -1}, "max_spike_shift must be 0 or more, not -1"),
        ({"tau": math.nan}, "tau must be a positive number, not nan"),
        ({"tau": 0.0}, "tau must be a positive number, not 0"),
    ],
)
def test_tolerances_that_mean_nothing(settings: dict[str, float], text: str) -> None:
    with pytest.raises(UsageError, match=text) as caught:
        compared(trace(), trace(), **settings)
    assert caught.value.exit_code == 2
    if "tau" not in settings:
        found = compared(trace(), trace(seed=1))
        for method in (found.failures, found.passes):
            with pytest.raises(UsageError, match=text):
                method(**settings)


def test_an_output_of_spikes_is_compared_as_such() -> None:
    a, b = np.zeros((20, 2, 1)), np.zeros((20, 2, 1))
    a[4, 0, 0] = b[5, 0, 0] = 1
    found = compared({"out": {"output": a}}, {"out": {"output": b}})
    assert not found.passes()
    assert found.passes(max_spike_shift=1)
    b[9] = 0.5
    assert list(compared({"out": {"output": a}}, {"out": {"output": b}}).nodes[0].values) == [
        "output"
    ]


def test_other_steps_are_compared_over_time() -> None:
    """B with half the steps' length: two steps of it for each of A."""
    a, fine = trace(), {}
    halves = np.zeros((40, 2, 3))
    halves[1::2] = a["lif"]["spikes"]
    fine["lif"] = {"spikes": halves, "v": np.repeat(a["lif"]["v"], 2, axis=0)}
    fine["lif"]["v"][::2] += 5  # between A's steps
    fine["out"] = {"output": np.repeat(a["out"]["output"], 2, axis=0)}
    assert compared(a, fine, DT / 2, atol=0.0).passes()
    back = compare(Recording("b", DT / 2, fine), Recording("a", DT, a), atol=0.0)
    assert back.passes()
    assert (back.steps, back.dt) == (20, DT)
    fine["lif"]["spikes"][6] += 1
    assert compared(a, fine, DT / 2).first_parting.first_step == 3
    fine["lif"]["v"] = fine["lif"]["v"][:-1]
    messages = [failure.message for failure in compared(a, fine, DT / 2).failures()]
    assert "v could not be compared: A has 20 steps of it and B 39" in messages


def test_a_comparison_is_json() -> None:
    b = trace(seed=1)
    b["lif"]["v"][0] = np.nan
    del b["out"]
    found = compared(trace(), b, atol=np.inf)
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["atol"] == "inf"
    assert (told["passes"], told["first_parting"]) == (False, "lif")
    lif, out = told["nodes"]
    assert lif["spikes"]["spikes_a"] == found.nodes[0].spikes.spikes_a
    assert lif["values"]["v"]["not_finite"] == 6
    assert lif["values"]["v"]["place"] == {
        "step": found.nodes[0].values["v"].place.step,
        "row": found.nodes[0].values["v"].place.row,
        "neuron": list(found.nodes[0].values["v"].place.neuron),
    }
    assert out["not_compared"] == {"output": "could not be compared: B does not have it"}
    assert told["tau"] == pytest.approx(10 * DT)


def test_a_comparison_as_rows() -> None:
    b = trace()
    b["lif"]["spikes"] = np.roll(b["lif"]["spikes"], 1, axis=0)
    b["lif"]["v"][2, 0, 0] = np.nan
    del b["out"]
    columns, rows = comparison_rows(compared(trace(), b))
    told = [dict(zip(columns, row, strict=True)) for row in rows]
    assert told[0]["node"] == "lif"
    assert told[0]["diverges at"].startswith("step ")
    assert told[0]["v differs"] == "0 1 NaN"
    assert told[1]["not compared"] == "output"
    assert "i differs" not in columns
    equal_columns, _ = comparison_rows(compared(trace(), trace()))
    assert "missing" not in equal_columns


def test_a_place_of_a_node_with_axes() -> None:
    a, b = np.zeros((3, 2, 4, 5)), np.zeros((3, 2, 4, 5))
    b[1, 1, 3, 2] = -2
    assert value_difference(a, b, 0).place == Position(1, 1, (3, 2))
    b[1, 1, 3, 2] = 1
    assert spike_difference(a, b, dt=1, max_shift=0, tau=1).first == Position(1, 1, (3, 2))
    text = compared({"n": {"v": a}}, {"n": {"v": b}}).failures()[0].message
    assert "(step 1, row 1, neuron 3, 2)" in text


# ---------------------------------------------------------------------------------- specs


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("default", Side("default", "default")),
        ("default,dt=1e-5", Side("default,dt=1e-5", "default", "", 1e-5)),
        ("map:mymaps:MAP,dt=1e-3", Side("map:mymaps:MAP,dt=1e-3", "map", "mymaps:MAP", 1e-3)),
        ("map:a,b/m.py", Side("map:a,b/m.py", "map", "a,b/m.py")),
        (
            "default,integration=exact,integrator-input=current",
            Side(
                "default,integration=exact,integrator-input=current",
                "default",
                options={"integration": "exact", "integrator_input": "current"},
            ),
        ),
        ("file:C:\\model.pt", Side("file:C:\\model.pt", "file", "C:\\model.pt")),
        ("trace:a.npz,dt=2", Side("trace:a.npz,dt=2", "trace", "a.npz", 2.0)),
    ],
)
def test_specs(spec: str, expected: Side) -> None:
    assert parse_side(spec) == expected


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("", "'' is not of a form that is known; a spec is default, map:SPEC"),
        ("defaults", "is not of a form that is known"),
        ("default:x", "is not of a form that is known"),
        ("map", "is not of a form that is known"),
        ("file:", "is not of a form that is known"),
        ("default,exact", "is not of a form that is known"),
        ("default,dt=0", "says dt='0'; dt is a positive number"),
        ("default,dt=fast", "says dt='fast'"),
        ("default,dt=nan", "says dt='nan'"),
        ("default,reset=maybe", "says reset='maybe'; reset is value or subtract"),
        ("default,size=3", "has no option 'size'; default takes 'dt', 'integration'"),
        ("file:m.pt,dt=1", "has no option 'dt'; file takes none"),
        ("trace:m.npz,reset=value", "has no option 'reset'; trace takes 'dt'"),
        ("default,dt=1,dt=2", "says dt twice"),
    ],
)
def test_wrong_specs(spec: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_side(spec)
    assert text in str(caught.value)


# ------------------------------------------------------------------------------ recordings


def test_a_recording_is_read(tmp_path: Path) -> None:
    arrays = {
        "output": np.zeros((4, 1, 2)),
        "a/b:v": np.ones((4, 1, 3)),
        "a:b:spikes": np.ones((4, 1, 3), bool),
        "lif:count": np.ones((1, 3)),
        "odd:name": np.ones((4, 1)),
    }
    path = tmp_path / "run.npz"
    np.savez(path, **arrays)
    found = read_recording(path)
    assert (found.name, found.dt) == (f"trace:{path}", None)
    assert {p: list(v) for p, v in found.trace.items()} == {
        "output": ["output"],
        "a/b": ["v"],
        "a:b": ["spikes"],
        "odd:name": ["output"],
    }
    np.savez(path, **arrays, dt=1e-3)
    assert read_recording(path).dt == 1e-3
    assert read_recording(path, dt=2.0).dt == 2.0
    for wrong in (0.0, -1.0, np.nan, [1.0, 2.0], 1j):
        np.savez(path, dt=np.array(wrong))
        assert read_recording(path).dt is None


def test_an_output_may_be_called_dt(tmp_path: Path) -> None:
    np.savez(tmp_path / "run.npz", dt=np.ones((4, 1, 2)))
    found = read_recording(tmp_path / "run.npz")
    assert (found.dt, list(found.trace["dt"])) == (None, ["output"])


def write_nodes(path: Path, nodes: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    held = [(Label(node, name), a) for node, of in nodes.items() for name, a in of.items()]
    write_signals(str(path), held, DT)


def test_nir_data_are_a_recording(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    spikes, v = random.random((9, 2, 2, 3)) < 0.3, random.random((9, 2, 2, 3))
    nodes = {"sub/lif": {"spikes": spikes, "v": v}, "y": {"output": v, "odd": v}}
    write_nodes(tmp_path / "run.nir", nodes)
    found = read_recording(tmp_path / "run.nir")
    assert (found.dt, found.is_flat) == (DT, True)
    assert {path: list(held) for path, held in found.trace.items()} == {
        "sub/lif": ["spikes", "v"],
        "y": ["output"],
        "y/odd": ["output"],
    }
    np.testing.assert_array_equal(found.trace["sub/lif"]["v"], v.reshape(9, 2, 6))
    assert read_recording(tmp_path / "run.nir", dt=2.0).dt == 2.0
    whole = Recording("b", DT, {"sub/lif": {"spikes": spikes, "v": v}, "y": {"output": v}})
    for a, b in [(found, whole), (whole, found)]:
        comparison = compare(a, b, atol=0.0)
        assert [failure.node for failure in comparison.failures()] == ["y/odd"]
    changed = v.copy()
    changed[4, 1, 1, 2] += 1
    other = Recording("b", DT, {"sub/lif": {"v": changed}})
    assert compare(found, other).nodes[0].values["v"].place == Position(4, 1, (5,))
    fewer = Recording("b", DT, {"sub/lif": {"v": v[..., :2]}})
    assert compare(found, fewer).failures()[-3].message == (
        "v could not be compared: (T, B, ...) is 9x2x6 in A and 9x2x2x2 in B"
    )


def with_another_dt(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["nodes/lif/observables/v"].attrs["dt"] = 2 * DT


def with_events(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["nodes/lif/observables/v/data"]
        file["nodes/lif/observables/v/idx"] = np.zeros((1, 2))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (with_another_dt, "node 'lif/v': has no dt, or one that differs from others in the file"),
        (with_events, "node 'lif/v': has no grid of time steps; 'nirtorch run -o' writes what"),
    ],
)
def test_nir_data_that_are_no_recording(tmp_path: Path, change: Any, text: str) -> None:
    values, path = np.ones((4, 1, 2)), tmp_path / "run.nir"
    write_nodes(path, {"lif": {"spikes": values, "v": values}})
    change(path)
    with pytest.raises(ReadError, match=r"run\.nir") as caught:
        read_recording(path)
    assert text in str(caught.value)
    nir.write(path, chain(lif(3)))
    with pytest.raises(ReadError, match="does not hold NIR data"):
        read_recording(path)


def content_of(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "no such file"),
        (b"", "is empty"),
        (b"not a zip", "is not a recording of a run (.npz, or NIR data)"),
        (content_of(v=np.ones(9))[:-30], "damaged"),
        (content_of(v=np.array([object()])), "Python objects"),
        (content_of(v=np.array(["text"])), "holds <U4, not real numbers"),
        (content_of(v=np.ones((1000, 1000))), "claim more than 1,000,000 bytes"),
    ],
)
def test_a_recording_that_cannot_be_read(tmp_path: Path, content: bytes | None, text: str) -> None:
    path = tmp_path / "run.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ReadError, match=r"run\.npz") as caught:
        read_recording(path, max_bytes=1_000_000)
    assert text in str(caught.value)
    assert caught.value.exit_code == 3


# --------------------------------------------------------------------------------- pairs


def feed(asked: Asked) -> dict[str, torch.Tensor]:
    made = random_inputs(asked.module, asked.steps or 12, asked.rows or 2, seed=4)
    return {asked.module.meta["names"][name]: values for name, values in made.items()}


def pair(model: Any, a: str, b: str, **settings: Any) -> Any:
    file = ModelFile(model, nir.version, "model.nir")
    names = settings.pop("variables", ["spikes", "v", "i", "output"])
    return paired((parse_side(a), parse_side(b)), file, feed, names, **settings)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_graph_agrees_with_itself_in_every_node(name: str) -> None:
    found = pair(NETWORKS[name](), "default", "default")
    comparison = compare(*found.recordings, expected=found.expected, atol=0.0)
    assert comparison.passes(), comparison.failures()
    module = converted(NETWORKS[name]())
    assert {node.node for node in comparison.nodes} == set(expected_variables(module))
    types = dict(zip(module.meta["names"].values(), module.meta["types"].values()))
    spiking = [n.node for n in comparison.nodes if types.get(n.node) in ("IF", "LIF", "CubaLIF")]
    assert all(n.spikes for n in comparison.nodes if n.node in spiking)


def test_two_integrations_differ_and_the_numbers_are_those_of_two_runs() -> None:
    graph = NETWORKS["feedforward"]()
    found = pair(graph, f"default,dt={DT}", f"default,integration=exact,dt={DT}")
    comparison = compare(*found.recordings, expected=found.expected)
    assert not comparison.passes()
    runs = []
    for integration in ("euler", "exact"):
        module = nir_to_torch(graph, {}, default_map(DT, integration=integration))
        x = random_inputs(module, 12, 2, seed=4)["input"]
        state, v, z = None, [], []
        for step in x:
            _, state = module(step, state)
            v.append(state["cuba"]["v"].detach().numpy())
        module.cuba.register_forward_hook(
            lambda m, args, out, z=z: z.append(out[0].detach().numpy())
        )
        state = None
        for step in x:
            _, state = module(step, state)
        runs.append((np.stack(v), np.stack(z)))
    [cuba] = [node for node in comparison.nodes if node.node == "cuba"]
    expected = np.abs(runs[0][0] - runs[1][0]).max()
    assert cuba.values["v"].largest == pytest.approx(float(expected), rel=1e-5)
    assert (cuba.spikes.spikes_a, cuba.spikes.spikes_b) == tuple(z.sum() for _, z in runs)


def test_a_finer_step_gets_the_same_input_for_longer() -> None:
    """A neuron without leak that takes a current: half the step twice is the step."""
    graph = nir.NIRGraph(
        {
            "in": nir.Input(np.array([3])),
            "i": nir.I(np.full(3, 2.0)),
            "out": nir.Output(np.array([3])),
        },
        [("in", "i"), ("i", "out")],
    )
    spec = "default,integrator_input=current,dtype=float64,dt="
    found = pair(graph, f"{spec}1e-3", f"{spec}2.5e-4")
    comparison = compare(*found.recordings, expected=found.expected, atol=1e-12)
    assert comparison.passes(), comparison.failures()
    assert comparison.nodes[0].values["v"].largest < 1e-12
    assert [(r.dt, len(r.trace["i"]["v"])) for r in found.recordings] == [(1e-3, 12)] * 2
    assert any("over which the input is constant" in note for note in found.notes)
    assert set(found.expected) == {"i", "out"}


def test_a_saved_module_and_a_trace(tmp_path: Path) -> None:
    graph = NETWORKS["recurrent"]()
    module = nir_to_torch(graph, {}, default_map(DT))
    save(module, tmp_path / "m.pt")
    spec = f"file:{tmp_path / 'm.pt'}"
    with pytest.raises(UsageError, match=r"is a pickle.*give --trust"):
        pair(graph, f"default,dt={DT}", spec)
    found = pair(graph, f"default,dt={DT}", spec, trust=True)
    assert compare(*found.recordings, expected=found.expected, atol=0.0).passes()
    v, output = (found.recordings[0].trace[node] for node in ("lif", "output"))
    np.savez(tmp_path / "t.npz", **{"lif:v": v["v"], "output": output["output"]})
    traced = pair(graph, f"trace:{tmp_path / 't.npz'}", spec, trust=True)
    assert traced.expected == {"lif": ["v"], "output": ["output"]}
    assert traced.recordings[0].dt == DT
    [assumed] = traced.assumed
    assert assumed.severity == "warning"
    assert "does not say dt: taken as 0.001; add ',dt=SECONDS' to its spec" in assumed.line()
    assert any("only what trace:" in note for note in traced.notes)
    comparison = compare(*traced.recordings, expected=traced.expected, atol=0.0)
    assert comparison.passes(), comparison.failures()
    np.savez(tmp_path / "t.npz", **{"gone:v": v["v"], "lif:v": v["v"] + 1, "lif:i": v["v"]})
    traced = pair(graph, f"trace:{tmp_path / 't.npz'}", spec, trust=True)
    messages = [f.line() for f in compare(*traced.recordings).failures(atol=0.5)]
    assert len(messages) == 3
    missing = "could not be compared: B does not have it"
    assert f"node 'gone': v {missing}" in messages
    assert any(line.startswith(f"node 'lif': i {missing}; a module") for line in messages)
    with pytest.raises(ReadError, match="holds no spikes of any node"):
        pair(graph, f"trace:{tmp_path / 't.npz'}", spec, trust=True, variables=["spikes"])


def test_an_only_output_may_have_any_name(tmp_path: Path) -> None:
    graph = nir.NIRGraph(
        {"x": nir.Input(np.array([2])), "w": nir.Linear(np.eye(2)), "y": nir.Output(np.array([2]))},
        [("x", "w"), ("w", "y")],
    )
    first = pair(graph, "default", "default").recordings[0]
    np.savez(tmp_path / "t.npz", output=first.trace["y"]["output"], dt=1e-4)
    found = pair(graph, f"trace:{tmp_path / 't.npz'}", "default")
    assert found.expected == {"y": ["output"]}
    assert compare(*found.recordings, atol=0.0).passes()


class Elsewhere(torch.nn.Module):
    """A neuron of another framework, which calls its voltage `mem`."""

    def forward(self, x: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
        mem = x if state is None else state["mem"] * 0.9 + x
        return (mem > 1).to(x), {"mem": mem}


class Named(Elsewhere):
    """The same, which says whose voltage that is."""

    nir_states: ClassVar = {"mem": "v"}


class Failing(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no luck")


def mapped(kind: type[torch.nn.Module]) -> Any:
    return module_of(NETWORKS["feedforward"](), {nir.CubaLIF: lambda node: kind()})


def test_a_module_is_asked_only_for_what_it_has() -> None:
    module = mapped(Elsewhere)
    inputs = random_inputs(module, 3, 1, 0)
    wanted = expected_variables(module)
    assert wanted["cuba"] == ["spikes", "v", "i"]
    found = recorded("a", module, inputs, wanted, dt=DT).trace
    every = [(path, name) for path, names in wanted.items() for name in names]
    there = {(path, name) for path, held in found.items() for name in held}
    assert set(every) - there == {("cuba", "v"), ("cuba", "i")}
    found = recorded("a", module, inputs, {"gone": ["v"], "if": ["v", "i"]}, dt=DT).trace
    assert {path: list(held) for path, held in found.items()} == {"if": ["v"]}


def test_a_state_that_another_framework_names_otherwise_is_said(tmp_path: Path) -> None:
    """Spikes agree: that passes, with a word about each variable that was not seen."""
    (tmp_path / "elsewhere.py").write_text(
        "import nir\nfrom test_comparison import Elsewhere, Named\n"
        "MAP = {nir.CubaLIF: lambda node: Elsewhere()}\n"
        "NAMED = {nir.CubaLIF: lambda node: Named()}\n"
    )
    spec = f"map:{tmp_path / 'elsewhere.py'}"
    found = pair(NETWORKS["feedforward"](), spec, spec)
    strict = compare(*found.recordings, expected=found.expected)
    hint = "a module whose state calls it otherwise says so: nir_states = {'its name':"
    lines = [
        f"node 'cuba': {name} could not be compared: neither has it; {hint} '{name}'}}"
        for name in "vi"
    ]
    assert [failure.line() for failure in strict.failures()] == lines
    lenient = compare(*found.recordings, expected=found.expected, optional=["v", "i"])
    assert lenient.passes()
    assert [(w.severity, w.line()) for w in lenient.warnings()] == [("warning", x) for x in lines]
    named = pair(NETWORKS["feedforward"](), f"{spec}:NAMED", f"{spec}:NAMED")
    seen = compare(*named.recordings, expected=named.expected, optional=["v", "i"])
    (cuba,) = [node for node in seen.nodes if node.node == "cuba"]
    assert (list(cuba.values), list(cuba.not_compared)) == (["v"], ["i"])
    fewer = pair(NETWORKS["feedforward"](), spec, spec, variables=["spikes", "output"])
    assert compare(*fewer.recordings, expected=fewer.expected).passes()


def test_a_module_that_raises_is_named_as_the_cause() -> None:
    module = mapped(Failing)
    with pytest.raises(
        NirtorchError, match="raised RuntimeError when it was run: no luck"
    ) as caught:
        recorded("a", module, random_inputs(module, 3, 1, 0), expected_variables(module), dt=DT)
    assert caught.value.exit_code == 1


# ------------------------------------------------------- modules that are more than they seem


class Keeping(torch.nn.Module):
    """A neuron that keeps its voltage itself, and lets nobody see it."""

    def __init__(self) -> None:
        super().__init__()
        self.v: torch.Tensor | float = 0.0
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.v = self.v + x
        z = (self.v > 1).to(x)
        self.v = self.v * (1 - z)
        return z


def chain(*nodes: nir.NIRNode, taken: int = 3) -> nir.NIRGraph:
    """Nodes n0, n1, ... between an Input x and an Output y."""
    named = {f"n{place}": node for place, node in enumerate(nodes)}
    every = {"x": nir.Input(np.array([3])), **named, "y": nir.Output(np.array([taken]))}
    return nir.NIRGraph(every, list(itertools.pairwise(every)))


def keeping(nodes: int) -> Any:
    return nir_to_torch(chain(*[lif(3)] * nodes), {nir.LIF: lambda node: Keeping()})


def test_every_step_is_run_once() -> None:
    """Trying modules out beforehand changed what they keep."""
    module, same = keeping(2), keeping(2)
    x = torch.rand(9, 2, 3)
    found = recorded("a", module, {"x": x}, expected_variables(module), dt=DT).trace
    by_hand = np.stack([same(step)[0].numpy() for step in x])
    assert by_hand.any()
    np.testing.assert_array_equal(found["y"]["output"], by_hand)
    assert (module.n0.calls, module.n1.calls) == (9, 9)
    assert list(found["n1"]) == ["spikes"]


def test_the_work_is_linear_in_nodes_that_tell_nothing() -> None:
    def calls(nodes: int) -> int:
        module = keeping(nodes)
        recorded("a", module, {"x": torch.ones(4, 1, 3)}, expected_variables(module), dt=DT)
        return sum(getattr(module, f"n{place}").calls for place in range(nodes))

    assert calls(40) == 2 * calls(20) == 160


def written_map(folder: Path, text: str) -> str:
    """A spec of a map that a file with this code holds."""
    folder.mkdir(exist_ok=True)
    (folder / "written.py").write_text(f"import nir\nimport torch\n{text}\n")
    return f"map:{folder / 'written.py'}"


def comparison_of(graph: nir.NIRGraph, a: str, b: str, **settings: Any) -> Comparison:
    found = pair(graph, a, b, **settings)
    return compare(*found.recordings, expected=found.expected, spiking=found.spiking)


@pytest.mark.parametrize("layer", ["Dropout(0.5)", "BatchNorm1d(3)"])
def test_modules_are_in_evaluation_mode(tmp_path: Path, layer: str) -> None:
    spec = written_map(tmp_path, f"MAP = {{nir.Scale: lambda node: torch.nn.{layer}}}")
    graph = chain(nir.Scale(np.ones(3)), lif(3))
    comparison = comparison_of(graph, spec, spec)
    assert comparison.passes(), comparison.failures()
    module = module_of(graph, {nir.Scale: lambda node: torch.nn.Dropout(0.5)})
    save(module.train(), tmp_path / "m.pt")
    saved = comparison_of(graph, f"file:{tmp_path / 'm.pt'}", "default", trust=True)
    assert saved.passes(), saved.failures()


NOISE = """
class Noise(torch.nn.Module):
    def forward(self, x):
        return torch.rand_like(x)
MAP = {nir.Scale: lambda node: Noise()}
"""


def test_both_sides_draw_the_same_random_numbers(tmp_path: Path) -> None:
    spec, before = written_map(tmp_path, NOISE), torch.random.get_rng_state()
    comparison = comparison_of(chain(nir.Scale(np.ones(3))), spec, spec)
    assert comparison.passes(), comparison.failures()
    assert torch.equal(before, torch.random.get_rng_state())


WHOLE = """
class Whole(torch.nn.Module):
    def forward(self, x):
        return torch.cat([x, x[..., :1]], -1) * FACTOR
MAP = {nir.NIRGraph: lambda graph: Whole()}
"""


def test_a_nested_graph_that_a_map_took_whole_is_compared(tmp_path: Path) -> None:
    within = chain(nir.Linear(np.ones((4, 3))), lif(4), taken=4)
    last = nir.Linear(np.zeros((4, 4)))  # so that it is seen nowhere else
    ends = {"x": nir.Input(np.array([3])), "y": nir.Output(np.array([4]))}
    edges = [("x", "sub"), ("sub", "last"), ("last", "y")]
    graph = nir.NIRGraph({**ends, "sub": within, "last": last}, edges)
    one, other = (
        written_map(tmp_path / name, WHOLE.replace("FACTOR", factor))
        for name, factor in {"a": "0.5", "b": "2.0"}.items()
    )
    found = pair(graph, one, other)
    assert found.expected == {"sub": ["output"], "last": ["output"], "y": ["output"]}
    comparison = comparison_of(graph, one, other)
    assert [failure.node for failure in comparison.failures()] == ["sub"]
    assert comparison.nodes[0].values["output"].largest > 1
    finer = comparison_of(graph, f"{one},dt=1e-3", f"{other},dt=1e-4")
    assert [failure.node for failure in finer.failures()] == ["sub"]
    inside = comparison_of(graph, one, "default").failures()
    told = {failure.node for failure in inside if failure.code == "NIR621"}
    assert told == {"sub/n0", "sub/n1", "sub/y"}


def test_skipped_nodes_are_named(tmp_path: Path) -> None:
    spec = written_map(tmp_path, "MAP = {nir.LIF: lambda node: None}")
    graph = chain(nir.Scale(np.ones(3)), lif(3), lif(3))
    text = "skips 'n1', 'n2': these are not compared, and their input is passed on"
    assert f"{spec} {text}" in pair(graph, spec, spec).notes
    failures = comparison_of(graph, spec, "default").failures()
    assert {f.node for f in failures if f.code == "NIR621"} == {"n1", "n2"}
    assert not any("skips" in note for note in pair(graph, "default", "default").notes)


def test_a_module_that_stands_for_two_nodes_is_compared_twice(tmp_path: Path) -> None:
    spec = written_map(tmp_path, "ONE = torch.nn.ReLU()\nMAP = {nir.Scale: lambda node: ONE}")
    graph = chain(nir.Scale(np.ones(3)), nir.Scale(np.ones(3)))
    assert list(pair(graph, spec, spec).expected) == ["n0", "n1", "y"]
    assert comparison_of(graph, spec, "default").passes()


def test_of_a_graph_that_was_edited_nothing_is_recorded() -> None:
    module = converted(chain(lif(3)))
    [end] = [node for node in module.graph.nodes if node.op == "output"]
    end.args = (list(end.args[0]),)  # as `wiring` never makes it
    module.recompile()
    found = recorded("a", module, {"x": torch.ones(4, 1, 3)}, expected_variables(module), dt=DT)
    assert found.trace == {}
    assert spiking_outputs(module) == {}


def test_a_variable_that_is_not_always_there_is_not_recorded() -> None:
    class Growing(torch.nn.Module):
        """A neuron whose voltage gets another shape."""

        def forward(self, x: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
            return x * 0, {"v": x[:1] if state is None else x}

    module = nir_to_torch(chain(lif(3)), {nir.LIF: lambda node: Growing()})
    found = recorded("a", module, {"x": torch.ones(4, 2, 3)}, expected_variables(module), dt=DT)
    assert set(found.trace["n0"]) == {"spikes"}


# ------------------------------------------------------------------------- steps of two lengths


@pytest.mark.parametrize("most", [1, 3, 4, 5, 7, 1000])
def test_parts_of_the_shorter_steps_make_the_same_recording(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = converted(NETWORKS["feedforward"](), dtype=torch.float64)
    x = random_inputs(module, 6, 2, seed=3)
    wanted = {**expected_variables(module), "affine": ["output"], "output": ["output"]}
    fine = recorded("a", module, {n: v.repeat_interleave(5, 0) for n, v in x.items()}, wanted, dt=1)
    monkeypatch.setattr("nirtorch_cli.comparison.capture.part_length", lambda *args: most)
    found = recorded("a", module, x, wanted, dt=5, repeats=5)
    assert found.trace["cuba"]["spikes"].max() > 1
    for path, variables in fine.trace.items():
        for name, values in variables.items():
            coarser = coarser_spikes if name == "spikes" else coarser_values
            there = found.trace[path][name]
            np.testing.assert_allclose(there, coarser(values, 5), atol=1e-12)
            assert there.shape[0] == 6
    for path, counts in found.counted.items():
        np.testing.assert_array_equal(counts, coarser_spikes(fine.trace[path]["output"], 5))


@pytest.mark.parametrize("factors", [(1.0, 1.0), (1.0, 0.5), (0.5, 0.5)])
def test_outputs_of_shorter_steps_are_spikes_if_both_are(factors: tuple[float, float]) -> None:
    """As they were when whole runs were kept: counted if both are 0 and 1, else at the ends."""
    random = np.random.default_rng(2)
    coarse = (random.random((6, 1, 3)) < 0.5) * factors[0]
    fine = (random.random((30, 1, 3)) < 0.5) * factors[1]
    whole = compared({"y": {"output": coarse}}, {"y": {"output": fine}}, DT / 5)
    counted = {"y": coarser_spikes(fine, 5)} if factors[1] == 1 else {}
    ends = {"y": {"output": coarser_values(fine, 5)}}
    parts = compare(
        Recording("a", DT, {"y": {"output": coarse}}), Recording("b", DT, ends, counted=counted)
    )
    assert parts == whole
    assert (parts.nodes[0].spikes is None) == (factors != (1.0, 1.0))


def test_memory_follows_the_longer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    original = Session.run

    def run(self: Session, inputs: Any, **options: Any) -> Any:
        lengths.append(len(inputs["x"]))
        return original(self, inputs, **options)

    monkeypatch.setattr(Session, "run", run)
    monkeypatch.setattr("nirtorch_cli.running.session.CHUNK_BYTES", 2**12)
    module = converted(chain(lif(3)))
    wanted = expected_variables(module)
    found = recorded("a", module, {"x": torch.ones(3, 1, 3)}, wanted, dt=1, repeats=1000)
    assert found.trace["n0"]["spikes"].shape == (3, 1, 3)
    assert sum(lengths) == 3000
    assert max(lengths) * 3 * 3 * 4 <= 2**12


# ------------------------------------------------------------------- what outputs are spikes


def test_an_output_is_spikes_where_the_graph_says_so() -> None:
    ones = np.ones(3)
    delay, threshold = nir.Delay(np.full(3, 2 * DT)), nir.Threshold(ones)
    for nodes, told in [
        ((lif(3),), {"n0": True, "y": True}),
        ((lif(3), delay), {"n0": True, "n1": True, "y": True}),
        ((threshold,), {"n0": True, "y": True}),
        ((lif(3), nir.Scale(ones)), {"n0": True, "n1": False, "y": False}),
        ((li(3), delay), {"n0": False, "n1": False, "y": False}),
        ((delay,), {}),  # whatever it is that is fed
        ((chain(lif(3)),), {"n0": True, "n0/n0": True, "n0/y": True, "y": True}),
    ]:
        assert spiking_outputs(converted(chain(*nodes))) == told
    whole = nir_to_torch(chain(chain(lif(3))), {nir.NIRGraph: lambda graph: torch.nn.ReLU()})
    assert spiking_outputs(whole) == {}
    for name, make in NETWORKS.items():
        module = converted(make())
        spiking = {path for path, gives in spiking_outputs(module).items() if gives}
        assert {p for p, kind in node_types(module) if is_spiking(kind)} <= spiking, name


def test_a_layer_that_gives_zeros_and_ones_has_no_rate() -> None:
    graph = chain(lif(3), nir.Linear(np.eye(3)))
    comparison = comparison_of(graph, "default", "default")
    assert [node.spikes is None for node in comparison.nodes] == [False, True, True]
    values = {"n": {"output": np.eye(3)[:, None]}}
    assert compared(values, values).nodes[0].spikes is not None  # nobody knows what it is of


# ------------------------------------------------------------------------- two modules


def two(**settings: Any) -> tuple[Any, Any]:
    graph = NETWORKS["feedforward"]()
    return tuple(
        nir_to_torch(graph, {}, default_map(DT, integration=name), **settings)
        for name in ("euler", "exact")
    )


def test_two_modules_are_compared() -> None:
    euler, exact = two()
    x = torch.rand(20, 2, *euler.meta["shapes"]["input"][1])
    same = nirtorch_cli.compare_modules(euler, euler, x)
    assert isinstance(same, nirtorch_cli.Comparison)
    assert same.passes(), same.failures()
    assert (same.steps, same.rows, same.a, same.b) == (20, 2, "A", "B")
    found = nirtorch_cli.compare_modules(euler, exact, {"input": x}, names=("euler", "exact"))
    assert not found.passes()
    assert (found.a, found.b) == ("euler", "exact")
    assert found.first_parting.node == "cuba"
    v = []
    for module in (euler, exact):
        trace = run_sequence(module, x, record=["cuba:v"]).trace
        v.append(trace["cuba"]["v"].detach())
    [cuba] = [node for node in found.nodes if node.node == "cuba"]
    largest = float((v[0] - v[1]).abs().max())
    assert cuba.values["v"].largest == pytest.approx(largest, rel=1e-5)
    json.dumps(found.to_json(), allow_nan=False)
    only = nirtorch_cli.compare_modules(euler, exact, x, variables=["spikes"])
    assert {name for node in only.nodes for name in node.values} == set()


def test_comparing_two_modules_leaves_them_as_they_are() -> None:
    graph = chain(nir.Scale(np.ones(3)), lif(3))
    maps = {nir.Scale: lambda node: torch.nn.BatchNorm1d(3), nir.LIF: lambda node: Keeping()}
    a, b = (nir_to_torch(graph, maps) for _ in range(2))
    x = torch.rand(5, 4, 3, requires_grad=True)
    a(x[0])  # it keeps a voltage now that has a history
    b(x[0])
    b.eval()
    before = {name: values.clone() for name, values in a.state_dict().items()}
    kept, drawn = a.n1.v, torch.random.get_rng_state()
    comparison = nirtorch_cli.compare_modules(a, a, x, atol=0.0)
    assert comparison.passes()
    assert [warning.code for warning in comparison.warnings()] == ["NIR621"], "there is no v"
    insisting = nirtorch_cli.compare_modules(a, a, x, atol=0.0, variables=["spikes", "v"])
    assert {failure.code for failure in insisting.failures()} == {"NIR621"}
    assert nirtorch_cli.compare_modules(a, a, x, atol=0.0, variables=["spikes"]).passes()
    assert nirtorch_cli.compare_modules(a, b, x).nodes
    assert (a.training, a.n0.training, b.training, b.n0.training) == (True, True, False, False)
    assert a.n1.v is kept
    assert (a.n1.calls, b.n1.calls) == (1, 1)
    assert all(torch.equal(values, before[name]) for name, values in a.state_dict().items())
    assert torch.equal(drawn, torch.random.get_rng_state())


def test_two_modules_start_from_their_states() -> None:
    module = converted(NETWORKS["recurrent"]())
    x = torch.rand(12, 2, *module.meta["shapes"][module.meta["inputs"][0]][1])
    state = run_sequence(module, x[:5]).state
    rest = nirtorch_cli.compare_modules(module, module, x[5:], states=(state, state), atol=0.0)
    assert rest.passes(), rest.failures()
    assert not nirtorch_cli.compare_modules(module, module, x[5:], states=(state, None)).passes()
    with pytest.raises(nirtorch_cli.StateError, match="no entry"):
        nirtorch_cli.compare_modules(module, module, x, states=({}, None))


def test_two_modules_of_other_steps_and_types() -> None:
    graph = chain(nir.I(np.full(3, 2.0)))
    a, b = (
        nir_to_torch(graph, {}, default_map(dt, integrator_input="current"), dtype=torch.float64)
        for dt in (1e-3, 2.5e-4)
    )
    found = nirtorch_cli.compare_modules(a, b, torch.rand(12, 1, 3), atol=1e-12)
    assert found.passes(), found.failures()
    assert (found.steps, found.dt) == (12, 1e-3)


class Unlike(torch.nn.Module):
    """A module that nobody can copy."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("there is only one of me")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_two_modules_that_cannot_be_compared() -> None:
    module = converted(chain(lif(3)))
    x, compare_modules = torch.rand(5, 2, 3), nirtorch_cli.compare_modules
    several = converted(NETWORKS["several_ends"]())
    size = {several.meta["names"][n]: several.meta["shapes"][n][1] for n in several.meta["inputs"]}
    fed = {name: torch.rand(4, 1, *shape) for name, shape in size.items()}
    assert compare_modules(several, several, fed).passes()
    first, *_, last = fed
    for arguments, options, text in [
        ((module, torch.nn.ReLU(), x), {}, "B is a ReLU, which was not made from a NIR graph"),
        ((module, several, x), {}, "A and B are not of one graph"),
        ((module, module, x[0]), {}, r"the input 'x' must be \(T, B, 3\), not \(2, 3\)"),
        ((module, module, x[..., :2]), {}, r"must be \(T, B, 3\), not \(5, 2, 2\)"),
        ((module, module, x[:0]), {}, "the same steps and batch rows, one at least: 'x"),
        ((module, module, {"gone": x}), {}, "the inputs are 'x', not 'gone'"),
        ((several, several, fed[first]), {}, "the inputs are '"),
        ((several, several, {**fed, last: fed[last][:2]}), {}, "the same steps and batch rows"),
        ((module, module, x), {"atol": math.nan}, "atol must be 0 or more, not nan"),
        ((module, module, x), {"tau": -1.0}, "tau must be a positive number, not -1"),
        ((module, module, x), {"variables": ["u"]}, "variables has 'u': it takes any of 'spikes'"),
        ((module, module, x), {"variables": []}, "variables has nothing in it"),
    ]:
        with pytest.raises(UsageError, match=text):
            compare_modules(*arguments, **options)
    only = nir_to_torch(chain(lif(3)), {nir.LIF: lambda node: Unlike()})
    with pytest.raises(NirtorchError, match="A cannot be copied, and running it would change it"):
        compare_modules(only, module, x)
    raising = nir_to_torch(chain(lif(3)), {nir.LIF: lambda node: Failing()})
    with pytest.raises(NirtorchError, match="raised RuntimeError when it was run: no luck"):
        compare_modules(module, raising, x)


def test_modules_of_two_graphs_are_refused() -> None:
    with pytest.raises(UsageError, match="A and B are not of one graph: A takes"):
        same_inputs(converted(NETWORKS["recurrent"]()), converted(NETWORKS["several_ends"]()))


def test_a_device_without_values_is_refused() -> None:
    with pytest.raises(UsageError, match="on the device 'meta' nothing has values"):
        pair(NETWORKS["recurrent"](), "default", "default", device="meta")
