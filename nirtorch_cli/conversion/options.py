"""The options of a conversion: the one set from which commands, specs and maps take theirs.

Plain values, which another process can be sent, refused where they are none of those that there
are. Imports nothing that takes long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

from nirtorch_cli.primitives.dynamics import (
    INTEGRATIONS,
    INTEGRATOR_INPUTS,
    RESETS,
    SURROGATES,
    Integration,
    IntegratorInput,
    Reset,
    Surrogate,
)

Dtype = Literal["float16", "bfloat16", "float32", "float64"]
"""The floating types of parameters, state and inputs."""

CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "integration": INTEGRATIONS,
        "reset": RESETS,
        "integrator_input": INTEGRATOR_INPUTS,
        "surrogate": SURROGATES,
        "dtype": get_args(Dtype),
    }
)
"""By option, what it can be."""

OF_A_STEP = ("integration", "reset", "integrator_input", "surrogate")
"""The options, beside dt, that say what one step means: those of `default_map` and `Dynamics`."""


@dataclass(frozen=True)
class Options:
    """What a conversion is asked for.

    maps: `--map` specs; later ones win. with_defaults: whether types that they leave out are
    mapped by default. skip_unmapped: whether nodes that no map knows are passed through. dt: the
    length of a step, None to infer it. integration, reset, integrator_input, surrogate: what a step
    means, see `primitives.dynamics`. device, dtype: by name. repair: whether damage with one
    sensible meaning is repaired. batch: how many rows a step must be able to hold.

    Raises:
        ValueError: an option is none of its `CHOICES`, or dt is not a positive number.
    """

    maps: tuple[str, ...] = ()
    with_defaults: bool = True
    skip_unmapped: bool = False
    dt: float | None = None
    integration: Integration = "euler"
    reset: Reset = "value"
    integrator_input: IntegratorInput = "charge"
    surrogate: Surrogate = "atan"
    device: str = "cpu"
    dtype: Dtype = "float32"
    repair: bool = True
    batch: int = 1

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name} {value!r} is none of {', '.join(choices)}")
        if self.dt is not None and not 0 < self.dt < float("inf"):
            raise ValueError(f"dt {self.dt!r} is not a positive number")

    @property
    def of_a_step(self) -> dict[str, Any]:
        """What a step means, but dt, as `default_map` takes it."""
        return {name: getattr(self, name) for name in OF_A_STEP}
