"""A file that was read to a converted module, by a request of plain values.

In: a `ModelFile` and a `Options`. Out: the module. What
`nirtorch convert` does, and what `nirtorch check` does to each file. Cost: see `interpreter`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from nirtorch_cli.conversion.artefacts.pt import load
from nirtorch_cli.conversion.defaults import default_map
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.conversion.importing import current_folder, importable, map_folders
from nirtorch_cli.conversion.interpreter import convert_file
from nirtorch_cli.conversion.maps import MapOptions, loaded_maps
from nirtorch_cli.conversion.node_map import merged_map
from nirtorch_cli.conversion.options import Options
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.text import counted, quoted
from nirtorch_cli.findings.tracebacks import message
from nirtorch_cli.graph.time_step import TimeStep, infer_time_step
from nirtorch_cli.reading.graphs import ModelFile
from nirtorch_cli.reading.registered_nodes import with_known_types


def convert_model(
    file: ModelFile, request: Options, stage: Callable[[str], None] = lambda name: None
) -> ConvertedModule:
    """Load the maps of a request and convert a file with them.

    Arguments:
        stage: called with a text for each stage, to show progress.

    Raises:
        ConversionError: the file cannot be converted; says every reason.
        MapError: a `--map` does not lead to a node map.
        MissingFrameworkError: an installed pack needs a framework that is not there.
        UsageError: the device is not usable here.
    """
    step = TimeStep(request.dt, "given by --dt") if request.dt else infer_time_step(file.graph)
    dtype: torch.dtype = getattr(torch, request.dtype)
    device = usable_device(request.device)
    user_map: dict[Any, Any] = {}
    origins: dict[Any, str] = {}
    if request.maps:
        stage("loading maps")
        options = MapOptions(dt=step.dt, **request.of_a_step, device=device, dtype=dtype)
        for spec, mapping in loaded_maps(request.maps, options):
            user_map.update(mapping)
            origins.update(dict.fromkeys(mapping, f"--map {spec}"))
        file = with_known_types(file)
    defaults = default_map(step.dt, **request.of_a_step) if request.with_defaults else {}
    stage(f"converting {counted(len(file.graph.nodes), 'node')}")
    with importable(map_folders(request.maps)):  # a mapper may import what it needs when called
        module = convert_file(
            file,
            merged_map(user_map, defaults),
            device=device,
            dtype=dtype,
            skip_unmapped=request.skip_unmapped,
            time_step=step,
            repair=request.repair,
            batch=request.batch,
            origins=origins,
        )
    module.meta["maps"] = list(request.maps)
    return module


def loaded_model(path: str, device: torch.device) -> torch.fx.GraphModule:
    """A module that was saved, with the current folder to find what its map imports.

    Raises:
        ReadError: see `pt.load`.
    """
    here = current_folder()
    with importable([here] if here else []):
        return load(path, map_location=device)


def usable_device(name: str) -> torch.device:
    """The device of a name, after a test that it works.

    Raises:
        UsageError: torch knows no such device, or it is not usable here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        here = devices_here()
        kinds = [device.partition(":")[0] for device in here]
        is_here = name in (*kinds, *here)  # and does not work
        reason = message(error)[:_MOST_REASON] if is_here else "there is no such device here"
        text = f"--device {quoted(name)} cannot be used: {reason}"
        near = did_you_mean(name, kinds) if name.partition(":")[0] not in _KINDS else None
        hint = near or f"what can be used here: {', '.join(here)}"
        raise UsageError(text, hint=hint) from error
    return device


_KINDS = ("cuda", "mps", "xpu", "hpu", "mtia")
"""The kinds of device, beside the processor, that torch may find usable."""

_MOST_REASON = 200
"""Characters of what torch says of a device: what follows is where in its own code it says so."""


def devices_here() -> list[str]:
    """The devices that can be used on this machine."""
    found = ["cpu"]
    for kind in _KINDS:
        library = getattr(torch, kind, None)
        is_available = getattr(getattr(torch.backends, kind, None), "is_available", None)
        is_available = getattr(library, "is_available", is_available)
        if is_available is not None and is_available():
            count = getattr(library, "device_count", lambda: 1)()
            found += [kind] if count == 1 else [f"{kind}:{number}" for number in range(count)]
    return found
