"""Naming: one injective function, and what a file calls its nodes never becomes code."""

from __future__ import annotations

import ast
import io
import itertools
import keyword
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from networks import module_of

from nirtorch_cli import save
from nirtorch_cli.conversion.describe import generated_code
from nirtorch_cli.conversion.naming import (
    ESCAPE_PREFIX,
    PREVIOUS_OUTPUT_SUFFIX,
    escaped_name,
    identifiers,
    previous_output_key,
    unescaped_name,
)

RESERVED = frozenset(dir(torch.fx.GraphModule)) | {"state", "self"}

PIECES = st.sampled_from(
    [
        *("a", "b", ".", "_", "__", "_2e_", "2e", "0", "if", "", "nir_node_", "nirtorch_cli"),
        *("_prev_output", "float", "state", "ﬁ", "fi", "é", "e\u0301", "\udc80", "𝔘"),
        *(" ", "\n", "'", "\\"),
    ]
)
NAMES = st.one_of(st.text(max_size=8), st.lists(PIECES, max_size=4).map("".join))


# ---- the function


@settings(max_examples=300, deadline=None)
@given(st.lists(NAMES, max_size=12, unique=True))
@example(["a.b", "a_b"])
@example(["a.b.c", "a_b.c", "a.b_c"])
@example(["nir_node_a", "nir.node_a", "nir_node_nir__node__a"])
def test_names_are_told_apart(names: list[str]) -> None:
    given_names = identifiers(names, RESERVED)
    assert list(given_names) == names
    assert len(set(given_names.values())) == len(names)
    # Python normalises identifiers, so they must differ after that too.
    assert len({unicodedata.normalize("NFKC", n) for n in given_names.values()}) == len(names)
    for name, identifier in given_names.items():
        assert identifier.isidentifier()
        assert not keyword.iskeyword(identifier)
        assert identifier not in RESERVED
        assert not identifier.startswith(("nirtorch_cli", "_"))
        assert not identifier.endswith(PREVIOUS_OUTPUT_SUFFIX)
        compile(identifier, "name", "eval")
        if identifier.startswith(ESCAPE_PREFIX):
            assert identifier == escaped_name(name)
        else:
            assert identifier == name.replace(".", "_")


@settings(max_examples=200, deadline=None)
@given(st.lists(NAMES, max_size=10, unique=True), st.randoms(use_true_random=False))
def test_the_order_of_names_does_not_matter(names: list[str], random: Any) -> None:
    shuffled = random.sample(names, len(names))
    assert identifiers(shuffled, RESERVED) == identifiers(names, RESERVED)


@settings(max_examples=500, deadline=None)
@given(NAMES)
@example("_.")
@example("._")
@example("_5f_")
@example("\udc80")
@example("")
def test_an_escaped_name_can_be_read_back(name: str) -> None:
    identifier = escaped_name(name)
    assert identifier.isidentifier()
    assert identifier.isascii()
    assert unescaped_name(identifier) == name


@settings(max_examples=200, deadline=None)
@given(st.lists(NAMES, max_size=10, unique=True))
def test_state_keys_of_delayed_edges_are_nobodys_name(names: list[str]) -> None:
    taken = set(identifiers(names, RESERVED).values())
    assert not taken & {previous_output_key(identifier) for identifier in taken}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["lif", "lin.1", "größe"], ["lif", "lin_1", "größe"]),
        (["if", "class", "None"], ["nir_node_if", "nir_node_class", "nir_node_None"]),
        (["a.b"], ["a_b"]),
        (["a.b", "a_b"], ["nir_node_a_2e_b", "a_b"]),
        (["a.b.c", "a_b.c"], ["nir_node_a_2e_b_2e_c", "nir_node_a__b_2e_c"]),
        (["0", "", "a b"], ["nir_node_0", "nir_node_", "nir_node_a_20_b"]),
        (["float", "forward", "state", "self"], [f"nir_node_{n}" for n in
         ("float", "forward", "state", "self")]),
        (["ﬁ", "fi"], ["nir_node__fb01_", "fi"]),
        (["e\u0301", "é"], ["nir_node_e_301_", "é"]),
        (["_modules", "__class__"], ["nir_node___modules", "nir_node_____class____"]),
        (["nir_node_if"], ["nir_node_nir__node__if"]),
        (["nirtorch_cli_state_entry"], ["nir_node_nirtorch__cli__state__entry"]),
        (["dict", "torch", "input"], ["nir_node_dict", "nir_node_torch", "input"]),
        (["x_prev_output"], ["nir_node_x__prev__output"]),
        (["x.prev.output"], ["nir_node_x_2e_prev_2e_output"]),
    ],
)  # fmt: skip
def test_examples(names: list[str], expected: list[str]) -> None:
    assert list(identifiers(names, RESERVED).values()) == expected


# ---- hostile names, converted

CODE = "__import__('os').system('touch pwned')"
HOSTILE = [
    *("a.b", "a_b", "if", "float", "forward", "state", "self", "input", "output", "torch"),
    *("nirtorch_cli_state_entry", "_operator_getitem", "operator", "0", "", "größe", "ﬁ", "fi"),
    *("with space", "it's", '"', "new\nline", "back\\slash", "tab\t", "\x1b[31m", "__class__"),
    *("x_prev_output", CODE, f"x = {CODE}", f"'); {CODE} #", '"""', "\udc80", "a/b", "_modules"),
    *("_parameters", "_graph", "shape_env", "training", "meta", "code", "graph", "T_destination"),
    *("x_before", "x_step", "x_state", "x_input", "x", "x_1", "getattr", "print", "device"),
    *("nan", "inf", "NoneType", "None", "True", "match", "type", "dict", "list", "call_module"),
]


def lif() -> nir.LIF:
    one = np.ones(3)
    return nir.LIF(2e-4 * one, 1.5 * one, 0 * one, 0.5 * one, 0.1 * one)


def chain(names: list[str]) -> nir.NIRGraph:
    """An Input, neurons of hostile names in a row, and an Output."""
    nodes: dict[str, nir.NIRNode] = {"in": nir.Input(np.array([3]))}
    nodes |= {name: lif() for name in names}
    nodes["out"] = nir.Output(np.array([3]))
    order = list(nodes)
    return nir.NIRGraph(nodes, list(itertools.pairwise(order)), type_check=False)


def fed_back(names: list[str]) -> nir.NIRGraph:
    """The same, with an edge from every neuron back to itself."""
    graph = chain(names)
    graph.edges += [(name, name) for name in names]
    return graph


def nested(names: list[str]) -> nir.NIRGraph:
    """Each neuron in a graph of its own, of the same name, whose ports have hostile names."""
    graph = chain(names)
    for index, name in enumerate(names):
        ports = names[index - 1], names[index - 2]
        inner = {ports[0]: nir.Input(np.array([3])), name: lif()}
        inner[ports[1]] = nir.Output(np.array([3]))
        edges = [(ports[0], name), (name, ports[1])]
        graph.nodes[name] = nir.NIRGraph(inner, edges, type_check=False)
    return graph


def looping(names: list[str]) -> nir.NIRGraph:
    """Nested graphs in a loop: their nodes become nodes of the graph around them."""
    graph = nested(names)
    graph.edges.append((names[-1], names[0]))
    return graph


def ports(names: list[str]) -> nir.NIRGraph:
    """Inputs and Outputs of hostile names around one neuron."""
    half = len(names) // 2
    nodes: dict[str, nir.NIRNode] = {name: nir.Input(np.array([3])) for name in names[:half]}
    nodes |= {name: nir.Output(np.array([3])) for name in names[half:]}
    nodes["neuron"] = lif()
    edges = [(name, "neuron") for name in names[:half]]
    edges += [("neuron", name) for name in names[half:]]
    return nir.NIRGraph(nodes, edges, type_check=False)


SHAPES = [chain, fed_back, nested, looping, ports]


def run(module: torch.fx.GraphModule, steps: int = 3) -> list[torch.Tensor]:
    """Outputs of a few steps, one after the other."""
    generator = torch.Generator().manual_seed(1)
    state, outputs = None, []
    for _ in range(steps):
        inputs = [torch.rand((2, 3), generator=generator) for _ in module.meta["inputs"]]
        output, state = module(*inputs, state=state)
        outputs += [output] if isinstance(output, torch.Tensor) else list(output.values())
    return outputs


def plain(graph: nir.NIRGraph, place: str = "n") -> nir.NIRGraph:
    """The same graph with harmless names."""
    names = {name: f"{place}{number}" for number, name in enumerate(sorted(graph.nodes))}
    nodes = {
        names[name]: plain(node, names[name]) if isinstance(node, nir.NIRGraph) else node
        for name, node in graph.nodes.items()
    }
    return nir.NIRGraph(nodes, [(names[s], names[t]) for s, t in graph.edges], type_check=False)


def codes(module: torch.fx.GraphModule) -> Iterator[tuple[str, set[str]]]:
    """Generated code of a module and of those nested in it, with the names that are ours."""
    for part in module.modules():
        if isinstance(part, torch.fx.GraphModule):
            yield part.code, {node.name for node in part.graph.nodes} | set(part.meta["names"])


OURS = {"self", "torch", "state", "nirtorch_cli", "add", "entry", "previous_output", "silence"}
"""What generated code mentions beside the nodes; `_operator` and the like are checked apart."""


@pytest.mark.parametrize("shape", SHAPES)
def test_hostile_names_never_become_code(
    shape: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    graph = shape(HOSTILE)
    module = module_of(graph, {})
    expected = run(module_of(plain(graph), {}))
    found = run(module)
    assert sum(float(output.sum()) for output in found) > 0
    if shape is not ports:  # several ports are in the order of their names
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert set(module.meta["names"].values()) >= set(graph.nodes) - (
        set(HOSTILE) if shape is looping else set()
    )
    for code, ours in codes(module):
        assert_only_our_names(code, ours)
    assert not list(tmp_path.iterdir())


def assert_only_our_names(code: str, ours: set[str]) -> None:
    """No text of a node's name stands in the code, but for identifiers made by `naming`."""
    allowed = ours | OURS
    for node in ast.walk(ast.parse(code)):
        names = []
        if isinstance(node, ast.Name):
            names.append(node.id)
        elif isinstance(node, ast.Attribute):
            names.append(node.attr)
        elif isinstance(node, ast.arg):
            names.append(node.arg)
        elif isinstance(node, ast.keyword):
            names.append(str(node.arg))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value in ours or node.value.endswith(PREVIOUS_OUTPUT_SUFFIX)
        for name in names:
            assert name.isidentifier()
            assert name in allowed or is_generated(name, allowed), name
    for name in HOSTILE:
        if not name.isidentifier() and len(name) > 2:
            assert name not in code


def is_generated(name: str, allowed: set[str]) -> bool:
    """Names that fx makes: of the functions it calls, and with a number behind a known name."""
    if name.startswith(("nirtorch_cli_conversion_state_", "_operator_getitem")):
        return True
    if name in ("dict", "new_state", "forward"):
        return True
    if name.endswith(PREVIOUS_OUTPUT_SUFFIX):
        return name.removesuffix(PREVIOUS_OUTPUT_SUFFIX) in allowed
    return name.rpartition("_")[0] in allowed and name.rpartition("_")[2].isdigit()


def test_the_checker_notices_foreign_names() -> None:
    assert_only_our_names("def forward(self, x): return self.a(x)", {"x", "a", "forward"})
    with pytest.raises(AssertionError, match="system"):
        assert_only_our_names("def forward(self, x): return os.system(x)", {"x"})
    with pytest.raises(AssertionError):
        assert_only_our_names("def forward(self, x): return 'pwned'", {"x"})


LOADING = """
import sys, torch
outputs = []
for name in sys.argv[2:]:
    module = torch.load(name, weights_only=False)
    generator = torch.Generator().manual_seed(1)
    state = None
    for _ in range(3):
        inputs = [torch.rand((2, 3), generator=generator) for _ in module.meta["inputs"]]
        output, state = module(*inputs, state=state)
        outputs += [output] if isinstance(output, torch.Tensor) else list(output.values())
torch.save(outputs, sys.argv[1])
"""


def test_hostile_names_survive_saving(tmp_path: Path) -> None:
    expected, files = [], []
    for shape in SHAPES:
        module = module_of(shape(HOSTILE), {})
        expected += run(module)
        files.append(str(tmp_path / f"{shape.__name__}.pt"))
        save(module, files[-1])
    empty = tmp_path / "empty"
    empty.mkdir()
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOADING, str(tmp_path / "outputs"), *files],
        cwd=empty,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert answer.returncode == 0, answer.stderr
    found = torch.load(tmp_path / "outputs", weights_only=True)
    assert len(found) == len(expected) > 15
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert not list(empty.iterdir())


@pytest.mark.parametrize("shape", SHAPES)
def test_plain_torch_save_and_a_second_trace(shape: Any) -> None:
    """Saved the way users do it, and traced again the way transforms do it."""
    module = module_of(shape(HOSTILE), {})
    stream = io.BytesIO()
    torch.save(module, stream)
    stream.seek(0)
    loaded = torch.load(stream, weights_only=False)
    assert dict(generated_code(loaded)) == dict(generated_code(module))
    assert loaded.meta["names"] == module.meta["names"]
    assert all(torch.equal(a, b) for a, b in zip(run(loaded), run(module), strict=True))


@settings(max_examples=15, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=5, unique=True))
def test_any_names(names: list[str]) -> None:
    names = [name for name in names if name not in ("in", "out")] or ["x"]
    graph = fed_back(names)
    found, expected = run(module_of(graph, {})), run(module_of(plain(graph), {}))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_hostile_names_in_a_file(tmp_path: Path) -> None:
    """As far as HDF5 can hold them: through a file, and shown on one line each."""
    names = [name for name in HOSTILE if name and "/" not in name and name != "\udc80"]
    path = tmp_path / "hostile.nir"
    nir.write(path, chain(names))
    module = module_of(path, {})
    assert set(names) <= set(module.meta["names"].values())
    answer = subprocess.run(
        [sys.executable, "-m", "nirtorch_cli", "inspect", "-q", str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 0
    assert r"new\nline" in answer.stdout
    assert "\x1b" not in answer.stdout
    assert answer.stderr == ""
    assert [entry.name for entry in tmp_path.iterdir()] == ["hostile.nir"]
