"""The Typer application and the boundary at which exceptions become lines and exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import Any

import typer
import typer.core

from nirtorch_cli import __version__
from nirtorch_cli.cli import convert, inspect
from nirtorch_cli.cli.output import Report, finish, say
from nirtorch_cli.errors import ExitCode, NirtorchError
from nirtorch_cli.findings import Finding


class BoundedGroup(typer.core.TyperGroup):
    """A command group that lets no traceback out, whoever runs it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta["arguments"] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        arguments: list[str] = ctx.meta["arguments"]
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:
            # The reader of our output has seen enough. Python would complain at exit.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(ExitCode.DONE) from None
        except (Exception, KeyboardInterrupt) as error:
            if "--debug" in arguments:
                traceback.print_exc()
            raise typer.Exit(_report_failure(error, arguments)) from None


def _report_failure(error: BaseException, arguments: list[str]) -> int:
    """Say what went wrong, as lines or JSON; returns the exit code."""
    command = next((word for word in arguments if not word.startswith("-")), "")
    if isinstance(error, NirtorchError):
        code, findings = error.exit_code, error.findings
    elif isinstance(error, KeyboardInterrupt):
        say("interrupted", "error")
        return ExitCode.INTERRUPTED
    elif hasattr(error, "format_message"):  # Typer's usage errors, whichever click they are of
        text = str(error.format_message()).rstrip(".")
        hint = f"see 'nirtorch {command} --help'".replace("  ", " ")
        code, findings = ExitCode.USAGE, (Finding("NIR700", "error", text, hint=hint),)
    else:
        text = f"a bug in nirtorch: {type(error).__name__}: {' '.join(str(error).split())}"
        hint = "please report it; --debug shows where"
        code, findings = ExitCode.BUG, (Finding("NIR900", "error", text, hint=hint),)
    report = Report(command, None, findings, exit_code=code)
    finish(report, as_json="--json" in arguments, quiet=False)
    return code


app = typer.Typer(
    name="nirtorch",
    cls=BoundedGroup,
    no_args_is_help=True,
    # Plain help: rich's would double the time that `--help` and completion take.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"nirtorch {__version__}")
        raise typer.Exit


@app.callback(
    epilog="Exit codes: 0 done; 1 the model is not sound or not convertible; 2 usage; "
    "3 the input cannot be read; 4 a framework is missing; 70 a bug; 130 interrupted."
)
def nirtorch(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Convert NIR files of spiking neural networks to torch.fx GraphModules.

    \b
    Examples:
      nirtorch inspect model.nir
      nirtorch convert model.nir
      nirtorch convert model.nir --map mymaps:MAP -o model.pt
    """
    for stream in (sys.stdout, sys.stderr):
        # A node's name may hold characters that the terminal's encoding lacks.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


app.command(name="convert", no_args_is_help=True, epilog=convert.EPILOG)(convert.convert)
app.command(name="inspect", no_args_is_help=True, epilog=inspect.EPILOG)(inspect.inspect)
