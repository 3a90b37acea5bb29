"""Reads NIR data files (HDF5, written by `nir.write_data`) to arrays.

In: a file, or its bytes, which may come from a stranger. Out: one of its observables as an array
(T, samples, neurons); a large one stays on the disk. It replaces `nir.read_data` with the safe
reader of model files: no link is followed, and what the file claims is counted first.

The members of a group decide its kind, as in all files of nir; its attribute `__type__` is not
read. `TimeGriddedData` is used as it is, and its dt must be the run's; `EventData` and
`ValuedEventData` are put on a grid of dt, see `binning`. Cost: linear in what is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nirtorch_cli.findings.errors import ReadError, UsageError
from nirtorch_cli.findings.text import listed, printable, quoted
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.reading.attributes import number_of
from nirtorch_cli.reading.hdf5 import Member, Store, opened
from nirtorch_cli.reading.limits import MAX_NESTING, NODE_BYTES
from nirtorch_cli.reading.sources import FilePart
from nirtorch_cli.running.signals.binning import binned, require_same_step
from nirtorch_cli.running.signals.events import Events, columns_of, events_of


@dataclass(frozen=True)
class Observable:
    """A recorded variable; `path` is its node's path, `/` and its name."""

    path: str
    member: Member
    fields: dict[str, Member]


def recorded(
    content: str | bytes, source: FilePart, dt: float, max_bytes: int | None
) -> Array | Events:
    """The observable that `source` names, or the only one, on a grid of dt: (T, samples, neurons).

    Of an HDF5 file that is no NIR data, columns of events: datasets at its top, or in a group
    `events` there.

    Raises:
        ReadError: the file is damaged, too large or of another kind, or does not have exactly one
            such observable.
        UsageError: it is on a grid of another dt.
    """
    try:
        with opened(content, max_bytes, maps=True, spools=True) as store:
            top = store.members(store.root, None, "/")
            columns = _event_columns(store, top, source)
            if columns is not None:
                return events_of(columns, source)
            found = list(_observables(store, top))
            return _values(store, _chosen(found, source), dt)
    except (ReadError, UsageError) as error:
        raise error.of(source.name) from error.__cause__


def _event_columns(
    store: Store, members: dict[str, Member], source: FilePart
) -> dict[str, Array] | None:
    """The columns of events in a file that is no NIR data; None if it has none."""
    if "nodes" in members:
        return None
    if "events" in members and columns_of(source, members) is None:
        members = store.members(members["events"], None, "events")
    chosen = columns_of(source, members)
    if chosen is None:
        return None
    return {name: np.asarray(store.value(members[name], None, name)) for name in chosen}


def gridded_of(
    content: bytes, source: FilePart, max_bytes: int | None
) -> tuple[dict[tuple[str, str], Array], float | None]:
    """All observables of a file on a grid, by node and name, (T, samples, neurons); and dt.

    Raises:
        ReadError: the file is damaged, too large or of another kind, or has events or several dt.
    """
    arrays: dict[tuple[str, str], Array] = {}
    step: float | None = None
    try:
        with opened(content, max_bytes) as store:
            for each in _observables(store, store.members(store.root, None, "/")):
                if "data" not in each.fields:
                    hint = "'nirtorch run -o' writes what is"
                    raise ReadError("NIR023", "has no grid of time steps", each.path, hint=hint)
                dt = number_of(store, each.member, "dt", each.path)
                if dt is None or not 0 < dt < math.inf or step not in (None, dt):
                    text = "has no dt, or one that differs from others in the file"
                    raise ReadError("NIR023", text, each.path)
                node, _, name = each.path.rpartition("/")
                arrays[node, name], step = _values(store, each, dt), dt
    except ReadError as error:
        raise error.of(source.name) from error.__cause__
    return arrays, step


def _observables(store: Store, top: dict[str, Member]) -> Iterator[Observable]:
    if "nodes" not in top or "edges" in top:
        hint = "nir.write_data writes one; a model is not an input"
        raise ReadError("NIR022", "is an HDF5 file, but does not hold NIR data", hint=hint)
    yield from _of_graph(store, top, ())


def _of_graph(
    store: Store, members: dict[str, Member], path: tuple[str, ...]
) -> Iterator[Observable]:
    where = "/".join(path) or None
    if len(path) > MAX_NESTING:
        raise ReadError("NIR011", f"graphs nested over {MAX_NESTING} deep", path[0])
    nodes = store.members(members["nodes"], where, "nodes", NODE_BYTES, "nodes")
    for name, member in nodes.items():
        inner = (*path, name)
        inside = store.members(member, "/".join(inner), name)
        if "nodes" in inside:
            yield from _of_graph(store, inside, inner)
        elif "observables" in inside:
            yield from _of_node(store, inside["observables"], "/".join(inner))
        else:
            raise ReadError("NIR022", "has neither 'observables' nor 'nodes'", "/".join(inner))


def _of_node(store: Store, group: Member, where: str) -> Iterator[Observable]:
    observables = store.members(group, where, "observables", NODE_BYTES, "observables")
    for name, member in observables.items():
        path = f"{where}/{name}"
        yield Observable(path, member, store.members(member, path, name))


def _chosen(found: list[Observable], source: FilePart) -> Observable:
    if not found:
        raise ReadError("NIR022", "holds no observable")
    paths = [observable.path for observable in found]
    if source.part is None:
        if len(found) == 1:
            return found[0]
        hint = f"name one, {quoted(source.file + ':' + paths[0])}: it holds {listed(paths)}"
        raise ReadError("NIR022", f"holds {len(found)} observables", hint=hint)
    # The only observable of a node need not be named.
    meant = [each for each in found if each.path == source.part]
    meant = meant or [each for each in found if each.path.rpartition("/")[0] == source.part]
    if len(meant) != 1:
        many = "several observables" if meant else "no observable"
        raise ReadError(
            "NIR022", f"has {many} {quoted(source.part)}", hint=f"it holds {listed(paths)}"
        )
    return meant[0]


def _values(store: Store, observable: Observable, dt: float) -> Array:
    where, member, fields = observable.path, observable.member, observable.fields

    def array(name: str) -> Array:
        value = np.asarray(store.value(_required(fields, name, where), where, name))
        if value.dtype.kind not in "biuf":
            raise ReadError("NIR022", f"{name} holds {value.dtype}, not numbers", where)
        return value

    def number(name: str) -> float:
        value = number_of(store, member, name, where)
        if value is None or not math.isfinite(value):
            raise ReadError("NIR022", f"has no {name}, or one that is not finite", where)
        return value

    if "data" in fields:
        require_same_step(number("dt"), dt, file=None, node=where)
        data = array("data")
        if data.ndim != 3:
            text = f"data have the shape {data.shape}, not (samples, steps, neurons)"
            raise ReadError("NIR022", text, where)
        by_step: Array = data.swapaxes(0, 1)
        return by_step
    if "idx" not in fields:
        raise ReadError("NIR022", "has neither 'data' nor 'idx'", where)
    neurons, t_max = number("n_neurons"), number("t_max")
    if neurons != int(neurons):
        raise ReadError("NIR022", f"has {neurons:g} neurons", where)
    idx, time = array("idx"), array("time")
    value = array("value") if "value" in fields else None
    try:
        return binned(
            idx,
            time,
            value,
            neurons=int(neurons),
            t_max=t_max,
            dt=dt,
            claim=lambda size: store.claim(size, where, None, f"a grid of dt {dt:g}"),
        )
    except (ValueError, OverflowError) as error:
        raise ReadError("NIR022", printable(str(error)), where) from error


def _required(members: dict[str, Member], name: str, where: str | None) -> Member:
    if name not in members:
        raise ReadError("NIR022", f"has no {quoted(name)}", where)
    return members[name]
