"""Threshold and reset of a layer of neurons over many time steps.

In: an `Advance` and the voltage before. Out: the spikes of all steps, the voltage after them, and
the voltage after each step if it is recorded. Either step by step, as a module's own forward does
it; or, if no gradient is needed, in place, with comparisons that write 0.0 and 1.0, for which torch
has vector code. The numbers are the same, bit for bit. Cost: linear in steps and neurons.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nirtorch_cli.primitives.modules.recurrence import Advance, expanded
from nirtorch_cli.primitives.modules.surrogate import Derivative, spike

Fired = tuple[Tensor, Tensor, Tensor | None]
"""Spikes of all steps, the voltage after them, and that after each step if it is recorded."""


class OverflowedError(ArithmeticError):
    """A voltage became infinite: the reset in place would make it NaN, that of forward does not."""


@dataclass(frozen=True)
class Firing:
    """When a neuron fires, and the voltage that a spike leaves.

    mode: a spike sets v to `reset` ("value"), lowers it by `threshold` ("subtract"), or leaves it
    ("none"). is_reached: whether v = threshold is enough to fire.
    """

    threshold: Tensor
    reset: Tensor
    mode: str
    derivative: Derivative
    is_reached: bool = False

    def spikes(self, v: Tensor) -> Tensor:
        """The spikes of a step, with a surrogate gradient."""
        return spike(v, self.threshold, self.derivative, reached=self.is_reached)

    @property
    def compare(self) -> Callable[..., Tensor]:
        """The comparison of v with the threshold, which can write 0.0 and 1.0."""
        return torch.ge if self.is_reached else torch.gt

    def after(self, v: Tensor, z: Tensor) -> Tensor:
        """The voltage after spikes z; no gradient flows through the reset itself."""
        if self.mode == "none":
            return v
        if self.mode == "subtract":
            return v - z.detach() * self.threshold
        return torch.where(z.detach() > 0, self.reset, v)

    def step_by_step(self, advance: Advance, v: Tensor, record: bool) -> Fired:
        """Run the steps as the module's own forward does."""
        outputs, recorded = [], []
        for step in range(len(advance.inputs)):
            v = advance(v, step)
            z = self.spikes(v)
            v = self.after(v, z)
            outputs.append(z)
            if record:
                recorded.append(v)
        return torch.stack(outputs), v, torch.stack(recorded) if record else None

    def in_place(self, advance: Advance, v: Tensor, record: bool) -> Fired:
        """Run the steps in place; for runs without gradients.

        Raises:
            OverflowedError: a voltage was infinite; run step by step instead.
        """
        inputs = advance.inputs
        # The input of each step is read before its spikes are written.
        spikes = inputs if advance.is_own else torch.empty_like(inputs)
        voltages = torch.empty_like(inputs) if record else None
        slots = None if voltages is None else voltages.unbind(0)
        v = v.clone()
        advanced, fire = advance.into, self.firing_into(v)
        for step, z in enumerate(spikes.unbind(0)):
            advanced(v, step)
            fire(v, z)
            if slots is not None:
                slots[step].copy_(v)
        if not v.is_meta and not bool(torch.isfinite(v).all()):
            raise OverflowedError
        return spikes, v, voltages

    def leaving(self, like: Tensor) -> Callable[[Tensor, Tensor, Tensor], None]:
        """A function that writes the voltages that spikes z leave of u into v."""
        if self.mode == "none":
            return lambda u, z, v: v.copy_(u)  # type: ignore[return-value]
        if self.mode == "subtract":
            threshold = expanded(self.threshold, like)

            def lower(u: Tensor, z: Tensor, v: Tensor) -> None:
                torch.addcmul(u, z, threshold, value=-1, out=v)

            return lower
        reset, is_zero = self.reset, not self.reset.any()

        def leave(u: Tensor, z: Tensor, v: Tensor) -> None:
            torch.addcmul(u, z, u, value=-1, out=v)  # z is 0 or 1, so nothing is rounded
            if not is_zero:
                v.addcmul_(z, reset)

        return leave

    def firing_into(self, like: Tensor) -> Callable[[Tensor, Tensor], None]:
        """A function that writes the spikes of v into z, and resets v, in place."""
        threshold = expanded(self.threshold, like)
        compare, reset = self.compare, self.reset
        if self.mode == "none":
            return lambda v, z: compare(v, threshold, out=z)  # type: ignore[return-value]
        if self.mode == "subtract":

            def lower(v: Tensor, z: Tensor) -> None:
                compare(v, threshold, out=z)
                v.addcmul_(z, threshold, value=-1)  # z is 0 or 1, so the product is not rounded

            return lower

        def to_zero(v: Tensor, z: Tensor) -> None:
            compare(v, threshold, out=z)
            v.addcmul_(z, v, value=-1)  # z is 0 or 1, so nothing is rounded

        def to_reset(v: Tensor, z: Tensor) -> None:
            to_zero(v, z)
            v.addcmul_(z, reset)

        return to_zero if not reset.is_meta and not reset.any() else to_reset
