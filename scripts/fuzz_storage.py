"""Mutations for scripts/fuzz of how HDF5 stores what a file holds: links, layouts, filters."""

from __future__ import annotations

import random
import zlib
from typing import Any

import h5py
import numpy as np

TEXT = h5py.string_dtype()


def replace(file: h5py.File, place: str, value: Any, **options: Any) -> None:
    """Put a dataset where another is, or nothing."""
    if place in file:
        del file[place]
    file.create_dataset(place, data=value, **options)


def value_of(file: h5py.File, place: str) -> np.ndarray:
    """What a dataset holds, unless a mutation before made it claim far too much."""
    dataset = file[place]
    if dataset.nbytes > 2**24 or (
        dataset.chunks and dataset.size > 2**12 * np.prod(dataset.chunks)
    ):
        raise ValueError(place)
    return np.asarray(dataset[()])


def _places(file: h5py.File, kind: type) -> list[str]:
    found: list[str] = []
    file.visititems(lambda name, thing: found.append(name) if isinstance(thing, kind) else None)
    return sorted(found)


def _dataset(file: h5py.File, chance: random.Random) -> str:
    return chance.choice(_places(file, h5py.Dataset))


def _number(file: h5py.File, chance: random.Random) -> tuple[str, np.ndarray]:
    """A dataset of numbers with at least one axis."""
    place = chance.choice(
        [p for p in _places(file, h5py.Dataset) if file[p].dtype.kind in "fi" and file[p].ndim]
    )
    return place, value_of(file, place)


def link(file: h5py.File, chance: random.Random) -> None:
    """A soft, external or hard link in the place of something, or beside it."""
    place = chance.choice(_places(file, object))
    other = chance.choice(_places(file, object))
    targets = (
        h5py.SoftLink("/" + other),
        h5py.SoftLink("/nowhere"),
        h5py.SoftLink("."),
        h5py.ExternalLink("/etc/passwd", "/"),
        h5py.ExternalLink("other.nir", "/node"),
        file[other],
        file[other],
        file["/"],
        file["node"],
    )
    target = chance.choice(targets)
    if chance.random() < 0.5:
        del file[place]
    else:
        place += "_link" if isinstance(file[place], h5py.Dataset) else "/link"
    file[place] = target


def group_for_dataset(file: h5py.File, chance: random.Random) -> None:
    place = _dataset(file, chance)
    value = value_of(file, place)
    del file[place]
    group = file.create_group(place)
    for name in chance.choice(((), ("input",), ("output",), ("input", "output"))):
        group[name] = value


def dataset_for_group(file: h5py.File, chance: random.Random) -> None:
    replace(file, chance.choice(_places(file, h5py.Group)), 1.0)


def empty(file: h5py.File, chance: random.Random) -> None:
    replace(file, _dataset(file, chance), h5py.Empty(chance.choice(("f4", "i8", "S4"))))


def strange_type(file: h5py.File, chance: random.Random) -> None:
    place = _dataset(file, chance)
    kind = chance.randrange(8)
    if kind == 0:
        replace(file, place, np.zeros(2, dtype=[("a", "f4"), ("b", "i8")]))
    elif kind == 1:
        replace(file, place, np.zeros(2, dtype="V7"))
    elif kind == 2:
        replace(file, place, file["node"].ref, dtype=h5py.ref_dtype)
    elif kind == 3:
        del file[place]
        file.create_dataset(place, (2,), h5py.vlen_dtype("f4"))[0] = [1, 2]
    elif kind == 4:
        replace(file, place, np.array([0, 1]), dtype=h5py.enum_dtype({"A": 0, "B": 1}))
    elif kind == 5:
        replace(file, place, np.float128(1) if hasattr(np, "float128") else 1.0)
    elif kind == 6:
        del file[place]
        file[place] = np.dtype("f4")
    else:
        replace(file, place, np.zeros(2, dtype=h5py.opaque_dtype("M8[s]")))


def claim(file: h5py.File, chance: random.Random) -> None:
    """A dataset of much that was never stored."""
    place = _dataset(file, chance)
    del file[place]
    size = chance.choice((2**10, 2**20, 2**31, 2**40, 2**62))
    shape = chance.choice(((size,), (size, 2), (2, size), (size, size)))
    chunk = tuple(min(length, chance.choice((1, 64, 2**12))) for length in shape)
    dtype = chance.choice(("f4", "f8", "i1", TEXT, "S100"))
    file.create_dataset(place, shape, dtype, chunks=chunk, fillvalue=None)


def fixed_text_claim(file: h5py.File, chance: random.Random) -> None:
    place = _dataset(file, chance)
    del file[place]
    file.create_dataset(place, (), f"S{chance.choice((2**16, 2**28, 2**31 - 1))}")


def packing(file: h5py.File, chance: random.Random) -> None:
    place, value = _number(file, chance)
    options: dict[str, Any] = chance.choice(
        (
            {"compression": "gzip"},
            {"compression": "lzf"},
            {"compression": "szip"},
            {"compression": "gzip", "shuffle": True, "fletcher32": True},
            {"fletcher32": True},
            {"scaleoffset": 4},
            {"chunks": (1,) * value.ndim},
            {"chunks": (2,) * value.ndim, "maxshape": (None,) * value.ndim},
            {"chunks": (1,) * value.ndim, "compression": "gzip"},
        )
    )
    replace(file, place, value, **options)


def chunk(file: h5py.File, chance: random.Random) -> None:
    """What is stored of a packed chunk is something else than it should be."""
    place, value = _number(file, chance)
    pack = chance.choice(("gzip", "lzf", "szip"))
    replace(file, place, value, compression=pack, chunks=value.shape)
    grown = zlib.compress(bytes(chance.choice((2**14, 2**20, 2**26))), 9)
    stored = chance.choice((b"", b"\0", grown, grown[:50], bytes(chance.randbytes(64)), grown * 2))
    file[place].id.write_direct_chunk((0,) * value.ndim, stored, chance.choice((0, 0, 0, 1, 7)))


def twice_packed(file: h5py.File, chance: random.Random) -> None:
    place, value = _number(file, chance)
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_obj_track_times(False)  # a case depends on no clock
    creation.set_chunk(value.shape)
    for _ in range(chance.choice((2, 3, 8))):
        number = chance.choice((1, 1, 2, 3, 32000, 5, 6, 300))
        creation.set_filter(number, h5py.h5z.FLAG_OPTIONAL, (4, 9))
    del file[place]
    kind, space = h5py.h5t.py_create(value.dtype), h5py.h5s.create_simple(value.shape)
    dataset = h5py.h5d.create(file.id, place.encode(), kind, space, creation)
    content = zlib.compress(zlib.compress(bytes(2**22), 9), 9)
    dataset.write_direct_chunk((0,) * value.ndim, content, 0)


def elsewhere(file: h5py.File, chance: random.Random) -> None:
    """A virtual dataset, or one in another file."""
    place, value = _number(file, chance)
    del file[place]
    if chance.random() < 0.5:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_obj_track_times(False)
        kind, space = h5py.h5t.py_create(value.dtype), h5py.h5s.create_simple(value.shape)
        creation.set_virtual(space, b".", b"node/x", space)
        h5py.h5d.create(file.id, place.encode(), kind, space, creation)
    else:
        outside = [("/etc/passwd", 0, value.nbytes or 1)]
        file.create_dataset(place, value.shape, value.dtype, external=outside)


def attributes(file: h5py.File, chance: random.Random) -> None:
    thing = file[chance.choice(_places(file, object))]
    for number in range(chance.choice((1, 10))):
        thing.attrs[f"a{number}"] = chance.choice((1, "x" * 3000, np.ones(9)))


def move_graph(file: h5py.File, chance: random.Random) -> None:
    """The graph to another place: the top, another name, or with another beside it."""
    kind = chance.randrange(4)
    if kind == 0:
        for name in list(file["node"]):
            file.move(f"node/{name}", name)
        del file["node"]
    elif kind == 1:
        file.move("node", chance.choice(("model", "graph", "nodes", "nir")))
    elif kind == 2:
        file.copy("node", "node2")
    else:
        replace(file, "version", chance.choice(("0.1", b"1.0.8", 3, ["a"], h5py.Empty("f"))))


def other_format(file: h5py.File, chance: random.Random) -> None:
    """Groups in the form of newer files."""
    place = chance.choice(_places(file, h5py.Group))
    creation = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    creation.set_link_creation_order(h5py.h5p.CRT_ORDER_TRACKED | h5py.h5p.CRT_ORDER_INDEXED)
    file.move(place, "fuzz")
    h5py.h5g.create(file.id, place.encode(), gcpl=creation)
    for name in file["fuzz"]:
        file.move(f"fuzz/{name}", f"{place}/{name}")
    del file["fuzz"]


MUTATIONS = (
    *(link, link, group_for_dataset, dataset_for_group, empty, strange_type, claim),
    *(fixed_text_claim, packing, chunk, twice_packed, elsewhere, attributes, move_graph),
    other_format,
)
