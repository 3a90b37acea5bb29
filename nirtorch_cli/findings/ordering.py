"""The order in which people are shown nodes that names alone tell apart: b2 before b10.

In: names in an order that is settled (that of execution, or of the file), and how deep in the
graph each is. Out: the same with only such names exchanged as differ in their numbers alone
and are equally deep. For showing; the order of execution and of sums is never asked for here.
Cost: linear in names and edges, apart from sorting.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_NUMBER = re.compile("([0-9]+)")


def natural_key(name: str) -> tuple[tuple[int, str] | str, ...]:
    """What sorts names as people do: by the numbers in them, not by their digits.

    Example:
        >>> sorted(["b10", "b2", "b1"], key=natural_key)
        ['b1', 'b2', 'b10']
    """
    parts = _NUMBER.split(name)
    numbers = [part.lstrip("0") for part in parts[1::2]]
    key: list[tuple[int, str] | str] = list(parts)
    key[1::2] = [(len(number), number) for number in numbers]
    return (*key, name)


def depths(count: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """How many edges lead to each of `count` places at most, of those that lead forward."""
    depth = [0] * count
    for source, target in sorted(edges):
        if source < target:
            depth[target] = max(depth[target], depth[source] + 1)
    return depth


def in_natural_order(names: Sequence[str], depth: Sequence[int]) -> list[int]:
    """The places of names in the order to show: alike ones of one depth by their numbers.

    Example:
        >>> names = ["in", "b10", "b2", "out"]
        >>> [names[place] for place in in_natural_order(names, [0, 1, 1, 2])]
        ['in', 'b2', 'b10', 'out']
    """
    alike: dict[tuple[str, int], list[int]] = {}
    for place, name in enumerate(names):
        alike.setdefault((_NUMBER.sub("0", name), depth[place]), []).append(place)
    order = list(range(len(names)))
    for places in alike.values():
        ordered = sorted(places, key=lambda place: natural_key(names[place]))
        for place, shown in zip(places, ordered, strict=True):
            order[place] = shown
    return order
