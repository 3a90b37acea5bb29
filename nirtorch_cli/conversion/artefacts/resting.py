"""The state of a converted module before its first step, and the names of what is in it.

In: a converted module, and inputs of zeros. Out: a state as the module takes it, with the tensors
that `state=None` stands for; and its tensors one by one, each with the node that it belongs to.

A module says only by its first step what `None` means. Of a `Neuron` its `variables` are asked, and
everything else is taken to start with zeros; `export` then tests that both give the same numbers.
Cost: one step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nirtorch_cli.conversion.artefacts.description import PREVIOUS
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.conversion.naming import previous_output_key
from nirtorch_cli.findings.errors import SaveError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.primitives.modules.neuron import Neuron


def refusal(text: str, node: str | None = None, hint: str | None = None) -> SaveError:
    """The error for a module that cannot be exported."""
    return SaveError(Finding("NIR508", "error", text, node, hint=hint))


def resting_state(module: ConvertedModule, inputs: tuple[Tensor, ...]) -> dict[str, Any]:
    """The state that `state=None` stands for, in the structure of the state after a step."""
    step = _FirstStep(module)
    _, after = step.run(*inputs, None)
    return _completed(after, step.before)


class _FirstStep(torch.fx.Interpreter):
    """Runs a step from None, and keeps what each stateful node started from."""

    def __init__(self, module: ConvertedModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.before: dict[str, Any] = {}

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        child = self.fetch_attr(target)
        if isinstance(child, ConvertedModule):
            step = _FirstStep(child)
            output, after = step.run(*args, kwargs.get("state"))
            self.before[target] = _completed(after, step.before)
            return output, after
        result = child(*args, **kwargs)
        if isinstance(child, Neuron):
            self.before[target] = child.variables(args[0], None)
        return result


def _completed(after: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """Zeros like a state, and what is known, where it has the same structure."""
    if not isinstance(after, Mapping):
        raise refusal("its graph was edited, and gives no state by node")
    found = {}
    for key, part in after.items():
        found[key] = changed(part, torch.zeros_like)
        if key in known and structure(known[key]) == structure(part):
            found[key] = known[key]
    return found


def changed(tree: Any, change: Callable[[Tensor], Any]) -> Any:
    """The same dicts, tuples and lists with something else in place of each tensor."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, Mapping):
        return {key: changed(part, change) for key, part in tree.items()}
    if isinstance(tree, (tuple, list)):
        parts = [changed(part, change) for part in tree]
        if hasattr(tree, "_make"):
            return tree._make(parts)
        return tuple(parts) if isinstance(tree, tuple) else parts
    return tree


def tensors(tree: Any) -> Iterator[Tensor]:
    """The tensors in a state, in order."""
    found: list[Tensor] = []
    changed(tree, found.append)
    return iter(found)


def structure(tree: Any) -> Any:
    """A state without its tensors, to compare."""
    return changed(tree, lambda tensor: ("tensor", tensor.dtype, tuple(tensor.shape)))


@dataclass(frozen=True)
class Leaf:
    """One tensor of a state: its node's NIR path and type, its name there, the node's key."""

    node: str
    type: str
    variable: str
    key: str


def leaves(
    module: ConvertedModule, state: Mapping[str, Any], path: str = "", key: str = ""
) -> Iterator[Leaf]:
    """What each tensor of a state is, in the order of `tensors`.

    Raises:
        SaveError: it holds anything but tensors.
    """
    names, types = module.meta["names"], module.meta["types"]
    sources = {previous_output_key(name): name for name in names}
    for own, part in state.items():
        child = module._modules.get(own)
        if own in sources:
            source = sources[own]
            yield Leaf(path + names[source], types[source], PREVIOUS, key + own)
        elif isinstance(child, ConvertedModule):
            yield from leaves(child, part, f"{path}{names[own]}/", f"{key}{own}/")
        else:
            node = path + names.get(own, own)
            for variable in _variables(part, node):
                yield Leaf(node, types.get(own, "Node"), variable or "state", key + own)


def _variables(part: Any, node: str, name: str = "") -> Iterator[str]:
    """The names of the tensors in a node's state."""
    if isinstance(part, Mapping):
        items: Any = part.items()
    elif isinstance(part, (tuple, list)):
        items = zip(getattr(part, "_fields", range(len(part))), part, strict=True)
    elif part is None:
        return
    elif isinstance(part, Tensor):
        yield name
        return
    else:
        text = f"its state holds a {type(part).__name__}, which is no tensor"
        raise refusal(text, node, "keep numbers as tensors")
    for own, inner in items:
        yield from _variables(inner, node, f"{name}/{own}" if name else str(own))
