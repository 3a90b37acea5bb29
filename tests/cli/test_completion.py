"""Completion in bash, zsh and fish: what is offered, and that no code runs and nothing is said."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import DATA
from typer.testing import CliRunner

from nirtorch_cli.cli.app import app
from nirtorch_cli.cli.completion import for_bash, joined
from nirtorch_cli.conversion.artefacts.formats import ARTEFACTS
from nirtorch_cli.conversion.importing import installed_packs
from nirtorch_cli.findings.rules import load_rules

GENERATORS = ["poisson:rate=", "constant:value=", "impulse", "uniform", "zeros"]
SHELLS = ("bash", "zsh", "fish")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("digits", "digits_recurrent"):
        shutil.copy(DATA / f"{name}.nir", tmp_path)
    Path("mymaps.py").write_text(
        "from pathlib import Path\nPath('ran').touch()\n"
        "MAP = {}\n_hidden = OTHER = 1\nthird: dict = {}\ndef made(dt): ...\n"
    )
    Path("lab/deep").mkdir(parents=True)
    Path("lab/deep/more.py").touch()
    for name in ("a.pt", "a.onnx", "a.npz", "a.npy", "a.csv", "a.txt", "pyproject.toml", ".x.py"):
        Path(name).touch()
    return tmp_path


def offered(line: str, shell: str = "zsh") -> list[str]:
    """What a shell is offered at the end of a line, which ends where the cursor is."""
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    environment = {
        "_NIRTORCH_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    answer = CliRunner().invoke(app, [], prog_name="nirtorch", env=environment)
    assert answer.stderr == ""
    lines = answer.stdout.splitlines()
    if shell == "zsh":
        return [part.split('"')[0].replace("\\\\:", ":") for part in answer.stdout.split('"')[1::2]]
    return [line.split("\t")[0] for line in lines if line]


def names(line: str) -> list[str]:
    """The same without explanations, which zsh gets behind a colon."""
    return offered(line, "bash")


PACKS = list(installed_packs())

CASES: dict[str, list[str]] = {
    "nirtorch convert digits.nir --map ": [*PACKS, "auto", "lab/", "mymaps.py"],
    "nirtorch convert digits.nir -m my": ["mymaps.py"],
    "nirtorch convert digits.nir -m la": ["lava", "lab/deep/more.py"],
    "nirtorch convert digits.nir -m lab/": ["lab/deep/more.py"],
    "nirtorch convert digits.nir -m .": [".x.py"],
    "nirtorch convert digits.nir -m mymaps.py:": [
        f"mymaps.py:{name}" for name in ("MAP", "OTHER", "third", "made")
    ],
    "nirtorch convert digits.nir -m none.py:": [],
    "nirtorch convert digits.nir --map-node hid": ["hidden="],
    "nirtorch convert digits.nir --map-node hidden=nor": ["hidden=norse"],
    "nirtorch convert digits.nir --to ": [one.name for one in ARTEFACTS],
    "nirtorch export a.pt --to p": ["pt", "pt2", "py"],
    "nirtorch run digits_recurrent.nir --record hidden.l": [
        f"hidden.lif{of}" for of in ("", ":v", ":i", ":spikes")
    ],
    "nirtorch run digits_recurrent.nir -r *": ["*:v", "*:i", "*:spikes"],
    "nirtorch run --record read": [],
    "nirtorch run none.nir --record read": [],
    "nirtorch run a.pt --record read": [],
    "nirtorch run digits.nir --neurons ": [
        f"{name}="
        for name in ("input", "affine_hidden", "hidden", "affine_readout", "readout", "output")
    ],
    "nirtorch run digits.nir --input ": [
        *GENERATORS, "a.csv", "a.npy", "a.npz", "digits.nir", "digits_recurrent.nir", "lab/",
    ],
    "nirtorch run digits.nir -i po": ["poisson:rate="],
    "nirtorch run digits.nir -i input=po": ["input=poisson:rate="],
    "nirtorch check --explain NIR10": [code for code in load_rules() if code.startswith("NIR10")],
    "nirtorch check --select NIR804,NIR80": [
        f"NIR804,{code}" for code in load_rules() if code.startswith("NIR80")
    ],
    "nirtorch check --ignore NIR62": [code for code in load_rules() if code.startswith("NIR62")],
    "nirtorch compare d": ["default"],
    "nirtorch compare default ": ["default", "map:", "file:", "trace:"],
    "nirtorch compare default map:s": [f"map:{name}" for name in PACKS if name.startswith("s")],
    "nirtorch compare default file:": ["file:a.onnx", "file:a.pt", "file:lab/"],
    "nirtorch compare trace:a": ["trace:a.npz"],
    "nirtorch compare default,dt=": ["default,dt="],
    "nirtorch compare map:norse,reset=": [
        f"map:norse,reset={name}" for name in ("value", "subtract", "none")
    ],
    "nirtorch compare default default -M digits.nir -i un": ["uniform"],
    "nirtorch maps show sp": ["spikingjelly", "spyx"],
    "nirtorch schema pro": ["program", "provenance"],
    "nirtorch inspect digits.nir --dt a": ["auto"],
    "nirtorch inspect digits.nir --format p": ["png", "pdf"],
    "nirtorch inspect digits.nir --config ": ["lab/", "pyproject.toml"],
    "nirtorch run digits.nir --device c": ["cpu", "cuda", "cuda:0"],
    "nirtorch convert dig": [],  # the shell's own files
}  # fmt: skip


@pytest.mark.parametrize("line", CASES)
def test_what_is_offered(line: str) -> None:
    assert names(line) == CASES[line]
    assert sorted(offered(line, "fish")) == sorted(CASES[line])
    for word in CASES[line]:
        assert any(found.startswith(word) for found in offered(line, "zsh"))
    assert not Path("ran").exists()


def test_a_model_that_cannot_be_read() -> None:
    Path("broken.nir").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 99)
    assert names("nirtorch run broken.nir --record ") == []
    assert names("nirtorch run broken.nir --input imp") == ["impulse"]


def test_a_model_with_several_inputs(folder: Path) -> None:
    import nir
    from networks import NETWORKS

    nir.write("ends.nir", NETWORKS["several_ends"]())
    found = [name for name in names("nirtorch run ends.nir --input ") if name.endswith("=")]
    assert found[0] == "poisson:rate="
    inputs = found[2:]
    assert len(inputs) == 2
    assert names(f"nirtorch run ends.nir --input {inputs[0]}un") == [f"{inputs[0]}uniform"]


# ----------------------------------------------------------------------------------- bash


@pytest.mark.parametrize(
    ("text", "index", "words", "start"),
    [
        ("n compare map : nor", 4, ["n", "compare", "map:nor"], "map:"),
        ("n compare map :", 3, ["n", "compare", "map:"], "map:"),
        ("n compare map : ", 4, ["n", "compare", "map:", ""], ""),
        ("n run --input = po", 4, ["n", "run", "--input=po"], ""),
        ("n run --input = poisson : ra", 6, ["n", "run", "--input=poisson:ra"], "poisson:"),
        ("n run -i left = po", 5, ["n", "run", "-i", "left=po"], "left="),
        ("n run -i left=po", 3, ["n", "run", "-i", "left=po"], ""),
        ("n -m a.py : M b.nir --dt", 6, ["n", "-m", "a.py:M", "b.nir", "--dt"], ""),
        ("n run ", 2, ["n", "run", ""], ""),
        ("n run x y", 1, ["n", "run"], ""),
        ("n 'a b' 'c d", 2, ["n", "'a", "b'"], ""),
        ("n 'a b' c", 2, ["n", "a b", "c"], ""),
        ("", 0, [""], ""),
        ("n x", "", ["n", "x", ""], ""),
    ],
)
def test_words_that_bash_broke(text: str, index: object, words: list[str], start: str) -> None:
    assert joined(text, str(index)) == (words, start)


def test_only_bash_is_helped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_NIRTORCH_COMPLETE", "complete_zsh")
    monkeypatch.setenv("COMP_WORDS", "n a : b")
    with for_bash():
        assert os.environ["COMP_WORDS"] == "n a : b"


LINES = {
    "nirtorch compare default map:nor": "nirtorch compare default map:norse ",
    "nirtorch run digits_recurrent.nir -r hidden.lif:s": "hidden.lif:spikes ",
    "nirtorch run digits.nir --input=cons": "--input=constant:value= ",
    "nirtorch convert digits.nir -m mymaps.py:thi": "-m mymaps.py:third ",
    "nirtorch check --explain NIR62": "--explain NIR62",
    "nirtorch convert digits_re": "convert digits_recurrent.nir ",
}


@pytest.mark.skipif(os.name == "nt" or shutil.which("bash") is None, reason="bash is not here")
@pytest.mark.parametrize("typed", LINES)
def test_at_a_prompt_of_bash(typed: str, folder: Path) -> None:
    """What stands in the line after the key Tab."""
    import pty

    command = folder / "nirtorch"
    command.write_text(f"#!{sys.executable}\nfrom nirtorch_cli.cli import main\nmain()\n")
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "TERM": "dumb"}
    environment |= {"PS1": "READY", "INPUTRC": "/dev/null"}
    main, other = pty.openpty()
    bash = ["bash", "--norc", "--noprofile", "-i"]
    with subprocess.Popen(bash, stdin=other, stdout=other, stderr=other, env=environment) as shell:
        os.close(other)
        os.write(main, b'source <(_NIRTORCH_COMPLETE=source_bash nirtorch); echo "DO""NE"\n')
        read_until(main, "DONE")
        os.write(main, f"{typed}\t".encode())
        assert LINES[typed] in read_until(main, LINES[typed])
        shell.kill()
    os.close(main)
    assert not Path("ran").exists()


def read_until(terminal: int, text: str, seconds: float = 10) -> str:
    """What a terminal shows until a text comes, or time is up."""
    import select

    found, end = "", time.monotonic() + seconds
    while text not in found and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            found += os.read(terminal, 65536).decode(errors="replace")
    return found
