"""`nirtorch maps`: the installed packs, one of them, and a skeleton that works as it is."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import nirtorch_cli
from nirtorch_cli.cli.app import app
from nirtorch_cli.conversion.importing import installed_packs
from nirtorch_cli.conversion.map_options import written
from nirtorch_cli.findings.errors import ExitCode

PACKS = (
    "lava", "minimal", "mlx_snn", "norse", "rockpool", "sinabs", "snntorch", "spikingjelly", "spyx",
)  # fmt: skip

OPTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "lava": {"scale": ("a whole number", "64")},
    "minimal": {},
    "mlx_snn": {"reset": ("subtract or zero", "subtract")},
    "norse": {"reset": ("value or subtract", "value"), "v_reset": ("a number", "")},
    "rockpool": {
        "max_spikes": ("a whole number", "65536"),
        "bias": ("a text", ""),
        "w_rec": ("a text", ""),
    },
    "sinabs": {
        "spikes": ("multi or single or a whole number", "multi"),
        "reset": ("subtract or zero", "subtract"),
        "norm_input": ("true or false", ""),
        "tau_syn": ("a number", ""),
        "min_v_mem": ("a number", ""),
    },
    "snntorch": {
        "reset": ("subtract or zero or none", "subtract"),
        "delay": ("true or false", "true"),
        "graded": ("a number", "1.0"),
    },
    "spikingjelly": {},
    "spyx": {},
}
"""By pack and option, what it takes and its default."""

LAYERS = {"norse", "rockpool", "sinabs", "snntorch", "spikingjelly"}


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*arguments: str, command: str = "maps") -> Result:
    return CliRunner().invoke(app, [command, *arguments], env={"COLUMNS": "200"})


def document(*arguments: str, code: int = ExitCode.DONE) -> dict[str, Any]:
    answer = invoke(*arguments, "--json")
    assert answer.exit_code == code, answer.output
    start = "note: " if code == ExitCode.DONE else "error: "
    assert all(line.startswith(start) for line in answer.stderr.splitlines())
    found: dict[str, Any] = json.loads(answer.stdout)
    assert found["schema_version"] == 1
    assert found["command"] == "maps"
    assert found["exit_code"] == code
    assert found["ok"] is (code == ExitCode.DONE)
    return found


def failure(*arguments: str) -> str:
    answer = invoke(*arguments)
    assert answer.exit_code not in (ExitCode.DONE, ExitCode.BUG), answer.output
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    return line.removeprefix("error: ")


def test_the_packs_of_this_project_are_installed() -> None:
    assert set(PACKS) <= set(installed_packs())
    assert set(OPTIONS) == set(PACKS)


# ------------------------------------------------------------------------------------- the list


def test_the_list() -> None:
    answer = invoke()
    assert answer.exit_code == ExitCode.DONE
    assert answer.stderr == ""
    heading, *rows = [line for line in answer.stdout.splitlines() if line.strip()]
    assert heading.split()[:2] == ["pack", "framework"]
    text = "\n".join(rows)
    for name in PACKS:
        shown = f"{name}, :layers" if name in LAYERS else name
        (row,) = [line for line in rows if line.split()[0].rstrip(",") == name]
        assert row.startswith(shown)
        found = import_module(f"nirtorch_mappings.{name}")
        if name != "minimal":
            assert found.PACK.framework in row
        assert "nirtorch-cli" in row
        assert all(option in text for option in OPTIONS[name])


def test_the_list_in_json() -> None:
    packs = {pack["name"]: pack for pack in document()["result"]["packs"]}
    assert set(PACKS) <= set(packs)
    assert list(packs) == sorted(packs)
    assert packs["snntorch"]["framework"] == "snnTorch"
    assert packs["minimal"]["framework"] is None
    assert {name for name in PACKS if packs[name]["layers"]} == LAYERS


def test_a_quiet_list_says_nothing() -> None:
    answer = invoke("--quiet")
    assert (answer.exit_code, answer.stderr) == (ExitCode.DONE, "")


# --------------------------------------------------------------------------------------- a pack


@pytest.mark.parametrize("name", PACKS)
def test_a_pack(name: str) -> None:
    answer = invoke("show", name)
    assert answer.exit_code == ExitCode.DONE
    assert answer.stderr == ""
    lines = answer.stdout.splitlines()
    assert lines[0].startswith(f"--map {name}")
    assert any(line.startswith(f"--map {name}:layers") for line in lines) == (name in LAYERS)
    module = import_module(f"nirtorch_mappings.{name}")
    pack = getattr(module, "PACK", None)
    said = module.MAP.__doc__ if pack is None else pack.equations
    for line in said.strip().splitlines():
        assert line.strip() in answer.stdout
    for option, (takes, default) in OPTIONS[name].items():
        (row,) = [line for line in lines if line.split()[:1] == [option]]
        assert takes in row
        assert row.split(takes)[1].strip() == default
    if pack is not None:
        for kind, how in pack.nodes.items():
            *_, row = [line for line in lines if line.split()[:1] == [kind]]
            assert row.split(kind, 1)[1].strip() == how
        assert pack.verified in lines[0]
        assert "Other neurons are refused" in answer.stdout


@pytest.mark.parametrize("name", PACKS)
def test_a_pack_in_json(name: str) -> None:
    pack = document("show", name)["result"]["pack"]
    assert set(pack) == {
        "name", "framework", "verified", "from", "options", "layers", "dt", "nodes", "equations",
    }  # fmt: skip
    assert pack["name"] == name
    options = {o["name"]: (o["values"], written(o["default"])) for o in pack["options"]}
    assert options == OPTIONS[name]
    found = getattr(import_module(f"nirtorch_mappings.{name}"), "PACK", None)
    if found is not None:
        assert pack["nodes"] == dict(found.nodes)
        assert pack["dt"] == found.dt
        assert pack["verified"] == found.verified
    assert pack["equations"].strip()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("snntorsh", "did you mean 'snntorch'"),
        ("Norse", "did you mean 'norse'?"),
        ("xyz", "there are 'lava', 'minimal', 'mlx_snn'"),
    ],
)
def test_a_name_that_is_none(name: str, hint: str) -> None:
    line = failure("show", name)
    assert line.startswith(f"no pack is called '{name}'; {hint}")
    found = document("show", name, code=ExitCode.USAGE)
    (finding,) = found["findings"]
    assert finding["message"] == f"no pack is called '{name}'"


# ----------------------------------------------------------------------------------- a skeleton


def lif_graph() -> nir.NIRGraph:
    n = 4
    node = nir.LIF(
        tau=np.linspace(2e-4, 9e-4, n),
        r=np.linspace(1.5, 3.0, n),
        v_leak=np.linspace(-0.1, 0.1, n),
        v_threshold=np.linspace(0.3, 0.6, n),
        v_reset=np.linspace(-0.2, 0.1, n),
    )
    nodes = {"input": nir.Input(np.array([n])), "n": node, "output": nir.Output(np.array([n]))}
    return nir.NIRGraph(nodes, [("input", "n"), ("n", "output")], type_check=False)


@pytest.mark.parametrize("reset", ["value", "subtract"])
def test_a_skeleton_works_at_once_and_has_the_numbers_of_the_defaults(reset: str) -> None:
    answer = invoke("new", "mymaps.py")
    assert answer.exit_code == ExitCode.DONE
    assert answer.stdout == "wrote mymaps.py\n"
    assert "nirtorch convert MODEL --map mymaps.py" in answer.stderr
    nir.write("model.nir", lif_graph())
    arguments = ["model.nir", "--quiet", "--reset", reset]
    for more in (["--map", "mymaps.py", "-o", "mine.pt"], ["-o", "default.pt"]):
        done = invoke(*arguments, *more, command="convert")
        assert done.exit_code == ExitCode.DONE, done.output
    mine, default = nirtorch_cli.load("mine.pt"), nirtorch_cli.load("default.pt")
    assert type(mine.n).__name__ == "MyLIF"
    x = torch.from_numpy(np.random.default_rng(0).normal(0.3, 1, (60, 3, 4))).float()
    with torch.no_grad():
        found, expected = (nirtorch_cli.run_sequence(m, x) for m in (mine, default))
    assert torch.equal(found.outputs, expected.outputs)
    assert 0.05 < expected.outputs.mean() < 0.9
    torch.testing.assert_close(found.state["n"]["v"], expected.state["n"]["v"])


def test_options_of_a_skeleton() -> None:
    invoke("new", "mymaps.py")
    nir.write("model.nir", lif_graph())
    done = invoke("model.nir", "--map", "mymaps.py:gain=2", command="convert")
    assert done.exit_code == ExitCode.USAGE
    assert "has no option 'gain'" in done.stderr


def test_a_skeleton_names_its_file() -> None:
    Path("lab").mkdir()
    invoke("new", "lab/my maps.py")
    text = Path("lab/my maps.py").read_text(encoding="utf8")
    assert "--map lab/my maps.py" in text
    assert "FILE" not in text
    compile(text, "maps", "exec")


def test_an_existing_file_is_kept() -> None:
    Path("mymaps.py").write_text("mine")
    line = failure("new", "mymaps.py")
    assert line == "mymaps.py: exists already; --force replaces it"
    assert Path("mymaps.py").read_text() == "mine"
    found = document("new", "mymaps.py", code=ExitCode.USAGE)
    assert [finding["code"] for finding in found["findings"]] == ["NIR702"]
    answer = invoke("new", "mymaps.py", "--force")
    assert answer.exit_code == ExitCode.DONE
    assert "class MyLIF" in Path("mymaps.py").read_text()


@pytest.mark.parametrize("name", ["mymaps", "mymaps.txt", "lab/"])
def test_a_name_that_is_no_python_file(name: str) -> None:
    line = failure("new", name)
    assert line == f"'{name}' is not the name of a Python file; end it in .py"
    assert list(Path.cwd().iterdir()) == []


def test_a_folder_that_is_not_there() -> None:
    line = failure("new", "lab/mymaps.py")
    assert line.startswith("lab/mymaps.py: ")
    assert list(Path.cwd().iterdir()) == []


def test_a_skeleton_in_json_and_quietly() -> None:
    assert document("new", "one.py")["result"] == {"saved": "one.py"}
    answer = invoke("new", "two.py", "--quiet")
    assert (answer.exit_code, answer.stdout, answer.stderr) == (ExitCode.DONE, "", "")
    assert Path("one.py").read_text().replace("one.py", "two.py") == Path("two.py").read_text()
