"""A converted module survives what torch does to graph modules, bit by bit.

In: the networks of `networks.py`. Each is edited, copied, pickled, traced again, compiled or
exported; the outcome must give the same outputs and the same states, from rest and from a state,
with gradients and without. Also: whose tensors a state is, and which states are refused.
"""

from __future__ import annotations

import copy
import io
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import nir
import numpy as np
import pytest
import torch
from networks import DT, NETWORKS, assert_same, converted, flat, inputs, lif, run, weights

from nirtorch_cli import StateError, nir_to_torch
from nirtorch_cli.conversion.defaults import default_map
from nirtorch_cli.conversion.graph_module import NIR_NAME, ConvertedModule
from nirtorch_cli.conversion.state import StateTracer

torch.set_num_threads(1)

STEPS = 4


def without_dead_code(module: Any) -> Any:
    edited = copy.deepcopy(module)
    for part in edited.modules():
        if isinstance(part, torch.fx.GraphModule):
            part.graph.eliminate_dead_code()
            part.graph.lint()
            part.recompile()
    return edited


def stored(module: Any) -> Any:
    file = io.BytesIO()
    torch.save(module, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=False)


def plain(module: Any) -> Any:
    return torch.fx.GraphModule(module, copy.deepcopy(module.graph, {}))


def pickled(module: Any) -> Any:
    return pickle.loads(pickle.dumps(module))


CHANGED: dict[str, Callable[[Any], Any]] = {
    "dead_code": without_dead_code,
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": pickled,
    "pickle_twice": lambda module: pickled(pickled(module)),
    "pickle_of_deepcopy": lambda module: pickled(copy.deepcopy(module)),
    "torch_save": stored,
    "edited_and_stored": lambda module: stored(without_dead_code(module)),
    "plain": plain,
    "plain_pickle": lambda module: pickled(plain(module)),
    "plain_torch_save": lambda module: stored(plain(module)),
    "plain_deepcopy": lambda module: copy.deepcopy(plain(module)),
    "transformer": lambda module: torch.fx.Transformer(module).transform(),
    "traced": lambda module: torch.fx.GraphModule(module, StateTracer().trace(module)),
}


def gradients(module: Any, results: list[tuple[Any, Any]]) -> list[torch.Tensor]:
    """Of all parameters, through the outputs of all steps and the last state."""
    values = [flat(output) for output, _ in results] + [flat(results[-1][1])]
    loss = sum(
        value.square().sum()
        for tree in values
        for value in tree.values()
        if isinstance(value, torch.Tensor) and value.requires_grad
    )
    return list(torch.autograd.grad(loss, list(module.parameters()), allow_unused=True))


def assert_runs_the_same(changed: Any, original: Any) -> None:
    """From rest and from a state, without and with gradients."""
    steps = inputs(original, STEPS)
    with torch.no_grad():
        expected = run(original, steps)
        assert_same(run(changed, steps), expected)
        half = expected[1][1]
        assert_same(run(changed, steps[2:], half), expected[2:])
    expected, actual = run(original, steps), run(changed, steps)
    assert_same(actual, expected)
    wanted, given = gradients(original, expected), gradients(changed, actual)
    assert sum(gradient is not None for gradient in wanted) >= 2
    assert_same(given, wanted)


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Any:
    return converted(NETWORKS[request.param]())


# ------------------------------------------------------------------------- edited, copied, stored


@pytest.mark.parametrize("change", CHANGED)
def test_changes_no_number(network: Any, change: str) -> None:
    changed = CHANGED[change](network)
    assert isinstance(changed, torch.fx.GraphModule)
    assert changed is not network
    assert_runs_the_same(changed, network)


OURS = ["deepcopy", "pickle", "pickle_twice", "pickle_of_deepcopy", "torch_save"]


@pytest.mark.parametrize("change", OURS)
def test_meta_names_and_code_survive(network: Any, change: str) -> None:
    changed = CHANGED[change](network)
    assert isinstance(changed, ConvertedModule)
    assert_same_graphs(changed, network)
    assert changed.meta["dt"] == DT
    assert changed.meta["versions"]["torch"] == str(torch.__version__)
    assert not changed.training or network.training
    changed.graph.lint()


def assert_same_graphs(changed: Any, original: Any) -> None:
    """Code, meta, names of nodes, the nested modules too."""
    assert type(changed).__name__ == type(original).__name__
    assert changed.code == original.code
    assert changed.meta == original.meta
    nodes = [(n.name, n.op, n.target, n.meta.get(NIR_NAME)) for n in original.graph.nodes]
    assert [(n.name, n.op, n.target, n.meta.get(NIR_NAME)) for n in changed.graph.nodes] == nodes
    assert any(nir_name is not None for *_, nir_name in nodes)
    assert list(changed.state_dict()) == list(original.state_dict())
    assert [name for name, _ in changed.named_modules()] == [
        name for name, _ in original.named_modules()
    ]
    for name, child in original.named_children():
        if isinstance(child, ConvertedModule):
            assert_same_graphs(changed.get_submodule(name), child)


def test_meta_tells_where_a_module_came_from() -> None:
    module = converted(NETWORKS["recurrent"]())
    assert module.meta["delayed_edges"] == [["lif", "back"], ["again", "echo"]]
    assert module.meta["integration"] == "euler"
    assert module.meta["reset"] == "value"
    assert module.meta["names"]["lif"] == "lif"
    outer = pickled(converted(NETWORKS["nested"]()))
    assert outer.meta["names"]["first_layer"] == "first.layer"
    inner = outer.middle.nir_node_lambda
    assert inner.meta["delayed_edges"] == [["lif", "back"], ["again", "echo"]]


def test_a_copy_shares_no_weights_and_a_pickle_neither() -> None:
    module = converted(NETWORKS["recurrent"]())
    for change in ("deepcopy", "pickle", "torch_save"):
        other = CHANGED[change](module)
        pointers = {tensor.data_ptr() for tensor in module.state_dict().values()}
        assert pointers.isdisjoint(tensor.data_ptr() for tensor in other.state_dict().values())
        assert [p.requires_grad for p in other.parameters()] == [
            p.requires_grad for p in module.parameters()
        ]


def test_training_flag_hooks_and_edits_are_stored_as_they_are() -> None:
    module = converted(NETWORKS["feedforward"]())
    module.eval()
    module.affine.weight.requires_grad_(False)
    loaded = stored(module)
    assert not loaded.training
    assert not loaded.affine.training
    assert not loaded.affine.weight.requires_grad
    # An edit of the graph: the readout is left out of the output.
    edited = copy.deepcopy(module)
    output = next(iter(reversed(edited.graph.nodes)))
    (_, state), *_ = output.args
    output.args = ((next(n for n in edited.graph.nodes if n.name == "affine"), state),)
    edited.recompile()
    steps = inputs(module, 1)
    assert torch.equal(stored(edited)(*steps[0])[0], module.affine(*steps[0]))


# ------------------------------------------------------------------------------ compiled, exported

BACKENDS = ["eager", "aot_eager"]

OF_TORCH = (
    # torch's own: what it imports, and that it looks at `.grad` of a state with a history.
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning",
)


@pytest.fixture
def fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    torch.set_flush_denormal(False)  # older torch has a program's loading set it


@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.filterwarnings(*OF_TORCH)
@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled(network: Any, backend: str) -> None:
    compiled = torch.compile(network, fullgraph=True, backend=backend)
    steps = inputs(network, STEPS)
    with torch.no_grad():
        expected = run(network, steps)
        assert_same(run(compiled, steps), expected)
    expected, actual = run(network, steps), run(compiled, steps)
    assert_same(actual, expected)
    given, wanted = gradients(network, actual), gradients(network, expected)
    assert len(wanted) >= 2
    for gradient, other in zip(given, wanted, strict=True):
        # Sums of gradients are taken in another order.
        torch.testing.assert_close(gradient, other, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(
    shutil.which("g++") is None or sys.platform != "linux", reason="inductor needs a C++ compiler"
)
@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.filterwarnings(*OF_TORCH)
def test_compiled_by_inductor(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    network = converted(NETWORKS["recurrent"]())
    compiled = torch.compile(network, fullgraph=True, backend="inductor")
    steps = inputs(network, STEPS)
    with torch.no_grad():
        expected, actual = run(network, steps), run(compiled, steps)
    assert list(flat(actual)) == list(flat(expected))
    for path, value in flat(expected).items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(flat(actual)[path], value, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings(*OF_TORCH)
@pytest.mark.parametrize("grad", [False, True])
def test_exported(network: Any, grad: bool) -> None:
    first, *steps = inputs(network, STEPS)
    with torch.no_grad():
        _, state = network(*first)
    with torch.set_grad_enabled(grad):
        exported = torch.export.export(network, (*steps[0], state)).module()
        for arguments in steps:
            expected = network(*arguments, state)
            assert_same(exported(*arguments, state), expected)
            _, state = expected


@pytest.mark.filterwarnings(*OF_TORCH)
def test_an_exported_module_takes_its_own_state_back(network: Any) -> None:
    first, *steps = inputs(network, STEPS)
    with torch.no_grad():
        _, state = network(*first)
        program = torch.export.export(network, (*steps[0], state), strict=False)
        exported = program.module()
        assert_same(run(exported, steps, state), run(network, steps, state))


@pytest.mark.filterwarnings(*OF_TORCH)
def test_exported_for_any_batch() -> None:
    network = converted(NETWORKS["recurrent"]())
    (x,), (y,) = inputs(network, 2, batch=3)
    with torch.no_grad():
        _, state = network(x)
        batch = torch.export.Dim("batch", min=2, max=64)
        shapes = {"input": {0: batch}, "state": state_shapes(state, batch)}
        exported = torch.export.export(network, (y, state), dynamic_shapes=shapes).module()
        for size in (3, 7):
            (x,), (y,) = inputs(network, 2, batch=size)
            _, state = network(x)
            assert_same(exported(y, state), network(y, state))


def state_shapes(tree: Any, batch: Any) -> Any:
    if isinstance(tree, dict):
        return {key: state_shapes(value, batch) for key, value in tree.items()}
    return None if tree is None else {0: batch}


def tensors(tree: Any) -> dict[str, torch.Tensor]:
    return {path: v for path, v in flat(tree).items() if isinstance(v, torch.Tensor)}


# ---------------------------------------------------------------------------------------- states


def test_a_state_is_never_changed(network: Any) -> None:
    steps = inputs(network, STEPS)
    for _, state in run(network, steps):
        before = {path: value.clone() for path, value in tensors(state).items()}
        ids, paths = [id(value) for value in tensors(state).values()], list(flat(state))
        first, second = network(*steps[0], state), network(*steps[0], state)
        assert_same(first, second)
        assert list(flat(state)) == paths
        assert [id(value) for value in tensors(state).values()] == ids
        for path, value in tensors(state).items():
            assert torch.equal(value, before[path]), path
        # Nor is it the new state's memory: what a caller does to one leaves the other alone.
        with torch.no_grad():
            for value in tensors(first[1]).values():
                value.add_(1)
        for path, value in tensors(state).items():
            assert torch.equal(value, before[path]), path


def test_a_state_has_an_entry_for_every_node(network: Any) -> None:
    _, state = network(*inputs(network, 1)[0])
    assert_entries(network, state)


def assert_entries(module: Any, state: Any) -> None:
    previous = {f"{source}_prev_output" for source, _ in module.meta["delayed_edges"]}
    assert set(state) == {*module.meta["names"], *previous}
    for name, kind in module.meta["types"].items():
        if kind in ("LIF", "CubaLIF", "LI", "I", "IF", "Delay"):
            assert isinstance(state[name], dict)
            assert state[name]
        elif kind == "NIRGraph":
            assert_entries(module.get_submodule(name), state[name])
        else:
            assert state[name] is None


def test_a_mapping_is_a_state(network: Any) -> None:
    """Not only a dict: what a user wraps it in."""
    from types import MappingProxyType

    def wrapped(tree: Any) -> Any:
        if isinstance(tree, dict):
            return MappingProxyType({key: wrapped(value) for key, value in tree.items()})
        return tree

    first, second = inputs(network, 2)
    _, state = network(*first)
    assert_same(network(*second, wrapped(state)), network(*second, state))


def spoilt(tree: Any, path: list[str], change: Callable[[dict[str, Any], str], None]) -> Any:
    """A copy of a state with one entry changed."""
    result = dict(tree)
    if len(path) == 1:
        change(result, path[0])
    else:
        result[path[0]] = spoilt(result[path[0]], path[1:], change)
    return result


def dropped(entries: dict[str, Any], key: str) -> None:
    del entries[key]


def of_another_batch(entries: dict[str, Any], key: str) -> None:
    entries[key] = torch.cat([entries[key], entries[key]], dim=-2)


def of_one_neuron(entries: dict[str, Any], key: str) -> None:
    entries[key] = entries[key][..., :1]


def a_number(entries: dict[str, Any], key: str) -> None:
    entries[key] = float("nan")


REFUSED = [
    ("recurrent", "lif", dropped, "NIR601", "the state has no entry 'lif'"),
    ("recurrent", "lif/v", dropped, "NIR601", "state without a tensor 'v'"),
    ("recurrent", "lif/v", a_number, "NIR601", "state without a tensor 'v'"),
    ("recurrent", "lif/v", of_another_batch, "NIR602", r"state 'v' has the shape \(4, 4\)"),
    ("recurrent", "lif/v", of_one_neuron, "NIR602", r"state 'v' has the shape \(2, 1\)"),
    ("recurrent", "lif", a_number, "NIR601", "with float"),
    ("recurrent", "lif_prev_output", dropped, "NIR601", "no entry 'lif_prev_output'"),
    ("recurrent", "lif_prev_output", a_number, "NIR601", "no entry 'lif_prev_output'"),
    ("recurrent", "lif_prev_output", of_another_batch, "NIR602", r"shape \(4, 4\), not \(2, 4\)"),
    ("recurrent", "again_prev_output", of_one_neuron, "NIR602", r"shape \(2, 1\), not \(2, 2\)"),
    ("feedforward", "wait/history", dropped, "NIR601", "state without a tensor 'history'"),
    ("feedforward", "wait/history", of_another_batch, "NIR602", r"has the shape \(2, 4, 4\)"),
    ("feedforward", "cuba/i", of_another_batch, "NIR602", r"state 'i' has the shape \(4, 4\)"),
    ("nested", "middle", dropped, "NIR601", "no entry 'middle'"),
    ("nested", "middle/nir_node_lambda/lif/v", of_another_batch, "NIR602", "has the shape"),
    ("nested", "middle/nir_node_lambda", a_number, "NIR601", "no entry 'lif_prev_output'"),
]


@pytest.mark.parametrize(("name", "path", "change", "code", "message"), REFUSED)
def test_a_state_that_does_not_belong_is_refused(
    name: str, path: str, change: Any, code: str, message: str
) -> None:
    module = converted(NETWORKS[name]())
    first, second = inputs(module, 2)
    _, state = module(*first)
    with pytest.raises(StateError, match=message) as raised:
        module(*second, spoilt(state, path.split("/"), change))
    assert [finding.code for finding in raised.value.findings] == [code]
    assert isinstance(raised.value, ValueError)
    assert raised.value.findings[0].hint
    module(*second, state)


def test_a_whole_state_that_does_not_belong_is_refused(network: Any) -> None:
    first, second = inputs(network, 2)
    _, state = network(*first)
    (larger,) = inputs(network, 1, batch=5)
    with pytest.raises(StateError, match="shape"):
        network(*larger, state)
    for wrong in ({}, torch.zeros(2), 0.5, "state", [state]):
        with pytest.raises(StateError, match="the state has no entry"):
            network(*second, wrong)


@pytest.mark.parametrize("shape", [(2, 1), (1,), (2, 37), (38, 1), ()])
def test_an_input_is_never_broadcast_into_a_layer(shape: tuple[int, ...]) -> None:
    ends = {"input": nir.Input(np.array([38])), "output": nir.Output(np.array([38]))}
    nodes: dict[str, nir.NIRNode] = {
        "lif": lif(38),
        "scale": nir.Scale(weights(38)),
        "threshold": nir.Threshold(weights(38)),
        "delay": nir.Delay(np.full(38, DT)),
    }
    for name, node in nodes.items():
        edges = [("input", name), (name, "output")]
        graph = nir.NIRGraph({**ends, name: node}, edges, type_check=False)
        module = nir_to_torch(graph, {}, default_map(dt=DT))
        with pytest.raises(StateError, match=r"the shape \(38,\)") as raised:
            module(torch.ones(shape))
        assert f"input has the shape {shape}," in str(raised.value)


def test_edges_that_meet_are_never_broadcast() -> None:
    module = converted(NETWORKS["several_ends"]())
    (left, right), *_ = inputs(module, 1)
    module(left, right)
    with pytest.raises(StateError, match=r"shapes \(2, 4\) and \(4,\)") as raised:
        module(left, right[0])
    assert raised.value.findings[0].code == "NIR603"
