"""Can other programs read the file? Tries `nir.read`.

In: a file that `reading` accepted, since nir's reader follows links and allocates what it is
told to. Out: findings: NIR801 cannot be read at all, NIR802 refused by nir's type check only,
NIR803 not tried. What `reading` left out is not handed to nir either, which reads everything.
Cost: nir's, which grows with nodes times edges; see `MOST_WORK`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import nir

from nirtorch_cli.conversion.artefacts.nir import refusal_by_nir
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import quoted
from nirtorch_cli.reading.graphs import ModelFile

MOST_WORK = 20_000_000
"""Nodes times edges above which nir's type check would take minutes."""


def portability(file: ModelFile, source: str | bytes) -> Iterator[Finding]:
    """What to know before the file is given to a tool that uses the nir package."""
    work = _work(file.graph)
    if work > MOST_WORK:
        text = f"nir.read was not tried: with {work:,} nodes times edges it would take long"
        yield Finding("NIR803", "info", text)
        return
    if any(finding.code in ("NIR015", "NIR016") for finding in file.findings):
        yield _of_what_was_left_out(file.findings)
        return
    refusal = refusal_by_nir(source, type_check=True)
    if refusal is None:
        return
    failure = refusal_by_nir(source, type_check=False)
    if failure is None:
        text = f"nir.read accepts it only with type_check=False: {refusal}"
        yield Finding("NIR802", "info", text)
    else:
        yield _unreadable(failure)


def _of_what_was_left_out(findings: Iterable[Finding]) -> Finding:
    """nir hands every field to its node type; none takes one that it does not know."""
    for finding in findings:
        if finding.code == "NIR015" and finding.parameter not in ("input_type", "output_type"):
            field = "some" if finding.parameter is None else quoted(finding.parameter)
            return _unreadable(f"of a node's fields it does not know {field}")
    text = "nir.read was not tried: it would load what was skipped here"
    return Finding("NIR803", "info", text)


def _unreadable(reason: str) -> Finding:
    hint = "'nirtorch repair' writes one that it can read"
    return Finding("NIR801", "warning", f"nir.read cannot read it: {reason}", hint=hint)


def _work(graph: nir.NIRGraph) -> int:
    """Nodes times edges, of nested graphs too."""
    inner = (node for node in graph.nodes.values() if isinstance(node, nir.NIRGraph))
    return len(graph.nodes) * len(graph.edges) + sum(map(_work, inner))
