"""Every command of the README does what it says there."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import readme
from conftest import PINNED_TYPER, ROOT

PAGE = readme.README.read_text(encoding="utf8")


@pytest.mark.skipif(os.name == "nt", reason="the README's commands are for a POSIX shell")
def test_commands_print_what_the_page_shows(tmp_path: Path) -> None:
    readme.prepare(tmp_path, PAGE)
    shown = [block for block in readme.blocks(PAGE) if block.kind == "console"]
    assert sum(len(readme.commands(block)) for block in shown) >= 10
    for block in shown:
        if "--help" in block.text and version("typer") != PINNED_TYPER:
            continue  # another Typer words its help otherwise
        assert readme.normalised(readme.run_block(block, tmp_path)) == readme.normalised(block.text)


def test_what_is_generated_is_as_the_program_has_it() -> None:
    assert readme.with_tables(PAGE) == PAGE


def test_python_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme.prepare(tmp_path, PAGE)
    monkeypatch.chdir(tmp_path)
    text = "\n".join(b.text for b in readme.blocks(PAGE) if b.kind == "python" and ">>>" in b.text)
    test = doctest.DocTestParser().get_doctest(text, {}, "README", str(readme.README), 0)
    results = doctest.DocTestRunner().run(test)
    assert results.failed == 0
    assert results.attempted > 15


def test_every_block_is_run_by_a_test() -> None:
    for block in readme.blocks(PAGE):
        if block.kind in ("yaml", "mermaid"):
            continue  # see test_the_commands_of_the_ci_jobs and test_what_is_generated
        if block.kind == "sh":
            first = {line.split()[0] for line in block.text.splitlines()}
            assert first <= {"scripts/demo", "scripts/test", "pip"}
        else:
            assert block.kind in ("console", "python")
            assert block.kind == "console" or ">>>" in block.text or block.text.startswith("# ")


def test_the_commands_of_the_ci_jobs(tmp_path: Path) -> None:
    """On the models of the README, as the job's shell would run them."""
    readme.prepare(tmp_path, PAGE)
    jobs = [block.text for block in readme.blocks(PAGE) if block.kind == "yaml"]
    lines = [line.rpartition("nirtorch check ")[2] for job in jobs for line in job.splitlines()
             if "nirtorch check " in line]  # fmt: skip
    assert len(lines) == 3
    for line in lines:
        arguments = line.replace("models", "tests/data").split()
        done = subprocess.run(
            [sys.executable, "-m", "nirtorch_cli", "check", *arguments],
            cwd=tmp_path,
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == 0
        assert done.stdout or (tmp_path / arguments[-1]).stat().st_size > 500


def test_the_demo() -> None:
    """As a stranger runs it, in the environment that the scripts made."""
    if not (Path(sys.prefix) / "installed").exists():
        pytest.skip("not in the environment that the scripts make")
    environment = {**os.environ, "NIRTORCH_ENVIRONMENT": sys.prefix}
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "demo")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("differing spikes   0 of ") == 3
