"""An error is made of findings, or of the fields of the one that it is."""

from __future__ import annotations

import pytest

from nirtorch_cli import (
    Finding,
    MapError,
    MissingFrameworkError,
    OutputError,
    ReadError,
    UsageError,
)
from nirtorch_cli.findings.errors import NirtorchError


def test_an_error_of_a_findings_fields() -> None:
    error = ReadError("NIR016", "holds no value", "lif", "tau", "write it again", "a.nir")
    assert error.findings == (
        Finding("NIR016", "error", "holds no value", "lif", "tau", "write it again", "a.nir"),
    )
    assert str(error) == "a.nir: node 'lif', tau: holds no value; write it again"
    assert error.context == ()


@pytest.mark.parametrize(
    ("kind", "code"),
    [(UsageError, "NIR700"), (OutputError, "NIR701"), (MissingFrameworkError, "NIR520")],
)
def test_an_error_that_usually_has_one_code(kind: type[NirtorchError], code: str) -> None:
    assert kind("no", hint="yes", file="f").findings == (
        Finding(code, "error", "no", hint="yes", file="f"),
    )
    assert kind("NIR605", "no").findings[0].code == "NIR605"


def test_an_error_without_a_usual_code_says_its_own() -> None:
    assert MapError("NIR510", "no").findings[0].code == "NIR510"
    with pytest.raises(AttributeError, match="usual_code"):
        ReadError("no code")


def test_an_error_of_findings_keeps_its_context() -> None:
    one, other = Finding("NIR101", "error", "a"), Finding("NIR401", "warning", "b")
    for error in (NirtorchError([one], [other]), NirtorchError([one], context=[other])):
        assert error.of("f").findings == (one.of("f"),)
        assert error.of("f").context == (other.of("f"),)
    assert NirtorchError(one).findings == (one,)
