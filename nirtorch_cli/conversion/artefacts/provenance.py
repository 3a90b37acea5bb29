"""What made a converted module, as plain values that every artefact of it carries.

In: a converted module. Out: a dict that JSON can hold. Always holds: the same conversion gives the
same dict, so that two artefacts can be compared byte by byte; it has no time, path or user.
"""

from __future__ import annotations

import json
from typing import Any

from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.conversion.options import OF_A_STEP

KEYS = (
    *("file", "sha256", "file_version"),
    *("dt", "dt_reason", "dt_is_guess", "written_by", *OF_A_STEP),
    *("maps", "versions"),
)
"""The entries of a module's `meta` that say what made it: the file, the meaning of a step, the
maps, and the versions of the libraries."""


def provenance(module: ConvertedModule) -> dict[str, Any]:
    """What made a module: None where nothing is known of it."""
    return {key: module.meta.get(key) for key in KEYS}


def provenance_text(module: ConvertedModule) -> str:
    """The same as one line of JSON."""
    return json.dumps(provenance(module), sort_keys=True, default=str)
