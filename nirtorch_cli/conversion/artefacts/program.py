"""A converted module as one exported step with an explicit state, for the formats of programs.

In: a module. Out: a `Program`: what torch.export made of

    (inputs..., state) -> (output(s), new state)

and its `Description`. The state is a flat dict of tensors by their names. The batch may have any
size. Always holds: before anything is written the program is run beside the module, for a few steps
from rest, on a batch of another size, and must give its numbers bit for bit; and equal modules give
equal programs, without a path or a time. Cost: a trace of one step, and a few steps.
"""

from __future__ import annotations

import copy
import operator
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nirtorch_cli.conversion.artefacts.description import (
    BATCH,
    Description,
    Port,
    Variable,
    following,
)
from nirtorch_cli.conversion.artefacts.provenance import provenance
from nirtorch_cli.conversion.artefacts.resting import (
    changed,
    leaves,
    refusal,
    resting_state,
    structure,
    tensors,
)
from nirtorch_cli.conversion.graph_module import ConvertedModule, first_floating, stored_tensors
from nirtorch_cli.findings.errors import NirtorchError
from nirtorch_cli.findings.tracebacks import is_interrupt, lacks_memory, message
from nirtorch_cli.primitives.modules.neuron import Neuron

_TRACED, _TESTED, _STEPS = 2, 3, 4
"""The sizes of the batch that is traced and of the one that is tested; the steps of the test."""

_MOST_SAID = 300
"""Characters of what torch says of a module that it cannot export."""


@dataclass(frozen=True)
class Program:
    """One step, as torch.export made it, and the step that it was made of."""

    exported: torch.export.ExportedProgram
    description: Description
    step: Step


class Step(torch.nn.Module):
    """A converted module that takes and gives its state as a flat dict."""

    def __init__(self, network: ConvertedModule, rest: Any, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names
        self.template = changed(rest, lambda tensor: ...)
        self.structure = structure(rest)

    def forward(self, *arguments: Any) -> tuple[Any, dict[str, Tensor]]:
        """One step."""
        *inputs, state = arguments
        values = iter([state[name] for name in self.names])
        output, after = self.network(*inputs, state=_filled(self.template, values))
        given = dict(zip(self.names, tensors(after), strict=True))
        return output, given


def _filled(template: Any, values: Iterator[Tensor]) -> Any:
    """A state with the next value in place of each `...` of its template."""
    if template is ...:
        return next(values)
    if isinstance(template, Mapping):
        return {key: _filled(part, values) for key, part in template.items()}
    if isinstance(template, (tuple, list)):
        parts = [_filled(part, values) for part in template]
        if hasattr(template, "_make"):
            return template._make(parts)
        return tuple(parts) if isinstance(template, tuple) else parts
    return template


def program_of(module: Any) -> Program:
    """Export a converted module.

    Raises:
        SaveError: it cannot be exported, or gives other numbers then; says why.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")  # torch's own, about itself
            return _program_of(module)
    except NirtorchError:
        raise
    except BaseException as error:  # a user's module, or torch, raises whatever it likes
        if is_interrupt(error) or lacks_memory(error):
            raise
        raise refusal(f"torch.export cannot export it: {said(error)}") from error


def said(error: BaseException) -> str:
    """What torch says, cut where it goes into its own code."""
    text = message(error)
    return text if len(text) <= _MOST_SAID else f"{text[:_MOST_SAID]} ..."


def _program_of(module: Any) -> Program:
    if not isinstance(module, ConvertedModule) or "dt" not in module.meta:
        raise refusal(f"a {type(module).__name__} is not the module of a whole NIR graph")
    if any(tensor.is_meta for tensor in stored_tensors(module)):
        raise refusal("its parameters have no values: it is on the device 'meta'")
    network: ConvertedModule = copy.deepcopy(module).to("cpu").eval()
    like = first_floating(network)
    dtype = torch.float32 if like is None else like.dtype
    settled = _settled(copy.deepcopy(network))
    zeros = {size: _inputs(network, size, dtype) for size in (_TRACED, _TESTED)}
    rest = {size: resting_state(settled, inputs) for size, inputs in zeros.items()}
    state = _variables(network, rest)
    step = Step(settled, rest[_TRACED], [one.name for one in state])
    _same_from_rest(network, step, rest[_TESTED], dtype)
    arguments = (*zeros[_TRACED], dict(zip(step.names, tensors(rest[_TRACED]), strict=True)))
    exported = torch.export.export(
        _with_names(step, module.meta["inputs"]),
        arguments,
        dynamic_shapes=_dynamic(module.meta["inputs"], state),
        strict=False,
    )
    _without_traces(exported)
    _same_numbers(step, exported.module(), rest[_TESTED], dtype)
    output = step(*arguments)[0]
    outputs = output if isinstance(output, dict) else {module.meta["outputs"][0]: output}
    description = Description(
        inputs=tuple(_ports(module, dict(zip(module.meta["inputs"], zeros[_TRACED])))),
        outputs=tuple(_ports(module, outputs)),
        state=state,
        provenance=provenance(module),
    )
    return Program(exported, description, step)


def _inputs(module: ConvertedModule, batch: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    shapes = [module.meta["shapes"][name][1] for name in module.meta["inputs"]]
    for name, shape in zip(module.meta["inputs"], shapes):
        if shape is None:
            text = "its shape is needed to export the module, and not known"
            raise refusal(text, module.meta["names"][name])
    return tuple(torch.zeros(batch, *shape, dtype=dtype) for shape in shapes)


def _settled(module: ConvertedModule) -> ConvertedModule:
    """The module with neurons whose gains are computed once: a program computes none."""
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):
            if isinstance(child, Neuron):
                parent._modules[name] = child.settled()
    return module


def _variables(module: ConvertedModule, rest: Mapping[int, Any]) -> tuple[Variable, ...]:
    """The tensors of the state: their names, shapes, and values at rest."""
    taken = set(module.meta["names"].values())
    found = []
    few, more = tensors(rest[_TRACED]), tensors(rest[_TESTED])
    for leaf, *values in zip(leaves(module, rest[_TRACED]), few, more, strict=True):
        name = f"{leaf.node}.{leaf.variable}"
        while name in taken or following(name) in taken:
            name += "_"
        taken |= {name, following(name)}
        shape, value = _shape(leaf.node, *values)
        found.append(
            Variable(
                name, leaf.node, leaf.type, leaf.variable, leaf.key,
                shape, str(value.dtype).removeprefix("torch."), _numbers(value),
            )
        )  # fmt: skip
    return tuple(found)


def _shape(node: str, few: Tensor, more: Tensor) -> tuple[tuple[int | str, ...], Tensor]:
    """The shape of a variable, with its batch axis, and its values, with one row."""
    pairs = list(zip(few.shape, more.shape))
    axes = [axis for axis, (a, b) in enumerate(pairs) if a != b]
    if few.dim() != more.dim() or any(pairs[axis] != (_TRACED, _TESTED) for axis in axes):
        shapes = f"{tuple(few.shape)} for {_TRACED} rows and {tuple(more.shape)} for {_TESTED}"
        raise refusal(f"its state has the shape {shapes}, and no axis for the batch", node)
    if len(axes) > 1:
        raise refusal(f"its state has {len(axes)} axes for the batch", node)
    shape = tuple(BATCH if axis in axes else n for axis, n in enumerate(few.shape))
    if not axes:
        return shape, few
    return shape, few.narrow(axes[0], 0, 1)


def _numbers(values: Tensor) -> Any:
    """Values as one number, if they are all equal, or as nested lists."""
    first = values.flatten()[:1]
    is_one = bool(first.numel()) and torch.equal(values, first.expand(values.shape))
    if not values.numel():
        return 0
    return first.item() if is_one else values.tolist()


def _ports(module: ConvertedModule, values: Mapping[str, Tensor]) -> Iterator[Port]:
    for name, value in values.items():
        nir_name = module.meta["names"].get(name, name)
        dtype = str(value.dtype).removeprefix("torch.")
        yield Port(nir_name, name, tuple(value.shape[1:]), dtype)


def _with_names(step: Step, inputs: list[str]) -> torch.fx.GraphModule:
    """The step as a function of arguments with the names of the inputs."""
    graph = torch.fx.Graph()
    arguments = tuple(graph.placeholder(name) for name in (*inputs, "state"))
    result = graph.call_module("step", arguments)
    graph.output(tuple(graph.call_function(operator.getitem, (result, n)) for n in (0, 1)))
    return torch.fx.GraphModule({"step": step}, graph)


def _dynamic(inputs: list[str], state: tuple[Variable, ...]) -> dict[str, Any]:
    """The axes of the arguments that may have any length."""
    batch = torch.export.Dim("batch")
    axes = {
        one.name: {axis: batch for axis, n in enumerate(one.shape) if n == BATCH} for one in state
    }
    return {**{name: {0: batch} for name in inputs}, "state": axes}


def _without_traces(exported: torch.export.ExportedProgram) -> None:
    """Remove what depends on the machine or the moment: paths of code, numbers of objects."""
    for part in exported.graph_module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                for name in ("stack_trace", "from_node", "custom"):
                    node.meta.pop(name, None)


# ---- tests that a program gives the numbers of its module


def _random_steps(module: ConvertedModule, dtype: torch.dtype) -> Iterator[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    shapes = [module.meta["shapes"][name][1] for name in module.meta["inputs"]]
    for _ in range(_STEPS):
        yield tuple(torch.randn(_TESTED, *shape, generator=generator).to(dtype) for shape in shapes)


def tested_steps(program: Program) -> Iterator[tuple[tuple[Tensor, ...], Any, Any, Any]]:
    """A few steps from rest: inputs, state before, output, state after."""
    step, described = program.step, program.description
    state = {one.name: one.at_rest(_TESTED) for one in described.state}
    with torch.no_grad():
        for inputs in _random_steps(step.network, getattr(torch, described.inputs[0].dtype)):
            output, after = step(*inputs, state)
            yield inputs, state, output, after
            state = after


def _same_from_rest(network: ConvertedModule, step: Step, rest: Any, dtype: torch.dtype) -> None:
    """Require that the resting state gives the numbers of None."""
    state, now = None, dict(zip(step.names, tensors(rest), strict=True))
    for inputs in _random_steps(network, dtype):
        output, state = network(*inputs, state=state)
        given, now = step(*inputs, now)
        if structure(state) != structure(rest):
            raise refusal("its state changes its structure from step to step")
        wanted = dict(zip(step.names, tensors(state), strict=True))
        odd = [name for name in step.names if not _equal(now[name], wanted[name])]
        if odd or not _equal(given, output):
            node = odd[0].rpartition(".")[0] if odd else None
            text = "from the state of rest that it shows it gives other numbers than from None"
            raise refusal(text, node, "a program takes its first state as an input")


def _same_numbers(step: Step, program: Any, rest: Any, dtype: torch.dtype) -> None:
    """Require that an exported program gives the numbers of its step."""
    state = now = dict(zip(step.names, tensors(rest), strict=True))
    for inputs in _random_steps(step.network, dtype):
        output, state = step(*inputs, state)
        given, now = program(*inputs, now)
        if not _equal(given, output) or not _equal(now, state):
            raise refusal("what torch.export made of it gives other numbers than the module")


def _equal(one: Any, other: Any) -> bool:
    """Whether two tensors or dicts of them are equal, NaN too."""
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if one.is_floating_point() and other.is_floating_point():
        one, other = one.nan_to_num(), other.nan_to_num()
    return bool(torch.equal(one, other))
