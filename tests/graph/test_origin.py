"""What the numbers, names and structure of a file tell of the program that wrote it."""

from __future__ import annotations

import itertools
from importlib import import_module
from typing import Any

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nirtorch_cli.graph.origin import origin_of
from nirtorch_cli.graph.time_step import TimeStep
from nirtorch_cli.graph.traces import lambert, round_step

TAUS = np.array([0.005, 0.01, 0.02])
ONE = np.ones(3)


def lif(tau: Any, r: Any, dtype: Any = np.float32, **others: Any) -> nir.LIF:
    tau, r = (np.broadcast_to(np.asarray(a, dtype), (3,)).copy() for a in (tau, r))
    given = {"v_leak": 0 * ONE, "v_threshold": ONE, "v_reset": 0 * ONE, **others}
    return nir.LIF(tau, r, **{name: value.astype(dtype) for name, value in given.items()})


def cuba(tau_syn: Any, tau_mem: Any, r: Any, w_in: Any, dtype: Any = np.float32) -> nir.CubaLIF:
    arrays = [np.broadcast_to(np.asarray(a, dtype), (3,)).copy() for a in (tau_syn, tau_mem, r)]
    zero, one = (0 * ONE).astype(dtype), ONE.astype(dtype)
    w_in = np.broadcast_to(np.asarray(w_in, dtype), (3,)).copy()
    return nir.CubaLIF(*arrays, zero, one, zero.copy(), w_in)


def integrator(r: Any, dtype: Any = np.float32) -> nir.IF:
    one = ONE.astype(dtype)
    return nir.IF((r * ONE).astype(dtype), one, 0 * one)


def graph_of(
    *neurons: nir.NIRNode,
    names: list[str] | None = None,
    source: str = "input",
    metadata: dict[str, Any] | None = None,
) -> nir.NIRGraph:
    """A chain of weights and neurons, with a name for each of these nodes."""
    members: list[nir.NIRNode] = []
    for neuron in neurons:
        members += [nir.Linear(np.eye(3, dtype=np.float32)), neuron]
    names = names or [str(number) for number in range(len(members))]
    nodes = {source: nir.Input(np.array([3])), **dict(zip(names, members, strict=True))}
    nodes["output"] = nir.Output(np.array([3]))
    order = list(nodes)
    return nir.NIRGraph(nodes, list(itertools.pairwise(order)), metadata=metadata or {})


def codes(graph: nir.NIRGraph) -> list[str]:
    return [finding.code for finding in origin_of(graph).findings]


def packs(graph: nir.NIRGraph) -> list[str]:
    return [family.pack for family in origin_of(graph).families]


# ------------------------------------------------------------------------------------- dt


@pytest.mark.parametrize("dt", [1e-3, 5e-4, 2e-5, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tau", [10 * np.array([0.5, 1, 2]), 10.0], ids=["several", "one"])
def test_the_exporters_leave_dt(dt: float, dtype: Any, tau: Any) -> None:
    taus = np.asarray(tau) * dt
    writers = {
        "weight": lif(taus, taus / dt, dtype),
        "synapse": cuba(0.3 * taus, taus, taus / dt, 0.3 * taus / dt, dtype),
        "decayed weight": cuba(0.3 * taus, taus, taus / dt * np.exp(-dt / taus), 1, dtype),
        "decay": lif(taus, 1 - dt / taus, dtype),
        "current": integrator(1 / dt, dtype) if dt < 1 else lif(taus, taus / dt, dtype),
        "membrane": cuba(0.3 * taus, taus, taus / dt, 1, dtype),
    }
    for name, neuron in writers.items():
        step = origin_of(graph_of(neuron)).time_step
        assert not step.is_guess, name
        assert step.dt == pytest.approx(dt, rel=1e-12), name


@pytest.mark.parametrize(
    ("tau", "dt"),
    [(10.0, 1.0), (np.array([1.0, 2.0, 50.0]), 1.0), (1e-5, 1e-6), (0.01, None), (0.5, None)],
)
def test_plain_neurons_tell_dt_by_the_size_of_tau(tau: Any, dt: float | None) -> None:
    for neuron in (lif(tau, 1), cuba(tau, tau, 1, 1), nir.LI(tau * ONE, ONE, 0 * ONE)):
        step = origin_of(graph_of(neuron)).time_step
        assert step.is_guess is (dt is None)
        assert step.dt == (1e-4 if dt is None else dt)


def test_the_trace_must_hold_for_every_neuron() -> None:
    odd = TAUS / 1e-3
    odd[1] *= 1 + 1e-5
    assert origin_of(graph_of(lif(TAUS, odd))).time_step.is_guess
    assert origin_of(graph_of(lif(TAUS, TAUS / 1e-3), lif(TAUS, 3.7))).time_step.is_guess


def test_a_guess_is_a_warning_that_says_what_other_values_would_mean() -> None:
    (finding,) = origin_of(graph_of(lif(TAUS, 3.7))).findings
    assert (finding.code, finding.severity) == ("NIR406", "warning")
    assert "0.005 to 0.02, are 50 to 200 steps" in finding.message
    assert finding.hint == "at --dt 0.001 they would be 5 to 20 steps"
    unrounded = origin_of(graph_of(lif(TAUS, TAUS / 2.5e-3))).findings[0]
    assert "tau/r is 0.0025 everywhere, which may be dt (--dt 0.0025)" in str(unrounded.hint)
    assert codes(graph_of(integrator(1))) == ["NIR804"], "dt does not matter to it"
    assert not origin_of(graph_of(lif(TAUS, 3.7))).at(TimeStep(1e-3, "given")).findings


def test_traces_that_disagree_are_a_finding_and_no_choice() -> None:
    origin = origin_of(graph_of(lif(TAUS, TAUS / 1e-3), cuba(TAUS, TAUS, TAUS * 1e4, TAUS * 1e4)))
    assert origin.time_step.is_guess
    assert [finding.code for finding in origin.findings] == ["NIR407", "NIR406"]
    assert "0.001" in origin.findings[0].message
    assert "0.0001" in origin.findings[0].message


def test_metadata_come_after_the_traces_and_before_a_guess() -> None:
    noted = origin_of(graph_of(lif(TAUS, 3.7), metadata={"dt": 2e-3}))
    assert (noted.time_step.dt, noted.time_step.is_guess, noted.findings) == (2e-3, False, ())
    both = origin_of(graph_of(lif(TAUS, TAUS / 1e-3), metadata={"dt": 2e-3}))
    assert both.time_step.dt == 1e-3
    assert [finding.code for finding in both.findings] == ["NIR407"]


# ----------------------------------------------------------------------- charge or current


def test_integrators_take_a_current_where_r_is_one_over_dt() -> None:
    origin = origin_of(graph_of(integrator(1e4), lif(TAUS, TAUS / 1e-4)))
    assert (origin.integrator_input, origin.time_step.dt) == ("current", 1e-4)
    assert "1/dt" in str(origin.integrator_reason)
    for r in (1, 0.5, 0.0):
        plain = origin_of(graph_of(integrator(r)))
        assert (plain.integrator_input, plain.integrator_reason) == ("charge", None)
        assert "NIR408" not in [finding.code for finding in plain.findings]
    other = origin_of(graph_of(integrator(1e3), lif(TAUS, TAUS / 1e-4)))
    assert other.integrator_input == "charge", "the traces disagree"


def test_a_large_r_that_tells_nothing_is_a_guess() -> None:
    (finding,) = origin_of(graph_of(integrator(np.array([343.0, 400.0, 585.0])))).findings
    assert (finding.code, finding.severity) == ("NIR408", "warning")
    assert "343 to 585 thresholds" in finding.message


# ------------------------------------------------------------------------------- families


def test_numbers_names_and_structure_tell_the_family() -> None:
    weights = TAUS / 1e-4
    assert packs(graph_of(lif(TAUS, weights))) == ["snntorch"]
    named = ["fc1", "lif1"]
    assert packs(graph_of(lif(TAUS, weights), names=named)) == ["snntorch", "mlx_snn"]
    assert packs(graph_of(lif(TAUS, TAUS / 1e-3), names=named)) == ["mlx_snn"]
    fx = {"names": ["_0", "_1"], "source": "input_1"}
    assert packs(graph_of(lif(TAUS, weights, np.float64), **fx)) == ["spikingjelly"]
    assert packs(graph_of(integrator(1e4, np.float64), **fx)) == ["spikingjelly"]
    assert packs(graph_of(lif(10.0, 1))) == ["sinabs"]
    assert packs(graph_of(lif(1e-5, 1))) == ["norse"]
    assert packs(graph_of(integrator(1))) == ["sinabs", "norse"]
    assert packs(graph_of(integrator(1), names=named)) == ["mlx_snn", "sinabs"]
    head = {"names": ["_0", "_1"], "source": "input_tensor"}
    assert packs(graph_of(lif(TAUS, 1), **head)) == ["norse"]
    layers = ["layer_0", "layer_1"]
    assert packs(graph_of(lif(5.0, 0.8), names=layers)) == ["spyx"]
    assert packs(graph_of(integrator(1), names=layers)) == ["spyx"]
    after = 20 * np.exp(-1 / 20)
    assert packs(graph_of(cuba(0.01, 0.02, after, 1), names=["a", "b"])) == ["rockpool"]
    whole = 1e-4 * 4096 / np.array([410.0, 300.0, 100.0])
    made = cuba(whole, whole, whole / 1e-4, whole / 1e-4, np.float64)
    assert packs(graph_of(made)) == ["lava"]


def test_spikingjelly_is_told_by_its_types_where_the_names_are_the_users() -> None:
    named = {"names": ["fc1", "sn1"], "source": "x"}
    assert packs(graph_of(integrator(1, np.float64), **named)) == ["spikingjelly"]
    assert packs(graph_of(lif(TAUS, 1, np.float64), **named)) == ["spikingjelly"]
    named["source"] = "input"  # nobody's argument: written by hand, or traced by others
    assert packs(graph_of(integrator(1, np.float64), **named)) == []
    # dt = 1: r of IF is 1, and r of LIF is tau.
    two = graph_of(
        integrator(1, np.float64), lif(3, 3, np.float64), names=["_0", "_1", "_2", "_3"], source="x"
    )
    assert packs(two) == ["spikingjelly"]
    assert origin_of(two).time_step.dt == 1


def test_spikingjelly_mixes_neurons_with_and_without_a_decay_of_the_input() -> None:
    mixed = graph_of(
        lif(2e-3, 1, np.float64),
        lif(TAUS, TAUS / 1e-3, np.float64),
        names=["_0", "_1", "_2", "_3"],
        source="input_1",
    )
    origin = origin_of(mixed)
    assert [family.pack for family in origin.families] == ["spikingjelly"]
    assert origin.time_step.is_guess, "of any other file it is no trace"
    step = import_module("nirtorch_mappings.spikingjelly").PACK.time_step(mixed)
    assert (step.dt, step.is_guess) == (1e-3, False)
    assert step.reason == "all LIF neurons have r = 1 or tau/r = dt, over different tau"


def test_what_no_exporter_writes_is_of_no_family() -> None:
    assert packs(graph_of(lif(TAUS, 3.7))) == []
    assert packs(graph_of(lif(TAUS, TAUS / 1e-4, v_leak=0.1 * ONE))) == []
    assert packs(graph_of(nir.I(ONE))) == []
    assert packs(nir.NIRGraph({"input": nir.Input(np.array([3]))}, [], type_check=False)) == []
    assert origin_of(nir.Scale(ONE)).families == ()


# -------------------------------------------------------------------------------- numbers


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-6, 1e6))
def test_lambert(w: float) -> None:
    y = np.array([w * np.exp(min(w, 500.0))])
    if np.isfinite(y).all() and w < 500:
        assert lambert(y)[0] == pytest.approx(w, rel=1e-9)


@pytest.mark.parametrize(
    ("dt", "expected"),
    [(0.001, 1e-3), (9.9999991e-4, 1e-3), (0.00101, None), (0.5, 0.5), (0.3, None), (1.0, 1.0),
     (2.0, None), (1e-6, 1e-6), (5e-7, None), (0.0, None), (-1.0, None), (float("nan"), None)],
)  # fmt: skip
def test_round(dt: float, expected: float | None) -> None:
    assert round_step(dt) == expected
