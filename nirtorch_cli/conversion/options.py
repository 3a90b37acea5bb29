"""The options of a conversion: the one set from which commands, specs and maps take theirs.

Plain values, which another process can be sent, refused where they are none of those that there
are. Imports nothing that takes long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

from nirtorch_cli.primitives.dynamics import (
    FIRE_AT,
    INTEGRATIONS,
    RESETS,
    SURROGATES,
    FireAt,
    Integration,
    Reset,
    Surrogate,
)

Dtype = Literal["float16", "bfloat16", "float32", "float64"]
"""The floating types of parameters, state and inputs."""

IntegratorInput = Literal["auto", "charge", "current"]
"""What I and IF take; "auto": as the traces in the file tell, else a charge."""

CHOICES: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "integration": INTEGRATIONS,
        "reset": RESETS,
        "reset_delay": (False, True),
        "fire_at": FIRE_AT,
        "integrator_input": get_args(IntegratorInput),
        "surrogate": SURROGATES,
        "dtype": get_args(Dtype),
    }
)
"""By option, what it can be."""

OF_FIRING = ("reset", "reset_delay", "fire_at")
"""The options that say when a neuron fires, and what a spike does to it."""

OF_A_STEP = ("integration", *OF_FIRING, "integrator_input", "surrogate")
"""The options, beside dt, that say what one step means: those of `default_map` and `Dynamics`."""


@dataclass(frozen=True)
class Options:
    """What a conversion is asked for.

    maps: `--map` specs; later ones win. map_nodes: `--map-node` specs, which win over these.
    with_defaults: whether types that they leave out are
    mapped by default. skip_unmapped: whether nodes that no map knows are passed through. dt: the
    length of a step, None to infer it. integration, reset, reset_delay, fire_at, integrator_input,
    surrogate: what a step means, see `primitives.dynamics`. device, dtype: by name. repair: whether
    damage with one sensible meaning is repaired. batch: how many rows a step must be able to hold.

    Raises:
        ValueError: an option is none of its `CHOICES`, or dt is not a positive number.
    """

    maps: tuple[str, ...] = ()
    map_nodes: tuple[str, ...] = ()
    with_defaults: bool = True
    skip_unmapped: bool = False
    dt: float | None = None
    integration: Integration = "euler"
    reset: Reset = "value"
    reset_delay: bool = False
    fire_at: FireAt = "above"
    integrator_input: IntegratorInput = "auto"
    surrogate: Surrogate = "atan"
    device: str = "cpu"
    dtype: Dtype = "float32"
    repair: bool = True
    batch: int = 1

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name} {value!r} is none of {', '.join(map(str, choices))}")
        if self.dt is not None and not 0 < self.dt < float("inf"):
            raise ValueError(f"dt {self.dt!r} is not a positive number")

    def changed(self, values: Mapping[str, Any]) -> Options:
        """The same with other values of some options; lists for `maps` and `map_nodes`."""
        own: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return replace(self, **own)

    @property
    def of_firing(self) -> dict[str, Any]:
        """When a neuron fires, and what a spike does to it."""
        return {name: getattr(self, name) for name in OF_FIRING}

    @property
    def of_a_step(self) -> dict[str, Any]:
        """What a step means, but dt, as `default_map` takes it."""
        return {name: getattr(self, name) for name in OF_A_STEP}
