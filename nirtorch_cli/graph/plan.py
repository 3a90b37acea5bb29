"""The schedule of a flat graph; here NIR nodes become what the scheduler needs.

In: a flat graph with shapes and the length of a step. Out: the schedule, and a finding for each
loop in which the graph does not decide which edge is delayed. Loads no torch, so that `inspect`
shows the schedule that a conversion will use. Cost: linear in nodes and edges.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any

import nir
import numpy as np

from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import quoted
from nirtorch_cli.graph.inlining import FlatGraph
from nirtorch_cli.graph.schedule import Schedule, schedule
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.primitives.parameters import delay_steps
from nirtorch_cli.primitives.table import is_of_role
from nirtorch_cli.reading.unknown_nodes import UnknownNode, type_name


def plan_graph(flat: FlatGraph, dt: float, path: str = "") -> tuple[Schedule, list[Finding]]:
    """The schedule of a flat graph; `path` names the nested graph in findings."""
    steps = dict(_delays_in_steps(flat, dt))
    longest = {name for name, delay in steps.items() if delay.size and delay.max() >= 1}
    whole = {name for name in longest if steps[name].min() >= 1}
    found = schedule(
        flat.nodes,
        flat.edges,
        sources=sorted(name for name in flat.nodes if flat.is_input(name)),
        # A nested graph that was not inlined is a unit with a state of its own.
        neurons={
            name
            for name, node in flat.nodes.items()
            if isinstance(node, nir.NIRGraph) or is_of_role(node, "neuron")
        },
        delays=whole,
        partial_delays=longest - whole,
        ports={name for name, node in flat.nodes.items() if is_of_role(node, "port")},
        sort_key=lambda name: _content(flat.nodes[name]),
    )
    findings = [_ambiguity(entries, found, flat, path) for entries in found.ambiguous]
    lengthened = [name for name in found.order if name in found.shortened - whole]
    findings += [_lengthened(path + flat.origin[name], steps[name]) for name in lengthened]
    return found, findings


def shortened(delay: Array) -> Array:
    """The steps that a Delay still waits if its input is one step old already."""
    waiting: Array = np.maximum(delay, 1) - 1
    return waiting


def _delays_in_steps(flat: FlatGraph, dt: float) -> Iterator[tuple[str, Array]]:
    """The Delay nodes, and how many steps each of their elements waits."""
    for name, node in flat.nodes.items():
        if isinstance(node, nir.Delay):
            with contextlib.suppress(ValueError):  # a rule reports what is wrong
                yield name, delay_steps(node.delay, dt)


def _lengthened(where: str, delay: Array) -> Finding:
    """NIR404: elements of a Delay that are lengthened to a step, because their loop needs one."""
    short = np.argwhere(delay < 1)
    first = ", ".join(str(place) for place in short[0])
    text = f"{len(short)} of {delay.size} delays are shorter than half a step, in a loop that "
    text += "has no other delay of a step"
    hint = f"these wait one step (the first is at [{first}]), the others as long as they say"
    return Finding("NIR404", "warning", text, where, "delay", hint)


def _ambiguity(entries: tuple[str, ...], found: Schedule, flat: FlatGraph, path: str) -> Finding:
    """NIR109: a loop in which the graph does not decide which edge is delayed."""

    def where(name: str) -> str:
        return path + flat.origin[name]

    entered = " and ".join(quoted(where(name)) for name in entries)
    what = "is entered at" if len(entries) > 1 else "has no way in; it was entered at"
    edges = ", ".join(f"{quoted(where(s))} -> {quoted(where(t))}" for s, t in found.delayed[:6])
    text = f"a loop {what} {entered}: names decided which edges are delayed ({edges})"
    return Finding("NIR109", "warning", text, where(entries[0]))


def _content(node: nir.NIRNode) -> tuple[str, str]:
    """A digest of a node's content without its name, to tell apart nodes at the same position.

    For graphs nested in a nested one only the size counts, so that each node is read at most
    twice, however deeply it is nested.
    """
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(node, nir.NIRGraph):
        inside = [
            (_size(inner), "") if isinstance(inner, nir.NIRGraph) else _content(inner)
            for inner in node.nodes.values()
        ]
        digest.update(repr((sorted(inside), _size(node))).encode())
    else:
        fields = node.parameters if isinstance(node, UnknownNode) else vars(node)
        for name, value in sorted(fields.items()):
            if name not in ("metadata", "input_type", "output_type"):
                digest.update(f"{name} {type(value).__name__}".encode())
                digest.update(_bytes(value))
    return type_name(node), digest.hexdigest()


def _size(graph: nir.NIRGraph) -> str:
    return f"{len(graph.nodes)} nodes, {len(graph.edges)} edges"


def _bytes(value: Any) -> bytes:
    """The bytes of a parameter; empty if they could differ in another process."""
    if not isinstance(value, (np.ndarray, np.generic, bool, int, float, str, tuple, list)):
        return b""
    try:
        array = np.asarray(value)
    except ValueError:  # a ragged list
        return b""
    if array.dtype.hasobject:
        return b""
    return f"{array.shape} {array.dtype}".encode() + array.tobytes()
