"""Generators of inputs: `poisson:rate=50`, `constant:0.3`, `impulse`, ...

In: such a text, and a shape. Out: an array of that shape, (T, B, *shape), for any range of steps.
Always holds: the same text, seed and shape of a step give the same numbers on every machine, with
every NumPy (only the raw bits of PCG64 are used, which NumPy guarantees), and for any division
into ranges. Cost: linear in the numbers that are made.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.suggestions import did_you_mean, did_you_mean_file
from nirtorch_cli.findings.text import counted, quoted
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.running.signals.signal import ALL

PARAMETERS: Mapping[str, Mapping[str, float | None]] = {
    "poisson": {"rate": None, "amplitude": 1.0},
    "constant": {"value": None},
    "impulse": {"at": 0.0, "amplitude": 1.0},
    "uniform": {"low": 0.0, "high": 1.0},
    "zeros": {},
}
"""Every generator's parameters with their defaults; None if it must be given."""

EXAMPLES = "poisson:rate=50, constant:0.3, impulse:at=0, uniform, zeros"

_BLOCK = 2**20
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Generator:
    """A generator and its parameters.

    poisson: at each step a spike of height `amplitude` with probability rate * dt, which is `rate`
    spikes per unit of time on average. constant: `value` at every step. impulse: `amplitude` at the
    step `at`, which counts from 0, and 0 at all others. uniform: random numbers in [low, high).
    zeros: no input, to see the model's own activity.
    """

    name: str
    values: Mapping[str, float] = field(default_factory=dict)


def is_generator(text: str) -> bool:
    """Whether a text begins with a generator's name; a file of that name is given as `./zeros`."""
    return text.partition(":")[0] in PARAMETERS


def parsed(text: str) -> Generator:
    """The generator that a text asks for: NAME, NAME:VALUE or NAME:PARAMETER=VALUE,...

    The first value may be given without a name; it is then the first parameter.

    >>> parsed("constant:0.3")
    Generator(name='constant', values={'value': 0.3})

    Raises:
        UsageError: there is no such generator or parameter, or a value is not a finite number.
    """
    name, _, rest = text.partition(":")
    if name not in PARAMETERS:
        hint = did_you_mean(name, PARAMETERS) or did_you_mean_file(text) or f"such as {EXAMPLES}"
        raise UsageError(f"{quoted(text)} is neither a file nor a generator", hint=hint)
    known = PARAMETERS[name]
    given: dict[str, float] = {}
    for place, part in enumerate(filter(None, rest.split(","))):
        key, equals, value = part.rpartition("=")
        if place and known and not equals:
            text = (
                f"{quoted(text)}: {quoted(value)} is not NAME=VALUE, as all but the first must be"
            )
            raise UsageError(text, hint=f"{name} has {', '.join(known)}")
        key = key.strip() if equals else next(iter(known), "")
        if key not in known:
            exists = f"it has {', '.join(known)}" if known else "it has none"
            exists = did_you_mean(key, known) or exists
            raise UsageError(
                f"{quoted(text)}: {name} has no parameter {quoted(key or value)}", hint=exists
            )
        if key in given:
            raise UsageError(f"{quoted(text)}: {key} is given twice")
        given[key] = _number(text, key, value)
    missing = [key for key, default in known.items() if default is None and key not in given]
    if missing:
        raise UsageError(
            f"{quoted(text)}: {name} needs its {missing[0]}", hint=f"such as {EXAMPLES}"
        )
    defaults = {key: default for key, default in known.items() if default is not None}
    return _checked(text, Generator(name, {**defaults, **given}))


def generated(
    generator: Generator,
    shape: tuple[int, ...],
    *,
    dt: float,
    seed: int,
    stream: int = 0,
    start: int = 0,
    rows: slice = ALL,
) -> Array:
    """Some steps of a generator, of shape (T, B, *shape) and in float32.

    Arguments:
        dt: the length of a step, in the unit of time of a rate.
        seed, stream: the start of the random numbers; each input of a model has its own stream.
        start: the index of the first of these steps.
        rows: the batch rows that are made, with the numbers that they have among all.

    Raises:
        UsageError: the rate is too high for dt.
        MemoryError: there cannot be such an array.
    """
    if math.prod(shape) * 8 > sys.maxsize:
        raise MemoryError
    values = generator.values
    if generator.name in ("poisson", "uniform"):
        return _random(shape, seed, stream, start, rows, _numbers(generator, dt))
    made = (shape[0], len(range(*rows.indices(shape[1]))), *shape[2:])
    if generator.name == "constant":
        return np.full(made, values["value"], np.float32)
    array = np.zeros(made, np.float32)
    if generator.name == "impulse" and start <= values["at"] < start + len(array):
        array[int(values["at"]) - start] = values["amplitude"]
    return array


def check_generator(
    generator: Generator, *, dt: float, steps: int, start: int, dtype: str | None = None
) -> None:
    """Refuse a generator that makes no sense for a run, before anything is generated.

    Arguments:
        steps, start: how many steps there are, and the index of the first. An impulse after the
        last step is a mistake in a run from step 0, but not in a later piece of a run. dtype: the
        type that must hold every number; None for any.

    Raises:
        UsageError: the rate is too high for dt, an impulse comes after the last step, or a
            number is too large.
    """
    if generator.name == "poisson":
        _chance(generator, dt)
    at = generator.values.get("at", -1)
    if not start and at >= steps:
        raise UsageError(
            f"impulse: there is no step {at:,.0f} in {counted(steps, 'step')}",
            hint="they begin at 0",
        )
    for key in ("amplitude", "value", "low", "high") if dtype is not None else ():
        value = generator.values.get(key, 0.0)
        with np.errstate(over="ignore"):
            if not np.isfinite(np.float64(value).astype(dtype)):
                raise UsageError(
                    f"{generator.name}: {key} is {value:g}, which {dtype} does not hold"
                )


def _chance(generator: Generator, dt: float) -> float:
    """The probability of a spike in a step."""
    rate = generator.values["rate"]
    chance = rate * dt
    if chance > 1:
        text = f"poisson: a rate of {rate:g} is {chance:g} spikes per step at dt {dt:g}"
        raise UsageError(text, hint=f"the most is 1 spike per step, a rate of {1 / dt:g}")
    return chance


def _numbers(generator: Generator, dt: float) -> Callable[[Array], Array]:
    """The function that turns random bits into a generator's numbers."""
    values = generator.values
    if generator.name == "poisson":
        chance, amplitude = _chance(generator, dt), np.float32(values["amplitude"])
        return lambda bits: amplitude * (_fraction(bits, 53) < chance)
    low, width = values["low"], values["high"] - values["low"]
    return lambda bits: low + width * _fraction(bits, 24)


def _random(
    shape: tuple[int, ...],
    seed: int,
    stream: int,
    start: int,
    rows: slice,
    made: Callable[[Array], Array],
) -> Array:
    bits = np.random.PCG64(np.random.SeedSequence(seed % 2**64, spawn_key=(stream,)))
    first, last, _ = rows.indices(shape[1])
    step, before = math.prod(shape[1:]), first * math.prod(shape[2:])
    array = np.empty((shape[0], last - first, *shape[2:]), np.float32)
    bits.advance(start * step + before)
    # Where all rows are made, the numbers of all steps follow each other.
    pieces = array.reshape(1 if array.shape == shape else len(array), -1)
    for piece in pieces:
        for begin in range(0, piece.size, _BLOCK):
            part = piece[begin : begin + _BLOCK]
            part[...] = made(bits.random_raw(part.size))
        bits.advance(step - piece.size if len(pieces) > 1 else 0)
    return array


def _fraction(bits: Array, digits: int) -> Array:
    """Random numbers in [0, 1) with this many binary digits."""
    fraction: Array = (bits >> np.uint64(64 - digits)).astype(np.float64) * 2.0**-digits
    return fraction


def _number(text: str, key: str, value: str) -> float:
    try:
        if "_" in value:  # Python would read 0_3 as 3
            raise ValueError
        number = float(int(value)) if key == "at" else float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= _LARGEST:
        kind = "a step's number" if key == "at" else "a number that float32 holds"
        raise UsageError(f"{quoted(text)}: {key} is {quoted(value)}, not {kind}")
    return number


def _checked(text: str, generator: Generator) -> Generator:
    """Refuse numbers that make no sense for a generator."""
    for key in ("rate", "at"):
        if generator.values.get(key, 0) < 0:
            raise UsageError(f"{quoted(text)}: {key} is negative")
    if generator.values.get("low", 0) > generator.values.get("high", 1):
        raise UsageError(f"{quoted(text)}: low is above high")
    return generator
