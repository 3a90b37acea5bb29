"""The numeric attributes of an HDF5 group, in a file that may come from a stranger.

In: a group of a `Store`, and a name. Out: the number. NIR models have no attributes; NIR data
files keep times there.

Always holds: texts and arrays are not read, so the memory needed does not depend on the file. Cost:
constant.
"""

from __future__ import annotations

import h5py
import numpy as np

from nirtorch_cli.findings.errors import ReadError
from nirtorch_cli.reading.hdf5 import Member, Store
from nirtorch_cli.reading.sources import one_line

_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)

_MOST_BYTES = 16
"""Bytes of the longest number type of any machine."""


def number_of(store: Store, member: Member, name: str, where: str | None) -> int | float | None:
    """The number of an attribute; None if the group has none of this name.

    Raises:
        ReadError: it is damaged, or holds something else.
    """
    try:
        owner = member.opened()
        if not h5py.h5a.exists(owner, name.encode()):
            return None
        found = h5py.h5a.open(owner, name.encode())
        kind = found.get_type()
        is_float = isinstance(kind, h5py.h5t.TypeFloatID)
        is_number = is_float or isinstance(kind, h5py.h5t.TypeIntegerID)
        if not is_number or kind.get_size() > _MOST_BYTES or found.shape not in ((), (1,)):
            raise ReadError("NIR016", "is not a number", where, name)
        store.claim(_MOST_BYTES, where, name)
        value = np.zeros(found.shape, np.float64 if is_float else np.int64)
        found.read(value)
    except _DAMAGE as error:
        text = f"damaged HDF5 file: {one_line(error)}"
        raise ReadError("NIR002", text, where, name) from error
    number: int | float = value.item()
    return number
