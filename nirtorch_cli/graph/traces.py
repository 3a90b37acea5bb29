"""What the numbers of a file tell of the program that wrote it: the traces that exporters leave.

An exporter turns a discrete decay into a time constant, and the weight of one step into `r` and
`w_in`. How it does that shows in the numbers, and so does the length of a step, dt.

In: the neurons of a graph. Out: `Trace`s. A trace holds for every neuron of its kinds, to the
rounding of float32, and its dt is round: 1, 2 or 5 times a power of ten, from 1e-6 to 1. So it is
no accident. Loads no torch. Cost: linear in the parameters.

Source: the exporters of the frameworks, as `families` has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np

from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.primitives.dynamics import IntegratorInput
from nirtorch_cli.primitives.table import is_of_role

_EXACT = 2e-6
"""The relative difference that float32 may make in a quotient of two parameters."""

_GRAIN = 2.0**-23
"""The relative distance of float32's numbers."""

_SHORTEST_DT, _LONGEST_DT = 1e-6, 1.0
_NORSE_LONGEST = 5e-5
"""Norse 1.1.0 writes dt times the time constant, which in a network is less than 50 ms."""


@dataclass(frozen=True)
class Trace:
    """What one relation among the numbers tells.

    name: of the relation. dt: the length of a step. reason: the relation, in words.
    integrator_input: what I and IF take, if the relation tells. is_of_any: whether it is believed
    of any file; else only of one whose family is known.
    """

    name: str
    dt: float
    reason: str
    integrator_input: IntegratorInput | None = None
    is_of_any: bool = True


@dataclass(frozen=True)
class Numbers:
    """The parameters of all neurons of some types, as flat arrays of equal length.

    tau: of the membrane. tau_syn, w_in: empty for neurons without a synapse.
    """

    tau: Array
    r: Array
    tau_syn: Array
    w_in: Array

    @property
    def is_plain(self) -> bool:
        """Whether r and w_in are 1, as in NIR's plain neuron."""
        return self.r.size > 0 and bool(np.all(self.r == 1) and np.all(self.w_in == 1))


def neurons_of(node: nir.NIRNode) -> list[nir.NIRNode]:
    """All neurons of a graph and of those nested in it; or the node itself, if it is one."""
    found, waiting = [], [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, nir.NIRGraph):
            waiting += one.nodes.values()
        elif is_of_role(one, "neuron"):
            found.append(one)
    return found


def numbers_of(neurons: Iterable[nir.NIRNode], *kinds: type[nir.NIRNode]) -> Numbers | None:
    """The parameters of the neurons of some types; None if one is no real number."""
    chosen = [one for one in neurons if isinstance(one, kinds)]
    columns: dict[str, list[Array]] = {"tau": [], "r": [], "tau_syn": [], "w_in": []}
    for one in chosen:
        names = {"tau": "tau_mem" if hasattr(one, "tau_mem") else "tau", "r": "r"}
        if hasattr(one, "tau_syn"):
            names.update(tau_syn="tau_syn", w_in="w_in")
        for column, name in names.items():
            values = np.asarray(getattr(one, name, np.empty(0)))
            if values.dtype.kind not in "fiu":
                return None
            columns[column].append(values.astype(np.float64).reshape(-1))
    joined = {name: np.concatenate([*parts, np.empty(0)]) for name, parts in columns.items()}
    return Numbers(**joined)


def traces(neurons: Sequence[nir.NIRNode]) -> list[Trace]:
    """The traces that hold for all neurons of their kinds."""
    return [trace for read in _READERS for trace in read(neurons)]


def unrounded(neurons: Sequence[nir.NIRNode]) -> float | None:
    """The one value of tau/r over several time constants, where it is not round."""
    numbers = numbers_of(neurons, nir.LIF, nir.CubaLIF)
    if numbers is None or numbers.is_plain or not numbers.tau.size or _is_one(numbers.tau):
        return None
    found = common(_ratio(numbers.tau, numbers.r))
    return None if found is None or round_step(found) is not None else found


def round_step(dt: float | None, tolerance: float = _EXACT) -> float | None:
    """The round length of a step that dt is up to rounding; None if there is none."""
    if dt is None or not 0 < dt < math.inf:
        return None
    power = math.floor(math.log10(dt) + 1e-9)
    for digit in (1, 2, 5, 10):
        candidate = float(f"{digit}e{power}")
        if abs(dt / candidate - 1) <= tolerance:
            within = _SHORTEST_DT * (1 - _EXACT) <= candidate <= _LONGEST_DT
            return candidate if within else None
    return None


def common(values: Array | None, tolerance: float = _EXACT) -> float | None:
    """The one value that all are, up to rounding; None if they differ."""
    if values is None or not values.size or not np.all(np.isfinite(values)):
        return None
    low, high = float(values.min()), float(values.max())
    if low <= 0 or high - low > tolerance * high:
        return None
    return float(np.median(values))


def _ratio(above: Array, below: Array) -> Array | None:
    if above.shape != below.shape:
        return None
    with np.errstate(all="ignore"):
        return np.asarray(above / below)


def _is_one(values: Array) -> bool:
    """Whether all values are equal."""
    return float(values.max() - values.min()) <= _EXACT * float(np.abs(values).max())


def _with_synapse(neurons: Sequence[nir.NIRNode]) -> Iterator[Trace]:
    """snnTorch, SpikingJelly, lava-dl: r = tau_mem/dt, w_in = tau_syn/dt."""
    numbers = numbers_of(neurons, nir.CubaLIF, nir.CubaLI)
    if numbers is None or numbers.is_plain:
        return
    membrane, synapse = _ratio(numbers.tau, numbers.r), _ratio(numbers.tau_syn, numbers.w_in)
    if membrane is None or synapse is None:
        return
    dt = round_step(common(np.concatenate([membrane, synapse])))
    if dt is not None:
        yield Trace("synapse", dt, "all CubaLIF neurons have tau_mem/r = tau_syn/w_in = dt")
    elif bool(np.all(numbers.w_in == 1)):
        dt = round_step(common(membrane))
        if dt is not None:
            yield Trace("membrane", dt, "all CubaLIF neurons have tau_mem/r = dt")


def _without_synapse(neurons: Sequence[nir.NIRNode]) -> Iterator[Trace]:
    """snnTorch, SpikingJelly, mlx-snn: r = tau/dt."""
    numbers = numbers_of(neurons, nir.LIF)
    if numbers is None or numbers.tau.shape != numbers.r.shape:
        return
    weighing = numbers.r != 1
    tau = numbers.tau[weighing]
    dt = round_step(common(_ratio(tau, numbers.r[weighing])))
    if dt is None:
        return
    over = "with one tau" if _is_one(tau) else "over different tau"
    if bool(np.all(weighing)):
        yield Trace("weight", dt, f"all LIF neurons have tau/r = dt, {over}")
    else:  # SpikingJelly's decay_input is r = 1
        reason = f"all LIF neurons have r = 1 or tau/r = dt, {over}"
        yield Trace("weight or 1", dt, reason, is_of_any=False)


def _after_decay(neurons: Sequence[nir.NIRNode]) -> Iterator[Trace]:
    """Rockpool: r = tau/dt exp(-dt/tau), so that tau W(1/r) = dt, with Lambert's function W."""
    numbers = numbers_of(neurons, nir.LIF, nir.CubaLIF)
    if numbers is None or not numbers.r.size or not np.all((numbers.r > 0) & (numbers.r != 1)):
        return
    dt = round_step(common(numbers.tau * lambert(1 / numbers.r)))
    if dt is not None:
        yield Trace("decayed weight", dt, "all neurons have r = tau/dt exp(-dt/tau)")


def lambert(y: Array) -> Array:
    """Lambert's function W, w exp(w) = y, for positive y: by Newton's method."""
    w: Array = np.log1p(y)
    for _ in range(20):
        w = w - (w - y * np.exp(-w)) / (1 + w)
    return w


def _of_decay(neurons: Sequence[nir.NIRNode]) -> Iterator[Trace]:
    """Spyx: r is the decay itself, 1 - dt/tau."""
    numbers = numbers_of(neurons, nir.LIF, nir.CubaLIF)
    if numbers is None or not numbers.r.size or not np.all((numbers.r > 0) & (numbers.r < 1)):
        return
    rest = 1 - numbers.r
    tolerance = _EXACT + 2 * _GRAIN / float(rest.min())  # 1 - r is known to float32's grain only
    dt = round_step(common(numbers.tau * rest, tolerance), tolerance)
    if dt is not None:
        yield Trace("decay", dt, "all neurons have r = 1 - dt/tau")


def _in_steps(neurons: Sequence[nir.NIRNode]) -> Iterator[Trace]:
    """sinabs: time constants count steps."""
    numbers = numbers_of(neurons, *_LEAKY)
    if numbers is None or not numbers.is_plain:
        return
    taus = np.concatenate([numbers.tau, numbers.tau_syn])
    if bool(np.all(taus >= 1)):
        yield Trace("steps", 1.0, "r = 1 and every tau is 1 or more, a number of steps")


def _times_dt(neurons: Sequence[nir.NIRNode]) -> Iterator[Trace]:
    """Norse 1.1.0: it writes dt tau, for dt = 1e-3."""
    numbers = numbers_of(neurons, *_LEAKY)
    if numbers is None or not numbers.is_plain:
        return
    taus = np.concatenate([numbers.tau, numbers.tau_syn])
    if bool(np.all((taus > 0) & (taus < _NORSE_LONGEST))):
        reason = "r = 1 and every tau is below 5e-5: Norse 1.1.0 writes dt tau, for dt 0.001"
        yield Trace("times dt", 1e-6, reason)


def _of_integrators(neurons: Sequence[nir.NIRNode]) -> Iterator[Trace]:
    """SpikingJelly: r = 1/dt, of a current."""
    resistances = [np.asarray(one.r) for one in neurons if isinstance(one, (nir.I, nir.IF))]
    if not resistances or any(values.dtype.kind not in "fiu" for values in resistances):
        return
    joined = np.concatenate([values.astype(np.float64).reshape(-1) for values in resistances])
    if not joined.size or not np.all(joined > 1):
        return
    dt = round_step(common(1 / joined))
    if dt is not None:
        yield Trace("current", dt, "all I and IF neurons have r = 1/dt, of a current", "current")


_LEAKY: tuple[Any, ...] = (nir.LIF, nir.CubaLIF, nir.LI, nir.CubaLI)
_READERS: tuple[Callable[[Sequence[nir.NIRNode]], Iterator[Trace]], ...] = (
    _with_synapse,
    _without_synapse,
    _after_decay,
    _of_decay,
    _in_steps,
    _times_dt,
    _of_integrators,
)
