"""What a converted module can be written as, and loaded from: the registry of artefacts.

A format that comes is a line here and two functions beside `pt.save` and `pt.load`, with the same
arguments. What cannot be written is refused before any work.
"""

from __future__ import annotations

import os

from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.text import listed, printable, quoted
from nirtorch_cli.reading.formats import Format, format_by_suffix, format_to_write

DESCRIPTION, METADATA = "nirtorch.json", "nirtorch"
"""Where an artefact says what made it: the file in an archive, the entry of its metadata."""

TRUST = "--trust"
"""What a format needs whose files may run code when they are loaded."""

ARTEFACTS = (
    Format(
        "pt",
        (".pt", ".pth"),
        writer="nirtorch_cli.conversion.artefacts.pt:save",
        reader="nirtorch_cli.conversion.artefacts.pt:load",
        called="a saved module",
        needs=TRUST,
    ),
    Format(
        "safetensors",
        (".safetensors",),
        writer="nirtorch_cli.conversion.artefacts.safetensors:save",
        called="the weights of a module",
        needs="safetensors",
        used="nirtorch_cli.load_weights puts them into a module",
    ),
    Format(
        "nir",
        (".nir",),
        writer="nirtorch_cli.conversion.artefacts.written_back:save",
        called="a NIR file",
    ),
    Format(
        "pt2",
        (".pt2",),
        writer="nirtorch_cli.conversion.artefacts.pt2:save",
        reader="nirtorch_cli.conversion.artefacts.pt2:load",
        called="an exported program",
        needs=TRUST,
    ),
    Format(
        "onnx",
        (".onnx",),
        writer="nirtorch_cli.conversion.artefacts.onnx:save",
        reader="nirtorch_cli.conversion.artefacts.onnx:load",
        called="an ONNX model",
        needs="onnx",
        takes=("sequence",),
    ),
    Format(
        "py",
        (".py",),
        writer="nirtorch_cli.conversion.artefacts.source.writing:save",
        called="a readable module",
        needs="safetensors",
        beside=".safetensors",
        used="Python imports it, and its load() gives the module",
    ),
)
"""The formats of saved modules; the first is what stdout and devices get."""

SEQUENCE = "sequence"
"""The option of formats that can hold a whole sequence instead of a step."""


def artefact_of(path: str, name: str | None = None) -> Format:
    """The format in which a module is written to a path; `-` is stdout.

    Arguments:
        name: of a format that is meant, whatever the path ends in.

    Raises:
        UsageError: there is no such format; see `format_to_write`.
    """
    if name is not None:
        known = {one.name: one for one in ARTEFACTS if one.writer is not None}
        if name not in known:
            hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
            raise UsageError(f"--to {quoted(name)} is no format of modules", hint=hint)
        return known[name]
    if path == "-":
        return ARTEFACTS[0]
    return format_to_write(path, ARTEFACTS, "a module", unnamed=ARTEFACTS[0])


def require_sequence(form: Format) -> None:
    """Refuse to write a whole sequence in a format that has only single steps.

    Raises:
        UsageError: it is such a format.
    """
    if SEQUENCE not in form.takes:
        able = listed([one.suffixes[0] for one in ARTEFACTS if SEQUENCE in one.takes])
        text = f"--sequence: {form.suffixes[0]} has no whole sequences"
        raise UsageError(text, hint=f"{able} has them")


def saved_format(path: str) -> Format:
    """The format in which a saved module is read, by the name of its file.

    What is saved under any other name is taken for a `.pt`.

    Raises:
        UsageError: the format holds no module that can be run.
    """
    found = format_by_suffix(path, ARTEFACTS) or ARTEFACTS[0]
    if found.used is not None:
        text = f"{printable(path)} holds {found.called}, and cannot be run"
        raise UsageError(text, hint=found.used)
    return found if found.reader is not None else ARTEFACTS[0]


def files_of(path: str, name: str | None = None) -> tuple[str, ...]:
    """The files that are written for a module: one, or one and what belongs beside it.

    Raises:
        UsageError: it is two files, and the path is stdout, a device or a pipe, or names the second
        of them; or there is no such format, see `artefact_of`.
    """
    found = artefact_of(path, name)
    if found.beside is None:
        return (path,)
    if path == "-" or (os.path.exists(path) and not os.path.isfile(path)):
        text = f"{found.called} is two files, and cannot be written to a stream"
        raise UsageError(text, hint=f"name the file with -o, such as model{found.suffixes[0]}")
    other = os.path.splitext(path)[0] + found.beside
    if other == path:
        text = f"{quoted(path)}: {found.called} has its weights in a file of this name"
        raise UsageError(text, hint=f"end it in {found.suffixes[0]}")
    return path, other


def require_trust(path: str, trust: bool) -> None:
    """Refuse to load a saved module that runs code, unless its user trusts it.

    Raises:
        UsageError: it is not trusted, or cannot be run.
    """
    form = saved_format(path)
    if form.needs == TRUST and not trust:
        what = "is a pickle" if form is ARTEFACTS[0] else "may hold pickles"
        text = f"{printable(path)} {what}: loading it runs the code that it names"
        raise UsageError(text, hint="give --trust if you trust who wrote it")
