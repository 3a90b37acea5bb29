"""The source text of NIR's neurons, I, IF, LI, LIF, CubaLI and CubaLIF, for one meaning of a step.

In: the type, its `Dynamics`, how the source calls the length of a step, and the surrogate. Out: a
class. Only what the dynamics ask for is written, so that no option is left in it. The arithmetic is
that of `primitives.modules`, in its order, so that the numbers are the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nirtorch_cli.primitives.dynamics import Dynamics
from nirtorch_cli.primitives.modules.cuba import CubaLI, CubaLIF
from nirtorch_cli.primitives.modules.integrators import IF, I
from nirtorch_cli.primitives.modules.leaky import LI, LIF

TIMES = ("tau", "tau_mem", "tau_syn")
"""The time constants, which the classes read in float64."""

CROSS_GAIN = "cross_gain"
"""The function of `plain` that exact steps of a current call."""

_MEANINGS = {
    "tau": "time constant of v",
    "tau_mem": "time constant of v",
    "tau_syn": "time constant of i",
    "r": "resistance",
    "v_leak": "where v rests",
    "w_in": "weight of the input",
    "v_threshold": "what v fires at",
    "v_reset": "v after a spike",
}

_CLASS = '''\
class {name}(nn.Module):
    """{title}

{equations}

    State: {state}.
    """

{constants}

    def __init__(self, *shape: int) -> None:
        super().__init__()
        for name in ({names}):
            self.register_buffer(name, torch.empty(shape))

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
{lines}
'''


@dataclass(frozen=True)
class _Integration:
    """How a neuron integrates.

    constants: in the order of the class. first: by variable, its value at the first step, as code.
    equations: as the docstring says them. lines: as the code does.
    """

    title: str
    constants: tuple[str, ...]
    first: dict[str, str]
    equations: tuple[str, ...]
    lines: tuple[str, ...]


def neuron_text(name: str, kind: type, dynamics: Dynamics, dt: str, surrogate: str) -> str:
    """The class of a neuron.

    Arguments:
        name: what the class is called. kind: one of the classes of `primitives.modules`.
        dt: what the source calls the length of a step: a constant of its, or a number.
        surrogate: the function that is the derivative of a spike.
    """
    base = _WITHOUT_SPIKES.get(kind)
    how = _INTEGRATIONS[base or kind](dynamics, dt)
    constants, equations = how.constants, how.equations
    lines = [_before(name, first) for name, first in how.first.items()]
    if base is None:
        lines += [*how.lines, f"return v, {_state(how)}"]
    else:
        constants = (*constants, "v_threshold", "v_reset")
        resets = _resets(dynamics)
        lines += [
            *resets.first,
            *how.lines,
            *resets.integrated,
            f"fires = {_fires(dynamics)}",
            f"z = Spike.apply(fires, v - self.v_threshold, {surrogate})",
            *resets.fired,
            f"return z, {_state(how)}",
        ]
        equations = (*equations, *_firing(dynamics))
    output = "the output is v" if base is None else "the output is z, its spikes"
    shown = [f"{variable}, at first {_at_first(first)}" for variable, first in how.first.items()]
    return _CLASS.format(
        name=name,
        title=f"{how.title if base is None else _FIRING_TITLES[kind]}; {output}.",
        equations=_indented(equations, 8),
        state="; ".join(shown),
        constants=_indented([f"{one}: Tensor  # {_MEANINGS[one]}" for one in constants], 4),
        names=", ".join(f'"{one}"' for one in constants) + ("," if len(constants) == 1 else ""),
        lines=_indented(lines, 8),
    )


# ------------------------------------------------------------------------------- how it integrates


def _integrator(dynamics: Dynamics, dt: str) -> _Integration:
    is_charge = dynamics.integrator_input == "charge"
    return _Integration(
        "Integrators",
        ("r",),
        {"v": "0"},
        ("v = v + r x" if is_charge else "v = v + r dt x",),
        ("v = v + self.r * x" if is_charge else f"v = v + self.r * ({dt} * x)",),
    )


def _leaky(dynamics: Dynamics, dt: str) -> _Integration:
    return _Integration(
        "Leaky integrators",
        ("tau", "r", "v_leak"),
        {"v": "self.v_leak"},
        (
            "tau dv/dt = v_leak - v + r x",
            f"v = v + g (v_leak + r x - v),  g = {_gain_of(dynamics, 'tau')}",
        ),
        (
            _gain(dynamics, "g", dt, "tau"),
            "v = torch.lerp(v, self.v_leak + self.r * x, g)",
        ),
    )


def _current_based(dynamics: Dynamics, dt: str) -> _Integration:
    of_i, of_v = _gain_of(dynamics, "tau_syn"), _gain_of(dynamics, "tau_mem")
    gains = (_gain(dynamics, "g", dt, "tau_syn"), _gain(dynamics, "h", dt, "tau_mem"))
    steps: tuple[str, ...] = (
        f"i = i + g (w_in x - i),  g = {of_i}",
        f"v = v + h (v_leak + r i - v),  h = {of_v}",
    )
    lines: tuple[str, ...] = (
        "i = torch.lerp(i, self.w_in * x, g)",
        "v = torch.lerp(v, self.v_leak + self.r * i, h)",
    )
    if dynamics.integration == "exact":
        steps = (
            f"g = {of_i},  h = {of_v},  k = {CROSS_GAIN}(dt/tau_mem, dt/tau_syn),  j = w_in x",
            "v = v + h (v_leak + r j - v) + r (i - j) k",
            "i = i + g (j - i), after v, which takes the old i",
        )
        lines = (
            f"k = {CROSS_GAIN}({dt} / self.tau_mem.double(), {dt} / self.tau_syn.double())",
            "j = self.w_in * x",
            "i_next = torch.lerp(i, j, g)",
            "v = torch.lerp(v, self.v_leak + self.r * j, h)",
            "v = v + self.r * (i - j) * k.to(self.r.dtype)",
            "i = i_next",
        )
    return _Integration(
        "Leaky integrators behind synapses",
        ("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
        {"i": "0", "v": "self.v_leak"},
        ("tau_syn di/dt = w_in x - i", "tau_mem dv/dt = v_leak - v + r i", *steps),
        (*gains, *lines),
    )


_INTEGRATIONS: dict[type, Callable[[Dynamics, str], _Integration]] = {
    I: _integrator,
    LI: _leaky,
    CubaLI: _current_based,
}
_WITHOUT_SPIKES: dict[type, type] = {IF: I, LIF: LI, CubaLIF: CubaLI}
_FIRING_TITLES: dict[type, str] = {
    IF: "Integrate-and-fire neurons",
    LIF: "Leaky integrate-and-fire neurons",
    CubaLIF: "Leaky integrate-and-fire neurons behind synapses",
}


def _gain(dynamics: Dynamics, name: str, dt: str, time: str) -> str:
    """A line that computes a gain in float64 and rounds it once."""
    exactly = f"({dt} / self.{time}.double())"
    if dynamics.integration == "exact":
        exactly = f"-torch.expm1(-{dt} / self.{time}.double())"
        return f"{name} = ({exactly}).to(self.r.dtype)"
    return f"{name} = {exactly}.to(self.r.dtype)"


def _gain_of(dynamics: Dynamics, time: str) -> str:
    """The same as an equation."""
    return f"dt/{time}" if dynamics.integration == "euler" else f"1 - exp(-dt/{time})"


# ----------------------------------------------------------------------------- how it fires, resets


@dataclass(frozen=True)
class _Resets:
    """The lines of the reset: first of all, after the integration, and after the spikes."""

    first: tuple[str, ...] = ()
    integrated: tuple[str, ...] = ()
    fired: tuple[str, ...] = ()


def _fires(dynamics: Dynamics) -> str:
    """Where v fires, as code."""
    return f"v {'>=' if dynamics.fire_at == 'reached' else '>'} self.v_threshold"


def _resets(dynamics: Dynamics) -> _Resets:
    if dynamics.reset == "none":
        return _Resets()
    if dynamics.reset == "value":
        if dynamics.reset_delay:
            return _Resets(first=(f"v = torch.where({_fires(dynamics)}, self.v_reset, v)",))
        return _Resets(fired=("v = torch.where(fires, self.v_reset, v)",))
    if dynamics.reset_delay:
        return _Resets(
            first=(f"fired = {_fires(dynamics)}  # in the step before",),
            integrated=("v = v - fired * self.v_threshold",),
        )
    return _Resets(fired=("v = v - fires * self.v_threshold",))


def _firing(dynamics: Dynamics) -> tuple[str, ...]:
    """Threshold and reset as equations."""
    fires = f"z = 1 where {_fires(dynamics).replace('self.', '')}, else 0"
    if dynamics.reset == "none":
        return (f"{fires}; a spike leaves v as it is",)
    reset = {"value": "v = v_reset", "subtract": "v = v - v_threshold"}[dynamics.reset]
    if not dynamics.reset_delay:
        return (f"{fires}; then {reset} where z = 1",)
    when = "before" if dynamics.reset == "value" else "after"
    return (f"{fires}; {when} the next step's integration {reset} where z = 1",)


# --------------------------------------------------------------------------------------- as lines


def _before(name: str, first: str) -> str:
    """The line that reads a variable from the state."""
    rest = "x.new_zeros(x.shape)" + ("" if first == "0" else f" + {first}")
    return f'{name} = {rest} if state is None else state["{name}"]'


def _state(how: _Integration) -> str:
    return "{" + ", ".join(f'"{name}": {name}' for name in how.first) + "}"


def _at_first(first: str) -> str:
    return first.removeprefix("self.")


def _indented(lines: list[str] | tuple[str, ...], spaces: int) -> str:
    return "\n".join(" " * spaces + line for line in lines)
