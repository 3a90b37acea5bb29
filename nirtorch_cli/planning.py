"""What the scheduler needs to know of NIR nodes: a flat graph to its schedule.

In: a flat graph with shapes and the length of a step. Out: the schedule, and a finding for
each loop in which the graph leaves open which edge is delayed. Loads no torch, so that
`inspect` shows the schedule that a conversion will use. Cost: linear in nodes and edges.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import nir
import numpy as np

from nirtorch_cli.dissolving import FlatGraph
from nirtorch_cli.findings import Finding, quoted
from nirtorch_cli.scheduling import Schedule, schedule
from nirtorch_cli.shapes import NEURONS
from nirtorch_cli.timing import delay_steps


def plan_graph(flat: FlatGraph, dt: float, path: str = "") -> tuple[Schedule, list[Finding]]:
    """The schedule of a flat graph; `path` names the nested graph in findings."""
    found = schedule(
        flat.nodes,
        flat.edges,
        sources=sorted(name for name in flat.nodes if flat.is_input(name)),
        # A nested graph that stayed whole in a loop is a unit with a state of its own.
        neurons={n for n, node in flat.nodes.items() if isinstance(node, (*NEURONS, nir.NIRGraph))},
        delays=set(_step_delays(flat, dt)),
        rank=lambda name: _content(flat.nodes[name]),
    )
    return found, [_ambiguity(entries, found, path) for entries in found.ambiguous]


def _step_delays(flat: FlatGraph, dt: float) -> Iterator[str]:
    """The Delay nodes whose every element waits at least one step."""
    for name, node in flat.nodes.items():
        if isinstance(node, nir.Delay):
            try:
                steps = delay_steps(node.delay, dt)
            except ValueError:
                continue  # its mapper says what is wrong with it
            if steps.size and steps.min() >= 1:
                yield name


def _ambiguity(entries: tuple[str, ...], found: Schedule, path: str) -> Finding:
    """NIR109: a loop in which the graph leaves open which edge is delayed."""
    entered = " and ".join(quoted(path + name) for name in entries)
    what = "is entered at" if len(entries) > 1 else "has no way in; it was entered at"
    edges = ", ".join(f"{quoted(s)} -> {quoted(t)}" for s, t in found.delayed[:6])
    text = f"a loop {what} {entered}: names decided which edges are delayed ({edges})"
    return Finding("NIR109", "warning", text, path + entries[0])


def _content(node: nir.NIRNode) -> tuple[str, str]:
    """What a node is beyond its name, for telling apart nodes in the same place."""
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(node, nir.NIRGraph):
        for inner in sorted(map(_content, node.nodes.values())):
            digest.update(repr(inner).encode())
        digest.update(str(len(node.edges)).encode())
    else:
        for name, value in sorted(vars(node).items()):
            if name not in ("metadata", "input_type", "output_type"):
                array = np.asarray(value)
                digest.update(f"{name} {array.shape} {array.dtype}".encode())
                digest.update(repr(value).encode() if array.dtype.hasobject else array.tobytes())
    return type(node).__name__, digest.hexdigest()
