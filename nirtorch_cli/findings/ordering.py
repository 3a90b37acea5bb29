"""The order in which nodes are shown whose names differ in numbers only: b2 before b10.

In: names in a fixed order (of execution, or of the file), and the depth of each in the graph. Out:
the same order, except that names of equal depth that differ only in their numbers are sorted by
these. Used for display; it never decides the order of execution or of sums. Cost: linear in names
and edges, apart from sorting.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_NUMBER = re.compile("([0-9]+)")


def natural_key(name: str) -> tuple[tuple[int, str] | str, ...]:
    """A sort key that compares the numbers in names as numbers, not digit by digit.

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
    """The length of the longest path of forward edges to each of `count` nodes, by index."""
    depth = [0] * count
    for source, target in sorted(edges):
        if source < target:
            depth[target] = max(depth[target], depth[source] + 1)
    return depth


def in_natural_order(names: Sequence[str], depth: Sequence[int]) -> list[int]:
    """The indices of names in display order: similar names of equal depth by their numbers.

    Example:
        >>> names = ["in", "b10", "b2", "out"]
        >>> [names[index] for index in in_natural_order(names, [0, 1, 1, 2])]
        ['in', 'b2', 'b10', 'out']
    """
    alike: dict[tuple[str, int], list[int]] = {}
    for index, name in enumerate(names):
        alike.setdefault((_NUMBER.sub("0", name), depth[index]), []).append(index)
    order = list(range(len(names)))
    for indices in alike.values():
        ordered = sorted(indices, key=lambda index: natural_key(names[index]))
        for index, shown in zip(indices, ordered, strict=True):
            order[index] = shown
    return order
