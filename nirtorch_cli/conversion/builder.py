"""The nodes of a sound graph to modules, and these to a `ConvertedModule`, nested graphs first.

In: a graph with shapes, a merged map, what a step means. Out: the module, and findings; the errors
of mappers are collected and reported together. Cost: linear in nodes and edges.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import nir
import torch

from nirtorch_cli.conversion.defaults import DefaultMapper
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.conversion.naming import identifiers
from nirtorch_cli.conversion.node_map import (
    Mapper,
    NodeMapping,
    key_of,
    mapper_name,
    mapper_of,
    patterns_of,
    takes_context,
)
from nirtorch_cli.conversion.options import OF_A_STEP
from nirtorch_cli.conversion.packs import Context, Pack
from nirtorch_cli.conversion.wiring import Part, Plan, call_problem, wire
from nirtorch_cli.findings.errors import MapperError, UnmappedNodeError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import listed
from nirtorch_cli.findings.tracebacks import is_interrupt, reason
from nirtorch_cli.graph.checks.parameters import precision
from nirtorch_cli.graph.checks.time import of_a_step
from nirtorch_cli.graph.inlining import FlatGraph, inline
from nirtorch_cli.graph.loops import Neighbours, cyclic_components, neighbours
from nirtorch_cli.graph.origin import Origin, origin_of
from nirtorch_cli.graph.plan import plan_graph, shortened
from nirtorch_cli.graph.schedule import Schedule
from nirtorch_cli.graph.shapes import input_shape, output_shape
from nirtorch_cli.graph.time_step import TimeStep, longest_delay
from nirtorch_cli.graph.traces import neurons_of
from nirtorch_cli.primitives.modules.neuron import Neuron
from nirtorch_cli.primitives.parameters import delay_steps
from nirtorch_cli.primitives.table import time_constants_of
from nirtorch_cli.reading.unknown_nodes import UnknownNode, type_name

_RESERVED = frozenset(dir(ConvertedModule(torch.nn.Module(), torch.fx.Graph())))
_RESERVED |= {"self", "state"}
"""Names that a submodule or an argument must not have."""


@dataclass(frozen=True)
class Settings:
    """The merged map with its dt, what is known of the graph, and its default entries' options.

    is_used: whether a neuron takes these options; idle: those that were chosen although none does.
    """

    node_map: NodeMapping
    origin: Origin
    defaults: DefaultMapper | None
    is_used: bool
    idle: list[str]

    @property
    def time_step(self) -> TimeStep:
        """The length of a step, and where it is known from."""
        return self.origin.time_step

    def described(self) -> dict[str, Any]:
        """For the module's `meta`: what a step means; None where no default entry says it."""
        dynamics = None if self.defaults is None else self.defaults.dynamics
        of_neurons = dynamics if self.is_used else None
        described: dict[str, Any] = {
            "dt": self.time_step.dt,
            "dt_reason": self.time_step.reason,
            "dt_is_guess": self.time_step.is_guess,
            "integrator_reason": self.origin.integrator_reason if self.is_used else None,
            "written_by": [family.name for family in self.origin.families],
        }
        for name in OF_A_STEP:
            value = getattr(dynamics if name == "surrogate" else of_neurons, name, None)
            described[name] = getattr(value, "__name__", value)
        return described

    def without_effect(self, packs: Collection[Pack]) -> Iterator[Finding]:
        """NIR519: options that no neuron takes, since packs say what a step of each is."""
        if self.idle and packs:
            names = " and ".join(dict.fromkeys(pack.framework for pack in packs))
            text = f"{listed(self.idle)}: no effect, since all neurons are those of {names}"
            hint = (
                "`nirtorch maps show` lists the options of a map, given as in --map NAME:reset=..."
            )
            yield Finding("NIR519", "warning", text, hint=hint)


def settings_of(
    node_map: NodeMapping,
    node: nir.NIRNode,
    step: TimeStep | None = None,
    *,
    hands_dt: bool = False,
    shares: bool = False,
) -> Settings:
    """Settle dt, as given, as the default entries say, or as the graph as a whole tells.

    What integrators take is settled the same way.

    Arguments:
        hands_dt: whether a map of the user was handed dt.
        shares: whether the modules may lie in the memory of the node's arrays.
    """
    origin = origin_of(node)
    neurons = list(_neurons(node, node_map))
    mine = [(n, m) for n in neurons if isinstance(m := mapper_of(n, node_map), DefaultMapper)]
    is_used = bool(mine) or not neurons
    if not hands_dt and not any(time_constants_of(neuron) for neuron, _ in mine):
        origin = origin.without("NIR406", "NIR409")  # whatever dt is, nothing depends on it
    if not any("integrator_input" in mapper.inferred for _, mapper in mine):
        origin = origin.without("NIR408")
    if not any(mapper.dynamics.fires_by_default for _, mapper in mine):
        origin = origin.without("NIR804")  # another map or other options were chosen
    step = step or given_time_step(node_map)
    if step is not None and (step.is_guess or step != origin.time_step):
        origin = origin.at(step)
    mapping = {
        kind: one.settled(origin, shares=shares) if isinstance(one, DefaultMapper) else one
        for kind, one in node_map.items()
    }
    settled = next((one for one in mapping.values() if isinstance(one, DefaultMapper)), None)
    given = next((one for one in node_map.values() if isinstance(one, DefaultMapper)), None)
    idle = [] if is_used or given is None else given.chosen
    return Settings(mapping, origin, settled, is_used, idle)


def given_time_step(node_map: NodeMapping) -> TimeStep | None:
    """The length of a step that a map's default entries were made for; None to infer it."""
    defaults = [mapper for mapper in node_map.values() if isinstance(mapper, DefaultMapper)]
    given = [mapper for mapper in defaults if "dt" not in mapper.inferred]
    return TimeStep(given[0].dynamics.dt, "given") if given else None


def _neurons(node: nir.NIRNode, node_map: NodeMapping) -> list[nir.NIRNode]:
    """The neurons of a graph, but those in nested graphs that a mapper gets whole."""
    if not isinstance(node, nir.NIRGraph):
        return neurons_of(node)
    inner = [one for one in node.nodes.values() if not isinstance(one, nir.NIRGraph)]
    nests = [one for one in node.nodes.values() if isinstance(one, nir.NIRGraph)]
    found = [neuron for one in inner for neuron in neurons_of(one)]
    return found + [n for nest in nests if mapper_of(nest, node_map) is None
                    for n in _neurons(nest, node_map)]  # fmt: skip


@dataclass
class Builder:
    """Builds the module of a graph and, recursively, of those nested in it."""

    settings: Settings
    skip_unmapped: bool
    dtype: str = "float32"
    origins: Mapping[Any, str] = field(default_factory=dict)
    packs: Mapping[Any, Pack] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    unmapped: list[Finding] = field(default_factory=list)
    failures: list[Finding] = field(default_factory=list)
    references: set[str] = field(default_factory=set)
    cause: BaseException | None = None

    def __post_init__(self) -> None:
        self.patterns = patterns_of(self.settings.node_map)
        self.asking: dict[int, bool] = {}

    @property
    def dt(self) -> float:
        """The length of a step."""
        return self.settings.time_step.dt

    def key(self, path: str, node: nir.NIRNode) -> Any:
        """The key of the map's entry for a node."""
        return key_of(node, self.settings.node_map, path, self.patterns)

    def mapper(self, path: str, node: nir.NIRNode) -> Mapper | None:
        return mapper_of(node, self.settings.node_map, path, self.patterns)

    def is_whole(self, path: str, node: nir.NIRNode) -> bool:
        """Whether a nested graph is handed to a mapper instead of being converted.

        A mapper of graphs may have a method `takes`, which says which graphs it is for.
        """
        if not isinstance(node, nir.NIRGraph):
            return False
        key = self.key(path, node)
        # A mapper for nir.NIRNode, the base class, is not meant for graphs.
        if key is None or not (isinstance(key, str) or issubclass(key, nir.NIRGraph)):
            return False
        takes = getattr(self.settings.node_map[key], "takes", None)
        return takes is None or bool(takes(node))

    def whole_graphs(self, graph: nir.NIRGraph, path: str) -> Callable[[nir.NIRNode], bool]:
        """Whether one of the graphs that are nested in a graph is handed to a mapper."""
        whole, waiting = set(), [(graph, path)]
        while waiting:
            around, prefix = waiting.pop()
            for name, node in around.nodes.items():
                if isinstance(node, nir.NIRGraph):
                    if self.is_whole(prefix + name, node):
                        whole.add(id(node))
                    else:
                        waiting.append((node, f"{prefix}{name}/"))
        return lambda node: id(node) in whole

    def require_mappings(self, graph: nir.NIRGraph, path: str) -> None:
        """Raise an UnmappedNodeError that lists every node without a mapping."""
        self._require_all(graph, path)
        self.raise_unmapped()

    def _require_all(self, graph: nir.NIRGraph, path: str) -> None:
        for name in sorted(graph.nodes):
            node = graph.nodes[name]
            if isinstance(node, nir.NIRGraph) and not self.is_whole(path + name, node):
                self._require_all(node, f"{path}{name}/")
            else:
                self.require_mapping(path + name, node)

    def require_mapping(self, where: str, node: nir.NIRNode) -> None:
        if self.mapper(where, node) is None and not self.skip_unmapped:
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

    def mapped(
        self, where: str, node: nir.NIRNode, context: Callable[[], Context]
    ) -> torch.nn.Module | None:
        """The module for a node, or None where it is skipped; failures are collected."""
        mapper = self.mapper(where, node)
        if mapper is None:
            if not isinstance(node, (nir.Input, nir.Output)):
                text = f"no mapping for {_type_name(node)}: skipped, its input is passed on"
                self.findings.append(Finding("NIR509", "warning", text, where))
            self.require_skippable(where, node)
            return None
        key = self.key(where, node)
        spec = self.origins.get(key)
        kind = type_name(node) if spec is None else f"{type_name(node)} ({spec})"
        try:
            module = mapper(node, context()) if self.asks(mapper) else mapper(node)
        except BaseException as error:  # a mapper is anybody's code
            if is_interrupt(error):
                raise
            self.cause = self.cause or error
            if key in self.packs and isinstance(error, ValueError):
                text = f"{'' if spec is None else f'{spec}: '}{error}"
                self.failures.append(Finding("NIR517", "error", text, where))
                return None
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
            text = f"its module {type(module).__name__} ({self.source(where, node)}) {problem}"
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

    def asks(self, mapper: Mapper) -> bool:
        """Whether a mapper asks for the surroundings of its node."""
        if isinstance(mapper, DefaultMapper):
            return False
        if id(mapper) not in self.asking:
            self.asking[id(mapper)] = takes_context(mapper)
        return self.asking[id(mapper)]

    def source(self, where: str, node: nir.NIRNode) -> str:
        """The map's entry that made a node's module, in words."""
        mapper = self.mapper(where, node)
        assert mapper is not None
        return self.origins.get(self.key(where, node)) or f"mapper {mapper_name(mapper)}"

    def origin(self, where: str, node: nir.NIRNode, module: torch.nn.Module | None) -> str | None:
        """Class and source of a module that a user's map made; None for reference modules.

        Nor has one that steps as our base class does, whose promises need no check.
        """
        is_ours = type(module).__module__.startswith("nirtorch_cli.primitives.modules.")
        is_ours |= isinstance(module, Neuron) and type(module).is_whole
        if module is None or is_ours or isinstance(self.mapper(where, node), DefaultMapper):
            return None
        return f"{type(module).__name__} ({self.source(where, node)})"

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
        flat = inline(graph, self.whole_graphs(graph, path))
        plan, ambiguous = plan_graph(flat, self.settings.time_step.dt, path)
        self.findings += ambiguous
        names = identifiers(flat.nodes, _RESERVED)
        around = _Surroundings(flat, graph, path, self.dt)
        parts = []
        for name in plan.order:
            node, where = flat.nodes[name], path + flat.origin[name]
            module: torch.nn.Module | None
            origin, delay = None, 0
            if isinstance(node, nir.NIRGraph) and not self.is_whole(where, node):
                module = self.build(node, f"{where}/")
            else:
                shorter = self.waiting_less(name, node, plan)
                module = self.mapped(where, shorter, functools.partial(around.of, name))
                if isinstance(self.mapper(where, node), DefaultMapper):
                    self.references.add(where)
                origin = self.origin(where, node, module)
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
        mapper = self.mapper(where, node)
        if isinstance(mapper, DefaultMapper):
            step, dynamics = self.settings.time_step, mapper.dynamics
            self.findings += of_a_step({where: node}, step, dynamics, self.dtype)
        self.findings += precision({where: node}, self.dtype)


class _Surroundings:
    """The surroundings of the nodes of a graph, found when the first is asked for."""

    def __init__(self, flat: FlatGraph, graph: nir.NIRGraph, path: str, dt: float) -> None:
        self.flat, self.graph, self.path, self.dt = flat, graph, path, dt

    @functools.cached_property
    def looping(self) -> set[str]:
        """The nodes that lie in a loop."""
        following = neighbours(self.flat.nodes, self.flat.edges)
        return {name for loop in cyclic_components(self.flat.nodes, following) for name in loop}

    @functools.cached_property
    def coming(self) -> Neighbours:
        """The nodes that lead to each."""
        return neighbours(self.flat.nodes, [(target, source) for source, target in self.flat.edges])

    def of(self, name: str) -> Context:
        """Those of a node, by its name in the flat graph."""
        origin = self.flat.origin
        before = tuple(self.path + origin[source] for source in self.coming[name])
        holder = self.graph
        for nest in origin[name].split("/")[:-1]:  # of a nest that was opened
            inner = holder.nodes.get(nest)
            holder = inner if isinstance(inner, nir.NIRGraph) else holder
        where = self.path + origin[name]
        return Context(where, before, name in self.looping, self.dt, holder)


def _type_name(node: nir.NIRNode) -> str:
    if isinstance(node, UnknownNode):
        return node.type_name
    return f"{type(node).__module__}.{type(node).__qualname__}"
