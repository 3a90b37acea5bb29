"""Reading: every kind of source, every tolerance, and every refusal in one clear line."""

from __future__ import annotations

import ast
import io
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nirtorch_cli.findings.errors import (
    ExitCode,
    NirtorchError,
    ReadError,
    ShapeError,
    StructureError,
)
from nirtorch_cli.graph.inspection import inspect
from nirtorch_cli.primitives.table import PRIMITIVES
from nirtorch_cli.reading.graphs import ModelFile, read
from nirtorch_cli.reading.limits import MAX_NESTING

UNTYPED = (
    "has no type, as an interrupted nir.write leaves a node; write the file again; nir 1.0.8 fails "
    "where a parameter is a single number"
)

TEXT = h5py.string_dtype()
Edit = Callable[[h5py.File], None]


def lif(size: int = 3, **changes: np.ndarray) -> nir.LIF:
    values = {
        "tau": np.linspace(0.01, 0.02, size),
        "r": np.full(size, 2.0),
        "v_leak": np.zeros(size),
        "v_threshold": np.ones(size),
        "v_reset": np.full(size, 0.25),
    }
    return nir.LIF(**{**values, **changes})


def small_graph() -> nir.NIRGraph:
    """input -> linear -> lif -> output."""
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    return nir.NIRGraph.from_list(nir.Linear(weight), lif())


def written(path: Path, graph: nir.NIRNode, *edits: Edit) -> Path:
    """A file as nir writes it, and then edited."""
    nir.write(path, graph)
    with h5py.File(path, "r+") as file:
        for edit in edits:
            edit(file)
    return path


def put(place: str, value: Any, **options: Any) -> Edit:
    """An edit: replace what is at a place by a dataset."""

    def edit(file: h5py.File) -> None:
        if place in file:
            del file[place]
        file.create_dataset(place, data=value, **options)

    return edit


def drop(place: str) -> Edit:
    def edit(file: h5py.File) -> None:
        del file[place]

    return edit


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return written(tmp_path / "model.nir", small_graph())


def assert_equal_nodes(ours: nir.NIRNode, theirs: nir.NIRNode) -> None:
    """Every parameter of every node is equal in value, shape and precision."""
    assert type(ours) is type(theirs)
    if isinstance(ours, nir.NIRGraph):
        assert set(ours.nodes) == set(theirs.nodes)
        assert ours.edges == theirs.edges
        assert ours.metadata.keys() == theirs.metadata.keys()
        for name in ours.nodes:
            assert_equal_nodes(ours.nodes[name], theirs.nodes[name])
        return
    assert vars(ours).keys() == vars(theirs).keys()
    for name, value in vars(theirs).items():
        mine = getattr(ours, name)
        if name in ("input_type", "output_type"):
            assert mine.keys() == value.keys()
            assert all(np.array_equal(mine[key], value[key]) for key in value)
        elif name == "metadata":
            assert mine == value
        else:
            assert np.shape(mine) == np.shape(value), name
            assert np.array_equal(mine, value), name
            if isinstance(value, np.ndarray):
                assert mine.dtype == value.dtype, name


def refusal(source: Any, kind: type[NirtorchError] = ReadError, **options: Any) -> str:
    """The one line with which a source is refused."""
    with pytest.raises(kind) as caught:
        read(source, **options)
    assert type(caught.value) is kind
    line = str(caught.value)
    assert "\n" not in line
    return line


def codes(file: ModelFile) -> list[tuple[str, str, str | None, str | None]]:
    return [(f.code, f.severity, f.node, f.parameter) for f in file.findings]


# ---- sources


def test_sources_give_the_same_graph(model: Path) -> None:
    content = model.read_bytes()
    with model.open("rb") as stream:
        sources = [str(model), model, content, io.BytesIO(content), stream]
        files = [read(source) for source in sources]
    for file in files:
        assert_equal_nodes(file.graph, files[0].graph)
        assert file.version == nir.version
        assert file.findings == ()
    names = [file.name for file in files]
    assert names == [str(model), str(model), "<bytes>", "<stream>", str(model)]


def test_several_files_in_memory_are_not_mixed_up(tmp_path: Path) -> None:
    """libhdf5 takes two open images of one name for one file."""
    with pytest.raises(ReadError) as caught:
        read(broken_heap(SMALL.getvalue()))
    other = written(tmp_path / "other.nir", nir.Threshold(np.ones(2))).read_bytes()
    assert set(read(other).graph.nodes) == {"input", "threshold", "output"}
    assert set(read(SMALL.getvalue()).graph.nodes) == {"input", "linear", "lif", "output"}
    assert caught.value.exit_code == ExitCode.UNREADABLE


def test_stdin(model: Path) -> None:
    with model.open("rb") as stream:
        answer = subprocess.run(
            [sys.executable, "-m", "nirtorch_cli", "inspect", "-", "--json", "-q"],
            stdin=stream,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert answer.returncode == ExitCode.DONE
    assert answer.stderr == ""
    assert '"type": "LIF"' in answer.stdout


def test_a_pipe_with_a_name(model: Path, tmp_path: Path) -> None:
    """What a shell makes of `nirtorch inspect <(command)`."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cp", str(model), str(pipe)]) as writer:
        file = read(pipe)
    assert writer.returncode == 0
    assert set(file.graph.nodes) == {"input", "linear", "lif", "output"}


def test_reading_leaves_the_file_closed_and_unchanged(model: Path) -> None:
    before = model.read_bytes()
    read(model)
    with h5py.File(model, "r+"):  # fails while anybody has it open for reading
        pass
    assert model.read_bytes() == before


# ---- what nir reads, read the same


def everything() -> dict[str, nir.NIRNode]:
    """One node of every type."""
    n = np.linspace(0.5, 1.5, 4, dtype=np.float32)
    kernel = np.arange(24, dtype=np.float32)
    return {
        "Affine": nir.Affine(np.ones((2, 4)), np.zeros(2)),
        "AvgPool2d": nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "Conv1d": nir.Conv1d(9, kernel.reshape(2, 3, 4), 1, "same", 1, 1, np.zeros(2)),
        "Conv2d": nir.Conv2d((5, 6), kernel.reshape(2, 3, 2, 2), 1, (1, 0), 1, 1, np.ones(2)),
        "CubaLI": nir.CubaLI(n, 2 * n, 3 * n, 4 * n, 5 * n),
        "CubaLIF": nir.CubaLIF(n, 2 * n, 3 * n, 4 * n, 5 * n, 6 * n, 7 * n),
        "Delay": nir.Delay(n),
        "Flatten": nir.Flatten({"input": np.array([2, 3, 4])}, 0, -1),
        "I": nir.I(n),
        "IF": nir.IF(n, 2 * n, 3 * n),
        "Input": nir.Input({"input": np.array([4])}),
        "LI": nir.LI(n, 2 * n, 3 * n),
        "LIF": nir.LIF(n, 2 * n, 3 * n, 4 * n, 5 * n),
        "Linear": nir.Linear(np.ones((2, 4))),
        "Output": nir.Output({"output": np.array([4])}),
        "Scale": nir.Scale(n),
        "SumPool2d": nir.SumPool2d(np.array([2, 2]), np.array([1, 2]), np.array([0, 1])),
        "Threshold": nir.Threshold(n),
    }


def test_every_type_has_a_case() -> None:
    assert set(everything()) == set(PRIMITIVES)


@pytest.mark.parametrize("kind", sorted(PRIMITIVES))
def test_a_file_with_a_single_node(tmp_path: Path, kind: str) -> None:
    """nir writes such files, and cannot read them; what it reads is the same node in a graph."""
    node = everything()[kind]
    graph = written(tmp_path / "graph.nir", nir.NIRGraph({"n": node}, [], type_check=False))
    theirs = nir.read(graph, type_check=False).nodes["n"]
    file = read(written(tmp_path / "node.nir", node))
    assert file.findings == ()
    assert_equal_nodes(next(n for n in file.graph.nodes.values() if type(n) is type(node)), theirs)
    assert_equal_nodes(read(graph).graph.nodes["n"], theirs)
    assert {"input", "output"} <= set(file.graph.nodes)


@pytest.mark.parametrize(
    "name",
    [
        "braille_nested",
        "braille_noDelay_bias_zero",
        "braille_noDelay_bias_zero_subgraph",
        "lif_norse",
        "lif_rockpool",
        "two_lif_neurons",
    ],
)
def test_real_files_as_nir_reads_them(
    real_files: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One of them has a dangling edge inside, which nir's type check does not get past.
    monkeypatch.setattr(nir.NIRGraph, "infer_types", lambda graph: None)
    monkeypatch.setattr(nir.NIRGraph, "check_types", lambda graph: None)
    path = real_files / f"{name}.nir"
    assert_equal_nodes(read(path).graph, nir.read(path, type_check=False))


def test_nested_graphs_and_metadata_are_kept(tmp_path: Path) -> None:
    inner = small_graph()
    inner.metadata = {"depth": 2}
    neuron = lif()
    neuron.metadata = {"name": "größer", "rates": np.array([1.0, 2.0]), "by": {"who": "me"}}
    graph = nir.NIRGraph(
        {
            "in": nir.Input(np.array([2])),
            "inner": inner,
            "lif": neuron,
            "out": nir.Output(np.array([3])),
        },
        [("in", "inner"), ("inner", "lif"), ("lif", "out")],
        metadata={"tool": "mine", "version": 3},
        type_check=False,
    )
    path = written(tmp_path / "nested.nir", graph)
    found = read(path).graph
    assert found.metadata == {"tool": "mine", "version": 3}
    assert found.nodes["inner"].metadata == {"depth": 2}
    metadata = found.nodes["lif"].metadata
    assert metadata["name"] == "größer"
    assert metadata["by"] == {"who": "me"}
    assert metadata["rates"].tolist() == [1.0, 2.0]
    assert_equal_nodes(found.nodes["inner"].nodes["lif"], small_graph().nodes["lif"])


def test_text_in_metadata_arrays(tmp_path: Path) -> None:
    graph = small_graph()
    edit = put("node/metadata/authors", ["Ada", "Grace"], dtype=TEXT)
    found = read(written(tmp_path / "a.nir", graph, edit)).graph
    assert found.metadata["authors"].tolist() == [b"Ada", b"Grace"]


# ---- tolerances


def test_missing_v_reset_is_zero(tmp_path: Path) -> None:
    file = read(written(tmp_path / "a.nir", small_graph(), drop("node/nodes/lif/v_reset")))
    assert file.graph.nodes["lif"].v_reset.tolist() == [0, 0, 0]
    assert codes(file) == [("NIR012", "info", "lif", "v_reset")]


def test_missing_version_input_shape_and_bias(tmp_path: Path) -> None:
    conv = everything()["Conv2d"]
    edits = [drop("version"), drop("node/input_shape"), drop("node/bias")]
    file = read(written(tmp_path / "a.nir", conv, *edits))
    assert file.version is None
    assert file.graph.nodes["conv2d"].input_shape is None
    assert file.graph.nodes["conv2d"].bias is None
    assert file.findings == ()


@pytest.mark.parametrize(
    ("value", "options"),
    [
        (b"LIF", {}),
        (np.bytes_(b"LIF"), {"dtype": "S3"}),
        (np.array(b"LIF", dtype="S8"), {}),
        ("LIF", {"dtype": h5py.string_dtype("ascii")}),
        (["LIF"], {"dtype": TEXT}),
    ],
    ids=["bytes", "fixed length", "padded", "ascii", "array of one"],
)
def test_texts_of_every_kind(tmp_path: Path, value: Any, options: dict[str, Any]) -> None:
    edit = put("node/nodes/lif/type", value, **options)
    file = read(written(tmp_path / "a.nir", small_graph(), edit))
    assert isinstance(file.graph.nodes["lif"], nir.LIF)


@pytest.mark.parametrize("options", [{"dtype": "S10"}, {"dtype": TEXT, "compression": "gzip"}])
def test_edges_as_text_of_any_kind(tmp_path: Path, options: dict[str, Any]) -> None:
    names = [[b"input", b"linear"], [b"linear", b"lif"], [b"lif", b"output"]]
    file = read(written(tmp_path / "a.nir", small_graph(), put("node/edges", names, **options)))
    assert file.graph.edges == small_graph().edges


def test_one_value_for_a_whole_layer(tmp_path: Path) -> None:
    edits = [put("node/nodes/lif/tau", 0.5), put("node/nodes/lif/r", np.array([3.0]))]
    file = read(written(tmp_path / "a.nir", small_graph(), *edits))
    assert file.graph.nodes["lif"].tau.tolist() == [0.5, 0.5, 0.5]
    assert file.graph.nodes["lif"].r.tolist() == [3.0, 3.0, 3.0]
    assert codes(file) == [("NIR013", "warning", "lif", "tau"), ("NIR013", "warning", "lif", "r")]
    assert file.findings[0].line() == (
        f"{tmp_path / 'a.nir'}: node 'lif', tau: has the shape (), its node has (3,); "
        "taken for all 3 neurons [scalar-parameters]"
    )


def test_unknown_fields_are_reported(tmp_path: Path) -> None:
    edits = [put("node/nodes/lif/adaptation", 1.0), put("node/comment", "x")]
    file = read(written(tmp_path / "a.nir", small_graph(), *edits))
    assert codes(file) == [
        ("NIR015", "warning", "lif", "adaptation"),
        ("NIR015", "warning", None, "comment"),
    ]
    assert file.findings[1].line() == (
        f"{tmp_path / 'a.nir'}: comment: is not a field of this node type; not used"
    )


def test_metadata_of_a_strange_type_is_left_out(tmp_path: Path) -> None:
    edits = [put("node/metadata/z", 1j), put("node/metadata/n", h5py.Empty("f")), put_region()]
    file = read(written(tmp_path / "a.nir", small_graph(), *edits))
    assert file.graph.metadata == {}
    assert codes(file) == [
        ("NIR016", "warning", None, "metadata/n"),
        ("NIR016", "warning", None, "metadata/reference"),
        ("NIR016", "warning", None, "metadata/z"),
    ]


def put_region() -> Edit:
    def edit(file: h5py.File) -> None:
        file["node/metadata/reference"] = file["node"].ref

    return edit


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f2", "<f8", "<i4", ">i2", "|u1", "?"])
def test_numbers_of_every_type(tmp_path: Path, dtype: str) -> None:
    weight = np.array([[0, 1], [1, 0], [1, 1]]).astype(dtype)
    path = written(tmp_path / "a.nir", small_graph(), put("node/nodes/linear/weight", weight))
    found = read(path).graph.nodes["linear"].weight
    assert found.dtype == weight.dtype.newbyteorder("=")
    assert found.dtype.isnative
    assert found.tolist() == weight.tolist()


@pytest.mark.parametrize("dtype", [">f4", "<f2", ">f8", "<i4"])
def test_numbers_of_every_type_convert(tmp_path: Path, dtype: str) -> None:
    import torch
    from networks import module_of

    weight = np.array([[0, 1], [2, 3], [4, 5]]).astype(dtype)
    path = written(tmp_path / "a.nir", small_graph(), put("node/nodes/linear/weight", weight))
    module = module_of(path, {})
    assert module.linear.weight.dtype == torch.float32
    assert module.linear.weight.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_a_shape_in_another_type(tmp_path: Path) -> None:
    edit = put("node/nodes/input/shape", np.array([2.0]))
    file = read(written(tmp_path / "a.nir", small_graph(), edit))
    assert file.graph.nodes["input"].input_type["input"].tolist() == [2]


# ---- forms that other writers use, and what is said about each


def group_of(place: str, **datasets: Any) -> Edit:
    """An edit: replace what is at a place by a group of datasets."""

    def edit(file: h5py.File) -> None:
        if place in file:
            del file[place]
        group = file.create_group(place)
        for name, value in datasets.items():
            group[name] = value

    return edit


def move(place: str, to: str) -> Edit:
    def edit(file: h5py.File) -> None:
        file.move(place, to)

    return edit


EMPTY = h5py.Empty("f")

FORMS: list[tuple[str, str, list[Edit], dict[str, Any], list[tuple[str, str, str | None]]]] = [
    ("CubaLIF", "no w_in", [drop("n/w_in")], {"w_in": [1] * 4}, [("NIR012", "info", "w_in")]),
    ("CubaLI", "no w_in", [drop("n/w_in")], {"w_in": [1] * 4}, [("NIR012", "info", "w_in")]),
    (
        "LIF",
        "empty v_reset",
        [put("n/v_reset", EMPTY)],
        {"v_reset": [0] * 4},
        [("NIR012", "info", "v_reset")],
    ),
    (
        "LIF",
        "scalar v_reset",
        [put("n/v_reset", 0.5)],
        {"v_reset": [0.5] * 4},
        [("NIR013", "warning", "v_reset")],
    ),
    (
        "LIF",
        "old threshold",
        [move("n/v_threshold", "n/v_th")],
        {"v_threshold": (4 * np.linspace(0.5, 1.5, 4, dtype=np.float32)).tolist()},
        [("NIR018", "info", "v_th")],
    ),
    (
        "Linear",
        "old weights",
        [move("n/weight", "n/weights")],
        {"weight": np.ones((2, 4)).tolist()},
        [("NIR018", "info", "weights")],
    ),
    (
        "Affine",
        "no bias",
        [drop("n/bias")],
        {"bias": [0, 0]},
        [("NIR012", "warning", "bias")],
    ),
    (
        "Conv2d",
        "only a weight",
        [drop(f"n/{name}") for name in ("stride", "padding", "dilation", "groups", "bias")],
        {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, "bias": None},
        [("NIR012", "warning", name) for name in ("stride", "padding", "dilation", "groups")],
    ),
    (
        "Conv2d",
        "arrays of one",
        [put("n/stride", [2]), put("n/groups", [1]), put("n/dilation", [[1, 2]])],
        {"stride": 2, "groups": 1, "dilation": [1, 2]},
        [("NIR018", "info", name) for name in ("stride", "dilation", "groups")],
    ),
    (
        "Conv1d",
        "arrays of one",
        [put("n/input_shape", [9]), put("n/padding", [b"same"])],
        {"input_shape": 9, "padding": "same"},
        [("NIR018", "info", "padding"), ("NIR018", "info", "input_shape")],
    ),
    (
        "Conv2d",
        "floats that count",
        [put("n/stride", 2.0), put("n/padding", np.array([1.0, 0.0]))],
        {"stride": 2, "padding": [1, 0]},
        [("NIR018", "info", "stride"), ("NIR018", "info", "padding")],
    ),
    (
        "Conv2d",
        "empty bias",
        [put("n/bias", EMPTY), put("n/input_shape", EMPTY)],
        {"bias": None, "input_shape": None},
        [],
    ),
    (
        "AvgPool2d",
        "no padding",
        [drop("n/padding")],
        {"padding": 0},
        [("NIR012", "warning", "padding")],
    ),
    (
        "Flatten",
        "only a type",
        [drop("n/start_dim"), drop("n/end_dim"), drop("n/input_type")],
        {"start_dim": 1, "end_dim": -1, "input_type": {"input": None}},
        [("NIR012", "info", "start_dim"), ("NIR012", "info", "end_dim")],
    ),
    (
        "Flatten",
        "a group around its shape",
        [group_of("n/input_type", input=[2, 3, 4])],
        {"input_type": {"input": [2, 3, 4]}},
        [("NIR018", "info", "input_type")],
    ),
    (
        "Flatten",
        "an empty shape in a group",
        [group_of("n/input_type", input=EMPTY)],
        {"input_type": {"input": None}},
        [("NIR018", "info", "input_type")],
    ),
    (
        "Input",
        "a number",
        [put("n/shape", 4)],
        {"input_type": {"input": [4]}},
        [
            ("NIR018", "info", "shape"),
        ],
    ),
    (
        "Input",
        "a type in place of a shape",
        [drop("n/shape"), put("n/input_type", [4])],
        {"input_type": {"input": [4]}},
        [("NIR018", "info", "input_type")],
    ),
    (
        "Output",
        "types in groups in place of a shape",
        [
            drop("n/shape"),
            group_of("n/input_type", input=[4]),
            group_of("n/output_type", output=[4]),
        ],
        {"output_type": {"output": [4]}},
        [("NIR018", "info", name) for name in ("input_type", "output_type", "output_type")],
    ),
    (
        "Output",
        "no shape",
        [drop("n/shape")],
        {"output_type": {"output": None}},
        [("NIR012", "info", "shape")],
    ),
    (
        "Threshold",
        "a type in an array",
        [put("n/type", ["Threshold"], dtype=TEXT)],
        {},
        [("NIR018", "info", "type")],
    ),
]


@pytest.mark.parametrize(
    ("kind", "edits", "expected", "findings"),
    [(kind, edits, expected, findings) for kind, _, edits, expected, findings in FORMS],
    ids=[f"{kind}, {name}" for kind, name, *_ in FORMS],
)
def test_forms_of_a_node(
    tmp_path: Path,
    kind: str,
    edits: list[Edit],
    expected: dict[str, Any],
    findings: list[tuple[str, str, str | None]],
) -> None:
    """What has one sensible meaning is read, and everything that was assumed is said."""
    path = tmp_path / "a.nir"
    nir.write(path, nir.NIRGraph({"n": everything()[kind]}, [], type_check=False))
    with h5py.File(path, "r+") as file:
        for edit in edits:
            edit(file["node/nodes"])
    file = read(path)
    node = file.graph.nodes["n"]
    assert type(node).__name__ == kind
    found = [(f.code, f.severity, f.parameter) for f in file.findings if f.parameter != "edges"]
    assert found == findings
    for name, value in expected.items():
        mine = getattr(node, name)
        if isinstance(value, dict):
            mine = {key: None if v is None else list(v) for key, v in mine.items()}
        assert mine is None if value is None else np.all(np.asarray(mine) == value), name
        assert np.shape(mine) == np.shape(value)


def test_a_linear_with_a_bias_is_an_affine(tmp_path: Path) -> None:
    """NIR before 0.1 knew no Affine: its Linear had a bias."""
    edits = [put("node/nodes/linear/bias", np.array([1.0, 2.0, 3.0]))]
    file = read(written(tmp_path / "a.nir", small_graph(), *edits))
    assert isinstance(file.graph.nodes["linear"], nir.Affine)
    assert file.graph.nodes["linear"].bias.tolist() == [1, 2, 3]
    assert codes(file) == [("NIR018", "info", "linear", "bias")]


@pytest.mark.parametrize("at_the_top", [False, True])
def test_numbered_nodes_of_the_first_versions(tmp_path: Path, at_the_top: bool) -> None:
    """Up to 0.0.6 nodes were a list, edges held their places, and an Output had no shape."""
    path = tmp_path / "old.nir"
    with h5py.File(path, "w") as file:
        graph = file if at_the_top else file.create_group("node")
        if not at_the_top:
            graph["type"] = "NIRGraph"
        nodes = graph.create_group("nodes")
        for number in range(4):
            nodes.create_group(f"{number}")
        nodes["0/type"], nodes["0/shape"] = "Input", np.array([2])
        nodes["1/type"], nodes["1/weights"], nodes["1/bias"] = "Linear", np.eye(2), np.ones(2)
        nodes["2/type"] = "LIF"
        for name in ("tau", "r", "v_leak", "v_th"):
            nodes[f"2/{name}"] = np.ones(2)
        nodes["3/type"] = "Output"
        graph["edges"] = [(0, 1), (1, 2), (2, 3)]
    file = read(path)
    assert file.graph.edges == [("0", "1"), ("1", "2"), ("2", "3")]
    assert [type(node).__name__ for node in file.graph.nodes.values()] == [
        "Input",
        "Affine",
        "LIF",
        "Output",
    ]
    expected = [("NIR018", None)] if at_the_top else []
    expected += [("NIR018", "1"), ("NIR018", "1"), ("NIR018", "2"), ("NIR012", "2")]
    expected += [("NIR012", "3"), ("NIR018", None)]
    assert sorted((f.code, str(f.node)) for f in file.findings) == sorted(
        (code, str(node)) for code, node in expected
    )
    inspection = inspect(file)
    assert inspection.nodes[-1].output_shape == (2,)


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ([move("node", "model")], "the graph is in a group 'model', not 'node'; read all the same"),
        (
            [move("node/nodes", "nodes"), move("node/edges", "edges"), drop("node")],
            "the graph is at the root of the file, not in a group 'node'; read all the same",
        ),
        ([drop("node/type")], "type: is not in the file; read as a NIRGraph"),
    ],
)
def test_graphs_in_other_places(tmp_path: Path, edits: list[Edit], message: str) -> None:
    path = written(tmp_path / "a.nir", small_graph(), *edits)
    file = read(path)
    assert_equal_nodes(file.graph, read(SMALL.getvalue()).graph)
    assert [finding.line() for finding in file.findings] == [f"{path}: {message}"]
    assert [(finding.code, finding.severity) for finding in file.findings] == [("NIR018", "info")]


@pytest.mark.parametrize(
    "edits",
    [
        [move("node", "model"), lambda file: file.copy("model", "other")],
        [move("node", "model"), drop("model/type"), drop("model/edges")],
        [drop("node"), put("a/b", 1)],
        [drop("node"), group_of("nodes")],
    ],
    ids=["two graphs", "no graph", "no graph at all", "nodes alone"],
)
def test_graphs_that_could_be_anywhere_are_refused(tmp_path: Path, edits: list[Edit]) -> None:
    assert "has no group 'node'" in broken(tmp_path, *edits)


@pytest.mark.parametrize("edit", [drop("node/edges"), put("node/edges", EMPTY)])
def test_no_edges(tmp_path: Path, edit: Edit) -> None:
    file = read(written(tmp_path / "a.nir", small_graph(), edit))
    assert file.graph.edges == []
    assert codes(file) == [("NIR012", "warning", None, "edges")]


def test_numbers_that_are_no_names_are_no_edges(tmp_path: Path) -> None:
    line = broken(tmp_path, put("node/edges", [[0, 1]]))
    assert line == "edges: holds int64, not the names of nodes"


def test_metadata_that_is_no_group_is_left_out(tmp_path: Path) -> None:
    file = read(written(tmp_path / "a.nir", small_graph(), put("node/metadata", 1)))
    assert file.graph.metadata == {}
    assert codes(file) == [("NIR016", "warning", None, "metadata")]


@pytest.mark.parametrize("value", [7, [1, 2], EMPTY])
def test_a_version_that_is_no_text(tmp_path: Path, value: Any) -> None:
    file = read(written(tmp_path / "a.nir", small_graph(), put("version", value)))
    assert file.version is None
    assert codes(file) == [("NIR018", "info", None, "version")]


@pytest.mark.parametrize("value", [b"0.1", ["0.1"], np.array([b"0.1"])])
def test_versions_of_every_kind(tmp_path: Path, value: Any) -> None:
    assert read(written(tmp_path / "a.nir", small_graph(), put("version", value))).version == "0.1"


def test_many_findings_of_a_kind_become_one(tmp_path: Path) -> None:
    edits = [put(f"node/nodes/lif/f{i}", 1) for i in range(100)]
    edits += [put(f"node/metadata/f{i:02}", 1j) for i in range(20)]
    edits += [put(f"node/nodes/linear/f{i}", 1) for i in range(8)]
    file = read(written(tmp_path / "a.nir", small_graph(), *edits))
    assert len(file.findings) == 8 + 1 + 1
    by_node = {finding.node: finding for finding in file.findings}
    assert by_node["lif"].message == "100 fields that this node type does not have; not used"
    assert by_node[None].message == (
        "cannot be read; skipped; also 'metadata/f01', 'metadata/f02', 'metadata/f03' and 16 more"
    )


def test_scalars_of_a_whole_layer_say_how_many(tmp_path: Path) -> None:
    edits = [put("node/nodes/lif/tau", np.float32(0.5))]
    finding = read(written(tmp_path / "a.nir", small_graph(), *edits)).findings[0]
    assert finding.message == "has the shape (), its node has (3,)"
    assert finding.hint == "taken for all 3 neurons"
    assert finding.repair == "scalar-parameters"


# ---- how datasets are stored


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "<i2", "|u1", "?"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (3, 2)},
        {"chunks": (2, 3)},
        {"chunks": (1, 1), "compression": "gzip"},
        {"compression": "gzip", "shuffle": True},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "lzf"},
        {"compression": "szip"},
        {"fletcher32": True},
        {"chunks": (4, 4), "maxshape": (None, None), "compression": "gzip"},
    ],
    ids=str,
)
def test_numbers_however_stored(tmp_path: Path, dtype: str, options: dict[str, Any]) -> None:
    weight = (np.arange(35).reshape(5, 7) % 3).astype(dtype)
    path = written(tmp_path / "a.nir", small_graph(), put("node/metadata/x", weight, **options))
    found = read(path).graph.metadata["x"]
    assert found.tolist() == weight.tolist()
    assert found.dtype == weight.dtype.newbyteorder("=")
    assert found.flags.writeable


def test_chunks_that_were_never_stored(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        options = {"chunks": (2,), "compression": "gzip", "fillvalue": 7.0}
        some = file.create_dataset("node/metadata/some", (5,), "f8", **options)
        some[2:4] = 1
        file.create_dataset("node/metadata/none", (5,), "f8", **options)
        file.create_dataset("node/metadata/flat", (3,), "f4", fillvalue=2)
        file.create_dataset("node/metadata/zero", (0, 3), "f4", chunks=(1, 3), maxshape=(None, 3))
        file.create_dataset("node/metadata/text", (2,), TEXT, chunks=(1,))

    metadata = read(written(tmp_path / "a.nir", small_graph(), edit)).graph.metadata
    assert metadata["some"].tolist() == [7, 7, 1, 1, 7]
    assert metadata["none"].tolist() == [7] * 5
    assert metadata["flat"].tolist() == [2] * 3
    assert metadata["zero"].shape == (0, 3)
    assert metadata["text"].tolist() == [b"", b""]


@pytest.mark.parametrize("libver", ["earliest", "v108", "latest"])
@pytest.mark.parametrize("userblock", [0, 512])
@pytest.mark.parametrize("track", [False, True])
def test_files_of_every_layout(tmp_path: Path, libver: str, userblock: int, track: bool) -> None:
    path = tmp_path / "a.nir"
    with (
        h5py.File(SMALL, "r") as small,
        h5py.File(path, "w", libver=libver, userblock_size=userblock, track_order=track) as file,
    ):
        for name in small:
            small.copy(name, file)
        file["node/metadata/who"] = ["Ada", "", "Grace", "ü"]
        file["node/metadata/list"] = np.arange(5)
    for source in (path, path.read_bytes()):
        found = read(source).graph
        assert found.metadata.pop("who").tolist() == [b"Ada", b"", b"Grace", "ü".encode()]
        assert found.metadata.pop("list").tolist() == [0, 1, 2, 3, 4]
        assert_equal_nodes(found, read(SMALL.getvalue()).graph)


# ---- no HDF5 file, or a damaged one


def test_missing(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.nir") == f"{tmp_path / 'no.nir'}: no such file"
    assert refusal("") == "'': no such file"


def test_directory(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: is a directory; name a .nir file"


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may read everything")
def test_no_permission(model: Path) -> None:
    model.chmod(0)
    assert refusal(model) == f"{model}: permission denied"


def test_permission_denied_is_said(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert refusal(model) == f"{model}: permission denied"


def test_empty(tmp_path: Path) -> None:
    path = tmp_path / "empty.nir"
    path.touch()
    hint = "is empty; a .nir file is an HDF5 file; was it written completely?"
    assert refusal(path) == f"{path}: {hint}"
    assert refusal(b"") == f"<bytes>: {hint}"


@pytest.mark.parametrize("content", [b"x", b"PKZIP" * 999, b"\x89HDF\r\n" * 99, b"[1, 2]\n"])
def test_not_hdf5(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.nir"
    path.write_bytes(content)
    hint = "is not an HDF5 file; a .nir file is an HDF5 file written by nir.write"
    assert refusal(path) == f"{path}: {hint}"
    assert refusal(content) == f"<bytes>: {hint}"


def test_a_zip_archive_is_called_one(tmp_path: Path) -> None:
    path = tmp_path / "model.nir"
    path.write_bytes(b"PK\3\4" * 999)
    assert refusal(path) == f"{path}: is a zip archive, not a .nir file; unpack it (unzip)"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated(model: Path, share: float) -> None:
    content = model.read_bytes()
    model.write_bytes(content[: int(len(content) * share)])
    hint = "is a truncated HDF5 file; copy or write it again"
    assert refusal(model) == f"{model}: {hint}"


SMALL = io.BytesIO()
nir.write(SMALL, small_graph())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(SMALL.getvalue()) - 1))
def test_truncated_anywhere(length: int) -> None:
    line = refusal(SMALL.getvalue()[:length])
    assert line.startswith("<bytes>: is ")


FLIPPING = r"""
import random, resource, sys, warnings
from nirtorch_cli.findings.errors import ConversionError, ReadError
from nirtorch_cli.graph.inspection import inspect
from nirtorch_cli.conversion.defaults import DEFAULT_MAP
from nirtorch_cli.conversion.interpreter import convert
from nirtorch_cli.reading.graphs import read

resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
warnings.simplefilter("error")
content = open(sys.argv[1], "rb").read()
used = [i for i in range(len(content)) if any(content[max(0, i - 8) : i + 8])]
counts = {}
for seed in range(int(sys.argv[2])):
    random.seed(seed)
    damaged = bytearray(content)
    for _ in range(random.choice((1, 2, 4, 16))):
        place = random.choice(used)
        damaged[place] = random.choice((0, 255, random.randrange(256), damaged[place] ^ 1))
    print(seed, flush=True)
    try:
        file = read(bytes(damaged))
        inspect(file)
        convert(file.graph, DEFAULT_MAP)
        kind = "converted"
    except (ReadError, ConversionError) as error:
        kind = type(error).__name__
        assert str(error).isprintable() or "\n" in str(error), error
    counts[kind] = counts.get(kind, 0) + 1
print(counts)
"""


@pytest.mark.parametrize("name", ["two_lif_neurons", "lif_rockpool"])
def test_flipped_bytes(real_files: Path, name: str) -> None:
    """A damaged file is refused or read: it makes neither a traceback, a crash nor a hang."""
    answer = subprocess.run(
        [sys.executable, "-c", FLIPPING, str(real_files / f"{name}.nir"), "200"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert answer.returncode == 0, answer.stdout[-200:] + answer.stderr[-2000:]
    counts = ast.literal_eval(answer.stdout.splitlines()[-1])
    assert sum(counts.values()) == 200
    assert counts["ReadError"] > 20
    assert counts["converted"] > 20


def broken_heap(sound: bytes) -> bytes:
    """The free space of a global heap with the size 0 keeps libhdf5 2.0 busy for good."""
    content = bytearray(sound)
    at = content.index(b"GCOL") + 16
    while int.from_bytes(content[at : at + 2], "little"):
        at += 16 + (int.from_bytes(content[at + 8 : at + 16], "little") + 7) // 8 * 8
    content[at + 8 : at + 16] = bytes(8)
    return bytes(content)


def test_a_heap_that_libhdf5_would_walk_forever(model: Path) -> None:
    content = broken_heap(model.read_bytes())
    hint = "is a damaged HDF5 file: a heap of text is broken; copy or write it again"
    assert refusal(content) == f"<bytes>: {hint}"
    model.write_bytes(content)
    assert refusal(model) == f"{model}: {hint}"


def test_damage_inside(model: Path) -> None:
    """A group's table overwritten: the file opens, and what is in it does not."""
    content = model.read_bytes()
    line = refusal(content.replace(b"SNOD", b"XXXX"))
    assert line.startswith("<bytes>: ")
    assert "damaged HDF5 file: " in line
    assert line.endswith("; copy or write it again")


# ---- HDF5, but no sound NIR graph


def broken(tmp_path: Path, *edits: Edit, kind: type[NirtorchError] = ReadError) -> str:
    """The refusal of an edited file, without the file's name."""
    path = written(tmp_path / "broken.nir", small_graph(), *edits)
    line = refusal(path, kind)
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ([drop("node")], "has no group 'node'; it is an HDF5 file, but does not hold a NIR graph"),
        ([drop("node"), put("node", 1)], "'node' is not an HDF5 group"),
        ([drop("node/type"), drop("node/nodes")], UNTYPED),
        ([drop("node/nodes/lif/type")], f"node 'lif': {UNTYPED}"),
        ([put("node/nodes/lif/type", 3)], "node 'lif', type: is not text"),
        ([put("node/nodes/lif/type", ["LIF", "LI"])], "node 'lif', type: is not text"),
        ([drop("node/nodes/lif/tau")], "node 'lif': LIF without 'tau'"),
        (
            [drop("node/nodes/lif/tau"), drop("node/nodes/lif/r")],
            "node 'lif': LIF without 'tau', 'r'",
        ),
        ([drop("node/nodes")], "a NIRGraph without 'nodes'"),
        ([put("node/nodes", 1)], "'nodes' is not an HDF5 group"),
        ([put("node/nodes/lif", 1)], "node 'lif': 'lif' is not an HDF5 group"),
        ([put("node/edges/x", 1)], "edges: is not a dataset"),
        ([put("node/edges", [b"a", b"b"])], "edges: has the shape (2,), not (number of edges, 2)"),
        (
            [put("node/edges", [[b"a", b"b", b"c"]])],
            "edges: has the shape (1, 3), not (number of edges, 2)",
        ),
        ([put("node/edges", "ab")], "edges: has the shape (), not (number of edges, 2)"),
        ([put("node/edges", [[0, 1], [1, 2]])], "edges: holds int64, not the names of nodes"),
        ([put("node/edges", [[0.0, 1.0]])], "edges: holds float64, not the names of nodes"),
        ([put("node/nodes/linear/weight", "w")], "node 'linear', weight: holds text, not numbers"),
        (
            [put("node/nodes/linear/weight", 1j)],
            "node 'linear', weight: holds neither numbers nor text",
        ),
        (
            [put("node/nodes/linear/weight", h5py.Empty("f"))],
            "node 'linear', weight: holds no value",
        ),
        ([put("node/nodes/linear/weight/x", 1)], "node 'linear', weight: is not a dataset"),
        (
            [put("node/nodes/input/shape", [2.5])],
            "node 'input', shape: holds 2.5, which is not a whole number",
        ),
        (
            [put("node/nodes/input/shape", [np.nan])],
            "node 'input', shape: holds nan, which is not a whole number",
        ),
        (
            [put("node/nodes/input/shape", [-1])],
            "node 'input', shape: is [-1], which is not a shape",
        ),
        (
            [put("node/nodes/input/shape", [[1, 2]])],
            "node 'input', shape: is [[1, 2]], which is not a shape",
        ),
        (
            [put("node/nodes/input/shape", [2**60])],
            "node 'input', shape: holds 1.15292e+18, which is too large",
        ),
        (
            [put("node/nodes/input/shape", [2**35])],
            "node 'input', shape: the file's data claim more than 1,073,741,824 bytes; "
            "if you trust the file, raise the limit (--max-bytes)",
        ),
        ([put("version/x", 1)], "version: is not a dataset"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals(tmp_path: Path, edits: list[Edit], message: str) -> None:
    if message == "version: is not a dataset":
        edits = [drop("version"), *edits]
    if "edges: is not" in message:
        edits = [drop("node/edges"), *edits]
    if "weight: is not" in message:
        edits = [drop("node/nodes/linear/weight"), *edits]
    assert broken(tmp_path, *edits) == message


def test_every_node_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    edits = [put("node/nodes/lif/type", "LIV"), drop("node/nodes/linear/weight")]
    path = written(tmp_path / "a.nir", small_graph(), *edits)
    with pytest.raises(ReadError) as caught:
        read(path)
    assert str(caught.value).splitlines() == [
        f"{path}: node 'lif': unknown node type 'LIV', which nir {nir.version} lacks; did you mean "
        "'LI', 'LIF'? else give it a module with --map, by name: MAP = {'LIV': function}",
        f"{path}: node 'linear': Linear without 'weight'",
    ]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            put("node/nodes/lif/tau", [1.0, 2.0]),
            "node 'lif': tau has the shape (2,), the others (3,); tau is elementwise: one value "
            "for each of the neurons (3,), or one for all",
        ),
        (
            put("node/nodes/linear/weight", 1.0),
            "node 'linear': Linear with parameters that do not fit together: "
            "Weight must be at least 2D",
        ),
    ],
)
def test_shape_errors(tmp_path: Path, edit: Edit, message: str) -> None:
    assert broken(tmp_path, edit, kind=ShapeError) == message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight", np.ones((2, 2)), "weight: has the shape (2, 2), not 4 axes"),
        ("stride", 0, "stride: holds 0, and must be 1 or more"),
        ("dilation", [1, -1], "dilation: holds -1, and must be 1 or more"),
        ("groups", 0, "groups: holds 0, and must be 1 or more"),
        ("padding", "some", "padding: is 'some', not 'same', 'valid' or numbers"),
        ("padding", ["same", "same"], "padding: is 2 words, not 'same', 'valid' or numbers"),
        ("stride", [1, 1, 1], "stride: is [1, 1, 1], not one number or two"),
        ("groups", [1, 1], "groups: is [1, 1], not one number"),
    ],
)
def test_convolutions_that_cannot_be(tmp_path: Path, name: str, value: Any, message: str) -> None:
    path = written(tmp_path / "a.nir", everything()["Conv2d"], put(f"node/{name}", value))
    assert message in refusal(path, ShapeError)


def test_a_flatten_without_one_start(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nir", everything()["Flatten"], put("node/start_dim", [0, 1]))
    assert refusal(path, ShapeError) == f"{path}: start_dim: is [0, 1], not one number"


def test_a_dangling_edge_is_no_matter_of_reading(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nir", small_graph(), put("node/edges", [[b"lif", b"nobody"]]))
    file = read(path)
    assert file.graph.edges == [("lif", "nobody")]
    assert "NIR101" in {finding.code for finding in inspect(file).findings}


def test_names_in_messages_stay_on_one_line(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        file.move("node/nodes/lif", "node/nodes/li\nf\x1b[31m")
        del file["node/nodes/li\nf\x1b[31m/tau"]

    assert broken(tmp_path, edit) == r"node 'li\nf\x1b[31m': LIF without 'tau'"


# ---- files from strangers


@pytest.mark.parametrize(
    "link", [h5py.SoftLink("/node/nodes/linear"), h5py.ExternalLink("/etc/passwd", "/")]
)
@pytest.mark.parametrize("place", ["node/nodes/x", "node/edges", "x", "node/nodes/lif/metadata"])
def test_links_are_refused(tmp_path: Path, link: Any, place: str) -> None:
    def edit(file: h5py.File) -> None:
        if place in file:
            del file[place]
        file[place] = link

    line = broken(tmp_path, edit)
    name = place.rpartition("/")[2]
    assert line.endswith(
        f"'{name}' is a soft or external link; "
        "links are refused: a file from a stranger could point anywhere"
    )


def test_external_storage_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(48)))

    def edit(file: h5py.File) -> None:
        del file["node/nodes/linear/weight"]
        outside = [(str(secret), 0, 48)]
        file["node/nodes/linear"].create_dataset("weight", (3, 2), "<f8", external=outside)

    assert broken(tmp_path, edit) == (
        "node 'linear', weight: keeps its data in another file; "
        "virtual datasets and external storage are refused"
    )


def test_virtual_datasets_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["data"] = np.ones((3, 2))

    def edit(file: h5py.File) -> None:
        del file["node/nodes/linear/weight"]
        layout = h5py.VirtualLayout((3, 2), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "data", (3, 2))
        file["node/nodes/linear"].create_virtual_dataset("weight", layout)

    assert "keeps its data in another file" in broken(tmp_path, edit)


def test_no_error_keeps_a_list_with_a_virtual_layout_open(tmp_path: Path) -> None:
    """Now and then libhdf5 crashes at the end of a process in which such a list is open."""

    def edit(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((3, 2), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "data", (3, 2))
        file.require_group("node/nodes/linear/metadata").create_virtual_dataset("x", layout)

    path = written(tmp_path / "a.nir", small_graph(), edit)
    with pytest.raises(ReadError, match="keeps its data in another file") as caught:
        read(path)
    kept: list[Any] = []
    for frame, _ in traceback.walk_tb(caught.value.__traceback__):
        for value in frame.f_locals.values():
            kept += [value] if isinstance(value, h5py.h5p.PropID) else []
    assert kept == []


def test_a_ring_of_hard_links(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        file["node/nodes/again"] = file["node"]

    assert broken(tmp_path, edit) == (
        "node 'again': the group 'again' is in the file twice, or inside itself; "
        "hard links to groups are refused: they can form a ring"
    )


def test_a_ring_in_metadata(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        group = file.create_group("node/metadata/a")
        group["b"] = group

    assert "the group 'metadata/a/b' is in the file twice" in broken(tmp_path, edit)


def test_hard_links_do_not_multiply(tmp_path: Path) -> None:
    """Two links to each of thirty nested graphs would be read a billion times."""

    def edit(file: h5py.File) -> None:
        outer = file["node"]
        for _ in range(30):
            inner = file.create_group(None)
            inner["type"], inner["edges"] = "NIRGraph", np.zeros((0, 2))
            inner.create_group("nodes")
            outer["nodes/a"] = outer["nodes/b"] = inner
            outer = inner

    assert "is in the file twice" in broken(tmp_path, edit)


def nest(depth: int) -> Edit:
    def edit(file: h5py.File) -> None:
        group = file["node"]
        for _ in range(depth):
            group = group["nodes"].create_group("g")
            group["type"], group["edges"] = "NIRGraph", np.zeros((0, 2))
            group.create_group("nodes/in")
            group["nodes/in/type"], group["nodes/in/shape"] = "Input", [2]

    return edit


def test_nesting_has_a_limit(tmp_path: Path) -> None:
    read(written(tmp_path / "a.nir", small_graph(), nest(MAX_NESTING)))
    line = broken(tmp_path, nest(MAX_NESTING + 1))
    assert line == f"node 'g': graphs nested over {MAX_NESTING} deep"


def test_claims_are_counted_before_they_are_allocated(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        del file["node/nodes/linear/weight"]
        shape = (2**30, 2**30)
        file["node/nodes/linear"].create_dataset("weight", shape, "f8", chunks=(64, 64))

    assert broken(tmp_path, edit) == (
        "node 'linear', weight: the file's data claim more than 1,073,741,824 bytes; "
        "if you trust the file, raise the limit (--max-bytes)"
    )


def test_huge_edges(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        del file["node/edges"]
        file["node"].create_dataset("edges", (2**40, 2), TEXT, chunks=(1024, 2))

    assert broken(tmp_path, edit).startswith("edges: the file's data claim more than ")


def test_a_huge_chunk_of_a_small_dataset(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        del file["node/nodes/linear/weight"]
        file["node/nodes/linear"].create_dataset(
            "weight", (3, 2), "f8", chunks=(2**14, 2**14), maxshape=(None, None)
        )

    path = written(tmp_path / "a.nir", small_graph(), edit)
    assert "claim more than 1,000,000,000 bytes" in refusal(path, max_bytes=10**9)


def test_small_claims_add_up(model: Path) -> None:
    line = refusal(model, max_bytes=100)
    assert "the file's data claim more than 100 bytes" in line
    line = refusal(model, max_bytes=60_000)
    assert "claim more than 60,000 bytes, with 4 nodes; if you trust" in line
    read(model, max_bytes=120_000)


def test_a_column_beside_a_row_makes_no_layer_of_their_product(tmp_path: Path) -> None:
    size = 2**16
    tall, wide = np.ones((size, 1)), np.ones((1, size))
    edits = [put(f"node/nodes/lif/{name}", wide) for name in ("r", "v_leak", "v_reset")]
    edits += [put(f"node/nodes/lif/{name}", tall) for name in ("tau", "v_threshold")]
    path = written(tmp_path / "broken.nir", small_graph(), *edits)
    assert (
        "tau has the shape (65536, 1), v_threshold has the shape (65536, 1), the others (1, 65536)"
    ) in refusal(path, ShapeError)


def test_one_long_text_for_many_elements(tmp_path: Path) -> None:
    """Texts of any length are stored once and can be referred to from everywhere."""
    count = 20_000
    path = written(
        tmp_path / "a.nir", small_graph(), put("node/edges", [["x" * 50_000, "y"]], dtype=TEXT)
    )
    with h5py.File(path, "r+") as file:
        offset = file["node/edges"].id.get_offset()
        del file["node/edges"]
        file["node"].create_dataset("edges", (count, 2), "<u8", data=np.zeros((count, 2)))
        # The same space again, as texts: every element becomes the first one's reference.
        del file["node/edges"]
        file["node"].create_dataset("edges", data=[["?", "?"]] * count, dtype=TEXT)
        target = file["node/edges"].id.get_offset()
    content = bytearray(path.read_bytes())
    reference = bytes(content[offset : offset + 16])
    content[target : target + 32 * count] = reference * (2 * count)
    line = refusal(bytes(content), max_bytes=10_000_000)
    assert line.startswith("<bytes>: edges: ")
    assert "claim more than 10,000,000 bytes" in line


def test_structure_errors_are_not_read_errors(tmp_path: Path) -> None:
    from nirtorch_cli import nir_to_torch

    path = written(tmp_path / "a.nir", small_graph(), put("node/edges", [[b"lif", b"nobody"]]))
    with pytest.raises(StructureError) as caught:
        nir_to_torch(path, {})
    assert all(line.startswith(f"{path}: ") for line in str(caught.value).splitlines())
