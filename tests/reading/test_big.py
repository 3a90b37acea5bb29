"""Big weights: unpacked by several threads, mapped, and shared with the module."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from nirtorch_cli import default_map, nir_to_torch
from nirtorch_cli.conversion.defaults import DEFAULT_MAP
from nirtorch_cli.conversion.interpreter import convert_file
from nirtorch_cli.findings.errors import ReadError
from nirtorch_cli.reading import processors
from nirtorch_cli.reading.graphs import read

SHAPE = (1100, 1000)
"""Of float32: more than what is worth sharing, and not a multiple of the chunks."""


def stored(path: Path, **options: Any) -> np.ndarray:
    """A file of one dense layer, whose weights are stored as h5py's options say."""
    weight = np.random.default_rng(0).standard_normal(SHAPE, np.float32)
    nir.write(path, nir.NIRGraph.from_list(nir.Linear(weight)))
    with h5py.File(path, "r+", alignment_threshold=1, alignment_interval=8) as file:
        node = file["node/nodes/linear"]
        del node["weight"]
        node.create_dataset("weight", data=weight, **options)
    return weight


def weight_of(path: Path) -> np.ndarray:
    found: np.ndarray = read(path).graph.nodes["linear"].weight
    return found


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip"},
        {"compression": "gzip", "shuffle": True, "fletcher32": True, "chunks": (64, 300)},
        {"compression": "lzf", "chunks": (999, 7)},
        {"chunks": (300, 400)},
        {"chunks": SHAPE, "compression": "gzip"},
        {},
    ],
    ids=str,
)
def test_weights_are_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], threads: int
) -> None:
    monkeypatch.setattr(processors, "usable_cpus", lambda: threads)
    path = tmp_path / "a.nir"
    weight = stored(path, **options)
    found = weight_of(path)
    assert found.dtype == np.float32
    assert found.flags.writeable
    np.testing.assert_array_equal(found, weight)


def test_chunks_that_were_never_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.nir"
    weight = stored(path)
    with h5py.File(path, "r+") as file:
        node = file["node/nodes/linear"]
        del node["weight"]
        data = node.create_dataset("weight", SHAPE, "f4", chunks=(100, 100), fillvalue=7)
        data[200:400, 500:600] = weight[200:400, 500:600]
    expected = np.full(SHAPE, 7, np.float32)
    expected[200:400, 500:600] = weight[200:400, 500:600]
    np.testing.assert_array_equal(weight_of(path), expected)


def test_damage_in_a_chunk_of_many(tmp_path: Path) -> None:
    path = tmp_path / "a.nir"
    stored(path, compression="gzip", chunks=(100, 100))
    with h5py.File(path, "r+") as file:
        data = file["node/nodes/linear/weight"]
        data.id.write_direct_chunk((500, 300), b"not what zlib made")
    with pytest.raises(ReadError, match="damaged HDF5 file") as caught:
        read(path)
    assert caught.value.findings[0].node == "linear"
    assert caught.value.findings[0].parameter == "weight"


@pytest.mark.skipif(os.name != "posix", reason="Windows would not let go of the file")
def test_contiguous_data_are_mapped(tmp_path: Path) -> None:
    path = tmp_path / "a.nir"
    weight = stored(path)
    before = path.read_bytes()
    found = read(path, maps=True).graph.nodes["linear"].weight
    assert isinstance(found.base, np.memmap)
    found += 1
    np.testing.assert_array_equal(found, weight + 1)
    assert path.read_bytes() == before


def test_a_module_outlives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.nir"
    weight = stored(path)
    module = nir_to_torch(path, {})
    path.write_bytes(b"")
    (found,) = module.parameters()
    np.testing.assert_array_equal(found.detach().numpy(), weight)


def test_data_that_end_outside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.nir"
    stored(path)
    path.write_bytes(path.read_bytes()[:-1000])
    for maps in (False, True):
        with pytest.raises(ReadError, match="truncated"):
            read(path, maps=maps)


def test_a_module_lies_in_the_memory_of_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "a.nir"
    stored(path, compression="gzip")
    file = read(path)
    (weight,) = convert_file(file, DEFAULT_MAP).parameters()
    assert weight.data_ptr() == file.graph.nodes["linear"].weight.ctypes.data


def test_a_module_of_a_graph_has_its_own_memory(tmp_path: Path) -> None:
    """Training it leaves the graph as it was, and changing the graph leaves the module."""
    weight, zero = np.ones((2, 2), np.float32), np.zeros(2, np.float32)
    tau = np.full(2, 0.5, np.float32)
    graph = nir.NIRGraph.from_list(nir.Linear(weight), nir.LI(tau, tau, zero))
    module = nir_to_torch(graph, {}, default_map(dt=0.1))
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.detach().mul_(3)
    assert (weight == 1).all()
    assert (tau == 0.5).all()
    alone = nir_to_torch(nir.Linear(weight), {})
    next(alone.parameters()).detach().mul_(3)
    assert (weight == 1).all()


def test_the_digest_is_of_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.nir"
    stored(path, compression="gzip")
    monkeypatch.setattr("nirtorch_cli.reading.digests._PIECE", 100_000)
    assert read(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


# ------------------------------------------------------------------------- work that is shared


@pytest.mark.parametrize("threads", [1, 3])
def test_every_task_is_done(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(processors, "usable_cpus", lambda: threads)
    done: list[int] = []
    processors.shared(lambda n=n: done.append(n) for n in range(100))  # type: ignore[misc]
    assert sorted(done) == list(range(100))


def test_tasks_are_taken_when_they_can_soon_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "usable_cpus", lambda: 2)
    open_now, most, lock = [0], [0], threading.Lock()

    def task() -> None:
        with lock:
            open_now[0] -= 1

    def tasks() -> Any:
        for _ in range(200):
            with lock:
                open_now[0] += 1
                most[0] = max(most[0], open_now[0])
            yield task

    processors.shared(tasks())
    assert open_now == [0]
    assert most[0] <= 8


def test_an_error_of_a_task_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "usable_cpus", lambda: 2)
    done: list[int] = []

    def task(number: int) -> None:
        if number == 50:
            raise ValueError("fifty")
        done.append(number)

    with pytest.raises(ValueError, match="fifty"):
        processors.shared(lambda n=n: task(n) for n in range(100))  # type: ignore[misc]
    assert 49 <= len(done) < 99
