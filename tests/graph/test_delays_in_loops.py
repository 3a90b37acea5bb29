"""Delays of several lengths in loops: each element waits as long as it says, and one step at least.

The oracle is a loop of its own: the value of a node at a step is asked for and worked out from
what it hears, back to the start, with no schedule. Whole numbers only, so every spike is exact.
"""

from __future__ import annotations

import itertools
from typing import Any

import nir
import numpy as np
import pytest
import torch
from conftest import HUNT, needs_hunt
from networks import module_of
from typer.testing import CliRunner

from nirtorch_cli import default_map, run_sequence
from nirtorch_cli.cli.app import app

DT = 1e-4
SIZE = 3


class Unrolled:
    """What every node gives at every step; `lengthened` Delays wait a step at least."""

    def __init__(self, graph: nir.NIRGraph, xs: np.ndarray, lengthened: set[str]) -> None:
        self.graph, self.xs = graph, xs
        self.hears: dict[str, list[str]] = {name: [] for name in graph.nodes}
        for source, target in graph.edges:
            self.hears[target].append(source)
        self.waits = {
            name: np.maximum(steps, 1) if name in lengthened else steps
            for name, node in graph.nodes.items()
            if isinstance(node, nir.Delay)
            for steps in [np.round(node.delay / DT).astype(int)]
        }
        self.given: dict[tuple[str, int], np.ndarray | None] = {}
        self.voltage: dict[tuple[str, int], np.ndarray] = {}

    def heard(self, name: str, step: int) -> np.ndarray:
        return sum((self.at(source, step) for source in self.hears[name]), np.zeros(SIZE))

    def at(self, name: str, step: int) -> np.ndarray:
        if step < 0:
            return np.zeros(SIZE)
        if (name, step) not in self.given:
            self.given[name, step] = None
            self.given[name, step] = self.worked_out(name, step)
        value = self.given[name, step]
        if value is None:
            raise RecursionError(f"{name} at {step} waits for itself")
        return value

    def worked_out(self, name: str, step: int) -> np.ndarray:
        node: Any = self.graph.nodes[name]
        if isinstance(node, nir.Input):
            return self.xs[step]
        if isinstance(node, nir.Delay):
            waits = self.waits[name]
            late = [
                self.heard(name, step - wait)[place] if step >= wait else 0.0
                for place, wait in enumerate(waits)
            ]
            return np.array(late)
        heard = self.heard(name, step)
        if isinstance(node, nir.Affine):
            return node.weight @ heard + node.bias
        if isinstance(node, nir.IF):
            self.at(name, step - 1)  # the voltage that the step before left
            v = self.voltage.get((name, step - 1), np.zeros(SIZE)) + heard
            z = (v > node.v_threshold).astype(float)
            self.voltage[name, step] = np.where(z > 0, 0.0, v)
            return z
        return heard


def ring(*delays: list[int], spare: int = 0, seed: int = 0) -> nir.NIRGraph:
    """input -> if -> for each Delay: Delay -> W -> if ... -> if, and Output at the last `if`."""
    random = np.random.default_rng(seed)
    nodes: dict[str, Any] = {"input": nir.Input(np.array([SIZE]))}
    edges = [("input", "n0")]
    for number, steps in enumerate(delays):
        nodes[f"n{number}"] = nir.IF(np.ones(SIZE), np.full(SIZE, 1.5), np.zeros(SIZE))
        nodes[f"d{number}"] = nir.Delay(np.array(steps) * DT)
        weight = random.integers(-1, 3, (SIZE, SIZE)).astype(float)
        nodes[f"w{number}"] = nir.Affine(weight, random.integers(0, 2, SIZE).astype(float))
        following = f"n{(number + 1) % len(delays)}"
        edges += itertools.pairwise([f"n{number}", f"d{number}", f"w{number}", following])
    nodes["output"] = nir.Output(np.array([SIZE]))
    edges.append((f"n{len(delays) - 1}", "output"))
    return nir.NIRGraph(nodes, edges, type_check=False)


def random_graph(seed: int) -> nir.NIRGraph:
    """Neurons with ways between them, each way back through a Delay of a step for some element."""
    random = np.random.default_rng(seed)
    neurons = [f"n{number}" for number in range(random.integers(1, 5))]
    nodes: dict[str, Any] = {"input": nir.Input(np.array([SIZE]))}
    nodes |= {
        name: nir.IF(np.ones(SIZE), random.integers(1, 4, SIZE) + 0.5, np.zeros(SIZE))
        for name in neurons
    }
    edges = [("input", neurons[0]), *itertools.pairwise(neurons)]
    for number in range(random.integers(1, 6)):
        source, target = random.choice(len(neurons), 2)
        delay, weight = f"d{number}", f"w{number}"
        steps = random.integers(0, 5, SIZE)
        steps[random.integers(SIZE)] = random.integers(1, 5)
        nodes[delay] = nir.Delay(steps * DT)
        matrix = random.integers(-1, 3, (SIZE, SIZE)).astype(float)
        nodes[weight] = nir.Affine(matrix, random.integers(0, 2, SIZE).astype(float))
        way = [delay, weight] if random.random() < 0.5 else [weight, delay]
        edges += itertools.pairwise([neurons[source], *way, neurons[target]])
    nodes["output"] = nir.Output(np.array([SIZE]))
    edges.append((neurons[-1], "output"))
    return nir.NIRGraph(nodes, edges, type_check=False)


def inputs(seed: int, steps: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, (steps, SIZE)).astype(float)


def converted(graph: nir.NIRGraph) -> tuple[Any, set[str]]:
    """The module, and the Delays of which it says that they were lengthened."""
    module = module_of(graph, {}, default_map(dt=DT), dtype=torch.float64)
    found = [finding for finding in module.meta["findings"] if finding["code"] == "NIR404"]
    return module, {finding["node"] for finding in found}


def outputs(module: Any, xs: np.ndarray) -> np.ndarray:
    state, rows = None, []
    for x in torch.from_numpy(xs):
        y, state = module(x, state)
        rows.append(y.detach().numpy())
    return np.stack(rows)


def check(graph: nir.NIRGraph, seed: int) -> set[str]:
    """A graph against the oracle, step by step and as a sequence; the lengthened Delays."""
    xs = inputs(seed)
    module, lengthened = converted(graph)
    oracle = Unrolled(graph, xs, lengthened)
    expected = np.stack([oracle.at("output", step) for step in range(len(xs))])
    np.testing.assert_array_equal(outputs(module, xs), expected)
    whole = run_sequence(module, torch.from_numpy(xs), chunk=7).outputs
    np.testing.assert_array_equal(whole.detach().numpy(), expected)
    return lengthened


@pytest.mark.parametrize("delays", [[0, 2, 3], [1, 0, 0], [0, 0, 4]])
def test_elements_of_a_step_and_more_keep_their_delay(delays: list[int]) -> None:
    assert check(ring(delays), 1) == {"d0"}


def test_a_delay_of_no_step_at_all_is_a_node_like_any_other() -> None:
    """The loop then has its step at the spikes, as it would without the Delay."""
    graph = ring([0, 0, 0])
    module, lengthened = converted(graph)
    assert lengthened == set()
    np.testing.assert_array_equal(
        outputs(module, inputs(2)), outputs(converted(ring([1, 1, 1]))[0], inputs(2))
    )


def test_what_need_not_be_lengthened_is_not() -> None:
    """The other Delay of the loop gives it its step: 0 stays 0 here."""
    assert check(ring([0, 2, 3], [1, 1, 2]), 3) == set()


def test_of_two_in_one_loop_one_is_lengthened() -> None:
    assert len(check(ring([0, 2, 3], [1, 0, 2]), 4)) == 1


@pytest.mark.parametrize("seed", range(150))
def test_random_graphs(seed: int) -> None:
    """Also: without those that are lengthened, some loop would wait for itself."""
    graph = random_graph(seed)
    lengthened = check(graph, seed)
    for name in sorted(lengthened):
        oracle = Unrolled(graph, inputs(seed), lengthened - {name})
        with pytest.raises(RecursionError):
            [oracle.at(node, step) for step in range(40) for node in graph.nodes]


def test_a_nested_loop() -> None:
    """A Delay in a nested graph on a loop is named by its path, and waits as it should."""
    flat = ring([0, 2, 3])
    inner = {name: flat.nodes[name] for name in ("d0", "w0")}
    inner |= {"in": nir.Input(np.array([SIZE])), "out": nir.Output(np.array([SIZE]))}
    nest = nir.NIRGraph(inner, [("in", "d0"), ("d0", "w0"), ("w0", "out")], type_check=False)
    nodes = {name: flat.nodes[name] for name in ("input", "n0", "output")} | {"nest": nest}
    edges = [("input", "n0"), ("n0", "nest"), ("nest", "n0"), ("n0", "output")]
    module, lengthened = converted(nir.NIRGraph(nodes, edges, type_check=False))
    assert lengthened == {"nest/d0"}
    expected = outputs(converted(flat)[0], inputs(5))
    np.testing.assert_array_equal(outputs(module, inputs(5)), expected)


@pytest.mark.parametrize("command", ["inspect", "convert", "check"])
def test_a_warning_names_the_elements(command: str, tmp_path: Any) -> None:
    nir.write(tmp_path / "m.nir", ring([0, 2, 3]))
    dt = [] if command == "inspect" else ["--dt", str(DT)]
    answer = CliRunner().invoke(app, [command, str(tmp_path / "m.nir"), *dt])
    assert answer.exit_code == 0
    text = (
        "node 'd0', delay: 1 of 3 delays are shorter than half a step, in a loop that has no "
        "other delay of a step; these wait one step (the first is at [0]), the others as long as "
        "they say"
    )
    assert text in answer.output


@needs_hunt
def test_the_file_of_the_hunt() -> None:
    graph = nir.read(HUNT / "delay_zero_in_loop.nir", type_check=False)
    random = np.random.default_rng(0)
    module, lengthened = converted(graph)
    assert lengthened == {"d"}
    lif, weight = graph.nodes["lif"], graph.nodes["W"].weight.astype(np.float64)
    spikes, v = np.zeros((200, 3)), np.zeros(3)
    xs = random.uniform(0, 2, (200, 3))
    for step, x in enumerate(xs):
        late = [spikes[step - w, n] if step >= w else 0 for n, w in enumerate((1, 2, 3))]
        v = v + DT / lif.tau * (lif.v_leak - v + lif.r * (x + weight @ np.array(late)))
        spikes[step] = v > lif.v_threshold
        v = np.where(spikes[step] > 0, lif.v_reset, v)
    assert 0 < spikes.sum() < spikes.size
    np.testing.assert_array_equal(outputs(module, xs), spikes)
