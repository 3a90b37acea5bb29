"""A plan of modules and edges to a `torch.fx.GraphModule`.

In: a `Plan`, whose parts are in execution order and whose names are identifiers. Out: a
`ConvertedModule`. The generated code is pure: each step makes a new state from the old.
Cost: linear in parts and edges.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from nirtorch_cli.conversion import state
from nirtorch_cli.conversion.graph_module import NIR_NAME, ConvertedModule
from nirtorch_cli.conversion.naming import previous_output_key
from nirtorch_cli.findings.errors import ShapeError
from nirtorch_cli.graph.loops import Edge
from nirtorch_cli.primitives.shape_rules import Shape


@dataclass(frozen=True)
class Part:
    """One node of the graph with its module; None passes its input on.

    origin: the module's class and the entry of a user's map that made it, in words, so that what
    it gives is checked; None for reference modules. delay: how many steps a Delay waits at most.
    """

    name: str
    nir_name: str
    nir_type: str
    module: torch.nn.Module | None
    input_shape: Shape | None
    output_shape: Shape | None
    is_input: bool = False
    is_output: bool = False
    origin: str | None = None
    delay: int = 0


@dataclass(frozen=True)
class Plan:
    """What is executed in a step: parts in order, all edges, and those that are delayed."""

    parts: tuple[Part, ...]
    edges: tuple[Edge, ...]
    delayed: tuple[Edge, ...]


def wire(plan: Plan, path: str = "") -> ConvertedModule:
    """The module of a plan; `path` names the nested graph in errors.

    Raises:
        ShapeError: a delayed edge needs zeros of a shape that is not known.
    """
    wiring = _Wiring(plan, path)
    for part in plan.parts:
        wiring.add(part)
    return wiring.finished()


def is_stateful(module: torch.nn.Module) -> bool:
    """Whether a module takes and returns a state: its forward has a parameter `state`."""
    if isinstance(module, (ConvertedModule, torch.nn.RNNBase)):
        return True
    forward = module.forward
    try:
        return _takes_state(getattr(forward, "__func__", forward))
    except (TypeError, ValueError):  # it is written in C, say
        return False


@lru_cache(maxsize=1024)
def _takes_state(forward: Callable[..., Any]) -> bool:
    return "state" in inspect.signature(forward).parameters


def call_problem(module: torch.nn.Module) -> str | None:
    """Why a module cannot be called for a node, from its signature; None if it can."""
    if "_modules" not in vars(module):
        return "was not initialised: its __init__ must call super().__init__()"
    if isinstance(module, ConvertedModule):
        ports = len(module.meta.get("inputs", "?")), len(module.meta.get("outputs", "?"))
        return None if ports == (1, 1) else f"has {ports[0]} Inputs and {ports[1]} Outputs, not one"
    if isinstance(module, torch.nn.RNNBase):
        return None
    forward = module.forward
    function = getattr(forward, "__func__", None)
    if function is torch.nn.Module.forward:
        return "has no forward"
    stateful = is_stateful(module)
    # A method is looked at once for all modules of its class.
    return (
        _known_call_problem(function, 2, stateful)
        if function
        else _call_problem(forward, 1, stateful)
    )


def _call_problem(forward: Callable[..., Any], count: int, stateful: bool) -> str | None:
    """Why a function does not take so many arguments, and the state by name; None if it does."""
    try:
        signature = inspect.signature(forward)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*[None] * count, **({"state": None} if stateful else {}))
    except TypeError as error:
        return f"cannot be called as forward({'x, state=s' if stateful else 'x'}): {error}"
    return None


_known_call_problem = lru_cache(maxsize=1024)(_call_problem)


class _Wiring:
    """The fx graph of a plan while it grows."""

    def __init__(self, plan: Plan, path: str) -> None:
        self.plan = plan
        self.path = path
        self.graph = torch.fx.Graph(tracer_cls=state.StateTracer)
        self.shapes = {part.name: part.output_shape for part in plan.parts}
        self.nir_names = {part.name: part.nir_name for part in plan.parts}
        self.values: dict[str, torch.fx.Node] = {}
        self.states: dict[str, torch.fx.Node | None] = {}
        self.modules: dict[str, torch.nn.Module] = {}
        self.previous: dict[str, torch.fx.Node] = {}
        index = {part.name: number for number, part in enumerate(plan.parts)}
        delayed = set(plan.delayed)
        self.sources: dict[str, list[tuple[str, bool]]] = {part.name: [] for part in plan.parts}
        for source, target in sorted(plan.edges, key=lambda edge: index[edge[0]]):
            self.sources[target].append((source, (source, target) in delayed))
        # All arguments come before the first use of one.
        self.shaped_argument: tuple[torch.fx.Node, int] | None = None
        for part in plan.parts:
            if part.is_input:
                argument = self.graph.placeholder(part.name)
                argument.meta[NIR_NAME] = part.nir_name
                self.values[part.name] = argument
                if part.output_shape is not None and self.shaped_argument is None:
                    self.shaped_argument = argument, len(part.output_shape)
        self.state = self.graph.placeholder("state", default_value=None)

    def add(self, part: Part) -> None:
        """One node: the sum of its inputs, through its module."""
        value = self.values[part.name] if part.is_input else self.incoming(part)
        self.states[part.name] = None
        if part.module is not None:
            self.modules[part.name] = part.module
            value = self.call(part, value)
            value.meta[NIR_NAME] = part.nir_name
        self.values[part.name] = value

    def incoming(self, part: Part) -> torch.fx.Node:
        """The input of a node: the sum of its edges, in the order of the schedule."""
        arriving = [
            self.previous_output(source) if is_delayed else self.values[source]
            for source, is_delayed in self.sources[part.name]
        ]
        if not arriving:
            if part.input_shape is None:
                raise self.unknown_shape(part.name, "no edge leads to it")
            reference, rank = self.reference(part.name)
            arguments = (reference, part.input_shape, rank)
            return self.function(state.silence, arguments, f"{part.name}_input")
        total = arriving[0]
        for value in arriving[1:]:
            total = self.function(state.add, (total, value), f"{part.name}_input")
        return total

    def call(self, part: Part, value: torch.fx.Node) -> torch.fx.Node:
        """Call a node's module; a stateful one also gives its new state."""
        assert part.module is not None
        if not is_stateful(part.module):
            name = part.name if part.origin is None else f"{part.name}_output"
            output = self.graph.create_node("call_module", part.name, (value,), {}, name)
            return self.checked(state.checked_output, output, value, part, part.name)
        before = self.function(state.entry, (self.state, part.name), f"{part.name}_before")
        if isinstance(part.module, torch.nn.RNNBase):
            arguments: tuple[Any, ...] = (value, before)
            keywords: dict[str, Any] = {}
        else:
            arguments, keywords = (value,), {"state": before}
        step = self.graph.create_node(
            "call_module", part.name, arguments, keywords, f"{part.name}_step"
        )
        step = self.checked(state.checked_step, step, value, part, f"{part.name}_checked")
        output = self.function(operator.getitem, (step, 0), part.name)
        self.states[part.name] = self.function(operator.getitem, (step, 1), f"{part.name}_state")
        return output

    def checked(
        self,
        check: Callable[..., Any],
        result: torch.fx.Node,
        value: torch.fx.Node,
        part: Part,
        name: str,
    ) -> torch.fx.Node:
        """The output of a module for a value; checked, if a user's map made the module."""
        if part.origin is None:
            return result
        where = self.path + part.nir_name
        arguments = result, value, part.input_shape, part.output_shape, where, part.origin
        return self.function(check, arguments, name)

    def previous_output(self, source: str) -> torch.fx.Node:
        """Last step's output of a node, read once."""
        if source not in self.previous:
            shape = self.shapes[source]
            if shape is None:
                raise self.unknown_shape(source, "an edge from it carries last step's value")
            reference, rank = self.reference(source)
            key = previous_output_key(source)
            arguments = (self.state, key, reference, shape, rank)
            self.previous[source] = self.function(state.previous_output, arguments, key)
        return self.previous[source]

    def reference(self, name: str) -> tuple[torch.fx.Node, int]:
        """An argument whose NIR shape is known, so that its batch axes are, and its rank."""
        if self.shaped_argument is None:
            raise self.unknown_shape(name, "no Input has a shape, so batch axes are not known")
        return self.shaped_argument

    def function(
        self, target: Callable[..., Any], arguments: tuple[Any, ...], name: str
    ) -> torch.fx.Node:
        return self.graph.create_node("call_function", target, arguments, {}, name)

    def dictionary(self, entries: Mapping[str, torch.fx.Node | None], name: str) -> torch.fx.Node:
        """A call of dict: a literal would reach torch.export as fx's immutable_dict.

        Not with keywords, since Python compares each of them with all others.
        """
        return self.graph.create_node("call_function", dict, (dict(entries),), {}, name)

    def unknown_shape(self, name: str, why: str) -> ShapeError:
        text = f"its shape is needed and not known: {why}"
        hint = "give the Input a shape"
        where = self.path + self.nir_names[name]
        return ShapeError("NIR205", text, where, hint=hint)

    def finished(self) -> ConvertedModule:
        """The module: return the outputs and the new state, lint, compile."""
        outputs = {part.name: self.values[part.name] for part in self.plan.parts if part.is_output}
        if len(outputs) > 1:
            output = self.dictionary(outputs, "outputs")
        else:
            output = next(iter(outputs.values()))
        new_state: dict[str, torch.fx.Node | None] = dict(self.states)
        for source in self.previous:
            new_state[previous_output_key(source)] = self.values[source]
        self.graph.output((output, self.dictionary(new_state, "new_state")))
        module = ConvertedModule(self.modules, self.graph)
        self.graph.lint()
        parts = self.plan.parts
        module.meta.update(
            names={part.name: part.nir_name for part in parts},
            types={part.name: part.nir_type for part in parts},
            shapes={part.name: (part.input_shape, part.output_shape) for part in parts},
            inputs=[part.name for part in parts if part.is_input],
            outputs=[part.name for part in parts if part.is_output],
            delayed_edges=[list(edge) for edge in self.plan.delayed],
            origins={part.name: part.origin for part in parts if part.origin is not None},
            delays={part.name: part.delay for part in parts if part.delay},
        )
        return module
