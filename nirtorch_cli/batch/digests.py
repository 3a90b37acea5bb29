"""Digests of values, which stand for outputs of many steps without keeping these.

In: a tensor, or a state in whatever containers a module puts it. Out: bytes that are equal
where every bit is, NaN included, and the size of a state. Cost: linear in the numbers.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_DEEPEST = 8
"""How deep containers in a state are followed; deeper ones count as one value."""


def digest(value: Any) -> bytes:
    """16 bytes that depend on every bit of a value, and on its structure."""
    found = hashlib.blake2b(digest_size=16)
    for part in _parts(value, 0):
        found.update(_bytes(part))
    return found.digest()


def size(value: Any) -> int:
    """How much a state holds: its numbers, and one for anything else."""
    return sum(part.numel() if isinstance(part, Tensor) else 1 for part in _parts(value, 0))


def writes(value: Any) -> int:
    """How often the tensors of a value were written to, even if that changed no number."""
    tensors = (part for part in _parts(value, 0) if isinstance(part, Tensor))
    return sum(tensor._version for tensor in tensors if not tensor.is_inference())


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """While open, the random numbers of torch, NumPy and Python are those of a seed."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


def _parts(value: Any, depth: int) -> Iterator[Any]:
    """What a value consists of, with texts between that say how it is put together."""
    inside: Mapping[Any, Any] | None = None
    if isinstance(value, Mapping):
        inside = value
    elif isinstance(value, (list, tuple)):
        inside = dict(enumerate(value))
    elif not isinstance(value, (Tensor, np.ndarray, str, bytes, int, float, complex, type(None))):
        inside = getattr(value, "__dict__", None)
    if inside is None or depth > _DEEPEST:
        is_plain = isinstance(value, (Tensor, np.ndarray, str, bytes, int, float, complex))
        yield value if is_plain else type(value).__name__
        return
    for key, part in inside.items():
        yield f"{depth} {key if isinstance(key, (str, int)) else type(key).__name__}"
        yield from _parts(part, depth + 1)


def _bytes(part: Any) -> bytes:
    if isinstance(part, np.ndarray):
        return f"{part.dtype} {part.shape}".encode() + part.tobytes()
    if not isinstance(part, Tensor):
        return repr(part).encode("utf8", "surrogatepass")
    values = part.detach().as_subclass(Tensor)
    if values.layout != torch.strided:
        values = values.to_dense()
    values = values.resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    head = f"{part.dtype} {tuple(part.shape)}".encode()
    if values.is_complex():
        values = torch.view_as_real(values).reshape(-1)
    return head + values.view(torch.uint8).numpy().tobytes()
