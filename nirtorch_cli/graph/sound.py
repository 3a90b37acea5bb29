"""Turns a graph as written into one that can be executed, or reports every reason why not.

In: a `nir.NIRGraph`. Out: an `Examination`: the graph with its parameters as arrays, its structure
repaired and, where that is sound, every shape filled in, and all findings on the way. The given
graph is not changed. Cost: linear in nodes, edges and parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import nir

from nirtorch_cli.findings.errors import ConversionError, ShapeError, StructureError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.graph.arrays import with_arrays
from nirtorch_cli.graph.checks import parameters, structure
from nirtorch_cli.graph.repairs import repaired
from nirtorch_cli.graph.shapes import infer_shapes


@dataclass(frozen=True)
class Examination:
    """A graph and the findings about it.

    is_structured: whether its edges make it a graph that could be scheduled.
    """

    graph: nir.NIRGraph
    findings: tuple[Finding, ...]
    is_structured: bool


def examined(
    graph: nir.NIRGraph,
    is_known: Callable[[str, nir.NIRNode], bool] = lambda path, node: False,
) -> Examination:
    """Repair and examine a graph as far as it can be understood.

    Arguments:
        is_known: whether a node of a type that nir does not have is no error all the same, by
            its path.

    Raises:
        ConversionError: it holds what is no node, or a parameter that is no array; see `arrays`.
    """
    clean, findings = repaired(with_arrays(graph))
    findings += structure.examine(clean)
    is_structured = not errors_in(findings)
    if is_structured:
        shaped = infer_shapes(clean)
        clean, findings = shaped.graph, [*findings, *shaped.findings]
    findings += parameters.examine(clean, is_known=is_known)
    return Examination(clean, tuple(findings), is_structured)


def required_sound(
    graph: nir.NIRGraph,
    known: Iterable[Finding] = (),
    *,
    repair: bool = True,
    is_known: Callable[[str, nir.NIRNode], bool] = lambda path, node: False,
) -> Examination:
    """`examined`, for graphs that are to be executed.

    A problem with which a graph can still be executed, such as a NaN, stays a finding.

    Arguments:
        known: the findings from reading the graph; they come first.
        repair: if False, damage that would be repaired is an error.
        is_known: see `examined`.

    Raises:
        StructureError: the graph cannot be executed; lists every reason, nested ones too.
        ShapeError: shapes contradict each other; lists every contradiction.
        ConversionError: it could be executed, but not without a repair; or see `examined`.
    """
    examination = examined(graph, is_known)
    findings = [*known, *examination.findings]
    if not repair:
        findings = [_refused(finding) for finding in findings]
    fatal = [f for f in errors_in(findings) if f.code.startswith(_FATAL)]
    if fatal:
        groups = {finding.code[:4] for finding in fatal}
        if "NIR1" in groups or not examination.is_structured:
            raise StructureError(fatal, findings)
        raise (ShapeError if "NIR2" in groups else ConversionError)(fatal, findings)
    return replace(examination, findings=tuple(findings))


_FATAL = ("NIR0", "NIR1", "NIR2", "NIR309")
"""Codes of errors that make a module impossible; with the others it would give wrong numbers."""


def errors_in(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that say that a model is not sound."""
    return [finding for finding in findings if finding.severity == "error"]


def require_no_errors(findings: Sequence[Finding]) -> None:
    """Refuse a model of which a finding says that its numbers cannot be trusted.

    Raises:
        ConversionError: there is such a finding.
    """
    errors = errors_in(findings)
    if errors:
        raise ConversionError(errors, findings)


def _refused(finding: Finding) -> Finding:
    """The error for damage that would have been repaired."""
    if finding.repair is None:
        return finding
    hint = f"the repair {finding.repair!r} would correct it, but is turned off"
    return replace(finding, severity="error", hint=hint, repair=None)
