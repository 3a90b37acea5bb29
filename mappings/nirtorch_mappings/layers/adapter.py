"""What the packs of layers share: the adapter around a framework's module, and small checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

State = dict[str, Tensor]


def require_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Refuse an option of a pack that is none of its choices.

    Raises:
        ValueError: says which there are.
    """
    if value not in choices:
        raise ValueError(f"{name} {value!r} is none of {', '.join(map(str, choices))}")


class LayerAdapter(torch.nn.Module):
    """A framework's stateful module, `layer`, with its state outside.

    `x` has any batch axes in front of the node's shape. The state is a dict of tensors of x's
    shape, which is never changed; None stands for the framework's own initial state. The output
    and the new state have x's type.

    `nir_states` translates the framework's names of states into NIR's, for recordings.
    """

    nir_states: ClassVar[Mapping[str, str]] = {}

    layer: Any

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def initial(self, x: Tensor) -> State:
        """The framework's initial state: zeros, where a subclass does not say otherwise."""
        return {name: torch.zeros_like(x) for name in self.nir_states}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step of the framework's module: its output and the new state."""
        raise NotImplementedError

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        if state is None:
            state = self.initial(x)
        for name, value in state.items():
            # Frameworks take a state of another shape for none, or broadcast it.
            if value.shape != x.shape:
                shapes = f"{tuple(value.shape)}, not {tuple(x.shape)}"
                text = f"the state {name!r} has the shape {shapes}; start with state=None"
                raise ValueError(text)
        output, state = self.step(x, state)
        return output.to(x.dtype), {name: value.to(x.dtype) for name, value in state.items()}
