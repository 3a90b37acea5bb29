"""A converted module as rows for people and JSON.

In: a `ConvertedModule`. Out: a `NodeRow` for every node in execution order, those of nested
graphs after the node that holds them, and its generated code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from nirtorch_cli.conversion.graph_module import ConvertedModule, stored_tensors
from nirtorch_cli.conversion.wiring import is_stateful
from nirtorch_cli.primitives.shape_rules import Shape


@dataclass(frozen=True)
class NodeRow:
    """One node of a converted graph.

    node: its NIR name, with the names of the nested graphs that hold it and `/` in front.
    type: its NIR type.
    module: the class of its torch module; None if it passes its input on.
    name: its name in the module and in the state.
    parameters: how many trainable numbers its module holds.
    delayed_inputs: the nodes whose last step's output it takes.
    """

    node: str
    type: str
    module: str | None
    name: str
    input_shape: Shape | None
    output_shape: Shape | None
    parameters: int
    stateful: bool
    delayed_inputs: tuple[str, ...]


def describe(module: ConvertedModule, prefix: str = "") -> Iterator[NodeRow]:
    """The nodes of a module, in the order in which they are executed."""
    names, delayed = module.meta["names"], module.meta["delayed_edges"]
    late: dict[str, list[str]] = {}
    for source, target in delayed:
        late.setdefault(target, []).append(prefix + names[source])
    for name, nir_name in names.items():
        # Not by named_children, which leaves out a module that stands for a second node.
        child = getattr(module, name, None)
        taken, given = module.meta["shapes"][name]
        yield NodeRow(
            node=prefix + nir_name,
            type=module.meta["types"][name],
            module=None if child is None else type(child).__name__,
            name=name,
            input_shape=taken,
            output_shape=given,
            parameters=0 if child is None else count_parameters(child),
            stateful=child is not None and is_stateful(child),
            delayed_inputs=tuple(late.get(name, ())),
        )
        if isinstance(child, ConvertedModule):
            yield from describe(child, f"{prefix}{nir_name}/")


def count_parameters(module: torch.nn.Module) -> int:
    """How many numbers the parameters of a module hold."""
    parameters = {id(p): p for p in stored_tensors(module) if isinstance(p, torch.nn.Parameter)}
    lazy = torch.nn.parameter.is_lazy  # a lazy parameter has no size before its first call
    return sum(p.numel() for p in parameters.values() if not lazy(p))


def generated_code(module: ConvertedModule, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The generated `forward` of a module and of those nested in it, with their NIR paths."""
    yield prefix.rstrip("/"), module.code.strip("\n ") + "\n"
    for name, child in module.named_children():
        if isinstance(child, ConvertedModule):
            yield from generated_code(child, f"{prefix}{module.meta['names'][name]}/")
