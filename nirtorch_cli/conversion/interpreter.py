"""nir_to_torch: a NIR graph to a `torch.fx.GraphModule`.

Each stage hands the next one plain values: the graph is repaired and checked, its shapes are
inferred, nested graphs on loops are inlined, the rest is scheduled, every node is
mapped to a module, and the modules are wired in the schedule's order.

Always holds: the given graph is not changed, the module shares no memory with it, and
the result depends on the graph's content only. What was noticed is in the module's `meta`;
`nir_to_torch` also raises and warns of it, `convert` and `convert_file`, which the commands use, do
not. Cost: linear in nodes + edges.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any, Literal, cast

import nir
import torch

from nirtorch_cli.conversion import defaults
from nirtorch_cli.conversion.attribution import user_errors
from nirtorch_cli.conversion.builder import Builder, given_time_step, settings_of
from nirtorch_cli.conversion.defaults import DEFAULT_MAP
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.conversion.node_map import NodeMapping, mapper_of, merged_map, patterns_of
from nirtorch_cli.conversion.packs import Context, Pack, PackMap
from nirtorch_cli.conversion.source_graph import SOURCE, source_graph
from nirtorch_cli.findings.errors import ConversionError, MapperError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.warnings import NirtorchWarning
from nirtorch_cli.graph.arrays import node_with_arrays
from nirtorch_cli.graph.demand import demands, require_allowed, step_bytes
from nirtorch_cli.graph.sound import errors_in, required_sound
from nirtorch_cli.graph.time_step import TimeStep
from nirtorch_cli.reading.graphs import ModelFile, read
from nirtorch_cli.reading.limits import allowed_bytes


def nir_to_torch(
    nir_node: nir.NIRNode | str | os.PathLike[str],
    node_map: NodeMapping,
    default_map: NodeMapping = DEFAULT_MAP,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    skip_unmapped: bool = False,
    repair: bool = True,
    max_bytes: int | None = None,
    on_error: Literal["raise", "warn"] = "raise",
) -> ConvertedModule:
    """Convert a NIR graph to a `torch.fx.GraphModule` that computes one time step.

    The module takes `(input, state=None)` and returns `(output, state)`. Inputs have any
    number of batch axes in front of the NIR shape. The state is a nested dict with an
    entry for every node, None for a stateless one; it is never changed, and passing it
    back continues the run. Several Inputs are several arguments, in the order of their
    names; several Outputs make the output a dict.

    What is noticed about the graph is in `module.meta["findings"]`. Of it, findings of severity
    warning are Python warnings too, and those of severity error an exception, since the module
    would calculate badly: an Euler step that diverges, or NaN among the parameters.

    Arguments:
        nir_node: a graph, a path to a `.nir` file, or a single node, for which the
            mapped module itself is returned.
        node_map: from NIR node types, or the paths of nodes or patterns of these, to functions
            that take a node, or a node and its `Context`, and return a module, or None to skip
            the node. Its entries win over `default_map`.
        default_map: the map for node types that are not in `node_map`; `{}` turns all
            defaults off. `nirtorch_cli.default_map` makes one with other options.
        device: where parameters and buffers are put.
        dtype: the floating type of parameters and buffers.
        skip_unmapped: skip nodes whose type is in no map, instead of raising.
        repair: repair damage that has one sensible meaning, such as the stale shape of an
            Output (`nirtorch check --explain` has all); `module.meta["findings"]` tells what
            was repaired. If False, such a graph is refused.
        max_bytes: refuse a file whose data claim more, and a network of which one step would take
            more, before anything is built; None for 1 GiB, or eight times what there is already.
        on_error: "warn" makes warnings of findings of severity error, too, where a module can be
            built all the same.

    Warns:
        NirtorchWarning: for each such finding, which is its `finding`.

    Raises:
        ReadError: the file cannot be read.
        ConversionError (a ValueError): the graph cannot be converted, or there is a finding of
            severity error; says every reason.
        MapError (a ValueError): a map has a key that is not a NIR node type, or a value that
            cannot be called.

    Example:
        >>> module = nir_to_torch("model.nir", {nir.LIF: my_lif})
        >>> output, state = module(torch.zeros(1, 12))
        >>> output, state = module(torch.zeros(1, 12), state)
    """
    if on_error not in ("raise", "warn"):
        raise ValueError(f"on_error {on_error!r} is neither 'raise' nor 'warn'")
    if default_map is DEFAULT_MAP:  # as it was when this was imported; types may have come since
        default_map = defaults.default_map()
    packs = dict.fromkeys(node_map, node_map.pack) if isinstance(node_map, PackMap) else {}
    if isinstance(nir_node, (str, os.PathLike)):
        converted = convert_file(
            read(nir_node, max_bytes=max_bytes),
            merged_map(node_map, default_map),
            device=device,
            dtype=dtype,
            skip_unmapped=skip_unmapped,
            repair=repair,
            packs=packs,
        )
        _say(converted, on_error)
        return converted
    merged = merged_map(node_map, default_map)
    if not isinstance(nir_node, nir.NIRGraph):
        nir_node = node_with_arrays(nir_node)
        module = _single_module(nir_node, merged, packs).to(device=device, dtype=dtype)
        return cast(ConvertedModule, module)  # a module of any class, as documented
    converted = convert(
        nir_node,
        merged,
        device=device,
        dtype=dtype,
        skip_unmapped=skip_unmapped,
        repair=repair,
        max_bytes=max_bytes,
        packs=packs,
    )
    _say(converted, on_error)
    return converted


def _say(module: ConvertedModule, on_error: str) -> None:
    """Raise what is an error and warn of the rest, in the name of whoever called `nir_to_torch`."""
    findings = [Finding(**finding) for finding in module.meta["findings"]]
    errors = errors_in(findings)
    if errors and on_error == "raise":
        raise ConversionError(errors, findings)
    for finding in findings:
        if finding.severity != "info":
            warnings.warn(NirtorchWarning(finding), stacklevel=3)


def convert_file(
    file: ModelFile,
    node_map: NodeMapping,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    skip_unmapped: bool = False,
    repair: bool = True,
    time_step: TimeStep | None = None,
    batch: int = 1,
    origins: Mapping[Any, str] | None = None,
    packs: Mapping[Any, Pack] | None = None,
) -> ConvertedModule:
    """`convert` for a file that was read, which errors, findings and `meta` then name.

    The module lies in the memory of the file's arrays.
    """
    try:
        module = convert(
            file.graph,
            node_map,
            device=device,
            dtype=dtype,
            skip_unmapped=skip_unmapped,
            repair=repair,
            findings=file.findings,
            time_step=time_step,
            max_bytes=file.max_bytes,
            batch=batch,
            origins=origins,
            packs=packs,
            shares=True,
        )
    except ConversionError as error:
        raise error.of(file.name) from error.__cause__
    for finding in module.meta["findings"]:
        finding["file"] = finding["file"] or file.name
    module.meta.update(
        file=os.path.basename(file.name), file_version=file.version, sha256=file.sha256
    )
    return module


def convert(
    graph: nir.NIRGraph,
    node_map: NodeMapping,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    skip_unmapped: bool = False,
    repair: bool = True,
    findings: tuple[Finding, ...] = (),
    time_step: TimeStep | None = None,
    max_bytes: int | None = None,
    batch: int = 1,
    origins: Mapping[Any, str] | None = None,
    packs: Mapping[Any, Pack] | None = None,
    shares: bool = False,
) -> ConvertedModule:
    """`nir_to_torch` for a graph, with one merged map.

    `findings` are what reading it told; they go to the module's `meta`, in front.
    `time_step` is the length of a step where the caller knows it and why. `batch` is how many
    rows a step must be able to hold. `origins` says for keys of the map where they are from, which
    messages then name, and `packs` which pack made them. `shares` says that the arrays of the graph
    are nobody else's: the module then lies in their memory.
    """
    packs, given = packs or {}, graph
    patterns = patterns_of(node_map)
    examination = required_sound(
        graph,
        findings,
        repair=repair,
        is_known=lambda path, node: (
            skip_unmapped or mapper_of(node, node_map, path, patterns) is not None
        ),
    )
    graph = examination.graph
    time_step = time_step or given_time_step(node_map)
    for pack in dict.fromkeys(packs.values()):
        graph = pack.without_invented_edges(graph)
        time_step = time_step or pack.time_step(graph)
    hands_dt = bool(origins) and not packs
    settings = settings_of(node_map, graph, time_step, hands_dt=hands_dt, shares=shares)
    dtype_name = str(dtype).removeprefix("torch.")
    builder = Builder(settings, skip_unmapped, dtype_name, origins or {}, packs)
    asked = list(demands(graph, settings.time_step.dt, dtype.itemsize))
    try:
        stored = sum(demand.parameters for demand in asked)
        require_allowed(asked, batch, allowed_bytes(max_bytes, stored))
        builder.require_mappings(graph, "")
        try:
            module = builder.build(graph, "")
        finally:
            builder.raise_failures()  # they come first: what else is wrong may follow from them
    except ConversionError as error:
        error.context = (*examination.findings, *builder.findings, *error.findings)
        raise
    idle = settings.without_effect(list(packs.values()))
    known = (*examination.findings, *settings.origin.findings, *idle, *builder.findings)
    module.meta.update(settings.described())
    module.meta["findings"] = [finding.to_json() for finding in known]
    module.meta["versions"] = _versions()
    module.meta["work_bytes"] = max((demand.work for demand in asked), default=0)
    module.meta["step_bytes"] = [step_bytes(asked, 0), step_bytes(asked, 1)]
    moved = f"when it was moved to {device}, {dtype_name}"
    with user_errors(module, moved, "NIR530", MapperError):
        module = module.to(device=device, dtype=dtype)
    module.meta[SOURCE] = source_graph(
        examination.graph, given, module, builder.references, shares=shares
    )
    return module


def _single_module(
    node: nir.NIRNode, node_map: NodeMapping, packs: Mapping[Any, Pack]
) -> torch.nn.Module:
    name = type(node).__name__
    time_step = given_time_step(node_map)
    for pack in dict.fromkeys(packs.values()):
        time_step = time_step or pack.time_step(node)
    settings = settings_of(node_map, node, time_step)
    builder = Builder(settings, skip_unmapped=False, packs=packs)
    builder.require_mapping(name, node)
    builder.raise_unmapped()
    alone = nir.NIRGraph({name: node}, [], type_check=False)
    module = builder.mapped(name, node, lambda: Context(name, (), False, builder.dt, alone))
    builder.raise_failures()
    return torch.nn.Identity() if module is None else module


def _versions() -> dict[str, str]:
    from nirtorch_cli._version import __version__

    return {"nirtorch_cli": __version__, "nir": nir.version, "torch": str(torch.__version__)}
