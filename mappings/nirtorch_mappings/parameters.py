"""The parameters of a node for the packs, and refusals of what a framework has not.

A framework either has an exact equivalent for every parameter of a node, or the node is refused
with a ValueError that names the parameter, its value and why: nothing is dropped.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, np.dtype[np.float64]]

AGREEMENT = 1e-5
"""Relative difference up to which a parameter is the one expected (files in float32)."""


def values(node: nir.NIRNode, name: str) -> Array:
    """A parameter of a node in float64."""
    return np.asarray(getattr(node, name), dtype=np.float64)


def tensor(array: Any) -> Tensor:
    """A copy in float64, which the conversion rounds once to the type that was asked for."""
    return torch.tensor(np.asarray(array, dtype=np.float64))


def decay(node: nir.NIRNode, name: str, dt: float) -> Array:
    """The decay of a step, of which the exporter wrote tau = dt / (1 - decay)."""
    return np.asarray(1 - dt / values(node, name))


def require(node: nir.NIRNode, name: str, expected: Any, why: str) -> None:
    """Refuse a parameter that is not what the framework computes with.

    A node that has no such parameter passes.

    Raises:
        ValueError: `<type>: <name> is <values>, not <expected>; <why>`.
    """
    if not hasattr(node, name):
        return
    wanted = np.asarray(expected, dtype=np.float64)
    if not np.allclose(values(node, name), wanted, rtol=AGREEMENT, atol=0):
        raise refusal(node, name, f"not {shown(wanted)}; {why}")


def uniform(node: nir.NIRNode, name: str, who: str) -> float:
    """The one value of a parameter that a framework takes as a single number.

    Raises:
        ValueError: the neurons differ in it.
    """
    found = values(node, name)
    if found.size == 0 or not np.all(found == found.flat[0]):
        raise refusal(node, name, f"which differs between neurons; {who} takes one for all")
    return float(found.flat[0])


def refusal(node: nir.NIRNode, name: str, why: str) -> ValueError:
    """The error for a parameter that cannot be honoured."""
    return ValueError(f"{type(node).__name__}: {name} is {shown(values(node, name))}, {why}")


def shown(array: Array) -> str:
    """The values of a parameter in short: the one that all neurons share, or their range."""
    if array.size == 0:
        return "empty"
    low, high = float(array.min()), float(array.max())
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
