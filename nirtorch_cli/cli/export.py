"""`nirtorch export`: a saved module to another format, or back to a .nir file."""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated

import typer

from nirtorch_cli.cli import completion
from nirtorch_cli.cli.convert import check_output, saved_line
from nirtorch_cli.cli.options import Debug, Json, NoClobber, Quiet, SequenceOption, Trust
from nirtorch_cli.cli.output import Report, finish
from nirtorch_cli.cli.progress import progress
from nirtorch_cli.cli.run_request import is_saved
from nirtorch_cli.conversion.artefacts.formats import ARTEFACTS, SEQUENCE, artefact_of
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.text import quoted
from nirtorch_cli.reading.formats import written_suffixes

EPILOG = """\b
Examples:
  nirtorch export tuned.pt -o tuned.nir --trust        what was trained, as a NIR file again
  nirtorch export tuned.pt -o tuned.safetensors --trust
"""


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A saved module (.pt).")],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help=f"Write it, by suffix ({written_suffixes(ARTEFACTS)}); - for stdout.",
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="Write it as this, whatever the suffix.",
            autocompletion=completion.artefacts,
        ),
    ] = None,
    sequence: SequenceOption = False,
    trust: Trust = False,
    no_clobber: NoClobber = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a saved module in another format.

    As .nir it is the file again that the module was converted from, with the parameters as they are
    now: what was not changed since is equal byte for byte.
    """
    check_output(model, output, to, sequence, no_clobber, as_json, code=False)
    written = artefact_of(output, to)
    stdout = sys.stdout
    with progress(enabled=not quiet) as stage, contextlib.redirect_stdout(sys.stderr):
        stage("loading")
        from nirtorch_cli.conversion.artefacts.opaque import OpaqueModule
        from nirtorch_cli.conversion.model import saved_model

        if not is_saved(model):
            text = f"{quoted(model)} is no saved module"
            raise UsageError(text, hint="'nirtorch convert' takes a .nir file, and -o any format")
        module = saved_model(model, "cpu", trust=trust)
        if isinstance(module, OpaqueModule):
            text = f"{quoted(model)} is a program, which is written in no other format"
            raise UsageError(text, hint="convert the .nir file, or export the .pt")
        stage("saving")
        target = stdout.buffer if output == "-" else output
        options = {SEQUENCE: True} if sequence else {}
        written.write()(module, target, clobber=not no_clobber, **options)
    report = Report(
        "export",
        lambda: {"saved": output, "format": written.name},
        notes=[saved_line(module, output)] if output == "-" else [],
        show=None if output == "-" or quiet else lambda: print(saved_line(module, output)),
    )
    finish(report, as_json=as_json, quiet=quiet)
