"""Prepares what `nirtorch run` is asked for: the model, its inputs, what to record.

Everything that can be refused is refused here, before a step is run.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from nirtorch_cli.cli.convert import uncollected
from nirtorch_cli.cli.options import model_source
from nirtorch_cli.conversion.artefacts.atomic import require_writable
from nirtorch_cli.conversion.artefacts.formats import ARTEFACTS, require_trust
from nirtorch_cli.conversion.options import Options
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import listed, printable, quoted
from nirtorch_cli.reading.file_kinds import is_saved_file
from nirtorch_cli.reading.formats import format_by_suffix

if TYPE_CHECKING:
    import torch

    from nirtorch_cli.conversion.graph_module import ConvertedModule
    from nirtorch_cli.drawing.runs.choice import Choice
    from nirtorch_cli.running.signals.inputs import InputOptions
    from nirtorch_cli.running.signals.outputs import Label


FormatName = Literal["npz", "csv", "nir"]
"""What outputs are written in."""


@dataclass(frozen=True)
class Files:
    """What is written and where, and the state that is read; None for what is not.

    form: what the output is written in; None to go by its name.
    """

    output: str | None
    state_in: str | None
    state: str | None
    plot: str | None
    clobber: bool
    form: FormatName | None = None

    @property
    def folder(self) -> str | None:
        """Where on the disk what is written later is kept: beside the output, if that is a file."""
        if self.output in (None, "-"):
            return None
        path = os.path.realpath(self.output)
        return None if os.path.exists(path) and not os.path.isfile(path) else os.path.dirname(path)

    @property
    def replaces_state(self) -> bool:
        """Whether the new state replaces the one that was read."""
        if self.state is None or self.state_in is None:
            return False
        return os.path.realpath(self.state) == os.path.realpath(self.state_in)


def check_stdout(files: Files, as_json: bool) -> None:
    """Refuse -o - if stdout is used for something else, or the format is not given.

    Raises:
        UsageError: either.
    """
    if files.output is None and files.form is not None:
        raise UsageError("--format is not used here: nothing is written", hint="give -o")
    if files.output != "-":
        return
    if files.form is None:
        text = "-o - needs a format"
        raise UsageError(text, hint="give --format npz, csv or nir; or name a file")
    if as_json:
        raise UsageError("-o - leaves no room on stdout for --json", hint="name a file")
    if files.form != "csv" and sys.stdout.isatty():
        raise UsageError("-o - would write a binary file to the terminal", hint="redirect it")


def check_files(model: str, inputs: Sequence[str], files: Files) -> None:
    """Refuse files that cannot or must not be written, before any work is done.

    The state that was read may be replaced by the new one; no other input is ever replaced.

    Raises:
        UsageError: an output without a known suffix, one that is written twice, or stdin twice.
        MissingFrameworkError: a picture is asked for, and matplotlib is not installed.
        OutputError: see `require_writable`.
    """
    from nirtorch_cli.reading.sources import file_part_of
    from nirtorch_cli.running.signals.inputs import readings
    from nirtorch_cli.running.signals.outputs import check_format

    specs = [spec for text in inputs for spec in readings(text)]
    read = [model, *(file_part_of(spec).file for spec in specs)]
    check_stdin(model, inputs)
    if files.output is not None:
        check_format(files.output, [], files.form)
    if files.plot is not None:
        from nirtorch_cli.drawing.runs.pictures import picture_format, require_matplotlib

        picture_format(files.plot)
        require_matplotlib()
    output = None if files.output == "-" else files.output
    written = [path for path in (output, files.state, files.plot) if path is not None]
    for path in written:
        for source in [
            *read,
            *([files.state_in] if files.state_in and path != files.state else []),
        ]:
            require_writable(path, clobber=files.clobber, source=None if source == "-" else source)
        same = [other for other in written if os.path.realpath(other) == os.path.realpath(path)]
        if len(same) > 1:
            raise UsageError(f"{quoted(path)} would be written twice", hint="name another file")


def check_stdin(model: str | None, inputs: Sequence[str]) -> None:
    """Refuse to read a model and an input from one stdin.

    Raises:
        UsageError: both are `-`.
    """
    from nirtorch_cli.reading.sources import STDIN, file_part_of
    from nirtorch_cli.running.signals.inputs import readings

    files = [file_part_of(spec).file for text in inputs for spec in readings(text)]
    if model == STDIN and STDIN in files:
        raise UsageError("MODEL and --input are both -, and stdin can be read once only")


def stdin_of(specs: Iterable[str]) -> BinaryIO | None:
    """The stdin that an input is read from; None if none is.

    Raises:
        UsageError: it is a terminal.
    """
    from nirtorch_cli.reading.sources import STDIN, file_part_of

    if not any(file_part_of(spec).file == STDIN for spec in specs):
        return None
    if sys.stdin.isatty():
        raise UsageError("--input is - but stdin is a terminal", hint="pipe a file into it")
    return sys.stdin.buffer


def loaded(
    model: str,
    request: Options,
    max_bytes: int | None,
    trust: bool,
    has_dtype: bool,
    stage: Callable[[str], None],
) -> ConvertedModule:
    """The module of a .nir file, converted, or a saved one; ready to be run.

    Raises:
        NirtorchError: it cannot be read or converted.
        UsageError: it is a saved one and not trusted, or given options that would change it.
    """
    was_saved = is_saved(model)
    if was_saved:
        require_trust(model, trust)
        check_unchanged(model, request)
    if request.device.partition(":")[0] == "meta":
        raise UsageError("--device meta has no values to run with")
    if was_saved:
        stage("loading torch")
        with uncollected():
            from nirtorch_cli.conversion.artefacts.opaque import OpaqueModule
            from nirtorch_cli.conversion.model import saved_model

        module = saved_model(model, request.device, trust=trust)
        if has_dtype:
            if isinstance(module, OpaqueModule):
                text = f"--dtype cannot change {printable(model)}, which is a program"
                raise UsageError(text, hint="run the .nir file")
            import torch

            module.to(getattr(torch, request.dtype))
        module.meta["findings"] = []  # they were reported when it was converted
        return module
    from nirtorch_cli.reading.graphs import read

    stage("reading")
    file = read(model_source(model), max_bytes=max_bytes)
    stage("loading torch")
    with uncollected():
        from nirtorch_cli.conversion.model import convert_model, evaluating

    return evaluating(convert_model(file, request, stage))


def check_unchanged(model: str, request: Options) -> None:
    """Refuse options that would change what is converted already.

    Raises:
        UsageError: there is one.
    """
    usual = Options(device=request.device, dtype=request.dtype, batch=request.batch)
    changed = [name for name in vars(usual) if getattr(usual, name) != getattr(request, name)]
    if changed:
        options = [OPTIONS[name] for name in changed]
        text = f"{listed(options)} cannot change {printable(model)}, which is converted already"
        raise UsageError(text, hint="run the .nir file")


OPTIONS = {
    "maps": "--map",
    "map_nodes": "--map-node",
    "with_defaults": "--no-defaults",
    "skip_unmapped": "--skip-unmapped",
    "dt": "--dt",
    "integration": "--integration",
    "reset": "--reset",
    "reset_delay": "--reset-delay",
    "fire_at": "--fire-at",
    "integrator_input": "--integrator-input",
    "surrogate": "--surrogate",
    "repair": "--no-repair",
}
"""By the name of a conversion's option, what it is called on the command line."""


def example(module: ConvertedModule, request: Options) -> torch.Tensor:
    """A tensor of the dtype and on the device that a module's inputs have."""
    import torch

    from nirtorch_cli.conversion.graph_module import first_floating

    first = first_floating(module)
    if first is not None:
        return torch.empty(0, dtype=first.dtype, device=first.device)
    return torch.empty(0, dtype=getattr(torch, request.dtype), device=request.device)


def labels_of(module: ConvertedModule, record: Sequence[str]) -> list[Label]:
    """The arrays to write: the outputs, then the recordings in the order asked for.

    Raises:
        UsageError: a node does not exist, or does not have the variable.
    """
    from nirtorch_cli.running.recording import known_variables, wanted
    from nirtorch_cli.running.signals.outputs import Label

    names, outputs = module.meta["names"], module.meta["outputs"]
    labels = [
        Label(names.get(name, name), is_output=True, is_only=len(outputs) == 1) for name in outputs
    ]
    for path, variables in wanted(module, record).items():
        order = {name: place for place, name in enumerate(known_variables())}
        ranked = sorted(variables, key=lambda name: (order.get(name, len(order)), name))
        labels += [Label(path, variable) for variable in ranked]
    return labels


def recorded(module: ConvertedModule, labels: Sequence[Label], *, with_spikes: bool) -> list[str]:
    """The variables for `run_sequence` to record: what was asked for, and what the summary needs.

    They are in display order: that of the graph, with b2 before b10 if both are equally deep.
    """
    from nirtorch_cli.primitives.table import is_spiking
    from nirtorch_cli.running.recording import node_types, shown_paths

    asked: dict[str, list[str]] = {path: [] for path in shown_paths(module)}
    for label in labels:
        if not label.is_output:
            asked[label.node].append(label.key)
    for path, kind in node_types(module):
        if is_spiking(kind):
            asked[path] += [f"{path}:count", *([f"{path}:spikes"] if with_spikes else [])]
    return list(dict.fromkeys(request for of_node in asked.values() for request in of_node))


def chosen_neurons(
    module: ConvertedModule, labels: Sequence[Label], neurons: Sequence[str], files: Files
) -> Choice:
    """The neurons that --neurons names, whose lines are drawn.

    Raises:
        UsageError: nothing is drawn, or not these neurons.
    """
    from nirtorch_cli.drawing.runs.choice import Choice, choice_of
    from nirtorch_cli.running.recording import node_shapes

    if not neurons:
        return Choice()
    if files.plot is None:
        raise UsageError("--neurons is not used here: nothing is drawn", hint="give --plot")
    names, shapes = module.meta["names"], node_shapes(module)
    drawn = [*(label.node for label in labels), *(names.get(n, n) for n in module.meta["inputs"])]
    counts = {name: shapes.get(name) for name in drawn}
    return choice_of(
        neurons, {name: None if s is None else math.prod(s) for name, s in counts.items()}
    )


def fed(
    module: ConvertedModule, inputs: Sequence[str], options: InputOptions
) -> tuple[dict[str, str], dict[str, Any]]:
    """The spec and the signal of each input, by argument.

    Raises:
        ReadError: a file cannot be read.
        UsageError: inputs are missing, or do not fit the model or each other.
    """
    from nirtorch_cli.running.signals.inputs import assigned, read_inputs
    from nirtorch_cli.running.stream import ports_of

    ports = ports_of(module)
    specs = assigned(inputs, ports)
    return specs, read_inputs(specs, ports, options, stdin_of(specs.values()))


def array_type(like: torch.Tensor) -> str:
    """The type in which inputs are read; float32 for bfloat16, which NumPy does not have."""
    name = str(like.dtype).removeprefix("torch.")
    return "float32" if name == "bfloat16" else name


def starting_state(
    module: ConvertedModule,
    path: str,
    arrays: Mapping[str, Any],
    like: torch.Tensor,
    max_bytes: int | None,
) -> tuple[Any, int | None, list[Finding]]:
    """The state in a file as the module takes it, its number of steps, and findings.

    Raises:
        ReadError: the file cannot be read.
        UsageError: it is a state of another model, or for another batch.
    """
    from nirtorch_cli.running.shards import resting_template
    from nirtorch_cli.running.state_file import MadeWith, fitted, saved_state
    from nirtorch_cli.running.stream import as_arrays, tensors_like

    found = saved_state(path, max_bytes=max_bytes)
    template = resting_template(module, arrays, like)
    state = tensors_like(fitted(found.leaves, as_arrays(template), path), template)
    made_with = found.made_with or MadeWith()
    text = ", ".join(made_with.differences(made_now(module)))
    problems = [Finding("NIR607", "warning", f"was made with {text}", file=path)] if text else []
    return state, made_with.steps, problems


def made_now(module: ConvertedModule, dtype: str | None = None, steps: int | None = None) -> Any:
    """The settings that a module's state is made with, as stored in its file."""
    from nirtorch_cli.running.state_file import MadeWith

    meta = module.meta
    return MadeWith(
        dt=meta["dt"],
        integration=meta.get("integration"),
        reset=meta.get("reset"),
        reset_delay=meta.get("reset_delay"),
        fire_at=meta.get("fire_at"),
        dtype=dtype,
        model=meta.get("file"),
        steps=steps,
    )


def is_saved(model: str) -> bool:
    """Whether torch.save wrote a file, by its name or its content."""
    if model == "-" or not os.path.exists(model):
        return False  # reading will report what is wrong
    known = [one for one in ARTEFACTS if one.reader is not None or one.used is not None]
    return format_by_suffix(model, known) is not None or is_saved_file(model)
