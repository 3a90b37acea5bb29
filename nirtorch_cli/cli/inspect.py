"""`nirtorch inspect`: what a .nir file holds, without loading torch."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from nirtorch_cli.cli.options import Debug, Json, MaxBytes, Model, Quiet, model_source
from nirtorch_cli.cli.output import Report, finish, shape_text, table
from nirtorch_cli.cli.progress import progress
from nirtorch_cli.errors import ExitCode
from nirtorch_cli.findings import printable
from nirtorch_cli.limits import DEFAULT_MAX_BYTES

if TYPE_CHECKING:
    from nirtorch_cli.inspecting import Inspection

EPILOG = """\b
Examples:
  nirtorch inspect model.nir
  nirtorch inspect model.nir --json | jq '.result.edges[] | select(.delayed)'
"""


def inspect(
    model: Model,
    max_bytes: MaxBytes = DEFAULT_MAX_BYTES,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show what a .nir file holds: nodes, shapes, parameters and edges.

    Nodes are in the order in which they would be executed. A damaged graph is shown as far
    as it can be understood, and the exit code is 1.
    """
    from nirtorch_cli.inspecting import inspect_file
    from nirtorch_cli.reading import read

    with progress(enabled=not quiet) as stage:
        stage("reading")
        file = read(model_source(model), max_bytes=max_bytes)
        stage("examining")
        inspection = inspect_file(file)
    has_errors = any(finding.severity == "error" for finding in inspection.findings)
    report = Report(
        "inspect",
        lambda: {key: value for key, value in asdict(inspection).items() if key != "findings"},
        findings=inspection.findings,
        show=lambda: show(inspection),
        exit_code=ExitCode.UNSOUND if has_errors else ExitCode.DONE,
    )
    finish(report, as_json=as_json, quiet=quiet)


def show(inspection: Inspection) -> None:
    """The answer for people."""
    size = "" if inspection.size is None else f", {inspection.size:,} bytes"
    print(f"file     {printable(inspection.file)}{size}")
    print(f"version  {printable(inspection.version or 'none')}")
    print(f"dt       {inspection.dt:g}: {inspection.dt_reason}")
    print(f"numbers  {sum(node.numbers for node in inspection.nodes):,}\n")
    table(
        ["node", "NIR", "input", "output", "parameters"],
        [
            [
                node.node,
                node.type,
                shape_text(node.input_shape),
                shape_text(node.output_shape),
                ", ".join(f"{name} {text}" for name, text in node.parameters.items()),
            ]
            for node in inspection.nodes
        ],
    )
    print()
    table(
        ["from", "", "to", ""],
        [
            [edge.source, "->", edge.target, "delayed by a step" if edge.delayed else ""]
            for edge in inspection.edges
        ],
    )
