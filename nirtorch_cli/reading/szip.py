"""Unpacks a chunk that szip packed, by libhdf5 (there is no Python library), with a check.

If such a chunk ends too early, libhdf5 returns whatever was in memory, which differs from call to
call. So it is given the chunk twice, in a file made here, each time followed by other bytes: the
result must not depend on these.

Cost: linear in the bytes of the chunk, unpacked.
"""

from __future__ import annotations

import uuid

import h5py
import numpy as np

from nirtorch_cli.reading.filters import SZIP

_CODING = h5py.h5z.SZIP_EC_OPTION_MASK | h5py.h5z.SZIP_NN_OPTION_MASK

_BEHIND = (b"\xff", b"\xaa")
"""Bytes that follow the chunk; with any of them szip comes to an end."""


def from_szip(dataset: h5py.h5d.DatasetID, stored: bytes, size: int) -> bytes:
    """Unpack a chunk.

    Arguments:
        dataset: the one that it is from, which says how it was packed.
        stored: the chunk as the file has it.
        size: how many bytes must come out.

    Raises:
        ValueError: other than `size` bytes come out.
    """
    if int.from_bytes(stored[:4], "little") != size:
        raise ValueError("a chunk is not as long as it should be")
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_core(backing_store=False)
    with h5py.File(h5py.h5f.create(uuid.uuid4().hex.encode(), fapl=access)) as file:
        one, other = (
            _unpacked(file.id, dataset, stored + rest * (2 * size + 64)) for rest in _BEHIND
        )
    if one != other:
        raise ValueError("a chunk is not as long as it should be")
    return one


def _unpacked(file: h5py.h5f.FileID, dataset: h5py.h5d.DatasetID, stored: bytes) -> bytes:
    options, block, *_ = values = _values(dataset)
    chunk = dataset.get_create_plist().get_chunk()
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk(chunk)
    creation.set_szip(options & _CODING, block)
    kind, space = dataset.get_type(), h5py.h5s.create_simple(chunk)
    made = h5py.h5d.create(file, None, kind, space, creation)
    if _values(made)[1:] != values[1:]:
        raise ValueError("a chunk cannot be unpacked")
    made.write_direct_chunk((0,) * len(chunk), stored)
    array = np.zeros(chunk, kind.dtype)
    made.read(h5py.h5s.ALL, h5py.h5s.ALL, array, kind)
    return array.tobytes()


def _values(dataset: h5py.h5d.DatasetID) -> tuple[int, ...]:
    """The szip parameters of a dataset: options, pixels per block, bits per pixel, and so on."""
    values: tuple[int, ...] = dataset.get_create_plist().get_filter_by_id(SZIP)[1]
    return values
