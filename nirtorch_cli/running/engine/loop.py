"""Runs the members of a loop, which depend on each other, together, step by step.

In: the calls of a loop in the order of a step, the values that arrive from outside for all steps,
and the state before. Out: a `StageRun`: the values that are needed outside, for all steps, the
state after, and what was recorded.

A step costs little more than its kernels: each call is bound once to the values that it reads, and
if no gradient is needed, the reference neurons keep their variables and change them in place
(`Neuron.stepper`). Cost: linear in steps and calls.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import Node

from nirtorch_cli.conversion import state
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.text import listed, quoted
from nirtorch_cli.primitives.modules.neuron import Neuron, Stepper
from nirtorch_cli.primitives.modules.program import Program
from nirtorch_cli.running.engine.framewise import applied, has_hooks, is_framewise
from nirtorch_cli.running.recording import held, held_names

STATE_READERS = (state.entry, state.previous_output)

_STATE = "state"
"""The key, among the values of a step, of the state before it."""

Values = dict[Any, Any]
Call = Callable[[Values], Any]
StepCall = Callable[[Values, int], Any]


def is_reference(module: torch.nn.Module) -> bool:
    """Whether a module is a neuron that can also step in place, and has no hooks."""
    return isinstance(module, Neuron) and type(module).is_whole and not has_hooks(module)


@dataclass(frozen=True)
class StageRun:
    """The results of a stage's calls over some steps.

    values: by call, with time first; for a call that gives an output and a state, the output.
    state: by key, after the last step. recorded: what was recorded, by the path of a node and the
    name of a variable, with time first.
    """

    values: Mapping[Node, Tensor]
    state: Mapping[str, Any]
    recorded: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


class StateRecorder:
    """Variables of one node's state, recorded step by step."""

    def __init__(self, path: str, names: Mapping[str, str]) -> None:
        self.path, self.names = path, names
        self.values: dict[str, list[Tensor]] = {name: [] for name in names}

    def record(self, after: Any, copied: bool = False) -> None:
        """Record the variables of a state; `copied` if it will be changed in place.

        Raises:
            UsageError: a mapped module keeps no such variable.
        """
        for name, values in self.values.items():
            value = held(after, self.names[name])
            if value is None:
                text = f"the state of its module has no {quoted(self.names[name])} to record"
                hint = f"it holds {listed(held_names(after)) or 'no tensors'}"
                raise UsageError("NIR604", text, self.path, hint=hint)
            values.append(value.clone() if copied else value)

    def stacked(self) -> dict[str, Tensor]:
        """The variables with time first."""
        return {name: torch.stack(values) for name, values in self.values.items()}


@dataclass(frozen=True)
class Loop:
    """A loop of calls.

    nodes: the calls, in the order of a step. arriving: values from outside, with time first.
    carried: for each entry of the state that the loop reads, the call that gives it. needed: the
    calls whose values are needed. modules: the modules that are called, by name. calls: every call
    as a function. record: by the key of a state, the path of its node, and the module's own name of
    each variable by NIR's name.
    """

    nodes: Sequence[Node]
    arriving: Mapping[Node, Tensor]
    carried: Mapping[str, Node]
    needed: Collection[Node]
    modules: Mapping[Node, torch.nn.Module]
    calls: Mapping[Node, Callable[..., Any]]
    record: Mapping[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)

    def part(self, start: int, stop: int) -> Loop:
        """The same over some of the steps."""
        arriving = {node: values[start:stop] for node, values in self.arriving.items()}
        return replace(self, arriving=arriving)

    @property
    def is_plain(self) -> bool:
        """Whether it can be run in other ways, or again, because no call has side effects."""
        return all(is_reference(m) or is_framewise(m) for m in self.modules.values())

    def before(self, before: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """The entries of a module's state that the loop reads."""
        return None if before is None else {key: state.entry(before, key) for key in self.carried}

    def run(self, before: Mapping[str, Any] | None, steps: int) -> StageRun:
        """Run all steps.

        Raises:
            StateError: the state before lacks what the loop reads, or has it in another shape.
        """
        first = self.before(before)
        if self.is_plain and not self.wants_gradients(first):
            done = self.in_place(first, steps)
            if done is not None:
                return done.finished()
        return self.with_states(first, steps).finished()

    def wants_gradients(self, first: Mapping[str, Any] | None) -> bool:
        """Whether anything that the loop reads needs a gradient."""
        if not torch.is_grad_enabled():
            return False
        parts = [part.values() if isinstance(part, Mapping) else [part]
                 for part in (first or {}).values()]  # fmt: skip
        own = (parameter for module in self.modules.values() for parameter in module.parameters())
        read = itertools.chain(self.arriving.values(), own, *parts)
        return any(isinstance(value, Tensor) and value.requires_grad for value in read)

    # ---- as in the graph

    def with_states(self, now: dict[str, Any] | None, steps: int) -> _Gathered:
        """Run the steps with calls that take a state and return a new one."""
        done = _Gathered(self)
        program = [(node, self.call_of(node)) for node in self.nodes]
        feeds = [(node, values.unbind(0)) for node, values in self.arriving.items()]
        for step in range(steps):
            values: Values = {node: feed[step] for node, feed in feeds}
            values[_STATE] = now
            for node, call in program:
                values[node] = call(values)
            now = {key: values[node] for key, node in self.carried.items()}
            for key, recorder in done.recorded.items():
                recorder.record(now[key])
            for node, parts in done.parts.items():
                parts.append(values[node][0] if is_pair(node) else values[node])
        done.state = now or {}
        return done

    def call_of(self, node: Node) -> Call:
        """A call as a function of the values of a step."""
        target: Any = node.target
        args: Any = node.args
        if target is state.entry:
            key = args[1]
            return lambda values: None if values[_STATE] is None else values[_STATE][key]
        if target is state.previous_output:
            _, key, reference, shape, rank = args
            return lambda values: state.previous_output(
                values[_STATE], key, values[reference], shape, rank
            )
        if target in state.CHECKS:
            result, x, *promise = args
            return lambda values: target(values[result], values[x], *promise)
        if node not in self.modules or len(args) > 2 or node.kwargs.keys() - {"state"}:
            function = self.calls[node]
            return lambda values: function(
                *torch.fx.node.map_arg(node.args, values.__getitem__),
                **torch.fx.node.map_arg(node.kwargs, values.__getitem__),
            )
        module = self.modules[node]
        is_ours = is_reference(module)
        call = cast(Neuron, module).settled().forward if is_ours else self.calls[node]
        x, before = args[0], node.kwargs.get("state", args[1] if len(args) == 2 else None)
        if before is None:
            return lambda values: call(values[x])
        return lambda values: call(values[x], values[before])

    # ---- in place

    def in_place(self, first: dict[str, Any] | None, steps: int) -> _Gathered | None:
        """The same with neurons that keep their variables; None if that is not possible."""
        done = _Gathered(self)
        neurons = {n: cast(Neuron, m) for n, m in self.modules.items() if is_reference(m)}
        keys = {node: cast(Any, node.kwargs["state"]).args[1] for node in neurons}
        earlier = {key: node for key, node in self.carried.items() if key not in keys.values()}
        feeds = [(node, values.unbind(0)) for node, values in self.arriving.items()]
        values: Values = {node: feed[0] for node, feed in feeds}
        values[_STATE] = first
        steppers: dict[Node, Stepper | Program] = {}
        outputs: dict[Node, Tensor] = {}
        for node in self.nodes:  # the first step shows shapes and types
            if node in neurons:
                x = values[node.args[0]]
                stepper = neurons[node].stepper(x, None if first is None else first[keys[node]])
                if stepper is None:
                    return None
                outputs[node] = x.new_empty((steps, *x.shape))
                steppers[node] = stepper
                values[node] = (stepper(x, outputs[node][0]), None)
            elif not self.is_inner(node, neurons):
                values[node] = self.call_of(node)(values)
        others = [node for node in done.parts if self.pair_of(node) not in outputs]
        kept = {*others, *earlier.values()}
        program = list(self.bound(steppers, outputs, values, kept))
        recorders = [
            (done.recorded[keys[n]], s.variables)
            for n, s in steppers.items()
            if keys[n] in done.recorded
        ]
        collected = [(node, done.parts[node]) for node in others]
        now = values[_STATE] = {}
        for step in range(steps):
            if step:
                for node, feed in feeds:
                    values[node] = feed[step]
                for node, call in program:
                    values[node] = call(values, step)
            for key, node in earlier.items():
                now[key] = values[node]
            for recorder, variables in recorders:
                recorder.record(variables, copied=True)
            for node, parts in collected:
                parts.append(values[node])
        if not all(stepper.is_finite for stepper in steppers.values()):
            return None
        done.state = {**now, **{keys[n]: s.variables for n, s in steppers.items()}}
        for node in done.parts.keys() - set(others):
            done.whole[node] = outputs[cast(Node, self.pair_of(node))]
        return done

    def pair_of(self, node: Node) -> Node | None:
        """The call whose output a value is; the node itself if it is that call."""
        if node.target is operator.getitem and node.args[1] == 0:
            return cast(Node, node.args[0])
        return node if is_pair(node) else None

    def is_inner(self, node: Node, neurons: Collection[Node]) -> bool:
        """Whether a call only passes on the state of neurons, which keep it themselves."""
        if node.target is state.entry:
            return any(user in neurons for user in node.users)
        is_choice = bool(node.target is operator.getitem)
        return is_choice and node.args[0] in neurons and cast(int, node.args[1]) == 1

    def bound(
        self,
        steppers: Mapping[Node, Stepper | Program],
        outputs: Mapping[Node, Tensor],
        first: Values,
        kept: Collection[Node],
    ) -> Iterator[tuple[Node, StepCall]]:
        """The calls of the steps after the first, when shapes are known to fit.

        If a value of the `first` step is used at once and not `kept`, later steps overwrite it.
        """
        for node in self.nodes:
            args: Any = node.args
            result = state.result_of(node)
            at_once = all(user in steppers or user.target is state.add for user in result.users)
            buffer = first[node] if at_once and result not in kept and node in first else None
            if self.is_inner(node, steppers):
                continue
            if node in steppers:
                yield node, _stepping(steppers[node], args[0], outputs[node].unbind(0))
            elif node.target is state.previous_output:
                yield node, _remembering(args[1])
            elif node.target is state.add:
                yield node, _adding(args[0], args[1], buffer)
            elif node.target is operator.getitem:
                yield node, _choosing(*args)
            elif node.target in state.CHECKS:
                yield node, _passing(args[0])  # its check depends on shapes and types only
            elif node in self.modules and len(args) == 1 and not node.kwargs:
                yield node, _calling(applied(self.modules[node], first[args[0]], buffer), args[0])
            else:
                yield node, _whatever(self.call_of(node))


class _Gathered:
    """Collects the results of a loop, step by step."""

    def __init__(self, loop: Loop) -> None:
        self.parts: dict[Node, list[Tensor]] = {node: [] for node in loop.needed}
        self.recorded = {key: StateRecorder(*record) for key, record in loop.record.items()}
        self.whole: dict[Node, Tensor] = {}
        self.state: dict[str, Any] = {}

    def finished(self) -> StageRun:
        """All results, with time first."""
        values = {
            node: self.whole[node] if node in self.whole else torch.stack(parts)
            for node, parts in self.parts.items()
        }
        recorded = {one.path: one.stacked() for one in self.recorded.values()}
        return StageRun(values, self.state, recorded)


def is_pair(node: Node) -> bool:
    """Whether a call gives an output and a state."""
    return any(user.target is operator.getitem for user in node.users)


def _stepping(stepper: Stepper | Program, x: Node, outputs: Sequence[Tensor]) -> StepCall:
    return lambda values, step: (stepper(values[x], outputs[step]), None)


def _remembering(key: str) -> StepCall:
    return lambda values, step: values[_STATE][key]


def _adding(one: Node, other: Node, buffer: Tensor | None) -> StepCall:
    return lambda values, step: torch.add(values[one], values[other], out=buffer)


def _choosing(pair: Node, index: int) -> StepCall:
    return lambda values, step: values[pair][index]


def _passing(result: Node) -> StepCall:
    return lambda values, step: values[result]


def _calling(forward: Callable[[Any], Any], x: Node) -> StepCall:
    return lambda values, step: forward(values[x])


def _whatever(call: Call) -> StepCall:
    return lambda values, step: call(values)
