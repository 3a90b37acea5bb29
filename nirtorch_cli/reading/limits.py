"""How much of a model is taken before it is refused. Imports nothing.

One knob, `--max-bytes`, bounds a file as a whole: what its datasets claim, and what the
objects that are made of it cost. The costs below were measured and rounded up; each also
bounds the time that an object takes, which is under a millisecond.
"""

DEFAULT_MAX_BYTES = 2**30
"""What a file may claim, and a step of its network take, where nothing is said."""

GROWTH = 8
"""So many times its own size a file may claim, if that is more: it is plain that it is large."""


def allowed_bytes(max_bytes: int | None, size: int) -> int:
    """How many bytes a file of some size may ask for; `max_bytes` where that was said."""
    return max(DEFAULT_MAX_BYTES, GROWTH * size) if max_bytes is None else max_bytes


OPERATIONS_FOR_A_BYTE = 8
"""So many operations a step may take for each byte that it may: seconds' worth, at the default."""

NODE_BYTES = 16 * 2**10
"""What a node claims beside its parameters: no 70,000 fit into a file that is small."""

ENTRY_BYTES = 8 * 2**10
"""What an entry of metadata claims beside its data."""

FIELD_BYTES = 2**10
"""What any other group or dataset claims beside its data."""

TEXT_BYTES = 512
"""What a text of any length claims beside its characters."""

EDGE_BYTES = 2 * TEXT_BYTES
"""What an edge claims, its names included."""

CHUNK_BYTES = 2**10
"""What each chunk of a dataset claims beside its data, stored or not."""

MAX_NESTING = 100
"""How deep nested graphs and metadata may be nested."""

MAX_NAME = 1024
"""How many characters a name may have: of a node, a field, a type, or in an edge."""

MAX_NAMES_BYTES = 32 * 2**20
"""How many bytes the names in one group may take, all together."""

MAX_PATH = 4 * MAX_NAME
"""How many characters the names of a nested node may have, those of its graphs included."""

MAX_SZIP_CHUNK = 16 * 2**20
"""The largest chunk that libhdf5 is let loose on, of what was packed with szip."""

MAX_REREAD = 8
"""How often the bytes of a file may be unpacked, on average; chunks can share them."""
