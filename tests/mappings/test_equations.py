"""Packs by equations: every class and option against the framework's equations in NumPy.

The oracles are in `equations`. Every spike has to be equal, and every state to 1e-12. Then what all
packs promise: sequences and loops are single steps bit for bit, gradients, types, saving, refusals.
"""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from equations import (
    BATCH,
    BETA,
    CASES,
    EXACT,
    HALF,
    NORSE_DT,
    ONE,
    RATE,
    RATE_SYN,
    ROCKPOOL_DT,
    STEPS,
    TAU,
    TAU_MEM,
    TAU_SYN,
    THRESHOLD,
    TWO,
    V_LEAK,
    V_RESET,
    ZERO,
    B,
    Case,
    N,
    W,
    graph_of,
    jelly_if,
    jelly_lif,
    lava_node,
    looped,
    mlx_cuba,
    norse_cuba,
    norse_lif,
    pack,
    rockpool_cuba,
    rockpool_lif,
    rockpool_neuron,
    sinabs_lif,
    snntorch_cuba,
    snntorch_lif,
    spyx_cuba,
    spyx_if,
    spyx_lif,
    spyx_nest,
)
from networks import module_of
from sequences import by_steps, compare
from torch import Tensor

import nirtorch_cli
from nirtorch_cli import Compiler, MapperError, default_map, nir_to_torch, run_sequence
from nirtorch_cli.conversion.maps import MapOptions, load_map

torch.set_num_threads(1)

TOLERANCE = 1e-12


def is_spiking(case: Case) -> bool:
    """Whether the graph's output is what the neuron gives, and that is spikes."""
    _, variables = case.run(np.zeros((1, N)))
    return "u" in variables[0] and "s" not in variables[0]


def assert_computes(case: Case, x: np.ndarray) -> np.ndarray:
    """The pack's module has the oracle's outputs and variables; the outputs."""
    expected, variables = case.run(x)
    with torch.no_grad():
        found, states = by_steps(case.module, {"input": torch.from_numpy(x)})
    tolerance = 0 if is_spiking(case) else TOLERANCE
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)
    assert len(states) == len(variables) == len(x)
    for state, after in zip(states, variables):
        assert "v" in state["n"]
        for name, value in state["n"].items():
            assert value.dtype == torch.float64
            np.testing.assert_allclose(value, after[name], atol=TOLERANCE, rtol=0, err_msg=name)
    return expected


@pytest.mark.parametrize("name", CASES)
def test_spikes_and_states_are_those_of_the_equations(name: str) -> None:
    case = CASES[name]
    expected = assert_computes(case, case.inputs())
    if is_spiking(case):
        assert 0.02 < (expected != 0).mean() < 0.9, "the case says little"


@pytest.mark.parametrize("name", EXACT)
def test_a_threshold_that_is_just_reached(name: str) -> None:
    case = EXACT[name]
    x = np.random.default_rng(2).integers(-6, 7, (STEPS, *BATCH, N)) / 2.0
    x[0, 0] = 1.0
    assert_computes(case, x)
    _, variables = case.run(x)
    assert any((after["u"] == 1).any() for after in variables), "no threshold is just reached"


# ------------------------------------------------------------------------------------- lava-dl


def shifted(value: int, factor: int) -> int:
    """value factor >> 12, towards zero."""
    kept = abs(value) * factor >> 12
    return kept if value >= 0 else -kept


@pytest.mark.parametrize("scale", [1, 16, 64])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_lava_calculates_in_whole_numbers(scale: int, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(scale)
    whole = 64 * scale
    du, dv = rng.integers(500, 2500, N), rng.integers(200, 1000, N)
    thresholds = rng.integers(whole, 2 * whole, N)
    x = rng.normal(0.2, 0.5, (STEPS, N)).astype(np.float32).astype(np.float64)
    x[0], dv[0], thresholds[1] = 1.0, 0, whole  # reached in the first step, which is not enough
    dv[0] = 1
    node = lava_node(du, dv, thresholds / whole)
    module = module_of(graph_of(node), pack("lava")(scale=scale), dtype=dtype)
    with torch.no_grad():
        found, states = by_steps(module, {"input": torch.from_numpy(x).to(dtype)})
    u, v = [0] * N, [0] * N
    reached_exactly = spikes = 0
    for step, one in enumerate(x.tolist()):
        for n in range(N):
            u[n] = shifted(u[n], 4096 - int(du[n])) + math.trunc(one[n] * whole)
            v[n] = shifted(v[n], 4096 - int(dv[n])) + u[n]
            z = v[n] > int(thresholds[n])  # v >= threshold + 0.01, in whole numbers
            reached_exactly += v[n] == thresholds[n]
            spikes += z
            v[n] = 0 if z else v[n]
            assert found[step, n] == z
        state = states[step]["n"]
        assert (state["i"].double() * whole).tolist() == u
        assert (state["v"].double() * whole).tolist() == v
    assert reached_exactly
    assert 0 < spikes < 0.8 * STEPS * N


# ------------------------------------------------------------------------------ nodes of a pack


def test_spyx_flattens_channels_last() -> None:
    shape = np.array([2, 3, 4])
    nodes = {
        "input": nir.Input(shape),
        "flatten": nir.Flatten(shape, 0, -1),
        "output": nir.Output(np.array([24])),
    }
    edges = [("input", "flatten"), ("flatten", "output")]
    module = module_of(nir.NIRGraph(nodes, edges, type_check=False), pack("spyx")())
    x = torch.arange(2 * 24.0).reshape(2, 2, 3, 4)
    expected = np.transpose(x.numpy(), (0, 2, 3, 1)).reshape(2, 24)
    np.testing.assert_array_equal(module(x)[0].numpy(), expected)
    assert module(x[0])[0].shape == (24,)


def test_spyx_flattens_what_has_no_channels_as_it_is() -> None:
    shape = np.array([3, 4])
    flatten = nir.Flatten(shape, 0, -1)
    nodes = {"input": nir.Input(shape), "n": flatten, "output": nir.Output(np.array([12]))}
    edges = [("input", "n"), ("n", "output")]
    module = module_of(nir.NIRGraph(nodes, edges, type_check=False), pack("spyx")())
    x = torch.arange(24.0).reshape(2, 3, 4)
    assert torch.equal(module(x)[0], x.reshape(2, 12))


def test_spyx_converts_other_nests_node_by_node() -> None:
    inner = graph_of(spyx_lif())
    module = module_of(graph_of(inner), pack("spyx")(), dtype=torch.float64)
    assert type(module.n.n).__name__ == "LIF"
    case = CASES["spyx LIF"]
    x = case.inputs()
    found, _ = by_steps(module, {"input": torch.from_numpy(x)})
    np.testing.assert_array_equal(found, case.run(x)[0])


def parameters(node: nir.NIRNode) -> dict[str, Any]:
    others = ("input_type", "output_type", "metadata")
    return {name: value for name, value in vars(node).items() if name not in others}


def wide(node: nir.NIRNode) -> nir.NIRNode:
    """The same in the shape (N, 1)."""
    return type(node)(**{name: value[:, None] for name, value in parameters(node).items()})


def test_neurons_in_several_axes() -> None:
    for name in ("rockpool LIFNeuron None bias", "rockpool LIF None", "snntorch Leaky zero now 1"):
        case = CASES[name]
        node = wide(case.graph.nodes["n"])
        nodes = {"input": nir.Input(np.array([N, 1])), "n": node}
        nodes["output"] = nir.Output(np.array([N, 1]))
        graph = nir.NIRGraph(nodes, [("input", "n"), ("n", "output")], type_check=False)
        made = pack(case.pack)(**case.options)
        x = case.inputs()
        module = module_of(graph, made, dtype=torch.float64)
        found, _ = by_steps(module, {"input": torch.from_numpy(x[..., None])})
        np.testing.assert_array_equal(found[..., 0], case.run(x)[0])


@pytest.mark.parametrize("single", [True, False])
def test_arrays_that_rockpool_leaves_out(tmp_path: Path, single: bool) -> None:
    """From files, as options of a spec, for neurons of two sizes."""
    first = rockpool_cuba()
    nodes = {
        "input": nir.Input(np.array([N])),
        "first": first,
        "between": nir.Linear(np.eye(N)[:2]),
        "second": nir.CubaLIF(**{name: value[:2] for name, value in parameters(first).items()}),
        "output": nir.Output(np.array([2])),
    }
    names = list(nodes)
    graph = nir.NIRGraph(nodes, list(itertools.pairwise(names)), type_check=False)
    w_rec = 0.2 * W
    files = {}
    for name, array in (("bias", B), ("w_rec", w_rec)):
        if single:  # for every node whose number of neurons it has
            files[name] = tmp_path / f"{name}.npy"
            np.save(files[name], array)
        else:
            files[name] = tmp_path / f"{name}.npz"
            np.savez(files[name], first=array)
    spec = f"rockpool:bias={files['bias']},w_rec={files['w_rec']},max_spikes=3"
    made = load_map(spec, MapOptions(dt=ROCKPOOL_DT))
    case = CASES["rockpool LIF None bias w_rec"]
    x = case.inputs()
    expected, after = Case(
        "rockpool",
        graph,
        rockpool_neuron(TAU_MEM, TAU_SYN, THRESHOLD, B, w_rec, 3),
        case.first,
    ).run(x)
    module = module_of(graph, made, dtype=torch.float64)
    done = run_sequence(module, torch.from_numpy(x), record=["first"])
    np.testing.assert_array_equal(done.trace["first"]["spikes"].detach(), expected)
    second = rockpool_neuron(TAU_MEM[:2], TAU_SYN[:2], THRESHOLD[:2], 0.0, None, 3)
    before = {name: value[:2] for name, value in case.first.items()}
    behind, _ = Case("rockpool", graph, second, before).run(expected[..., :2])
    np.testing.assert_array_equal(done.outputs.detach(), behind)
    assert (expected > 1).any()
    np.testing.assert_allclose(
        done.state["first"]["z"].detach(), after[-1]["z"], atol=TOLERANCE, rtol=0
    )


# ------------------------------------------------------------------------------------ refusals


def replaced(node: nir.NIRNode, **values: Any) -> nir.NIRNode:
    full = {name: np.full(N, float(value)) for name, value in values.items()}
    return type(node)(**{**parameters(node), **full})


LIF_1 = nir.LIF(tau=TWO, r=ONE, v_leak=ZERO, v_threshold=ONE, v_reset=ZERO)
LI_1 = nir.LI(tau=TWO, r=ONE, v_leak=ZERO)
IF_1 = nir.IF(r=ONE, v_threshold=ONE, v_reset=ZERO)
CUBA_1 = nir.CubaLIF(tau_mem=TWO, tau_syn=TWO, r=ONE, v_leak=ZERO, v_threshold=ONE, w_in=ONE)
CUBA_LI = nir.CubaLI(tau_mem=TWO, tau_syn=TWO, r=ONE, v_leak=ZERO, w_in=ONE)
I_1 = nir.I(r=ONE)

REFUSED: list[tuple[str, dict[str, Any], nir.NIRNode, str]] = [
    ("snntorch", {}, LIF_1, "LIF: r is 1, not 20000; snnTorch weighs the input by 1"),
    ("snntorch", {}, replaced(snntorch_lif(), v_leak=0.1), "LIF: v_leak is 0.1, not 0; snnTorch's"),
    ("snntorch", {}, replaced(snntorch_lif(), v_reset=0.1), "LIF: v_reset is 0.1, not 0; snnT"),
    ("snntorch", {}, replaced(snntorch_cuba(), r=1), "CubaLIF: r is 1, not .*; snnTorch weighs"),
    ("snntorch", {}, replaced(snntorch_cuba(), w_in=1), "CubaLIF: w_in is 1, not .*; snnTorch"),
    ("snntorch", {}, replaced(snntorch_cuba(), v_leak=1), "CubaLIF: v_leak is 1, not 0; snnT"),
    ("snntorch", {}, IF_1, "IF is not mapped: snnTorch exports none"),
    ("snntorch", {}, LI_1, "LI is not mapped: snnTorch exports none"),
    ("snntorch", {}, CUBA_LI, "CubaLI is not mapped: snnTorch exports none"),
    ("snntorch", {}, I_1, "I is not mapped: snnTorch exports none"),
    ("norse", {}, replaced(norse_lif(), r=2), "LIF: r is 2, not 1; Norse weighs the input by 1"),
    ("norse", {}, replaced(norse_cuba(), r=2), "CubaLIF: r is 2, not 1; Norse weighs the input"),
    ("norse", {}, replaced(norse_cuba(), w_in=2), "CubaLIF: w_in is 2, not 1; Norse adds"),
    ("norse", {}, replaced(LI_1, r=2), "LI: r is 2, not 1; Norse weighs the input by 1"),
    ("norse", {}, replaced(IF_1, r=2), "IF: r is 2, not 1; Norse weighs the input by 1"),
    ("norse", {"reset": "subtract"}, norse_cuba(), "reset=subtract: Norse's LIFCell is reset to a"),
    ("norse", {"reset": "subtract"}, IF_1, "reset=subtract: Norse's IAFCell is reset to a value"),
    ("norse", {}, I_1, "I is not mapped: Norse exports none"),
    ("norse", {}, CUBA_LI, "CubaLI is not mapped: Norse exports none"),
    ("sinabs", {}, replaced(LIF_1, r=2), "LIF: r is 2, not 1; sinabs weighs the input by 1"),
    ("sinabs", {}, replaced(LIF_1, v_leak=1), "LIF: v_leak is 1, not 0; sinabs' neurons leak to 0"),
    ("sinabs", {}, replaced(LIF_1, v_reset=1), "LIF: v_reset is 1, not 0; sinabs' neurons are"),
    ("sinabs", {}, replaced(IF_1, r=2), "IF: r is 2, not 1; sinabs weighs the input by 1"),
    ("sinabs", {}, replaced(IF_1, v_reset=1), "IF: v_reset is 1, not 0; sinabs' neurons are"),
    ("sinabs", {}, replaced(LI_1, r=2), "LI: r is 2, not 1; sinabs weighs the input by 1"),
    ("sinabs", {}, replaced(LI_1, v_leak=1), "LI: v_leak is 1, not 0; sinabs' neurons leak to 0"),
    ("sinabs", {}, CUBA_1, "CubaLIF is not mapped: sinabs exports none"),
    ("spikingjelly", {}, replaced(IF_1, r=3), "IF: r is 3, not 10000; SpikingJelly weighs"),
    ("spikingjelly", {}, replaced(LIF_1, r=3), "LIF: r is 3, not 20000; SpikingJelly has r = 1, "),
    ("spikingjelly", {}, replaced(LIF_1, v_leak=1), "LIF: v_leak is 1, not 0; SpikingJelly leaks"),
    ("spikingjelly", {}, CUBA_1, "CubaLIF: r is 1, not 2; SpikingJelly weighs the input by 1"),
    ("spikingjelly", {}, replaced(CUBA_1, r=2e4), "CubaLIF: w_in is 1, not 20000; SpikingJelly"),
    ("spikingjelly", {}, replaced(CUBA_1, v_leak=1), "CubaLIF: v_leak is 1, not 0; SpikingJelly's"),
    ("spikingjelly", {}, LI_1, "LI is not mapped: SpikingJelly exports none"),
    ("rockpool", {}, LIF_1, "LIF: r is 1, not .*; Rockpool has r = tau/dt exp"),
    ("rockpool", {}, replaced(rockpool_lif(), v_leak=1), "LIF: v_leak is 1, not 0; Rockpool's"),
    ("rockpool", {}, replaced(rockpool_lif(), v_reset=1), "LIF: v_reset is 1, not 0; Rockpool's"),
    ("rockpool", {}, CUBA_1, "CubaLIF: r is 1, not .*; Rockpool has r = tau/dt exp"),
    ("rockpool", {}, replaced(rockpool_cuba(), w_in=2), "CubaLIF: w_in is 2, not 1; Rockpool adds"),
    ("rockpool", {}, LI_1, "LI: r is 1, not .*; Rockpool has r = tau/dt exp"),
    ("rockpool", {}, replaced(LI_1, v_leak=1), "LI: v_leak is 1, not 0; Rockpool's synapses"),
    ("rockpool", {}, IF_1, "IF is not mapped: Rockpool exports none"),
    (
        "rockpool",
        {"w_rec": W},
        rockpool_lif(),
        "w_rec: a LIFNeuronTorch has no recurrent weights",
    ),
    ("rockpool", {"bias": np.ones(7)}, rockpool_lif(), r"bias has the shape \(7,\), which fits no"),
    ("spyx", {}, LIF_1, "LIF: r is 1, not 0.5; Spyx writes the decay"),
    ("spyx", {}, replaced(spyx_lif(), v_leak=1), "LIF: v_leak is 1, not 0; Spyx's neurons leak"),
    ("spyx", {}, replaced(spyx_lif(), v_reset=1), "LIF: v_reset is 1, not 0; Spyx's neurons are"),
    ("spyx", {}, replaced(IF_1, r=2), "IF: r is 2, not 1; Spyx's IF weighs the input by 1"),
    ("spyx", {}, CUBA_1, "CubaLIF: r is 1, not 0.5; Spyx writes the decay"),
    ("spyx", {}, replaced(spyx_cuba(), w_in=2), "CubaLIF: w_in is 2, not 1; Spyx adds the whole"),
    ("spyx", {}, LI_1, "LI: r is 1, not 0.5; Spyx writes the decay"),
    ("spyx", {}, replaced(LI_1, v_leak=1), "LI: v_leak is 1, not 0; Spyx's neurons leak to 0"),
    ("spyx", {}, I_1, "I is not mapped: Spyx exports none"),
    ("mlx_snn", {}, LIF_1, "LIF: r is 1, not 20000; mlx-snn weighs the input by 1"),
    ("mlx_snn", {}, replaced(snntorch_lif(), v_leak=1), "LIF: v_leak is 1, not 0; mlx-snn's"),
    ("mlx_snn", {}, CUBA_1, "CubaLIF: r is 1, not 20000; mlx-snn weighs the current by 1"),
    ("mlx_snn", {}, replaced(snntorch_cuba(), w_in=2), "CubaLIF: w_in is 2, not 1; mlx-snn adds"),
    ("mlx_snn", {}, replaced(IF_1, r=2), "IF: r is 2, not 1; mlx-snn weighs the input by 1"),
    ("mlx_snn", {}, replaced(IF_1, v_reset=1), "IF: v_reset is 1, not 0; mlx-snn's neurons are"),
    ("mlx_snn", {}, LI_1, "LI is not mapped: mlx-snn exports none"),
    ("lava", {}, CUBA_1, "CubaLIF: r is 1, not 20000; lava-dl weighs the input by 1"),
    ("lava", {}, replaced(CUBA_1, r=2e4), "CubaLIF: w_in is 1, not 20000; lava-dl weighs"),
    ("lava", {}, replaced(CUBA_1, v_leak=1), "CubaLIF: v_leak is 1, not 0; lava-dl's neurons leak"),
    ("lava", {}, replaced(CUBA_1, v_reset=1), "CubaLIF: v_reset is 1, not 0; lava-dl's neurons"),
    ("lava", {}, LIF_1, "LIF is not mapped: lava-dl exports none"),
]


@pytest.mark.parametrize(("name", "options", "node", "text"), REFUSED)
def test_what_a_framework_does_not_compute_is_refused_by_name(
    name: str, options: dict[str, Any], node: nir.NIRNode, text: str
) -> None:
    with pytest.raises(MapperError, match=f"^node 'n': {text}") as caught:
        nir_to_torch(graph_of(node), pack(name)(**options))
    (finding,) = caught.value.findings
    assert (finding.code, finding.node) == ("NIR517", "n")
    with pytest.raises(MapperError, match=text) as caught:  # a node alone
        nir_to_torch(node, pack(name)(**options))
    assert caught.value.findings[0].code == "NIR517"


def test_neurons_that_no_pack_says_a_word_of_are_refused() -> None:
    """Else the defaults would calculate something else, and nobody would notice."""
    for name in ("snntorch", "norse", "sinabs", "spikingjelly", "rockpool", "spyx", "lava"):
        neurons = {nir.I, nir.IF, nir.LI, nir.LIF, nir.CubaLI, nir.CubaLIF}
        assert neurons <= set(pack(name)())
        assert set(pack(name).nodes) == {
            kind.__name__
            for kind, mapper in pack(name)().items()
            if type(mapper).__name__ != "Refusal"
        }


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (nir.Affine(W, B), "the recurrent weights of Spyx have no bias"),
        (nir.Scale(ONE), "a recurrent layer is one neuron and one matrix"),
    ],
)
def test_recurrent_layers_that_spyx_does_not_have(weights: nir.NIRNode, text: str) -> None:
    with pytest.raises(MapperError, match=f"^node 'n': {text}"):
        nir_to_torch(graph_of(spyx_nest(spyx_lif(), weights)), pack("spyx")())


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("norse", {"reset": "subtract", "v_reset": 0.1}, "v_reset 0.1 has no use with reset=subt"),
        ("sinabs", {"spikes": 0}, "spikes 0 is neither multi nor single nor a positive number"),
        ("sinabs", {"tau_syn": -1.0}, "tau_syn -1 is not a positive number"),
        ("rockpool", {"max_spikes": 0}, "max_spikes 0 is not a positive whole number"),
        ("lava", {"scale": 0}, "scale 0 is not a positive whole number"),
    ],
)
def test_values_that_an_option_cannot_have(name: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}"):
        pack(name)(**options)


def test_recurrent_weights_of_neurons_in_several_axes_are_refused() -> None:
    node = wide(rockpool_cuba())
    nodes = {
        "input": nir.Input(np.array([N, 1])),
        "n": node,
        "output": nir.Output(np.array([N, 1])),
    }
    graph = nir.NIRGraph(nodes, [("input", "n"), ("n", "output")], type_check=False)
    with pytest.raises(MapperError, match=r"w_rec: the neurons have the shape \(5, 1\)"):
        nir_to_torch(graph, pack("rockpool")(w_rec=W))


# ------------------------------------------------------------------------- the length of a step


@pytest.mark.parametrize(
    ("name", "node", "dt", "reason"),
    [
        ("norse", norse_lif(), 1e-6, "Norse 1.1.0 writes dt tau, for dt 0.001"),
        ("norse", replaced(norse_lif(), tau=2e-2), 1e-3, "as Norse has it: a guess"),
        ("sinabs", sinabs_lif(), 1.0, "as sinabs has it: time constants count steps"),
        ("rockpool", rockpool_lif(), 1e-3, "tau/dt exp"),
        ("snntorch", snntorch_lif(HALF), 1e-4, "all LIF neurons have tau/r = dt, with one tau"),
        ("snntorch", snntorch_cuba(), 1e-4, "tau_mem/r = tau_syn/w_in = dt"),
        ("spikingjelly", jelly_if(), 1e-4, "all I and IF neurons have r = 1/dt"),
        ("spikingjelly", jelly_lif(TAU, True, ZERO), 1e-4, "as SpikingJelly has it: a guess"),
        ("spikingjelly", replaced(jelly_lif(TAU, True, ZERO), tau=3), 1, "a number of steps"),
        ("spyx", spyx_lif(), 1.0, "all neurons have r = 1 - dt/tau"),
        ("spyx", spyx_if(), 1.0, "as Spyx has it: a guess"),
        ("mlx_snn", mlx_cuba(), 1e-3, "all CubaLIF neurons have tau_mem/r = dt"),
        ("lava", lava_node(np.full(N, 512), np.full(N, 256), ONE), 1e-4, "tau_syn/w_in = dt"),
    ],
)
def test_a_pack_settles_dt(name: str, node: nir.NIRNode, dt: float, reason: str) -> None:
    module = module_of(graph_of(node), pack(name)())
    assert module.meta["dt"] == dt
    assert reason in module.meta["dt_reason"]
    assert module.meta["dt_is_guess"] == ("guess" in reason)
    codes = [finding["code"] for finding in module.meta["findings"]]
    has_time_constants = not isinstance(node, nir.IF)
    assert ("NIR406" in codes) == ("guess" in reason and has_time_constants)


def test_a_dt_that_is_given_wins() -> None:
    node = norse_lif(RATE * NORSE_DT / 2e-3)  # dt/tau is RATE at dt = 2e-3
    module = module_of(graph_of(node), pack("norse")(), default_map(2e-3), dtype=torch.float64)
    assert module.meta["dt"] == 2e-3
    np.testing.assert_allclose(module.n.rate, RATE, rtol=1e-12)
    alone = nir_to_torch(node, pack("norse")(), default_map(2e-3), dtype=torch.float64)
    np.testing.assert_allclose(alone.rate, RATE, rtol=1e-12)


def test_a_node_alone_has_the_dt_of_the_pack() -> None:
    node = norse_lif(RATE * NORSE_DT / 1e-3)
    alone = nir_to_torch(node, pack("norse")(), dtype=torch.float64)
    np.testing.assert_allclose(alone.rate, RATE, rtol=1e-12)


def test_edges_that_snntorch_invents_are_left_out() -> None:
    graph = looped(snntorch_lif(), nir.Affine(W, B))
    nodes = {**graph.nodes, "m": nir.Linear(np.eye(N))}
    edges = [("input", "n"), ("n", "w_rec"), ("w_rec", "n"), ("n", "m"), ("m", "output")]
    sound = nir.NIRGraph(nodes, edges, type_check=False)
    found = nir.NIRGraph(nodes, [*edges, ("w_rec", "m")], type_check=False)
    x = torch.from_numpy(CASES["snntorch Leaky subtract delay 1"].inputs())
    run = [run_sequence(module_of(g, pack("snntorch")(), dtype=x.dtype), x).outputs
           for g in (sound, found)]  # fmt: skip
    assert torch.equal(*run)
    assert len(found.edges) == 6, "the given graph was changed"


# ------------------------------------------------------------------------------- whose memory


@pytest.mark.parametrize("name", CASES)
def test_a_module_shares_no_memory_with_the_graph_and_the_options(name: str) -> None:
    case = CASES[name]
    arrays = [value for node in case.graph.nodes.values() for value in vars(node).values()]
    arrays += case.options.values()
    held = [value.detach().numpy() for value in case.module.state_dict().values()]
    for array in arrays:
        if isinstance(array, np.ndarray):
            assert not any(np.shares_memory(array, one) for one in held)


# ------------------------------------------------------------- sequences, loops, types, gradients

KINDS = [
    "snntorch Leaky subtract delay 1",
    "snntorch Leaky zero now 2.5",
    "snntorch Synaptic zero delay 1",
    "snntorch Synaptic subtract now 1",
    "norse LIFBox v_reset",
    "norse LIFBox subtract",
    "norse LIFCell",
    "norse IAF",
    "norse LIBox",
    "sinabs LIF multi subtract True None",
    "sinabs LIF single zero False 4.0",
    "sinabs LIF 2 subtract True 4.0",
    "sinabs IAF multi subtract -0.2",
    "sinabs IAF single zero None",
    "sinabs ExpLeak None",
    "spikingjelly IFNode v_reset",
    "spikingjelly LIFNode v_reset True",
    "spikingjelly LIFNode v_reset False",
    "spikingjelly CUBALIFNode v_reset",
    "rockpool LIFNeuron 2 bias",
    "rockpool LIF None bias",
    "rockpool LIF 2 bias w_rec",
    "rockpool ExpSyn",
    "spyx IF",
    "spyx LIF",
    "spyx CuBaLIF",
    "spyx RLIF",
    "spyx RCuBaLIF",
    "mlx_snn Leaky subtract",
    "mlx_snn Synaptic zero",
    "lava",
]
"""Of each class and way to reset one."""

DU, DV = np.array([700, 900, 1200, 2000, 2400]), np.array([300, 400, 800, 900, 1000])


def kind(name: str) -> Case:
    if name == "lava":
        node = lava_node(DU, DV, np.round(THRESHOLD * 64) / 64)
        return Case("lava", graph_of(node), lambda x: (x, {}), {}, drive=(0.3, 0.4))
    return CASES[name]


def in_a_loop(case: Case) -> nir.NIRGraph:
    """The neuron between a matrix and another, and a feedback around both; exact in float32."""
    nodes = {
        **graph_of(case.graph.nodes["n"]).nodes,
        "before": nir.Linear(np.eye(N)),
        "behind": nir.Linear(np.round(W * 16) / 16),
    }
    edges = [("input", "before"), ("before", "n"), ("n", "behind"), ("behind", "before")]
    return nir.NIRGraph(nodes, [*edges, ("n", "output")], type_check=False)


def steps_in(case: Case, dtype: torch.dtype = torch.float32) -> Tensor:
    """Inputs in multiples of 1/16."""
    return torch.from_numpy(np.round(case.inputs(1) * 16) / 16).to(dtype)


def variables_in(module: Any) -> list[str]:
    return [f"n:{name}" for name in module.n.states]


def assert_steps(module: Any, x: Tensor, state: Any = None, chunk: int | None = None) -> None:
    """A whole sequence has the outputs and states of single steps, bit for bit."""
    outputs, states = by_steps(module, {"input": x}, state)
    record = [*variables_in(module), "n:output"]
    done = run_sequence(module, x, state, record, chunk=chunk)
    compare(done.outputs, outputs)
    compare(done.state, states[-1])
    assert set(done.trace["n"]) == {*module.n.states, "output"}
    for name in module.n.states:
        compare(done.trace["n"][name], torch.stack([after["n"][name] for after in states]))


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_a_sequence_is_single_steps_bit_for_bit(name: str, loop: bool) -> None:
    case = kind(name)
    if loop and (isinstance(case.graph.nodes["n"], nir.NIRGraph | nir.LI)):
        return  # a nest is its own loop, and a leak is fed back to infinity
    graph = in_a_loop(case) if loop else case.graph
    made = pack(case.pack)(**case.options)
    module = module_of(graph, made, default_map(case.dt or "auto"))
    x = steps_in(case)
    for needs_gradients in (False, True):
        with torch.set_grad_enabled(needs_gradients):
            x = x.detach().requires_grad_(needs_gradients)
            for chunk in (None, 1, 7):
                assert_steps(module, x, chunk=chunk)
            _, states = by_steps(module, {"input": x[:5]})
            assert_steps(module, x[5:], states[-1])


@pytest.mark.parametrize("name", KINDS)
def test_a_state_that_is_passed_in_is_not_changed(name: str) -> None:
    case = kind(name)
    module, x = case.converted(torch.float32), steps_in(case)
    with torch.no_grad():
        _, states = by_steps(module, {"input": x[:5]})
        kept = {key: value.clone() for key, value in states[-1]["n"].items()}
        given = x.clone()
        run_sequence(module, x, states[-1])
        module(x[0], states[-1])
    compare(states[-1]["n"], kept)
    assert torch.equal(x, given)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", KINDS)
def test_other_types(name: str, dtype: torch.dtype) -> None:
    case = kind(name)
    module = case.converted(torch.float32).to(dtype)
    with torch.no_grad():
        assert_steps(module, steps_in(case, dtype))
        done = run_sequence(module, steps_in(case, dtype))
    assert done.outputs.dtype == dtype
    assert all(value.dtype == dtype for value in done.state["n"].values())
    assert torch.isfinite(done.outputs).all()
    assert (done.outputs != 0).any()


def gradients(run: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor, module: Any) -> Any:
    """Of a loss on outputs and voltages, by all inputs and parameters."""
    x = x.clone().requires_grad_()
    outputs, v = run(x)
    generator = torch.Generator().manual_seed(4)
    weighed = [torch.randn(y.shape, generator=generator, dtype=y.dtype) * y for y in (outputs, v)]
    loss = sum(one.sum() for one in weighed)
    return torch.autograd.grad(loss, [x, *module.parameters()])


@pytest.mark.parametrize("name", KINDS)
def test_gradients_of_a_sequence_are_those_of_single_steps(name: str) -> None:
    case = kind(name)
    module = case.converted(torch.float64)
    x = torch.from_numpy(case.inputs(1))

    def at_once(x: Tensor) -> tuple[Tensor, Tensor]:
        done = run_sequence(module, x, record=["n:v"])
        return done.outputs, done.trace["n"]["v"]

    def by_step(x: Tensor) -> tuple[Tensor, Tensor]:
        outputs, states = by_steps(module, {"input": x})
        return outputs, torch.stack([state["n"]["v"] for state in states])

    found, expected = gradients(at_once, x, module), gradients(by_step, x, module)
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-9)
        assert (other != 0).any()


class Surrogate(torch.autograd.Function):
    """z of any size forwards, 1 / (1 + (pi u)^2) backwards."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, z: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return z.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (u,) = ctx.saved_tensors
        return gradient / (1 + (math.pi * u) ** 2), None


def spiking(v: Tensor, threshold: Tensor, z: Tensor) -> Tensor:
    spikes: Tensor = Surrogate.apply(v - threshold, z.to(v.dtype).detach())
    return spikes


def torch_leaky(x: Tensor) -> tuple[Tensor, Tensor]:
    """snnTorch's Leaky that subtracts, with its delay."""
    beta, threshold = torch.from_numpy(BETA), torch.from_numpy(THRESHOLD)
    v, zs, vs = torch.zeros_like(x[0]), [], []
    for one in x:
        fired = (v > threshold).to(v.dtype).detach()
        v = beta * v + one - fired * threshold
        zs.append(spiking(v, threshold, v > threshold))
        vs.append(v)
    return torch.stack(zs), torch.stack(vs)


def torch_cell(x: Tensor) -> tuple[Tensor, Tensor]:
    """Norse's LIFCell; the gradient of its reset flows."""
    rate, rate_syn = torch.from_numpy(RATE), torch.from_numpy(RATE_SYN)
    leak, reset = torch.from_numpy(V_LEAK), torch.from_numpy(V_RESET)
    threshold = torch.from_numpy(THRESHOLD)
    i, v, zs, vs = torch.zeros_like(x[0]), leak.expand(x[0].shape), [], []
    for one in x:
        i = i + one
        v = v + rate * (leak - v + i)
        i = i - rate_syn * i
        z = spiking(v, threshold, v > threshold)
        v = (1 - z) * v + z * reset
        zs.append(z)
        vs.append(v)
    return torch.stack(zs), torch.stack(vs)


def torch_multi(x: Tensor) -> tuple[Tensor, Tensor]:
    """sinabs' IAF, several spikes a step; the gradient of its reset flows."""
    threshold = torch.from_numpy(THRESHOLD)
    v, zs, vs = torch.zeros_like(x[0]), [], []
    for one in x:
        v = v + one
        z = spiking(v, threshold, (v > 0) * torch.trunc(v / threshold))
        v = v - z * threshold
        zs.append(z)
        vs.append(v)
    return torch.stack(zs), torch.stack(vs)


def torch_spyx(x: Tensor) -> tuple[Tensor, Tensor]:
    """Spyx's LIF, which fires by the voltage before; the gradient of its reset flows."""
    beta, threshold = torch.from_numpy(BETA), torch.from_numpy(THRESHOLD)
    v, zs, vs = torch.zeros_like(x[0]), [], []
    for one in x:
        z = spiking(v, threshold, v > threshold)
        v = beta * v + one - z * threshold
        zs.append(z)
        vs.append(v)
    return torch.stack(zs), torch.stack(vs)


BY_HAND = {
    "snntorch Leaky subtract delay 1": torch_leaky,
    "norse LIFCell": torch_cell,
    "sinabs IAF multi subtract None": torch_multi,
    "spyx LIF": torch_spyx,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_gradients_are_those_of_the_equations(name: str) -> None:
    module = CASES[name].module
    x = torch.from_numpy(CASES[name].inputs(1))

    def at_once(x: Tensor) -> tuple[Tensor, Tensor]:
        done = run_sequence(module, x, record=["n:v"])
        return done.outputs, done.trace["n"]["v"]

    (found,), (expected,) = gradients(at_once, x, module), gradients(BY_HAND[name], x, module)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize("surrogate", ["atan", "sigmoid", "straight_through"])
@pytest.mark.parametrize("name", [name for name in KINDS if kind(name).pack != "spyx"])
def test_a_spike_has_the_gradient_of_the_surrogate(name: str, surrogate: str) -> None:
    """Of one step from rest: dz/dx = surrogate(v - threshold) dv/dx."""
    case = kind(name)
    if isinstance(case.graph.nodes["n"], nir.LI):
        return
    made = pack(case.pack)(**case.options, surrogate=surrogate)
    module = module_of(case.graph, made, default_map(case.dt or "auto"), dtype=torch.float64).n
    x = torch.from_numpy(case.inputs(1)[0]).requires_grad_()
    charged = module.charge(x, *module.variables(x, None).values())
    v = charged[-2] if case.pack == "snntorch" else charged[-1]
    (by_input,) = torch.autograd.grad(v.sum(), x, retain_graph=True)
    (found,) = torch.autograd.grad(module(x)[0].sum(), x)
    u = (v - torch.from_numpy(case.graph.nodes["n"].v_threshold)).detach()
    derivative = {
        "atan": 1 / (1 + (math.pi * u) ** 2),
        "sigmoid": 4 * torch.sigmoid(4 * u) * (1 - torch.sigmoid(4 * u)),
        "straight_through": torch.ones_like(u),
    }[surrogate]
    near = 1e-4 if name == "lava" else 1e-9  # its threshold is higher by 0.01 of its unit
    graded = case.options.get("graded", 1)
    torch.testing.assert_close(found, derivative * by_input * graded, atol=near, rtol=near)
    assert (found != 0).all()


def test_surrogates_are_used_by_what_fires_late() -> None:
    for name in ("spyx LIF", "spyx CuBaLIF", "spyx RLIF", "spyx RCuBaLIF"):
        case = CASES[name]
        x = torch.from_numpy(case.inputs(1)).requires_grad_()
        (found,) = torch.autograd.grad(run_sequence(case.module, x).outputs.sum(), x)
        assert (found[:-1] != 0).all()
        assert (found[-1] == 0).all()


@pytest.mark.parametrize("name", ["snntorch Leaky subtract delay 1", "norse LIFCell"])
def test_compiled_loops(name: str) -> None:
    case = CASES[name]
    module = module_of(in_a_loop(case), pack(case.pack)(**case.options))
    x, compiler = steps_in(case), Compiler(8, backend="aot_eager")
    with torch.no_grad():
        done = run_sequence(module, x, record=["n:v"], compiler=compiler)
        expected = run_sequence(module, x, record=["n:v"])
    assert compiler.problem is None
    assert compiler.programs == 1
    assert torch.equal(done.outputs, expected.outputs)
    compare(done.trace, expected.trace, 1e-6)


LOADED = """
import sys, torch, nirtorch_cli
torch.set_num_threads(1)
for number in range(int(sys.argv[1])):
    module = nirtorch_cli.load(f"{number}.pt")
    x, outputs, state = torch.load(f"{number}.run")
    done = nirtorch_cli.run_sequence(module, x)
    assert torch.equal(done.outputs, outputs), number
    assert done.state["n"].keys() == state.keys()
    assert all(torch.equal(done.state["n"][name], value) for name, value in state.items()), number
    assert any((value != 0).any() for value in state.values())
"""


def test_saved_and_loaded_in_a_fresh_process(tmp_path: Path) -> None:
    for number, name in enumerate(KINDS):
        case = kind(name)
        module, x = case.converted(torch.float32), steps_in(case)
        with torch.no_grad():
            done = run_sequence(module, x)
        nirtorch_cli.save(module, tmp_path / f"{number}.pt")
        torch.save((x, done.outputs, done.state["n"]), tmp_path / f"{number}.run")
    command = [sys.executable, "-W", "error", "-c", LOADED, str(len(KINDS))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", KINDS)
def test_steps_are_written_into_buffers(name: str) -> None:
    """As fast as they can be, whether alone or in a loop."""
    case = kind(name)
    module, x = case.converted(torch.float32), steps_in(case)
    with torch.no_grad():
        assert module.n.stepper(x[0, 0], None) is not None
        assert module.n.stepper(x[0], None) is not None or hasattr(module.n, "w_rec")
