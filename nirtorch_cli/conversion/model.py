"""The module of a file: converted, by `Options`, or loaded as it was saved.

In: a `ModelFile` and `Options`, or the path of a saved module. Out: a `ConvertedModule`. Every
command gets its modules here. Cost: see `interpreter`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeGuard

import torch

from nirtorch_cli.conversion.artefacts.formats import require_trust, saved_format
from nirtorch_cli.conversion.artefacts.opaque import OpaqueModule
from nirtorch_cli.conversion.attribution import user_errors
from nirtorch_cli.conversion.defaults import default_map
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.conversion.importing import current_folder, importable, map_folders
from nirtorch_cli.conversion.interpreter import convert_file
from nirtorch_cli.conversion.maps import (
    AUTO,
    MapOptions,
    loaded_maps,
    node_mappers,
    split_node_spec,
)
from nirtorch_cli.conversion.node_map import merged_map
from nirtorch_cli.conversion.options import Options
from nirtorch_cli.conversion.packs import Pack, PackMap
from nirtorch_cli.findings.errors import MapError, ReadError, UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.text import counted, listed, printable, quoted
from nirtorch_cli.findings.tracebacks import message
from nirtorch_cli.graph.origin import Origin, origin_of
from nirtorch_cli.graph.sound import require_no_errors
from nirtorch_cli.graph.time_step import TimeStep
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
    origin = origin_of(file.graph)
    if request.dt:
        origin = origin.at(TimeStep(request.dt, "given by --dt"))
    step: TimeStep | None = origin.time_step if request.dt else None
    of_a_step = {**request.of_a_step}
    if request.integrator_input == "auto":
        of_a_step["integrator_input"] = origin.integrator_input
    dtype: torch.dtype = getattr(torch, request.dtype)
    device = usable_device(request.device)
    user_map: dict[Any, Any] = {}
    origins: dict[Any, str] = {}
    packs: dict[Any, Pack] = {}
    specs = [origin_pack(origin, file.name) if spec == AUTO else spec for spec in request.maps]
    if specs or request.map_nodes:
        stage("loading maps")
        options = MapOptions(dt=origin.time_step.dt, **of_a_step, device=device, dtype=dtype)

        def settled(pack: Pack) -> float:
            return step.dt if step is not None else pack.time_step(file.graph).dt

        for spec, mapping in loaded_maps(specs, options, settled):
            user_map.update(mapping)
            origins.update(dict.fromkeys(mapping, f"--map {spec}"))
            for key in mapping:  # what a later map says is no pack's, or another's
                packs.pop(key, None)
            if isinstance(mapping, PackMap):
                packs.update(dict.fromkeys(mapping, mapping.pack))
        if step is None and packs:
            step = [*packs.values()][-1].time_step(file.graph)
        if step is not None:
            options = replace(options, dt=step.dt)
        for pattern, spec, mapper in node_mappers(request.map_nodes, file.graph, options):
            user_map[pattern] = mapper
            origins[pattern] = f"--map-node {pattern}={spec}"
        file = with_known_types(file)
    step = step or origin.time_step
    defaults = default_map(step.dt, **request.of_a_step) if request.with_defaults else {}
    stage(f"converting {counted(len(file.graph.nodes), 'node')}")
    specs += [split_node_spec(spec)[1] for spec in request.map_nodes]
    with importable(map_folders(specs)):  # a mapper may import what it needs when called
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
            packs=packs,
        )
    module.meta["maps"] = specs
    return module


def findings_of(module: ConvertedModule) -> list[Finding]:
    """What was noticed when a module was converted.

    Raises:
        ConversionError: a finding says that its numbers cannot be trusted.
    """
    findings = [Finding(**finding) for finding in module.meta["findings"]]
    require_no_errors(findings)
    return findings


def origin_pack(origin: Origin, name: str) -> str:
    """The pack of the program that wrote a file, for `--map auto`.

    Raises:
        MapError: no known program wrote it, or several may have.
    """
    if origin.family is not None:
        return origin.family.pack
    if origin.families:
        packs = [family.pack for family in origin.families]
        text = f"{listed([family.name for family in origin.families])} write such files"
        hint = f"choose one: --map {' or --map '.join(packs)}"
    else:
        text = "no program is known that writes such files"
        hint = "'nirtorch maps' lists the packs"
    raise MapError("NIR518", f"--map auto: {text}", file=name, hint=hint)


def saved_model(path: str, device: str, *, trust: bool) -> ConvertedModule:
    """A module that was saved, in evaluation mode.

    The current folder is importable while it is loaded, for what its map imports.

    Raises:
        ReadError: see the format's `load`; or it holds something else.
        MissingFrameworkError: what runs it is not installed.
        UsageError: it is not trusted, or the device is not usable here.
    """
    require_trust(path, trust)
    here = current_folder()
    with importable([here] if here else []):
        module = saved_format(path).read()(path, map_location=usable_device(device))
    if isinstance(module, OpaqueModule) and usable_device(device).type != "cpu":
        text = f"{printable(path)} was exported for the CPU, and runs on no other device"
        raise UsageError(text, hint="convert the .nir file with --device, or run that")
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
