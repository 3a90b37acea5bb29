"""run_sequence: what a call for each step gives, whatever the graph, the chunks and the batch.

Where torch adds in the same order whatever the number of frames, every bit is compared. It does
not in convolutions and matrix products, so those are given numbers of which every sum is exact:
small multiples of a power of two, or one term to a sum; or each node is compared for itself, within
what its sums are sure of.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import nir
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import DT, NETWORKS, converted, cuba_lif, ends, flat, lif, module_of, weights
from sequences import NEURONS, OPTIONS, STEPS, by_steps, compare, exact, made_exact, sequence
from torch import Tensor

from nirtorch_cli import StateError, UsageError
from nirtorch_cli.conversion.defaults import default_map
from nirtorch_cli.primitives.modules.elementwise import Scale, Threshold
from nirtorch_cli.primitives.modules.leaky import LIF
from nirtorch_cli.running.engine.loop import Loop
from nirtorch_cli.running.engine.stages import stages_of
from nirtorch_cli.running.session import SequenceRun, chunk_length, run_sequence

torch.set_num_threads(1)


def assert_is_run_by_steps(
    module: Any, inputs: Any, tolerance: float = 0.0, **options: Any
) -> SequenceRun:
    """With and without gradients; in one piece, and from a state in the middle."""
    expected, states = by_steps(module, inputs)
    done = run_sequence(module, inputs, **options)
    compare(done.outputs, expected, tolerance)
    compare(done.state, states[-1], tolerance)
    with torch.no_grad():
        quick = run_sequence(module, inputs, **options)
        compare(quick.outputs, expected, tolerance)
        compare(quick.state, states[-1], tolerance)
        half = len(states) // 2
        rest = {name: x[half:] for name, x in inputs.items()}
        before = {path: v.clone() for path, v in flat(states[half - 1]).items() if v is not None}
        second = run_sequence(module, rest, states[half - 1], **options)
        compare(second.state, states[-1], tolerance)
        after = flat(states[half - 1])
        assert all(torch.equal(after[path], value) for path, value in before.items())
    return quick


# ------------------------------------------------------------------------------ structures


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
@pytest.mark.parametrize("chunk", [None, 1, 7, STEPS])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, chunk: int | None, options: dict[str, str]) -> None:
    graph = made_exact(NETWORKS[name]())
    module = module_of(graph, {}, default_map(dt=DT, **options))
    assert_is_run_by_steps(module, sequence(module), chunk=chunk)


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (0,)], ids=str)
@pytest.mark.parametrize("name", ["recurrent", "several_ends", "convolutional"])
def test_batch_axes(name: str, batch: tuple[int, ...]) -> None:
    module = converted(made_exact(NETWORKS[name]()))
    assert_is_run_by_steps(module, sequence(module, batch=batch), chunk=5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["recurrent", "several_ends", "nested"])
def test_types_of_numbers(name: str, dtype: torch.dtype) -> None:
    module = converted(made_exact(NETWORKS[name]()), dtype=dtype)
    assert_is_run_by_steps(module, sequence(module), chunk=5)


def test_meta() -> None:
    module = converted(NETWORKS["feedforward"](), device="meta")
    done = run_sequence(module, torch.empty(4, 2, 3, device="meta"))
    assert done.outputs.shape == (4, 2, 2)
    assert done.outputs.is_meta


# ------------------------------------------------------------------------------ primitives


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
@pytest.mark.parametrize("name", NEURONS)
def test_primitives(name: str, options: dict[str, str]) -> None:
    graph = nir.NIRGraph.from_list(NEURONS[name](), type_check=False)
    module = module_of(graph, {}, default_map(dt=DT, **options))
    assert_is_run_by_steps(module, sequence(module, 40))
    assert_is_run_by_steps(module, sequence(module, 40), chunk=9)


def test_infinity_resets_as_in_steps() -> None:
    graph = nir.NIRGraph.from_list(nir.IF(np.ones(3), np.ones(3), np.zeros(3)))
    module = converted(graph)
    inputs = {"input": torch.zeros(9, 2, 3)}
    inputs["input"][2, 0, 1] = float("inf")
    inputs["input"][5, 1, 2] = 3.4e38
    done = assert_is_run_by_steps(module, inputs)
    (neuron,) = [state for state in done.state.values() if state is not None]
    assert torch.isfinite(neuron["v"]).all()


# -------------------------------------------------------------------------- random graphs
#
# What is promised stands in `running.session`. Two tests hold it to that, and neither can fail by
# chance:
# one with matrices whose sums no order can round in two ways, compared bit for bit over the whole
# graph; one with any numbers, in which each node is given what the whole run gave it.

ONE_TERM = np.array([[0.0, -0.5, 0.0], [0.0, 0.0, 1.0], [0.25, 0.0, 0.0]])
"""A power of two in each row and column: a product is exact, and to add zeros to it rounds nothing,
so that all orders of a sum give the same bits, however many such matrices follow each other."""


def _any_numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.6, 0.6, shape)


EXACT_MAKERS: list[Callable[[int], nir.NIRNode]] = [
    lambda seed: lif(3),
    lambda seed: nir.IF(np.ones(3), np.full(3, 0.75), np.zeros(3)),
    lambda seed: nir.Affine(ONE_TERM, np.full(3, 0.3)),
    lambda seed: nir.Scale(np.full(3, 0.7)),
    lambda seed: nir.Delay(np.array([1, 2, 1]) * DT),
    lambda seed: nir.Threshold(np.full(3, 0.25)),
]
REAL_MAKERS: list[Callable[[int], nir.NIRNode]] = [
    *(maker for number, maker in enumerate(EXACT_MAKERS) if number != 2),
    lambda seed: cuba_lif(3),
    lambda seed: nir.Affine(_any_numbers(seed, 3, 3), _any_numbers(seed + 1, 3)),
    lambda seed: nir.Linear(_any_numbers(seed, 3, 3)),
]


def random_graph(
    makers: list[Callable[[int], nir.NIRNode]], kinds: list[int], pairs: list[tuple[int, int]]
) -> nir.NIRGraph:
    """Nodes of three in a row, with more edges between them, loops and self edges included."""
    nodes = {f"n{place}": makers[kind](place) for place, kind in enumerate(kinds)}
    names = [*nodes]
    edges = {(names[source], names[target]) for source, target in pairs}
    edges |= {(names[place], names[place + 1]) for place in range(len(names) - 1)}
    nodes |= ends((3,), (3,))
    edges |= {("input", names[0]), (names[-1], "output")}
    return nir.NIRGraph(nodes, sorted(edges), type_check=False)


@st.composite
def graphs(draw: st.DrawFn, makers: list[Callable[[int], nir.NIRNode]]) -> nir.NIRGraph:
    count = draw(st.integers(1, 6))
    kinds = draw(st.lists(st.integers(0, len(makers) - 1), min_size=count, max_size=count))
    place = st.integers(0, count - 1)
    return random_graph(makers, kinds, draw(st.lists(st.tuples(place, place), max_size=8)))


@contextlib.contextmanager
def sums_in_any_order(seed: int) -> Iterator[None]:
    """While open, each matrix product adds its terms in an order of its own.

    On some processors torch does so for some sizes; so it is tried on all of them.
    """
    generator = torch.Generator().manual_seed(seed)
    linear, multiply = torch.nn.functional.linear, torch.mm

    def shuffled(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        order = torch.randperm(weight.shape[1], generator=generator)
        y = linear(x[..., order], weight[:, order])
        return y if bias is None else y + bias

    def mm(x: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
        order = torch.randperm(len(weight), generator=generator)
        y = multiply(x[:, order], weight[order])
        return y if out is None else out.copy_(y)

    def addmm(bias: Tensor, x: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
        y = mm(x, weight) + bias
        return y if out is None else out.copy_(y)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "linear", shuffled)
        patch.setattr(torch, "mm", mm)
        patch.setattr(torch, "addmm", addmm)
        yield


def in_order(seed: int | None) -> AbstractContextManager[None]:
    """Sums as torch adds them here, or in any order."""
    return contextlib.nullcontext() if seed is None else sums_in_any_order(seed)


ORDERS = st.sampled_from([None, 1, 2, 3])


@settings(max_examples=60, deadline=None)
@given(graphs(EXACT_MAKERS), st.sampled_from([1, 4, STEPS]), st.sampled_from(OPTIONS), ORDERS)
def test_random_graphs(
    graph: nir.NIRGraph, chunk: int, options: dict[str, str], order: int | None
) -> None:
    module = module_of(graph, {}, default_map(dt=DT, **options))
    with in_order(order):
        assert_is_run_by_steps(module, sequence(module, 12), chunk=chunk)


@settings(max_examples=60, deadline=None)
@given(
    graphs(REAL_MAKERS),
    st.sampled_from([1, 4, STEPS]),
    st.sampled_from(OPTIONS),
    st.sampled_from([torch.float32, torch.float64]),
    ORDERS,
)
def test_random_graphs_of_any_numbers(
    graph: nir.NIRGraph,
    chunk: int,
    options: dict[str, str],
    dtype: torch.dtype,
    order: int | None,
) -> None:
    module = module_of(graph, {}, default_map(dt=DT, **options), dtype=dtype)
    with in_order(order):
        assert_each_node_is_run_by_steps(module, graph, sequence(module, 12)["input"], chunk)


def assert_each_node_is_run_by_steps(
    module: Any, graph: nir.NIRGraph, inputs: Tensor, chunk: int
) -> None:
    """Each node, called step by step with what it was given, gives what it gave."""
    names = [*module.meta["names"]]
    record = [f"{name}:output" for name in names]
    done = run_sequence(module, inputs, record=record, chunk=chunk)
    gave = {name: done.trace[name]["output"] for name in names}
    assert torch.equal(gave["input"], inputs)
    assert torch.equal(gave["output"], done.outputs)
    with torch.no_grad():  # the loops in place
        quick = run_sequence(module, inputs, record=record, chunk=chunk)
    assert_each_is_given_by_steps(module, graph, gave)
    in_place = {name: quick.trace[name]["output"] for name in names}
    assert torch.equal(in_place["output"], quick.outputs)
    assert_each_is_given_by_steps(module, graph, in_place)


def assert_each_is_given_by_steps(
    module: Any, graph: nir.NIRGraph, gave: dict[str, Tensor]
) -> None:
    """Of the outputs of all nodes, that each follows from those that it was given."""
    names = [*gave]
    delayed = {(source, target) for source, target in module.meta["delayed_edges"]}
    for name in names[1:]:
        arriving = None
        for source in [source for source in names if (source, name) in graph.edges]:
            values = gave[source]
            if (source, name) in delayed:
                values = torch.cat([torch.zeros_like(values[:1]), values[:-1]])
            arriving = values if arriving is None else arriving + values
        if name == "output":
            assert torch.equal(gave[name], arriving)
            continue
        assert_is_given_by_steps(module.get_submodule(name), arriving, gave[name])


def assert_is_given_by_steps(part: Any, inputs: Tensor, found: Tensor) -> None:
    """Bit for bit; of a matrix product, within what two orders of its sums can differ by."""
    state, outputs = None, []
    for x in inputs:
        if isinstance(part, (torch.nn.Linear, Scale, Threshold)):
            output = part(x)
        else:
            output, state = part(x, state)
        outputs.append(output)
    expected = torch.stack(outputs)
    if not isinstance(part, torch.nn.Linear):
        assert torch.equal(found, expected), part
        return
    assert ((found - expected).abs() <= order_of_sums(part, inputs)).all(), part


def order_of_sums(part: torch.nn.Linear, x: Tensor, error: Tensor | None = None) -> Tensor:
    """By how much two results of a matrix product can differ at most.

    In whatever order n numbers are added, the result is off by at most about n eps/2 times the sum
    of their magnitudes (Higham 2002, "Accuracy and Stability of Numerical Algorithms", 4.2). The
    inputs of the two may differ by `error`.
    """
    weight, count = part.weight.detach().double().abs(), part.in_features
    sizes = x.detach().double().abs() @ weight.T
    if part.bias is not None:
        sizes, count = sizes + part.bias.detach().double().abs(), count + 1
    bound = (count + 1) * torch.finfo(x.dtype).eps * sizes
    return bound if error is None else bound + (error @ weight.T) * (1 + 1e-6)


def test_any_order_of_a_sum_is_within_the_tolerance_and_a_fault_is_not() -> None:
    part: Any = module_of(nir.Affine(weights(3, 50), weights(3)), {})
    x = torch.randn(7, 50, generator=torch.Generator().manual_seed(1))
    allowed = order_of_sums(part, x)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(2))
    other = x[:, order] @ part.weight[:, order].T + part.bias
    assert ((other - part(x)).abs() <= allowed).all()
    assert ((part(x) * (1 + 1e-3) - part(x)).abs() > allowed).any()
    assert (allowed < 1e-3).all()


def chained(seed: int) -> nir.NIRGraph:
    """Four matrix products in a row, and neurons that hear their sums."""
    nodes = [nir.Affine(weights(9, 9, seed=seed + n) / 2, weights(9, seed=seed)) for n in range(4)]
    return nir.NIRGraph.from_list(*nodes, lif(9))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("first", range(0, 40, 10))
def test_a_spike_differs_only_where_the_sums_before_it_decide(
    first: int, dtype: torch.dtype
) -> None:
    """Up to the first step at which a voltage is as near its threshold as the sums are sure."""
    compared = 0
    for seed in range(first, first + 10):
        module = module_of(chained(seed), {}, default_map(dt=DT), dtype=dtype)
        inputs = sequence(module, STEPS, seed=seed)
        with in_order(seed if seed % 2 else None):
            expected, _ = by_steps(module, inputs)
            found = run_sequence(module, inputs).outputs
        steps = sure_steps(module, inputs["input"])
        assert torch.equal(found[:steps], expected[:steps]), seed
        compared += steps
    assert compared > 9 * STEPS, "nearly all steps are sure"


def sure_steps(module: Any, x: Tensor) -> int:
    """How many steps the last bits of the matrix products cannot change a spike."""
    *products, neuron = module.children()
    error = torch.zeros_like(x, dtype=torch.float64)
    for part in products:
        error, x = order_of_sums(part, x, error), part(x).detach()
    gain, eps = (DT / neuron.tau).double(), torch.finfo(x.dtype).eps
    state, off = None, torch.zeros_like(x[0], dtype=torch.float64)
    for step, (heard, wrong) in enumerate(zip(x, error, strict=True)):
        before = neuron.charge(heard, *neuron.variables(heard, state).values())
        target = (neuron.v_leak + neuron.r * heard).abs().double()
        off = (1 - gain) * off + gain * neuron.r.double() * wrong
        off = off + 8 * eps * (before.abs().double() + target)
        if ((before - neuron.v_threshold).abs().double() <= off).any():
            return step
        z, state = neuron(heard, state)
        off = torch.where(z > 0, 0.0, off)  # a reset to a value forgets what was before
    return len(x)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [17, 1003])
@pytest.mark.parametrize("name", ["IF", "LIF", "CubaLIF", "Delay", "Scale", "Threshold"])
def test_bits_of_what_acts_on_each_element(name: str, size: int, threads: int) -> None:
    """Sizes that torch's vector code does not divide, in a loop and out of it, on any threads."""
    generator = np.random.default_rng(size)

    def some(low: float, high: float) -> np.ndarray:
        return generator.uniform(low, high, size)

    taus = some(2, 9) * DT
    node = {
        "IF": lambda: nir.IF(some(0.5, 2), some(0.3, 1), some(-0.3, 0.1)),
        "LIF": lambda: nir.LIF(taus, some(1, 3), some(-0.1, 0.1), some(0.2, 0.6), some(-0.2, 0.1)),
        "CubaLIF": lambda: nir.CubaLIF(
            some(2, 9) * DT, taus, some(1, 4), some(-0.1, 0.1), some(0.2, 0.5), some(-0.2, 0.1),
            some(0.5, 2),
        ),
        "Delay": lambda: nir.Delay(generator.integers(0, 9, size) * DT),
        "Scale": lambda: nir.Scale(some(-1, 1)),
        "Threshold": lambda: nir.Threshold(some(-0.5, 0.5)),
    }[name]()  # fmt: skip
    nodes = {**ends((size,), (size,)), "n": node, "back": nir.Scale(some(-0.5, 0.5))}
    edges = [("input", "n"), ("n", "output")]
    alone = nir.NIRGraph({k: v for k, v in nodes.items() if k != "back"}, edges, type_check=False)
    loop = nir.NIRGraph(nodes, [*edges, ("n", "back"), ("back", "n")], type_check=False)
    torch.set_num_threads(threads)
    try:
        for graph in (alone, loop):
            for options in OPTIONS[:6:5]:
                module = module_of(graph, {}, default_map(dt=DT, **options))
                assert_is_run_by_steps(module, sequence(module, 12), chunk=5)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("stride", [(3, 2), (1, 1)], ids=["side by side", "overlapping"])
@pytest.mark.parametrize("kind", [nir.SumPool2d, nir.AvgPool2d])
def test_bits_of_pools(kind: Any, stride: tuple[int, int]) -> None:
    pool = kind(np.array([3, 2]), np.array(stride), np.array([1, 1]))
    nodes = {"input": nir.Input(np.array([3, 17, 19])), "pool": pool, "output": nir.Output(None)}
    edges = [("input", "pool"), ("pool", "output")]
    module = converted(nir.NIRGraph(nodes, edges, type_check=False))
    x = torch.randn(7, 2, 3, 17, 19, generator=torch.Generator().manual_seed(1))
    assert_is_run_by_steps(module, {"input": x}, chunk=3)


# ------------------------------------------------------------------------------ gradients


@pytest.mark.parametrize("chunk", [None, 5])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients(name: str, chunk: int | None) -> None:
    module = converted(NETWORKS[name](), dtype=torch.float64)
    for path, buffer in list(module.named_buffers()):  # trainable time constants and thresholds
        owner = module.get_submodule(path.rpartition(".")[0])
        if path.endswith(("tau", "tau_mem", "tau_syn", "v_threshold", "r")):
            del owner._buffers[path.rpartition(".")[2]]
            setattr(owner, path.rpartition(".")[2], torch.nn.Parameter(buffer.clone()))
    inputs = sequence(module, 11)

    def gradients(run: Callable[[Any], Any]) -> dict[str, Tensor]:
        given = {key: x.clone().requires_grad_() for key, x in inputs.items()}
        outputs = flat(run(given))
        loss = sum((x * torch.arange(x.numel()).reshape(x.shape)).sum() for x in outputs.values())
        wanted = {**dict(module.named_parameters()), **given}
        found = torch.autograd.grad(loss, [*wanted.values()], allow_unused=True)
        return dict(zip(wanted, found, strict=True))

    steps = gradients(lambda given: by_steps(module, given)[0])
    whole = gradients(lambda given: run_sequence(module, given, chunk=chunk).outputs)
    assert sum(value is not None and bool(value.abs().sum() > 0) for value in steps.values()) > 2
    for path, value in steps.items():
        other = whole[path]
        value, other = (torch.zeros(()) if v is None else v for v in (value, other))
        torch.testing.assert_close(other.expand(value.shape), value, rtol=1e-9, atol=1e-9, msg=path)


# ---------------------------------------------------------------------- modules of others


class Counter(torch.nn.Module):
    """Remembers from call to call, and has no state in its signature."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


class Cell(torch.nn.Module):
    """A stateful module of somebody else; it knows single steps only."""

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        assert x.dim() == 2
        v = x if state is None else 0.5 * state[0] + x
        return (v > 1).to(x.dtype), (v,)


def test_modules_of_others_are_stepped() -> None:
    graph = nir.NIRGraph.from_list(nir.Scale(np.ones(3)), lif(3), nir.Threshold(np.ones(3)))
    modules = {nir.Scale: lambda node: Counter(), nir.LIF: lambda node: Cell()}
    module = module_of(graph, modules, default_map(dt=DT))
    inputs = sequence(module, 9)
    expected, states = by_steps(module, inputs)
    next(m for m in module.modules() if isinstance(m, Counter)).calls = 0
    done = run_sequence(module, inputs, chunk=4)
    compare(done.outputs, expected)
    compare(done.state, states[-1])


class Tired(LIF):
    """A reference neuron that somebody made into another."""

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        z, state = super().forward(0.5 * x, state)
        return 0.5 * z, state


@pytest.mark.parametrize("name", ["recurrent", "feedforward"])
def test_a_subclass_of_a_reference_neuron_is_called(name: str) -> None:
    module = converted(made_exact(NETWORKS[name]()))
    for part in module.modules():
        if type(part) is LIF:
            part.__class__ = Tired
        elif type(part).__name__ == "IF":
            part.register_forward_hook(lambda module, given, output: (output[0] * 0.5, output[1]))
    assert_is_run_by_steps(module, sequence(module))


def test_torchs_own_recurrent_cells() -> None:
    graph = nir.NIRGraph.from_list(nir.Affine(exact(weights(3, 3)), np.zeros(3)), lif(3))
    module = module_of(graph, {nir.LIF: lambda node: torch.nn.GRU(3, 3)}, default_map(dt=DT))
    assert_is_run_by_steps(module, sequence(module, 6))


def test_batch_norm_in_training_sees_a_step_at_a_time() -> None:
    graph = nir.NIRGraph.from_list(nir.Scale(np.ones(3)))
    norms = {nir.Scale: lambda node: torch.nn.BatchNorm1d(3)}
    module = module_of(graph, norms, default_map(dt=DT))
    inputs = sequence(module, 6, (4,))
    module.train()
    expected = by_steps(module, inputs)[0]
    compare(run_sequence(module, inputs).outputs, expected)
    module.eval()
    compare(run_sequence(module, inputs).outputs, by_steps(module, inputs)[0])


def test_hooks_see_each_step() -> None:
    module = converted(NETWORKS["feedforward"]())
    seen: list[Any] = []
    for name in ("affine", "cuba"):
        module.get_submodule(name).register_forward_hook(lambda m, i, o: seen.append(i[0].shape))
    run_sequence(module, sequence(module, 5))
    assert [tuple(shape) for shape in seen] == [(2, 3)] * 5 + [(2, 4)] * 5


def test_hooks_of_all_modules_see_each_step() -> None:
    module = converted(NETWORKS["recurrent"]())
    seen: list[Any] = []
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda m, i, o: seen.append(m) if m is module.readout else None
    )
    try:
        run_sequence(module, sequence(module, 5))
    finally:
        handle.remove()
    assert len(seen) == 5


def test_an_edited_graph_is_run_as_edited() -> None:
    module = converted(made_exact(NETWORKS["recurrent"]()))
    call = next(node for node in module.graph.nodes if node.target == "readout")
    with module.graph.inserting_after(call):
        added = module.graph.call_function(torch.neg, (call,))
    call.replace_all_uses_with(added)
    added.args = (call,)
    module.recompile()
    assert_is_run_by_steps(module, sequence(module), chunk=5)
    # Of a graph with another kind of end nothing is known but that it can be called.
    last = list(module.graph.nodes)[-1]
    with module.graph.inserting_before(last):
        state = module.graph.call_function(dict, (last.args[0][1],))
    last.args = ((last.args[0][0], state),)
    module.recompile()
    assert stages_of(module.graph) is None or stages_of(module.graph).stages
    assert_is_run_by_steps(module, sequence(module), chunk=5)


# ------------------------------------------------------------------------------- recording


@pytest.mark.parametrize("chunk", [1, 7, STEPS])
def test_recording(chunk: int) -> None:
    module = converted(made_exact(NETWORKS["feedforward"]()))
    inputs = sequence(module)
    _, states = by_steps(module, inputs)
    record = [
        "cuba:v",
        "cuba:i",
        "cuba",
        "cuba:count",
        "sum:v",
        "if:v",
        "input",
        "affine",
        "output",
    ]
    trace = run_sequence(module, inputs, record=record, chunk=chunk).trace
    assert set(trace) == {"cuba", "sum", "if", "input", "affine", "output"}
    assert set(trace["cuba"]) == {"v", "i", "spikes", "count"}
    for path, key, name in (("cuba", "v", "cuba"), ("cuba", "i", "cuba"), ("sum", "v", "sum"),
                            ("if", "v", "nir_node_if")):  # fmt: skip
        expected = torch.stack([state[name][key] for state in states])
        compare(trace[path][key], expected)
    assert torch.equal(trace["cuba"]["count"], trace["cuba"]["spikes"].count_nonzero(0))
    assert torch.equal(trace["input"]["output"], inputs["input"])
    assert torch.equal(trace["affine"]["output"], module.affine(inputs["input"]))
    compare(trace["output"]["output"], by_steps(module, inputs)[0])


def test_recording_in_loops_and_nested_graphs() -> None:
    module = converted(made_exact(NETWORKS["nested"]()))
    inputs = sequence(module)
    _, states = by_steps(module, inputs)
    record = ["middle/lambda/lif:v", "middle/lambda/lif", "middle/0:count", "middle/lambda/back"]
    trace = run_sequence(module, inputs, record=record, chunk=7).trace
    names = module.meta["names"]
    inner = module.middle.meta["names"]
    (nest,) = (key for key, name in inner.items() if name == "lambda")
    assert "middle" in names.values()
    expected = torch.stack([state["middle"][nest]["lif"]["v"] for state in states])
    compare(trace["middle/lambda/lif"]["v"], expected)
    spikes = torch.stack([state["middle"][nest]["lif_prev_output"] for state in states])
    compare(trace["middle/lambda/lif"]["spikes"], spikes)
    assert trace["middle/lambda/back"]["output"].shape == (STEPS, 2, 4)
    fired = run_sequence(module, inputs, record=["middle/0"]).trace["middle/0"]["spikes"]
    assert torch.equal(trace["middle/0"]["count"], fired.count_nonzero(0))


def test_patterns_of_names() -> None:
    module = converted(NETWORKS["nested"]())
    inputs = sequence(module, 4)
    trace = run_sequence(module, inputs, record=["middle/*:v", "*layer", "middle/lambda/li?"]).trace
    assert {path: sorted(held) for path, held in trace.items()} == {
        "first.layer": ["spikes"],
        "middle/0": ["v"],
        "middle/lambda/lif": ["spikes", "v"],
    }
    with pytest.raises(UsageError, match="no node 'mid\\*x'"):
        run_sequence(module, inputs, record=["mid*x"])
    with pytest.raises(UsageError, match="no node that 'm\\*le' fits has 'v' to record"):
        run_sequence(module, inputs, record=["m*le:v"])
    named = converted(nir.NIRGraph({**ends((3,), (3,)), "a*": lif(3), "ab": lif(3)},
        [("input", "a*"), ("a*", "ab"), ("ab", "output")], type_check=False))  # fmt: skip
    assert set(run_sequence(named, sequence(named, 4), record=["a*"]).trace) == {"a*"}


def test_nan_is_no_spike() -> None:
    class Lost(torch.nn.Module):
        def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
            return torch.full_like(x, torch.nan).where(x > 0, x.sign()), x

    graph = nir.NIRGraph.from_list(lif(3))
    module = module_of(graph, {nir.LIF: lambda node: Lost()}, default_map(dt=DT))
    inputs = torch.tensor([[[1.0, -1.0, 0.0]], [[1.0, -1.0, -1.0]]])
    (trace,) = run_sequence(module, inputs, record=["*:count"]).trace.values()
    assert trace["count"].tolist() == [[0, 2, 1]]


def test_what_cannot_be_recorded() -> None:
    module = converted(NETWORKS["nested"]())
    with pytest.raises(UsageError) as caught:
        run_sequence(module, sequence(module), record=["first.layr", "middle/0:i", "li:spikes"])
    assert str(caught.value).splitlines() == [
        "no node 'first.layr'; did you mean 'first.layer'?",
        "node 'middle/0': a LIF has no 'i' to record; it has 'output', 'spikes', 'count', 'v'",
        "node 'li': a LI has no 'spikes' to record; it has 'output', 'v'",
    ]


# --------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.zeros(0, 2, 3), "one number of steps"),
        (torch.tensor(1.0), "one number of steps"),
        (torch.zeros(4, 2, 5), r"input must be \(T, \.\.\., 3\), not \(4, 2, 5\)"),
        (torch.zeros(3), r"input must be"),
        ({"other": torch.zeros(4, 2, 3)}, "takes input, not other"),
    ],
)
def test_inputs_that_do_not_fit(inputs: Any, message: str) -> None:
    module = converted(NETWORKS["recurrent"]())
    with pytest.raises(ValueError, match=message):
        run_sequence(module, inputs)


def test_other_refusals() -> None:
    module = converted(NETWORKS["several_ends"]())
    inputs = sequence(module, 4)
    with pytest.raises(ValueError, match="at least one step"):
        run_sequence(module, inputs, chunk=0)
    with pytest.raises(ValueError, match="one number of steps"):
        run_sequence(module, {**inputs, "left": inputs["left"][:2]})
    with pytest.raises(ValueError, match="same batch axes"):
        run_sequence(module, {**inputs, "left": inputs["left"][:, :1]})
    recurrent = converted(NETWORKS["recurrent"]())
    state = run_sequence(recurrent, sequence(recurrent, 3)).state
    with pytest.raises(StateError):
        run_sequence(recurrent, sequence(recurrent, 3, (5,)), state)
    with pytest.raises(StateError):
        run_sequence(recurrent, sequence(recurrent, 3), {"lif": state["lif"]})


# ------------------------------------------------------------------------------------ cost


def test_no_python_work_for_each_layer_and_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stateless layer is called once for a chunk, not for each step."""
    module = converted(NETWORKS["convolutional"]())
    calls: list[str] = []
    for name in ("conv", "pool", "linear"):
        layer = module.get_submodule(name)
        original = type(layer).forward
        monkeypatch.setattr(
            type(layer), "forward",
            lambda self, *a, _f=original, _n=name: (calls.append(_n), _f(self, *a))[1],
        )  # fmt: skip
    run_sequence(module, sequence(module, 50))
    assert sorted(calls) == ["conv", "conv", "linear", "pool"]  # two convolutions of one type


def test_outputs_of_layers_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a deep net's outputs over time only those of a layer and the next are there at once."""
    module = converted(nir.NIRGraph.from_list(*[lif(16) for _ in range(12)]))
    outputs: list[weakref.ref[Tensor]] = []
    alive: list[int] = []
    original = LIF.over_time

    def recorded(self: LIF, *arguments: Any) -> Any:
        alive.append(sum(output() is not None for output in outputs))
        done = original(self, *arguments)
        outputs.append(weakref.ref(done[0]))
        return done

    monkeypatch.setattr(LIF, "over_time", recorded)
    with torch.no_grad():
        run_sequence(module, sequence(module, 300), chunk=300)
    assert len(outputs) == 12
    assert max(alive) == 1


def test_a_loop_keeps_only_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    module = converted(made_exact(NETWORKS["recurrent"]()))
    kept: list[list[str]] = []
    original = Loop.run

    def recorded(self: Loop, *arguments: Any) -> Any:
        kept.append(sorted(node.name for node in self.needed))
        return original(self, *arguments)

    monkeypatch.setattr(Loop, "run", recorded)
    run_sequence(module, sequence(module, 5))
    assert kept == [["lif"], ["echo"]]
    trace = run_sequence(module, sequence(module, 5), record=["back"]).trace
    assert kept[2:] == [["back", "lif"], ["echo"]]
    assert trace["back"]["output"].shape == (5, 2, 4)


def test_the_chunk_follows_from_the_sizes() -> None:
    module = converted(NETWORKS["convolutional"]())
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    assert chunk_length(module, torch.empty(100, 2, 1, 8, 8)) == 100
    wide = torch.empty(100_000, 64, 1, 8, 8, device="meta")
    length = chunk_length(module, wide)
    assert 1 < length < 100_000
    assert abs(chunk_length(module, wide[:, :32]) - 2 * length) <= 1
    module.conv.weight.requires_grad_()
    assert chunk_length(module, wide) == 100_000
