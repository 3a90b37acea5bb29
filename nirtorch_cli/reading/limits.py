"""The limits beyond which a model is refused. Imports nothing.

One option, `--max-bytes`, bounds a file as a whole: the bytes that its datasets claim, and the cost
of the objects that are made from it. The costs below were measured and rounded up; each also bounds
the time for an object, which is under a millisecond.
"""

DEFAULT_MAX_BYTES = 2**30
"""The default limit for what a file claims, and for what a step of its network takes."""

GROWTH = 8
"""A file may claim this many times its own size, if that is more: its size is no surprise."""


def allowed_bytes(max_bytes: int | None, size: int) -> int:
    """How many bytes a file of a size may claim: `max_bytes`, or the default if it is None."""
    return max(DEFAULT_MAX_BYTES, GROWTH * size) if max_bytes is None else max_bytes


OPERATIONS_FOR_A_BYTE = 8
"""Operations that a step may take for each byte of its limit: some seconds, at the default."""

NODE_BYTES = 16 * 2**10
"""What a node claims beside its parameters; it keeps a small file under 70,000 nodes."""

ENTRY_BYTES = 8 * 2**10
"""What an entry of metadata claims beside its data."""

FIELD_BYTES = 2**10
"""What any other group or dataset claims beside its data."""

TEXT_BYTES = 512
"""What a variable-length text claims beside its characters."""

EDGE_BYTES = 2 * TEXT_BYTES
"""What an edge claims, its names included."""

CHUNK_BYTES = 2**10
"""What each chunk of a dataset claims beside its data, stored or not."""

MAX_NESTING = 100
"""How deep nested graphs and metadata may be nested."""

MAX_NAME = 1024
"""How many characters a name may have: of a node, a field, a type, or in an edge."""

MAX_NAMES_BYTES = 32 * 2**20
"""How many bytes the names in one group may take together."""

MAX_PATH = 4 * MAX_NAME
"""How many characters the names of a nested node may have, those of its graphs included."""

MAX_SZIP_CHUNK = 16 * 2**20
"""The largest chunk packed with szip that libhdf5 may unpack."""

MAX_REREAD = 8
"""How many times each byte of a file may be unpacked, on average: chunks can share bytes."""
