"""The worked examples in docstrings that need no file are true."""

from __future__ import annotations

import doctest
import importlib

import pytest

WITH_EXAMPLES = (
    "findings.errors",
    "findings.ordering",
    "findings.suggestions",
    "graph.loops",
    "graph.schedule",
    "primitives.modules.gradients",
    "primitives.modules.neuron",
    "primitives.modules.stepping",
    "running.activity",
    "running.engine.stages",
    "running.signals.binning",
    "running.signals.generators",
    "comparison.trains",
)
"""Files of the package with doctests that run as they stand."""


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"nirtorch_cli.{name}"))
    assert results.attempted > 0
    assert results.failed == 0
