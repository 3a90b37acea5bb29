"""Faults in reading, repairing and feeding that were planted once and not noticed.

As `test_planted`, for what is in files: text, axes, structure, lengths of a step. Each test says
the right value; what was planted stands in its docstring.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import oracles
import pytest
import torch
from files import (
    Tree,
    chain,
    flatten,
    inlet,
    lif,
    linear,
    model,
    outlet,
    scale,
    sound,
    with_,
    write,
)
from networks import module_of, weights
from typer.testing import CliRunner, Result

from nirtorch_cli import NirtorchError, default_map, nir_to_torch, run_sequence
from nirtorch_cli.cli.app import app
from nirtorch_cli.reading.graphs import read

DT = 1e-4


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


# -------------------------------------------------------------------------------- flatten


def flattening(
    shape: tuple[int, ...],
    start: int,
    *after: nir.NIRNode,
    counted: tuple[int, ...] | None = None,
    out: tuple[int, ...] | None = None,
) -> nir.NIRGraph:
    """An Input and a Flatten that feeds some nodes, each with an Output."""
    declared = {"input": np.array(shape if counted is None else counted)}
    nodes: dict[str, Any] = {"input": nir.Input(np.array(shape))}
    nodes["flatten"] = nir.Flatten(declared, start, -1)
    edges = [("input", "flatten")]
    for number, node in enumerate(after):
        nodes |= {f"n{number}": node}
        nodes |= {f"output{number}": nir.Output(None if out is None else np.array(out))}
        edges += itertools.pairwise(["flatten", f"n{number}", f"output{number}"])
    if not after:
        nodes["output"] = nir.Output(None if out is None else np.array(out))
        edges.append(("flatten", "output"))
    return nir.NIRGraph(nodes, edges, type_check=False)


ONES = nir.Scale(np.ones((2, 12)))
ROWS = nir.LIF(*(np.full((1, 5), value) for value in (1e-2, 1.0, 0.0, 1.0)))


@pytest.mark.parametrize(
    ("graph", "gives", "is_shifted"),
    [
        pytest.param(flattening((2, 3, 4), 1), (2, 12), False, id="nothing follows"),
        pytest.param(flattening((2, 3, 4), 1, out=(2, 12)), (2, 12), False, id="Output agrees"),
        pytest.param(flattening((2, 3, 4), 1, out=(24,)), (24,), True, id="Output says all"),
        pytest.param(flattening((2, 3, 4), 1, ONES), (2, 12), False, id="Scale agrees"),
        pytest.param(
            flattening((2, 3, 4), 1, nir.Linear(weights(5, 24))), (24,), True, id="Linear takes all"
        ),
        pytest.param(
            flattening((2, 3, 4), 1, nir.Linear(weights(5, 12))), (2, 12), False, id="of each row"
        ),
        pytest.param(
            flattening((2, 3, 4), 1, nir.Linear(weights(5, 24)), counted=(1, 2, 3, 4)),
            (24,), True, id="declared with the batch axis",
        ),
        pytest.param(flattening((2, 3, 4), 0), (24,), False, id="all axes"),
        pytest.param(flattening((2, 3, 4), 3), (2, 3, 4), True, id="no such axis"),
        pytest.param(
            flattening((1, 24), 1, nir.Linear(weights(5, 24)), out=(1, 5)), (1, 24), False,
            id="one row, as the Output says",
        ),
        pytest.param(
            flattening((1, 4, 6), 1, nir.Linear(weights(5, 24)), out=(5,)), (24,), True,
            id="one channel, as the Output says",
        ),
        pytest.param(
            flattening((1, 24), 1, nir.NIRGraph.from_list(nir.Linear(weights(5, 24)))), (24,), True,
            id="one channel, and nothing says",
        ),
    ],
)  # fmt: skip
def test_a_flatten_counts_the_batch_axis_only_where_nothing_else_fits(
    graph: nir.NIRGraph, gives: tuple[int, ...], is_shifted: bool
) -> None:
    """Planted: the axes are shifted wherever they then fit, or the plain ones are not asked for."""
    module: Any = module_of(graph, {}, dtype=torch.float64)
    assert module.meta["shapes"]["flatten"][1] == gives
    found = [f["node"] for f in module.meta["findings"] if f["code"] == "NIR204"]
    assert found == (["flatten"] if is_shifted else [])
    assert not [f for f in module.meta["findings"] if f["code"] in ("NIR202", "NIR208")]
    shape = module.meta["shapes"]["input"][1]
    x = torch.arange(2.0 * np.prod(shape), dtype=torch.float64).reshape(2, *shape)
    values = run_sequence(module, x.unsqueeze(0), record=["flatten"]).trace["flatten"]["output"]
    assert torch.equal(values[0], x.reshape(2, *gives))


def test_a_flatten_followed_by_both_is_taken_as_it_stands() -> None:
    graph = flattening((2, 3, 4), 1, nir.Linear(weights(5, 24)), ONES)
    with pytest.raises(NirtorchError) as caught:
        nir_to_torch(graph, {})
    assert str(caught.value).startswith(
        "node 'n0': Linear has weights for inputs of shape (24,) (and gives (5,)), "
        "but its input has (2, 12)"
    )
    follows = flattening((1, 24), 1, nir.Linear(weights(5, 24)))
    follows.nodes |= {"lif": ROWS}
    follows.edges = [("input", "flatten"), ("flatten", "n0"), ("n0", "lif"), ("lif", "output0")]
    module = module_of(follows, {})
    assert module.meta["shapes"]["output0"][1] == (1, 5)
    assert not [f for f in module.meta["findings"] if f["code"] in ("NIR204", "NIR208")]


AXES = [*itertools.product([0, 1, 2, -3, -2, -1], [2, 1, -1, -2])]


@pytest.mark.parametrize("axes", AXES, ids=str)
def test_a_flatten_is_written_so_that_nir_reads_the_same(axes: tuple[int, int]) -> None:
    """Planted: a start that is counted from the back is written as it is, which nir misreads."""
    start, end = axes
    first, last = start % 3, end % 3
    if first > last:
        return
    shape = (2, 3, 4)
    gives = (*shape[:first], int(np.prod(shape[first : last + 1])), *shape[last + 1 :])
    tree = chain(
        input=inlet(2, 3, 4), flatten=flatten(shape, start, end), scale=scale(1.0),
        output=outlet(*gives),
    )  # fmt: skip
    write(Path("a.nir"), with_(tree, "node/nodes/scale/scale", np.full(gives, 0.5, np.float32)))
    answer = invoke("repair", "a.nir", "-o", "b.nir")
    assert answer.exit_code == 0, answer.output
    again = nir.read("b.nir", type_check=True).nodes["flatten"]
    assert int(again.start_dim) == first, "counted from the front"
    assert int(again.end_dim) in (last, -1 if last == 2 else last)
    assert tuple(again.output_type["output"]) == gives
    x = np.arange(24.0).reshape(1, 1, *shape)
    expected = 0.5 * x.reshape(1, 1, *gives)
    for name in ("a.nir", "b.nir"):
        module: Any = module_of(name, {})
        found = run_sequence(module, torch.from_numpy(x).float()).outputs.detach()
        oracles.assert_close(found, expected, rtol=0, atol=0)


# ---------------------------------------------------------------------------- text in files


def patched(path: Path, old: bytes, new: bytes) -> None:
    """Bytes of a file put in place of others, as h5py would not write them."""
    content = path.read_bytes()
    assert len(old) == len(new)
    assert old in content
    path.write_bytes(content.replace(old, new))


def as_h5py_reads(path: str, place: str) -> str:
    with h5py.File(path) as file:
        return file[place][()].decode()


def test_a_text_ends_at_its_first_nul() -> None:
    """Planted: the NUL and what follows it are kept, so that a type or a name is another."""
    write(Path("a.nir"), with_(sound(), "node/nodes/lif/type", "LIFxjunk"))
    patched(Path("a.nir"), b"LIFxjunk", b"LIF\0junk")
    assert as_h5py_reads("a.nir", "node/nodes/lif/type") == "LIF"
    file = read("a.nir")
    assert type(file.graph.nodes["lif"]) is nir.LIF
    assert file.findings == read(write(Path("s.nir"), sound())).findings
    for command in ("inspect", "check", "convert"):
        answer = invoke(command, "a.nir")
        assert answer.exit_code == 0, answer.output
        assert "junk" not in answer.output


def test_edges_and_metadata_end_at_their_first_nul() -> None:
    tree = model(
        {"inputxx": inlet(2), "lif": lif(2), "output": outlet(2)},
        [("inputxx", "lif"), ("lif", "outputyjunk")],
    )
    tree = with_(tree, "node/metadata", {"author": "somexbody"})
    write(Path("a.nir"), tree)
    patched(Path("a.nir"), b"outputyjunk", b"output\0junk")
    patched(Path("a.nir"), b"somexbody", b"some\0body")
    graph = read("a.nir").graph
    assert sorted(graph.edges) == [("inputxx", "lif"), ("lif", "output")]
    assert (
        graph.metadata
        == {"author": "some"}
        == {"author": as_h5py_reads("a.nir", "node/metadata/author")}
    )
    document = json.loads(invoke("inspect", "a.nir", "--json").stdout)
    assert "\\u0000" not in json.dumps(document)


@pytest.mark.parametrize("letter", ["\x01", "\n", "\r", "\t", "\x1b[31m", "\x7f", "\x85", "\u2028"])
@pytest.mark.parametrize("place", ["name", "type", "metadata"])
def test_control_characters_reach_no_terminal(letter: str, place: str) -> None:
    """NUL's neighbours are kept, as they are part of the name, and shown escaped."""
    name = f"li{letter}f" if place == "name" else "lif"
    nodes: Tree = {"input": inlet(2), name: lif(2), "output": outlet(2)}
    tree = model(nodes, [("input", name), (name, "output")])
    if place == "type":
        tree["node"]["nodes"][name]["type"] = f"L{letter}IF"
    if place == "metadata":
        tree["node"]["metadata"] = {"author": f"some{letter}body"}
    write(Path("a.nir"), tree)
    if place != "type":
        graph = read("a.nir").graph
        assert name in graph.nodes
        assert graph.metadata == ({} if place == "name" else {"author": f"some{letter}body"})
    for command in ("inspect", "check", "convert", "repair"):
        answer = invoke(command, "a.nir")
        # A type that nobody knows is named; one that differs in such a letter only is taken for it.
        assert answer.exit_code in ((0,) if place != "type" else (0, 1)), answer.output
        assert not re.search(r"li\nf|some\nbody|L\nIF", answer.output)
        assert not any(c in answer.output for c in "\x01\r\x1b\x7f\x85\u2028")
        if place == "name" and command in ("inspect", "convert"):
            assert ascii(name)[1:-1] in answer.output


# -------------------------------------------------------------------- which repair has one meaning


def structure(path: str) -> tuple[dict[str, str], set[tuple[str, str]]]:
    graph = nir.read(path, type_check=False)
    return {n: type(node).__name__ for n, node in graph.nodes.items()}, set(graph.edges)


def test_a_missing_name_is_taken_for_a_node_only_where_no_port_could_be_meant() -> None:
    """Planted: it is enough that the graph has an Input or an Output, instead of both."""
    nodes: Tree = {"input": inlet(2), "a": lif(2), "b": lif(2), "output": outlet(2)}
    edges = [("input", "a"), ("a", "x"), ("x", "output")]
    write(Path("both.nir"), model(nodes, edges))
    answer = invoke("repair", "both.nir", "-o", "repaired.nir")
    assert answer.exit_code == 0, answer.output
    assert structure("repaired.nir")[1] == {("input", "a"), ("a", "b"), ("b", "output")}
    for missing, left in (("input", [("x", "a"), ("a", "output")]),
                          ("output", [("input", "a"), ("a", "x")])):  # fmt: skip
        few = {name: node for name, node in nodes.items() if name != missing}
        write(Path("one.nir"), model(few, left))
        for command in ("repair", "check", "convert"):
            answer = invoke(command, "one.nir")
            assert answer.exit_code == 1, answer.output
            assert "NIR101" in answer.output or "'x', which names no node" in answer.output
            assert "missing-node" not in answer.output
    neither = {name: nodes[name] for name in ("a", "b")}
    write(Path("none.nir"), model(neither, [("x", "a")]))
    assert invoke("repair", "none.nir").exit_code == 1


@pytest.mark.parametrize(
    ("alone", "edges"),
    [
        pytest.param(inlet(2), [("input", "a"), ("a", "x"), ("a", "output")], id="into an Input"),
        pytest.param(outlet(2), [("input", "a"), ("x", "a"), ("a", "output")], id="from an Output"),
        pytest.param(inlet(2), [("input", "a"), ("a", "x"), ("x", "output")], id="through one"),
    ],
)
def test_a_port_is_meant_by_no_edge_to_its_closed_side(
    alone: Tree, edges: list[tuple[str, str]]
) -> None:
    """Planted: either side of the one node without an edge is accepted."""
    nodes: Tree = {"input": inlet(2), "a": lif(2), "b": alone, "output": outlet(2)}
    write(Path("a.nir"), model(nodes, edges))
    answer = invoke("repair", "a.nir")
    assert answer.exit_code == 1, answer.output
    assert "missing-node" not in answer.output


@pytest.mark.parametrize("port", ["input", "output"])
@pytest.mark.parametrize("is_there", [False, True], ids=["missing", "unconnected"])
def test_a_node_without_any_edge_is_no_open_end(port: str, is_there: bool) -> None:
    """Planted: an isolated node counts as open too, so that nothing is the only one."""
    nodes: Tree = {"input": inlet(2), "a": lif(2), "b": lif(2), "idle": lif(2), "output": outlet(2)}
    edges = [("input", "a"), ("a", "b"), ("b", "output")]
    kept = [edge for edge in edges if port not in edge]
    beside = ("input", "a") if port == "input" else ("b", "output")
    if not is_there:
        del nodes[port]
    write(Path("a.nir"), model(nodes, kept))
    module: Any = module_of("a.nir", {})
    codes = {f["repair"] for f in module.meta["findings"]} - {None}
    assert codes == {"unconnected-port" if is_there else "missing-port"}
    answer = invoke("repair", "a.nir", "-o", "b.nir")
    assert answer.exit_code == 0, answer.output
    types, written = structure("b.nir")
    assert written == {*kept, beside}
    assert types["idle"] == "LIF"
    only: Tree = {"only": lif(2)}  # unless it is the one node that there is
    write(Path("c.nir"), model(only, []))
    assert invoke("repair", "c.nir", "-o", "d.nir").exit_code == 0
    assert structure("d.nir")[1] == {("input", "only"), ("only", "output")}


# -------------------------------------------------------------------------------- order of axes


def test_arrays_in_fortran_order_are_read_axis_by_axis() -> None:
    """Planted: the order of a .npy file is ignored, so that its axes are exchanged."""
    size = 3
    write(Path("m.nir"), chain(input=inlet(size), w=linear(2, size), output=outlet(2)))
    values = np.arange(5.0 * 5 * size, dtype=np.float32).reshape(
        5, 5, size
    )  # square: no shape tells
    expected = 0.5 * np.repeat(values.sum(-1, keepdims=True), 2, axis=-1)
    for name, array in {
        "c": values,
        "fortran": np.asfortranarray(values),
        "backwards": np.ascontiguousarray(values[::-1])[::-1],
        "swapped": np.ascontiguousarray(values.swapaxes(0, 1)).swapaxes(0, 1),
        "big_endian": np.asfortranarray(values.astype(">f8")),
    }.items():
        np.save(f"{name}.npy", array)
        np.savez(f"{name}.npz", x=array)
        for file in (f"{name}.npy", f"{name}.npz"):
            answer = invoke("run", "m.nir", "--input", file, "-o", "out.npz", "--quiet")
            assert answer.exit_code == 0, answer.output
            with np.load("out.npz") as out:
                assert np.array_equal(out["output"], expected), file


@pytest.mark.parametrize("order", [np.asfortranarray, lambda a: a[::-1, ::-1][::-1, ::-1],
                                   lambda a: np.repeat(a, 2, 0)[::2]])  # fmt: skip
def test_arrays_in_memory_are_read_axis_by_axis(order: Callable[[Any], Any]) -> None:
    shape = (3, 3)
    nodes = [
        nir.Linear(order(weights(3, 3))),
        nir.Affine(order(weights(3, 3)), np.ones(3)),
        nir.Scale(order(weights(*shape))),
        nir.Threshold(order(weights(*shape))),
        nir.Delay(order(np.arange(9.0).reshape(shape)) * DT),
        nir.LIF(*(order(1 + np.abs(weights(*shape, seed=seed))) for seed in range(5))),
        nir.Conv2d((3, 3), order(weights(9, 9)).reshape(9, 1, 3, 3), 1, 1, 1, 9, np.zeros(9)),
    ]
    for node in nodes:
        given = (9, 3, 3) if isinstance(node, nir.Conv2d) else shape
        x = 3 * weights(12, *given, seed=7)
        expected = oracles.step_response(node, x, dt=DT)
        ports = nir.Input(np.array(given)), nir.Output(np.array(expected.shape[1:]))
        nodes_of_graph = {"input": ports[0], "n": node, "output": ports[1]}
        edges = [("input", "n"), ("n", "output")]
        graph = nir.NIRGraph(nodes_of_graph, edges, type_check=False)
        nir.write("a.nir", graph)
        for source in (graph, "a.nir"):
            with_dt = module_of(source, {}, default_map(dt=DT), dtype=torch.float64)
            found = run_sequence(
                with_dt, torch.from_numpy(order(x.reshape(12, -1)).reshape(x.shape))
            )
            oracles.assert_close(found.outputs.detach(), expected, rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------------- lengths of a step

STEP = 1e-3
NEAR = [(1.0, True), (1 + 1e-8, True), (1.01, False), (0.99, False), (1.1, False), (0.9, False),
        (1.0001, False), (2.0, False), (10.0, False)]  # fmt: skip


def slow() -> Tree:
    """A model whose time constant is longer than all steps here."""
    return with_(sound(), "node/nodes/lif/tau", np.full(2, 1.0, np.float32))


@pytest.mark.parametrize(("factor", "is_same"), NEAR, ids=str)
@pytest.mark.parametrize("kind", ["npz", "npz of float32", "nir"])
def test_a_signal_of_another_step_than_the_models_is_refused(
    kind: str, factor: float, is_same: bool
) -> None:
    """Planted: a difference of up to 10% between signal and model is accepted."""
    write(Path("m.nir"), slow())
    values, dt = np.ones((4, 1, 3), np.float32), STEP * factor
    if kind == "nir":
        node = nir.NIRNodeData({"x": nir.TimeGriddedData(values.swapaxes(0, 1), dt)})
        nir.write_data("x.nir", nir.NIRGraphData({"input": node}))
        file = "x.nir"
    else:
        np.savez("x.npz", x=values, dt=np.float32(dt) if "float32" in kind else dt)
        file = "x.npz"
    answer = invoke("run", "m.nir", "--dt", str(STEP), "--input", file, "--quiet")
    assert answer.exit_code == (0 if is_same else 2), answer.output
    line = f"was recorded at dt {dt:g}, and the model runs at dt 0.001; give --dt {dt:g}"
    assert (line in answer.output) is not is_same
    if not is_same:
        assert invoke("run", "m.nir", "--dt", str(dt), "--input", file, "--quiet").exit_code == 0


@pytest.mark.parametrize(("factor", "is_same"), NEAR, ids=str)
def test_a_state_made_with_another_step_is_said(factor: float, is_same: bool) -> None:
    write(Path("m.nir"), slow())
    made = invoke(
        "run",
        "m.nir",
        "--dt",
        str(STEP * factor),
        "--input",
        "constant:1",
        "--steps",
        "3",
        "--state-out",
        "s.npz",
    )
    assert made.exit_code == 0, made.output
    arguments = (
        "run",
        "m.nir",
        "--dt",
        str(STEP),
        "--input",
        "constant:1",
        "--steps",
        "3",
        "--state-in",
        "s.npz",
    )
    answer = invoke(*arguments)
    assert answer.exit_code == 0
    assert ("was made with dt" in answer.output) is not is_same


@pytest.mark.parametrize(("factor", "is_same"), NEAR, ids=str)
def test_a_trace_of_another_step_has_no_common_grid(factor: float, is_same: bool) -> None:
    write(Path("m.nir"), slow())
    dt = STEP * factor
    run = (
        "run",
        "m.nir",
        "--dt",
        str(dt),
        "--input",
        "constant:1",
        "--steps",
        "20",
        "--record",
        "lif",
        "-o",
        "t.npz",
    )
    assert invoke(*run).exit_code == 0
    answer = invoke(
        "compare", f"default,dt={STEP}", f"trace:t.npz,dt={dt}", "--model", "m.nir", "--quiet"
    )
    is_multiple = factor in (2.0, 10.0)
    refused = f"the steps {STEP:g} and {dt:g} have no common grid"
    assert (refused in answer.output) is not (is_same or is_multiple), answer.output
