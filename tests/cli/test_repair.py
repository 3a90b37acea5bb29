"""`nirtorch repair`, and `--no-repair` of the other commands, as their users see them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import nir
import numpy as np
import pytest
from files import chain, conv, inlet, loop, outlet, sound, with_, write
from typer.testing import CliRunner, Result

from nirtorch_cli.cli.app import app

STALE = with_(sound(), "node/nodes/output/shape", np.array([1, 2]))
LINE = (
    "stale.nir: node 'output', shape: declares the shape (1, 2), but gets (2,); "
    "taken as (2,) [stale-shape]"
)
REFUSED = (
    "stale.nir: node 'output', shape: declares the shape (1, 2), but gets (2,); "
    "the repair 'stale-shape' would correct it, but is turned off"
)
DIFFERENCE = """\
- nodes/output/shape = [1, 2] (int64, 2)
+ nodes/output/shape = [2] (int64, 1)
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nir, "version", "1.0.8")
    write(Path("stale.nir"), STALE)
    write(Path("sound.nir"), sound())


def invoke(*arguments: str, **options: object) -> Result:
    return CliRunner().invoke(app, list(arguments), **options)  # type: ignore[arg-type]


def test_without_an_output_it_shows_what_would_change() -> None:
    before = sorted(Path().iterdir())
    answer = invoke("repair", "stale.nir")
    assert answer.exit_code == 0
    assert answer.stdout == DIFFERENCE
    assert answer.stderr == f"warning: {LINE}\nnote: 1 repair; -o OUT writes the repaired file\n"
    assert sorted(Path().iterdir()) == before


def test_with_an_output_it_writes_it() -> None:
    answer = invoke("repair", "stale.nir", "-o", "fixed.nir")
    size = Path("fixed.nir").stat().st_size
    assert (answer.exit_code, answer.stdout) == (0, DIFFERENCE)
    assert answer.stderr.splitlines()[1] == f"note: 1 repair; wrote fixed.nir, {size:,} bytes"
    assert list(nir.read("fixed.nir").nodes["output"].output_type["output"]) == [2]
    again = invoke("repair", "fixed.nir")
    assert (again.exit_code, again.stdout) == (0, "")
    assert again.stderr == "note: nothing to repair\n"


def test_from_stdin_to_stdout() -> None:
    answer = invoke("repair", "-", "-o", "-", "--quiet", input=Path("stale.nir").read_bytes())
    assert answer.exit_code == 0
    assert answer.stderr == ""
    assert list(nir.read(io.BytesIO(answer.stdout_bytes)).nodes) == ["input", "lif", "output", "w"]


def test_quiet_says_nothing_but_the_difference() -> None:
    answer = invoke("repair", "stale.nir", "-q")
    assert (answer.exit_code, answer.stdout, answer.stderr) == (0, DIFFERENCE, "")


def test_json() -> None:
    answer = invoke("repair", "stale.nir", "-o", "fixed.nir", "--json", "-q")
    document = json.loads(answer.stdout)
    assert (document["command"], document["ok"], document["exit_code"]) == ("repair", True, 0)
    assert document["result"]["saved"] == "fixed.nir"
    assert document["result"]["changes"] == [
        {"sign": line[0], "text": line[2:]} for line in DIFFERENCE.splitlines()
    ]
    (repair,) = document["result"]["repairs"]
    assert repair == document["findings"][0]
    assert (repair["repair"], repair["code"], repair["severity"]) == (
        "stale-shape",
        "NIR202",
        "warning",
    )


@pytest.mark.parametrize("output", ["fixed.nir", "-", None])
def test_what_cannot_be_repaired_is_not_written(output: str | None) -> None:
    write(Path("broken.nir"), loop(("lif", "nobody"), ("x", "output")))
    arguments = [] if output is None else ["-o", output]
    answer = invoke("repair", "broken.nir", *arguments)
    assert answer.exit_code == 1
    assert answer.stdout == ""
    lines = answer.stderr.splitlines()
    assert [line.startswith("error: broken.nir: ") for line in lines] == [True, True]
    assert not Path("fixed.nir").exists()


def test_what_nir_cannot_check_is_written_only_where_asked_for() -> None:
    grouped = conv((4, 1, 3, 3), groups=2)
    write(Path("groups.nir"), chain(i=inlet(2, 5, 6), c=grouped, o=outlet(4, 3, 4)))
    answer = invoke("repair", "groups.nir", "-o", "fixed.nir")
    assert answer.exit_code == 1
    assert "does not accept it: ValueError: Type inference error" in answer.stderr
    assert "--no-type-check writes it" in answer.stderr
    assert not Path("fixed.nir").exists()
    answer = invoke("repair", "groups.nir", "-o", "fixed.nir", "--no-type-check")
    assert answer.exit_code == 0
    assert nir.read("fixed.nir", type_check=False).nodes["c"].groups == 2


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["stale.nir", "-o", "stale.nir"], 2, "the output is the input, which is never replaced"),
        (["stale.nir", "-o", "sound.nir", "--no-clobber"], 2, "sound.nir: exists already"),
        (["stale.nir", "-o", "no/where.nir"], 2, "there is no such folder"),
        (["stale.nir", "-o", "-", "--json"], 2, "leaves no room on stdout for --json"),
        (["none.nir", "-o", "fixed.nir"], 3, "none.nir: no such file"),
        (["stale.nir", "--max-bytes", "10"], 3, "claim more than 10 bytes"),
    ],
)
def test_a_request_that_is_wrong(arguments: list[str], code: int, text: str) -> None:
    before = {path: path.read_bytes() for path in Path().iterdir()}
    answer = invoke("repair", *arguments)
    assert answer.exit_code == code
    (line,) = answer.stderr.splitlines()
    assert line.startswith("error: ")
    assert text in line
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


# ----------------------------------------------------------------- the other commands


def test_convert_mends_and_says_so_or_refuses() -> None:
    answer = invoke("convert", "stale.nir", "-o", "m.pt")
    assert answer.exit_code == 0
    assert answer.stderr.splitlines()[0] == f"warning: {LINE}"
    refused = invoke("convert", "stale.nir", "-o", "n.pt", "--no-repair")
    assert refused.exit_code == 1
    assert refused.stderr == f"error: {REFUSED}\n"
    assert not Path("n.pt").exists()
    assert invoke("convert", "sound.nir", "-o", "n.pt", "--no-repair").exit_code == 0


@pytest.mark.parametrize(("value", "text"), [(np.nan, "NaN"), (np.inf, "infinite")])
def test_convert_refuses_numbers_that_are_none(value: float, text: str) -> None:
    weight = np.array([[1, value, 1]] * 2, "f4")
    write(Path("bad.nir"), with_(sound(), "node/nodes/w/weight", weight))
    answer = invoke("convert", "bad.nir", "-o", "bad.pt")
    assert answer.exit_code == 1
    assert f"node 'w', weight: 2 of 6 values are {text}" in answer.stderr
    assert not Path("bad.pt").exists()


def test_inspect_shows_what_would_be_repaired() -> None:
    answer = invoke("inspect", "stale.nir")
    assert answer.exit_code == 0
    assert answer.stderr == f"warning: {LINE}\n"
    assert "output  Output  2" in answer.stdout
