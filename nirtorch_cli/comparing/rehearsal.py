"""One side of a comparison to a recording: convert or load, run over an input, record.

In: a `Side`, the .nir file, an input on the coarser of two steps, over which it is constant.
Out: modules, and a `Recording`. Cost: a conversion, a run, and a step for each node of another
framework; what is recorded stays in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nirtorch_cli.arrays import as_array
from nirtorch_cli.comparing.recording import Recording
from nirtorch_cli.comparing.specs import Side
from nirtorch_cli.conversion import convert_model, usable_device
from nirtorch_cli.errors import NirtorchError, ReadError, UsageError
from nirtorch_cli.findings import Finding
from nirtorch_cli.graph_module import ConvertedModule
from nirtorch_cli.reading import ModelFile
from nirtorch_cli.request import Request
from nirtorch_cli.running import SequenceRun, run_sequence
from nirtorch_cli.saving import load
from nirtorch_cli.sequences.watching import node_types, variables_of

COMPARED = ("spikes", "v", "i", "output")
"""The variables that a comparison looks at."""


def module_of(
    side: Side, model: ModelFile | None, *, trust: bool = False, device: str = "cpu"
) -> ConvertedModule:
    """The module of a side that is no trace.

    Arguments:
        model: the .nir file, for sides that are made from one.
        trust: whether a saved module, which is a pickle, may be loaded.

    Raises:
        ConversionError, MapError, MissingFrameworkError, ReadError: as converting or loading.
        UsageError: a saved module without `trust`.
    """
    if usable_device(device).type == "meta":
        text = "on the device 'meta' nothing has values that could be compared"
        raise UsageError(Finding("NIR700", "error", text))
    if side.kind == "file":
        return _loaded(side, trust, device)
    assert model is not None
    maps = (side.target,) if side.kind == "map" else ()
    options: dict[str, Any] = side.options
    request = Request(maps=maps, dt=side.dt, device=device)
    return convert_model(model, replace(request, **options))


def _loaded(side: Side, trust: bool, device: str) -> ConvertedModule:
    if not trust:
        text = "is a saved module, a pickle: loading it runs what code it names"
        hint = "give --trust if you know who wrote it"
        raise UsageError(Finding("NIR700", "error", text, hint=hint, file=side.target))
    module = load(side.target, map_location=device)
    if not isinstance(module, ConvertedModule) or "dt" not in module.meta:
        text = f"holds a {type(module).__name__} that was not made from a NIR graph"
        raise ReadError(Finding("NIR020", "error", text, file=side.target))
    return module


def same_inputs(a: ConvertedModule, b: ConvertedModule) -> None:
    """Make sure that two modules take the same inputs.

    Raises:
        UsageError: they do not; they are no modules of one graph.
    """
    taken = [
        {module.meta["names"].get(n, n): module.meta["shapes"][n][1] for n in module.meta["inputs"]}
        for module in (a, b)
    ]
    if taken[0] != taken[1]:
        text = f"A and B are not of one graph: A takes {taken[0]}, and B {taken[1]}"
        raise UsageError(Finding("NIR700", "error", text))


def only_output(module: ConvertedModule) -> str | None:
    """The NIR name of a module's Output, if it has one only."""
    names = [module.meta["names"].get(name, name) for name in module.meta["outputs"]]
    return str(names[0]) if len(names) == 1 else None


def expected_variables(
    module: ConvertedModule, variables: Iterable[str] = COMPARED, between: bool = True
) -> dict[str, list[str]]:
    """By NIR path, what a module's nodes should have by their NIR types.

    A node's output is left out where its spikes or v say the same or more, or where it is that
    of a node inside.

    Arguments:
        between: whether the outputs of other nodes than Outputs are wanted.
    """
    chosen = tuple(variables)
    found = {}
    for path, kind in node_types(module):
        names = [name for name in variables_of(kind) if name in chosen]
        if {"spikes", "v"} & set(names) or not (between or kind == "Output"):
            names = [name for name in names if name != "output"]
        if names and kind not in ("Input", "NIRGraph"):
            found[path] = names
    return found


def recordable(
    module: ConvertedModule, inputs: Mapping[str, Tensor], wanted: Mapping[str, Iterable[str]]
) -> list[str]:
    """Those of the wanted variables that a module has, as `node:variable`.

    Tried out on the first step: a module of another framework may keep what its type should
    have under another name.
    """
    kinds = dict(node_types(module))
    first = {name: values[:1] for name, values in inputs.items()}
    found = [
        (path, name)
        for path, names in wanted.items()
        for name in names
        if path in kinds and name in variables_of(kinds[path])
    ]
    while (node := _refused_node(module, first, found)) is not None:
        own = [request for request in found if request[0] == node]
        refused = [r for r in own if _refused_node(module, first, [r]) is not None] or own
        found = [request for request in found if request not in (refused or found)]
    return [f"{path}:{name}" for path, name in found]


def _refused_node(
    module: ConvertedModule, first: Mapping[str, Tensor], requests: list[tuple[str, str]]
) -> str | None:
    """A node of which something cannot be recorded; None if all can."""
    try:
        _run(module, first, [f"{path}:{name}" for path, name in requests])
    except UsageError as error:
        return error.findings[0].node or ""
    return None


def recorded(
    name: str,
    module: ConvertedModule,
    inputs: Mapping[str, Tensor],
    record: Iterable[str],
    repeats: int = 1,
) -> Recording:
    """Run a module over an input and record what is asked for.

    Arguments:
        inputs: by argument name, (T, B, *shape) on the coarser steps; see `fitting`.
        record: `node:variable` with NIR paths.
        repeats: how many steps of the module each step of the input is held for.

    Raises:
        NirtorchError: the module raised.
    """
    fed = {key: values.repeat_interleave(repeats, dim=0) for key, values in inputs.items()}
    trace = {
        path: {key: as_array(values) for key, values in variables.items() if key != "count"}
        for path, variables in _run(module, fed, record).trace.items()
    }
    return Recording(name, float(module.meta["dt"]), trace)


def fitting(module: ConvertedModule, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inputs by NIR name as a module takes them: by argument name, of its device and type."""
    like = next((t for t in module.state_dict().values() if t.is_floating_point()), None)
    named = {name: inputs[module.meta["names"].get(name, name)] for name in module.meta["inputs"]}
    return {name: x if like is None else x.to(like) for name, x in named.items()}


def _run(
    module: ConvertedModule, inputs: Mapping[str, Tensor], record: Iterable[str]
) -> SequenceRun:
    try:
        with torch.no_grad():
            return run_sequence(module, inputs, record=record)
    except (NirtorchError, MemoryError):
        raise
    except Exception as error:
        if "memory" in str(error):
            raise
        text = " ".join(f"raised {type(error).__name__} when it was run: {error}".split())
        raise NirtorchError(Finding("NIR610", "error", text)) from error
