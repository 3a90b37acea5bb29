"""Half, bfloat16, double precision, the `meta` device and autocast, over several steps.

In: the networks of `networks.py`, and smooth ones of the same structure, whose values can be
compared between precisions. Out: pass or fail. Every output and every tensor of every state must
have the dtype and device that was asked for; nothing is made in float32 on the CPU on the way.
"""

from __future__ import annotations

import pickle
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from networks import DT, NETWORKS, assert_same, converted, flat, inputs, module_of, run
from oracles import run_graph
from typer.testing import CliRunner

from nirtorch_cli import NirtorchWarning, default_map, nir_to_torch, run_sequence
from nirtorch_cli.cli.app import app
from nirtorch_cli.primitives.dynamics import Dynamics

torch.set_num_threads(1)

STEPS = 5
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
TOLERANCE = {torch.float16: 1e-2, torch.bfloat16: 6e-2, torch.float32: 0.0, torch.float64: 1e-5}


@pytest.fixture(params=NETWORKS)
def graph(request: pytest.FixtureRequest) -> nir.NIRGraph:
    return NETWORKS[request.param]()


def silent(graph: nir.NIRGraph) -> nir.NIRGraph:
    """The same graph with leaky integrators for all that fires: it is smooth in its inputs."""
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            silent(node)
        elif isinstance(node, nir.LIF):
            graph.nodes[name] = nir.LI(node.tau, node.r, node.v_leak)
        elif isinstance(node, nir.CubaLIF):
            graph.nodes[name] = nir.CubaLI(
                node.tau_syn, node.tau_mem, node.r, node.v_leak, node.w_in
            )
        elif isinstance(node, nir.IF):
            graph.nodes[name] = nir.I(node.r)
    return graph


def tensors(tree: Any) -> dict[str, torch.Tensor]:
    return {path: v for path, v in flat(tree).items() if isinstance(v, torch.Tensor)}


def assert_all_are(results: Any, dtype: torch.dtype, device: str) -> None:
    """Outputs, and the states after every step."""
    for output, state in results:
        assert tensors(output)
        assert tensors(state)
        for path, tensor in (tensors(output) | tensors(state)).items():
            assert tensor.dtype == dtype, path
            assert tensor.device.type == device, path


@pytest.mark.parametrize("dtype", DTYPES)
def test_outputs_and_states_have_the_requested_dtype(
    graph: nir.NIRGraph, dtype: torch.dtype
) -> None:
    module = converted(graph, dtype=dtype)
    results = run(module, inputs(module, STEPS, dtype=dtype))
    assert_all_are(results, dtype, "cpu")
    for output, _ in results:
        for value in tensors(output).values():
            assert torch.isfinite(value).all()
    floating = [t for t in module.state_dict().values() if t.is_floating_point()]
    assert len(floating) > 3
    assert {tensor.dtype for tensor in floating} == {dtype}


@pytest.mark.parametrize("integration", ["euler", "exact"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_are_those_of_single_precision(
    graph: nir.NIRGraph, dtype: torch.dtype, integration: str
) -> None:
    graph = silent(graph)
    options = default_map(dt=DT, integration=integration)
    single = module_of(graph, {}, options)
    other = module_of(graph, {}, options, dtype=dtype)
    steps = inputs(single, STEPS)
    expected = run(single, steps)
    actual = run(other, [tuple(x.to(dtype) for x in arguments) for arguments in steps])
    assert_all_are(actual, dtype, "cpu")
    assert list(flat(actual)) == list(flat(expected))
    for path, value in tensors(expected).items():
        scale = value.abs().max().item() + 1e-3
        error = (tensors(actual)[path].float() - value).abs().max().item()
        assert error <= TOLERANCE[dtype] * scale, path


def test_converted_to_half_is_half_of_the_converted(graph: nir.NIRGraph) -> None:
    """`dtype=` and a later `.to` are one way."""
    given, later = converted(graph, dtype=torch.float16), converted(graph, dtype=torch.float64)
    steps = inputs(given, STEPS, dtype=torch.float16)
    assert_same(run(later.half(), steps), run(given, steps))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_meta_device(graph: nir.NIRGraph, dtype: torch.dtype) -> None:
    """Shapes without values; converted there, or moved there."""
    real = converted(graph, dtype=dtype)
    steps = inputs(real, STEPS, dtype=dtype)
    shapes = {path: value.shape for path, value in tensors(run(real, steps)).items()}
    on_meta = [tuple(x.to("meta") for x in arguments) for arguments in steps]
    for module in (converted(graph, dtype=dtype, device="meta"), real.to("meta")):
        assert {tensor.device.type for tensor in module.state_dict().values()} == {"meta"}
        results = run(module, on_meta)
        assert_all_are(results, dtype, "meta")
        assert {path: value.shape for path, value in tensors(results).items()} == shapes


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_delayed_edges_start_from_zeros_like_the_input(batch: tuple[int, ...]) -> None:
    for dtype in DTYPES:
        module = converted(NETWORKS["recurrent"](), dtype=dtype)
        x = torch.ones(*batch, 3, dtype=dtype)
        _, state = module(x)
        assert state["lif_prev_output"].shape == (*batch, 4)
        assert state["again_prev_output"].shape == (*batch, 2)
        # From rest is from zeros: the delayed edges, and the voltages at v_leak.
        zeros = {
            **state,
            "lif": {"v": module.lif.v_leak.expand(*batch, 4)},
            "lif_prev_output": torch.zeros(*batch, 4, dtype=dtype),
            "again_prev_output": torch.zeros(*batch, 2, dtype=dtype),
        }
        assert_same(module(x, zeros), module(x))


# --------------------------------------------------------------------------- the file's precision


def in_precision(graph: nir.NIRGraph, dtype: Any) -> nir.NIRGraph:
    """The graph as a file of this precision holds it."""
    for node in graph.nodes.values():
        if isinstance(node, nir.NIRGraph):
            in_precision(node, dtype)
        for name, value in vars(node).items():
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                setattr(node, name, value.astype(dtype))
    return graph


@pytest.mark.parametrize("name", ["feedforward", "recurrent"])
def test_a_double_precision_file(name: str) -> None:
    """All its digits in float64, each parameter rounded once in float32."""
    graph = in_precision(silent(NETWORKS[name]()), np.float64)
    double, single = converted(graph, dtype=torch.float64), converted(graph)
    for key, value in double.state_dict().items():
        node, parameter = key.split(".")
        if parameter != "steps":
            given = getattr(graph.nodes[double.meta["names"][node]], parameter)
            assert value.tolist() == given.tolist(), key
            assert torch.equal(single.state_dict()[key], torch.tensor(given, dtype=torch.float32))
    steps = inputs(double, 12, dtype=torch.float64)
    with torch.no_grad():
        outputs = torch.stack([output for output, _ in run(double, steps)])
        rough = [output for output, _ in run(single, [(x.float(),) for (x,) in steps])]
    expected = run_graph(
        graph,
        torch.stack([x for (x,) in steps]).numpy(),
        delayed={tuple(edge) for edge in double.meta["delayed_edges"]},
        dt=DT,
    )
    np.testing.assert_allclose(outputs.numpy(), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(torch.stack(rough).numpy(), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_single_precision_file(dtype: torch.dtype) -> None:
    """Its numbers are the same in any precision that holds them."""
    graph = in_precision(NETWORKS["feedforward"](), np.float32)
    module = converted(graph, dtype=dtype)
    for key, value in module.state_dict().items():
        node, parameter = key.split(".")
        if parameter != "steps":
            given = getattr(graph.nodes[module.meta["names"][node]], parameter)
            assert value.dtype == dtype
            assert value.tolist() == given.tolist(), key


# -------------------------------------------------------------------------------------- autocast


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_runs(graph: nir.NIRGraph, dtype: torch.dtype) -> None:
    """Layers in low precision, and what they give close to what they give without."""
    module = converted(silent(graph))
    steps = inputs(module, STEPS)
    expected = run(module, steps)
    with torch.autocast("cpu", dtype=dtype):
        actual = run(module, steps)
    assert list(flat(actual)) == list(flat(expected))
    differing = 0
    for path, value in tensors(expected).items():
        other = tensors(actual)[path]
        assert other.shape == value.shape
        scale = value.abs().max().item() + 1e-3
        assert (other.float() - value).abs().max().item() <= 6e-2 * scale, path
        differing += not torch.equal(other.float(), value)
    assert differing > STEPS, "autocast changed nothing: was it on?"


def test_autocast_trains() -> None:
    module = converted(NETWORKS["recurrent"]())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        results = run(module, inputs(module, 10))
        loss = sum(output.float().square().sum() for output, _ in results)
    loss.backward()
    for parameter in module.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.dtype == torch.float32


# ----------------------------------------------------- constants that half precision cannot hold


def lif_graph(tau: float, threshold: float = 1.0, kind: type = nir.LIF) -> nir.NIRGraph:
    one = np.ones(2)
    if kind is nir.LIF:
        node = nir.LIF(tau * one, one, 0 * one, threshold * one)
    elif kind is nir.CubaLIF:
        node = nir.CubaLIF(tau * one, tau * one, one, 0 * one, threshold * one)
    else:
        node = nir.LI(tau * one, one, 0 * one)
    return nir.NIRGraph.from_list(node)


@pytest.mark.parametrize("integration", ["euler", "exact"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("tau", "dt"), [(7.0, 1e-4), (3e-6, 1e-6), (1e-8, 5e-9), (2e5, 1.0)])
def test_a_gain_is_computed_in_float64_and_rounded_once(
    tau: float, dt: float, dtype: torch.dtype, integration: str
) -> None:
    """Also where tau/dt is over 65,504, or tau itself is 0 or infinite in float16."""
    module = module_of(lif_graph(tau, kind=nir.LI), {}, default_map(dt, integration), dtype=dtype)
    gain = dt / tau if integration == "euler" else -np.expm1(-dt / tau)
    y = module(torch.ones(1, 2, dtype=dtype))[0]
    expected = torch.tensor(gain, dtype=torch.float64).to(dtype)
    assert expected > 0
    assert torch.equal(y, expected.expand(1, 2))
    whole = run_sequence(module, torch.ones(1, 1, 2, dtype=dtype)).outputs
    assert torch.equal(whole[0], y)
    again = pickle.loads(pickle.dumps(module))
    assert torch.equal(again(torch.ones(1, 2, dtype=dtype))[0], y)


def test_a_time_constant_that_was_changed_is_read(tmp_path: Path) -> None:
    module = module_of(lif_graph(0.3, kind=nir.LI), {}, default_map(1e-1), dtype=torch.float16)
    weights = module.state_dict()
    module.load_state_dict(weights)
    first = module(torch.ones(1, 2, dtype=torch.float16))[0]
    assert torch.equal(first, torch.tensor(0.1 / 0.3).half().expand(1, 2))
    (name,) = (key for key in weights if key.endswith("tau"))
    module.load_state_dict({**weights, name: torch.full((2,), 0.4).half()})
    second = module(torch.ones(1, 2, dtype=torch.float16))[0]
    assert torch.equal(second, (0.1 / torch.full((1, 2), 0.4).half().double()).half())


LOST = [
    ("float16", nir.LIF, 0.05, 1e-4, None),
    ("float16", nir.LIF, 0.2, 1e-4, "tau"),
    ("float16", nir.LIF, 7.0, 1e-4, "tau"),
    ("bfloat16", nir.LIF, 0.02, 1e-4, "tau"),
    ("bfloat16", nir.LIF, 0.01, 1e-4, None),
    ("float32", nir.LIF, 10.0, 1e-6, "tau"),
    ("float32", nir.LIF, 0.02, 1e-4, None),
    ("float64", nir.LIF, 10.0, 1e-6, None),
    ("float16", nir.CubaLIF, 0.2, 1e-4, "tau_mem"),
    ("float16", nir.CubaLIF, 0.2, 1e-4, "tau_syn"),
]


@pytest.mark.parametrize(("dtype", "kind", "tau", "dt", "parameter"), LOST)
def test_increments_that_a_type_loses_are_a_warning(
    dtype: str, kind: type, tau: float, dt: float, parameter: str | None, tmp_path: Path
) -> None:
    """In the library, and for the --dtype of `check`."""
    graph = lif_graph(tau, kind=kind)
    module = module_of(graph, {}, default_map(dt), dtype=getattr(torch, dtype))
    told = [f["parameter"] for f in module.meta["findings"] if f["code"] == "NIR308"]
    assert (parameter in told) if parameter else told == []
    path = tmp_path / "m.nir"
    nir.write(path, graph)
    arguments = [
        "check",
        str(path),
        "--dtype",
        dtype,
        "--dt",
        str(dt),
        "--strict",
        "--select",
        "NIR308",
    ]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == (1 if parameter else 0)
    assert ("NIR308" in answer.output) is (parameter is not None)


def test_what_is_told_is_true() -> None:
    """Just where it is told that float16 loses a step's increment, the neuron stops short."""
    for tau, is_lost in ((0.05, False), (0.8, True)):
        module = module_of(lif_graph(tau), {}, default_map(1e-4), dtype=torch.float16)
        exact = module_of(lif_graph(tau), {}, default_map(1e-4), dtype=torch.float64)
        xs = torch.full((int(20 * tau / 1e-4), 1, 2), 2.0)
        ours = run_sequence(module, xs.half()).outputs.double().sum()
        theirs = run_sequence(exact, xs.double()).outputs.sum()
        assert theirs > 0
        assert bool(ours == 0) is is_lost, (tau, ours, theirs)
        codes = {finding["code"] for finding in module.meta["findings"]}
        assert ("NIR308" in codes) is is_lost


@pytest.mark.parametrize(("r", "is_lost"), [(1.0, False), (1e-4, True)])
def test_charges_that_a_type_loses(r: float, is_lost: bool) -> None:
    one = np.ones(2)
    graph = nir.NIRGraph.from_list(nir.IF(r * one, one, 0 * one))
    expected = (
        pytest.warns(NirtorchWarning, match="lose the increment") if is_lost else nullcontext()
    )
    with expected:
        module = nir_to_torch(graph, {}, dtype=torch.float16)
    codes = [finding["code"] for finding in module.meta["findings"]]
    assert ("NIR308" in codes) is is_lost


def test_what_a_time_constant_holds_decides_however_it_came_there() -> None:
    """Changed in place, behind autograd's back, by another tensor or a parameter: it is read."""
    module: Any = module_of(lif_graph(0.1, kind=nir.LI), {}, default_map(1e-2))
    neuron, x = next(child for child in module.children()), torch.ones(1, 2)

    def gain() -> float:
        return float(module(x)[0][0, 0])

    assert gain() == pytest.approx(0.1)
    neuron.tau.mul_(2)
    assert gain() == pytest.approx(0.05)
    neuron.tau.data.mul_(0.5)
    assert gain() == pytest.approx(0.1)
    neuron.tau = torch.full((2,), 0.04)
    assert gain() == pytest.approx(0.25)
    again = pickle.loads(pickle.dumps(module))
    next(child for child in again.children()).tau.mul_(4)
    assert float(again(x)[0][0, 0]) == pytest.approx(0.0625)
    assert gain() == pytest.approx(0.25)
    neuron.dynamics = Dynamics(dt=2e-2)
    assert gain() == pytest.approx(0.5)
