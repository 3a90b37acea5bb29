"""Twice the nodes and edges are twice the work, for every shape of graph and on every path.

Work is counted, not timed, so that a busy machine changes nothing. Two counts are taken of
each run: all calls, of Python functions and of those written in C, anywhere (`sys.setprofile`),
and the lines that this package executes, where each turn of a loop counts, also of a
comprehension (`sys.settrace`). A quadratic part shows in the one or in the other unless it
hides within a single call into C, as the copying of a list does; for that, read the code.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import nir
import numpy as np
import pytest
import torch
from networks import module_of

import nirtorch_cli
from nirtorch_cli import Compiler, ConversionError, default_map, run_sequence
from nirtorch_cli.conversion.describe import describe, generated_code
from nirtorch_cli.graph.inspection import inspect
from nirtorch_cli.reading.graphs import read
from nirtorch_cli.running.engine import compiler
from nirtorch_cli.running.engine.unrolling import unrolled

torch.set_num_threads(1)

PACKAGE = str(Path(nirtorch_cli.__file__).parent)
MAP = default_map(dt=1e-4)
ONE = np.ones(1)

Work = tuple[int, int]
Nodes = dict[str, nir.NIRNode]
Edges = list[tuple[str, str]]


def work_of(function: Callable[[], Any]) -> Work:
    """How many calls were made, and how many lines of the package were executed."""
    calls = lines = 0

    def count_call(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    def count_line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return count_line

    def choose(frame: FrameType, event: str, argument: Any) -> Any:
        return count_line if frame.f_code.co_filename.startswith(PACKAGE) else None

    traced = sys.gettrace(), sys.getprofile()
    sys.settrace(choose)
    sys.setprofile(count_call)
    try:
        function()
    finally:
        sys.settrace(traced[0])
        sys.setprofile(traced[1])
    return calls, lines


def assert_doubles(small: Work, large: Work) -> None:
    ratios = [after / before for before, after in zip(small, large, strict=True)]
    assert all(1.8 < ratio < 2.3 for ratio in ratios), f"{small} became {large}, times {ratios}"


# ------------------------------------------------------------------------ shapes of graphs


def lif() -> nir.LIF:
    return nir.LIF(ONE * 1e-2, ONE, 0 * ONE, ONE)


def weights() -> nir.Affine:
    return nir.Affine(np.ones((1, 1)), ONE)


def graph_of(nodes: Nodes, edges: Edges) -> nir.NIRGraph:
    ports = {"input": nir.Input(np.array([1])), "output": nir.Output(np.array([1]))}
    return nir.NIRGraph({**ports, **nodes}, edges, type_check=False)


def chained(names: list[str]) -> Edges:
    return list(zip(["input", *names], [*names, "output"], strict=True))


def layers(names: list[str]) -> Nodes:
    return {name: (lif, weights)[place % 2]() for place, name in enumerate(names)}


def numbered(count: int, letter: str = "n") -> list[str]:
    return [f"{letter}{number:05}" for number in range(count)]


def chain(count: int) -> nir.NIRGraph:
    names = numbered(count)
    return graph_of(layers(names), chained(names))


def reversed_chain(count: int) -> nir.NIRGraph:
    names = numbered(count)[::-1]
    return graph_of(layers(names), chained(names))


def fan_in(count: int) -> nir.NIRGraph:
    names = numbered(count)
    edges = [edge for name in names for edge in (("input", name), (name, "hub"))]
    return graph_of({**layers(names), "hub": lif()}, [*edges, ("hub", "output")])


def fan_out(count: int) -> nir.NIRGraph:
    names = numbered(count)
    edges = [("hub", name) for name in names]
    return graph_of({**layers(names), "hub": lif()}, [*chained(["hub"]), *edges])


def ring(count: int) -> nir.NIRGraph:
    names = numbered(count)
    return graph_of(layers(names), [*chained(names), (names[-1], names[0])])


def ring_without_neurons(count: int) -> nir.NIRGraph:
    names = numbered(count)
    nodes: Nodes = {name: weights() for name in names}
    return graph_of(nodes, [*chained(names), (names[-1], names[0])])


def ring_of_loops(count: int) -> nir.NIRGraph:
    names = numbered(count)
    nodes: Nodes = {name: lif() for name in names}
    nodes |= {f"w{name}": weights() for name in names}
    back = [edge for name in names for edge in ((name, f"w{name}"), (f"w{name}", name))]
    return graph_of(nodes, [*chained(names), *back, (names[-1], names[0])])


def loops_side_by_side(count: int) -> nir.NIRGraph:
    names = numbered(count)
    nodes: Nodes = {name: lif() for name in names}
    nodes |= {f"w{name}": weights() for name in names}
    edges = [
        edge
        for name in names
        for edge in (("input", name), (name, f"w{name}"), (f"w{name}", name), (name, "output"))
    ]
    return graph_of(nodes, edges)


def back_to_one_node(count: int) -> nir.NIRGraph:
    names = numbered(count)
    edges = [edge for name in names for edge in (("hub", name), (name, "hub"))]
    return graph_of({**layers(names), "hub": lif()}, [*chained(["hub"]), *edges])


def deep_loops(count: int) -> nir.NIRGraph:
    """a1 -> ... -> an, and from an an edge back to every earlier node."""
    names = numbered(count)
    back = [(names[-1], name) for name in names]
    return graph_of(layers(names), [*chained(names), *back])


def deep_loops_outwards(count: int) -> nir.NIRGraph:
    """a1 -> ... -> an, and from every node an edge back to a1 and to the one before it."""
    names = numbered(count)
    back = {edge for place in range(1, count) for edge in _back(names, place)}
    return graph_of(layers(names), [*chained(names), *sorted(back)])


def _back(names: list[str], place: int) -> Edges:
    return [(names[place], names[0]), (names[place], names[place - 1])]


def loops_with_many_entries(count: int) -> nir.NIRGraph:
    names = numbered(count)
    entries = [("input", name) for name in names[1:]]
    return graph_of(layers(names), [*chained(names), (names[-1], names[0]), *entries])


def delays_in_loops(count: int) -> nir.NIRGraph:
    graph = loops_side_by_side(count)
    delays: Nodes = {n: nir.Delay(ONE * 3e-4) for n in graph.nodes if n.startswith("w")}
    return graph_of({**graph.nodes, **delays}, graph.edges)


def delays_in_a_ring(count: int) -> nir.NIRGraph:
    names = numbered(count)
    nodes: Nodes = {name: nir.Delay(ONE * 3e-4) for name in names}
    return graph_of(nodes, [*chained(names), (names[-1], names[0])])


def cell() -> nir.NIRGraph:
    nodes: Nodes = {"lif": lif(), "w": weights()}
    return graph_of(nodes, [*chained(["lif"]), ("lif", "w"), ("w", "lif")])


def nests_side_by_side(count: int) -> nir.NIRGraph:
    names = numbered(count)
    nodes: Nodes = {name: cell() for name in names}
    edges = [edge for name in names for edge in (("input", name), (name, "output"))]
    return graph_of(nodes, edges)


def nests_in_a_chain(count: int) -> nir.NIRGraph:
    names = numbered(count)
    return graph_of({name: cell() for name in names}, chained(names))


def nests_in_a_ring(count: int) -> nir.NIRGraph:
    """Each of them is inlined."""
    names = numbered(count)
    nodes: Nodes = {name: cell() for name in names}
    return graph_of(nodes, [*chained(names), (names[-1], names[0])])


def nests_in_depth(count: int) -> nir.NIRGraph:
    """At every level two nested graphs and a neuron in the same place, and a finding."""
    graph = cell()
    for _ in range(count):
        nodes: Nodes = {"a": graph, "b": cell(), "c": lif(), "lone": weights()}
        edges = [edge for name in "abc" for edge in (("input", name), (name, "output"))]
        graph = graph_of(nodes, [*edges, ("input", "a"), ("lone", "output")])
    return graph


def loops_in_depth(count: int) -> nir.NIRGraph:
    """A loop leads through each level, so that all of it is inlined."""
    graph = cell()
    for _ in range(count):
        nodes: Nodes = {"a": graph, "w": weights()}
        graph = graph_of(nodes, [*chained(["a"]), ("a", "w"), ("w", "a")])
    return graph


def duplicate_edges(count: int) -> nir.NIRGraph:
    graph = chain(count)
    return graph_of(graph.nodes, graph.edges * 3)


def silent_nodes(count: int) -> nir.NIRGraph:
    names = numbered(count)
    return graph_of(layers(names), [*chained(["x"])[:0], ("input", "output")])


def inputs_without_shape(count: int) -> nir.NIRGraph:
    names, ports = numbered(count), numbered(count, "i")
    nodes: Nodes = {name: lif() for name in names}
    nodes |= {name: nir.Input({"input": None}) for name in ports}
    nodes["w"] = weights()
    edges = [*zip(ports, names, strict=True), *((name, "w") for name in names)]
    return graph_of(nodes, [("input", "w"), ("w", "output"), *edges])


def nests_without_shape(count: int) -> nir.NIRGraph:
    """Nothing is known at the top, and each level would be inferred twice by the careless."""
    graph: nir.NIRNode = weights()
    for _ in range(count):
        port: Nodes = {"input": nir.Input({"input": None}), "a": graph, "b": lif()}
        graph = graph_of(port, [("input", "b"), ("b", "a"), ("a", "output")])
    assert isinstance(graph, nir.NIRGraph)
    return graph


def dangling_edges(count: int) -> nir.NIRGraph:
    graph = chain(count)
    dangling = [(name, f"{name}?") for name in numbered(count)]
    return graph_of(graph.nodes, [*graph.edges, *dangling])


def contradictions(count: int) -> nir.NIRGraph:
    graph = fan_in(count)
    two = nir.Linear(np.ones((2, 1)))
    return graph_of({**graph.nodes, **dict.fromkeys(numbered(count)[::2], two)}, graph.edges)


class Unmapped(nir.NIRNode):
    """A type that no map knows."""

    def __init__(self) -> None:
        self.input_type = self.output_type = {"output": ONE}


def unmapped_nodes(count: int) -> nir.NIRGraph:
    graph = chain(count)
    return graph_of({**graph.nodes, **{name: Unmapped() for name in numbered(count)}}, graph.edges)


SOUND = [
    (chain, 200),
    (reversed_chain, 200),
    (fan_in, 200),
    (fan_out, 200),
    (ring, 200),
    (ring_without_neurons, 200),
    (ring_of_loops, 100),
    (loops_side_by_side, 100),
    (back_to_one_node, 150),
    (deep_loops, 150),
    (deep_loops_outwards, 150),
    (loops_with_many_entries, 150),
    (delays_in_loops, 100),
    (delays_in_a_ring, 150),
    (nests_side_by_side, 30),
    (nests_in_a_chain, 30),
    (nests_in_a_ring, 50),
    (nests_in_depth, 15),
    (nests_in_depth, 40),
    (loops_in_depth, 15),
    (loops_in_depth, 40),
    (duplicate_edges, 200),
    (silent_nodes, 200),
]
"""Graphs that can be converted, and how many nodes, loops or nests of them to begin with."""

SHAPELESS = [(inputs_without_shape, 100), (nests_without_shape, 15), (nests_without_shape, 40)]
"""Graphs that no file can hold: nir stores no Input without a shape."""

UNSOUND = [(dangling_edges, 200), (contradictions, 200), (unmapped_nodes, 200)]

Maker = Callable[[int], nir.NIRGraph]


def convert(graph: nir.NIRGraph | Path) -> torch.fx.GraphModule:
    return module_of(graph, {}, MAP)


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """What happens only once in a process is not counted."""
    for maker in (ring, nests_in_a_ring, delays_in_loops):
        pickle.loads(pickle.dumps(convert(maker(2))))


@pytest.mark.parametrize(("maker", "count"), SOUND + SHAPELESS)
def test_converting(maker: Maker, count: int) -> None:
    small, large = maker(count), maker(2 * count)
    assert_doubles(work_of(lambda: convert(small)), work_of(lambda: convert(large)))


@pytest.mark.parametrize(("maker", "count"), UNSOUND)
def test_refusing(maker: Maker, count: int) -> None:
    def refuse(graph: nir.NIRGraph) -> None:
        with pytest.raises(ConversionError) as caught:
            convert(graph)
        assert len(caught.value.findings) >= count // 2

    small, large = maker(count), maker(2 * count)
    assert_doubles(work_of(lambda: refuse(small)), work_of(lambda: refuse(large)))


FROM_FILES = [
    (chain, 100),
    (fan_in, 100),
    (ring_of_loops, 60),
    (deep_loops, 100),
    (delays_in_loops, 60),
    (nests_in_a_ring, 25),
    (nests_in_depth, 15),
    (loops_in_depth, 15),
    (duplicate_edges, 100),
]


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Maker, int], Path]:
    def write(maker: Maker, count: int) -> Path:
        path = tmp_path / f"{count}.nir"
        nir.write(path, maker(count))
        return path

    return write


@pytest.mark.parametrize(("maker", "count"), FROM_FILES)
def test_converting_a_file(maker: Maker, count: int, written: Any) -> None:
    small, large = written(maker, count), written(maker, 2 * count)
    assert_doubles(work_of(lambda: convert(small)), work_of(lambda: convert(large)))


@pytest.mark.parametrize(("maker", "count"), [*FROM_FILES, (dangling_edges, 100)])
def test_inspecting_a_file(maker: Maker, count: int, written: Any) -> None:
    small, large = written(maker, count), written(maker, 2 * count)
    assert_doubles(work_of(lambda: inspect(read(small))), work_of(lambda: inspect(read(large))))


STORED = [(chain, 150), (ring_of_loops, 60), (fan_in, 150), (nests_in_a_chain, 25)]


@pytest.mark.parametrize(("maker", "count"), [*STORED, (nests_in_depth, 15)])
def test_pickling(maker: Maker, count: int) -> None:
    small, large = convert(maker(count)), convert(maker(2 * count))
    assert_doubles(
        work_of(lambda: pickle.loads(pickle.dumps(small))),
        work_of(lambda: pickle.loads(pickle.dumps(large))),
    )


@pytest.mark.parametrize(("maker", "count"), STORED)
def test_describing(maker: Maker, count: int) -> None:
    def read_out(module: Any) -> None:
        assert len(list(describe(module))) > count
        assert list(generated_code(module))

    small, large = convert(maker(count)), convert(maker(2 * count))
    assert_doubles(work_of(lambda: read_out(small)), work_of(lambda: read_out(large)))


RUNNING = [case for case in SOUND if case != (loops_in_depth, 15)]  # too small to show


@pytest.mark.parametrize("record", [[], ["*"]], ids=["nothing", "all"])
@pytest.mark.parametrize(("maker", "count"), RUNNING)
def test_running(maker: Maker, count: int, record: list[str]) -> None:
    """Without gradients and with: in place, and as the graph says it."""

    def run(module: Any) -> None:
        for gradients in (False, True):
            with torch.set_grad_enabled(gradients):
                run_sequence(module, torch.ones(3, 1, 1), record=record)

    small, large = convert(maker(count)), convert(maker(2 * count))
    run(small)
    assert_doubles(work_of(lambda: run(small)), work_of(lambda: run(large)))


@pytest.mark.parametrize(("maker", "count"), [(ring, 40), (loops_with_many_entries, 40)])
def test_unrolling(maker: Maker, count: int) -> None:
    """What is compiled grows with the steps and with the calls of a loop."""

    def unroll(module: Any, steps: int) -> None:
        made = Compiler(steps, backend="eager")
        run_sequence(module, torch.ones(steps + 1, 1, 1), compiler=made)

    def work(count: int, steps: int) -> Work:
        module, loops = convert(maker(count)), []
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(torch, "compile", lambda module, **options: module)
            patched.setattr(compiler, "unrolled", lambda loop, steps: loops.append(loop) or 1 / 0)
            unroll(module, steps)
        return work_of(lambda: unrolled(loops[0], steps))

    assert_doubles(work(count, 8), work(count, 16))
    assert_doubles(work(count, 8), work(2 * count, 8))


def test_the_count_shows_quadratic_work() -> None:
    """The counting is tried on work that is not linear, in calls and in lines."""

    def calls(count: int) -> Work:
        return work_of(lambda: [len("") for _ in range(count) for _ in range(count)])

    ratio = calls(60)[0] / calls(30)[0]
    assert ratio > 3
    names = numbered(40)
    everywhere = {name: {other: [] for other in names} for name in names}
    small, large = ({n: list(everywhere[n])[:size] for n in names[:size]} for size in (20, 40))
    from nirtorch_cli.graph.loops import components

    lines = [work_of(lambda g=graph: list(components(g, g)))[1] for graph in (small, large)]
    assert lines[1] / lines[0] > 3
