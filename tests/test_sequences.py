"""run_sequence: what a call for each step gives, whatever the graph, the chunks and the batch.

Where torch adds in the same order whatever the number of frames, every bit is compared. It does
not in convolutions and matrix products, so those are given numbers of which every sum is exact:
small multiples of a power of two. I, LI and CubaLI solve their steps at once; they are compared
to 1e-6, and in networks stand behind all that spikes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import DT, NETWORKS, converted, ends, flat, lif, weights
from torch import Tensor

from nirtorch_cli import StateError, UsageError, nir_to_torch
from nirtorch_cli.defaults import default_map
from nirtorch_cli.neurons.leaky import LIF
from nirtorch_cli.running import SequenceRun, chunk_length, run_sequence, run_steps
from nirtorch_cli.sequences.condensing import condensed
from nirtorch_cli.sequences.looping import Loop

torch.set_num_threads(1)

STEPS = 23
OPTIONS = [
    {"integration": integration, "reset": reset, "integrator_input": charge}
    for integration in ("euler", "exact")
    for reset in ("value", "subtract")
    for charge in ("charge", "current")
]
ROUNDED = {"li", "sum", "I", "LI", "CubaLI"}
"""Nodes whose steps are solved at once."""


def exact(array: Any) -> np.ndarray:
    """To multiples of 1/64, so that sums of products of them are exact in float32."""
    return np.round(np.asarray(array) * 64) / 64


def made_exact(graph: nir.NIRGraph) -> nir.NIRGraph:
    for node in graph.nodes.values():
        if isinstance(node, nir.NIRGraph):
            made_exact(node)
        for name in ("weight", "bias"):
            if getattr(node, name, None) is not None:
                setattr(node, name, exact(getattr(node, name)))
    return graph


def sequence(module: Any, steps: int = STEPS, batch: tuple[int, ...] = (2,), seed: int = 3) -> Any:
    """Random inputs (T, *batch, *shape) in multiples of 1/16, by argument."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: module.meta["shapes"][name][1] for name in module.meta["inputs"]}
    like = next((p for p in module.state_dict().values() if p.is_floating_point()), torch.empty(0))
    return {
        name: (torch.randn(steps, *batch, *shape, generator=generator) * 16)
        .round()
        .div(16)
        .to(like)
        for name, shape in shapes.items()
    }


def by_steps(module: Any, inputs: Any, state: Any = None) -> tuple[Any, list[Any]]:
    """Outputs over time, and the state after each step."""
    outputs, states = [], []
    for step in range(len(next(iter(inputs.values())))):
        output, state = module(**{name: x[step] for name, x in inputs.items()}, state=state)
        outputs.append(output)
        states.append(state)
    if isinstance(outputs[0], dict):
        return {name: torch.stack([o[name] for o in outputs]) for name in outputs[0]}, states
    return torch.stack(outputs), states


def compare(found: Any, expected: Any, tolerance: float = 0.0) -> None:
    """Two trees of tensors: the same entries, shapes and types, and numbers."""
    one, other = flat(found), flat(expected)
    assert one.keys() == other.keys()
    for path, value in one.items():
        if not isinstance(value, Tensor):
            assert value == other[path]
            continue
        assert value.dtype == other[path].dtype, path
        assert value.shape == other[path].shape, path
        if tolerance:
            torch.testing.assert_close(value, other[path], atol=tolerance, rtol=tolerance)
        else:
            assert torch.equal(value, other[path]), path


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


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o.values()))
@pytest.mark.parametrize("chunk", [None, 1, 7, STEPS])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, chunk: int | None, options: dict[str, str]) -> None:
    graph = made_exact(NETWORKS[name]())
    module = nir_to_torch(graph, {}, default_map(dt=DT, **options))
    has_rounded = any(type(node).__name__ in ROUNDED for node in _all_nodes(graph))
    assert_is_run_by_steps(module, sequence(module), 1e-6 if has_rounded else 0.0, chunk=chunk)


def _all_nodes(graph: nir.NIRGraph) -> list[nir.NIRNode]:
    nodes = []
    for node in graph.nodes.values():
        nodes += _all_nodes(node) if isinstance(node, nir.NIRGraph) else [node]
    return nodes


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (0,)], ids=str)
@pytest.mark.parametrize("name", ["recurrent", "several_ends", "convolutional"])
def test_batch_axes(name: str, batch: tuple[int, ...]) -> None:
    module = converted(made_exact(NETWORKS[name]()))
    tolerance = 1e-6 if name == "several_ends" else 0.0
    assert_is_run_by_steps(module, sequence(module, batch=batch), tolerance, chunk=5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["recurrent", "several_ends", "nested"])
def test_types_of_numbers(name: str, dtype: torch.dtype) -> None:
    module = converted(made_exact(NETWORKS[name]()), dtype=dtype)
    tolerance = 1e-12 if dtype == torch.float64 and name != "recurrent" else 0.0
    assert_is_run_by_steps(module, sequence(module), tolerance, chunk=5)


def test_meta() -> None:
    module = converted(NETWORKS["feedforward"](), device="meta")
    done = run_sequence(module, torch.empty(4, 2, 3, device="meta"))
    assert done.outputs.shape == (4, 2, 2)
    assert done.outputs.is_meta


# ------------------------------------------------------------------------------ primitives

N = 5


def _random(low: float, high: float, seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape or (N,))


NEURONS: dict[str, Callable[[], nir.NIRNode]] = {
    "I": lambda: nir.I(_random(0.2, 0.9, 1)),
    "IF": lambda: nir.IF(_random(0.5, 1, 1), _random(0.3, 1, 2), _random(-0.3, 0.1, 3)),
    "IF to zero": lambda: nir.IF(np.ones(N), np.ones(N), np.zeros(N)),
    "LI": lambda: nir.LI(_random(2, 9, 1) * DT, _random(0.5, 2, 2), _random(-0.1, 0.1, 3)),
    "LI of one step": lambda: nir.LI(np.full(N, DT), np.ones(N), np.zeros(N)),
    "LI that overshoots": lambda: nir.LI(np.full(N, 0.7 * DT), np.ones(N), np.zeros(N)),
    "LIF": lambda: lif(N),
    "CubaLI": lambda: nir.CubaLI(
        _random(2, 9, 1) * DT, _random(2, 9, 2) * DT, _random(0.5, 2, 3), _random(-0.1, 0.1, 4)
    ),
    "CubaLIF": lambda: nir.CubaLIF(
        _random(2, 9, 1) * DT,
        _random(2, 9, 2) * DT,
        _random(1, 4, 3),
        _random(-0.1, 0.1, 4),
        _random(0.2, 0.5, 5),
        _random(-0.2, 0.1, 6),
        _random(0.5, 2, 7),
    ),
    "Delay": lambda: nir.Delay(np.array([0, 1, 2, 40, 3]) * DT),
    "Delay of one length": lambda: nir.Delay(np.full(N, 4 * DT)),
    "no Delay": lambda: nir.Delay(np.zeros(N)),
    "Threshold": lambda: nir.Threshold(_random(-0.5, 0.5, 1)),
    "Scale": lambda: nir.Scale(_random(-0.5, 0.5, 1)),
    "Linear": lambda: nir.Linear(exact(weights(3, N))),
    "Affine": lambda: nir.Affine(exact(weights(3, N)), exact(weights(3))),
}


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o.values()))
@pytest.mark.parametrize("name", NEURONS)
def test_primitives(name: str, options: dict[str, str]) -> None:
    graph = nir.NIRGraph.from_list(NEURONS[name](), type_check=False)
    module = nir_to_torch(graph, {}, default_map(dt=DT, **options))
    tolerance = 1e-6 if name.split()[0] in ROUNDED else 0.0
    assert_is_run_by_steps(module, sequence(module, 40), tolerance)
    assert_is_run_by_steps(module, sequence(module, 40), tolerance, chunk=9)


@pytest.mark.parametrize("name", ["LI", "CubaLI", "I"])
def test_linear_neurons_are_solved_to_rounding(name: str) -> None:
    """Against the same in float64, step by step: at least as good as steps in float32 are."""
    graph = nir.NIRGraph.from_list(NEURONS[name](), type_check=False)
    maps = default_map(dt=DT / 20)
    module, precise = (
        nir_to_torch(graph, {}, maps, dtype=t) for t in (torch.float32, torch.float64)
    )
    inputs = sequence(module, 2000)
    true = by_steps(precise, {key: x.double() for key, x in inputs.items()})[0]
    steps = (by_steps(module, inputs)[0] - true).abs().max()
    whole = (run_sequence(module, inputs).outputs - true).abs().max()
    assert whole <= 2 * steps + 1e-7


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


@st.composite
def graphs(draw: st.DrawFn) -> nir.NIRGraph:
    """Neurons and weights of three, connected at random, with loops and self edges."""
    count = draw(st.integers(1, 6))
    makers = [
        lambda: lif(3),
        lambda: nir.IF(np.ones(3), np.full(3, 0.75), np.zeros(3)),
        lambda: nir.Affine(exact(weights(3, 3)), np.full(3, 0.25)),
        lambda: nir.Scale(np.full(3, 0.5)),
        lambda: nir.Delay(np.array([1, 2, 1]) * DT),
        lambda: nir.Threshold(np.full(3, 0.25)),
    ]
    nodes = {f"n{i}": draw(st.sampled_from(makers))() for i in range(count)}
    names = [*nodes]
    pairs = st.tuples(st.sampled_from(names), st.sampled_from(names))
    edges = set(draw(st.lists(pairs, max_size=8)))
    edges |= {(names[i], names[i + 1]) for i in range(count - 1)}
    nodes |= {"in": nir.Input(np.array([3])), "out": nir.Output(np.array([3]))}
    return nir.NIRGraph(
        nodes, [("in", names[0]), *sorted(edges), (names[-1], "out")], type_check=False
    )


@settings(max_examples=60, deadline=None)
@given(graphs(), st.sampled_from([1, 4, STEPS]), st.sampled_from(OPTIONS))
def test_random_graphs(graph: nir.NIRGraph, chunk: int, options: dict[str, str]) -> None:
    module = nir_to_torch(graph, {}, default_map(dt=DT, **options))
    assert_is_run_by_steps(module, sequence(module, 12), chunk=chunk)


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
    module = nir_to_torch(graph, modules, default_map(dt=DT))
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
    assert_is_run_by_steps(module, sequence(module), 1e-6 if name == "feedforward" else 0.0)


def test_torchs_own_recurrent_cells() -> None:
    graph = nir.NIRGraph.from_list(nir.Affine(exact(weights(3, 3)), np.zeros(3)), lif(3))
    module = nir_to_torch(graph, {nir.LIF: lambda node: torch.nn.GRU(3, 3)}, default_map(dt=DT))
    assert_is_run_by_steps(module, sequence(module, 6), 1e-6)


def test_batch_norm_in_training_sees_a_step_at_a_time() -> None:
    graph = nir.NIRGraph.from_list(nir.Scale(np.ones(3)))
    norms = {nir.Scale: lambda node: torch.nn.BatchNorm1d(3)}
    module = nir_to_torch(graph, norms, default_map(dt=DT))
    inputs = sequence(module, 6, (4,))
    module.train()
    expected = by_steps(module, inputs)[0]
    compare(run_sequence(module, inputs).outputs, expected)
    module.eval()
    compare(run_sequence(module, inputs).outputs, by_steps(module, inputs)[0], 1e-6)


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
    assert condensed(module.graph) is None or condensed(module.graph).stages
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
        compare(trace[path][key], expected, 1e-6 if path in ("sum", "if") else 0.0)
    assert torch.equal(trace["cuba"]["count"], trace["cuba"]["spikes"].count_nonzero(0))
    assert torch.equal(trace["input"]["output"], inputs["input"])
    assert torch.equal(trace["affine"]["output"], module.affine(inputs["input"]))
    compare(trace["output"]["output"], by_steps(module, inputs)[0], 1e-6)


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
    counted = run_steps(module, inputs).spikes["middle/0"].spikes
    assert int(trace["middle/0"]["count"].sum()) == counted


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
    module = nir_to_torch(graph, {nir.LIF: lambda node: Lost()}, default_map(dt=DT))
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
    assert sorted(calls) == ["conv", "conv", "linear", "pool", "pool"]  # two of a type each


def test_outputs_of_layers_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a deep net's outputs over time only those of a layer and the next are there at once."""
    module = converted(nir.NIRGraph.from_list(*[lif(16) for _ in range(12)]))
    outputs: list[weakref.ref[Tensor]] = []
    alive: list[int] = []
    original = LIF.over_time

    def watched(self: LIF, *arguments: Any) -> Any:
        alive.append(sum(output() is not None for output in outputs))
        done = original(self, *arguments)
        outputs.append(weakref.ref(done[0]))
        return done

    monkeypatch.setattr(LIF, "over_time", watched)
    with torch.no_grad():
        run_sequence(module, sequence(module, 300), chunk=300)
    assert len(outputs) == 12
    assert max(alive) == 1


def test_a_loop_keeps_only_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    module = converted(made_exact(NETWORKS["recurrent"]()))
    kept: list[list[str]] = []
    original = Loop.run

    def watched(self: Loop, *arguments: Any) -> Any:
        kept.append(sorted(node.name for node in self.needed))
        return original(self, *arguments)

    monkeypatch.setattr(Loop, "run", watched)
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
