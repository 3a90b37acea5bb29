"""What a file says in other words than nir's: read where there is one meaning, else named.

Through the command line. The files of ../shared/hunt, where they are, get the lines that they need.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from conftest import HUNT, needs_hunt
from files import Tree, chain, conv, inlet, lif, linear, outlet, sound, with_, write
from typer.testing import CliRunner, Result

from nirtorch_cli import nir_to_torch
from nirtorch_cli.cli.app import app


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(word) for word in arguments])


def put(folder: Path, tree: Tree) -> Path:
    return write(folder / "m.nir", tree)


# ------------------------------------------------------------------------- other spellings


@pytest.mark.parametrize(
    ("place", "spelling", "line"),
    [
        ("lif/type", "Lif", "node 'lif', type: is 'Lif'; read as LIF"),
        ("lif/type", "L-I_F", "node 'lif', type: is 'L-I_F'; read as LIF"),
        ("w/type", "linear", "node 'w', type: is 'linear'; read as Linear"),
    ],
)
def test_a_type_that_is_spelled_otherwise(
    tmp_path: Path, place: str, spelling: str, line: str
) -> None:
    path = put(tmp_path, with_(sound(), f"node/nodes/{place}", spelling))
    answer = invoke("check", path, "--json")
    assert answer.exit_code == 0
    (verdict,) = json.loads(answer.stdout)["result"]["files"]
    told = [f for f in verdict["findings"] if f["code"] == "NIR018"]
    assert [f"node '{f['node']}', {f['parameter']}: {f['message']}; {f['hint']}" for f in told] == [
        line
    ]


def test_cubalif_as_the_paper_spells_it(tmp_path: Path) -> None:
    cuba = {**lif(2), "type": "CuBaLIF", "tau_syn": np.ones(2), "tau_mem": np.ones(2)}
    del cuba["tau"]
    path = put(tmp_path, chain(input=inlet(2), c=cuba, output=outlet(2)))
    assert invoke("convert", path, "--steps", 1).exit_code == 0


@pytest.mark.parametrize("word", ["SAME", "Same", "VALID", b"same", "valid "])
def test_padding_in_capitals(tmp_path: Path, word: Any) -> None:
    grown = conv((3, 2, 3, 3), padding=word)
    plain = conv((3, 2, 3, 3), padding=(word if isinstance(word, str) else "same").strip().lower())
    told = []
    for node in (grown, plain):
        path = put(tmp_path, chain(input=inlet(2, 5, 6), conv=node, output=outlet(3, 5, 6)))
        answer = invoke("convert", path, "--json", "--steps", 1)
        rows = json.loads(answer.stdout)["result"]
        told.append(rows and [row["output_shape"] for row in rows["nodes"]])
    assert told[0] == told[1]


def test_padding_that_is_neither(tmp_path: Path) -> None:
    node = conv((3, 2, 3, 3), padding="full")
    path = put(tmp_path, chain(input=inlet(2, 5, 6), conv=node, output=outlet(3, 5, 6)))
    answer = invoke("convert", path)
    assert answer.exit_code == 1
    assert "padding: is 'full', not 'same', 'valid' or numbers" in answer.stderr


# --------------------------------------------------------------------------- unknown types


def unknown(**types: str) -> Tree:
    """input -> one node of each type -> output."""
    nodes = {name: {"type": kind, "size": np.array([2, 2])} for name, kind in types.items()}
    return chain(input=inlet(2), **nodes, output=outlet(2))


def test_inspect_shows_the_rest_and_marks_what_is_unknown(tmp_path: Path) -> None:
    path = put(tmp_path, unknown(pool="MaxPool2d", act="ReLU"))
    answer = invoke("inspect", path)
    assert answer.exit_code == 1
    assert [line.split()[:2] for line in answer.stdout.splitlines() if "size" in line] == [
        ["pool", "MaxPool2d"],
        ["act", "ReLU"],
    ]
    assert "pool   ->  act" in answer.stdout
    assert "node 'pool': unknown node type 'MaxPool2d'" in answer.stderr
    assert "did you mean 'SumPool2d', 'AvgPool2d'?" in answer.stderr
    picture = invoke("inspect", path, "-o", tmp_path / "m.svg")
    assert picture.exit_code == 1
    assert "MaxPool2d" in (tmp_path / "m.svg").read_text()


@pytest.mark.parametrize("command", ["convert", "run", "check", "repair", "compare"])
def test_the_others_name_all_of_them_and_what_to_do(tmp_path: Path, command: str) -> None:
    path = put(tmp_path, unknown(bn="BatchNorm2d", act="ReLU"))
    arguments = {"run": ["--input", "zeros"], "check": ["--ignore", "NIR8"]}.get(command, [])
    if command == "compare":
        answer = invoke("compare", "default", "default,integration=exact", "--model", path)
    else:
        answer = invoke(command, path, *arguments)
    assert answer.exit_code == 1
    for name, kind in (("act", "ReLU"), ("bn", "BatchNorm2d")):
        assert (
            f"node '{name}': unknown node type '{kind}', which nir {nir.version} lacks"
        ) in answer.output.replace("error    ", "")
        assert f"MAP = {{'{kind}': function}}" in answer.output


def test_a_map_by_the_name_of_a_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, unknown(act="ReLU"))
    monkeypatch.chdir(tmp_path)
    Path("reluing.py").write_text(
        "import torch\n"
        "def relu(node):\n"
        "    assert node.type_name == 'ReLU' and list(node.parameters['size']) == [2, 2]\n"
        "    return torch.nn.ReLU()\n"
        "MAP = {'ReLU': relu}\n"
    )
    assert invoke("convert", path, "--map", "reluing.py", "--steps", 1).exit_code == 0
    answer = invoke("check", path, "--map", "reluing.py", "--ignore", "NIR8")
    assert (answer.exit_code, answer.stdout.strip()) == (0, "1 file: 1 sound")


def test_a_known_type_by_its_name_is_the_type(tmp_path: Path) -> None:
    import torch

    path = put(tmp_path, sound())
    module = nir_to_torch(path, {"LIF": lambda node: torch.nn.Identity()})
    assert type(module.lif) is torch.nn.Identity


# -------------------------------------------------------------------------------- metadata


def metadata(tree: Tree, **entries: Any) -> Tree:
    return with_(tree, "node/metadata", entries)


@pytest.mark.parametrize(
    ("entries", "dt", "reason"),
    [
        ({"dt": 1e-3}, 1e-3, "the metadata of the graph say so (dt)"),
        ({"dt": np.array([2e-3])}, 2e-3, "the metadata of the graph say so (dt)"),
        ({"time_step": "0.004"}, 4e-3, "the metadata of the graph say so (time_step)"),
        ({"dt": -1.0}, 1e-4, "a guess; nothing in the file tells another"),
        ({"dt": "soon"}, 1e-4, "a guess; nothing in the file tells another"),
        ({"dt": 1e-3, "timestep": 2e-3}, 1e-4, "a guess; nothing in the file tells another"),
    ],
)
def test_a_dt_in_the_metadata_comes_before_a_guess(
    tmp_path: Path, entries: dict[str, Any], dt: float, reason: str
) -> None:
    tree = with_(sound(), "node/nodes/lif/r", np.full(2, 4, "f4"))  # no trace of dt
    path = put(tmp_path, metadata(tree, **entries))
    told = json.loads(invoke("inspect", path, "--json").stdout)["result"]
    assert (told["dt"], told["dt_reason"]) == (dt, reason)


def test_a_trace_comes_before_the_metadata(tmp_path: Path) -> None:
    tau = np.array([5e-3, 1e-2])
    tree = with_(with_(sound(), "node/nodes/lif/tau", tau), "node/nodes/lif/r", tau / 5e-4)
    path = put(tmp_path, metadata(tree, dt=1e-3))
    told = json.loads(invoke("inspect", path, "--json").stdout)["result"]
    assert told["dt"] == 5e-4
    assert told["metadata"]["dt"]["value"] == 1e-3


def test_metadata_are_shown(tmp_path: Path) -> None:
    tree = metadata(sound(), by="hand", deep={"n": 3})
    tree = with_(tree, "node/nodes/w/metadata", {"layer": "first"})
    shown = invoke("inspect", put(tmp_path, tree)).stdout
    assert "metadata by = hand\nmetadata deep = n 3\nmetadata w: layer = first\n" in shown


# ------------------------------------------------------------------ warnings beside an error

EXPLAINED = with_(
    with_(sound(), "node/nodes/w/ceil_mode", True), "node/nodes/w/weight", np.ones((4, 3))
)


@pytest.mark.parametrize("command", ["inspect", "convert", "repair", "run"])
@pytest.mark.parametrize("quiet", [False, True])
def test_warnings_are_printed_beside_an_error(tmp_path: Path, command: str, quiet: bool) -> None:
    path = put(tmp_path, EXPLAINED)
    more = [*(["--quiet"] if quiet else []), *(["--input", "zeros"] if command == "run" else [])]
    answer = invoke(command, path, *more)
    assert answer.exit_code == 1
    words = [line.partition(":")[0] for line in answer.stderr.splitlines()]
    assert words == (["error"] if quiet else ["warning", "error"])
    assert ("ceil_mode: is not a field" in answer.stderr) is not quiet


def test_the_document_has_them_too(tmp_path: Path) -> None:
    document = json.loads(invoke("convert", put(tmp_path, EXPLAINED), "--json").stdout)
    assert [finding["code"] for finding in document["findings"]] == ["NIR015", "NIR203"]


def test_what_was_read_before_it_failed_is_told(tmp_path: Path) -> None:
    tree = with_(with_(sound(), "node/nodes/lif/gain", 1.0), "node/nodes/w/weight", None)
    answer = invoke("inspect", put(tmp_path, tree))
    assert answer.exit_code == 3
    assert "warning" in answer.stderr
    assert "gain: is not a field of this node type" in answer.stderr


# -------------------------------------------------------------- parameters that are wrong

WRONG = {
    "tau 0": (with_(sound(), "node/nodes/lif/tau", np.array([0, 1])), "lif', tau: a time constant"),
    "tau -1": (with_(sound(), "node/nodes/lif/tau", np.array([-1, 1], "i2")), "lif', tau: a time"),
    "delay": (
        chain(input=inlet(2), d={"type": "Delay", "delay": np.array([-1, 2])}, output=outlet(2)),
        "node 'd', delay: a delay of -1; it must be 0 or more, and finite",
    ),
    "bias": (
        chain(
            input=inlet(3),
            w={**linear(2, 3), "type": "Affine", "bias": np.zeros(4)},
            output=outlet(2),
        ),
        "node 'w', bias: has the shape (4,), for outputs of shape (2,)",
    ),
    "groups": (
        chain(input=inlet(2, 5, 6), c=conv((3, 1, 3, 3), groups=2), output=outlet(3, 3, 4)),
        "node 'c', groups: 3 channels cannot be divided into 2 groups",
    ),
    "kernel": (
        chain(
            input=inlet(2, 5, 6),
            p={"type": "SumPool2d", "kernel_size": 9, "stride": 1, "padding": 0},
            output=outlet(2, 1, 1),
        ),
        "node 'p': SumPool2d has a kernel (9, 9) larger than its input (5, 6)",
    ),
}


@pytest.mark.parametrize("command", ["inspect", "check", "repair", "convert", "run"])
@pytest.mark.parametrize("name", WRONG)
def test_every_command_finds_a_wrong_parameter(tmp_path: Path, name: str, command: str) -> None:
    """With the same words, whatever type it is stored in, and before torch does."""
    tree, text = WRONG[name]
    more = {"run": ["--input", "zeros"], "check": ["--ignore", "NIR8"]}.get(command, [])
    answer = invoke(command, put(tmp_path, tree), *more)
    assert answer.exit_code == 1
    assert text in answer.output
    assert "mapper" not in answer.output


# -------------------------------------------------------------------- the files of the hunt

LINES = {
    "nest_flattened": (0, "put into a nested graph of that name [flattened-nest]"),
    "batch_axis_parameters": (0, "taken as (2, 4, 4) [size-one-axes]"),
    "batch_axis_input": (0, "declares the shape (4, 2, 8, 8), but feeds (2, 8, 8)"),
    "w_in_square": (1, "w_in has the shape (4, 4), the others (4,); w_in is elementwise"),
    "parameters_column_and_row": (0, "has the shape (3, 1), its node has (3,); taken as (3,)"),
    "parameters_per_channel_square": (1, "tau could be meant for axis 0 or axis 2: say which"),
    "delay_scalar": (0, "each taken for all neurons that it stands for"),
    "delay_in_steps": (0, "holds whole numbers up to 62, which look like numbers of steps"),
    "slash_in_name": (0, "the name 'block1/fc1' has a slash"),
    "delay_zero_in_loop": (0, "these wait one step (the first is at [0])"),
    "dt_in_metadata": (0, "dt 0.001: the metadata of the graph say so (dt)"),
    "weight_transposed": (1, "it looks transposed: what comes in has (5,), what follows (2,)"),
    "weight_4d": (
        1,
        "it looks like that of a convolution; a Linear has the axes (outputs, inputs)",
    ),
    "linear_on_last_axis": (0, "dt 0.0001"),
    "unknown_field_behind_error": (1, "ceil_mode: is not a field of this node type; not used"),
    "unknown_types": (1, "give it a module with --map, by name: MAP = {'MaxPool2d': function}"),
}


@needs_hunt
@pytest.mark.parametrize("name", LINES)
def test_the_files_of_the_hunt(name: str) -> None:
    code, text = LINES[name]
    answer = invoke("convert", HUNT / f"{name}.nir", "--steps", 2)
    assert (answer.exit_code, text in answer.stderr) == (code, True), answer.stderr


@needs_hunt
def test_every_file_of_the_hunt_has_a_line() -> None:
    assert {path.stem for path in HUNT.glob("*.nir")} == set(LINES)
