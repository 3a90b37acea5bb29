"""Runs a converted module over many steps, stage by stage instead of step by step.

In: a module, inputs with time as their first axis, a state. Out: its outputs over time and the
state after the last step, as if it had been called for each step; what is recorded goes to a
`Trace`.

Stateless calls get all steps at once (`framewise`), reference neurons run their own loop over time
(`over_time`), other stateful modules are called for each step, and the members of a loop run
together, step by step. A value is freed when the last stage that needs it has run.

`running.session` says which results equal those of single steps bit for bit, and which to rounding.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import Node

from nirtorch_cli.conversion import state
from nirtorch_cli.conversion.artefacts.opaque import Network
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.primitives.modules.elementwise import Delay
from nirtorch_cli.primitives.modules.firing import OverflowedError
from nirtorch_cli.running.engine.compiler import Compiler, Plainly
from nirtorch_cli.running.engine.framewise import has_hooks, over_frames, stepped
from nirtorch_cli.running.engine.loop import (
    STATE_READERS,
    Loop,
    StageRun,
    is_pair,
    is_reference,
)
from nirtorch_cli.running.engine.stages import Stage, StagedGraph, stages_of
from nirtorch_cli.running.recording import OF_OUTPUTS, Wanted, inner_nodes, own_names

_ALL_FRAMES = (state.add, state.silence, state.checked_output)
"""Functions that take any leading axes, such as time."""


@dataclass
class Trace:
    """What was recorded, by node and variable, in consecutive parts."""

    wanted: Wanted
    parts: dict[str, dict[str, list[Tensor]]] = field(default_factory=dict)
    counts: dict[str, Tensor] = field(default_factory=dict)

    def begin(self) -> None:
        """Forget what was recorded, for a new run."""
        self.parts, self.counts = {}, {}

    def recorded(self, path: str) -> set[str]:
        """The variables of a node that are recorded."""
        return self.wanted.get(path, set())

    def add(self, path: str, variable: str, values: Tensor) -> None:
        """Values of one variable for the next steps."""
        self.parts.setdefault(path, {}).setdefault(variable, []).append(values)

    def add_output(self, path: str, values: Tensor) -> None:
        """A node's output for the next steps."""
        names = self.recorded(path)
        for name in names & {"output", "spikes"}:
            self.add(path, name, values)
        if "count" in names:
            count = _spikes(values.detach()).sum(0)
            self.counts[path] = self.counts[path] + count if path in self.counts else count

    def joined(self) -> dict[str, dict[str, Tensor]]:
        """All parts joined, in the order in which they were asked for."""
        found: dict[str, dict[str, Tensor]] = {}
        for path in self.wanted:
            parts = self.parts.get(path, {})
            found[path] = {name: _joined(values) for name, values in sorted(parts.items())}
            if path in self.counts:
                found[path]["count"] = self.counts[path]
        return found


def _spikes(values: Tensor) -> Tensor:
    """How many spikes an output is: as many as it says, or one if that is no whole number."""
    if not values.is_floating_point():
        return values
    is_spike = values.abs() > 0  # neither 0 nor NaN
    is_whole = values == values.round()
    return torch.where(is_whole & is_spike, values.abs(), is_spike).to(torch.int64)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class Sequencer:
    """Runs a module over chunks of time; `prefix` is the path of a nested one."""

    def __init__(
        self,
        module: ConvertedModule,
        trace: Trace,
        compiler: Compiler | None = None,
        prefix: str = "",
    ) -> None:
        self.module, self.trace, self.compiler, self.prefix = module, trace, compiler, prefix
        self.staged: StagedGraph | None = stages_of(module.graph)
        if self.staged is None:
            return
        self.names = module.meta["names"]
        self.own_names = {nir_name: name for name, nir_name in self.names.items()}
        self.outputs = self.recorded_outputs(_output_nodes(module, self.staged))
        self.nested = {
            name: Sequencer(child, trace, compiler, f"{prefix}{self.names.get(name, name)}/")
            for name, child in module.named_children()
            if isinstance(child, ConvertedModule)
        }
        self.calls = {node for stage in self.staged.stages for node in stage.nodes}
        self.ends = {*_values(self.staged.outputs), *self.outputs, *_handed_over(self.staged)}
        self.last_use = self.lifetimes(self.staged)

    def recorded_outputs(self, found: Mapping[Node, list[str]]) -> dict[Node, list[str]]:
        """The nodes whose outputs are recorded, with their paths."""
        paths = {
            node: [path for name in names for path in self.paths_of(name)]
            for node, names in found.items()
        }
        recorded = {
            node: [path for path in of_node if self.trace.recorded(path).intersection(OF_OUTPUTS)]
            for node, of_node in paths.items()
        }
        return {node: of_node for node, of_node in recorded.items() if of_node}

    def lifetimes(self, staged: StagedGraph) -> list[list[Node]]:
        """For each stage the values that are not needed after it."""
        needed_to_the_end = set(_values(staged.outputs)) | set(staged.carried.values())
        last: dict[Node, int] = {}
        for number, stage in enumerate(staged.stages):
            for node in stage.nodes:
                last.update(dict.fromkeys((node, *node.all_input_nodes), number))
        ends: list[list[Node]] = [[] for _ in staged.stages]
        for node, number in last.items():
            if node not in needed_to_the_end:
                ends[number].append(node)
        return ends

    def run(
        self, inputs: tuple[Tensor, ...], before: state.State | None
    ) -> tuple[Any, state.State]:
        """Outputs (T, ...) and the state after them."""
        staged = self.staged
        if staged is None:
            return self.called_step_by_step(inputs, before)
        work = _Chunk(self, before, dict(zip(staged.arguments, inputs)))
        for argument in staged.arguments:
            self.record(argument, work.values[argument])
        for stage, ended in zip(staged.stages, self.last_use):
            getattr(work, stage.kind)(stage)
            for node in ended:
                work.values.pop(node, None)
        after = {key: work.after(key, node) for key, node in staged.carried.items()}
        if isinstance(staged.outputs, Node):
            return work.values[staged.outputs], after
        return {name: work.values[node] for name, node in staged.outputs.items()}, after

    def record(self, node: Node, values: Any) -> None:
        """Record a node's output, if it is asked for."""
        for path in self.outputs.get(node, ()):
            self.trace.add_output(path, values)

    def path_of(self, name: str) -> str:
        return self.prefix + str(self.names.get(name, name))

    def paths_of(self, nir_name: str) -> list[str]:
        """The path of a node, and of the one that its module says it is."""
        path = self.prefix + nir_name
        inside = inner_nodes(self.module._modules.get(self.own_names.get(nir_name, "")))
        return [path, *(f"{path}/{inner}" for inner in inside)]

    def called_step_by_step(
        self, inputs: tuple[Tensor, ...], before: state.State | None
    ) -> tuple[Any, state.State]:
        """Run an edited module, whose stages are not known, step by step."""
        if any(path.startswith(self.prefix) for path in self.trace.wanted):
            text = "the module's fx graph was edited, so that nothing in it can be recorded"
            raise UsageError("NIR604", text, self.prefix.rstrip("/") or None)
        outputs, after = [], before
        for step in zip(*inputs, strict=True):
            output, after = self.module(*step, state=after)
            outputs.append(output)
        if isinstance(outputs[0], dict):
            return {n: torch.stack([o[n] for o in outputs]) for n in outputs[0]}, dict(after or {})
        return torch.stack(outputs), dict(after or {})


def _values(outputs: Mapping[str, Node] | Node) -> list[Node]:
    return [outputs] if isinstance(outputs, Node) else list(outputs.values())


def _handed_over(staged: StagedGraph) -> Iterator[Node]:
    """The values in the new state that are not read in the stage that makes them."""
    made = {node: number for number, stage in enumerate(staged.stages) for node in stage.nodes}
    read = {key: number for number, stage in enumerate(staged.stages) for key in _keys(stage)}
    for key, node in staged.carried.items():
        if node is not None and made.get(node) != read.get(key):
            yield node


def _output_nodes(module: ConvertedModule, staged: StagedGraph) -> dict[Node, list[str]]:
    """The fx nodes that hold the outputs of NIR nodes, with the names of these."""
    found: dict[Node, list[str]] = {}
    names, ends = module.meta["names"], module.meta["outputs"]
    for argument in staged.arguments:
        found.setdefault(argument, []).append(names.get(argument.target, argument.target))
    calls = {n.target: n for n in module.graph.nodes if n.op == "call_module"}
    for target, call in calls.items():
        result = state.result_of(call)
        pair = [n for n in result.users if n.target is operator.getitem and n.args[1] == 0]
        stateful = any(n.target is operator.getitem and n.args[1] == 1 for n in result.users)
        node = pair[0] if stateful and pair else result
        found.setdefault(node, []).append(names.get(target, target))
    passed_on = [name for name in ends if name not in calls and name not in module.meta["inputs"]]
    outputs = {ends[0]: staged.outputs} if isinstance(staged.outputs, Node) else staged.outputs
    for name in passed_on:
        if name in outputs:
            found.setdefault(outputs[name], []).append(names[name])
    return found


class _Chunk:
    """Some steps of one module, while its stages run."""

    def __init__(
        self, owner: Sequencer, before: state.State | None, values: dict[Node, Any]
    ) -> None:
        assert owner.staged is not None
        self.owner, self.staged = owner, owner.staged
        self.before, self.values = before, values
        self.steps = len(next(iter(values.values())))
        self.states: dict[str, Any] = {}

    # ---- the kinds of stages

    def frames(self, stage: Stage) -> None:
        """A stateless call, for all steps."""
        (node,) = stage.nodes
        target: Any = node.target
        inputs = [self.values[one] for one in node.all_input_nodes]
        if target is operator.getitem and isinstance(inputs[0], tuple):
            value = inputs[0][cast(int, node.args[1])]
        elif target in _ALL_FRAMES:
            value = target(*self.filled(node.args))
        elif node.op == "call_module" and len(inputs) == 1:
            axes = self.batch_axes(node, inputs[0])
            value = over_frames(self.submodule(node), inputs[0], axes, self.checked_caller(node))
        else:
            value = stepped(self.on_its_inputs(node), *inputs)
        self.keep(node, value)

    def on_its_inputs(self, node: Node) -> Callable[..., Tensor]:
        """A call as a function of the values that it reads, for one step."""
        names, function = node.all_input_nodes, self.caller(node)

        def call(*inputs: Tensor) -> Tensor:
            values = dict(zip(names, inputs, strict=True))
            output: Tensor = function(
                *torch.fx.node.map_arg(node.args, values.__getitem__),
                **torch.fx.node.map_arg(node.kwargs, values.__getitem__),
            )
            return output

        return call

    def checked_caller(self, node: Node) -> Callable[..., Any]:
        """The call of a module without state, followed by the check of each step."""
        check, call = state.result_of(node), self.caller(node)
        if check is node:
            return call
        target: Any = check.target
        return lambda x: target(call(x), x, *check.args[2:])

    def alone(self, stage: Stage) -> None:
        """A stateful module, whose steps depend only on each other."""
        reading, node = stage.nodes[:2]
        result = state.result_of(node)
        name, key = str(node.target), str(reading.args[1])
        module, inputs = self.submodule(node), self.values[cast(Node, node.args[0])]
        if name in self.owner.nested and not has_hooks(module):
            step = self.owner.nested[name].run((inputs,), state.entry(self.before, key))
            if result is not node:
                step = state.checked_step(step, inputs, *result.args[2:])  # type: ignore[arg-type]
            self.take(StageRun({result: step[0]}, {key: step[1]}))
        else:
            self.take(self.over_time(self.loop_of(stage, [result]), own_loop))

    def together(self, stage: Stage) -> None:
        """The members of a loop, step by step."""
        inside = set(stage.nodes)
        needed = [
            node
            for node in stage.nodes
            if node in self.owner.ends
            or any(user in self.owner.calls and user not in inside for user in node.users)
        ]
        self.take(self.over_time(self.loop_of(stage, needed), Loop.run))

    def loop_of(self, stage: Stage, needed: Collection[Node]) -> Loop:
        """The loop of a stage, for running it step by step."""
        read = dict.fromkeys(one for node in stage.nodes for one in node.all_input_nodes)
        inside = {*stage.nodes}
        outside = [one for one in read if one in self.values and one not in inside]
        return Loop(
            nodes=stage.nodes,
            arriving={one: self.values[one] for one in outside},
            carried={key: cast(Node, self.staged.carried[key]) for key in _keys(stage)},
            needed=needed,
            modules={n: self.submodule(n) for n in stage.nodes if n.op == "call_module"},
            calls={node: self.caller(node) for node in stage.nodes},
            record=dict(self.recorded_states(stage)),
        )

    def over_time(self, loop: Loop, plainly: Plainly) -> StageRun:
        """All steps of a loop, compiled if that is asked for and possible."""
        if self.owner.compiler is None:
            return plainly(loop, self.before, self.steps)
        return self.owner.compiler.run(loop, self.before, self.steps, plainly)

    def take(self, done: StageRun) -> None:
        """Keep the results of a stage."""
        self.states.update(done.state)
        for path, variables in done.recorded.items():
            for variable, values in variables.items():
                self.owner.trace.add(path, variable, values)
        for node, values in done.values.items():
            self.keep(node, (values, None) if is_pair(node) else values)

    def earlier(self, stage: Stage) -> None:
        """The value of the step before, of a node that does not depend on it."""
        (node,) = stage.nodes
        arguments: Any = node.args
        _, key, reference, shape, rank = arguments
        source = self.values[self.staged.carried[key]]  # type: ignore[index]
        first = state.previous_output(self.before, key, self.values[reference][0], shape, rank)
        self.keep(node, torch.cat([first.unsqueeze(0), source[:-1]]))

    def recorded_states(self, stage: Stage) -> Iterator[tuple[str, tuple[str, dict[str, str]]]]:
        """By the key of a state: its node, and the recorded variables under both names."""
        for node in stage.nodes:
            if node.target is state.entry:
                key = str(node.args[1])
                for path in self.owner.paths_of(str(self.owner.names.get(key, key))):
                    if record := self.owner.trace.recorded(path).difference(OF_OUTPUTS):
                        yield key, (path, own_names(self.owner.module.get_submodule(key), record))
                        break

    def caller(self, node: Node) -> Callable[..., Any]:
        """The function that a node calls; a module as a function of its input and state."""
        if node.op == "call_module":
            module = self.submodule(node)
            if str(node.target) in self.owner.nested and not has_hooks(module):
                return _one_step_of(self.owner.nested[str(node.target)])
            return _caller_of(module)
        return _function(node)

    # ---- values

    def keep(self, node: Node, value: Any) -> None:
        self.values[node] = value
        if not isinstance(value, tuple):
            self.owner.record(node, value)

    def after(self, key: str, node: Node | None) -> Any:
        """The value of an entry of the new state after the last step."""
        if node is None:
            return None
        if key in self.states:
            return self.states[key]
        return self.values[node][-1].clone()

    def submodule(self, node: Node) -> torch.nn.Module:
        return self.owner.module.get_submodule(str(node.target))

    def filled(self, arguments: Any) -> Any:
        return torch.fx.node.map_arg(arguments, self.values.__getitem__)

    def batch_axes(self, node: Node, x: Any) -> int:
        """The number of batch axes of a node's input."""
        shape = self.owner.module.meta["shapes"].get(node.target, (None, None))[0]
        return -1 if shape is None else x.dim() - 1 - len(shape)


def own_loop(loop: Loop, before: state.State | None, steps: int) -> StageRun:
    """All steps of one stateful module: in its own loop, or by a call for each step."""
    ((node, module),) = loop.modules.items()
    ((key, _),) = loop.carried.items()
    (inputs,) = (loop.arriving[one] for one in node.all_input_nodes if one in loop.arriving)
    path, record = loop.record.get(key, ("", {}))
    if is_reference(module) or (type(module) is Delay and not has_hooks(module)):
        own: Any = module
        with contextlib.suppress(OverflowedError):
            output, after, recorded = own.over_time(inputs, state.entry(before, key), record)
            return StageRun({state.result_of(node): output}, {key: after}, {path: recorded})
    return loop.with_states(loop.before(before), steps).finished()


def _keys(stage: Stage) -> list[str]:
    """The entries of the state that a stage reads."""
    return [cast(str, node.args[1]) for node in stage.nodes if node.target in STATE_READERS]


def _caller_of(module: torch.nn.Module) -> Callable[..., Any]:
    """A module as a function of its input and, if it has one, its state."""
    if isinstance(module, (torch.nn.RNNBase, Network)):
        return module
    return lambda x, *before: module(x, state=before[0]) if before else module(x)


def _one_step_of(nested: Sequencer) -> Callable[..., Any]:
    def call(x: Tensor, before: Any = None) -> Any:
        output, after = nested.run((x.unsqueeze(0),), before)
        return output.squeeze(0), after

    return call


def _function(node: Node) -> Callable[..., Any]:
    target: Any = node.target
    if node.op == "call_method":
        return lambda owner, *inputs, **options: getattr(owner, target)(*inputs, **options)
    function: Callable[..., Any] = target
    return function
