"""Converted modules as torch modules: parameters, buffers, gradients, and whose memory is whose.

In: small graphs built here. Out: pass or fail. Gradients are compared with finite differences
(`gradcheck`) where the network is smooth and with the surrogate's formula where it is not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import pytest
import torch
from networks import weights
from neurons import DT, NEURONS, neuron
from torch import Tensor

from nirtorch_cli import nir_to_torch
from nirtorch_cli.conversion.defaults import default_map

torch.set_num_threads(1)


def network(hidden: Any = nir.LIF, output: Any = nir.LI, recurrent: bool = True) -> nir.NIRGraph:
    """Input 3 -> affine -> hidden 4, which may hear itself -> linear -> output 2."""
    nodes = {
        "input": nir.Input(np.array([3])),
        "affine": nir.Affine(weights(4, 3), weights(4, seed=2)),
        "hidden": neuron(hidden, 4),
        "readout": nir.Linear(weights(2, 4, seed=4)),
        "neurons": neuron(output, 2),
        "output": nir.Output(np.array([2])),
    }
    names = list(nodes)
    edges = list(itertools.pairwise(names))
    if recurrent:
        nodes["back"] = nir.Linear(weights(4, 4, seed=3))
        edges += [("hidden", "back"), ("back", "hidden")]
    return nir.NIRGraph(nodes, edges, type_check=False)


def converted(graph: nir.NIRNode, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    return nir_to_torch(graph, {}, default_map(dt=DT, **options), dtype=dtype)


def run(module: Any, xs: Tensor, state: Any = None) -> Tensor:
    outputs = []
    for x in xs:
        y, state = module(x, state)
        outputs.append(y)
    return torch.stack(outputs)


def inputs(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.from_numpy(weights(*shape, seed=9)).to(dtype)


# -------------------------------------------------------------------------- parameters, buffers


@pytest.mark.parametrize("kind", NEURONS, ids=[kind.__name__ for kind in NEURONS])
def test_constants_are_buffers_under_nir_names(kind: Any) -> None:
    node = neuron(kind, 4)
    module = converted(node, torch.float64)
    assert not list(module.parameters())
    buffers = dict(module.named_buffers())
    assert sorted(buffers) == NEURONS[kind]
    assert sorted(module.state_dict()) == NEURONS[kind]
    for name, buffer in buffers.items():
        assert buffer.tolist() == getattr(node, name).tolist()


def test_weights_are_parameters() -> None:
    nodes = {
        "weight bias": [
            nir.Affine(weights(4, 3), weights(4)),
            nir.Affine(weights(2, 4, 3), weights(2, 4)),
            nir.Conv1d(None, weights(2, 2, 3), 1, 0, 1, 1, weights(2)),
            nir.Conv2d(None, weights(2, 2, 3, 3), 1, 0, 1, 1, weights(2)),
        ],
        "weight": [
            nir.Linear(weights(4, 3)),
            nir.Linear(weights(2, 4, 3)),
            nir.Conv1d(None, weights(2, 2, 3), 1, 0, 1, 1, None),
            nir.Conv2d(None, weights(2, 2, 3, 3), 1, 0, 1, 1, None),
        ],
        "scale": [nir.Scale(weights(3))],
    }
    for names, kinds in nodes.items():
        for node in kinds:
            module = converted(node, torch.float64)
            parameters = dict(module.named_parameters())
            assert " ".join(parameters) == names
            assert not list(module.buffers())
            for name, parameter in parameters.items():
                assert parameter.requires_grad
                assert parameter.is_leaf
                assert parameter.tolist() == getattr(node, name).tolist()


def test_plain_linear_is_one_made_by_its_constructor() -> None:
    """torch's constructor is passed by, so a new version of torch might add what it sets."""
    for node, bias in (
        (nir.Affine(weights(4, 3), weights(4)), True),
        (nir.Linear(weights(4, 3)), False),
    ):
        module, constructed = converted(node), torch.nn.Linear(3, 4, bias=bias)
        assert type(module) is torch.nn.Linear
        assert list(vars(module)) == list(vars(constructed))
        for name, value in vars(constructed).items():
            if name == "_parameters":
                assert list(module._parameters) == list(value)
                assert [type(p) for p in module._parameters.values()] == [
                    type(p) for p in value.values()
                ]
            else:
                assert vars(module)[name] == value, name
        assert repr(module) == repr(constructed)
        constructed.load_state_dict(module.state_dict())
        x = inputs(5, 3)
        assert torch.equal(module(x), constructed(x))


@pytest.mark.parametrize("kind", [nir.Conv1d, nir.Conv2d])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("padding", [1, "same"])
def test_convolution_is_one_made_by_its_constructor(kind: Any, bias: bool, padding: Any) -> None:
    """Its weights are put in after construction, on another device."""
    axes = 1 if kind is nir.Conv1d else 2
    weight = weights(4, 1, *[3] * axes)
    module = converted(kind(None, weight, 1, padding, 2, 2, weights(4) if bias else None))
    plain: Any = torch.nn.Conv1d if axes == 1 else torch.nn.Conv2d
    constructed = plain(2, 4, 3, padding=padding, dilation=2, groups=2, bias=bias)
    assert isinstance(module, plain)
    for name, value in vars(constructed).items():
        if name != "_parameters":
            assert vars(module)[name] == value, name
    constructed.load_state_dict(module.state_dict())
    x = inputs(3, 2, *[7] * axes)
    assert torch.equal(module(x), constructed(x))


def test_state_dict_round_trip() -> None:
    graph, xs = network(nir.CubaLIF), inputs(6, 5, 3)
    module, other = converted(graph), converted(graph)
    changed = {
        key: value * 1.25 if value.is_floating_point() else value
        for key, value in module.state_dict().items()
    }
    before = run(module, xs)
    other.load_state_dict(changed)
    assert list(other.state_dict()) == list(module.state_dict())
    after = run(other, xs)
    assert not torch.equal(before, after)
    module.load_state_dict(other.state_dict())
    assert torch.equal(run(module, xs), after)
    assert set(module.state_dict()) == {
        "affine.weight",
        "affine.bias",
        "back.weight",
        "readout.weight",
        *(f"hidden.{name}" for name in NEURONS[nir.CubaLIF]),
        *(f"neurons.{name}" for name in NEURONS[nir.LI]),
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_to_moves_all_there_is(dtype: torch.dtype) -> None:
    delayed = nir.Delay(np.array([0, 2, 1, 5]) * DT)
    graph = network(nir.CubaLIF)
    graph.nodes["wait"] = delayed
    graph.edges.remove(("affine", "hidden"))
    graph.edges += [("affine", "wait"), ("wait", "hidden")]
    module = converted(graph)
    module = module.half() if dtype == torch.float16 else module.to(dtype)
    for key, value in module.state_dict().items():
        assert value.dtype == (torch.int64 if key == "wait.steps" else dtype), key
    y, state = module(inputs(2, 3, dtype=dtype))
    y, state = module(inputs(2, 3, dtype=dtype), state)
    assert y.dtype == dtype
    assert state["wait"]["history"].dtype == dtype


@pytest.mark.parametrize("assign", [False, True])
def test_loaded_delays_are_kept(assign: bool) -> None:
    """Also where they are longer, or uniform no more."""
    xs = inputs(8, 2)
    for first, second in (((1, 1), (3, 3)), ((2, 2), (0, 4)), ((5, 0), (1, 1)), ((0, 0), (2, 2))):
        other = default_map(dt=DT)[nir.Delay](nir.Delay(np.array(second) * DT))
        before = run(other, xs)
        module = default_map(dt=DT)[nir.Delay](nir.Delay(np.array(first) * DT))
        module.load_state_dict(other.state_dict(), assign=assign)
        assert torch.equal(run(module, xs), before)
        on_meta = default_map(dt=DT)[nir.Delay](nir.Delay(np.array(first) * DT)).to("meta")
        on_meta.load_state_dict(other.state_dict(), assign=True)
        assert torch.equal(run(on_meta, xs), before)


@pytest.mark.parametrize("kind", NEURONS, ids=[kind.__name__ for kind in NEURONS])
def test_repr_shows_size_and_step(kind: Any) -> None:
    module = default_map(dt=DT)[kind](neuron(kind, 4))
    assert repr(module) == f"{kind.__name__}((4,), dt=0.001, integration='euler')"
    for name in NEURONS[kind]:
        setattr(module, name, torch.nn.Parameter(getattr(module, name)))
    assert repr(module) == f"{kind.__name__}((4,), dt=0.001, integration='euler')"


def test_constants_can_be_made_trainable() -> None:
    module = converted(network())
    module.hidden.tau = torch.nn.Parameter(module.hidden.tau)
    module.hidden.v_threshold = torch.nn.Parameter(module.hidden.v_threshold)
    run(module, inputs(10, 4, 3)).square().sum().backward()
    for parameter in (module.hidden.tau, module.hidden.v_threshold):
        assert torch.isfinite(parameter.grad).all()
        assert (parameter.grad != 0).any()
    assert "hidden.tau" in dict(module.named_parameters())
    assert "hidden.tau" not in dict(module.named_buffers())


# ----------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("integration", ["euler", "exact"])
@pytest.mark.parametrize("hidden", [nir.LIF, nir.CubaLIF, nir.IF])
def test_an_optimizer_lowers_the_loss(hidden: Any, integration: str) -> None:
    module = converted(network(hidden), integration=integration)
    teacher, xs = converted(network(hidden), integration=integration), 4 * inputs(12, 6, 3)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(1.5)
        wanted = run(teacher, xs)
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (run(module, xs) - wanted).square().mean()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]
    assert all(p.grad is not None and (p.grad != 0).any() for p in module.parameters())


@pytest.mark.parametrize("reset", ["value", "subtract"])
@pytest.mark.parametrize("surrogate", ["atan", "sigmoid", "fast_sigmoid", "triangular"])
def test_gradients_through_time_are_finite(surrogate: str, reset: str) -> None:
    for hidden in (nir.IF, nir.LIF, nir.CubaLIF):
        module = converted(network(hidden, hidden), reset=reset, surrogate=surrogate)
        xs = inputs(40, 2, 3).requires_grad_()
        run(module, xs).sum().backward()
        for tensor in (xs, *module.parameters()):
            assert tensor.grad is not None
            assert torch.isfinite(tensor.grad).all()
        # Backwards through time: the last output depends on the first input.
        assert (module.affine.weight.grad != 0).any()


@pytest.mark.parametrize("integration", ["euler", "exact"])
@pytest.mark.parametrize("kind", [nir.LI, nir.CubaLI, nir.I])
def test_smooth_gradients_are_the_finite_differences(kind: Any, integration: str) -> None:
    """In the inputs, the weights and the constants; recurrent, over three steps."""
    module = converted(network(kind, kind), torch.float64, integration=integration)
    xs = inputs(3, 2, 3, dtype=torch.float64).requires_grad_()
    tensors = dict(module.named_parameters())
    constants = {
        name: buffer.clone().requires_grad_()
        for name, buffer in module.named_buffers()
        if "tau" not in name  # a finite difference of 1e-6 is no small one for 4e-3
    }
    names = [*tensors, *constants]
    values = [*tensors.values(), *constants.values()]

    def outputs(x: Tensor, *given: Tensor) -> Tensor:
        state, results = None, []
        replaced = dict(zip(names, given, strict=True))
        for step in x:
            y, state = torch.func.functional_call(module, replaced, (step, state))
            results.append(y)
        return torch.stack(results)

    assert torch.autograd.gradcheck(outputs, (xs, *values))


@pytest.mark.parametrize("kind", [nir.LI, nir.CubaLI])
@pytest.mark.parametrize("integration", ["euler", "exact"])
@pytest.mark.parametrize("equal", [True, False])
def test_gradients_in_time_constants(kind: Any, integration: str, equal: bool) -> None:
    """Also where tau_syn = tau_mem, a removable singularity of the exact step."""
    node = neuron(kind, 3)
    if kind is nir.CubaLI and equal:
        node.tau_syn = node.tau_mem.copy()
    module = default_map(dt=1.0, integration=integration)[kind](node)
    x = inputs(2, 3, dtype=torch.float64)
    names = [name for name in NEURONS[kind] if name.startswith("tau")]
    taus = [(1e3 * getattr(module, name)).requires_grad_() for name in names]

    def after_steps(*given: Tensor) -> Tensor:
        replaced, state = dict(zip(names, given, strict=True)), None
        for _ in range(3):
            y, state = torch.func.functional_call(module, replaced, (x, state))
        return y

    assert torch.autograd.gradcheck(after_steps, taus)


# ----------------------------------------------------------------------------------- surrogates


def half_as_steep(u: Tensor) -> Tensor:
    return 0.5 * torch.exp(-u.abs())


FORMULAS: dict[Any, Callable[[float], float]] = {
    "atan": lambda u: 1 / (1 + (math.pi * u) ** 2),
    "sigmoid": lambda u: 4 * math.exp(-4 * u) / (1 + math.exp(-4 * u)) ** 2,
    "fast_sigmoid": lambda u: 1 / (1 + 25 * abs(u)) ** 2,
    "triangular": lambda u: max(0.0, 1 - abs(u)),
    "straight_through": lambda u: 1.0,
    half_as_steep: lambda u: 0.5 * math.exp(-abs(u)),
}
IDS = [getattr(key, "__name__", key) for key in FORMULAS]


@pytest.mark.parametrize("surrogate", FORMULAS, ids=IDS)
@pytest.mark.parametrize("kind", ["threshold", nir.IF])
def test_surrogate_derivative_is_its_formula(surrogate: Any, kind: Any) -> None:
    v = torch.linspace(-3, 3, 25, dtype=torch.float64).requires_grad_()
    if kind == "threshold":
        node: nir.NIRNode = nir.Threshold(np.full(25, 0.3))
        z = converted(node, torch.float64, surrogate=surrogate)(v)
    else:
        node = nir.IF(np.ones(25), np.full(25, 0.3))
        z, _ = converted(node, torch.float64, surrogate=surrogate)(v)
    assert z.tolist() == [float(value > 0.3) for value in v.tolist()]
    weight = torch.linspace(1, 2, 25, dtype=torch.float64)
    (z * weight).sum().backward()
    expected = [FORMULAS[surrogate](u - 0.3) for u in v.tolist()]
    torch.testing.assert_close(
        v.grad / weight, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize("reset", ["value", "subtract"])
def test_surrogate_changes_no_forward_value(reset: str) -> None:
    xs = inputs(30, 4, 3)
    runs = [
        run(converted(network(nir.LIF, nir.IF), reset=reset, surrogate=surrogate), xs)
        for surrogate in FORMULAS
    ]
    with torch.no_grad():
        runs.append(run(converted(network(nir.LIF, nir.IF), reset=reset), xs))
    assert 0 < runs[0].mean() < 1
    for other in runs[1:]:
        assert torch.equal(other, runs[0])


@pytest.mark.parametrize("kind", [nir.IF, nir.LIF, nir.CubaLIF])
def test_no_gradient_flows_through_the_reset(kind: Any) -> None:
    """d v'/d x is that of the integration alone (subtract), or nothing where v was set (value)."""
    node = neuron(kind, 3)
    strong = torch.tensor([0.0, 50.0, 100.0], dtype=torch.float64)
    free = neuron(kind, 3)
    free.v_threshold = np.full(3, 1e9)
    slopes = {}
    for name, one, reset in (
        ("free", free, "value"),
        ("value", node, "value"),
        ("subtract", node, "subtract"),
    ):
        x = strong.clone().requires_grad_()
        z, state = converted(one, torch.float64, reset=reset)(x)
        assert z.tolist() == ([0, 0, 0] if name == "free" else [0, 1, 1])
        (slopes[name],) = torch.autograd.grad(state["v"].sum(), x)
    assert (slopes["free"] != 0).all()
    assert torch.equal(slopes["subtract"], slopes["free"])
    assert slopes["value"].tolist() == [slopes["free"][0].item(), 0, 0]


def test_functional_transforms_give_the_same_gradients() -> None:
    """`torch.func.grad`, and for each row of a batch by `vmap`."""
    module = converted(network(nir.CubaLIF))
    parameters, xs = dict(module.named_parameters()), 3 * inputs(6, 4, 3)

    def loss(given: dict[str, Tensor], rows: Tensor) -> Tensor:
        state, total = None, torch.zeros(())
        for x in rows.unbind():
            y, state = torch.func.functional_call(module, given, (x, state))
            total = total + y.square().sum()
        return total

    functional = torch.func.grad(loss)(parameters, xs)
    by_row = torch.func.vmap(torch.func.grad(loss), (None, 1))(parameters, xs)
    loss(parameters, xs).backward()
    assert sorted(functional) == sorted(parameters)
    for name, parameter in parameters.items():
        assert (parameter.grad != 0).any()
        torch.testing.assert_close(functional[name], parameter.grad)
        torch.testing.assert_close(by_row[name].sum(0), parameter.grad)


# ------------------------------------------------------------------------------------- ownership


def graph_arrays(graph: nir.NIRGraph) -> dict[str, np.ndarray]:
    return {
        f"{name}.{parameter}": value
        for name, node in graph.nodes.items()
        for parameter, value in vars(node).items()
        if isinstance(value, np.ndarray)
    }


@pytest.mark.parametrize("file_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_memory_is_not_shared_with_the_graph(file_dtype: Any, dtype: torch.dtype) -> None:
    graph = network(nir.CubaLIF)
    graph.nodes["wait"] = nir.Delay(np.full(2, 2 * DT))
    graph.nodes["scale"] = nir.Scale(weights(2))
    graph.edges.remove(("neurons", "output"))
    graph.edges += [("neurons", "wait"), ("wait", "scale"), ("scale", "output")]
    for node in graph.nodes.values():
        for name, value in vars(node).items():
            if isinstance(value, np.ndarray):
                setattr(node, name, value.astype(file_dtype))
    original = {name: value.copy() for name, value in graph_arrays(graph).items()}
    module = converted(graph, dtype)
    xs = inputs(6, 2, 3, dtype=dtype)
    expected = run(module, xs)
    for value in graph_arrays(graph).values():
        value += 1
    assert torch.equal(run(module, xs), expected)
    for value in graph_arrays(graph).values():
        value -= 1
    originals = {name: value.copy() for name, value in graph_arrays(graph).items()}
    assert set(originals) == set(original)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.add_(1)
    for name, value in graph_arrays(graph).items():
        assert np.array_equal(value, originals[name]), name


def test_two_conversions_share_nothing() -> None:
    graph = network()
    one, other = converted(graph, torch.float64), converted(graph, torch.float64)
    pointers = {tensor.data_ptr() for tensor in one.state_dict().values()}
    assert pointers.isdisjoint(tensor.data_ptr() for tensor in other.state_dict().values())


def test_conversion_leaves_the_global_generator_alone() -> None:
    graph = network()
    conv = nir.Conv2d(None, weights(2, 1, 3, 3), 1, 1, 1, 1, weights(2))
    conv1d = nir.Conv1d(None, weights(2, 1, 3), 1, 1, 1, 1, weights(2))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()
    for node in (graph, conv, conv1d, nir.Linear(weights(2, 4, 3)), neuron(nir.LIF, 3)):
        converted(node)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
