"""Mutations for scripts/fuzz of raw bytes, mostly of those in which HDF5 describes a file."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

_SIGNATURES = re.compile(rb"\x89HDF|TREE|HEAP|SNOD|GCOL|OHDR|OCHK|FRHP|FHDB|BTHD|BTLF")
_NUMBERS = (0, 1, 2, 7, 8, 16, 255, 256, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)


def mutated(
    content: bytes, sources: Sequence[bytes], chance: random.Random
) -> tuple[bytes, list[str]]:
    """Changed in one to sixteen places; and the names of what was done."""
    data = bytearray(content)
    marks = [match.start() for match in _SIGNATURES.finditer(content)]
    done = []
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        if len(data) < 16:
            break
        kind = chance.choice(("flip", "flip", "byte", "number", "number", "copy", "zero"))
        if chance.random() < 0.05:
            kind = chance.choice(("cut", "remove", "repeat", "splice"))
        _change(data, _place(data, marks, chance), kind, sources, chance)
        done.append(kind)
    return bytes(data), done


def _place(data: bytearray, marks: list[int], chance: random.Random) -> int:
    """Somewhere: after a signature, where there is something, or anywhere."""
    way = chance.random()
    if marks and way < 0.5:
        place = chance.choice(marks) + chance.choice((chance.randrange(64), chance.randrange(600)))
        return min(place, len(data) - 1)
    place = chance.randrange(len(data))
    for _ in range(20 if way < 0.9 else 0):
        if any(data[max(0, place - 8) : place + 8]):
            break
        place = chance.randrange(len(data))
    return place


def _change(
    data: bytearray, place: int, kind: str, sources: Sequence[bytes], chance: random.Random
) -> None:
    length = min(chance.choice((1, 8, 64, 1024)), len(data) - place)
    if kind == "flip":
        data[place] ^= 1 << chance.randrange(8)
    elif kind == "byte":
        data[place] = chance.choice((0, 255, 127, 128, chance.randrange(256)))
    elif kind == "number":
        width = chance.choice((2, 4, 8))
        value = chance.choice((*_NUMBERS, len(data), place, chance.randrange(len(data))))
        data[place : place + width] = (value % 256**width).to_bytes(width, "little")[
            : len(data) - place
        ]
    elif kind == "copy":
        start = chance.randrange(len(data) - length + 1)
        data[place : place + length] = data[start : start + length]
    elif kind == "zero":
        data[place : place + length] = bytes(length)
    elif kind == "cut":
        del data[place:]
    elif kind == "remove":
        del data[place : place + length]
    elif kind == "repeat":
        data[place:place] = data[place : place + length]
    else:
        other = chance.choice(sources)
        start = chance.randrange(len(other))
        part = other[start : start + length]
        data[place : place + len(part)] = part
