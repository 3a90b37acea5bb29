"""Damage for scripts/fuzz: a file as nir writes it, changed in one to five places.

In: the bytes of sound files, a seed and a case's number. Out: the bytes of a mutated file and
the names of what was done to it, which depend on these alone. Most mutations change HDF5
objects, so that what comes out is still an HDF5 file and gets far into the program;
`fuzz_bytes` changes raw bytes, for libhdf5 and for what stands between it and us.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fuzz_bytes
import fuzz_storage
import h5py
import numpy as np
from fuzz_storage import TEXT, replace, value_of

TYPES = (
    *("Input", "Output", "Affine", "Linear", "Scale", "Conv1d", "Conv2d", "SumPool2d"),
    *("AvgPool2d", "Flatten", "Threshold", "Delay", "I", "IF", "LI", "LIF", "CubaLI", "CubaLIF"),
    "NIRGraph",
)
FIELDS = (
    *("tau", "r", "v_leak", "v_threshold", "v_reset", "tau_syn", "tau_mem", "w_in", "weight"),
    *("bias", "scale", "threshold", "delay", "shape", "input_shape", "stride", "padding"),
    *("dilation", "groups", "kernel_size", "start_dim", "end_dim", "input_type", "output_type"),
    *("metadata", "type", "nodes", "edges", "weights", "v_th", "extra"),
)
WORDS = (
    *("", "a", "a.b", "a/b", "if", "self", "input", "output", "0", "forward", "same", "valid"),
    *("\x1b[31m", "two\nlines", "\u202ereversed", "größer", "état", " ", "x" * 1000, "x" * 5000),
    *("%s{0}$(id)", "__class__", "lambda", "None", "'\"\\", "\ud800"),
)
NUMBERS = (
    *(np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, 1.0, 0.5, 1e308, -1e308, 5e-324, 1e-30, 1e20),
    *(2.0**31, 2.0**40, 2.0**63, -(2.0**63), 3.0, 1e-4, 1e-3),
)
SHAPES = ((), (0,), (1,), (2,), (1, 1), (3, 0), (2, 3), (1, 4, 4), (2, 2, 2, 2), (1, 1, 1, 1, 1))

LARGEST = 8 * 2**20
"""Copies of copies are not made beyond this: the time of a case is for the program."""

Mutation = Callable[[h5py.File, random.Random], None]


def mutated(path: Path, sources: Sequence[bytes], seed: int, number: int) -> list[str]:
    """Write the mutated file of a case to a path; what was done to it."""
    chance = random.Random(f"{seed}/{number}")
    path.write_bytes(chance.choice(sources))
    done = []
    way = chance.random()
    if way < 0.8:
        for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5))):
            mutation = chance.choice(MUTATIONS)
            if path.stat().st_size > LARGEST:
                break
            # What does not apply to this file, or no longer, is left.
            with contextlib.suppress(Exception), h5py.File(path, "r+") as file:
                mutation(file, chance)
                done.append(mutation.__name__)
    if way > 0.7:
        content, names = fuzz_bytes.mutated(path.read_bytes(), sources, chance)
        path.write_bytes(content)
        done += names
    return done


def groups(file: h5py.File) -> list[str]:
    """The paths of all groups but the root."""
    return [name for name, thing in _all(file) if isinstance(thing, h5py.Group)]


def datasets(file: h5py.File) -> list[str]:
    """The paths of all datasets."""
    return [name for name, thing in _all(file) if isinstance(thing, h5py.Dataset)]


def _all(file: h5py.File) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    file.visititems(lambda name, thing: found.append((name, thing)))
    return sorted(found, key=lambda pair: pair[0])


def nodes(file: h5py.File) -> list[str]:
    """The paths of all nodes, the outermost graph left out."""
    return [name for name in groups(file) if "type" in file[name] and name != "node"]


def edges_of(file: h5py.File, chance: random.Random) -> tuple[str, list[list[Any]], list[str]]:
    """A graph's edges: where they are, what they say, and the names of its nodes."""
    place = chance.choice([name for name in datasets(file) if name.endswith("edges")])
    names = list(file[place.rpartition("/")[0] + "/nodes"])
    return place, [list(row) for row in value_of(file, place).tolist()], names


# ---- the graph


def rename_node(file: h5py.File, chance: random.Random) -> None:
    place = chance.choice(nodes(file))
    file.move(place, place.rpartition("/")[0] + "/" + (chance.choice(WORDS) or "n"))


def delete_object(file: h5py.File, chance: random.Random) -> None:
    del file[chance.choice(groups(file) + datasets(file))]


def delete_field(file: h5py.File, chance: random.Random) -> None:
    del file[chance.choice(datasets(file))]


def duplicate_node(file: h5py.File, chance: random.Random) -> None:
    place = chance.choice(nodes(file))
    file.copy(place, place + chance.choice(("_", "_2", ".2", " ")))


def swap_nodes(file: h5py.File, chance: random.Random) -> None:
    one, two = chance.sample(nodes(file), 2)
    file.move(one, "fuzz")
    file.move(two, one)
    file.move("fuzz", two)


def change_edge(file: h5py.File, chance: random.Random) -> None:
    place, table, names = edges_of(file, chance)
    row = chance.randrange(len(table))
    table[row][chance.randrange(2)] = chance.choice([*names, *WORDS])
    replace(file, place, table, dtype=TEXT)


def add_edge(file: h5py.File, chance: random.Random) -> None:
    place, table, names = edges_of(file, chance)
    table.append([chance.choice(names), chance.choice(names)])
    replace(file, place, table, dtype=TEXT)


def drop_edge(file: h5py.File, chance: random.Random) -> None:
    place, table, _ = edges_of(file, chance)
    table.pop(chance.randrange(len(table)))
    replace(file, place, table or np.zeros((0, 2)), dtype=TEXT if table else None)


def repeat_edges(file: h5py.File, chance: random.Random) -> None:
    place, table, _ = edges_of(file, chance)
    replace(file, place, table * chance.choice((2, 3, 100)), dtype=TEXT)


def shuffle_edges(file: h5py.File, chance: random.Random) -> None:
    place, table, _ = edges_of(file, chance)
    chance.shuffle(table)
    replace(file, place, table, dtype=TEXT)


def reverse_edges(file: h5py.File, chance: random.Random) -> None:
    place, table, _ = edges_of(file, chance)
    replace(file, place, [row[::-1] for row in table], dtype=TEXT)


def other_edges(file: h5py.File, chance: random.Random) -> None:
    place, table, _ = edges_of(file, chance)
    kind = chance.randrange(6)
    if kind == 0:
        replace(file, place, np.array(table, dtype="S20"))
    elif kind == 1:
        replace(file, place, [row[0] for row in table], dtype=TEXT)
    elif kind == 2:
        replace(file, place, [[*row, row[0]] for row in table], dtype=TEXT)
    elif kind == 3:
        replace(file, place, np.arange(2 * len(table)).reshape(-1, 2))
    elif kind == 4:
        replace(file, place, table, dtype=TEXT, compression="gzip")
    else:
        replace(file, place, np.zeros(chance.choice(SHAPES)))


def wrap_nodes(file: h5py.File, chance: random.Random) -> None:
    """Nodes of the outermost graph into a graph of their own, a few deep or too deep."""
    for _ in range(chance.choice((1, 1, 2, 5, 60, 105))):
        file.move("node", "fuzz")
        node = file.create_group("node")
        node["type"] = "NIRGraph"
        for name, shape in (("input", "Input"), ("output", "Output")):
            node[f"nodes/{name}/type"], node[f"nodes/{name}/shape"] = shape, np.array([1])
        file.move("fuzz", "node/nodes/inner")
        table = [["input", "inner"], ["inner", "output"]]
        node.create_dataset("edges", data=table, dtype=TEXT)


def many_nodes(file: h5py.File, chance: random.Random) -> None:
    place = chance.choice(nodes(file))
    for number in range(chance.choice((10, 200))):
        if file.id.get_filesize() > LARGEST / 4:  # in a ring of links each copy holds the others
            break
        file.copy(place, f"{place}_{number}")


# ---- the fields of a node


def change_type(file: h5py.File, chance: random.Random) -> None:
    word = chance.choice((*TYPES, *TYPES, *WORDS))
    replace(file, chance.choice(nodes(file)) + "/type", word.encode("utf8", "surrogatepass"))


def rename_field(file: h5py.File, chance: random.Random) -> None:
    place = chance.choice(datasets(file))
    file.move(place, place.rpartition("/")[0] + "/" + chance.choice(FIELDS))


def add_field(file: h5py.File, chance: random.Random) -> None:
    place = chance.choice(groups(file)) + "/" + chance.choice(FIELDS)
    file[place] = chance.choice((1.0, "text", np.ones(3), np.ones((2, 2)), np.array([1, 2])))


def add_many_fields(file: h5py.File, chance: random.Random) -> None:
    place = chance.choice(groups(file))
    for number in range(500):
        file[f"{place}/x{number}"] = number


def change_values(file: h5py.File, chance: random.Random) -> None:
    place = chance.choice(datasets(file))
    value = value_of(file, place)
    if value.dtype.kind not in "fiu":
        raise ValueError(place)
    flat = value.reshape(-1).copy()
    where = chance.choice((slice(None), chance.randrange(max(1, flat.size))))
    with np.errstate(all="ignore"):
        flat[where] = np.float64(chance.choice(NUMBERS)).astype(flat.dtype)
    replace(file, place, flat.reshape(value.shape))


def change_shape(file: h5py.File, chance: random.Random) -> None:
    place = chance.choice(datasets(file))
    value = value_of(file, place)
    shape = chance.choice(
        (*SHAPES, value.shape[::-1], (1, *value.shape), (*value.shape, 1), value.shape[:-1])
    )
    replace(file, place, np.resize(value, shape))


def to_scalar(file: h5py.File, chance: random.Random) -> None:
    place = chance.choice(datasets(file))
    value = value_of(file, place)
    scalar = value.reshape(-1)[0]
    replace(file, place, chance.choice((scalar, np.array([scalar]), np.array([[scalar]]))))


def to_number(file: h5py.File, chance: random.Random) -> None:
    number = chance.choice(NUMBERS)
    value: Any = chance.choice((number, [number], [number] * 4, int(np.nan_to_num(number)) % 9))
    replace(file, chance.choice(datasets(file)), value)


def change_number_type(file: h5py.File, chance: random.Random) -> None:
    place = chance.choice(datasets(file))
    dtype = chance.choice(("f2", "f4", "f8", ">f4", ">i2", "i1", "u1", "u8", "i8", "?", "c8", "S4"))
    with np.errstate(all="ignore"):
        value = value_of(file, place).astype(dtype)
    replace(file, place, value)


def to_text(file: h5py.File, chance: random.Random) -> None:
    word = chance.choice((*WORDS, "x" * 100_000)).encode("utf8", "surrogatepass")
    value = chance.choice((word, [word], np.bytes_(word or b" "), [word, word]))
    replace(file, chance.choice(datasets(file)), value)


def to_bad_text(file: h5py.File, chance: random.Random) -> None:
    raw = chance.choice((b"\xff\xfe", b"\x80", b"LIF\x00\x01", b"\xc3", b"\xed\xa0\x80"))
    replace(file, chance.choice(datasets(file)), np.bytes_(raw))


def add_metadata(file: h5py.File, chance: random.Random) -> None:
    place = chance.choice(groups(file)) + "/metadata"
    for _ in range(chance.choice((1, 3, 30, 105))):
        place += "/" + (chance.choice(WORDS).replace("/", "") or "m")
    file[place] = chance.choice((1, "text", np.ones(9), h5py.Empty("f"), 1j))


MUTATIONS: tuple[Mutation, ...] = (
    *(rename_node, delete_object, delete_field, duplicate_node, swap_nodes, change_edge, add_edge),
    *(drop_edge, repeat_edges, shuffle_edges, reverse_edges, other_edges, wrap_nodes, many_nodes),
    *(change_type, rename_field, add_field, add_many_fields, change_values, change_values),
    *(change_shape, change_shape, to_scalar, to_number, change_number_type, to_text, to_bad_text),
    add_metadata,
    *fuzz_storage.MUTATIONS,
)
