"""`nirtorch inspect`: shows what a .nir file holds, without loading torch."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nirtorch_cli.cli.options import (
    Config,
    Debug,
    Dt,
    Json,
    MaxBytes,
    Model,
    NoClobber,
    NoConfig,
    Quiet,
    model_source,
    seconds,
)
from nirtorch_cli.cli.output import Report, finish, json_text, shape_text
from nirtorch_cli.cli.progress import progress
from nirtorch_cli.cli.tables import table
from nirtorch_cli.conversion.artefacts.atomic import atomic_write, require_writable
from nirtorch_cli.conversion.options import OF_A_STEP
from nirtorch_cli.drawing.graphs.formats import GRAPHS, LISTS, Direction, Wrap
from nirtorch_cli.findings.errors import ExitCode, UsageError
from nirtorch_cli.findings.text import counted, printable, quoted
from nirtorch_cli.reading.formats import format_by_suffix, format_named, format_to_write

if TYPE_CHECKING:
    from nirtorch_cli.conversion.artefacts.shown import Artefact
    from nirtorch_cli.drawing.graphs.picture import Rendered
    from nirtorch_cli.graph.described import Described
    from nirtorch_cli.graph.inspection import Inspection

EPILOG = """\b
Examples:
  nirtorch inspect model.nir
  nirtorch inspect model.nir --json | jq '.result.edges[] | select(.delayed)'
  nirtorch inspect model.nir -o model.svg
  nirtorch inspect model.nir -o model.svg --direction right --wrap never
  nirtorch inspect model.nir --format mermaid
  nirtorch inspect model.nir -o model.pdf
  nirtorch inspect model.pt                  what made it, and its tensors
"""


FormatName = Literal["text", "json", "svg", "dot", "mermaid", "png", "pdf"]
"""What the answer is written in: the formats of `drawing.graphs.formats`."""

FORMATS = (*LISTS, *GRAPHS)


def inspect(
    model: Model,
    form: Annotated[
        FormatName | None,
        typer.Option(
            "--format",
            metavar="|".join(found.name for found in FORMATS),
            help="What to write; all but text and json draw the graph. "
            "[default: as the name of OUT ends, or text]",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="OUT", help="Write to a file; - for stdout."),
    ] = "-",
    direction: Annotated[
        Direction | None,
        typer.Option(help="Where edges of a picture lead. [default: down]", show_default=False),
    ] = None,
    wrap: Annotated[
        Wrap | None,
        typer.Option(
            help="Cut the rows of a picture into columns; auto: if more than 3,000 pixels high. "
            "[default: auto]",
            show_default=False,
        ),
    ] = None,
    dt: Dt = "auto",
    no_clobber: NoClobber = False,
    max_bytes: MaxBytes = None,
    config: Config = None,
    no_config: NoConfig = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show what a .nir file holds: nodes, shapes, parameters and edges. Or a saved module.

    Nodes are in the order in which they would be executed. In a picture, edges that carry
    the last step's value are dashed, nested graphs are boxes, and nodes with an error, a warning
    or a repair are marked. A damaged graph is shown as far as it can be understood, and the exit
    code is 1. Of what convert -o wrote, what made it and its tensors are shown; no code of it runs.
    """
    from nirtorch_cli.conversion.artefacts.shown import artefact_at
    from nirtorch_cli.graph.inspection import inspect as inspected
    from nirtorch_cli.reading.graphs import read

    chosen, step = chosen_format(form, as_json, output), seconds(dt, "--dt")
    check_picture_options(chosen, direction, wrap)
    check_picture(chosen, output)
    if output != "-":
        require_writable(output, clobber=not no_clobber, source=None if model == "-" else model)
    with progress(enabled=not quiet) as stage:
        stage("reading")
        artefact = None if model == "-" else artefact_at(model)
        if artefact is not None:
            report_artefact(artefact, chosen, output, no_clobber=no_clobber, quiet=quiet)
            return
        file = read(model_source(model), max_bytes=max_bytes)
        stage("examining")
        inspection = inspected(file, dt=step)
        stage("drawing")
        picture = drawn(inspection, chosen, direction or "down", wrap or "auto")
    has_errors = any(finding.severity == "error" for finding in inspection.findings)
    report = Report(
        "inspect",
        lambda: {key: value for key, value in inspection.to_json().items() if key != "findings"},
        findings=inspection.findings,
        notes=() if picture is None else picture.notes,
        show=lambda: show(inspection, picture),
        exit_code=ExitCode.UNSOUND if has_errors else ExitCode.DONE,
    )
    said = summary(inspection)
    write_or_finish(report, chosen, output, said, no_clobber=no_clobber, quiet=quiet)


def report_artefact(
    artefact: Artefact, chosen: str, output: str, *, no_clobber: bool, quiet: bool
) -> None:
    """Answer with what an artefact says of itself.

    Raises:
        UsageError: a picture is asked for.
    """
    if chosen not in [found.name for found in LISTS]:
        text = f"{chosen} draws a graph, and {printable(artefact.file)} is {artefact.called}"
        raise UsageError(text, hint="name the .nir file, or draw it in Python: nirtorch_cli.draw")
    report = Report("inspect", artefact.to_json, show=lambda: show_artefact(artefact))
    write_or_finish(report, chosen, output, "", no_clobber=no_clobber, quiet=quiet)


def write_or_finish(
    report: Report, chosen: str, output: str, said: str, *, no_clobber: bool, quiet: bool
) -> None:
    """End with an answer on stdout, or in a file and `said` on stderr."""
    if output != "-":
        with atomic_write(output, clobber=not no_clobber) as target:
            target.write(content(report, as_json=chosen == "json"))
        note = f"wrote {printable(output)}" + (f": {said}" if said else "")
        report = replace(report, notes=(*report.notes, note), show=None)
    finish(report, as_json=chosen == "json" and output == "-", quiet=quiet)


def chosen_format(name: FormatName | None, as_json: bool, output: str) -> str:
    """The format that the options ask for; --json is --format json.

    Raises:
        UsageError: they ask for two, or OUT's name does not say which.
    """
    named = format_by_suffix(output, FORMATS)
    if as_json:
        if name not in (None, "json"):
            raise UsageError(f"--json and --format {name} ask for two formats")
        if name is None and named is not None and named.name != "json":
            raise UsageError(
                f"--json and -o {quoted(output)} ask for two formats",
                hint="leave out --json, or name a .json file",
            )
        return "json"
    if name is not None:
        return name
    if output == "-":
        return "text"
    return format_to_write(output, FORMATS, "a model", or_else=", or give --format").name


def check_picture_options(chosen: str, direction: Direction | None, wrap: Wrap | None) -> None:
    """Refuse options of pictures for formats without a picture or without a layout of ours.

    Raises:
        UsageError: --direction or --wrap is not used.
    """
    is_list = chosen in [found.name for found in LISTS]
    if direction is not None and is_list:
        text = f"--direction is not used here: {chosen} is not a picture"
        raise UsageError(text, hint=f"give --format {_one_of([one.name for one in GRAPHS])}")
    wrapped = [found.name for found in GRAPHS if "wrap" in found.takes]
    if wrap is not None and chosen not in wrapped:
        text = f"--wrap is not used here: {chosen} is not cut into columns"
        raise UsageError(text, hint=f"give --format {_one_of(wrapped)}")


def _one_of(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def check_picture(chosen: str, output: str) -> None:
    """Refuse a picture that cannot be drawn, or shown, before any work is done.

    Raises:
        UsageError: it is binary, and stdout a terminal.
        MissingFrameworkError: typst, which it needs, is not installed.
    """
    form = format_named(chosen, FORMATS)
    if form.is_binary and output == "-" and sys.stdout.isatty():
        text = f"--format {chosen} would write a binary file to the terminal"
        raise UsageError(text, hint="redirect it, or name a file with -o")
    if form.needs is not None:
        from nirtorch_cli.drawing.graphs.typeset import require_typst

        require_typst()


def drawn(inspection: Inspection, chosen: str, direction: Direction, wrap: Wrap) -> Rendered | None:
    """The picture, if one was asked for."""
    if chosen in [found.name for found in LISTS]:
        return None
    from nirtorch_cli.drawing.graphs.picture import rendered

    return rendered(inspection, chosen, direction=direction, wrap=wrap)


def content(report: Report, *, as_json: bool) -> bytes:
    """The answer as stdout would show it."""
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf8", newline="\n", write_through=True)
    with contextlib.redirect_stdout(stdout):
        if as_json:
            print(json_text(report), end="")
        elif report.show is not None:
            report.show()
    assert isinstance(stdout.buffer, io.BytesIO)
    return stdout.buffer.getvalue()


def summary(inspection: Inspection) -> str:
    """The size of the graph, in one line."""
    delayed = sum(edge.delayed for edge in inspection.edges)
    late = f", {delayed:,} of them delayed by a step" if delayed else ""
    return (
        f"{counted(len(inspection.nodes), 'node')}, {counted(len(inspection.edges), 'edge')}{late}"
    )


def show(inspection: Inspection, picture: Rendered | None) -> None:
    """The answer on stdout, in any format but JSON."""
    if picture is None:
        show_tables(inspection)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(picture.content)  # for any encoding of the terminal


def show_tables(inspection: Inspection) -> None:
    """The answer for people."""
    size = "" if inspection.size is None else f", {inspection.size:,} bytes"
    print(f"file     {printable(inspection.file or 'none')}{size}")
    print(f"version  {printable(inspection.version or 'none')}")
    print(f"dt       {inspection.dt:g}: {inspection.dt_reason}")
    if inspection.integrator_reason is not None:
        print(f"I, IF    take a {inspection.integrator_input}: {inspection.integrator_reason}")
    if inspection.written_by:
        print(f"by       {' or '.join(inspection.written_by)}, to all appearance")
    print(f"numbers  {sum(node.numbers for node in inspection.nodes):,}")
    for name, entry in inspection.metadata.items():
        print(f"metadata {printable(name)} = {printable(metadata_text(entry))}")
    print()
    table(
        ["node", "NIR", "input", "output", "parameters"],
        [
            [
                node.node,
                node.type,
                shape_text(node.input_shape),
                shape_text(node.output_shape),
                ", ".join(f"{name} {value.text}" for name, value in node.parameters.items()),
            ]
            for node in inspection.nodes
        ],
        folds=["parameters"],
    )
    print()
    table(
        ["from", "", "to", ""],
        [
            [edge.source, "->", edge.target, "delayed by a step" if edge.delayed else ""]
            for edge in inspection.edges
        ],
        folds=["to", ""],
    )


def show_artefact(artefact: Artefact) -> None:
    """What an artefact says of itself, for people."""
    whole = ", of whole sequences" if artefact.sequence else ""
    print(f"file     {printable(artefact.file)}, {artefact.size:,} bytes")
    print(f"kind     {artefact.called} ({artefact.format}){whole}")
    made = artefact.provenance
    rows = {
        "from": made.get("file"),
        "sha256": made.get("sha256"),
        "by": " or ".join(made.get("written_by") or ()) or None,
        "dt": f"{made['dt']:g}: {made.get('dt_reason')}" if "dt" in made else None,
        "map": ", ".join(made.get("maps") or ()) or None,
        "step": ", ".join(
            f"{name} {made[name]}" for name in OF_A_STEP if made.get(name) is not None
        ),
        "with": ", ".join(f"{name} {one}" for name, one in (made.get("versions") or {}).items()),
    }
    for name, text in rows.items():
        if text:
            print(f"{name:8} {printable(str(text))}")
    print()
    table(
        ["tensor", "", "shape", "type"],
        [[held.name, held.kind, held.shape_text, held.dtype] for held in artefact.tensors],
        folds=["tensor"],
    )


def metadata_text(entry: Described | dict[str, Described]) -> str:
    """An entry of metadata for people."""
    if isinstance(entry, dict):
        return ", ".join(f"{name} {value.text}" for name, value in entry.items())
    return entry.text
