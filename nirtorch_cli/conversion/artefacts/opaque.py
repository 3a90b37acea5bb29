"""A program that was exported, as a module that `run` and `compare` take.

In: something that does one step, and its `Description`. Out: an `OpaqueModule`, called as a
converted one: `(inputs..., state=None) -> (output, state)`. Of its nodes only what is in the state
is seen, and can be recorded; all else is inside of the program. Its fx graph shows that state by
node, so that sessions record from it:

    lif_before = entry(state, "lif")
    step = network(input, lif_before)         ->  (output, (states,))
    output, rest = step[0], step[1]           (one such pair for each Output)
    new_state = {"lif": rest[0]}
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from nirtorch_cli.conversion import state
from nirtorch_cli.conversion.artefacts.description import PREVIOUS, Description, Variable
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.findings.errors import StateError


class Stepping(Protocol):
    """One step of a program: the outputs by argument, and the new state by name."""

    def __call__(
        self, inputs: Sequence[Tensor], state: Mapping[str, Tensor]
    ) -> tuple[Sequence[Tensor], Mapping[str, Tensor]]:
        """Inputs and outputs are in the order of the description."""


class OpaqueModule(ConvertedModule):
    """A module whose nodes are inside of an exported program. Not trained, moved or cast."""


class Hidden(torch.nn.Module):
    """A node inside of a program, of which only the state is seen.

    variables: what can be recorded of it.
    """

    def __init__(self, variables: Sequence[str]) -> None:
        super().__init__()
        self.variables = tuple(variables)


class Network(torch.nn.Module):
    """The call of a program: inputs and parts of the state, to outputs and new parts.

    It gives `(output, (output, ... (part, part, ...)))`, so that each output is the first of a
    pair, as sessions take what has a state.
    """

    def __init__(self, stepping: Stepping, description: Description) -> None:
        super().__init__()
        self.stepping, self.description = stepping, description
        dtype = getattr(torch, description.inputs[0].dtype)
        self.register_buffer("like", torch.empty(0, dtype=dtype))  # tells the type of inputs
        self.parts: dict[str, list[Variable]] = {}
        for one in description.state:
            self.parts.setdefault(one.key, []).append(one)

    def forward(self, *values: Any) -> Any:
        """One step."""
        count = len(self.description.inputs)
        inputs, before = values[:count], dict(zip(self.parts, values[count:]))
        batch = self.batch_of(inputs)
        outputs, after = self.stepping(inputs, self.gathered(before, batch))
        result: Any = tuple(self.part(variables, after) for variables in self.parts.values())
        result = result or (None,)
        for output in reversed(outputs):
            result = (output, result)
        return result

    def batch_of(self, inputs: Sequence[Any]) -> int:
        """The number of batch rows.

        Raises:
            StateError: the inputs have not exactly one batch axis, or not the types exported.
        """
        sizes = set()
        for port, x in zip(self.description.inputs, inputs):
            if x.dim() != len(port.shape) + 1 or tuple(x.shape[1:]) != port.shape:
                shape = ", ".join(("batch", *map(str, port.shape)))
                text = f"the program takes ({shape}), and its input has the shape {tuple(x.shape)}"
                raise StateError("NIR602", text, port.name, hint="it has one batch axis")
            if str(x.dtype) != f"torch.{port.dtype}":
                text = f"the program takes {port.dtype}, and its input is {x.dtype}"
                raise StateError("NIR602", text, port.name)
            sizes.add(int(x.shape[0]))
        if len(sizes) > 1:
            text = f"inputs must have the same batch rows, not {sorted(sizes)}"
            raise StateError("NIR602", text)
        return sizes.pop()

    def gathered(self, before: Mapping[str, Any], batch: int) -> dict[str, Tensor]:
        """The state by name; at rest where there is none.

        Raises:
            StateError: it is another module's, or of another batch.
        """
        found = {}
        for key, variables in self.parts.items():
            part = before[key]
            for one in variables:
                value, shape = part, one.shape_for(batch)
                if part is None:
                    value = one.at_rest(batch)
                elif one.variable != PREVIOUS:
                    value = part.get(one.variable) if isinstance(part, Mapping) else None
                if not isinstance(value, Tensor) or value.shape != shape:
                    text = f"the state {one.name!r} must have the shape {shape}"
                    hint = "start with state=None for another batch"
                    raise StateError("NIR602", text, one.node, hint=hint)
                found[one.name] = value
        return found

    def part(self, variables: Sequence[Variable], after: Mapping[str, Tensor]) -> Any:
        """A node's part of the new state."""
        if variables[0].variable == PREVIOUS:
            return after[variables[0].name]
        return {one.variable: after[one.name] for one in variables}


def opaque_module(stepping: Stepping, description: Description) -> OpaqueModule:
    """The module of a program, in evaluation mode."""
    network = Network(stepping, description)
    meta = description.meta
    name = "network"
    while name in meta["names"] or name in network.parts:
        name += "_"
    graph = torch.fx.Graph(tracer_cls=state.StateTracer)
    inputs = [graph.placeholder(one.argument) for one in description.inputs]
    now = graph.placeholder("state", default_value=None)
    keys = [*network.parts] or [name]  # a program without state is run in time all the same
    before = [graph.call_function(state.entry, (now, key)) for key in keys]
    rest = graph.call_module(name, (*inputs, *before))
    outputs = {}
    for one in description.outputs:
        outputs[one.argument] = graph.call_function(operator.getitem, (rest, 0))
        rest = graph.call_function(operator.getitem, (rest, 1))
    after = [graph.call_function(operator.getitem, (rest, place)) for place in range(len(keys))]
    new_state = graph.call_function(dict, (dict(zip(keys, after)),))
    output = next(iter(outputs.values()))
    if len(outputs) > 1:
        output = graph.call_function(dict, (outputs,))
    graph.output((output, new_state))
    module = OpaqueModule({name: network}, graph)
    graph.lint()
    module.meta.update(meta)
    for key, variables in network.parts.items():
        if variables[0].variable != PREVIOUS:
            module.add_module(key, Hidden([one.variable for one in variables]))
    return module.eval()
