"""The list of slow tests names tests that there are."""

from __future__ import annotations

import ast
from pathlib import Path

import conftest
import pytest
from slow import ALL, FIXTURES, SLOW, is_slow


@pytest.mark.parametrize("file", SLOW)
def test_the_slow_tests_are_there(file: str) -> None:
    tree = ast.parse((Path(__file__).parent / file).read_text(encoding="utf8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert SLOW[file] == ALL or set(SLOW[file]) <= functions


def test_the_slow_fixtures_are_there() -> None:
    assert set(vars(conftest)) >= FIXTURES


def test_what_is_slow() -> None:
    assert is_slow("test_fuzz.py", "test_anything", set())
    assert is_slow("test_pages.py", "test_the_demo", set())
    assert is_slow("graph/test_shapes.py", "test_anything", {"tmp_path", "nirtorch"})
    assert not is_slow("test_pages.py", "test_every_link_leads_somewhere", {"tmp_path"})
