"""The pages of the project: their commands, programs, tables and links are as they say."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pages
import pytest
from conftest import ROOT
from pages import PAGES, text_of
from test_architecture import ROOMS

import nirtorch_cli
from nirtorch_cli.cli.config import config_of

HOUSE = "nirtorch_cli/README.md"
WITH_COMMANDS = [page for page in PAGES if pages.blocks(text_of(page), "console")]
WITH_PYTHON = [page for page in PAGES if pages.doctests(text_of(page))]
SCRIPTS = {f"scripts/{path.name}" for path in (ROOT / "scripts").iterdir()}


def test_all_pages_are_seen() -> None:
    assert {"README.md", "CHANGELOG.md", HOUSE, "mappings/README.md"} <= set(PAGES)
    assert {"scripts/README.md", ".github/CONTRIBUTING.md"} <= set(PAGES)
    assert {"README.md", "mappings/README.md"} <= set(WITH_COMMANDS)


def test_the_front_page_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= 300


@pytest.mark.skipif(os.name == "nt", reason="the commands of the pages are for a POSIX shell")
@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_commands_print_what_the_page_shows(page: str, tmp_path: Path) -> None:
    text = text_of(page)
    pages.prepare(tmp_path, text)
    for block in pages.blocks(text, "console"):
        assert pages.commands(block)
        shown = pages.normalised(block.text)
        assert pages.normalised(pages.run_block(block, tmp_path)) == shown


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python_examples(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of(page)
    pages.prepare(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # where Python at its prompt looks first
    test = doctest.DocTestParser().get_doctest(pages.doctests(text), {}, page, page, 0)
    with warnings.catch_warnings():  # what a page's own text shows where it matters
        warnings.filterwarnings("ignore", ".*written by", nirtorch_cli.NirtorchWarning)
        results = doctest.DocTestRunner().run(test)
    assert results.failed == 0
    assert results.attempted == len(test.examples) > 0


def test_programs_pass_mypy_strict(tmp_path: Path) -> None:
    """What stands at a prompt in a page, and the files in it; names are used anew in a page."""
    programs = {}
    for page in PAGES:
        name, text = re.sub(r"\W", "_", page), text_of(page)
        examples = doctest.DocTestParser().get_examples(pages.doctests(text))
        programs[name] = "".join(example.source for example in examples)
        files = {b.file: b.text for b in pages.blocks(text) if b.file is not None}
        assert not set(files) & {f"{known}.py" for known in programs}
        programs |= {file.removesuffix(".py"): content for file, content in files.items()}
    for name, text in programs.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf8")
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nstrict = True\nallow_redefinition = True\n"
        "[mypy-h5py.*,nir.*,onnxruntime.*]\nignore_missing_imports = True\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "."],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": os.pathsep.join([str(ROOT), str(ROOT / "mappings")])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(bool(text) for text in programs.values()) > 12


@pytest.mark.parametrize("page", PAGES)
def test_what_is_generated_is_as_the_program_has_it(page: str) -> None:
    assert pages.with_tables(text_of(page)) == text_of(page)


def test_everything_generated_stands_in_one_page() -> None:
    counts = Counter(name for page in PAGES for name in pages.tables_in(text_of(page)))
    assert counts == Counter(list(pages.TABLES))


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_by_a_test(page: str, tmp_path: Path) -> None:
    text = text_of(page)
    shown = " ".join(
        command for b in pages.blocks(text, "console") for command in pages.commands(b)
    )
    for block in pages.blocks(text):
        if block.kind == "mermaid":  # either generated, or the drawing of the rooms
            assert page == HOUSE or pages.tables_in(text)
        elif block.kind == "toml":
            file = tmp_path / "pyproject.toml"
            file.write_text(block.text, encoding="utf8")
            assert config_of(str(file), is_off=False) is not None
        elif block.kind in ("sh", "yaml") and "torchrun" in block.text:
            assert page == "nirtorch_cli/running/README.md"  # see tests/cli/test_run_shards.py
        elif block.kind == "yaml":  # see test_the_commands_of_the_ci_jobs
            assert "nirtorch check " in block.text or "id: nirtorch-check\n" in block.text
        elif block.kind == "sh":  # see test_the_demo; the others are what runs the tests
            first = {line.split()[0] for line in block.text.splitlines() if line}
            assert first <= SCRIPTS | {"pip"}
        elif block.file is not None:
            assert block.file.removesuffix(".py") in shown
        else:
            assert block.kind == "console" or (block.kind == "python" and ">>>" in block.text)


WITH_CI_JOBS = [page for page in PAGES for b in pages.blocks(text_of(page), "yaml")
                if "nirtorch check " in b.text]  # fmt: skip


@pytest.mark.parametrize("page", list(dict.fromkeys(WITH_CI_JOBS)))
def test_the_commands_of_the_ci_jobs(page: str, tmp_path: Path) -> None:
    """On the models of the project, as the job's shell would run them."""
    pages.prepare(tmp_path, text_of(page))
    shutil.move(tmp_path / "tests" / "data", tmp_path / "models")
    jobs = [block.text for block in pages.blocks(text_of(page), "yaml")]
    lines = [line.rpartition("nirtorch check ")[2] for job in jobs for line in job.splitlines()
             if "nirtorch check " in line]  # fmt: skip
    assert len(lines) == sum("nirtorch check " in job for job in jobs)
    for line in lines:
        done = subprocess.run(
            [sys.executable, "-m", "nirtorch_cli", "check", *line.split()],
            cwd=tmp_path,
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == 0
        assert done.stdout or (tmp_path / line.split()[-1]).stat().st_size > 500


# ------------------------------------------------------------------------------------- links


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for link in pages.links(text_of(page)):
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in pages.anchors(target.read_text(encoding="utf8")), link


def test_every_page_is_reached_from_the_front_page() -> None:
    found, waiting = {"README.md"}, ["README.md"]
    while waiting:
        page = waiting.pop()
        for link in pages.links(text_of(page)):
            target = os.path.normpath((Path(page).parent / link.partition("#")[0]).as_posix())
            if target in PAGES and target not in found:
                found.add(target)
                waiting.append(target)
    assert found == set(PAGES)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[a](b.md#c) and [d](https://e) `[f](g)`", ["b.md#c"]),
        ("```sh\n[a](b)\n```\n[c](#d)", ["#d"]),
    ],
)
def test_links_are_seen(text: str, found: list[str]) -> None:
    assert pages.links(text) == found


def test_anchors_are_those_of_github() -> None:
    text = "# One `two`\n\n## What's new?\n\n## NIR101 x-y (error, z)\n\n## One two\n"
    assert pages.anchors(text) == {"one-two", "whats-new", "nir101-x-y-error-z", "one-two-1"}


# ---------------------------------------------------------------- what is said of the house


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("nirtorch_cli/")])
def test_what_a_page_names_in_the_package_is_there(page: str) -> None:
    """A code span such as `graph.schedule.schedule` is a room, a file and what is in it."""
    for span in pages.code_spans(text_of(page)):
        if span.split(".")[0] in ROOMS and "." in span and span.replace(".", "").isidentifier():
            assert named(span) is not None, span


def named(span: str) -> Any:
    """What a dotted name in the package stands for; raises if there is no such thing."""
    parts = span.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(("nirtorch_cli", *parts[:length])))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            found = getattr(found, name)
        return found
    raise ModuleNotFoundError(span)


def test_a_name_that_is_not_there_is_seen() -> None:
    assert named("graph.schedule.schedule") is not None
    with pytest.raises(AttributeError):
        named("graph.schedule.nothing")


def test_the_drawing_of_the_house_has_every_room() -> None:
    (drawing,) = pages.blocks(text_of(HOUSE), "mermaid")
    for room in ROOMS:
        assert room in drawing.text
        assert any(link.startswith(f"{room}/") for link in pages.links(text_of(HOUSE)))


# -------------------------------------------------------------------------------- the scripts


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
