"""The module of a file: converted, by `Options`, or loaded as it was saved.

In: a `ModelFile` and `Options`, or the path of a saved module. Out: a `ConvertedModule`. Every
command gets its modules here. Cost: see `interpreter`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

import torch

from nirtorch_cli.conversion.artefacts.formats import require_trust
from nirtorch_cli.conversion.artefacts.pt import load
from nirtorch_cli.conversion.attribution import user_errors
from nirtorch_cli.conversion.defaults import default_map
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.conversion.importing import current_folder, importable, map_folders
from nirtorch_cli.conversion.interpreter import convert_file
from nirtorch_cli.conversion.maps import MapOptions, loaded_maps
from nirtorch_cli.conversion.node_map import merged_map
from nirtorch_cli.conversion.options import Options
from nirtorch_cli.findings.errors import ReadError, UsageError
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


def saved_model(path: str, device: str, *, trust: bool) -> ConvertedModule:
    """A module that was saved, in evaluation mode.

    The current folder is importable while it is loaded, for what its map imports.

    Raises:
        ReadError: see `pt.load`; or it holds something else.
        UsageError: it is not trusted, or the device is not usable here.
    """
    require_trust(path, trust)
    here = current_folder()
    with importable([here] if here else []):
        module = load(path, map_location=usable_device(device))
    if not is_whole(module):
        text = f"holds a {type(module).__name__}, not a module that nirtorch converted"
        raise ReadError("NIR020", text, file=path)
    return evaluating(module)


def is_whole(module: Any) -> TypeGuard[ConvertedModule]:
    """Whether something is the module of a whole NIR graph, which has a dt."""
    return isinstance(module, ConvertedModule) and "dt" in module.meta


def evaluating(module: ConvertedModule) -> ConvertedModule:
    """The same module, set to evaluation.

    Raises:
        NirtorchError: a mapped module raised.
    """
    with user_errors(module, "when it was set to evaluation", "NIR530"):
        module.eval()
    return module


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
