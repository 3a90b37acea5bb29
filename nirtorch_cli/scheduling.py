"""Execution order and delayed edges of a graph.

In: names and edges, which nodes are neurons, which are delays of a step or more.
Out: a `Schedule`: every node once, in an order in which each edge that is not
delayed leads forward, and the edges that carry last step's value instead.

The schedule is a function of the graph. Names decide only where the graph leaves a
choice: between nodes that `rank` cannot tell apart, and in a loop that is entered at
several nodes, which is reported. How it is found:

1. A delay of at least one step that lies on a cycle is read before it is written.
   Its incoming edges carry last step's value and it waits one step less.
2. Strongly connected components (Tarjan). Inside one, entered from outside at some
   nodes, the retreating edges of a depth-first walk from the entries are delayed.
   Where every loop has one entry they do not depend on the walk.
3. A delay moves upstream to the neurons when everything between lies inside the loop
   and feeds nothing else: in `lif -> w_rec -> lif` it is the spikes that arrive a
   step late, so a bias in `w_rec` acts from the first step on.

Cost: linear in nodes + edges (sorting names aside); nothing is recursive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Edge = tuple[str, str]
Neighbours = dict[str, list[str]]


@dataclass(frozen=True)
class Schedule:
    """How one step of a graph is executed.

    order: every node, each after all nodes that it hears without delay.
    delayed: the edges that carry last step's value, zero at the first.
    shortened: delay nodes all of whose incoming edges are in `delayed`, and
        which therefore wait one step less.
    ambiguous: for each loop entered at several nodes, its entries; there the
        names decided which edge is delayed.
    """

    order: tuple[str, ...]
    delayed: tuple[Edge, ...]
    shortened: tuple[str, ...] = ()
    ambiguous: tuple[tuple[str, ...], ...] = ()


def schedule(
    names: Collection[str],
    edges: Iterable[Edge],
    *,
    sources: Collection[str] = (),
    neurons: Collection[str] = (),
    delays: Collection[str] = (),
    rank: Callable[[str], Any] = lambda name: (),
) -> Schedule:
    """Order the nodes of a graph and choose its delayed edges.

    Arguments:
        names: the nodes.
        edges: pairs of names, without duplicates.
        sources: the graph's inputs, in the order in which they come first.
        neurons: the nodes at whose output a delay may sit.
        delays: the nodes whose output is at least one step old.
        rank: what tells two nodes apart beyond their place in the graph; compared
            only between nodes that are equally far from the sources.
    """
    position = _positions(names, list(edges), sources, rank)
    ordered = sorted(position, key=position.__getitem__)
    ordered_edges = sorted(edges, key=lambda edge: (position[edge[0]], position[edge[1]]))

    on_cycle = set(_cyclic_nodes(ordered, _neighbours(ordered, ordered_edges)))
    if not on_cycle:
        return Schedule(order=tuple(_topological(ordered, ordered_edges)), delayed=())
    shortened = tuple(name for name in ordered if name in delays and name in on_cycle)
    waiting_less = set(shortened)
    at_delay = {edge for edge in ordered_edges if edge[1] in waiting_less}
    remaining = [edge for edge in ordered_edges if edge not in at_delay]

    retreating, ambiguous = _retreating_edges(ordered, remaining)
    moved = _moved_to_neurons(ordered, remaining, retreating, set(neurons), at_delay)
    delayed = at_delay.union(moved)
    order = _topological(ordered, [edge for edge in remaining if edge not in delayed])
    return Schedule(
        order=tuple(order),
        delayed=tuple(edge for edge in ordered_edges if edge in delayed),
        shortened=shortened,
        ambiguous=ambiguous,
    )


def _positions(
    names: Collection[str],
    edges: list[Edge],
    sources: Collection[str],
    rank: Callable[[str], Any],
) -> dict[str, int]:
    """A place for each node: by its distance from the sources, then `rank`, then name."""
    following = _neighbours(names, edges)
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
        reached += alike if len(alike) == 1 else sorted(alike, key=lambda n: (rank(n), n))
    return {name: place for place, name in enumerate(reached)}


def _neighbours(names: Iterable[str], edges: Iterable[Edge]) -> Neighbours:
    following: Neighbours = {name: [] for name in names}
    for source, target in edges:
        following[source].append(target)
    return following


def _cyclic_nodes(names: Iterable[str], following: Neighbours) -> Iterator[str]:
    for component in components(names, following):
        if len(component) > 1 or component[0] in following[component[0]]:
            yield from component


def components(names: Iterable[str], following: Neighbours) -> Iterator[list[str]]:
    """Strongly connected components (Tarjan 1972), without recursion.

    networkx has this too; importing it takes a tenth of the time of importing torch,
    which every conversion of a recurrent model would pay.
    """
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    waiting: set[str] = set()
    for root in names:
        if root in index:
            continue
        walk = [(root, iter(following[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        waiting.add(root)
        while walk:
            name, targets = walk[-1]
            for target in targets:
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    waiting.add(target)
                    walk.append((target, iter(following[target])))
                    break
                if target in waiting:
                    low[name] = min(low[name], index[target])
            else:
                walk.pop()
                if walk:
                    above = walk[-1][0]
                    low[above] = min(low[above], low[name])
                if low[name] == index[name]:
                    component: list[str] = []
                    while not component or component[-1] != name:
                        component.append(stack.pop())
                        waiting.discard(component[-1])
                    yield component[::-1]


def _retreating_edges(
    ordered: list[str], edges: list[Edge]
) -> tuple[list[Edge], tuple[tuple[str, ...], ...]]:
    """The edges that lead back in a walk of each component from its entries.

    Also the entries of each loop that has several, where the walk decided.
    """
    following = _neighbours(ordered, edges)
    member: dict[str, int] = {}
    groups = [c for c in components(ordered, following) if len(c) > 1 or c[0] in following[c[0]]]
    for number, component in enumerate(groups):
        member.update(dict.fromkeys(component, number))
    entered = {t for s, t in edges if t in member and member.get(s) != member[t]}
    retreating: list[Edge] = []
    ambiguous: list[tuple[str, ...]] = []
    for component in groups:
        inside = set(component)
        entries = sorted(entered & inside) or [min(component)]
        loop = {name: [t for t in following[name] if t in inside] for name in component}
        walk = _Walk(loop, entries)
        retreating += walk.retreating
        if len(entries) > 1 or not entered & inside:
            ambiguous.append(tuple(entries))
        elif (entry := walk.second_entry()) is not None:
            ambiguous.append(entry)
    return retreating, tuple(ambiguous)


class _Walk:
    """A depth-first walk of a strongly connected component from its entries."""

    def __init__(self, following: Neighbours, entries: list[str]) -> None:
        self.following = following
        self.first: dict[str, int] = {}
        self.last: dict[str, int] = {}
        self.retreating: list[Edge] = []
        for entry in entries:
            if entry not in self.first:
                self._walk_from(entry)

    def _walk_from(self, entry: str) -> None:
        self.first[entry] = len(self.first)
        walk = [(entry, iter(self.following[entry]))]
        while walk:
            name, targets = walk[-1]
            for target in targets:
                if target not in self.first:
                    self.first[target] = len(self.first)
                    walk.append((target, iter(self.following[target])))
                    break
                if target not in self.last:  # still being walked: an ancestor, or itself
                    self.retreating.append((name, target))
            else:
                walk.pop()
                self.last[name] = len(self.first)

    def _is_below(self, name: str, ancestor: str) -> bool:
        return self.first[ancestor] <= self.first[name] < self.last[ancestor]

    def second_entry(self) -> tuple[str, ...] | None:
        """The two entries of a loop that has more than one, if there is such a loop.

        Tarjan's test of reducibility: from the innermost loop outwards, each loop is
        merged into its head; a way into a loop that does not pass its head is a
        second entry.
        """
        coming: Neighbours = {name: [] for name in self.following}
        back: Neighbours = {}
        leading_back = set(self.retreating)
        for source, targets in self.following.items():
            for target in targets:
                if (source, target) in leading_back:
                    back.setdefault(target, []).append(source)
                else:
                    coming[target].append(source)
        merged = {name: name for name in self.following}

        def head_of(name: str) -> str:
            while merged[name] != name:
                merged[name] = merged[merged[name]]
                name = merged[name]
            return name

        for head in sorted(back, key=self.first.__getitem__, reverse=True):
            body: set[str] = set()
            queue = [head_of(source) for source in back[head]]
            while queue:
                name = queue.pop()
                if name == head or name in body:
                    continue
                body.add(name)
                for source in coming[name]:
                    outer = head_of(source)
                    if not self._is_below(outer, head):
                        return tuple(sorted((head, name)))
                    queue.append(outer)
            merged.update(dict.fromkeys(body, head))
        return None


def _moved_to_neurons(
    ordered: list[str],
    edges: list[Edge],
    retreating: list[Edge],
    neurons: set[str],
    held: set[Edge],
) -> list[Edge]:
    """Move each delay from its edge up to the neurons, where nothing else is affected.

    A node passes a delay on if it is no neuron and all it feeds are delayed edges and
    nodes that pass a delay on. Such nodes, joined where they are neighbours, form
    regions; the delays at a region's exits move to its entries if those come from
    neurons only and it holds no loop of its own.
    """
    cut = set(retreating)
    following = _neighbours(ordered, [edge for edge in edges if edge not in cut])
    loop_of = {
        name: number
        for number, component in enumerate(components(ordered, _neighbours(ordered, edges)))
        for name in component
    }
    delayed_at = {source for source, _ in retreating}
    feeds_a_delay = {source for source, _ in held}
    passing: set[str] = set()
    for name in reversed(_topological(ordered, [edge for edge in edges if edge not in cut])):
        if (
            name not in neurons
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
        if loop_of[source] == loop_of[target] and ((source, target) in cut or source not in neurons)
    }
    staying |= {region[s] for s, t in cut if s in region and region.get(t) == region[s]}
    moving = {number for number in region.values() if number not in staying}
    kept = [edge for edge in retreating if region.get(edge[0]) not in moving]
    entries = [(s, t) for s, t in inward if region[t] in moving and loop_of[s] == loop_of[t]]
    return [*kept, *entries]


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
    following = _neighbours(ordered, edges)
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
