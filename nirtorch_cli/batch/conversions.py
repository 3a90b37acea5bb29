"""Many .nir files to artefacts in a folder: `convert --out-dir`.

In: files, folders and patterns, the folder to write to, and what each conversion is asked for. Out:
a `Made` for each file; see `many`. Imports no torch itself; the processes do, once each.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nirtorch_cli._version import __version__
from nirtorch_cli.batch.examine import prepared
from nirtorch_cli.batch.many import Made, Manifest, Task, made, outputs
from nirtorch_cli.conversion.artefacts.formats import ARTEFACTS
from nirtorch_cli.conversion.options import Options
from nirtorch_cli.reading.digests import digest_of_file
from nirtorch_cli.reading.formats import format_named

CONVERTED = "converted"


@dataclass(frozen=True)
class _Conversion(Task):
    """A file to convert, and how."""

    format: str
    request: Options
    max_bytes: int | None


def convert_files(
    paths: Sequence[str],
    out_dir: str,
    request: Options,
    *,
    format: str = "pt",
    exclude: Sequence[str] = (),
    options_of: Callable[[str], Mapping[str, Any]] = lambda file: {},
    max_bytes: int | None = None,
    jobs: int | None = None,
    force: bool = False,
    on_done: Callable[[int, int], None] = lambda done, count: None,
) -> list[Made]:
    """Convert files into a folder, which is made if it is not there.

    Arguments:
        format: of the artefacts, by name; see `artefacts.formats`.
        exclude, options_of: as for `check.check`.
        jobs, force, on_done: see `many.made`.

    Raises:
        UsageError: see `many.outputs`.
        OutputError: the folder cannot be written to.
    """
    form = format_named(format, ARTEFACTS)
    asked = cache(lambda request: _asked(request, form.name))
    tasks = []
    for output, file in outputs(paths, out_dir, form.suffixes[0], exclude).items():
        own = request.changed(options_of(file))
        tasks.append(_Conversion(file, output, asked(own), form.name, own, max_bytes))
    return made(
        tasks,
        _convert,
        manifest=Manifest(Path(out_dir), (CONVERTED,)),
        prepare=prepared,
        jobs=jobs,
        force=force,
        on_done=on_done,
    )


def _asked(request: Options, format: str) -> str:
    """A digest of what is asked for: what it is, and by which program and which map."""
    maps = [digest_of_map(spec) for spec in (*request.maps, *request.map_nodes)]
    asked = {"options": asdict(request), "format": format, "version": __version__, "maps": maps}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def digest_of_map(spec: str) -> str | None:
    """The digest of a map's file, if a spec names one: `file.py:ATTR`, `NODE=file.py:ATTR`."""
    file = spec.rpartition("=")[2] if "=" in spec.partition(":")[0] else spec
    file = file.partition(".py")[0] + ".py" if ".py" in file else file
    return digest_of_file(file) if os.path.isfile(file) else None


def _convert(task: _Conversion) -> Made:
    """Convert a file, in a process of the pool."""
    from nirtorch_cli.conversion.model import convert_model, findings_of
    from nirtorch_cli.reading.graphs import read

    file = read(task.file, max_bytes=task.max_bytes, maps=True)
    module = convert_model(file, task.request)
    findings = tuple(findings_of(module))
    Path(task.output).parent.mkdir(parents=True, exist_ok=True)
    format_named(task.format, ARTEFACTS).write()(module, task.output)
    digests = file.sha256, digest_of_file(task.output)
    return Made(task.file, task.output, CONVERTED, *digests, findings)
