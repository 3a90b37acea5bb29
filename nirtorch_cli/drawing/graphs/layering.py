"""The rows of a box: which of its items are side by side, and in which order.

In: how many items there are, and arcs between them; items are numbered from 0 in the order of
execution. Out: for each item its layer; the columns that layers are divided into if they are too
high for one; the order in each layer.

Always holds: an arc joins items of different layers, or an item to itself; an arc whose source
comes earlier in the order leads down the page. Names and hashes decide nothing. Cost: linear in
items and arcs, apart from sorting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from nirtorch_cli.drawing.graphs.formats import Wrap
from nirtorch_cli.graph.loops import retreating_edges

FEWEST_PER_LAYER = 16
"""A layer always takes this many items."""

ASPECT = 1.5
"""Width by height of the page for which layers are divided into columns."""

TALLEST = 3000.0
"""The most pixels of a column's height, about 40 rows of nodes: on a printed page of 30 cm a name
is then 1.3 mm high, which is just legible."""


_SWEEPS = 8


@dataclass(frozen=True)
class Arc:
    """An edge inside a box, between its items `source` and `target`."""

    source: int
    target: int
    delayed: bool


def execution_order(count: int, arcs: Sequence[Arc], first: int = 0, last: int = 0) -> list[int]:
    """For each item its index in an order in which arcs that are not delayed lead forward.

    The first `first` items, entries of the box, stay first, and the last `last`, its exits, stay
    last. If these arcs form a loop (in a damaged graph, or if a loop passes through boxes), those
    that lead back in a depth-first walk are ignored.
    """
    pairs = dict.fromkeys(
        (arc.source, arc.target) for arc in arcs if not arc.delayed and arc.source != arc.target
    )
    if all(source < target for source, target in pairs):
        return list(range(count))
    names = [f"{number:09}" for number in range(count)]
    leading_back, _ = retreating_edges(names, [(names[s], names[t]) for s, t in pairs])
    ignored = {(int(source), int(target)) for source, target in leading_back}
    place = _topological(count, [pair for pair in pairs if pair not in ignored])
    inner = sorted(range(first, count - last), key=place.__getitem__)
    order = [*range(first), *inner, *range(count - last, count)]
    return [turn for _, turn in sorted(zip(order, range(count), strict=True))]


def _topological(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    following: list[list[int]] = [[] for _ in range(count)]
    missing = [0] * count
    for source, target in pairs:
        following[source].append(target)
        missing[target] += 1
    ready = [number for number in reversed(range(count)) if not missing[number]]
    place = [0] * count
    for turn in range(count):
        number = ready.pop()
        place[number] = turn
        for target in reversed(following[number]):
            missing[target] -= 1
            if not missing[target]:
                ready.append(target)
    return place


def layers(place: Sequence[int], arcs: Sequence[Arc], first: int = 0, last: int = 0) -> list[int]:
    """The layer of each item, counted from the top.

    The first `first` items, entries of the box, stay in the top layer, and the last `last`, its
    exits, in the lowest. The number of items in other layers is limited; further items go to the
    next layer.
    """
    count = len(place)
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    for arc in arcs:
        if arc.source != arc.target:
            upper, lower = sorted((arc.source, arc.target), key=place.__getitem__)
            below[upper].append(lower)
            above[lower].append(upper)
    room = _Room(max(FEWEST_PER_LAYER, int(count**0.5)))
    layer = [0] * count
    in_order = sorted(range(count), key=place.__getitem__)
    inner = [number for number in in_order if first <= number < count - last]
    for number in inner:
        lowest = max((layer[other] + 1 for other in above[number]), default=min(first, 1))
        layer[number] = room.take(lowest)
    for number in reversed(inner):
        targets = [layer[t] for t in below[number] if t < count - last]
        if targets and len(above[number]) < len(targets):
            layer[number] = room.move(layer[number], min(targets) - 1)
    lowest = max([layer[number] + 1 for number in inner] + [min(first, 1)])
    layer[count - last :] = [lowest] * last
    return layer


class _Room:
    """How many items each layer still takes; full layers are skipped quickly (union-find)."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken: dict[int, int] = {}
        self.next: dict[int, int] = {}

    def take(self, layer: int) -> int:
        """Add an item to the first layer from `layer` on that is not full."""
        passed = []
        while self.taken.get(layer, 0) >= self.most:
            passed.append(layer)
            layer = self.next.get(layer, layer + 1)
        self.next.update(dict.fromkeys(passed, layer))
        self.taken[layer] = self.taken.get(layer, 0) + 1
        return layer

    def move(self, layer: int, to: int) -> int:
        """Move an item down, if the layer is not full and no layer becomes empty."""
        if to <= layer or self.taken.get(to, 0) >= self.most or self.taken[layer] <= 1:
            return layer
        # A layer that was full stays in `next`: takes are over when moves begin.
        self.taken[layer] -= 1
        self.taken[to] = self.taken.get(to, 0) + 1
        return to


def columns_of(
    heights: Sequence[float],
    widths: Sequence[float],
    spans: Iterable[tuple[int, int]],
    wrap: Wrap = "auto",
    aspect: float = ASPECT,
) -> list[int]:
    """The first layer of each column, for layers of these sizes.

    `spans` are the upper and the lower layer of each arc. There is more than one column only if
    `wrap` says so, and if columns make the shape of the page much better.
    """
    total = sum(heights)
    if wrap == "never" or (wrap == "auto" and total <= TALLEST):
        return [0]
    crossing = [0] * (len(heights) + 1)
    for upper, lower in spans:
        crossing[upper + 1] += 1
        crossing[lower + 1] -= 1
    cut_by = list(accumulate(crossing))  # arcs that a cut above this layer would cut
    mean = (sum(width * width for width in widths) / len(widths)) ** 0.5
    wanted = (total * aspect / mean) ** 0.5
    best, least = [0], 0.7 * _extent([0], heights, widths, aspect)
    for count in sorted({round(wanted * share) for share in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15)}):
        if count > 1:
            starts = _cut(heights, cut_by, count)
            extent = _extent(starts, heights, widths, aspect)
            if extent < least:
                best, least = starts, 0.95 * extent
    return best


def _extent(
    starts: Sequence[int], heights: Sequence[float], widths: Sequence[float], aspect: float
) -> float:
    """The height that a page of this aspect needs for these columns."""
    columns = [slice(start, end) for start, end in pairwise([*starts, len(heights)])]
    height = max(sum(heights[column]) for column in columns)
    return max(height, sum(max(widths[column]) for column in columns) / aspect)


def _cut(heights: Sequence[float], cut_by: Sequence[int], columns: int) -> list[int]:
    """Cut near each ideal position, where the fewest arcs are cut."""
    starts, done, ideal = [0], 0.0, sum(heights) / columns
    candidates: list[tuple[float, int]] = []
    for layer, height in enumerate(heights):
        beyond = done - ideal * len(starts)
        if layer > starts[-1] and abs(beyond) <= ideal / 6:
            candidates.append((cut_by[layer] + 12 * abs(beyond) / ideal, layer))
        elif beyond > 0 and layer > starts[-1]:
            starts.append(min(candidates)[1] if candidates else layer)
            candidates = []
        done += height
    return starts


def ordered(
    rows: list[list[int]], above: Sequence[Sequence[int]], below: Sequence[Sequence[int]]
) -> list[list[int]]:
    """The rows, each in an order with few crossings (barycentres, downwards and upwards).

    `above` and `below` hold each vertex's neighbours in the rows next to its own.
    """
    place = {vertex: number for row in rows for number, vertex in enumerate(row)}
    best, fewest = [list(row) for row in rows], _crossings(rows, below, place)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        sources, order = (below, rows[::-1]) if sweep % 2 else (above, rows)
        for row in order:
            centre = {vertex: _mean(sources[vertex], place, place[vertex]) for vertex in row}
            row.sort(key=centre.__getitem__)
            place.update((vertex, number) for number, vertex in enumerate(row))
        crossings = _crossings(rows, below, place)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _mean(vertices: Sequence[int], place: dict[int, int], default: float) -> float:
    return sum(place[v] for v in vertices) / len(vertices) if vertices else default


def _crossings(
    rows: Sequence[Sequence[int]], below: Sequence[Sequence[int]], place: dict[int, int]
) -> int:
    """How many pairs of arcs between neighbouring rows cross."""
    total = 0
    for row, lower in pairwise(rows):
        tree = [0] * (len(lower) + 1)  # a Fenwick tree: how many arcs end up to an index
        ended = 0
        for vertex in row:
            ends = sorted(place[target] for target in below[vertex])
            for end in ends:
                total += ended - _up_to(tree, end + 1)
            for end in ends:
                _add(tree, end + 1)
            ended += len(ends)
    return total


def _up_to(tree: list[int], place: int) -> int:
    found = 0
    while place:
        found += tree[place]
        place &= place - 1
    return found


def _add(tree: list[int], place: int) -> None:
    while place < len(tree):
        tree[place] += 1
        place += place & -place
