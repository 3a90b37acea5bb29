"""The Typer application, and the boundary at which exceptions become messages and exit codes."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import typer
import typer.core

from nirtorch_cli._version import __version__
from nirtorch_cli.cli import (
    check,
    compare,
    convert,
    export,
    inspect,
    maps,
    repair,
    run,
    schema,
)
from nirtorch_cli.cli.config import META, config_of, for_command, per_file, said
from nirtorch_cli.cli.output import Report, abandon_stdout, finish, say, stdout_error
from nirtorch_cli.cli.run_request import is_saved
from nirtorch_cli.findings.errors import ExitCode, NirtorchError, UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.frameworks import missing_framework
from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.tracebacks import lacks_memory, message, place_in_user_code, reason

MOST = 2**63 - 1
"""The largest whole number of torch and NumPy."""


class Command(typer.core.TyperCommand):
    """A command that takes options from a file, and refuses whole numbers too large for torch."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, list(args))
        if "config" in ctx.params and not ctx.resilient_parsing:
            values = configured(ctx)
            if values:  # once more, now that the models are known that they are for
                ctx.params.clear()
                ctx.default_map = values
                rest = super().parse_args(ctx, list(args))
        for parameter in self.params:
            value = ctx.params.get(str(parameter.name))
            if isinstance(value, int) and not -MOST <= value <= MOST:
                option = max(parameter.opts, key=len)
                raise UsageError(f"{option} {value} is out of range", hint=f"give {MOST} at most")
        return rest


def configured(ctx: Any) -> dict[str, Any]:
    """The values of a configuration for what was not typed; says which they are.

    What single files get of a command that takes many is left in the context.
    """
    params = ctx.params
    config = config_of(params["config"], params["no_config"])
    if config is None:
        return {}
    typed = {name for name in params if ctx.get_parameter_source(name).name != "DEFAULT"}
    known = set(params) - typed
    is_many = "exclude" in params and params.get("out_dir", "") is not None
    model = None if is_many else params.get("model", next(iter(params.get("models", ())), None))
    if not is_many:
        known.discard("exclude")
        if model is None or is_saved(model):
            return {}  # there is none, or it was converted already
    values = for_command(config, known, None if model == check.STDIN else model)
    if is_many:
        ctx.meta[META] = per_file(config, known)
    if not params.get("quiet"):
        for line in said(config, values, is_many and bool(config.per_file)):
            say(line, "note")
    return values


class BoundedGroup(typer.core.TyperGroup):
    """A command group that shows no traceback, however it is run."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _open_closed_streams()
        ctx.meta["arguments"] = list(args)
        with self.boundary(list(args), command=""):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        arguments: list[str] = ctx.meta["arguments"]
        named = next((word for word in arguments if not word.startswith("-")), "")
        with self.boundary(arguments, named if named in self.commands else ""):
            return super().invoke(ctx)

    @contextlib.contextmanager
    def boundary(self, arguments: list[str], command: str) -> Iterator[None]:
        """Turn exceptions into messages or JSON, and an exit code."""
        try:
            with _flushed():
                yield
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:
            abandon_stdout()  # the reader of the pipe has ended
            raise typer.Exit(ExitCode.DONE) from None
        except BaseException as error:  # a user's code raises whatever it likes
            if type(error).__name__ == "NoArgsIsHelpError":
                raise  # not a failure, but the help
            if isinstance(error, SystemExit) and not command:
                raise  # Typer's --show-completion ends like this; no code of a user has run yet
            if "--debug" in arguments:
                traceback.print_exc()
            code, findings = _explained(error, command, arguments)
            report = Report(command, None, findings, exit_code=code)
            is_quiet = not {"--quiet", "-q"}.isdisjoint(arguments)
            with contextlib.suppress(OSError):  # stdout itself may be broken
                finish(report, as_json=_asks_for_json(arguments), quiet=is_quiet)
            raise typer.Exit(code) from None


@contextlib.contextmanager
def _flushed() -> Iterator[None]:
    """Flush stdout now: at exit, Python could no longer report a failure."""
    try:
        yield
    except typer.Exit:
        sys.stdout.flush()
        raise


def _asks_for_json(arguments: list[str]) -> bool:
    """Whether a failure is reported as a JSON document too."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    asked = any(pair == ("--format", "json") for pair in pairs)
    return asked or not {"--json", "--format=json"}.isdisjoint(arguments)


def _explained(
    error: BaseException, command: str, arguments: list[str]
) -> tuple[ExitCode, tuple[Finding, ...]]:
    """The exit code for an exception, and the findings that explain it."""
    if isinstance(error, NirtorchError):
        return error.exit_code, error.context or error.findings
    missing = missing_framework(error)
    if missing is not None:
        return missing.exit_code, missing.findings
    text = message(error)
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED, (Finding("NIR901", "error", text or "interrupted"),)
    if hasattr(error, "format_message"):  # Typer's usage errors, of any version of click
        # Those of 0.29 are pydantic's, with a prefix of its own.
        text = str(error.format_message()).rstrip(".").replace(": Value error, ", ": ")
        hint = f"see 'nirtorch {command} --help'".replace("  ", " ")
        meant = _choice_meant(text)
        hint = f"{meant} {hint}" if meant else hint
        return ExitCode.USAGE, (Finding("NIR700", "error", text, hint=hint),)
    if isinstance(error, SystemExit):
        text = f"code of a map or of a mapped module called sys.exit({error.code!r})"
        return ExitCode.UNSOUND, (Finding("NIR506", "error", text),)
    if lacks_memory(error):
        hint = "try a smaller --batch, fewer --steps, or another --device"
        return ExitCode.UNSOUND, (Finding("NIR902", "error", "not enough memory", hint=hint),)
    if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
        full = stdout_error(error)  # written files report their own errors
        return full.exit_code, full.findings
    place = place_in_user_code(error) if _runs_user_code(arguments) else None
    if place is not None:
        text = f"code of a map or of a mapped module raised {place}: {reason(error)}"
        return ExitCode.UNSOUND, (Finding("NIR506", "error", text),)
    text = f"a bug in nirtorch: {type(error).__name__}: {text}"
    hint = "please report it; --debug shows where"
    return ExitCode.BUG, (Finding("NIR900", "error", text, hint=hint),)


def _choice_meant(text: str) -> str | None:
    """A suggestion for a value that is not one of an option's choices."""
    found = _NO_CHOICE.search(text)
    return did_you_mean(found[1], re.findall(r"'([^']+)'", found[2])) if found else None


def _runs_user_code(arguments: list[str]) -> bool:
    """Whether a map or a saved module is named, which run code of the user."""
    return any(word.startswith(("--map", "-m", "map:")) or ".pt" in word for word in arguments)


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of the system if no more can be written."""

_NO_CHOICE = re.compile(r"'([^']*)' is not one of (.+)", re.DOTALL)
"""Typer's message about a value that is not a choice."""


def _open_closed_streams() -> None:
    """Open the streams that the caller closed (`2>&-`); for None, print would use stdout."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (open to the end)


app = typer.Typer(
    name="nirtorch",
    cls=BoundedGroup,
    no_args_is_help=True,
    # Plain help: rich would double the time of `--help` and completion.
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
    "3 the input cannot be read; 4 a library is missing; 70 a bug; 130 interrupted."
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
      nirtorch run model.nir --input poisson:rate=50
      nirtorch check models --map mymaps:MAP
    """
    for stream in (sys.stdout, sys.stderr):
        # A node's name may have characters that the terminal's encoding lacks.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


for function, epilog in (
    (convert.convert, convert.EPILOG),
    (run.run, run.EPILOG),
    (compare.compare, compare.EPILOG),
    (inspect.inspect, inspect.EPILOG),
    (repair.repair, repair.EPILOG),
    (export.export, export.EPILOG),
    (check.check, check.EPILOG),
):
    app.command(cls=Command, no_args_is_help=True, epilog=epilog)(function)
maps.maps_app.command(cls=Command, no_args_is_help=True)(maps.show)
maps.maps_app.command(cls=Command, no_args_is_help=True)(maps.new)
app.add_typer(maps.maps_app, name="maps")
app.command(cls=Command, epilog=schema.EPILOG)(schema.schema)
