"""Options and arguments that several commands share; a letter means the same everywhere."""

from __future__ import annotations

import sys
from typing import Annotated, Any, BinaryIO, Literal

import typer

from nirtorch_cli.cli import completion
from nirtorch_cli.conversion.options import Dtype, IntegratorInput
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.primitives.dynamics import FireAt, Integration, Reset, Surrogate

Model = Annotated[str, typer.Argument(help="A .nir file; - for stdin.", metavar="MODEL")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, on failure too.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="On stderr, print errors only.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        autocompletion=completion.configs,
        help="Take options from its [tool.nirtorch], maps that are code too. [default: the "
        "nearest pyproject.toml that has it]",
        show_default=False,
    ),
]
NoConfig = Annotated[bool, typer.Option("--no-config", help="Take options from no file.")]
Exclude = Annotated[
    list[str],
    typer.Option(
        metavar="PATTERN",
        help="Leave files and folders out of the folders and patterns. May be repeated.",
    ),
]
NoClobber = Annotated[
    bool, typer.Option("--no-clobber", "-n", help="Never replace an existing output.")
]
NoRepair = Annotated[
    bool, typer.Option("--no-repair", help="Refuse a damaged graph instead of repairing it.")
]
Maps = Annotated[
    list[str],
    typer.Option(
        "--map",
        "-m",
        metavar="SPEC",
        autocompletion=completion.maps,
        help="A node map: package.module:ATTR, package.module (its MAP), file.py:ATTR, an "
        "installed pack ('nirtorch maps'), or auto: the pack of the program that wrote MODEL. "
        "Options follow a colon: snntorch:reset=zero. May be repeated; later ones win.",
    ),
]
MapNodes = Annotated[
    list[str],
    typer.Option(
        "--map-node",
        metavar="NODE=SPEC",
        autocompletion=completion.map_nodes,
        help="A mapper or map for single nodes, by path or pattern; wins over --map. May be "
        "repeated.",
    ),
]
NoDefaults = Annotated[bool, typer.Option("--no-defaults", help="Map nothing by default.")]
SkipUnmapped = Annotated[
    bool, typer.Option("--skip-unmapped", help="Pass through nodes that no map knows.")
]
Dt = Annotated[
    str,
    typer.Option(
        metavar="auto|SECONDS",
        help="Length of a step, in the unit of the time constants.",
        autocompletion=completion.auto,
    ),
]
IntegrationOption = Annotated[
    Integration, typer.Option(help="Forward Euler, or the exact solution.")
]
SurrogateOption = Annotated[
    Surrogate, typer.Option(help="Derivative of a spike in the backward pass.")
]
ResetOption = Annotated[
    Reset, typer.Option(help="A spike sets v to v_reset, lowers it by v_threshold, or leaves it.")
]
ResetDelay = Annotated[
    bool, typer.Option("--reset-delay", help="The reset of a spike acts in the next step.")
]
FireAtOption = Annotated[
    FireAt, typer.Option("--fire-at", help="Fire where v is above its threshold, or reached it.")
]
IntegratorInputOption = Annotated[
    IntegratorInput,
    typer.Option(help="I and IF take charge per step, or current; auto: as the file tells."),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        help="Where the module is put: cpu, cuda:0, meta.",
        autocompletion=completion.devices,
    ),
]
DtypeOption = Annotated[Dtype, typer.Option(help="Its floating type.")]
MaxBytes = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Refuse a file whose data, or whose network in one step, would take more bytes. "
        "[default: 1 GiB, or 8 times the file]",
        min=1,
        show_default=False,
    ),
]


def jobs_option(text: str) -> Any:
    """`--jobs` of a command that takes many files; `text` is its help."""
    return typer.Option("--jobs", "-j", min=1, metavar="N", help=text)


def out_dir_option(text: str) -> Any:
    """`--out-dir` of a command that makes files of many; `text` says which."""
    manifest = "Its nirtorch.json tells what is up to date, which is not done again."
    return typer.Option("--out-dir", metavar="FOLDER", help=f"{text} {manifest}")


def model_source(model: str) -> str | BinaryIO:
    """The path that MODEL names, or for `-` stdin."""
    if model != "-":
        return model
    if sys.stdin.isatty():
        raise UsageError("MODEL is - but stdin is a terminal", hint="pipe a .nir file into it")
    return sys.stdin.buffer


def seconds(text: str, option: str) -> float | None:
    """A positive number, or None for 'auto'."""
    if text == "auto":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(f"{option} {text!r} is neither 'auto' nor a positive number")
    return value


TimeUnit = Literal["s", "ms", "us", "ns", "step"]
EventCount = Literal["sum", "one"]
"""See `running.signals.events`, which has the same and loads NumPy."""

Layout = Literal["TB", "BT"]
"""The first two axes of an array: T is time, B the batch."""

LayoutOption = Annotated[
    Layout,
    typer.Option("--layout", help="The first axes of arrays: time, then batch, or the reverse."),
]
TimeUnitOption = Annotated[
    TimeUnit | None,
    typer.Option(
        "--time-unit",
        help="What t of event files is counted in; s is the unit of dt. [default: s, if there are "
        "fractions]",
        show_default=False,
    ),
]
EventsOption = Annotated[
    EventCount,
    typer.Option("--events", help="Events of a neuron in one step add up, or count as one."),
]
SequenceOption = Annotated[
    bool,
    typer.Option(
        "--sequence",
        help="Save it for whole sequences, (time, batch, ...), not for one step (.onnx).",
    ),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Load a saved .pt or .pt2, which may run any code.")
]
