"""Generated code, JSON and help are what they were; scripts/rewrite_golden changes them."""

from __future__ import annotations

from importlib.metadata import version

import golden
import pytest
from conftest import PINNED_TYPER


@pytest.mark.parametrize("name", golden.FILES)
def test_golden_file(name: str) -> None:
    if name.startswith("help") and version("typer") != PINNED_TYPER:
        pytest.skip("another Typer words its help otherwise")
    assert golden.FILES[name]() == golden.path_of(name).read_text(encoding="utf8")


def test_no_golden_file_is_left_over() -> None:
    assert sorted(path.name for path in golden.GOLDEN.iterdir()) == sorted(golden.FILES)
