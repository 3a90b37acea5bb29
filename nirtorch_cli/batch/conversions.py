"""Many .nir files to artefacts in a folder: `convert --out-dir`.

In: files, folders and patterns, the folder to write to, and what each conversion is asked for. Out:
a `Made` for each file; see `many`. Imports no torch itself; the processes do, once each.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

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
    max_bytes: int | None = None,
    jobs: int | None = None,
    force: bool = False,
    on_done: Callable[[int, int], None] = lambda done, count: None,
) -> list[Made]:
    """Convert files into a folder, which is made if it is not there.

    Arguments:
        format: of the artefacts, by name; see `artefacts.formats`.
        jobs, force, on_done: see `many.made`.

    Raises:
        UsageError: see `many.outputs`.
        OutputError: the folder cannot be written to.
    """
    form = format_named(format, ARTEFACTS)
    tasks = [
        _Conversion(file, output, form.name, request, max_bytes)
        for output, file in outputs(paths, out_dir, form.suffixes[0]).items()
    ]
    manifest = Manifest(Path(out_dir), _asked(request, format), CONVERTED)
    return made(
        tasks,
        _convert,
        manifest=manifest,
        prepare=prepared,
        jobs=jobs,
        force=force,
        on_done=on_done,
    )


def _asked(request: Options, format: str) -> str:
    """A digest of what is asked for: what it is, and by which program and which map."""
    maps = [_content_of(spec) for spec in (*request.maps, *request.map_nodes)]
    asked = {"options": asdict(request), "format": format, "version": __version__, "maps": maps}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _content_of(spec: str) -> str | None:
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
