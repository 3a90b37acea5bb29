"""The nodes of a sound graph to modules, and these to a `ConvertedModule`, nested graphs first.

In: a graph with shapes, a merged map, what a step means. Out: the module, and findings; the errors
of mappers are collected and reported together. Cost: linear in nodes and edges.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import nir
import torch

from nirtorch_cli.conversion.defaults import DefaultMapper
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.conversion.naming import identifiers
from nirtorch_cli.conversion.node_map import Mapper, NodeMapping, key_of, mapper_name, mapper_of
from nirtorch_cli.conversion.wiring import Part, Plan, call_problem, wire
from nirtorch_cli.findings.errors import MapperError, UnmappedNodeError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.tracebacks import is_interrupt, reason
from nirtorch_cli.graph.checks.parameters import precision
from nirtorch_cli.graph.checks.time import (
    delays_in_steps,
    lost_increments,
    time_steps,
    uneven_delays,
)
from nirtorch_cli.graph.inlining import inline
from nirtorch_cli.graph.plan import plan_graph, shortened
from nirtorch_cli.graph.schedule import Schedule
from nirtorch_cli.graph.shapes import input_shape, output_shape
from nirtorch_cli.graph.time_step import TimeStep, infer_time_step, longest_delay
from nirtorch_cli.primitives.parameters import delay_steps
from nirtorch_cli.reading.unknown_nodes import UnknownNode, type_name

_RESERVED = frozenset(dir(ConvertedModule(torch.nn.Module(), torch.fx.Graph())))
_RESERVED |= {"self", "state"}
"""Names that a submodule or an argument must not have."""


@dataclass(frozen=True)
class Settings:
    """The merged map with its dt, and the options of its default entries."""

    node_map: NodeMapping
    time_step: TimeStep
    defaults: DefaultMapper | None

    def described(self) -> dict[str, Any]:
        """For the module's `meta`: what a step means; None if no default entry is used."""
        dynamics = None if self.defaults is None else self.defaults.dynamics
        described: dict[str, Any] = {
            "dt": self.time_step.dt,
            "dt_reason": self.time_step.reason,
            "dt_is_guess": self.time_step.is_guess,
        }
        for name in ("integration", "reset", "integrator_input", "surrogate"):
            value = getattr(dynamics, name, None)
            described[name] = getattr(value, "__name__", value)
        return described


def settings_of(node_map: NodeMapping, node: nir.NIRNode, step: TimeStep | None = None) -> Settings:
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
    return Settings(mapping, step, defaults[0] if defaults else None)


@dataclass
class Builder:
    """Builds the module of a graph and, recursively, of those nested in it."""

    settings: Settings
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
        # A mapper for nir.NIRNode, the base class, is not meant for graphs.
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
        kind = type_name(node) if spec is None else f"{type_name(node)} ({spec})"
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
        """Why a module cannot be used at all; finding out may run code of its class."""
        try:
            return call_problem(module)
        except BaseException as error:
            if is_interrupt(error):
                raise
            self.cause = self.cause or error
            return f"raised {reason(error)} when its forward was looked at"

    def source(self, node: nir.NIRNode) -> str:
        """The map's entry that made a node's module, in words."""
        key, mapper = key_of(node, self.settings.node_map), self.mapper(node)
        assert mapper is not None
        return self.origins.get(key) or f"mapper {mapper_name(mapper)}"

    def origin(self, node: nir.NIRNode, module: torch.nn.Module | None) -> str | None:
        """Class and source of a module that a user's map made; None for reference modules."""
        is_ours = type(module).__module__.startswith("nirtorch_cli.primitives.modules.")
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
        flat = inline(graph, self.is_whole)
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
        """Shorten a Delay by the step that its incoming edges already wait."""
        if name not in plan.shortened:
            return node
        dt = self.settings.time_step.dt
        shorter = copy.copy(node)
        shorter.delay = shortened(delay_steps(node.delay, dt)) * dt
        return shorter

    def check_numbers(self, where: str, node: nir.NIRNode) -> None:
        """Check that a node suits the length of a step, and its parameters the module's type."""
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
