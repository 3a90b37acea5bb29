"""Faults in what runs that were planted once and not noticed: a test of the right value for each.

Each test stands for a kind of fault and its neighbours: constants that a way to run forgets, sizes
that are not measured again, steps rounded otherwise, sums in another order or broadcast, programs
taken for one another. What was planted stands in its docstring.
"""

from __future__ import annotations

import copy
import io
import itertools
from collections.abc import Sequence
from typing import Any

import nir
import numpy as np
import oracles
import pytest
import torch
from networks import DT, NETWORKS, converted, ends, flat, lif, module_of, weights
from neurons import NEURONS, neuron
from sequences import by_steps, compare, sequence
from torch import Tensor

from nirtorch_cli import (
    Compiler,
    NirtorchError,
    default_map,
    load,
    nir_to_torch,
    run_sequence,
    save,
)

torch.set_num_threads(1)

SIZE = 4
CONSTANTS = [(kind, name) for kind, names in NEURONS.items() for name in names]
IDS = [f"{kind.__name__}-{name}" for kind, name in CONSTANTS]
OPTIONS = [
    {"integration": "euler", "reset": "value", "integrator_input": "charge"},
    {"integration": "exact", "reset": "value", "integrator_input": "current"},
]


def looped(node: nir.NIRNode) -> nir.NIRGraph:
    """A neuron that hears itself, a step late and weakened."""
    nodes = {**ends((SIZE,), (SIZE,)), "n": node, "back": nir.Scale(np.full(SIZE, -0.25))}
    edges = [("input", "n"), ("n", "output"), ("n", "back"), ("back", "n")]
    return nir.NIRGraph(nodes, edges, type_check=False)


def alone(node: nir.NIRNode) -> nir.NIRGraph:
    nodes = {**ends((SIZE,), (SIZE,)), "n": node}
    return nir.NIRGraph(nodes, [("input", "n"), ("n", "output")], type_check=False)


def changed(kind: Any, name: str) -> nir.NIRNode:
    """A neuron of which one constant has other values than any default."""
    node = neuron(kind, SIZE)
    values = {"v_reset": np.linspace(-0.9, -0.5, SIZE), "v_leak": np.linspace(0.3, -0.3, SIZE)}
    setattr(node, name, values.get(name, 1.75 * getattr(node, name)[::-1]))
    return node


def driven(steps: int = 40, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return scale * torch.randn(steps, 2, SIZE, generator=generator, dtype=torch.float64) + 0.5


# ------------------------------------------------------------------ constants, every way to run


@pytest.mark.parametrize("options", OPTIONS, ids=["euler", "exact"])
@pytest.mark.parametrize(("kind", "name"), CONSTANTS, ids=IDS)
def test_every_constant_counts_in_every_way_to_run(
    kind: Any, name: str, options: dict[str, str]
) -> None:
    """Planted: a CubaLIF whose in-place path, which loops take, forgets w_in."""
    x = driven(scale=2.0 if options["integrator_input"] == "charge" else 2.0 / DT)
    x = x if kind in (nir.I, nir.IF) else driven()
    for graph, delayed in ((looped, [("n", "back")]), (alone, [])):
        network = graph(changed(kind, name))
        module = module_of(network, {}, default_map(dt=DT, **options), dtype=torch.float64)
        expected = oracles.run_graph(network, x.numpy(), delayed=delayed, dt=DT, **options)
        usual = oracles.run_graph(
            graph(neuron(kind, SIZE)), x.numpy(), delayed=delayed, dt=DT, **options
        )
        assert np.abs(expected - usual).max() > 1e-3, "the constant is seen in the output"
        with torch.no_grad():
            oracles.assert_close(run_sequence(module, x).outputs, expected, rtol=1e-9, atol=1e-9)
            rows = run_sequence(module, x[:, 0], chunk=7).outputs
            oracles.assert_close(rows, expected[:, 0], rtol=1e-9, atol=1e-9)
        learned = x.clone().requires_grad_()  # gradients by hand, or none in place
        done = run_sequence(module, learned).outputs.detach()
        oracles.assert_close(done, expected, rtol=1e-9, atol=1e-9)


LEARNED = [*NEURONS.items(), *((nir.CubaLIF, [name]) for name in NEURONS[nir.CubaLIF])]


@pytest.mark.parametrize("graph", [looped, alone], ids=["in a loop", "in none"])
@pytest.mark.parametrize(("kind", "names"), LEARNED, ids=lambda part: getattr(part, "__name__", ""))
def test_learned_constants_are_seen_by_a_compiled_run(
    kind: Any, names: list[str], graph: Any
) -> None:
    """Planted: the compiled path does not look at the constants of learned parameters."""
    module = converted(graph(neuron(kind, SIZE)), dtype=torch.float64)
    learn(module, names)
    compiler, x = Compiler(8, backend="aot_eager"), driven(20)

    def assert_alike() -> None:
        by_hand = outputs_and_gradients(by_steps(module, {"input": x}), module, names)
        for run in (run_sequence(module, x, compiler=compiler), run_sequence(module, x)):
            found = outputs_and_gradients(run, module, names)
            torch.testing.assert_close(found, by_hand, rtol=1e-9, atol=1e-9)
        assert compiler.problem is None
        assert compiler.programs == 1, "a constant that is learned has no gradient by hand"
        assert all(bool(gradient.abs().sum() > 0) for gradient in by_hand[1:])

    assert_alike()
    with torch.no_grad():
        for name in names:  # as an optimizer does
            getattr(module.n, name).mul_(1.25)
    assert_alike()
    learn(module, names, scale=0.9)  # other parameters in their place
    assert_alike()


@pytest.mark.parametrize("is_compiled", [False, True], ids=["plain", "compiled"])
@pytest.mark.parametrize("kind", [*NEURONS, nir.Scale], ids=lambda kind: kind.__name__)
def test_a_weight_learns_in_a_loop_of_which_nothing_else_does(kind: Any, is_compiled: bool) -> None:
    """Planted: the parameters of a loop's own modules are not looked at for gradients."""
    graph = looped(neuron(kind, SIZE) if kind in NEURONS else nir.Scale(np.ones(SIZE)))
    graph.nodes["back"] = nir.Linear(-weights(SIZE, SIZE) / 4)
    graph.nodes["again"] = nir.Linear(weights(SIZE, SIZE, seed=2) / 8)  # a sum of three
    graph.edges += [("n", "again"), ("again", "n")]
    module = converted(graph, dtype=torch.float64)
    compiler = Compiler(8, backend="aot_eager") if is_compiled else None
    x, gradients = driven(20), []
    for parameter in module.n.parameters():
        parameter.requires_grad_(False)
    for run in (run_sequence(module, x, compiler=compiler), by_steps(module, {"input": x})):
        assert run[0].requires_grad
        gradients.append(torch.autograd.grad(run[0].square().sum(), module.back.weight)[0])
    assert bool(gradients[1].abs().sum() > 0)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def learn(module: Any, names: list[str], scale: float = 1.0) -> None:
    """Make constants of the neuron parameters."""
    for name in names:
        values = getattr(module.n, name).detach() * scale
        module.n._buffers.pop(name, None)
        setattr(module.n, name, torch.nn.Parameter(values))


def outputs_and_gradients(run: Any, module: Any, names: list[str]) -> list[Tensor]:
    outputs = run[0]
    weighted = outputs * torch.linspace(0.5, 1.5, outputs.numel()).reshape(outputs.shape)
    parameters = [getattr(module.n, name) for name in names]
    return [outputs.detach(), *torch.autograd.grad(weighted.sum(), parameters)]


# ------------------------------------------------------------------------- what follows from load


def impulse_times(module: Any, steps: int = 8) -> list[int]:
    """At which step an impulse of the first step comes out, element by element."""
    x = torch.zeros(steps, SIZE)
    x[0] = 1
    whole = run_sequence(module, x).outputs
    single = by_steps(module, {"input": x})[0]
    assert torch.equal(whole, single)
    assert torch.equal(whole.sum(0), torch.ones(SIZE))
    return [int(step) for step in whole.argmax(0)]


def delays(*steps: float) -> Any:
    return converted(alone(nir.Delay(np.array(steps) * DT)))


@pytest.mark.parametrize("assign", [False, True], ids=["copied", "assigned"])
@pytest.mark.parametrize(
    ("before", "after"),
    [([1, 1, 1, 1], [3, 0, 5, 2]), ([3, 0, 5, 2], [1, 1, 1, 1]), ([0] * 4, [2] * 4),
     ([2] * 4, [0] * 4), ([0, 1, 2, 3], [3, 2, 1, 0])],
)  # fmt: skip
def test_a_delay_is_measured_again_on_load(
    before: list[int], after: list[int], assign: bool
) -> None:
    """Planted: loading another model's delays leaves the history as long as it was."""
    module, other = delays(*before), delays(*after)
    assert impulse_times(module) == before
    module.load_state_dict(other.state_dict(), assign=assign)
    assert impulse_times(module) == after
    assert f"up to {max(after)} steps" in repr(module.n)
    state = module(torch.ones(SIZE))[1]
    assert state["n"]["history"].shape == (max(after), SIZE)
    stored = io.BytesIO()
    save(module, stored)
    stored.seek(0)
    assert impulse_times(load(stored)) == after
    assert impulse_times(copy.deepcopy(module)) == after


def test_a_delay_without_values_is_measured_when_it_gets_them() -> None:
    module = module_of(alone(nir.Delay(np.ones(SIZE) * DT)), {}, default_map(dt=DT), device="meta")
    module.load_state_dict(delays(3, 0, 5, 2).state_dict(), assign=True)
    assert impulse_times(module) == [3, 0, 5, 2]


@pytest.mark.parametrize("kind", NEURONS, ids=[kind.__name__ for kind in NEURONS])
def test_constants_that_are_loaded_are_used(kind: Any) -> None:
    """The others have nothing to be measured again: whatever is loaded is what counts."""
    x = driven()
    module, other = converted(looped(neuron(kind, SIZE))), converted(looped(neuron(kind, SIZE)))
    for name in NEURONS[kind]:
        getattr(other.n, name).copy_(torch.from_numpy(getattr(changed(kind, name), name)))
    before = run_sequence(module, x.float()).outputs
    module.load_state_dict(other.state_dict())
    with torch.no_grad():
        after = run_sequence(module, x.float()).outputs
    compare(after, run_sequence(other, x.float()).outputs)
    assert not torch.equal(after, before)


# ---------------------------------------------------------------------------- half-step rounding


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("dt", [1e-4, 5e-4, 1e-3, 3e-3, 0.125, 1.0])
def test_half_a_step_is_rounded_up_whatever_the_storage(kind: Any, dt: float) -> None:
    """Planted: to the nearest even step (0.5 to 0, 2.5 to 2), or in the file's own precision."""
    halves = np.arange(0, 4) + 0.5
    for first in range(0, 40, 4):
        for shift, up in ((0.0, 1), (-1e-4, 0), (1e-4, 1), (-0.49, 0), (0.49, 1)):
            graph = alone(nir.Delay(((first + halves + shift) * dt).astype(kind)))
            module = module_of(graph, {}, default_map(dt=dt))
            assert module.n.steps.tolist() == [first + place + up for place in range(4)], shift
    module = module_of(alone(nir.Delay((halves * dt).astype(kind))), {}, default_map(dt=dt))
    assert impulse_times(module) == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("noise", [-1, 1])
def test_the_last_digit_of_a_file_decides_over_no_half_step(kind: Any, noise: int) -> None:
    exact = ((np.arange(4) + 0.5) * DT).astype(kind)
    noisy = np.nextafter(exact, kind(noise * np.inf))
    assert (noisy != exact).all()
    assert impulse_times(converted(alone(nir.Delay(noisy)))) == [1, 2, 3, 4]


def test_a_half_step_in_a_loop_is_rounded_before_a_step_of_it_is_the_loops_own() -> None:
    """The way around takes 1, 2, 3 and 4 steps for delays of 0.5, 1.5, 2.5 and 3.5."""
    nodes = {
        **ends((SIZE,), (SIZE,)),
        "one": nir.Scale(np.ones(SIZE)),
        "wait": nir.Delay((np.arange(SIZE) + 0.5) * DT),
    }
    edges = [("input", "one"), ("one", "wait"), ("wait", "one"), ("one", "output")]
    module = converted(nir.NIRGraph(nodes, edges, type_check=False))
    x = torch.zeros(13, SIZE)
    x[0] = 1
    expected = [[float(step % around == 0) for around in (1, 2, 3, 4)] for step in range(13)]
    assert run_sequence(module, x).outputs.tolist() == expected
    assert by_steps(module, {"input": x})[0].tolist() == expected


# ----------------------------------------------------------------------------------- order of sums

LARGE = {"large": 2.0**27, "one": 1.0, "small": -(2.0**27), "third": 1 / 3}
"""Factors that give another sum in float32 in nearly every order."""


def fan(names: Sequence[str], edges: Sequence[int]) -> nir.NIRGraph:
    """An input through four factors, called so, into one sum; the edges listed in some order."""
    nodes: dict[str, nir.NIRNode] = ends((SIZE,), (SIZE,))
    listed = []
    for name, factor in zip(names, LARGE.values(), strict=True):
        nodes[name] = nir.Scale(np.full(SIZE, factor, np.float32))
        listed += [("input", name), (name, "sum")]
    nodes["sum"] = nir.Scale(np.ones(SIZE, np.float32))
    listed = [listed[place] for place in edges] + [("sum", "output")]
    return nir.NIRGraph({n: nodes[n] for n in reversed(nodes)}, listed, type_check=False)


def test_a_sum_is_added_in_the_order_of_the_schedule() -> None:
    """Planted: the order of the file's edge list; names before content where places are equal."""
    x = torch.full((3, SIZE), 1.0)
    results = []
    for names in itertools.permutations(["a", "b", "c", "d"]):
        for edges in (range(8), range(7, -1, -1), [5, 2, 7, 0, 3, 6, 1, 4]):
            graph = fan(names, edges)
            module = converted(graph)
            order = [name for name in module.meta["names"] if name in names]
            factors = dict(zip(names, LARGE.values(), strict=True))
            total = np.float32(factors[order[0]])
            for name in order[1:]:
                total = np.float32(total + np.float32(factors[name]))
            found = run_sequence(module, x).outputs
            assert found.tolist() == [[float(total)] * SIZE] * 3, (names, order)
            assert torch.equal(found, by_steps(module, {"input": x})[0])
            results.append((float(total), [factors[name] for name in order]))
    assert all(result == results[0] for result in results), "names and edge lists change nothing"
    # Which order it is follows from the content; another one would give another sum.
    others = {
        float(np.float32(np.float32(np.float32(a + b) + c) + d))
        for a, b, c, d in itertools.permutations(np.array([*LARGE.values()], np.float32))
    }
    assert len(others) > 3


@pytest.mark.parametrize("seed", range(12))
def test_graphs_that_are_equal_but_for_names_give_equal_bits(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(4, 10))
    made = [random_node(random) for _ in range(count)]
    pairs = {(place, place + 1) for place in range(count - 1)}
    pairs |= {tuple(sorted(random.choice(count, 2, replace=False))) for _ in range(count)}
    pairs |= {(int(random.integers(1, count)), 0)} if seed % 2 else set()  # a loop, entered at 0
    x = driven().float()
    results = []
    for _ in range(4):
        names = [f"n{number}" for number in random.permutation(count)]
        nodes = {name: copy.deepcopy(node) for name, node in zip(names, made, strict=True)}
        edges = [(names[source], names[target]) for source, target in pairs]
        edges += [("input", names[0]), (names[-1], "output")]
        edges = [edges[place] for place in random.permutation(len(edges))]
        graph = nir.NIRGraph({**nodes, **ends((SIZE,), (SIZE,))}, edges, type_check=False)
        module = converted(graph)
        assert not [f for f in module.meta["findings"] if f["code"] == "NIR109"]
        results.append(by_steps(module, {"input": x})[0])
        assert torch.isfinite(results[-1]).all()
        assert torch.equal(results[-1], results[0])
    assert results[0].abs().sum() > 0


def random_node(random: np.random.Generator) -> nir.NIRNode:
    kind = random.integers(4)
    if kind == 0:
        return nir.Affine(random.uniform(-0.6, 0.6, (SIZE, SIZE)), random.uniform(-1, 1, SIZE))
    if kind == 1:
        return nir.Scale(random.uniform(-1, 1, SIZE))
    if kind == 2:
        return nir.LI(random.uniform(2, 9, SIZE) * DT, np.ones(SIZE), random.uniform(-1, 1, SIZE))
    return nir.Scale(np.full(SIZE, 0.7))  # of which there may be several


# ----------------------------------------------------------------------------- nothing broadcasts


class First(torch.nn.Module):
    """A module of somebody's that gives one number where its node has several."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., :1]


def meeting(wide: str) -> nir.NIRGraph:
    """Two Affines, of three outputs and of one, that meet in a node of three."""
    nodes = {
        **ends((3,), (3,)),
        wide: nir.Affine(weights(3, 3), np.zeros(3)),
        "narrow": nir.Affine(weights(1, 3), np.zeros(1)),
        "sum": nir.Scale(np.ones(3)),
    }
    edges = [("input", wide), ("input", "narrow"), (wide, "sum"), ("narrow", "sum")]
    return nir.NIRGraph(nodes, [*edges, ("sum", "output")], type_check=False)


def test_sums_of_affines_are_never_broadcast() -> None:
    """Planted: an Affine's one output is added to each of another's."""
    for wide in ("broad", "wide"):  # before and after the other in the order of names
        graph = meeting(wide)
        said = r"node 'sum': takes the shape \(3,\), but 'narrow' gives it \(1,\)"
        said = said if wide == "broad" else r"'sum': .*\(3,\).*\(1,\)"
        with pytest.raises(NirtorchError, match=said):
            nir_to_torch(graph, {}, default_map(dt=DT))
    graph.nodes["narrow"] = nir.Linear(weights(3, 3, seed=2))  # what somebody's map makes of it

    def run(whole: bool) -> None:
        module = module_of(graph, {nir.Linear: lambda node: First()}, default_map(dt=DT))
        run_sequence(module, torch.ones(4, 2, 3)) if whole else module(torch.ones(2, 3))

    for whole in (False, True):  # at the conversion, or when it is called first
        with pytest.raises(NirtorchError, match=r"\(2, 1\)|\(4, 2, 1\)"):
            run(whole)


@pytest.mark.parametrize("stack", [(), (2,)], ids=["a matrix", "a stack"])
def test_a_bias_is_for_each_output_for_a_row_or_for_all(stack: tuple[int, ...]) -> None:
    weight, x = weights(*stack, 3, 4), weights(5, *stack, 4, seed=2)
    for shape in dict.fromkeys([(*stack, 3), (3,), (1,)]):
        node = nir.Affine(weight, weights(*shape, seed=3))
        module = module_of(graph_of(node, (*stack, 4)), {}, dtype=torch.float64)
        expected = np.einsum("...oi,...i->...o", weight, x) + np.broadcast_to(
            node.bias, (*stack, 3)
        )
        oracles.assert_close(
            module(torch.from_numpy(x))[0].detach(), expected, rtol=1e-12, atol=1e-12
        )
    for shape in [(*stack, 1), (2, 1), (1, 3), (3, 1), (4,)]:
        if shape in ((*stack, 3), (3,), (1,)):
            continue
        node = nir.Affine(weight, np.ones(shape))
        with pytest.raises(NirtorchError, match=rf"bias.*{str(shape)[1:-1]}"):
            nir_to_torch(graph_of(node, (*stack, 4)), {})


def graph_of(node: nir.NIRNode, shape: tuple[int, ...]) -> nir.NIRGraph:
    nodes = {"input": nir.Input(np.array(shape)), "n": node, "output": nir.Output(None)}
    return nir.NIRGraph(nodes, [("input", "n"), ("n", "output")], type_check=False)


@pytest.mark.parametrize(
    ("weight", "shape", "gives"),
    [
        ((3, 4), (4,), (3,)),
        ((3, 4), (2, 4), (2, 3)),  # a matrix acts on the last axis, as torch.nn.Linear does
        ((2, 3, 4), (2, 4), (2, 3)),
        ((2, 3, 4), (5, 2, 4), None),
        ((2, 3, 4), (2, 2, 4), None),
        ((2, 3, 4), (1, 4), None),
        ((2, 3, 4), (4,), None),
        ((1, 3, 4), (2, 4), None),
        ((5, 2, 3, 4), (5, 2, 4), (5, 2, 3)),
        ((5, 2, 3, 4), (2, 4), None),
    ],
    ids=str,
)
def test_a_stack_of_matrices_has_one_for_each_place(
    weight: tuple[int, ...], shape: tuple[int, ...], gives: tuple[int, ...] | None
) -> None:
    """Planted: a stack of matrices applied to each row of a larger stack."""
    node = nir.Linear(weights(*weight))
    graph = nir.NIRGraph.from_list(nir.Scale(np.ones(shape)), node, type_check=False)
    if gives is None:
        with pytest.raises(NirtorchError, match="has weights for inputs of shape"):
            nir_to_torch(graph, {})
        return
    module: Any = module_of(graph_of(node, shape), {}, dtype=torch.float64)
    x = weights(7, 3, *shape, seed=2)
    expected = np.einsum("...oi,...i->...o", node.weight, x)
    assert expected.shape[2:] == gives == module.meta["shapes"]["output"][1]
    oracles.assert_close(
        run_sequence(module, torch.from_numpy(x)).outputs.detach(), expected, rtol=1e-12, atol=1e-12
    )
    if len(weight) > 2:  # and a module by itself takes no other stack either
        for wrong in ((1, *shape[1:]), shape[1:], (4, *shape[1:])):
            with pytest.raises(NirtorchError, match="its matrices take the shape"):
                module(torch.ones(wrong, dtype=torch.float64))


# ------------------------------------------------------------------------------ compiled programs


def assert_compiled_alike(compiler: Compiler, module: Any, inputs: Any, **options: Any) -> None:
    done = run_sequence(module, inputs, compiler=compiler, **options)
    plain = run_sequence(module, inputs, **options)
    assert compiler.problem is None
    compare(done.outputs, plain.outputs, 1e-6)
    compare(done.state, plain.state, 1e-6)
    compare(done.trace, plain.trace, 1e-6)


def test_programs_of_one_compiler_are_not_taken_for_one_another() -> None:
    """Planted: keys without the modules, what is asked for, or the calls, so that two collide."""
    compiler = Compiler(8, backend="aot_eager")
    module, twin = converted(NETWORKS["recurrent"]()), converted(NETWORKS["recurrent"]())
    with torch.no_grad():
        twin.lif.v_threshold.mul_(1.5)
        twin.back.weight.mul_(-1)
        twin.again.scale.mul_(-0.5)
    inputs = sequence(module, 20)
    expected = [run_sequence(one, inputs).outputs for one in (module, twin)]
    assert (expected[0] - expected[1]).abs().max() > 0.1, "the two differ"
    for one in (module, twin, module):
        assert_compiled_alike(compiler, one, inputs)
    assert compiler.programs == 4, "two loops of two modules"
    for record in (["back"], ["lif:v"], ["lif:v", "back"], ["again"]):
        assert_compiled_alike(compiler, module, inputs, record=record)
    assert_compiled_alike(compiler, twin, inputs, record=["lif:v", "back"])
    assert_compiled_alike(compiler, module, sequence(module, 20, (1,)))
    with torch.no_grad():
        assert_compiled_alike(compiler, module, sequence(module, 41))
    made = run_sequence(module, inputs, compiler=compiler).outputs
    made.sum().backward()  # not the program that had no gradients to follow
    assert module.back.weight.grad.abs().sum() > 0


def test_programs_follow_types_and_modules_put_in_the_place_of_others() -> None:
    compiler = Compiler(8, backend="aot_eager")
    module = converted(NETWORKS["recurrent"]())
    inputs = sequence(module, 20)
    assert_compiled_alike(compiler, module, inputs)
    module.lif = copy.deepcopy(module.lif)
    module.lif.v_threshold = 2 * module.lif.v_threshold
    assert_compiled_alike(compiler, module, inputs)
    module.double()
    assert_compiled_alike(compiler, module, {name: x.double() for name, x in inputs.items()})
    start = run_sequence(module, {name: x.double() for name, x in inputs.items()}).state
    rest = {name: x.double() for name, x in sequence(module, 20, seed=8).items()}
    assert_compiled_alike(compiler, module, rest, state=start)


def test_twins_in_one_graph_have_programs_of_their_own() -> None:
    """Two nested graphs whose nodes have the same names, one after the other."""
    first, second = NETWORKS["recurrent"](), NETWORKS["recurrent"]()
    first.nodes["output"] = second.nodes["output"] = nir.Output(np.array([2]))
    second.nodes["back"] = nir.Affine(-1.5 * second.nodes["back"].weight, np.full(4, 0.5))
    second.nodes["lif"] = lif(4)
    second.nodes["lif"].v_threshold = second.nodes["lif"].v_threshold * 2
    nodes = {
        **ends((3,), (2,)),
        "first": first,
        "between": nir.Linear(weights(3, 2)),
        "second": second,
    }
    names = ["input", "first", "between", "second", "output"]
    module = converted(nir.NIRGraph(nodes, list(itertools.pairwise(names)), type_check=False))
    compiler = Compiler(8, backend="aot_eager")
    assert_compiled_alike(compiler, module, sequence(module, 20))
    assert compiler.programs == 4
    assert not any(torch.isnan(value).any() for value in flat(module.state_dict()).values())
