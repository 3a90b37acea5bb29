"""NIR names to Python identifiers, injectively.

In: the names of the nodes of one graph, in any order, and the identifiers that are taken. Out: an
identifier for each. A node keeps the name that users of nirtorch know (`.` becomes `_`) if that is
an identifier that no other node of the graph has; otherwise, and if it is a keyword, it gets the
prefix `nir_node_` and an escaped name, from which the NIR name can be read back.

Always holds: the result depends on the set of names only; two names never share
an identifier; no identifier is a keyword, is in `reserved`, starts with `_` (where
torch keeps a module's insides) or with `nirtorch_cli`, is called by generated code, or
ends in `_prev_output` (the state keys of delayed edges). Cost: linear in the total
length of the names.
"""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable

ESCAPE_PREFIX = "nir_node_"
PREVIOUS_OUTPUT_SUFFIX = "_prev_output"
_CALLED = frozenset(
    ("dict", "getattr", "torch", "device", "inf", "nan", "NoneType", "fx_pytree", "pytree")
)
"""What generated code may call by these very names; an argument named so would hide it."""


def escaped_name(name: str) -> str:
    """An identifier from which `name` can be read back, whatever characters it has.

    ASCII letters and digits stay, `_` is doubled, any other character becomes
    its code point in hexadecimal between two `_`. A keyword thus gets the prefix
    that nirtorch gives it.

    >>> escaped_name("if"), escaped_name("0"), escaped_name("a.b"), escaped_name("my lif")
    ('nir_node_if', 'nir_node_0', 'nir_node_a_2e_b', 'nir_node_my_20_lif')
    """
    return ESCAPE_PREFIX + "".join(_escape(character) for character in name)


def unescaped_name(identifier: str) -> str:
    """The NIR name behind an identifier made by `escaped_name`."""
    body = identifier.removeprefix(ESCAPE_PREFIX)
    return re.sub(r"__|_([0-9a-f]+)_", lambda m: chr(int(m[1], 16)) if m[1] else "_", body)


def previous_output_key(identifier: str) -> str:
    """The state key under which a delayed edge keeps the last output of its source."""
    return identifier + PREVIOUS_OUTPUT_SUFFIX


def identifiers(names: Iterable[str], reserved: Collection[str] = ()) -> dict[str, str]:
    """An identifier for each name of a graph.

    `reserved` are identifiers that must not be used, such as the attributes of
    `torch.fx.GraphModule`. Where several names ask for one identifier, it goes
    to the one that is spelled so; if there is none, no name gets it.
    """
    wanted = {name: name.replace(".", "_") for name in names}
    demand = Counter(wanted.values())
    return {
        name: simple
        if _is_usable(simple, reserved) and (name == simple or demand[simple] == 1)
        else escaped_name(name)
        for name, simple in wanted.items()
    }


def _escape(character: str) -> str:
    if character == "_":
        return "__"
    if character.isascii() and character.isalnum():
        return character
    return f"_{ord(character):x}_"


def _is_usable(identifier: str, reserved: Collection[str]) -> bool:
    return (
        identifier.isidentifier()
        # Python reads `ﬁ` and `fi` as one name: only a spelling that Python keeps is safe.
        and unicodedata.normalize("NFKC", identifier) == identifier
        and identifier not in reserved
        and identifier not in _CALLED
        and not keyword.iskeyword(identifier)
        and not identifier.startswith((ESCAPE_PREFIX, "nirtorch_cli", "_"))
        and not identifier.endswith(PREVIOUS_OUTPUT_SUFFIX)
    )
