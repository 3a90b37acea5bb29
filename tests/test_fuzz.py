"""The fuzzer: a few hundred cases of it, and that it sees what it is there to see."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from conftest import ROOT

SCRIPTS = ROOT / "scripts"
FUZZ = str(SCRIPTS / "fuzz")

pytestmark = pytest.mark.skipif(
    Path(sys.prefix).name != ".venv", reason="not in the environment that the scripts make"
)


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


def fuzz(*arguments: str) -> tuple[int, str]:
    """Exit code and output of a run."""
    answer = subprocess.run(
        [sys.executable, FUZZ, *arguments], capture_output=True, text=True, timeout=300
    )
    assert answer.stderr == ""
    return answer.returncode, answer.stdout


def results(out: Path) -> dict[int, dict[str, Any]]:
    lines = (out / "results.jsonl").read_text().splitlines()
    return {fields["number"]: fields for fields in map(json.loads, lines)}


def test_a_few_hundred_cases(tmp_path: Path) -> None:
    code, output = fuzz("--cases", "200", "--seed", "7", "--out", str(tmp_path))
    assert code == 0, output
    found = results(tmp_path)
    assert set(found) == set(range(200))
    # It is of no use if all files are refused, or none.
    codes = [fields["code"] for fields in found.values()]
    assert min(codes.count(0) + codes.count(1), codes.count(3)) > 40
    assert sum(fields["nir"] == "reads" for fields in found.values()) > 25


def test_a_case_depends_on_its_number_only(tmp_path: Path) -> None:
    import fuzz_mutations

    sources = [path.read_bytes() for path in sorted((ROOT / "tests" / "data").glob("*.nir"))]
    files = []
    for number in (*range(40), *range(40)):
        path = tmp_path / f"{len(files)}.nir"
        done = fuzz_mutations.mutated(path, sources, 3, number)
        files.append((path.read_bytes(), done))
    assert files[:40] == files[40:]
    assert len({content for content, _ in files}) > 35


def test_every_mutation_changes_something(tmp_path: Path) -> None:
    import random

    import fuzz_mutations

    source = (ROOT / "tests" / "data" / "digits_conv.nir").read_bytes()
    path = tmp_path / "a.nir"
    for mutation in fuzz_mutations.MUTATIONS:
        changed = 0
        for seed in range(20):
            path.write_bytes(source)
            try:
                with h5py.File(path, "r+") as file:
                    mutation(file, random.Random(seed))
            except Exception:
                continue
            changed += path.read_bytes() != source
        assert changed > 2, mutation.__name__


def test_a_run_goes_on_where_it_was_left(tmp_path: Path) -> None:
    out = ["--out", str(tmp_path), "--plant", "print('{}')"]
    fuzz("--cases", "6", *out)
    before = results(tmp_path)
    with open(tmp_path / "results.jsonl", "a") as lines:
        lines.write('{"seed": 0, "number": 6, "comm')  # it was stopped here
    code, output = fuzz("--cases", "10", *out)
    assert (code, "4 cases in" in output, "6 done before" in output) == (0, True, True)
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    kept = [json.loads(line) for line in lines if line.endswith("}")]
    assert len(lines) == len(kept) + 1
    assert {fields["number"]: fields for fields in kept[:6]} == before
    assert [fields["number"] for fields in kept].count(3) == 1
    assert {fields["number"] for fields in kept} == set(range(10))
    # Another seed is another run.
    assert "0 done before" in fuzz("--cases", "1", "--seed", "1", *out)[1]


@pytest.mark.parametrize(
    ("plant", "complaint"),
    [
        ("raise RuntimeError('planted')", "raised: Traceback"),
        ("import sys; sys.exit(70)", "exit code 70"),
        ("import sys; sys.exit(130)", "exit code 130"),
        (
            "import sys, traceback\ntry: 1/0\nexcept Exception: traceback.print_exc()\nsys.exit(1)",
            "a traceback",
        ),
        ("import sys; print('x' * 6000, file=sys.stderr)", "a line of 6000 characters"),
        ("import os; os.write(2, b'x' * 6000)", "a line of 6000 characters"),
        ("print('\\x1b[31m')", "control characters"),
        ("import time; time.sleep(60)", "hung when made"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "died (SIGSEGV)"),
        ("import os; os._exit(3)", "died (exit code 3)"),
        ("x = bytearray(b'x' * (200 << 20))", "took 2"),
    ],
)
def test_what_goes_wrong_is_seen(tmp_path: Path, plant: str, complaint: str) -> None:
    if "SEGV" in plant or "200 <<" in plant:
        pytest.importorskip("resource")
    options = ["--timeout", "3", "--memory", "150", "--out", str(tmp_path), "--plant", plant]
    code, output = fuzz("--cases", "1", *options)
    assert code == 1
    assert output.startswith("case 0, inspect {file} --json: ")
    problems = results(tmp_path)[0]["problems"]
    assert any(complaint in problem for problem in problems), problems
    assert "cases       1, failed 1" in output
    assert (tmp_path / "failures" / "0.nir").exists()


def test_a_difference_to_nir_is_seen() -> None:
    from fuzz_cases import differences

    def graph(**changes: Any) -> nir.NIRGraph:
        one = np.ones(3)
        values = {"tau": one, "r": one, "v_leak": one, "v_threshold": one, "v_reset": one}
        inner = nir.NIRGraph({"lif": nir.LIF(**{**values, **changes})}, [], type_check=False)
        nodes = {"a": nir.Threshold(one), "inner": inner}
        return nir.NIRGraph(nodes, [("a", "inner")], type_check=False)

    assert differences(graph(), graph(), set(), "") == []
    bad = np.array([1, 1, np.nan])
    assert differences(graph(r=bad), graph(r=bad), set(), "") == []
    assert [text.partition(":")[0] for text in differences(graph(r=bad), graph(), set(), "")] == [
        "inner/lif.r"
    ]
    # One value for all is what the node had, and what was said about it.
    alone = graph()
    alone.nodes["inner"].nodes["lif"].tau = np.array(1.0)
    assert len(differences(graph(), alone, set(), "")) == 1
    assert differences(graph(), alone, {"inner/lif"}, "") == []
    other = graph()
    other.edges.append(("a", "a"))
    other.nodes["b"] = other.nodes.pop("a")
    assert len(differences(graph(), other, set(), "")) == 2
