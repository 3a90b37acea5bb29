"""How a dataset is stored: in chunks, in one piece, or in another file.

In: a dataset. Out: plain values, so that no property list of libhdf5 stays open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import h5py

_USER_DEFINED = h5py.h5d.FILL_VALUE_USER_DEFINED


@dataclass(frozen=True, slots=True)
class Packing:
    """The chunks of a dataset, and the filters that packed them."""

    chunk: tuple[int, ...]
    filters: tuple[Any, ...]
    has_fill_value: bool


def packing_of(dataset: h5py.h5d.DatasetID) -> Packing | Literal["elsewhere"] | None:
    """The packing of a chunked dataset, and whether its data are in another file.

    The property list does not leave this function: if it is still open when the process ends (an
    exception may keep the frame that holds it), libhdf5 (2.0) crashes.
    """
    creation = dataset.get_create_plist()
    layout = creation.get_layout()
    if layout == h5py.h5d.VIRTUAL or creation.get_external_count():
        return "elsewhere"
    if layout != h5py.h5d.CHUNKED:
        return None
    filters = tuple(creation.get_filter(place) for place in range(creation.get_nfilters()))
    has_fill_value = creation.fill_value_defined() == _USER_DEFINED
    return Packing(creation.get_chunk(), filters, has_fill_value)
