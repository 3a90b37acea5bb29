"""The loops of a directed graph: which nodes form one, and which of its edges lead back.

In: names and edges. Out: strongly connected components, and for each the edges that lead
back in a depth-first walk from where it is entered. Knows nothing of NIR.

    in -> a -> b -> c -> out        The component is {a, b, c}. It is entered at a, and a walk
          ^         |               from a finds c -> a leading back to a node that is still
          +---------+               being walked: this is the edge to delay.

>>> edges = [("in", "a"), ("a", "b"), ("b", "c"), ("c", "a"), ("c", "out")]
>>> retreating_edges(["in", "a", "b", "c", "out"], edges)
([('c', 'a')], ())

With a second edge from `in`, to b, the loop has two entries. A walk from b would find a -> b
instead, so the choice is reported as ambiguous:

>>> retreating_edges(["in", "a", "b", "c", "out"], [("in", "b"), *edges])
([('c', 'a')], (('a', 'b'),))

Always holds: a loop with a single entry has the same edges leading back whatever its nodes
are called; the others are reported. Cost: linear in nodes + edges; nothing is recursive.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

Edge = tuple[str, str]
Neighbours = dict[str, list[str]]


def neighbours(names: Iterable[str], edges: Iterable[Edge]) -> Neighbours:
    """For each node the nodes that its edges lead to, in the order of the edges."""
    following: Neighbours = {name: [] for name in names}
    for source, target in edges:
        following[source].append(target)
    return following


def cyclic_components(names: Iterable[str], following: Neighbours) -> Iterator[list[str]]:
    """The strongly connected components that hold a cycle."""
    for component in components(names, following):
        if len(component) > 1 or component[0] in following[component[0]]:
            yield component


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


def retreating_edges(
    ordered: list[str], edges: list[Edge], around: Mapping[str, int] | None = None
) -> tuple[list[Edge], tuple[tuple[str, ...], ...]]:
    """The edges that lead back in a walk of each component from its entries.

    Also the entries of each loop that has several, or none although it has several nodes: there
    the walk decides which edge leads back. `around` numbers larger loops around the components:
    an edge from the same larger loop counts as a way in only if there is no other.
    """
    following = neighbours(ordered, edges)
    groups = list(cyclic_components(ordered, following))
    member: dict[str, int] = {}
    for number, component in enumerate(groups):
        member.update(dict.fromkeys(component, number))
    around = {} if around is None else around
    entered: set[str] = set()
    entered_from_around: set[str] = set()
    for source, target in edges:
        if target in member and member.get(source) != member[target]:
            is_outside = source not in around or around[source] != around[target]
            (entered if is_outside else entered_from_around).add(target)
    retreating: list[Edge] = []
    ambiguous: list[tuple[str, ...]] = []
    for component in groups:
        inside = set(component)
        entries = sorted(entered & inside) or sorted(entered_from_around & inside)
        start = entries or [min(component)]
        loop = {name: [t for t in following[name] if t in inside] for name in component}
        walk = _Walk(loop, start)
        retreating += walk.retreating
        if len(start) > 1 or (not entries and len(component) > 1):
            ambiguous.append(tuple(start))
        elif (entry := walk.second_entry()) is not None:
            ambiguous.append(entry)
    return retreating, tuple(ambiguous)


def needed_breaks(ordered: list[str], edges: list[Edge], breaking: Collection[str]) -> set[str]:
    """Some of the nodes `breaking`, each of which breaks a loop; empty if none lies on a loop.

    In a loop with several of them it is the last one before the edge that leads back. Loops that
    share nodes may need a further call, without the edges that are broken already.

    >>> sorted(needed_breaks(["a", "b", "c"], [("a", "b"), ("b", "c"), ("c", "a")], {"a", "b"}))
    ['b']
    """
    if not breaking:
        return set()
    following = neighbours(ordered, edges)
    found: set[str] = set()
    for component in cyclic_components(ordered, following):
        inside = set(component)
        if inside.isdisjoint(breaking):
            continue
        walk = _Walk({name: [t for t in following[name] if t in inside] for name in component}, [])
        walk.walk_from(next(name for name in ordered if name in inside), breaking)
        found |= walk.breaks or {next(name for name in component if name in breaking)}
    return found


class _Walk:
    """A depth-first walk of a strongly connected component from its entries."""

    def __init__(self, following: Neighbours, entries: list[str]) -> None:
        self.following = following
        self.first: dict[str, int] = {}
        self.last: dict[str, int] = {}
        self.retreating: list[Edge] = []
        self.breaks: set[str] = set()
        for entry in entries:
            if entry not in self.first:
                self.walk_from(entry)

    def walk_from(self, entry: str, breaking: Collection[str] = ()) -> None:
        """Walk all nodes not yet walked, and note the last of `breaking` on each loop."""
        self.first[entry] = len(self.first)
        walk = [(entry, iter(self.following[entry]))]
        on_the_way = [entry] if entry in breaking else []
        while walk:
            name, targets = walk[-1]
            for target in targets:
                if target not in self.first:
                    self.first[target] = len(self.first)
                    walk.append((target, iter(self.following[target])))
                    if target in breaking:
                        on_the_way.append(target)
                    break
                if target not in self.last:  # still being walked: an ancestor, or itself
                    self.retreating.append((name, target))
                    if on_the_way and self.first[on_the_way[-1]] >= self.first[target]:
                        self.breaks.add(on_the_way[-1])
            else:
                walk.pop()
                self.last[name] = len(self.first)
                if on_the_way and on_the_way[-1] == name:
                    on_the_way.pop()

    def _is_below(self, name: str, ancestor: str) -> bool:
        return self.first[ancestor] <= self.first[name] < self.last[ancestor]

    def second_entry(self) -> tuple[str, ...] | None:
        """The two entries of a loop that has more than one, if there is such a loop.

        Tarjan's test of reducibility: from the innermost loop outwards, each loop is merged into
        its head, the node at which the walk entered it. A way into the loop that does not pass
        its head is a second entry:

            a -> b <-> c        c -> b leads back, so b is the head of the loop {b, c}.
            |          ^        a -> c enters it without passing b: a second entry.
            +----------+

        >>> _Walk({"a": ["b", "c"], "b": ["c"], "c": ["b"]}, ["a"]).second_entry()
        ('b', 'c')
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
