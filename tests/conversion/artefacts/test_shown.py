"""`nirtorch inspect` of what `convert -o` wrote: what made it, its tensors, and no code of it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import DATA
from typer.testing import CliRunner

from nirtorch_cli import default_map, load, nir_to_torch, save
from nirtorch_cli.cli.app import app
from nirtorch_cli.conversion.artefacts.formats import ARTEFACTS
from nirtorch_cli.conversion.artefacts.provenance import provenance
from nirtorch_cli.conversion.artefacts.shown import Artefact, artefact_at
from nirtorch_cli.findings.errors import ExitCode, ReadError

pytest.importorskip("safetensors")
pytest.importorskip("onnx")

MODEL = DATA / "digits_recurrent.nir"
SHOWN = [form.name for form in ARTEFACTS if form.name != "nir"]


@pytest.fixture(scope="module")
def module() -> Any:
    return nir_to_torch(MODEL, {}, default_map(reset="subtract", surrogate="sigmoid"))


@pytest.fixture(scope="module")
def folder(module: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the module in every format."""
    place = tmp_path_factory.mktemp("artefacts")
    for form in ARTEFACTS:
        form.write()(module, str(place / f"{form.name}{form.suffixes[0]}"))
    return place


def shown(folder: Path, name: str) -> Artefact:
    suffix = next(form.suffixes[0] for form in ARTEFACTS if form.name == name)
    found = artefact_at(str(folder / f"{name}{suffix}"))
    assert found is not None
    return found


@pytest.mark.parametrize("name", SHOWN)
def test_what_made_it(folder: Path, module: Any, name: str) -> None:
    artefact = shown(folder, name)
    assert artefact.format == name
    assert artefact.provenance == json.loads(json.dumps(provenance(module)))
    assert artefact.provenance["sha256"] == hashlib.sha256(MODEL.read_bytes()).hexdigest()
    content = Path(artefact.file).read_bytes()
    assert artefact.size == len(content)
    assert artefact.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["pt", "safetensors", "py"])
def test_its_weights(folder: Path, module: Any, name: str) -> None:
    held = [tensor for tensor in shown(folder, name).tensors if tensor.kind == "weight"]
    expected = {
        name: (list(one.shape), str(one.dtype).removeprefix("torch."))
        for name, one in module.state_dict().items()
    }
    found = {tensor.name: (tensor.shape, tensor.dtype) for tensor in held}
    if name == "py":  # has some constants as numbers in its source, and others in float64
        assert any(key.endswith("weight") for key in found)
        assert all(found[key][0] == expected[key][0] for key in found)
    else:
        assert found == expected


@pytest.mark.parametrize("name", ["pt", "pt2", "onnx"])
def test_its_inputs_and_outputs(folder: Path, name: str) -> None:
    ports = [(t.name, t.kind, t.shape) for t in shown(folder, name).tensors]
    assert ("input", "input", [8]) in ports
    assert ("output", "output", [10]) in ports


@pytest.mark.parametrize("name", ["pt2", "onnx"])
def test_its_state(folder: Path, name: str) -> None:
    state = {t.name: t.shape for t in shown(folder, name).tensors if t.kind == "state"}
    assert state
    assert all(shape is not None and shape[0] == "batch" for shape in state.values())


def test_a_whole_sequence_is_said(folder: Path, module: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    form = next(form for form in ARTEFACTS if form.name == "onnx")
    form.write()(module, str(path), sequence=True)
    found = artefact_at(str(path))
    assert found is not None
    assert found.sequence
    assert not shown(folder, "onnx").sequence


def test_the_name_does_not_count_where_the_content_tells(folder: Path, tmp_path: Path) -> None:
    for name in ("pt", "pt2", "safetensors"):
        shutil.copy(shown(folder, name).file, tmp_path / name)
        found = artefact_at(str(tmp_path / name))
        assert found is not None
        assert found.format == name


def test_a_described_module_loads_as_before(folder: Path, module: Any) -> None:
    x = torch.rand(3, 8)
    file = shown(folder, "pt").file
    stream = io.BytesIO()
    save(module, stream)
    stream.seek(0)
    for loaded in (load(file), load(stream), torch.load(file, weights_only=False, mmap=True)):
        assert torch.equal(loaded(x)[0], module(x)[0])
    assert stream.getvalue() == Path(file).read_bytes()


# ------------------------------------------------------------------------------- other files


def test_files_that_are_no_artefacts(tmp_path: Path, folder: Path) -> None:
    assert artefact_at(str(MODEL)) is None
    assert artefact_at(str(folder / "nir.nir")) is None
    assert artefact_at(str(tmp_path)) is None
    assert artefact_at(str(tmp_path / "none")) is None
    torch.save({"a": torch.ones(1)}, tmp_path / "weights.pt")
    assert artefact_at(str(tmp_path / "weights.pt")) is None
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("nirtorch.json", "{}")
    assert artefact_at(str(tmp_path / "a.zip")) is None


def test_files_of_other_programs(tmp_path: Path) -> None:
    import onnx
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "a", [], [])), tmp_path / "a.onnx")
    (tmp_path / "a.py").write_text("x = 1\n")
    for name in ("a.safetensors", "a.onnx", "a.py"):
        with pytest.raises(ReadError, match="that nirtorch did not write"):
            artefact_at(str(tmp_path / name))


@pytest.mark.parametrize("name", SHOWN)
def test_damage(folder: Path, tmp_path: Path, name: str) -> None:
    file = Path(shown(folder, name).file)
    content = file.read_bytes()
    (tmp_path / file.name).write_bytes(content[: 40 if name == "safetensors" else -40])
    answer = CliRunner().invoke(app, ["inspect", str(tmp_path / file.name)])
    assert answer.exit_code == ExitCode.UNREADABLE
    assert "Traceback" not in answer.output


# -------------------------------------------------------------------------------- the command


@pytest.mark.parametrize("name", SHOWN)
def test_the_command(folder: Path, name: str) -> None:
    file = shown(folder, name).file
    answer = CliRunner().invoke(app, ["inspect", file])
    assert answer.exit_code == 0
    assert "digits_recurrent.nir" in answer.stdout
    assert "reset subtract" in answer.stdout
    answer = CliRunner().invoke(app, ["inspect", file, "--json"])
    result = json.loads(answer.stdout)["result"]
    assert result["format"] == name
    assert result["provenance"]["surrogate"] == "sigmoid"


def test_a_picture_needs_the_graph(folder: Path) -> None:
    answer = CliRunner().invoke(app, ["inspect", str(folder / "pt.pt"), "-o", "x.svg"])
    assert answer.exit_code == ExitCode.USAGE
    assert "svg draws a graph, and" in answer.stderr
    assert not Path("x.svg").exists()


PROGRAM = """
import sys
from nirtorch_cli.conversion.artefacts.shown import artefact_at
for file in sys.argv[1:]:
    print(len(artefact_at(file).tensors) > 0, "torch" in sys.modules)
"""


def test_no_torch_and_no_code(folder: Path, tmp_path: Path) -> None:
    """A pickle that would run something when it is loaded is shown, and runs nothing."""
    trap = tmp_path / "trap.pt"
    with zipfile.ZipFile(folder / "pt.pt") as old, zipfile.ZipFile(trap, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename.endswith("data.pkl"):
                content = b"cos\nmkdir\n(S'sprung'\ntR."
            new.writestr(info, content)
    files = [str(trap), *(shown(folder, name).file for name in SHOWN)]
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, *files],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=dict(os.environ),
        timeout=120,
    )
    assert answer.stderr == ""
    assert answer.stdout.splitlines() == ["True False"] * len(files)
    assert not (tmp_path / "sprung").exists()
