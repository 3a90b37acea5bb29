"""Two sides to two recordings of one graph over the same input, and the variables to compare.

In: two `Side`s, the .nir file, a function that makes the input, names of variables. Out: a
`Pair`. Both get the same input, on the longer of their steps. If one side is a trace, its contents
decide what is recorded of the other; otherwise the types of the graph's nodes do.
Cost: two conversions and two runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import torch
from torch import Tensor

from nirtorch_cli.comparison.capture import fitting, floating_type, recorded
from nirtorch_cli.comparison.expected import expected_of, only_output, skipped_nodes, spiking_in
from nirtorch_cli.comparison.grid import Grid, common_grid
from nirtorch_cli.comparison.loading import module_of, same_inputs
from nirtorch_cli.comparison.recording import Recording, read_recording
from nirtorch_cli.comparison.specs import Side
from nirtorch_cli.conversion.artefacts.opaque import OpaqueModule
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.findings.errors import ReadError, UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import counted, listed
from nirtorch_cli.reading.graphs import ModelFile
from nirtorch_cli.running.recording import node_types, node_variables

Sides = tuple[Side, Side]
Variables = dict[str, list[str]]


@dataclass(frozen=True)
class Asked:
    """The input that a run needs: for a module, on steps of dt.

    steps, rows: how many, as in a trace; None if there is no trace. dtype: the widest of the
    modules' types.
    """

    module: ConvertedModule
    dt: float
    steps: int | None
    rows: int | None
    dtype: torch.dtype = torch.float32


Feed = Callable[[Asked], Mapping[str, Tensor]]
"""Makes an input by the NIR name of each Input, (T, B, *shape)."""


@dataclass(frozen=True)
class Pair:
    """Two recordings, and by NIR path the variables that they must have.

    spiking: by NIR path, whether a node's output is spikes, if that is known. findings: about the
    modules that were run. assumed: guesses on which the numbers depend. notes: further lines for
    people.
    """

    recordings: tuple[Recording, Recording]
    expected: Variables
    spiking: dict[str, bool] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    assumed: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


def paired(
    sides: Sides,
    model: ModelFile | None,
    feed: Feed,
    variables: Sequence[str],
    *,
    trust: bool = False,
    device: str = "cpu",
    max_bytes: int | None = None,
    stage: Callable[[str], None] = lambda name: None,
) -> Pair:
    """Record two sides; those that are not traces run on the same input.

    Arguments:
        model: for sides that are made from a .nir file; None if none is.
        feed: makes the input; not called if both are traces.
        variables: which of spikes, v, i and output are compared.
        stage: called with a text for each stage, to show progress.

    Raises:
        ReadError, ConversionError, MapError, MissingFrameworkError: a side cannot be read or
        converted. UsageError: the sides have no common grid, or not the same inputs. NirtorchError:
        a module raised when it was run.
    """
    traces: dict[int, Recording] = {}
    modules: dict[int, ConvertedModule] = {}
    for number, side in enumerate(sides):
        stage(f"preparing {side.spec}")
        if side.kind == "trace":
            whole = read_recording(side.target, dt=side.dt, max_bytes=max_bytes)
            traces[number] = _only(whole, variables)
        else:
            modules[number] = module_of(side, model, trust=trust, device=device)
    if len(modules) == 2:
        same_inputs(modules[0], modules[1])
    assumed = _settle(traces, modules)
    a, b = (traces[n].dt if n in traces else float(modules[n].meta["dt"]) for n in (0, 1))
    grid = common_grid(a, b)
    wanted = _held(traces, modules) or expected_of(modules.values(), variables, grid.a == grid.b)
    for module in modules.values():
        if isinstance(module, OpaqueModule):
            wanted = _seen(wanted, module)
            traces = {n: _within(recording, wanted) for n, recording in traces.items()}
    spiking = spiking_in(modules.values())
    recordings = dict(traces)
    if modules:
        inputs = feed(_asked(modules, grid, traces))
        if not all(len(values) for values in inputs.values()):
            text = f"steps of {grid.dt:g} are longer than all that there is to compare"
            raise UsageError(text, hint="add ',dt=SECONDS' to the spec whose dt is not that")
        for number, module in modules.items():
            stage(f"running {sides[number].spec}")
            repeats = (grid.a, grid.b)[number]
            recordings[number] = recorded(
                sides[number].spec,
                module,
                fitting(module, inputs),
                wanted,
                dt=grid.dt if repeats > 1 else float(module.meta["dt"]),
                repeats=repeats,
                spiking=spiking,
            )
    reported = [Finding(**f) for module in modules.values() for f in module.meta["findings"]]
    return Pair(
        (recordings[0], recordings[1]),
        wanted,
        spiking,
        findings=tuple(dict.fromkeys(reported)),
        assumed=tuple(assumed),
        notes=tuple(_notes(sides, traces, modules, grid)),
    )


def _settle(traces: dict[int, Recording], modules: Mapping[int, ConvertedModule]) -> list[Finding]:
    """Fill in what a trace does not say from the model of the other side, with findings.

    That is the length of a step, and the name of the only Output, which the trace calls `output`.
    """
    assumed = []
    for number, recording in traces.items():
        for module in modules.values():
            path = only_output(module)
            if path is not None and path not in recording.trace and "output" in recording.trace:
                trace = {path if n == "output" else n: v for n, v in recording.trace.items()}
                recording = replace(recording, trace=trace)
            if recording.dt is None:
                recording = replace(recording, dt=float(module.meta["dt"]))
                text = f"{recording.name} does not say dt: taken as {recording.dt:g}"
                hint = "add ',dt=SECONDS' to its spec"
                assumed.append(Finding("NIR621", "warning", text, hint=hint))
        traces[number] = recording
    return assumed


def _only(recording: Recording, variables: Sequence[str]) -> Recording:
    """A recording without the variables that are not compared.

    Raises:
        ReadError: nothing is left.
    """
    trace = {
        path: {name: values for name, values in held.items() if name in variables}
        for path, held in recording.trace.items()
    }
    kept = {path: held for path, held in trace.items() if held}
    if not kept:
        file = recording.name.partition(":")[2]
        text = f"holds no {' or '.join(variables)} of any node"
        raise ReadError("NIR023", text, file=file)
    return replace(recording, trace=kept)


def _held(traces: Mapping[int, Recording], modules: Mapping[int, ConvertedModule]) -> Variables:
    """The variables in traces, by path, in the order of the graph if that is known."""
    found: dict[str, dict[str, None]] = {}
    for recording in traces.values():
        for path, held in recording.trace.items():
            found.setdefault(path, {}).update(dict.fromkeys(held))
    ordered = [path for module in modules.values() for path, _ in node_types(module)]
    paths = dict.fromkeys((*(path for path in ordered if path in found), *found))
    return {path: list(found[path]) for path in paths}


def _seen(wanted: Variables, program: OpaqueModule) -> Variables:
    """The wanted variables that a program shows, of whose nodes little is seen."""
    known = node_variables(program)
    shown = {path: [n for n in names if n in known.get(path, ())] for path, names in wanted.items()}
    return {path: names for path, names in shown.items() if names}


def _within(recording: Recording, wanted: Variables) -> Recording:
    """A recording with nothing but the wanted variables."""
    trace = {
        path: {name: values for name, values in held.items() if name in wanted.get(path, ())}
        for path, held in recording.trace.items()
    }
    return replace(recording, trace={path: held for path, held in trace.items() if held})


def _asked(
    modules: Mapping[int, ConvertedModule], grid: Grid, traces: Mapping[int, Recording]
) -> Asked:
    known = {n: kind for n, m in modules.items() if (kind := floating_type(m)) is not None}
    dtype = reduce(torch.promote_types, known.values()) if known else torch.float32
    widest = next((n for n, kind in known.items() if kind == dtype), next(iter(modules)))
    for number, recording in traces.items():
        values = next(iter(next(iter(recording.trace.values())).values()))
        if values.ndim > 1:
            steps = len(values) // (grid.a, grid.b)[number]
            return Asked(modules[widest], grid.dt, steps, values.shape[1], dtype)
    return Asked(modules[widest], grid.dt, None, None, dtype)


def _notes(
    sides: Sides,
    traces: Mapping[int, Recording],
    modules: Mapping[int, ConvertedModule],
    grid: Grid,
) -> list[str]:
    notes = [
        f"{sides[number].spec}: dt {module.meta['dt']:g}: {module.meta['dt_reason']}"
        for number, module in modules.items()
        if sides[number].dt is None
    ]
    for number, module in modules.items():
        if skipped := skipped_nodes(module):
            text = f"{sides[number].spec} skips {listed(skipped)}: these are not compared"
            notes.append(f"{text}, and their input is passed on")
    if grid.a != grid.b:
        text = f"compared on steps of {grid.dt:g}, over which the input is constant"
        notes.append(f"{text}; outputs of nodes without state between these steps are not compared")
    for number, module in modules.items():
        if isinstance(module, OpaqueModule):
            text = f"only what {sides[number].spec} shows is compared: outputs and states"
            notes.append(text)
    if modules:
        for number, recording in traces.items():
            count = counted(sum(map(len, recording.trace.values())), "variable")
            notes.append(f"only what {sides[number].spec} holds is compared: {count}")
    return notes
