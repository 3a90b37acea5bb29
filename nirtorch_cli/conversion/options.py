"""What a conversion is asked for: plain values, which another process can be sent.

Imports nothing that takes long.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """What a conversion is asked for.

    maps: `--map` specs; later ones win. with_defaults: whether types that they leave out are
    mapped by default. dt: the length of a step, None to infer it. device, dtype: by name.
    repair: whether damage with one sensible meaning is mended. batch: how many rows a step must be
    able to hold.
    """

    maps: tuple[str, ...] = ()
    with_defaults: bool = True
    skip_unmapped: bool = False
    dt: float | None = None
    integration: str = "euler"
    reset: str = "value"
    integrator_input: str = "charge"
    device: str = "cpu"
    dtype: str = "float32"
    repair: bool = True
    batch: int = 1
