"""What all stateful neurons share: constants, first state, step and reset.

Shapes: the constants of a neuron have the NIR shape (or broadcast to it); the input has any number
of batch axes in front of it. Time constants and dt are in the same unit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from nirtorch_cli.primitives.dynamics import Dynamics
from nirtorch_cli.primitives.modules.firing import Firing
from nirtorch_cli.primitives.modules.program import Program, program_of
from nirtorch_cli.primitives.modules.recurrence import Advance, is_free
from nirtorch_cli.primitives.modules.stepping import fired, integrated
from nirtorch_cli.primitives.modules.surrogate import (
    Derivative,
    spike,
    surrogate_derivative,
    transforms_are_active,
    with_surrogate,
)
from nirtorch_cli.primitives.modules.variables import NodeState, previous, require_fit

Charged = Tensor | tuple[Tensor, ...]
"""The variables of a neuron in the order of its `states`, or the only one."""


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


class Neuron(torch.nn.Module):
    """A layer of neurons. Its constants are buffers, under NIR's names or any others.

    They are read at every step, so a constant may be changed, loaded from a state dict, or replaced
    by a trainable parameter of the same name.

    A subclass names its `states` and says what a step is, in up to three methods that take and
    return tensors in the shape of the input and change none:

        class Leaky(Neuron):                            # constants: beta, v_threshold
            states = {"v": 0.0}

            def charge(self, x, v):                     # the variables after an input
                return self.beta * v + x

            def fire(self, v):                          # the output
                return self.spike(v, self.v_threshold)

            def reset(self, z, v):                      # the variables after an output z
                return v - z.detach() * self.v_threshold

    Steps, whole sequences, loops, recording and gradients follow from these. `fire` and `reset` are
    handed all that `charge` returned, which may be more than the variables. Without `fire` the
    output is the last variable, v. A subclass may have a `forward` of its own instead, which is
    then called for each step; see `nirtorch_cli.register`.

    Arguments:
        constants: one value for each neuron, in the NIR shape, or any shape that repeats over it.
        dynamics: what a step means, for neurons that are steps of NIR's equations.
        surrogate: the derivative of `spike`, by name or as a function; that of `dynamics` is used
            if these are given.
    """

    states: ClassVar[Mapping[str, str | float]] = {"v": 0.0}
    """The variables of its state, each with its value at first: a constant's name, or a number."""

    kept: dict[str, Tensor] | None = None
    """Gains by the names of their time constants, while these are `settled`."""

    computed: dict[str, tuple[Tensor, Tensor, Dynamics]] | None = None
    """Gains with the time constants that they were computed from: comparing a constant is faster
    than computing its gain. Only its value counts, so that any way to change it is noticed."""

    def __init__(
        self,
        constants: Mapping[str, Any],
        dynamics: Dynamics | None = None,
        *,
        surrogate: str | Derivative = "atan",
    ) -> None:
        super().__init__()
        self.has_dynamics = dynamics is not None
        dynamics = Dynamics(surrogate=surrogate) if dynamics is None else dynamics
        self.exact: dict[str, Tensor] = {}
        for name, constant in constants.items():
            is_tensor = isinstance(constant, Tensor)
            # An array is copied: it is the graph's, or the user's.
            self.register_buffer(name, constant if is_tensor else torch.tensor(constant))
        self.dynamics = dynamics
        self.derivative = surrogate_derivative(dynamics.surrogate)

    def before(
        self, state: NodeState | None, name: str, x: Tensor, resting: Tensor | float = 0.0
    ) -> Tensor:
        """A variable before this step, in the shape of the input x; see `previous`.

        Raises:
            StateError: the input has not the shape of the constants, or the state not its own.
        """
        self.require_fit(x)
        return previous(state, name, x, resting)

    def extra_repr(self) -> str:
        shape = f"{tuple(next(iter(self.state_dict().values())).shape)}"
        if not self.has_dynamics:
            return shape
        return f"{shape}, dt={self.dynamics.dt:g}, integration={self.dynamics.integration!r}"

    def spike(self, v: Tensor, threshold: Tensor, *, reached: bool = False) -> Tensor:
        """1 where v > threshold (`reached`: >=), else 0, with a surrogate gradient."""
        return spike(v, threshold, self.derivative, reached=reached)

    def with_surrogate(self, spikes: Tensor, v: Tensor, threshold: Tensor | float) -> Tensor:
        """The same for spikes that are given, for example several in a step."""
        return with_surrogate(spikes, v, threshold, self.derivative)

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
    """Whether the `over_time` and `in_place` of a class give the numbers of its `forward`: those
    of this class do. A class with its own says so for itself, and its subclasses do not inherit
    it, since they may change what a step is."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "is_whole" not in vars(cls):
            own = (cls.forward, cls.over_time, cls.in_place)
            cls.is_whole = own == (Neuron.forward, Neuron.over_time, Neuron.in_place)

    def charge(self, x: Tensor, *before: Tensor) -> Charged:
        """The variables after the input of a step, and whatever else fire and reset need."""
        raise NotImplementedError(f"{type(self).__name__} says neither charge nor forward")

    def fire(self, *charged: Tensor) -> Tensor:
        """The output of a step."""
        return charged[-1]

    def reset(self, z: Tensor, *charged: Tensor) -> Charged:
        """The variables after the output z."""
        return charged

    def step(self, x: Tensor, before: Mapping[str, Tensor]) -> tuple[Tensor, NodeState]:
        """Charge, fire, reset: the output, and the variables after it."""
        charged = _several(self.charge(x, *before.values()))
        z = self.fire(*charged)
        return z, dict(zip(self.states, _several(self.reset(z, *charged))))

    def forward(self, x: Tensor, state: NodeState | None = None) -> tuple[Tensor, NodeState]:
        """One step: the output and the new state, both in the shape of the input x."""
        return self.step(x, self.variables(x, state))

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
        before, settled = self.variables(x[0], state), self.settled()
        if self.is_writable(x, before):
            program = program_of(settled.step, x[0], before, hoists=True)
            if program is not None:
                y = torch.empty_like(x, memory_format=torch.contiguous_format)
                recorded = {name: torch.empty_like(y) for name in self.states if name in record}
                program.over(x, y, recorded)
                return y, program.variables, recorded
        outputs, kept = [], []
        for one in x.unbind(0):
            output, before = settled.step(one, before)
            outputs.append(output)
            kept.append(before)
        names = [name for name in self.states if name in record]
        recorded = {name: torch.stack([after[name] for after in kept]) for name in names}
        return torch.stack(outputs), before, recorded

    def is_writable(self, x: Tensor, variables: NodeState) -> bool:
        """Whether steps can be written into buffers: no gradient is needed, and nothing traces."""
        if x.is_meta or torch.compiler.is_compiling() or transforms_are_active():
            return False
        return is_free(x, (*self.buffers(), *self.parameters(), *variables.values()))

    def in_place(self, x: Tensor, variables: NodeState) -> Callable[[Tensor], None] | None:
        """A function that advances the variables, which have the shape of x, in place by a step.

        None if there is none, and a program of the step does it.
        """
        return None

    def stepper(self, x: Tensor, state: NodeState | None) -> Stepper | Program | None:
        """A stepper for inputs like x that come one by one.

        None if a gradient is needed, or constants have another type than x.
        """
        variables = self.variables(x, state)
        if not self.is_writable(x, variables):
            return None
        mine = {name: value.clone() for name, value in variables.items()}
        advance = self.in_place(x, mine)
        if advance is None:
            return program_of(self.settled().step, x, variables)
        return Stepper(mine, advance, self.fire_in_place(x))

    def variables(self, x: Tensor, state: NodeState | None) -> NodeState:
        """The variables before a step, in the shape of its input x: from the state, or at first.

        Raises:
            StateError: see `before`.
        """
        self.require_fit(x)
        first = {n: getattr(self, v) if isinstance(v, str) else v for n, v in self.states.items()}
        return {name: previous(state, name, x, resting) for name, resting in first.items()}

    def require_fit(self, x: Tensor) -> None:
        """Constants may repeat over the input; the input never repeats over the constants.

        Raises:
            StateError: the input's last axes are not those of the constants.
        """
        for constant in self._buffers.values():
            if constant is not None:
                require_fit(constant, x)

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
    """What NIR's neurons that fire share: threshold and reset, which are buffers.

    The voltage v is the last of the `states`. It fires and is reset as its `Dynamics` say.
    """

    v_threshold: Tensor
    v_reset: Tensor

    @property
    def firing(self) -> Firing:
        """Its threshold and its reset."""
        is_reached = self.dynamics.fire_at == "reached"
        mode = self.dynamics.reset
        return Firing(self.v_threshold, self.v_reset, mode, self.derivative, is_reached)

    def fired(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes, and the voltage after them."""
        firing = self.firing
        z = firing.spikes(v)
        return z, v if self.dynamics.reset_delay else firing.after(v, z)

    def charge(self, x: Tensor, *before: Tensor) -> Charged:
        """The variables after the input; with `reset_delay`, after the reset of the step before."""
        if not self.dynamics.reset_delay:
            return super().charge(x, *before)
        firing, *others, v = self.firing, *before
        z = firing.spikes(v).detach()
        if firing.mode == "value":
            return super().charge(x, *others, firing.after(v, z))
        *others, v = _several(super().charge(x, *before))
        return (*others, firing.after(v, z))

    def fire(self, *charged: Tensor) -> Tensor:
        return self.firing.spikes(charged[-1])

    def reset(self, z: Tensor, *charged: Tensor) -> Charged:
        if self.dynamics.reset_delay:
            return charged
        return (*charged[:-1], self.firing.after(charged[-1], z))

    def over_time(
        self, x: Tensor, state: NodeState | None = None, record: Collection[str] = ()
    ) -> tuple[Tensor, NodeState, NodeState]:
        if self.dynamics.reset_delay:
            return Neuron.over_time(self, x, state, record)
        return super().over_time(x, state, record)

    def in_place(self, x: Tensor, variables: NodeState) -> Callable[[Tensor], None] | None:
        return None if self.dynamics.reset_delay else super().in_place(x, variables)

    def fire_in_place(self, x: Tensor) -> Callable[[Tensor, Tensor], None] | None:
        return self.firing.firing_into(x)

    def voltages(
        self, advance: Advance, v: Tensor, constants: Collection[Tensor], record: Collection[str]
    ) -> tuple[Tensor, Tensor, NodeState]:
        z, v, after = fired(self.firing, advance, v, constants, "v" in record)
        return z, v, {} if after is None else {"v": after}


def _several(variables: Charged) -> Sequence[Tensor]:
    return (variables,) if isinstance(variables, Tensor) else variables


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
