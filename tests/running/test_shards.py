"""Shards: how a batch is cut, that it is run in them with the same bits, and states of them."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import nir
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NETWORKS, assert_same, converted, ends, lif

from nirtorch_cli import default_map, nir_to_torch
from nirtorch_cli.findings.errors import OutputError, StateError
from nirtorch_cli.running import shards as sharding
from nirtorch_cli.running.shards import Shards, StateRows, shards_of
from nirtorch_cli.running.signals import spool as spooling
from nirtorch_cli.running.signals.generators import generated, parsed
from nirtorch_cli.running.signals.signal import Signal
from nirtorch_cli.running.signals.spool import Spool
from nirtorch_cli.running.stream import StreamRun, ports_of, run_stream
from nirtorch_cli.running.tally import Tally

LIKE = torch.empty(0)


def fed(module: Any, steps: int, batch: int) -> dict[str, Signal]:
    random = np.random.default_rng(5)
    return {
        port.argument: Signal.of(random.random((steps, batch, *port.shape), np.float32) * 2)
        for port in ports_of(module)
    }


def variables(module: Any) -> list[str]:
    from nirtorch_cli.running.recording import node_types, spiking_paths

    spiking = spiking_paths(module)
    return [*(path for path, _ in node_types(module)), *(f"{path}:count" for path in spiking)]


# --------------------------------------------------------------------------------- the cuts


@given(st.integers(1, 10**4), st.integers(1, 10**4))
def test_shards_are_as_equal_as_can_be(batch: int, most: int) -> None:
    module = CHAIN
    rows = shards_of(module, {"input": Signal.of(np.zeros((3, batch, 2)))}, LIKE, rows=most).rows
    sizes = [last - first for first, last in rows]
    assert list(itertools.chain.from_iterable(range(*pair) for pair in rows)) == [*range(batch)]
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert len(rows) == -(-batch // most)


def chain() -> Any:
    nodes = {**ends((2,), (2,)), "lif": lif(2)}
    return converted(nir.NIRGraph(nodes, [("input", "lif"), ("lif", "output")]))


CHAIN = chain()


def test_the_sizes_of_the_model_choose_the_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """CHAIN has 6 numbers a row, input and output included: 10 rows have 60, and a power of 2."""
    monkeypatch.setattr(sharding, "_NUMBERS", 60)
    few, many = (
        shards_of(CHAIN, {"input": Signal.of(np.zeros((3, batch, 2)))}, LIKE) for batch in (8, 20)
    )
    assert few.rows == ((0, 8),)
    assert many.rows == ((0, 6), (6, 13), (13, 20))
    assert many.only(1) == Shards(((0, 7),), many.steps)
    assert many.steps == 3


# -------------------------------------------------------------------------------- the runs


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("chunk", [None, 7])
def test_a_run_in_shards_is_that_of_each(name: str, chunk: int | None) -> None:
    """To the bit: outputs, recordings, counts, statistics and state, wherever the shards run."""
    module = converted(NETWORKS[name]())
    inputs, record = fed(module, 20, 7), variables(module)
    shards = shards_of(module, inputs, LIKE, rows=3, chunk=chunk)
    whole = run_stream(module, inputs, LIKE, record=record, shards=shards)
    apart = [
        run_stream(
            module,
            {name: signal.rows(*rows) for name, signal in inputs.items()},
            LIKE,
            record=record,
            shards=shards.only(number),
        )
        for number, rows in enumerate(shards.rows)
    ]
    assert len(apart) == len(whole.shards) == 3
    for key, signal in whole.signals.items():
        parts = [one.signals[key].part() for one in apart]
        assert signal.shape[:2] == (20, 7)
        np.testing.assert_array_equal(signal.part(), np.concatenate(parts, axis=1))
    for path, count in whole.counts.items():
        np.testing.assert_array_equal(count, np.concatenate([one.counts[path] for one in apart]))
    assert whole.counts
    joined = StreamRun([one.shards[0] for one in apart], {}, 20)
    assert joined.tallies == whole.tallies
    state_rows = StateRows(module, inputs, LIKE)
    assert_same(whole.state, state_rows.join([one.state for one in apart]))
    assert_same(state_rows.split(whole.state, shards.rows)[1], apart[1].state)
    again = run_stream(module, inputs, LIKE, state=whole.state, shards=shards)
    second = {name: signal.rows(*shards.rows[1]) for name, signal in inputs.items()}
    alone = run_stream(module, second, LIKE, state=apart[1].state, shards=shards.only(1))
    for name, signal in alone.outputs.items():
        found = again.outputs[name].rows(*shards.rows[1]).part()
        np.testing.assert_array_equal(found, signal.part())


@pytest.mark.parametrize("name", NETWORKS)
def test_shards_change_no_number_of_a_run_by_more_than_rounding(name: str) -> None:
    module = converted(NETWORKS[name](), dtype=torch.float64)
    like = torch.empty(0, dtype=torch.float64)
    inputs = fed(module, 20, 6)
    once = run_stream(module, inputs, like, shards=shards_of(module, inputs, like, rows=6))
    apart = run_stream(module, inputs, like, shards=shards_of(module, inputs, like, rows=2))
    for key, signal in once.signals.items():
        np.testing.assert_allclose(apart.signals[key].part(), signal.part(), atol=1e-12)


def test_ctrl_c_in_a_shard_keeps_the_parts_of_time_that_all_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = fed(CHAIN, 20, 6)
    shards = Shards(((0, 3), (3, 6)), 5)
    whole = run_stream(CHAIN, inputs, LIKE, record=["lif:count"], shards=shards)
    calls = []

    def part(start: int, stop: int, rows: slice) -> Any:
        calls.append(rows)
        if len(calls) == 6:  # the second shard, in the third part of time
            raise KeyboardInterrupt
        return inputs["input"].make(start, stop, rows)

    fewer = Signal(inputs["input"].shape, inputs["input"].dtype, part)
    done = run_stream(CHAIN, {"input": fewer}, LIKE, record=["lif:count"], shards=shards)
    assert (done.steps, done.is_interrupted) == (10, True)
    np.testing.assert_array_equal(
        done.outputs["output"].part(), whole.outputs["output"].part(0, 10)
    )
    first = {"input": Signal.of(inputs["input"].part(0, 10))}
    expected = run_stream(CHAIN, first, LIKE, record=["lif:count"], shards=shards)
    np.testing.assert_array_equal(done.counts["lif"], expected.counts["lif"])
    assert_same(done.state, expected.state)
    assert done.tallies == expected.tallies


# ------------------------------------------------------------------------------ the states


class Both(NamedTuple):
    hidden: Any
    steps: Any


class Layered(torch.nn.Module):
    """Its state is a tuple: a tensor with its rows on the second axis, and one without any."""

    def forward(self, x: Any, state: Any = None) -> Any:
        before = Both(torch.zeros(2, *x.shape), torch.zeros(1)) if state is None else state
        hidden = before.hidden + torch.stack([x, -x])
        return hidden[0], Both(hidden, before.steps + 1)


class Uneven(Layered):
    """What has no rows depends on the input."""

    def forward(self, x: Any, state: Any = None) -> Any:
        out, after = super().forward(x, state)
        return out, after._replace(steps=x.sum().reshape(1))


@pytest.mark.parametrize("kind", [Layered, Uneven])
def test_states_of_a_mapped_module(kind: type[torch.nn.Module]) -> None:
    nodes = {**ends((2,), (2,)), "lif": lif(2)}
    graph = nir.NIRGraph(nodes, [("input", "lif"), ("lif", "output")])
    module = nir_to_torch(graph, {**default_map(), nir.LIF: lambda node: kind()})
    inputs = fed(module, 4, 5)
    shards = Shards(((0, 2), (2, 5)), 4)
    run = run_stream(module, inputs, LIKE, shards=shards)
    if kind is Uneven:
        with pytest.raises(StateError, match=r"without an axis of rows differs.*give --shard B"):
            _ = run.state
        return
    assert isinstance(run.state["lif"], Both)
    assert run.state["lif"].hidden.shape == (2, 5, 2)
    whole = run_stream(module, inputs, LIKE, shards=Shards(((0, 5),), 4)).state["lif"]
    assert torch.equal(run.state["lif"].hidden, whole.hidden)
    assert torch.equal(run.state["lif"].steps, torch.full((1,), 4.0))


# ----------------------------------------------------------------- signals, spools, tallies


@pytest.mark.parametrize("text", ["poisson:rate=300", "uniform", "constant:2", "impulse:at=5"])
@settings(deadline=None, max_examples=25)
@given(st.data())
def test_rows_of_a_generator_are_those_among_all(text: str, data: st.DataObject) -> None:
    batch = data.draw(st.integers(1, 9))
    first = data.draw(st.integers(0, batch - 1))
    last = data.draw(st.integers(first + 1, batch))
    start = data.draw(st.integers(0, 6))
    shape, options = (7, batch, 3), {"dt": 1e-3, "seed": 4, "stream": 1, "start": start}
    whole = generated(parsed(text), shape, **options)
    some = generated(parsed(text), shape, rows=slice(first, last), **options)
    np.testing.assert_array_equal(some, whole[:, first:last])


def test_rows_of_rows() -> None:
    values = np.arange(60.0).reshape(5, 6, 2)
    signal = Signal.beside([Signal.of(values[:, :2]), Signal.of(values[:, 2:])])
    inner = signal.rows(1, 5).rows(1, 3)
    assert inner.shape == (5, 2, 2)
    np.testing.assert_array_equal(inner.part(1, 4), values[1:4, 2:4])
    assert signal.rows(0, 6) is signal


@pytest.mark.parametrize("most", [8, 2**25])
def test_a_spool_gives_what_it_was_given(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory or on the disk, in whatever order rows and steps come."""
    monkeypatch.setattr(spooling, "SPOOLED_BYTES", most)
    values = np.random.default_rng(1).random((9, 5, 3))
    spool = Spool(5, values[:, :2])
    for start, stop in ((4, 9), (0, 4)):
        for first, last in ((2, 5), (0, 2)):
            spool.put(values[start:stop, first:last], start, first)
    signal = spool.signal(9)
    np.testing.assert_array_equal(signal.part(), values)
    np.testing.assert_array_equal(signal.rows(1, 3).part(2, 7), values[2:7, 1:3])
    assert spool.signal(4).shape == (4, 5, 3)


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    spool = Spool(1, np.zeros((1, 1)), str(tmp_path))

    def full(content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool.file, "write", full)
    with pytest.raises(OutputError) as caught:
        spool.put(np.zeros((1, 1)), 0, 0)
    text = "what is recorded cannot be kept there: No space left on device"
    assert str(caught.value) == f"{tmp_path}: {text}"


def test_tallies_of_rows_and_of_steps() -> None:
    values = np.random.default_rng(1).normal(size=(6, 4, 3))
    values[2, 3, 1] = np.inf
    whole, found = Tally(), Tally()
    whole.add(values)
    for rows in (slice(0, 1), slice(1, 4)):
        of_rows = Tally()
        for steps in (slice(0, 2), slice(2, 6)):
            later = Tally()
            later.add(values[steps, rows])
            of_rows.extend(later)
        found.include(of_rows)
    assert found.result().shape == whole.result().shape == [6, 4, 3]
    assert (found.low, found.high, found.count) == (whole.low, np.inf, whole.count)
    assert found.is_finite is whole.is_finite is False
    assert Tally().result().mean is None
