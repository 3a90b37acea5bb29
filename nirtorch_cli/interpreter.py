"""nir_to_torch: a NIR graph to a `torch.fx.GraphModule`.

Each stage hands the next one plain values: the graph is mended and checked, its shapes are
inferred, looping nested graphs are dissolved, the rest is scheduled, every node is
mapped to a module, and the modules are wired in the schedule's order.

Always holds: the given graph is not changed, the module shares no memory with it, and
the result depends on the graph's content only. Cost: linear in nodes + edges.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import nir
import torch

from nirtorch_cli.attribution import user_errors
from nirtorch_cli.checking.parameters import precision
from nirtorch_cli.checking.time import delays_in_steps, lost_increments, time_steps, uneven_delays
from nirtorch_cli.defaults import DEFAULT_MAP, DefaultMapper
from nirtorch_cli.demand import demands, require_allowed
from nirtorch_cli.dissolving import dissolve
from nirtorch_cli.errors import ConversionError, MapperError, UnmappedNodeError
from nirtorch_cli.findings import Finding
from nirtorch_cli.graph_module import ConvertedModule
from nirtorch_cli.limits import allowed_bytes
from nirtorch_cli.naming import identifiers
from nirtorch_cli.node_map import (
    Mapper,
    NodeMapping,
    key_of,
    mapper_name,
    mapper_of,
    merged_map,
)
from nirtorch_cli.planning import plan_graph, shortened
from nirtorch_cli.reading import ModelFile, read
from nirtorch_cli.reading.unknown_nodes import UnknownNode, type_name
from nirtorch_cli.scheduling import Schedule
from nirtorch_cli.shapes import input_shape, output_shape
from nirtorch_cli.soundness import required_sound
from nirtorch_cli.timing import TimeStep, delay_steps, infer_time_step, longest_delay
from nirtorch_cli.tracebacks import is_interrupt, reason
from nirtorch_cli.wiring import Part, Plan, call_problem, wire

_RESERVED = frozenset(dir(ConvertedModule(torch.nn.Module(), torch.fx.Graph())))
_RESERVED |= {"self", "state"}
"""Names that a submodule or an argument would shadow."""


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
) -> torch.fx.GraphModule:
    """Convert a NIR graph to a `torch.fx.GraphModule` that computes one time step.

    The module takes `(input, state=None)` and returns `(output, state)`. Inputs have any
    number of batch axes in front of the NIR shape. The state is a nested dict with an
    entry for every node, None for a stateless one; it is never changed, and passing it
    back continues the run. Several Inputs are several arguments, in the order of their
    names; several Outputs make the output a dict.

    Arguments:
        nir_node: a graph, a path to a `.nir` file, or a single node, for which the
            mapped module itself is returned.
        node_map: from NIR node types to functions that take a node and return a module,
            or None to skip the node. Its entries win over `default_map`.
        default_map: the map for node types that are not in `node_map`; `{}` turns all
            defaults off. `nirtorch_cli.default_map` makes one with other options.
        device: where parameters and buffers are put.
        dtype: the floating type of parameters and buffers.
        skip_unmapped: skip nodes whose type is in no map, instead of raising.
        repair: mend damage that has one sensible meaning, such as the stale shape of an
            Output (`nirtorch check --explain` has all); `module.meta["findings"]` tells what
            was mended. If False, such a graph is refused.
        max_bytes: refuse a file whose data claim more, and a network of which one step would take
            more, before anything is built; None for 1 GiB, or eight times what there is already.

    Raises:
        ReadError: the file cannot be read.
        ConversionError (a ValueError): the graph cannot be converted; says every reason.
        MapError (a ValueError): a map has a key that is no NIR node type, or a value that
            cannot be called.

    Example:
        >>> module = nir_to_torch("model.nir", {nir.LIF: my_lif})
        >>> output, state = module(torch.zeros(1, 12))
        >>> output, state = module(torch.zeros(1, 12), state)
    """
    if isinstance(nir_node, (str, os.PathLike)):
        return convert_file(
            read(nir_node, max_bytes=max_bytes),
            merged_map(node_map, default_map),
            device=device,
            dtype=dtype,
            skip_unmapped=skip_unmapped,
            repair=repair,
        )
    merged = merged_map(node_map, default_map)
    if not isinstance(nir_node, nir.NIRGraph):
        module = _single_module(nir_node, merged).to(device=device, dtype=dtype)
        return cast(torch.fx.GraphModule, module)  # a module of any class, as documented
    return convert(
        nir_node,
        merged,
        device=device,
        dtype=dtype,
        skip_unmapped=skip_unmapped,
        repair=repair,
        max_bytes=max_bytes,
    )


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
) -> ConvertedModule:
    """`convert` for a file that was read, which errors, findings and `meta` then name."""
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
        )
    except ConversionError as error:
        raise error.of(file.name) from error.__cause__
    for finding in module.meta["findings"]:
        finding["file"] = finding["file"] or file.name
    module.meta.update(file=os.path.basename(file.name), file_version=file.version)
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
) -> ConvertedModule:
    """`nir_to_torch` for a graph, with one merged map.

    `findings` are what reading it told; they go to the module's `meta`, in front.
    `time_step` is the length of a step where the caller knows it and why. `batch` is how many
    rows a step must be able to hold. `origins` says for keys of the map where they are from, which
    messages then name.
    """
    examination = required_sound(
        graph,
        findings,
        repair=repair,
        is_known=lambda node: skip_unmapped or mapper_of(node, node_map) is not None,
    )
    settings = _settings(node_map, examination.graph, time_step)
    dtype_name = str(dtype).removeprefix("torch.")
    builder = _Builder(settings, skip_unmapped, dtype_name, origins or {})
    asked = list(demands(examination.graph, settings.time_step.dt, dtype.itemsize))
    try:
        stored = sum(demand.parameters for demand in asked)
        require_allowed(asked, batch, allowed_bytes(max_bytes, stored))
        builder.require_mappings(examination.graph, "")
        try:
            module = builder.build(examination.graph, "")
        finally:
            builder.raise_failures()  # they come first: what else is wrong may follow from them
    except ConversionError as error:
        error.context = (*examination.findings, *builder.findings, *error.findings)
        raise
    known = (*examination.findings, *builder.findings)
    module.meta.update(settings.described())
    module.meta["findings"] = [finding.to_json() for finding in known]
    module.meta["versions"] = _versions()
    module.meta["work_bytes"] = max((demand.work for demand in asked), default=0)
    moved = f"when it was moved to {device}, {dtype_name}"
    with user_errors(module, moved, "NIR530", MapperError):
        return module.to(device=device, dtype=dtype)


def _single_module(node: nir.NIRNode, node_map: NodeMapping) -> torch.nn.Module:
    builder = _Builder(_settings(node_map, node), skip_unmapped=False)
    builder.require_mapping(type(node).__name__, node)
    builder.raise_unmapped()
    module = builder.mapped(type(node).__name__, node)
    builder.raise_failures()
    return torch.nn.Identity() if module is None else module


@dataclass(frozen=True)
class _Settings:
    """The merged map with dt settled, and what its default entries were made with."""

    node_map: NodeMapping
    time_step: TimeStep
    defaults: DefaultMapper | None

    def described(self) -> dict[str, Any]:
        """For the module's `meta`: what a step means; None where no default entry is used."""
        dynamics = None if self.defaults is None else self.defaults.dynamics
        described: dict[str, Any] = {
            "dt": self.time_step.dt,
            "dt_reason": self.time_step.reason,
        }
        for name in ("integration", "reset", "integrator_input", "surrogate"):
            value = getattr(dynamics, name, None)
            described[name] = getattr(value, "__name__", value)
        return described


def _settings(node_map: NodeMapping, node: nir.NIRNode, step: TimeStep | None = None) -> _Settings:
    """Settle dt: as given, as the default entries say, or inferred from the graph as a whole."""
    defaults = [mapper for mapper in node_map.values() if isinstance(mapper, DefaultMapper)]
    settled = [mapper for mapper in defaults if not mapper.infers_dt]
    if step is None and settled:
        step = TimeStep(settled[0].dynamics.dt, "given")
    elif step is None:
        step = infer_time_step(node)
    mapping = {
        kind: mapper.with_dt(step.dt)
        if isinstance(mapper, DefaultMapper) and mapper.infers_dt
        else mapper
        for kind, mapper in node_map.items()
    }
    return _Settings(mapping, step, defaults[0] if defaults else None)


@dataclass
class _Builder:
    """Builds the module of a graph and, recursively, of those nested in it."""

    settings: _Settings
    skip_unmapped: bool
    dtype: str = "float32"
    origins: Mapping[Any, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    unmapped: list[Finding] = field(default_factory=list)
    failures: list[Finding] = field(default_factory=list)
    cause: BaseException | None = None

    def mapper(self, node: nir.NIRNode) -> Mapper | None:
        return mapper_of(node, self.settings.node_map)

    def is_whole(self, node: nir.NIRNode) -> bool:
        """Whether a nested graph is handed to a mapper instead of being converted."""
        # A map for all of nir.NIRNode is meant for what is not a graph.
        graph_types = (kind for kind in type(node).__mro__ if issubclass(kind, nir.NIRGraph))
        return any(kind in self.settings.node_map for kind in graph_types)

    def require_mappings(self, graph: nir.NIRGraph, path: str) -> None:
        """Raise an UnmappedNodeError that lists every node without a mapping."""
        self._require_all(graph, path)
        self.raise_unmapped()

    def _require_all(self, graph: nir.NIRGraph, path: str) -> None:
        for name in sorted(graph.nodes):
            node = graph.nodes[name]
            if isinstance(node, nir.NIRGraph) and not self.is_whole(node):
                self._require_all(node, f"{path}{name}/")
            else:
                self.require_mapping(path + name, node)

    def require_mapping(self, where: str, node: nir.NIRNode) -> None:
        if self.mapper(node) is None and not self.skip_unmapped:
            kind = _type_name(node)
            hint = "add it to the node map, or skip such nodes with skip_unmapped"
            self.unmapped.append(
                Finding("NIR501", "error", f"no mapping for {kind}", where, hint=hint)
            )

    def raise_unmapped(self) -> None:
        if self.unmapped:
            raise UnmappedNodeError(self.unmapped)

    def raise_failures(self) -> None:
        if self.failures:
            raise MapperError(self.failures) from self.cause

    def mapped(self, where: str, node: nir.NIRNode) -> torch.nn.Module | None:
        """The module for a node, or None where it is skipped; failures are collected."""
        mapper = self.mapper(node)
        if mapper is None:
            if not isinstance(node, (nir.Input, nir.Output)):
                text = f"no mapping for {_type_name(node)}: skipped, its input is passed on"
                self.findings.append(Finding("NIR509", "warning", text, where))
            self.require_skippable(where, node)
            return None
        spec = self.origins.get(key_of(node, self.settings.node_map))
        kind = type(node).__name__ if spec is None else f"{type(node).__name__} ({spec})"
        try:
            module = mapper(node)
        except BaseException as error:  # a mapper is anybody's code
            if is_interrupt(error):
                raise
            self.cause = self.cause or error
            text = f"the mapper of {kind} raised {reason(error)}"
            self.failures.append(Finding("NIR506", "error", text, where))
            return None
        if module is None:
            self.require_skippable(where, node)
        elif not issubclass(type(module), torch.nn.Module):
            is_class = issubclass(type(module), type)
            what = (
                f"the class {module.__name__}, no instance" if is_class else type(module).__name__
            )
            hint = "it must return a torch.nn.Module, or None to skip the node"
            text = f"the mapper of {kind} returned {what}"
            self.failures.append(Finding("NIR507", "error", text, where, hint=hint))
            return None
        elif (problem := self.problem_of(module)) is not None:
            text = f"its module {type(module).__name__} ({self.source(node)}) {problem}"
            self.failures.append(Finding("NIR530", "error", text, where))
            return None
        return cast("torch.nn.Module | None", module)

    def problem_of(self, module: torch.nn.Module) -> str | None:
        """Why a module cannot be used at all; asking may run code of its class."""
        try:
            return call_problem(module)
        except BaseException as error:
            if is_interrupt(error):
                raise
            self.cause = self.cause or error
            return f"raised {reason(error)} when its forward was looked at"

    def source(self, node: nir.NIRNode) -> str:
        """The entry of a map that a node's module is from, in words."""
        key, mapper = key_of(node, self.settings.node_map), self.mapper(node)
        assert mapper is not None
        return self.origins.get(key) or f"mapper {mapper_name(mapper)}"

    def origin(self, node: nir.NIRNode, module: torch.nn.Module | None) -> str | None:
        """Class and source of a module that a user's map made; None for reference modules."""
        is_ours = type(module).__module__.startswith("nirtorch_cli.neurons.")
        if module is None or is_ours or isinstance(self.mapper(node), DefaultMapper):
            return None
        return f"{type(module).__name__} ({self.source(node)})"

    def require_skippable(self, where: str, node: nir.NIRNode) -> None:
        """A node whose input is passed on must keep its shape."""
        taken, given = input_shape(node), output_shape(node)
        if not isinstance(node, (nir.Input, nir.Output)) and (taken is None or taken != given):
            kind = type_name(node)
            text = f"{kind} maps the shape {taken} to {given} and cannot be skipped"
            hint = "its mapping is required"
            self.failures.append(Finding("NIR502", "error", text, where, hint=hint))

    def build(self, graph: nir.NIRGraph, path: str) -> ConvertedModule:
        """The module of a graph whose nodes all have a mapping."""
        flat = dissolve(graph, self.is_whole)
        plan, ambiguous = plan_graph(flat, self.settings.time_step.dt, path)
        self.findings += ambiguous
        names = identifiers(flat.nodes, _RESERVED)
        parts = []
        for name in plan.order:
            node, where = flat.nodes[name], path + flat.origin[name]
            module: torch.nn.Module | None
            origin, delay = None, 0
            if isinstance(node, nir.NIRGraph) and not self.is_whole(node):
                module = self.build(node, f"{where}/")
            else:
                shorter = self.waiting_less(name, node, plan)
                module = self.mapped(where, shorter)
                origin = self.origin(node, module)
                delay = longest_delay(shorter, self.settings.time_step.dt)
                self.check_numbers(where, node)
            parts.append(
                Part(
                    name=names[name],
                    nir_name=flat.origin[name],
                    nir_type=type_name(node),
                    module=module,
                    input_shape=input_shape(node),
                    output_shape=output_shape(node),
                    is_input=flat.is_input(name),
                    is_output=flat.is_output(name),
                    origin=origin,
                    delay=delay,
                )
            )
        edges = tuple((names[s], names[t]) for s, t in flat.edges)
        delayed = tuple((names[s], names[t]) for s, t in plan.delayed)
        return wire(Plan(tuple(parts), edges, delayed), path)

    def waiting_less(self, name: str, node: nir.NIRNode, plan: Schedule) -> nir.NIRNode:
        """A Delay whose incoming edges already waited one step has one less to wait."""
        if name not in plan.shortened:
            return node
        dt = self.settings.time_step.dt
        shorter = copy.copy(node)
        shorter.delay = shortened(delay_steps(node.delay, dt)) * dt
        return shorter

    def check_numbers(self, where: str, node: nir.NIRNode) -> None:
        """Whether a node suits the length of a step, and the module its parameters."""
        mapper = self.mapper(node)
        if isinstance(mapper, DefaultMapper):
            if mapper.dynamics.integration == "euler":
                self.findings += time_steps({where: node}, mapper.dynamics.dt)
            self.findings += uneven_delays({where: node}, mapper.dynamics.dt)
            self.findings += delays_in_steps({where: node}, self.settings.time_step)
            is_current = mapper.dynamics.integrator_input == "current"
            self.findings += lost_increments(
                {where: node}, mapper.dynamics.dt, self.dtype, is_current=is_current
            )
        self.findings += precision({where: node}, self.dtype)


def _type_name(node: nir.NIRNode) -> str:
    if isinstance(node, UnknownNode):
        return node.type_name
    return f"{type(node).__module__}.{type(node).__qualname__}"


def _versions() -> dict[str, str]:
    from nirtorch_cli import __version__

    return {"nirtorch_cli": __version__, "nir": nir.version, "torch": str(torch.__version__)}
