"""Scale, Threshold and Delay: what acts on each element by itself."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from nirtorch_cli.primitives.modules.surrogate import Derivative, spike, surrogate_derivative
from nirtorch_cli.primitives.modules.variables import NodeState, remembered, require_fit


class Scale(torch.nn.Module):
    """y = scale * x. Parameter: scale, in the NIR shape."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(scale)

    def forward(self, x: Tensor) -> Tensor:
        require_fit(self.scale, x)
        return self.scale * x


class Threshold(torch.nn.Module):
    """y = 1 where x > threshold, strictly, else 0, with a surrogate gradient.

    Buffer: threshold, in the NIR shape.
    """

    threshold: Tensor

    def __init__(self, threshold: Tensor, surrogate: str | Derivative = "atan") -> None:
        super().__init__()
        self.register_buffer("threshold", threshold)
        self.derivative = surrogate_derivative(surrogate)

    def forward(self, x: Tensor) -> Tensor:
        require_fit(self.threshold, x)
        return spike(x, self.threshold, self.derivative)


class Delay(torch.nn.Module):
    """y(t) = x(t - delay), element by element; zero before the start.

    State: {"history"}, the inputs of the last `longest` steps, newest first, with the
    shape (longest, *x.shape). Buffer: steps, the delays as whole numbers of steps.
    """

    steps: Tensor

    def __init__(self, steps: Tensor) -> None:
        super().__init__()
        self.register_buffer("steps", steps)
        self.measure()

    def measure(self) -> None:
        """Set how much history is kept; done once, as reading `steps` at each step is slow."""
        self.longest = int(self.steps.max()) if self.steps.numel() else 0
        self.is_uniform = bool((self.steps == self.longest).all())

    def _load_from_state_dict(self, *arguments: Any, **keywords: Any) -> None:
        super()._load_from_state_dict(*arguments, **keywords)
        if not self.steps.is_meta:
            self.measure()

    def extra_repr(self) -> str:
        return f"{tuple(self.steps.shape)}, up to {self.longest} steps"

    def forward(self, x: Tensor, state: NodeState | None = None) -> tuple[Tensor, NodeState]:
        require_fit(self.steps, x)
        shape = self.longest, *x.shape
        past = x.new_zeros(shape) if state is None else remembered(state, "history", shape, x)
        known = torch.cat([x.unsqueeze(0), past])
        if self.is_uniform:
            y = known[self.longest]
        else:
            y = known.gather(0, self.steps.expand(x.shape).unsqueeze(0)).squeeze(0)
        return y, {"history": known[: self.longest]}

    def over_time(
        self, x: Tensor, state: NodeState | None = None, record: Collection[str] = ()
    ) -> tuple[Tensor, NodeState, NodeState]:
        """Many steps at once, as `Neuron.over_time`; nothing of it is recorded."""
        require_fit(self.steps, x[0])
        count, shape = len(x), (self.longest, *x.shape[1:])
        past = x.new_zeros(shape) if state is None else remembered(state, "history", shape, x[0])
        known = torch.cat([past.flip(0), x])  # the oldest first
        if self.is_uniform:
            y = known[:count]
        else:
            start = torch.arange(count, device=x.device).reshape(-1, *[1] * (x.dim() - 1))
            y = known.gather(0, start + (self.longest - self.steps).expand(x.shape))
        return y, {"history": known[count:].flip(0)}, {}
