"""Routes the edges that do not run between neighbouring rows through gutters.

Columns of rows are side by side. Between two rows, and above the first and below the last
of a column, is a channel; between two columns, and beside the first and the last, is a
gutter; above and below all columns is a margin. An edge that goes far leaves its source
downwards into the channel below it, turns into a gutter, and from there into the channel
above its target. If no gutter touches both columns, it takes a margin as well.

In: `Far` arcs with the columns, channels and places of their ends. Out: tracks, numbered within
each channel, gutter and margin. Arcs of one trunk share their tracks: arcs from one source, or to
one target, are drawn as one line that branches.

Always holds: two trunks never share a part of a track; in a channel, the tracks of leaving arcs are
above those of arriving arcs, so that lines of nodes that face each other do not touch. Forward
edges keep to the right, others to the left. Cost: n log n in far arcs.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

INFINITY = float("inf")

Trunk = tuple[str, int, bool, bool]
"""The shared end and its item; whether the arc leads back, and whether it is delayed."""

Key = TypeVar("Key")


@dataclass(frozen=True)
class Far:
    """An arc that takes a gutter.

    columns: of its source and of its target.
    channels: in these columns, the channel below the source and the one above the target.
    gutters: where it leaves its source's column, and where it comes to its target's.
    """

    arc: int
    trunk: Trunk
    columns: tuple[int, int]
    channels: tuple[int, int]
    gutters: tuple[int, int]

    @property
    def leads_back(self) -> bool:
        """Whether it leads from a later to an earlier item."""
        return self.trunk[2]

    @property
    def margin(self) -> str | None:
        """The margin that it needs, if it needs one."""
        if self.gutters[0] == self.gutters[1]:
            return None
        return "top" if self.leads_back else "bottom"


def trunks(ends: Mapping[int, tuple[int, int, bool, bool]]) -> dict[int, Trunk]:
    """For each far arc its trunk: the busier of its two ends is shared.

    `ends` holds for each arc its source and target, whether it leads back, and whether it is
    delayed. An end that cannot be shared, a port, has a number of its own.
    """
    leaving = Counter((source, *way) for source, _, *way in ends.values())
    arriving = Counter((target, *way) for _, target, *way in ends.values())
    found: dict[int, Trunk] = {}
    for arc, (source, target, back, delayed) in ends.items():
        shares_source = leaving[source, back, delayed] >= arriving[target, back, delayed]
        end = ("source", source) if shares_source else ("target", target)
        found[arc] = (*end, back, delayed)
    return found


def gutters(leads_back: bool, columns: tuple[int, int]) -> tuple[int, int]:
    """The gutters for an arc between two columns; gutter n is to the left of column n."""
    source, target = columns
    if leads_back:
        return source, min(target + 1, source)
    return source + 1, max(target, source + 1)


@dataclass
class Tracks(Generic[Key]):
    """Assigns tracks to intervals, so that overlapping intervals have different tracks."""

    intervals: dict[Key, tuple[float, float]] = field(default_factory=dict)
    track: dict[Key, int] = field(default_factory=dict)
    count: int = 0

    def need(self, key: Key, ends: Iterable[float]) -> None:
        """Extend the interval of `key` to these ends."""
        all_ends = [*self.intervals.get(key, ()), *ends]
        self.intervals[key] = (min(all_ends), max(all_ends))

    def assign(self, *, longest_last: bool = False) -> None:
        """Give each interval the lowest track that is free at its beginning.

        Of nested intervals the inner ones get higher tracks; with `longest_last` the outer ones.
        """
        free: list[int] = []
        busy: list[tuple[float, int]] = []
        in_order = sorted(self.intervals.items(), key=lambda item: item[1])
        for key, (start, end) in in_order:
            while busy and busy[0][0] < start:
                heapq.heappush(free, heapq.heappop(busy)[1])
            if not free:
                heapq.heappush(free, self.count)
                self.count += 1
            self.track[key] = heapq.heappop(free)
            heapq.heappush(busy, (end, self.track[key]))
        if longest_last:
            self.turn()

    def turn(self) -> None:
        """Reverse the tracks within each group of overlapping intervals."""
        group: list[Key] = []
        reach = -INFINITY
        for key, (start, end) in sorted(self.intervals.items(), key=lambda item: item[1]):
            if group and start > reach:
                self._turn(group)
                group = []
            group.append(key)
            reach = max(reach, end)
        self._turn(group)

    def _turn(self, group: list[Key]) -> None:
        highest = max((self.track[key] for key in group), default=0)
        for key in group:
            self.track[key] = highest - self.track[key]
