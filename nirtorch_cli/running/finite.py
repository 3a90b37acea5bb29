"""Finds NaN and infinity in the state of a module that was run.

In: a converted module, and a state of it. Out: NIR paths. Cost: linear in the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.conversion.naming import PREVIOUS_OUTPUT_SUFFIX


def nodes_not_finite(module: ConvertedModule, state: Any) -> list[str]:
    """The NIR paths of the nodes whose part of a state holds NaN or infinity, each once."""
    return list(dict.fromkeys(_nodes_not_finite(module, state, "")))


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in a state, in whatever containers a mapped module puts them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from tensors(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from tensors(inner)


def is_finite(values: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity."""
    is_number = values.is_floating_point() or values.is_complex()
    return not is_number or bool(torch.isfinite(values).all())


def _nodes_not_finite(module: Any, state: Any, prefix: str) -> Iterator[str]:
    names = module.meta["names"]
    for key, part in (state or {}).items():
        child = getattr(module, key, None)
        path = prefix + names.get(key, names.get(key.removesuffix(PREVIOUS_OUTPUT_SUFFIX), key))
        if isinstance(child, ConvertedModule):
            yield from _nodes_not_finite(child, part, f"{path}/")
        elif not all(is_finite(tensor) for tensor in tensors(part)):
            yield path
