"""What all stateful neurons share: constants, first state, step and reset.

Shapes: the constants of a neuron have the NIR shape (or broadcast to it); the input has any number
of batch axes in front of it. Time constants and dt are in the same unit.
"""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from nirtorch_cli.findings.errors import StateError
from nirtorch_cli.primitives.dynamics import Dynamics
from nirtorch_cli.primitives.modules.firing import Firing
from nirtorch_cli.primitives.modules.recurrence import Advance, is_free
from nirtorch_cli.primitives.modules.stepping import fired, integrated
from nirtorch_cli.primitives.modules.surrogate import (
    spike,
    surrogate_derivative,
    transforms_are_active,
)

NodeState = dict[str, Tensor]


class Stepper:
    """Neurons that are run one step at a time, with variables that are changed in place.

        x of a step --advance--> v, i   (the same tensors at every step)
                                 |
                               fire  --> y   (a buffer of the caller: the spikes)
                                 |
                                 v   reset, again in place

    A loop calls it once per step: the members of the loop need its output before the next step.
    The variables belong to the stepper, so `forward`'s rule that a state is never changed holds:
    they are copies of the state before, and become the state after.

    >>> import torch
    >>> from nirtorch_cli.primitives.modules.leaky import LIF
    >>> one = torch.ones(2)
    >>> constants = {"tau": one, "r": one, "v_leak": 0 * one}
    >>> neuron = LIF({**constants, "v_threshold": one, "v_reset": 0 * one}, Dynamics(dt=0.5))
    >>> x, y = torch.tensor([1.0, 3.0]), torch.empty(2)
    >>> step = neuron.stepper(x, None)
    >>> step(x, y), step.v
    (tensor([0., 1.]), tensor([0.5000, 0.0000]))
    >>> step(x, y), step.v
    (tensor([0., 1.]), tensor([0.7500, 0.0000]))
    """

    def __init__(
        self,
        variables: NodeState,
        advance: Callable[[Tensor], None],
        fire: Callable[[Tensor, Tensor], None] | None,
    ) -> None:
        self.variables, self.advance, self.fire = variables, advance, fire
        self.v = variables["v"]

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The output of a step, written into y."""
        self.advance(x)
        if self.fire is None:
            return y.copy_(self.v)
        self.fire(self.v, y)
        return y

    @property
    def is_finite(self) -> bool:
        """Whether no voltage overflowed: a reset in place would turn infinity into NaN."""
        return bool(torch.isfinite(self.v).all())


class Neuron(torch.nn.Module, abc.ABC):
    """A layer of neurons. Its constants are buffers under their NIR names.

    They are read at every step, so a constant may be changed, loaded from a state dict, or replaced
    by a trainable parameter of the same name.

    A subclass only needs `forward`, one step; see `nirtorch_cli.register`:

        class Leak(Neuron):
            def forward(self, x, state=None):
                v = self.before(state, "v", x, self.v_leak)
                v = v + self.gain("tau") * (self.v_leak + x - v)
                return v, {"v": v}
    """

    kept: dict[str, Tensor] | None = None
    """Gains by the names of their time constants, while these are `settled`."""

    computed: dict[str, tuple[Tensor, Tensor, Dynamics]] | None = None
    """Gains with the time constants that they were computed from: comparing a constant is faster
    than computing its gain. Only its value counts, so that any way to change it is noticed."""

    def __init__(self, constants: Mapping[str, Tensor], dynamics: Dynamics) -> None:
        super().__init__()
        self.exact: dict[str, Tensor] = {}
        for name, constant in constants.items():
            self.register_buffer(name, constant)
        self.dynamics = dynamics
        self.derivative = surrogate_derivative(dynamics.surrogate)

    def before(
        self, state: NodeState | None, name: str, x: Tensor, resting: Tensor | float = 0.0
    ) -> Tensor:
        """A variable before this step, in the shape of the input x; see `previous`.

        Raises:
            StateError: the input has not the shape of the constants, or the state not its own.
        """
        for constant in self._buffers.values():
            if constant is not None:
                require_fit(constant, x)
        return previous(state, name, x, resting)

    def extra_repr(self) -> str:
        shape = next(iter(self.state_dict().values())).shape
        steps = f"dt={self.dynamics.dt:g}, integration={self.dynamics.integration!r}"
        return f"{tuple(shape)}, {steps}"

    def wide(self, name: str) -> Tensor:
        """A time constant in float64: its value before it was rounded, if it was not changed since.

        In half precision a tau may become 0 or infinity although dt/tau can be represented.
        """
        held: Tensor = getattr(self, name)
        widest = torch.float32 if held.device.type == "mps" else torch.float64
        exact = self.exact.get(name)
        if exact is None or held.requires_grad:
            return held.to(widest)
        return torch.where(exact.to(held.dtype) == held, exact.to(widest), held.to(widest))

    def _apply(self, *arguments: Any, **keywords: Any) -> Any:
        """Move and cast, and remember time constants that are rounded by the cast."""
        names = [n for n in self._buffers if n.startswith("tau") and not getattr(self, n).is_meta]
        before = {name: self.wide(name) for name in names}
        done = super()._apply(*arguments, **keywords)  # type: ignore[no-untyped-call]
        self.exact = {}
        for name, exact in before.items():
            held: Tensor = getattr(self, name)
            if not held.is_meta:
                exact = exact.to(held.device)
                if not torch.equal(held.to(exact.dtype), exact):
                    self.exact[name] = exact
        return done

    def ratio(self, name: str) -> Tensor:
        """dt/tau in float64; rounded only at the end."""
        return self.dynamics.dt / self.wide(name)

    def gain(self, name: str) -> Tensor:
        """The fraction of its distance to equilibrium that a variable covers in one step.

        Arguments:
            name: of the variable's time constant; the result has its type.
        """
        kept = None if self.kept is None else self.kept.get(name)
        if kept is not None:
            return kept
        held: Tensor = getattr(self, name)
        can_compare = self.kept is None and is_plain(held)
        if can_compare and self.computed is not None and name in self.computed:
            was, gain, dynamics = self.computed[name]
            is_same = was.dtype == held.dtype and dynamics is self.dynamics
            if is_same and torch.equal(was, held):
                return gain
        ratio = self.ratio(name)
        exactly = ratio if self.dynamics.integration == "euler" else -torch.expm1(-ratio)
        gain = exactly.to(held.dtype)
        if self.kept is not None:
            self.kept[name] = gain
        elif can_compare:
            self.computed = {**(self.computed or {}), name: (held.clone(), gain, self.dynamics)}
        return gain

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "computed": None}

    def settled(self) -> Neuron:
        """The same neurons for steps during which no constant changes: gains are computed once."""
        settled = copy.copy(self)
        settled.kept = {}
        return settled

    is_whole: ClassVar[bool] = False
    """Whether the `over_time` and `in_place` of a class give the numbers of its `forward`. Each
    class says so for itself: a subclass that changes `forward` does not inherit it."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "is_whole" not in vars(cls):
            cls.is_whole = False

    @abc.abstractmethod
    def forward(self, x: Tensor, state: NodeState | None = None) -> tuple[Tensor, NodeState]:
        """One step: the output and the new state, both in the shape of the input x."""

    def over_time(
        self, x: Tensor, state: NodeState | None = None, record: Collection[str] = ()
    ) -> tuple[Tensor, NodeState, NodeState]:
        """Many steps at once: the numbers of as many calls of the module, one after the other.

        Arguments:
            x: the inputs, (T, *batch, *shape), T at least 1.
            state: the state before them; None for the resting state.
            record: the variables of the state to record, by name.

        Returns:
            The outputs (T, *batch, *shape), the state after the last step, and the recorded
            variables after each step (T, *batch, *shape), by name.

        Raises:
            StateError: as a step would.
        """
        raise NotImplementedError

    def in_place(self, x: Tensor, variables: NodeState) -> Callable[[Tensor], None]:
        """A function that advances the variables, which have the shape of x, in place by a step."""
        raise NotImplementedError

    def stepper(self, x: Tensor, state: NodeState | None) -> Stepper | None:
        """A stepper for inputs like x that come one by one.

        None if a gradient is needed, or constants have another type than x.
        """
        variables = self.variables(x, state)
        if x.is_meta or not is_free(x, (*self.buffers(), *self.parameters(), *variables.values())):
            return None
        variables = {name: value.clone() for name, value in variables.items()}
        return Stepper(variables, self.in_place(x, variables), self.fire_in_place(x))

    def variables(self, x: Tensor, state: NodeState | None) -> NodeState:
        """The variables before a step, in the shape of its input x: from the state, or at rest."""
        raise NotImplementedError

    def fire_in_place(self, x: Tensor) -> Callable[[Tensor, Tensor], None] | None:
        """A function that writes spikes and resets voltages; None for neurons without spikes."""
        return None

    def voltages(
        self, advance: Advance, v: Tensor, constants: Collection[Tensor], record: Collection[str]
    ) -> tuple[Tensor, Tensor, NodeState]:
        """The output of each step, the voltage after the last, and the recorded voltages."""
        after = integrated(advance, v, constants)
        return after, after[-1].clone(), {"v": after} if "v" in record else {}


class SpikingNeuron(Neuron):
    """What neurons that fire share: threshold and reset, which are buffers."""

    v_threshold: Tensor
    v_reset: Tensor

    @property
    def firing(self) -> Firing:
        """Its threshold and its reset."""
        is_difference = self.dynamics.reset == "subtract"
        return Firing(self.v_threshold, self.v_reset, is_difference, self.derivative)

    def fired(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes, and the voltage after them."""
        z = spike(v, self.v_threshold, self.derivative)
        return z, self.firing.after(v, z)

    def fire_in_place(self, x: Tensor) -> Callable[[Tensor, Tensor], None] | None:
        return self.firing.firing_into(x)

    def voltages(
        self, advance: Advance, v: Tensor, constants: Collection[Tensor], record: Collection[str]
    ) -> tuple[Tensor, Tensor, NodeState]:
        z, v, after = fired(self.firing, advance, v, constants, "v" in record)
        return z, v, {} if after is None else {"v": after}


def is_plain(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor can be read: it is on the CPU, and nothing traces it."""
    return (
        type(tensor) is Tensor
        and tensor.device.type == "cpu"
        and not tensor.requires_grad
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and not transforms_are_active()
    )


def previous(
    state: Mapping[str, Any] | None, name: str, x: Tensor, resting: Tensor | float = 0.0
) -> Tensor:
    """A variable before this step: from the state, or `resting` at the first step.

    The resting value gets its batch axes, dtype and device from the input x.

    Raises:
        StateError: the state has no such variable, or belongs to an input of another shape.
    """
    if state is None:
        return x.new_zeros(x.shape) + resting
    return remembered(state, name, x.shape, x)


def remembered(state: Mapping[str, Any], name: str, shape: tuple[int, ...], x: Tensor) -> Tensor:
    """A tensor of the last step's state, which must have this shape.

    Raises:
        StateError: the state has no such tensor, or one of another shape.
    """
    value = state.get(name) if isinstance(state, Mapping) else None
    if not isinstance(value, Tensor):
        held = sorted(state) if isinstance(state, Mapping) else type(state).__name__
        message = f"a node's state without a tensor {name!r}, with {held}"
        raise StateError("NIR601", message, hint="pass back what a step returned")
    if value.shape != shape:
        hint = "start with state=None for another batch"
        raise misfit(f"its state {name!r} has the shape", value.shape, x, hint)
    return value


def require_fit(constants: Tensor, x: Tensor) -> None:
    """Constants may repeat over the input; the input never repeats over the constants.

    Raises:
        StateError: the input's last axes are not those of the constants.
    """
    sizes, given = constants.shape, x.shape[x.dim() - constants.dim() :]
    if sizes == given:
        return  # the common case, and fast
    if len(sizes) != len(given) or any(s not in (1, g) for s, g in zip(sizes, given)):
        raise misfit("its parameters have the shape", sizes, x)


def misfit(
    what: str, shape: tuple[int, ...], x: Tensor, hint: str = "nothing is broadcast here"
) -> StateError:
    """The error for an input x that does not fit something of another shape."""
    text = f"a node's input has the shape {tuple(x.shape)}, but {what} {tuple(shape)}"
    return StateError("NIR602", text, hint=hint)
