"""Tensors of any device and type to NumPy arrays, for pictures and comparisons.

In: a tensor or anything that NumPy takes. Out: an array of a type that NumPy has. Always holds: no
number changes. Cost: none for a tensor on the CPU, whose memory is shared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from nirtorch_cli.primitives.broadcasting import Array


def as_array(values: Any) -> Array:
    """`values` as an array; bfloat16, which NumPy does not have, as float32."""
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    plain = values.detach().cpu()
    return np.asarray((plain.float() if plain.dtype == torch.bfloat16 else plain).numpy())
