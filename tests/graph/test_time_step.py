"""dt from the traces that exporters leave, and delays as whole steps."""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import module_of

from nirtorch_cli import default_map
from nirtorch_cli.graph.origin import infer_time_step
from nirtorch_cli.graph.time_step import DEFAULT_DT
from nirtorch_cli.primitives.parameters import delay_steps


def cuba(tau_syn: Any, tau_mem: Any, r: Any, w_in: Any) -> nir.CubaLIF:
    arrays = np.broadcast_arrays(*(np.atleast_1d(a) for a in (tau_syn, tau_mem, r, w_in)))
    tau_syn, tau_mem, r, w_in = (np.array(array) for array in arrays)
    one = np.ones(r.shape)
    return nir.CubaLIF(tau_syn, tau_mem, r, 0 * one, one, 0 * one, w_in)


def trained_cuba(dt: float, tau_syn: Any, tau_mem: Any) -> nir.CubaLIF:
    """As snnTorch exports it."""
    return cuba(tau_syn, tau_mem, np.asarray(tau_mem) / dt, np.asarray(tau_syn) / dt)


def lif(tau: Any, r: Any) -> nir.LIF:
    tau, r = (np.array(a) for a in np.broadcast_arrays(np.atleast_1d(tau), np.atleast_1d(r)))
    return nir.LIF(tau, r, 0.0 * np.ones(r.shape), np.ones(r.shape))


def trained_lif(dt: float, tau: Any) -> nir.LIF:
    return lif(tau, np.asarray(tau) / dt)


def graph_of(*members: nir.NIRNode) -> nir.NIRGraph:
    ports = {"in": nir.Input(np.array([1])), "out": nir.Output(np.array([1]))}
    named = {f"n{number}": node for number, node in enumerate(members)}
    return nir.NIRGraph({**ports, **named}, [], type_check=False)


def inferred(*members: nir.NIRNode) -> float:
    step = infer_time_step(graph_of(*members))
    assert step.is_guess == ("a guess" in step.reason)
    return DEFAULT_DT if step.is_guess else step.dt


@pytest.mark.parametrize("dt", [1e-3, 2e-4, 1.0, 5e-6])
def test_what_exporters_leave(dt: float) -> None:
    assert inferred(trained_cuba(dt, 0.01, 0.02)) == pytest.approx(dt, rel=1e-12)
    assert inferred(trained_cuba(dt, [0.01, 0.02], 0.02)) == pytest.approx(dt, rel=1e-12)
    assert inferred(trained_lif(dt, [0.01, 0.02])) == pytest.approx(dt, rel=1e-12)
    two = trained_lif(dt, 0.01), trained_lif(dt, 0.02)
    assert inferred(*two) == pytest.approx(dt, rel=1e-12)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([], id="nothing"),
        pytest.param([nir.LI(np.ones(1), np.full(1, 3.0), np.ones(1))], id="no spiking neuron"),
        pytest.param([cuba(0.01, 0.02, 1, 1)], id="CubaLIF as NIR defines it"),
        pytest.param([cuba(0.01, 0.02, 20, 11)], id="tau_mem/r is not tau_syn/w_in"),
        pytest.param([trained_cuba(1e-3, 0.01, 0.02), trained_cuba(2e-3, 0.01, 0.02)], id="two dt"),
        pytest.param([lif([0.01, 0.02], 1)], id="LIF as NIR defines it"),
        pytest.param([trained_lif(3e-3, 0.01)], id="one tau, and a dt that is not round"),
        pytest.param([trained_lif(2.5e-3, [0.01, 0.02])], id="a dt that is not round"),
        pytest.param([trained_lif(2.0, [10.0, 20.0])], id="a dt longer than 1"),
        pytest.param([trained_lif(5e-7, [0.01, 0.02])], id="a dt shorter than 1e-6"),
        pytest.param([trained_lif(1e-3, [0.01, 0.001])], id="an r of 1 is no trace"),
        pytest.param([trained_lif(1e-3, [0.01, 0.02]), lif(0.03, 1)], id="nor is one elsewhere"),
        pytest.param([trained_lif(1e-3, 0.01), trained_lif(2e-3, 0.02)], id="two dt of LIF"),
        pytest.param([lif([0.01, 0.02], [10, 20.01])], id="close is not the same"),
    ],
)
def test_no_trace_gives_the_default(members: list[nir.NIRNode]) -> None:
    assert inferred(*members) == DEFAULT_DT == 1e-4


def test_one_cuba_neuron_is_enough_as_it_has_two_time_constants() -> None:
    assert inferred(trained_cuba(1e-3, 0.01, 0.02)) == 1e-3


def test_one_tau_is_enough_if_dt_is_round() -> None:
    assert inferred(trained_lif(1e-3, 0.01)) == 1e-3
    assert inferred(trained_lif(1e-3, [0.01, 0.01 + 1e-10])) == 1e-3


def test_two_traces_that_disagree_are_no_choice() -> None:
    members = trained_lif(2e-3, [0.01, 0.02]), trained_cuba(1e-3, 0.01, 0.02)
    assert inferred(*members) == DEFAULT_DT
    assert inferred(members[0], cuba(0.01, 0.02, 1, 1)) == 2e-3


def test_nested_graphs_count() -> None:
    inner = graph_of(graph_of(trained_lif(1e-3, 0.02)))
    assert inferred(trained_lif(1e-3, 0.01), inner) == 1e-3
    assert inferred(trained_lif(2e-3, 0.01), inner) == DEFAULT_DT


def test_a_single_node_has_a_step_too() -> None:
    assert infer_time_step(trained_cuba(1e-3, 0.01, 0.02)).dt == 1e-3
    assert infer_time_step(nir.Scale(np.ones(1))).dt == DEFAULT_DT


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([1e-4, 1e-3, 5e-4, 0.01, 1.0]),
    st.lists(st.floats(2, 900), min_size=2, max_size=8, unique=True),
)
def test_the_noise_of_float32_is_no_disagreement(dt: float, steps: list[float]) -> None:
    taus = np.array(sorted(steps))
    tau = (taus * dt).astype(np.float32)
    node = lif(tau, tau / np.float32(dt))
    if taus[-1] - taus[0] > 1e-3 * taus[-1] and np.all(node.r != 1):
        assert infer_time_step(graph_of(node)).dt == dt
    syn = cuba(tau, tau[::-1], tau[::-1] / np.float32(dt), tau / np.float32(dt))
    assert infer_time_step(graph_of(syn)).dt == dt


@pytest.mark.parametrize("odd", [0.0, -1.0, np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324])
@pytest.mark.parametrize("place", ["tau", "r"])
def test_odd_parameters_neither_crash_nor_warn(odd: float, place: str) -> None:
    taus, rs = [0.01, 0.02], [10.0, 20.0]
    for values in ([odd, odd], [odd, 0.02]):
        node = lif(values, rs) if place == "tau" else lif(taus, values)
        assert 0 < infer_time_step(graph_of(node)).dt < np.inf
        node = cuba(taus, values, rs, rs) if place == "tau" else cuba(taus, taus, values, rs)
        assert 0 < infer_time_step(graph_of(node)).dt < np.inf


@pytest.mark.parametrize("odd", [["a", "b"], [1j, 2j], [None, None], [[], []]])
def test_what_is_no_number_is_no_trace(odd: Any) -> None:
    assert inferred(lif(np.array(odd), np.array(odd))) == DEFAULT_DT


# --------------------------------------------------------------------- delays as whole steps


@pytest.mark.parametrize(
    ("delay", "steps"),
    [(0.0, 0), (0.4, 0), (0.5, 1), (1.0, 1), (1.4999, 1), (1.5, 2), (2.5, 3), (1000.5, 1001)],
)
def test_halves_are_rounded_up(delay: float, steps: int) -> None:
    assert delay_steps(delay, 1.0) == steps
    assert delay_steps(np.float32(delay * 1e-3), 1e-3) == steps
    assert delay_steps([delay * 1e-4] * 2, 1e-4).tolist() == [steps] * 2


@pytest.mark.parametrize("delay", [-1.0, np.nan, np.inf])
def test_delays_that_are_none(delay: float) -> None:
    with pytest.raises(ValueError, match="negative or not finite"):
        delay_steps([1.0, delay], 1.0)


# --------------------------------------------------- what a conversion says about its step


def chain(node: nir.NIRNode) -> nir.NIRGraph:
    return nir.NIRGraph(
        {**graph_of().nodes, "n": node}, [("in", "n"), ("n", "out")], type_check=False
    )


def time_findings(module: Any) -> list[tuple[str, str]]:
    findings = module.meta["findings"]
    return [(f["code"], f["node"]) for f in findings if f["code"].startswith("NIR4")]


@pytest.mark.parametrize(
    ("dt", "integration", "expected"),
    [
        (1e-3, "euler", []),
        (1.5e-3, "euler", [("NIR401", "n")]),
        (2e-3, "euler", [("NIR402", "n")]),
        (2e-3, "exact", []),
    ],
)
def test_a_step_longer_than_a_time_constant_is_reported(
    dt: float, integration: str, expected: list[tuple[str, str]]
) -> None:
    chosen = default_map(dt=dt, integration=integration)
    module = module_of(chain(lif(1e-3, 3.0)), {}, chosen)
    assert time_findings(module) == expected


def test_the_module_remembers_dt_and_why() -> None:
    module = module_of(chain(trained_cuba(1e-3, 0.01, 0.02)), {})
    assert module.meta["dt"] == 1e-3
    assert "tau_mem/r" in module.meta["dt_reason"]
    assert module.n.dynamics.dt == 1e-3
    given_dt = module_of(chain(trained_cuba(1e-3, 0.01, 0.02)), {}, default_map(dt=0.5e-3))
    assert (given_dt.meta["dt"], given_dt.n.dynamics.dt) == (0.5e-3, 0.5e-3)


def test_a_delay_that_no_memory_holds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a delay of 1e\+16 steps of 0\.0001 cannot be kept"):
        delay_steps(np.array([1e12]), 1e-4)
    assert delay_steps(np.array([1.0]), 1e-4) == 10_000
