"""Execution order and delayed edges of a graph.

In: names and edges, which nodes are neurons, which are delays of a step or more.
Out: a `Schedule`: every node once, in an order in which each edge that is not
delayed leads forward, and the edges that carry last step's value instead.

The schedule is a function of the graph. Names decide only if the graph leaves a choice: between
nodes that `sort_key` cannot tell apart, and in a loop that is entered at several nodes, which is
reported. How it is found:

1. A Delay of at least one step that lies on a cycle is read before it is written: its incoming
   edges carry last step's value, and it waits one step less. The same is done with a Delay of
   which only some elements are that long, if the cycle has no other; the rest then wait one step.
2. Strongly connected components (Tarjan). In each, the edges that lead back in a depth-first walk
   from its entries are delayed. If every loop has one entry, they do not depend on the walk.
3. A delay moves upstream to the neurons if everything on the way lies inside the loop and feeds
   nothing else, so that it is the spikes that arrive a step late, and a bias on the way acts from
   the first step on. A port, which only adds its inputs, changes nothing about that.

    in -> lif -> out        The loop is entered at lif, so w -> lif leads back (2). The neuron's
          ^ |               output reaches w and nothing but the loop, so the delay moves over w,
          | v               to lif -> w (3): w reads the spikes of the last step, and lif reads
           w                the w of this step.

>>> names = ["in", "lif", "w", "out"]
>>> edges = [("in", "lif"), ("lif", "w"), ("w", "lif"), ("lif", "out")]
>>> found = schedule(names, edges, sources=["in"], neurons=["lif"])
>>> found.delayed, found.order
((('lif', 'w'),), ('in', 'w', 'lif', 'out'))

With a Delay d of three steps in the loop (1), the edge into d is the delayed one, and d waits two:

>>> edges = [("in", "lif"), ("lif", "d"), ("d", "w"), ("w", "lif"), ("lif", "out")]
>>> found = schedule([*names, "d"], edges, sources=["in"], neurons=["lif"], delays=["d"])
>>> found.delayed, found.shortened, found.order
((('lif', 'd'),), frozenset({'d'}), ('in', 'd', 'w', 'lif', 'out'))

Cost: linear in nodes + edges (sorting names aside); nothing is recursive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from nirtorch_cli.graph.loops import (
    Edge,
    Neighbours,
    components,
    cyclic_components,
    needed_breaks,
    neighbours,
    retreating_edges,
)


@dataclass(frozen=True)
class Schedule:
    """How one step of a graph is executed.

    order: every node once, after all nodes from which it receives values without delay.
    delayed: the edges that carry last step's value, which is zero at the first step.
    shortened: the Delay nodes all of whose incoming edges are in `delayed`, so that they wait one
        step less; for membership tests, not for iteration.
    ambiguous: for each loop entered at several nodes, its entries; there names decided which edge
        is delayed.
    """

    order: tuple[str, ...]
    delayed: tuple[Edge, ...]
    shortened: frozenset[str] = frozenset()
    ambiguous: tuple[tuple[str, ...], ...] = ()


def schedule(
    names: Collection[str],
    edges: Iterable[Edge],
    *,
    sources: Collection[str] = (),
    neurons: Collection[str] = (),
    delays: Collection[str] = (),
    partial_delays: Collection[str] = (),
    ports: Collection[str] = (),
    sort_key: Callable[[str], Any] = lambda name: (),
) -> Schedule:
    """Order the nodes of a graph and choose its delayed edges.

    Arguments:
        names: the nodes.
        edges: pairs of names, without duplicates.
        sources: the graph's inputs, in the order in which they come first.
        neurons: the nodes whose outgoing edges may be delayed.
        delays: the nodes whose output is at least one step old.
        partial_delays: the nodes of whose output only some elements are at least one step old.
        ports: the nodes whose output is the sum of their inputs.
        sort_key: tells nodes apart by their content; it compares only nodes that are
            equally far from the sources.
    """
    edges = list(edges)
    position = _positions(names, edges, sources, sort_key)
    ordered = sorted(position, key=position.__getitem__)
    ordered_edges = sorted(edges, key=lambda edge: (position[edge[0]], position[edge[1]]))

    loops = list(cyclic_components(ordered, neighbours(ordered, ordered_edges)))
    if not loops:
        return Schedule(order=tuple(_topological(ordered, ordered_edges)), delayed=())
    loop_of = {name: number for number, loop in enumerate(loops) for name in loop}
    shortened = {name for name in delays if name in loop_of}
    remaining = [edge for edge in ordered_edges if edge[1] not in shortened]
    while needed := needed_breaks(ordered, remaining, partial_delays):
        shortened |= needed
        remaining = [edge for edge in remaining if edge[1] not in needed]
    at_delay = {edge for edge in ordered_edges if edge[1] in shortened}

    retreating, ambiguous = retreating_edges(ordered, remaining, loop_of)
    moved = _moved_to_neurons(ordered, remaining, retreating, neurons, ports, at_delay)
    delayed = at_delay.union(moved)
    order = _topological(ordered, [edge for edge in remaining if edge not in delayed])
    return Schedule(
        order=tuple(order),
        delayed=tuple(edge for edge in ordered_edges if edge in delayed),
        shortened=frozenset(shortened),
        ambiguous=ambiguous,
    )


def _positions(
    names: Collection[str],
    edges: list[Edge],
    sources: Collection[str],
    sort_key: Callable[[str], Any],
) -> dict[str, int]:
    """An index for each node: by its distance from the sources, then `sort_key`, then name."""
    following = neighbours(names, edges)
    distance = dict.fromkeys(sources, 0)
    queue = deque(sources)
    while queue:
        name = queue.popleft()
        for target in following[name]:
            if target not in distance:
                distance[target] = distance[name] + 1
                queue.append(target)
    levels: dict[int, list[str]] = {}
    for name in names:
        levels.setdefault(distance.get(name, len(names)), []).append(name)
    levels.setdefault(0, [])
    reached = [*sources, *(name for name in levels.pop(0) if name not in distance)]
    for level in sorted(levels):
        alike = levels[level]
        reached += alike if len(alike) == 1 else sorted(alike, key=lambda n: (sort_key(n), n))
    return {name: index for index, name in enumerate(reached)}


def _moved_to_neurons(
    ordered: list[str],
    edges: list[Edge],
    retreating: list[Edge],
    neurons: Collection[str],
    ports: Collection[str],
    held: set[Edge],
) -> list[Edge]:
    """Move each delay from its edge upstream to the neurons, if nothing else is affected.

    A node passes a delay on if it is not a neuron and all its outgoing edges are delayed, or lead
    to nodes that pass a delay on. Neighbouring nodes of this kind form a region; the delays at its
    exits move to its entries, if all of these come from neurons and it has no loop of its own.

        lif -> w1 -> w2 -> lif      The region is {w1, w2}. The delay at its exit, w2 -> lif, moves
               --------             to its entry, lif -> w1.
    """
    loop_of = {
        name: number
        for number, component in enumerate(components(ordered, neighbours(ordered, edges)))
        for name in component
    }
    forward = _topological(ordered, _without(edges, set(retreating)))
    feeds_a_delay = {source for source, _ in held}
    cut = _moved_over_ports(forward, edges, retreating, set(ports) - feeds_a_delay, loop_of)
    forward = _topological(ordered, _without(edges, cut))
    spiking = _neurons_and_their_ports(forward, edges, cut, neurons, ports, loop_of)
    following = neighbours(ordered, _without(edges, cut))
    delayed_at = {source for source, _ in cut}
    passing: set[str] = set()
    for name in reversed(forward):
        if (
            name not in spiking
            and name not in feeds_a_delay
            and (following[name] or name in delayed_at)
            and all(t in passing and loop_of[t] == loop_of[name] for t in following[name])
        ):
            passing.add(name)
    region = _regions(ordered, edges, passing, cut)
    inward = [(s, t) for s, t in edges if t in region and region.get(s) != region[t]]
    staying = {
        region[target]
        for source, target in inward
        if loop_of[source] == loop_of[target] and ((source, target) in cut or source not in spiking)
    }
    staying |= {region[s] for s, t in cut if s in region and region.get(t) == region[s]}
    moving = {number for number in region.values() if number not in staying}
    kept = [edge for edge in edges if edge in cut and region.get(edge[0]) not in moving]
    entries = [(s, t) for s, t in inward if region[t] in moving and loop_of[s] == loop_of[t]]
    return [*kept, *entries]


def _without(edges: list[Edge], cut: set[Edge]) -> list[Edge]:
    return [edge for edge in edges if edge not in cut]


def _moved_over_ports(
    forward: list[str],
    edges: list[Edge],
    retreating: list[Edge],
    ports: set[str],
    loop_of: dict[str, int],
) -> set[Edge]:
    """The delayed edges, moved from after a port to before it, if all edges after it are delayed.

    The port gives the same sum either way, so each of its incoming edges can be moved by itself.
    """
    cut = set(retreating)
    following, coming = neighbours(forward, edges), _sources(forward, edges)
    for name in reversed(forward):
        if (
            name in ports
            and following[name]
            and all((name, target) in cut for target in following[name])
            and all(loop_of[s] == loop_of[name] and (s, name) not in cut for s in coming[name])
        ):
            cut.difference_update((name, target) for target in following[name])
            cut.update((source, name) for source in coming[name])
    return cut


def _neurons_and_their_ports(
    forward: list[str],
    edges: list[Edge],
    cut: set[Edge],
    neurons: Collection[str],
    ports: Collection[str],
    loop_of: dict[str, int],
) -> set[str]:
    """The neurons, and the ports that receive only from neurons of their own loop.

    The output of such a port a step later is that of its neurons a step later.
    """
    found, coming = set(neurons), _sources(forward, edges)
    for name in forward:
        if (
            name in ports
            and coming[name]
            and all(
                s in found and loop_of[s] == loop_of[name] and (s, name) not in cut
                for s in coming[name]
            )
        ):
            found.add(name)
    return found


def _sources(names: list[str], edges: list[Edge]) -> Neighbours:
    return neighbours(names, [(target, source) for source, target in edges])


def _regions(
    ordered: list[str], edges: list[Edge], passing: set[str], cut: set[Edge]
) -> dict[str, int]:
    """Number the groups of neighbouring nodes that pass a delay on."""
    beside: Neighbours = {name: [] for name in ordered if name in passing}
    for source, target in edges:
        if source in passing and target in passing and (source, target) not in cut:
            beside[source].append(target)
            beside[target].append(source)
    region: dict[str, int] = {}
    for start in beside:
        if start in region:
            continue
        region[start] = len(region)
        queue = [start]
        while queue:
            for name in beside[queue.pop()]:
                if name not in region:
                    region[name] = region[start]
                    queue.append(name)
    return region


def _topological(ordered: list[str], edges: list[Edge]) -> list[str]:
    """Each node after its sources; a chain is followed before the next one begins."""
    following = neighbours(ordered, edges)
    missing = dict.fromkeys(ordered, 0)
    for _, target in edges:
        missing[target] += 1
    ready = [name for name in reversed(ordered) if not missing[name]]
    order = []
    while ready:
        name = ready.pop()
        order.append(name)
        for target in reversed(following[name]):
            missing[target] -= 1
            if not missing[target]:
                ready.append(target)
    assert len(order) == len(ordered), "a cycle without a delayed edge"
    return order
