"""Each repair by a smallest file that it repairs, the sound file it should equal, and one where
nothing says which of several outcomes is meant.

What is repaired must give the numbers of the sound file, be refused where repairs are turned
off, and be written as a file that nir reads with its type check on.
"""

from __future__ import annotations

import copy
import io
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import nir
import numpy as np
import pytest
import torch
from files import (
    Tree,
    chain,
    conv,
    flatten,
    graph,
    inlet,
    lif,
    linear,
    loop,
    model,
    nested,
    outlet,
    scale,
    sound,
    with_,
    write,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NETWORKS, contents, converted, module_of
from sequences import run_steps

from nirtorch_cli import nir_to_torch
from nirtorch_cli.conversion.artefacts.nir import exported, repair
from nirtorch_cli.findings.errors import ConversionError, ReadError, ShapeError, StructureError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.rules import load_repairs
from nirtorch_cli.graph.repairs import repaired
from nirtorch_cli.graph.sound import errors_in, examined, required_sound
from nirtorch_cli.reading.graphs import read

REPAIRS = load_repairs()
ROW = {"i": inlet(2), "a": lif(2), "b": scale(1, 2), "o": outlet(2)}
EDGES = list(pairwise(ROW))
PIXELS = chain(
    input=inlet(2, 5, 6), conv=conv((3, 2, 3, 3)), flatten=flatten((3, 3, 4), 0), w=linear(2, 36),
    output=outlet(2),
)  # fmt: skip


FLATTEN = "node/nodes/flatten"


def threshold(value: Any) -> Tree:
    return {"type": "Threshold", "threshold": value}


def without(*names: str) -> Tree:
    return {name: node for name, node in ROW.items() if name not in names}


AFFINE = with_(
    sound(), "node/nodes/w", {**linear(2, 3), "type": "Affine", "bias": np.full(2, 0.25, "f4")}
)

WITHIN = {"i": inlet(2), "w": linear(2, 2), "a": lif(2), "o": outlet(2)}
NEST = nested(graph(WITHIN, [("i", "a"), ("a", "w"), ("w", "a"), ("a", "o")]))
FLAT_NEST = model(
    {
        "input": inlet(2),
        "output": outlet(2),
        **{f"n.{name}": node for name, node in WITHIN.items()},
    },
    [
        ("input", "n"),
        ("n", "output"),
        ("n.i", "n.a"),
        ("n.a", "n.w"),
        ("n.w", "n.a"),
        ("n.a", "n.o"),
    ],
)


def inside(tree: Tree) -> Tree:
    return nested(tree["node"])


Case = tuple[str, str, Tree, Tree]
CASES: dict[str, Case] = {
    "duplicate": ("duplicate-edges", "NIR104", loop(("input", "lif")), loop()),
    "duplicates": ("duplicate-edges", "NIR104", loop(("input", "lif"), ("lif", "output")), loop()),
    "renamed": (
        "missing-node", "NIR101",
        model(ROW, [("i", "x"), ("x", "b"), ("b", "o")]),
        model(ROW, EDGES),
    ),
    "renamed output": (
        "missing-node", "NIR101",
        model(ROW, [("i", "a"), ("a", "b"), ("b", "x")]),
        model(ROW, EDGES),
    ),
    "renamed input": (
        "missing-node", "NIR101",
        model(ROW, [("x", "a"), ("a", "b"), ("b", "o")]),
        model(ROW, EDGES),
    ),
    "renamed in a nest": (
        "missing-node", "NIR101",
        inside(model(ROW, [("i", "x"), ("x", "b"), ("b", "o"), ("b", "x")])),
        inside(model(ROW, [*EDGES, ("b", "a")])),
    ),
    "no output": ("missing-port", "NIR103", model(without("o"), EDGES[:2]), model(ROW, EDGES)),
    "no input": ("missing-port", "NIR102", model(without("i"), EDGES[1:]), model(ROW, EDGES)),
    "no output in a nest": (
        "missing-port", "NIR103",
        inside(model(without("o"), EDGES[:2])),
        inside(model(ROW, EDGES)),
    ),
    "no node for an input": (
        "missing-port", "NIR101", model(without("i"), EDGES), model(ROW, EDGES)
    ),
    "no node for ports": (
        "missing-port", "NIR101",
        model(without("i", "o"), [*EDGES, ("b", "a")]),
        model(ROW, [*EDGES, ("b", "a")]),
    ),
    "only a neuron": (
        "missing-port", "NIR102",
        model({"a": lif(2)}, []),
        model({"i": inlet(2), "a": lif(2), "o": outlet(2)}, [("i", "a"), ("a", "o")]),
    ),
    "open output": ("unconnected-port", "NIR106", model(ROW, EDGES[:2]), model(ROW, EDGES)),
    "open input": ("unconnected-port", "NIR106", model(ROW, EDGES[1:]), model(ROW, EDGES)),
    "stale output": (
        "stale-shape", "NIR202",
        with_(sound(), "node/nodes/output/shape", np.array([1, 1, 2])), sound(),
    ),
    "stale input": (
        "stale-shape", "NIR202",
        with_(sound(), "node/nodes/input/shape", np.array([1, 3])), sound(),
    ),
    "stale convolution": (
        "stale-shape", "NIR202",
        with_(PIXELS, "node/nodes/conv/input_shape", np.array([9, 9])), PIXELS,
    ),
    "convolution": (
        "conv-input-shape", "NIR207",
        with_(PIXELS, "node/nodes/conv/input_shape", None), PIXELS,
    ),
    "flatten": (
        "flatten-batch-axis", "NIR204",
        with_(PIXELS, "node/nodes/flatten", flatten((1, 3, 3, 4), 1)), PIXELS,
    ),
    "flatten by what follows": (
        "flatten-batch-axis", "NIR204",
        with_(with_(PIXELS, f"{FLATTEN}/start_dim", 1), f"{FLATTEN}/input_type", None),
        PIXELS,
    ),
    "one number": (
        "scalar-parameters", "NIR013",
        with_(sound(), "node/nodes/lif/tau", np.float32(5e-4)), sound(),
    ),
    "one number in an array": (
        "scalar-parameters", "NIR013",
        with_(sound(), "node/nodes/lif/r", np.full(1, 5, "f4")), sound(),
    ),
    "numbers for a layer": (
        "scalar-parameters", "NIR206",
        chain(input=inlet(2, 3), a=lif(1), output=outlet(2, 3)),
        chain(input=inlet(2, 3), a=lif((2, 3)), output=outlet(2, 3)),
    ),
    "numbers for channels": (
        "scalar-parameters", "NIR206",
        chain(input=inlet(2, 3), a=lif((2, 1)), output=outlet(2, 3)),
        chain(input=inlet(2, 3), a=lif((2, 3)), output=outlet(2, 3)),
    ),
    "a number for a threshold": (
        "scalar-parameters", "NIR206",
        chain(input=inlet(2), t=threshold(0.5), output=outlet(2)),
        chain(input=inlet(2), t=threshold(np.full(2, 0.5)), output=outlet(2)),
    ),
    "a column beside rows": (
        "size-one-axes", "NIR013",
        with_(sound(), "node/nodes/lif/tau", np.full((2, 1), 5e-4, "f4")), sound(),
    ),
    "a batch of one in a neuron": (
        "size-one-axes", "NIR208",
        with_(sound(), "node/nodes/lif", lif((1, 2))), sound(),
    ),
    "a batch before a convolution": (
        "stale-shape", "NIR202",
        with_(
            with_(PIXELS, "node/nodes/input/shape", np.array([7, 2, 5, 6])),
            "node/nodes/output/shape", np.array([7, 2]),
        ),
        PIXELS,
    ),
    "a bias for all outputs": (
        "scalar-parameters", "NIR206",
        with_(AFFINE, "node/nodes/w/bias", np.float32(0.25)), AFFINE,
    ),
    "a nest written flat": ("flattened-nest", "NIR101", FLAT_NEST, NEST),
    "a nest in a nest written flat": (
        "flattened-nest", "NIR101",
        chain(
            input=inlet(2), **{"n.i": inlet(2), "n.m.i": inlet(2), "n.m.a": lif(2)},
            output=outlet(2),
        ) | {"node": graph(
            {"input": inlet(2), "output": outlet(2), "n.i": inlet(2), "n.o": outlet(2),
             "n.m.i": inlet(2), "n.m.a": lif(2), "n.m.o": outlet(2)},
            [("input", "n"), ("n", "output"), ("n.i", "n.m"), ("n.m", "n.o"),
             ("n.m.i", "n.m.a"), ("n.m.a", "n.m.o")],
        )},
        nested(nested(graph({"i": inlet(2), "a": lif(2), "o": outlet(2)},
                            [("i", "a"), ("a", "o")]))["node"]),
    ),
    "a slash": (
        "slash-in-name", "NIR019",
        chain(input=inlet(3), **{"block/w": linear(2, 3), "block/lif": lif(2)}, output=outlet(2)),
        sound(),
    ),
}  # fmt: skip
"""By name: the repair, its code, the damaged file and the sound one that is meant."""

AMBIGUOUS: dict[str, Tree] = {
    "two nodes could be meant": model(
        {**ROW, "c": lif(2)}, [("i", "x"), ("x", "o")]
    ),
    "two names are missing": model(ROW, [("i", "x"), ("y", "b"), ("b", "o")]),
    "an output cannot be heard": model(ROW, [("i", "a"), ("a", "b"), ("x", "b")]),
    "an input cannot hear": model(ROW, [("b", "x"), ("a", "b"), ("b", "o")]),
    "no node is left over": model(ROW, [*EDGES, ("a", "x")]),
    "a node or the input": model(without("i"), [("x", "b"), ("b", "o")]),
    "two could be the input": model(without("i"), [("x", "a"), ("y", "a"), *EDGES[1:]]),
    "two places for an output": model({**without("o"), "c": lif(2)}, [*EDGES[:2], ("a", "c")]),
    "two places for an input": model({**without("i"), "c": lif(2)}, [*EDGES[1:], ("c", "b")]),
    "a loop without a way in": model(without("i"), [*EDGES[1:], ("b", "a")]),
    "a loop without a way out": model(without("o"), [*EDGES[:2], ("b", "a")]),
    "two nodes without any edge": model({"a": lif(2), "b": lif(2)}, []),
    "two outputs, one open": model({**ROW, "p": outlet(2)}, EDGES),
    "an open output and two ends": model({**ROW, "c": lif(2)}, [*EDGES[:2], ("a", "c")]),
    "shapes that nothing makes fit": with_(sound(), "node/nodes/w/weight", np.ones((4, 3))),
    "a weight against both ports": with_(
        chain(input=inlet(5), w=linear(5, 2), output=outlet(2)), "version", "1"
    ),
    "a parameter for one of two axes": chain(
        input=inlet(2, 3, 2), a=lif((2, 3, 2), tau=np.ones(2, "f4")), output=outlet(2, 3, 2)
    ),
    "a parameter larger than the others": with_(sound(), "node/nodes/lif/r", np.ones((2, 2))),
    "a column beside a row": with_(
        sound(), "node/nodes/lif", lif(1, r=np.ones((1, 2)), tau=np.ones((2, 1)))
    ),
    "a flat nest with a way past its ports": with_(
        FLAT_NEST, "node/edges", [*FLAT_NEST["node"]["edges"], ("input", "n.a")]
    ),
    "a flat nest with two inputs": with_(FLAT_NEST, "node/nodes/n.j", inlet(2)),
    "parameters that nothing makes fit": with_(sound(), "node/nodes/lif/r", np.ones(3)),
}  # fmt: skip
"""Damage with no meaning, or several."""


def test_every_repair_has_a_row() -> None:
    assert {case[0] for case in CASES.values()} == set(REPAIRS)


def inputs_of(module: Any, steps: int = 20) -> torch.Tensor:
    (name,) = module.meta["inputs"]
    generator = torch.Generator().manual_seed(1)
    return 2 * torch.rand((steps, 3, *module.meta["shapes"][name][1]), generator=generator)


def outputs(source: Any) -> np.ndarray:
    module = module_of(source, {})
    with torch.no_grad():
        return run_steps(module, inputs_of(module)).outputs.numpy()


def assert_equal(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.shape == expected.shape
    assert np.array_equal(actual, expected)


def repairs_of(path: Path) -> list[tuple[str, str]]:
    findings = module_of(path, {}).meta["findings"]
    return [(f["repair"], f["code"]) for f in findings if f["repair"]]


@pytest.mark.parametrize("name", CASES)
def test_what_is_repaired_gives_the_numbers_of_the_sound_file(name: str, tmp_path: Path) -> None:
    repair, code, damaged, meant = CASES[name]
    bad, good = write(tmp_path / "bad.nir", damaged), write(tmp_path / "good.nir", meant)
    assert set(repairs_of(bad)) >= {(repair, code)}
    assert {kind for kind, _ in repairs_of(bad)} == {repair}
    assert repairs_of(good) == []
    expected = outputs(good)
    assert np.any(expected != 0)
    assert_equal(outputs(bad), expected)


@pytest.mark.parametrize("name", CASES)
def test_a_repair_is_a_warning_that_says_what_was_done(name: str, tmp_path: Path) -> None:
    repair, code, damaged, _ = CASES[name]
    file = read(write(tmp_path / "bad.nir", damaged))
    told = [*file.findings, *examined(file.graph).findings]
    (finding, *_) = [f for f in told if f.repair]
    assert (finding.code, finding.severity, finding.repair) == (code, "warning", repair)
    assert finding.message
    assert finding.hint
    assert finding.line().endswith(f"; {finding.hint} [{repair}]")


@pytest.mark.parametrize("name", CASES)
def test_without_repairs_it_is_refused(name: str, tmp_path: Path) -> None:
    repair, code, damaged, meant = CASES[name]
    with pytest.raises(ConversionError) as caught:
        nir_to_torch(write(tmp_path / "bad.nir", damaged), {}, repair=False)
    kinds = {"NIR1": StructureError, "NIR2": ShapeError, "NIR0": ConversionError}
    assert type(caught.value) is kinds[code[:4]]
    assert code in {finding.code for finding in caught.value.findings}
    assert f"the repair '{repair}' would correct it, but is turned off" in str(caught.value)
    assert nir_to_torch(write(tmp_path / "good.nir", meant), {}, repair=False)


@pytest.mark.parametrize("name", CASES)
def test_the_repaired_file_is_one_that_nir_accepts(name: str, tmp_path: Path) -> None:
    kind, _, damaged, meant = CASES[name]
    bad, good = write(tmp_path / "bad.nir", damaged), write(tmp_path / "good.nir", meant)
    result = repair(bad)
    assert kind in {finding.repair for finding in result.findings}
    assert result.changes
    fixed = tmp_path / "fixed.nir"
    fixed.write_bytes(result.content)
    nir.read(fixed, type_check=True)
    assert repairs_of(fixed) == []
    assert_equal(outputs(fixed), outputs(good))
    again = repair(fixed)
    assert [change for change in again.changes if not change.text.startswith("version")] == []


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_has_no_single_meaning_is_refused(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "m.nir", AMBIGUOUS[name])
    with pytest.raises(ConversionError) as caught:
        nir_to_torch(path, {})
    assert all(f.repair is None for f in errors_in(caught.value.findings))
    with pytest.raises(ConversionError) as refused:
        repair(path)
    assert str(refused.value) == str(caught.value)
    assert all(line.startswith(f"{path}: ") for line in str(refused.value).splitlines())


# ------------------------------------------------------------------- in general, by chance

NAMES = ["i", "a", "b", "c", "o"]
MISSPELT = [*NAMES, "x", "y"]


def graph_of(names: list[str], edges: list[tuple[str, str]]) -> nir.NIRGraph:
    kinds = {"i": nir.Input, "o": nir.Output}
    nodes = {
        name: kinds[name](np.array([2])) if name in kinds else nir.Scale(np.ones(2))
        for name in names
    }
    return nir.NIRGraph(nodes, edges, type_check=False)


GRAPHS = st.builds(
    graph_of,
    st.lists(st.sampled_from(NAMES), unique=True),
    st.lists(st.tuples(st.sampled_from(MISSPELT), st.sampled_from(MISSPELT)), max_size=8),
)


@settings(max_examples=200, deadline=None)
@given(GRAPHS, st.randoms(use_true_random=False))
def test_mending_is_a_function_of_the_graph_and_done_once(
    broken: nir.NIRGraph, dice: Random
) -> None:
    before = contents(broken)
    clean, findings = repaired(broken)
    assert contents(broken) == before
    assert repaired(clean)[1] == []
    assert contents(repaired(clean)[0]) == contents(clean)
    shuffled = copy.copy(broken)
    names, edges = list(broken.nodes), list(broken.edges)
    dice.shuffle(names)
    dice.shuffle(edges)
    shuffled.nodes, shuffled.edges = {name: broken.nodes[name] for name in names}, edges
    again, told = repaired(shuffled)
    assert told == findings
    assert contents(again) == contents(clean)
    kept = {edge for edge in broken.edges if set(edge) <= set(broken.nodes)}
    assert kept <= set(clean.edges)
    assert set(broken.nodes) <= set(clean.nodes)


@settings(max_examples=100, deadline=None)
@given(GRAPHS)
def test_what_is_repaired_in_a_nest_is_repaired_alike(broken: nir.NIRGraph) -> None:
    ports = {"i": nir.Input(np.array([2])), "o": nir.Output(np.array([2]))}
    outer = nir.NIRGraph({**ports, "n": broken}, [("i", "n"), ("n", "o")], type_check=False)
    clean, findings = repaired(outer)
    alone, told = repaired(broken)
    assert contents(clean.nodes["n"]) == contents(alone)
    assert findings == [finding.inside("n") for finding in told]


def test_all_reasons_are_told_at_once() -> None:
    broken = graph_of(["i", "a", "o"], [("i", "a"), ("i", "a"), ("a", "o"), ("o", "i"), ("a", "x")])
    known = [Finding("NIR013", "warning", "odd", "a", "tau", "taken", repair="scalar-parameters")]
    with pytest.raises(StructureError) as caught:
        required_sound(broken, known, repair=False)
    assert [f.code for f in caught.value.findings] == ["NIR013", "NIR104", "NIR101", "NIR105"]
    with pytest.raises(StructureError) as caught:
        required_sound(broken, known)
    assert [f.code for f in caught.value.findings] == ["NIR101", "NIR105"]


# ---------------------------------------------------------------------------- exporting


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_the_same_once_it_was_written_and_read(name: str, tmp_path: Path) -> None:
    graph = NETWORKS[name]()
    strict = name != "convolutional"  # nir miscounts the channels of a convolution in groups
    content = exported(required_sound(graph).graph, type_check=strict)
    again = nir.read(io.BytesIO(content), type_check=strict)
    first, second = converted(graph), converted(again)
    generator = torch.Generator().manual_seed(2)
    arguments = [
        torch.randn((20, 2, *first.meta["shapes"][n][0]), generator=generator)
        for n in first.meta["inputs"]
    ]
    names = first.meta["inputs"]
    with torch.no_grad():
        ours = run_steps(first, dict(zip(names, arguments, strict=True)))
        theirs = run_steps(second, dict(zip(names, arguments, strict=True)))
    pairs = (
        [(ours.outputs[key], theirs.outputs[key]) for key in ours.outputs]
        if isinstance(ours.outputs, dict)
        else [(ours.outputs, theirs.outputs)]
    )
    for left, right in pairs:
        assert torch.equal(left, right)


def test_metadata_and_names_survive(tmp_path: Path) -> None:
    tree = with_(sound(), "node/metadata", {"by": "hand", "deep": {"number": 3.5}})
    tree = with_(tree, "node/nodes/w/metadata", {"texts": "a"})
    result = repair(write(tmp_path / "m.nir", tree))
    again = nir.read(io.BytesIO(result.content))
    assert again.metadata == {"by": "hand", "deep": {"number": 3.5}}
    assert again.nodes["w"].metadata == {"texts": "a"}
    assert {change.text for change in result.changes} <= {"version = '1.0.8'"} | {
        change.text for change in result.changes if change.text.startswith("version")
    }


def test_a_file_that_is_beyond_nirs_type_check(tmp_path: Path) -> None:
    """nir miscounts the channels of a convolution in groups."""
    grouped = conv((4, 1, 3, 3), groups=2)
    tree = chain(input=inlet(2, 5, 6), conv=grouped, output=outlet(4, 3, 4))
    path = write(tmp_path / "m.nir", tree)
    with pytest.raises(ConversionError, match="does not accept it: ValueError: Type inf"):
        repair(path)
    result = repair(path, type_check=False)
    fixed = tmp_path / "fixed.nir"
    fixed.write_bytes(result.content)
    assert_equal(outputs(fixed), outputs(path))


def test_a_file_whose_numbers_are_none_is_not_repaired(tmp_path: Path) -> None:
    path = write(tmp_path / "m.nir", with_(sound(), "node/nodes/w/weight", np.full((2, 3), np.nan)))
    with pytest.raises(ConversionError, match="6 of 6 values are NaN"):
        repair(path)


def test_a_file_that_cannot_be_read_is_not_repaired(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no such file"):
        repair(tmp_path / "none.nir")
    path = tmp_path / "empty.nir"
    path.write_bytes(b"")
    with pytest.raises(ReadError, match="is empty"):
        repair(path)


def test_sources_are_alike(tmp_path: Path) -> None:
    path = write(tmp_path / "m.nir", CASES["stale output"][2])
    content = path.read_bytes()
    for source in (path, str(path), content, io.BytesIO(content)):
        result = repair(source)
        assert [f.repair for f in result.findings if f.repair] == ["stale-shape"]
        assert [(c.sign, c.text) for c in result.changes if "output" in c.text] == [
            ("-", "nodes/output/shape = [1, 1, 2] (int64, 3)"),
            ("+", "nodes/output/shape = [2] (int64, 1)"),
        ]
