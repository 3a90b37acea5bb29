"""The positions of the items in a row, from left to right.

In: rows of vertices in their order, how wide each is, and the lines between neighbouring rows. Out:
the centre of each vertex. Vertices are near the middle of their neighbours, and long edges are
straight where possible.

Always holds: the order in a row is kept, and neighbours in it stay apart by their gap. Each
row is solved exactly (least squares under these bounds, by pooling adjacent violators) for
fixed rows beside it; a few sweeps pass over all rows. Cost: linear in vertices and lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_SWEEPS = 5
_STRAIGHT = 1000.0
"""The weight of a chain's straightness, relative to the positions of other vertices."""
_HOME = 0.15
"""The pull towards the middle of the page, against drifting."""


@dataclass(frozen=True)
class Line:
    """A line from a vertex to one in the next row; `weight` says how straight it should be."""

    upper: int
    lower: int
    weight: float
    upper_offset: float = 0.0
    lower_offset: float = 0.0


def centres(
    rows: Sequence[Sequence[int]], widths: Sequence[float], gap: float, lines: Sequence[Line]
) -> list[float]:
    """The x of each vertex's centre."""
    centre = [0.0] * len(widths)
    above: list[list[tuple[int, float, float]]] = [[] for _ in widths]
    below: list[list[tuple[int, float, float]]] = [[] for _ in widths]
    for line in lines:
        shift = line.upper_offset - line.lower_offset
        above[line.lower].append((line.upper, line.weight, shift))
        below[line.upper].append((line.lower, line.weight, -shift))
    offsets = [_offsets(row, widths, gap) for row in rows]
    for row, offset in zip(rows, offsets, strict=True):
        middle = (offset[0] + offset[-1]) / 2 if offset else 0.0
        for vertex, place in zip(row, offset, strict=True):
            centre[vertex] = place - middle
    turns = range(len(rows))
    for _ in range(_SWEEPS):
        for turn in turns:
            _settle(rows[turn], offsets[turn], centre, (above,))
        for turn in reversed(turns):
            _settle(rows[turn], offsets[turn], centre, (below,))
    for turn in turns:
        _settle(rows[turn], offsets[turn], centre, (above, below))
    wanted = _straightened(rows, centre, above, below)
    for row, offset in zip(rows, offsets, strict=True):
        places = [(wanted[v][0] - o, wanted[v][1]) for v, o in zip(row, offset, strict=True)]
        for vertex, o, place in zip(row, offset, _ascending(places), strict=True):
            centre[vertex] = place + o
    return centre


def _straightened(
    rows: Sequence[Sequence[int]],
    centre: Sequence[float],
    above: Sequence[Sequence[tuple[int, float, float]]],
    below: Sequence[Sequence[tuple[int, float, float]]],
) -> list[tuple[float, float]]:
    """The wanted position and weight of each vertex; those of a chain want its middle."""
    chain_of = list(range(len(centre)))
    members: list[list[int]] = [[vertex] for vertex in chain_of]
    for vertex in (vertex for row in rows for vertex in row):
        if len(above[vertex]) == 1:
            upper, _, shift = above[vertex][0]
            if len(below[upper]) == 1 and not shift:
                chain_of[vertex] = chain_of[upper]
                members[chain_of[vertex]].append(vertex)
    middles = [sum(centre[v] for v in chain) / len(chain) for chain in members]
    return [(middles[chain], 1.0 if len(members[chain]) == 1 else _STRAIGHT) for chain in chain_of]


def _offsets(row: Sequence[int], widths: Sequence[float], gap: float) -> list[float]:
    """The centres of a row that is packed as tightly as it may be."""
    offsets, edge = [], 0.0
    for vertex in row:
        offsets.append(edge + widths[vertex] / 2)
        edge += widths[vertex] + gap
    return offsets


def _settle(
    row: Sequence[int],
    offsets: Sequence[float],
    centre: list[float],
    sides: Sequence[Sequence[Sequence[tuple[int, float, float]]]],
) -> None:
    """Move the vertices of a row to where their lines pull them."""
    wanted = []
    for vertex, offset in zip(row, offsets, strict=True):
        pulls = [pull for side in sides for pull in side[vertex]]
        weight = sum(pull[1] for pull in pulls)
        if pulls:
            pull = sum((centre[v] + shift) * w for v, w, shift in pulls)
            place = pull / (weight + _HOME)
            wanted.append((place - offset, weight))
        else:
            wanted.append((centre[vertex] - offset, 1e-3))
    for vertex, offset, place in zip(row, offsets, _ascending(wanted), strict=True):
        centre[vertex] = place + offset


def _ascending(wanted: Sequence[tuple[float, float]]) -> list[float]:
    """The ascending numbers nearest to the wanted ones, each with its weight."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, how many
    for value, weight in wanted:
        count = 1
        while blocks and blocks[-1][0] >= value:
            mean, other, more = blocks.pop()
            value = (mean * other + value * weight) / (other + weight)
            weight, count = other + weight, count + more
        blocks.append((value, weight, count))
    return [mean for mean, _, count in blocks for _ in range(count)]
