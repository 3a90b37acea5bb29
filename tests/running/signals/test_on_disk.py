"""Large NIR data stay on the disk: mapped, or unpacked into a temporary file."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from nirtorch_cli.reading import hdf5
from nirtorch_cli.reading.sources import FilePart
from nirtorch_cli.running.signals.formats import FileArray, recording_of

DATA = np.arange(6 * 50 * 4, dtype=np.float32).reshape(6, 50, 4)
"""Samples, steps, neurons."""


@pytest.fixture(
    params=[{}, {"compression": "gzip", "chunks": (4, 20, 3)}, {"chunks": (1, 50, 4)}], ids=str
)
def file(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """NIR data, of which so little is large already."""
    monkeypatch.setattr(hdf5, "_WORTH_MAPPING", 100)
    monkeypatch.setattr(hdf5, "_WORTH_SPOOLING", 100)
    path = tmp_path / "a.h5"
    observable = nir.TimeGriddedData(DATA, 1e-3)
    nir.write_data(path, nir.NIRGraphData({"input": nir.NIRNodeData({"output": observable})}))
    with h5py.File(path, "r+", alignment_threshold=1, alignment_interval=8) as opened:
        group = opened["nodes/input/observables/output"]
        del group["data"]
        group.create_dataset("data", data=DATA, **request.param)
    return path


def read(path: Path) -> Any:
    found = recording_of(FilePart(str(path)), dt=1e-3, max_bytes=None, stdin=None)
    assert isinstance(found, FileArray)
    assert found.is_flat
    return found.values


def base_of(array: Any) -> Any:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def test_its_numbers(file: Path) -> None:
    values = read(file)
    np.testing.assert_array_equal(values, DATA.swapaxes(0, 1))
    if os.name == "posix":
        assert isinstance(base_of(values), np.memmap)


def test_nothing_is_left_on_the_disk(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    values = read(file)
    if os.name == "posix":
        assert list(place.iterdir()) == []
    np.testing.assert_array_equal(values[3:5, 1], DATA[1, 3:5])
    before = file.read_bytes()
    base_of(values)[...] = 7  # whatever a run does
    assert file.read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room is not reserved here")
def test_where_the_disk_is_full(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    np.testing.assert_array_equal(read(file), DATA.swapaxes(0, 1))
