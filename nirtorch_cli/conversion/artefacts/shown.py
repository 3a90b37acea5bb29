"""What an artefact says of itself, without running any code of it, and without torch.

In: a path. Out: an `Artefact`: what made it, and its inputs, outputs, state and weights; or None if
the file is none that `convert -o` writes. Of a pickle or a program only the entry is read that
describes it. Cost: of reading the names, shapes and digest.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nirtorch_cli.conversion.artefacts.formats import ARTEFACTS, DESCRIPTION, METADATA
from nirtorch_cli.findings.errors import ReadError
from nirtorch_cli.findings.tracebacks import message
from nirtorch_cli.reading.digests import digest_of_file
from nirtorch_cli.reading.file_kinds import is_weights_file, is_zip_file
from nirtorch_cli.reading.formats import Format, format_by_suffix, format_named

_MOST = 2**26
"""A description of more bytes is none of ours."""


@dataclass(frozen=True)
class Held:
    """A tensor of an artefact: an input, an output, a variable of the state, or a weight.

    shape: a batch in it is `batch`; None where it is not known.
    """

    name: str
    kind: str
    shape: list[int | str] | None
    dtype: str

    @property
    def shape_text(self) -> str:
        """The shape in words: (batch, 10)."""
        return "?" if self.shape is None else f"({', '.join(map(str, self.shape))})"


@dataclass(frozen=True)
class Artefact:
    """What an artefact says of itself.

    format: by name. sequence: whether it takes a whole sequence at once. provenance: what made it,
    see `provenance`.
    """

    file: str
    size: int
    sha256: str | None
    format: str
    sequence: bool
    provenance: dict[str, Any]
    tensors: list[Held]

    @property
    def called(self) -> str:
        """What it is, in words."""
        return format_named(self.format, ARTEFACTS).called

    def to_json(self) -> dict[str, Any]:
        """The artefact as a JSON object: what `nirtorch inspect --json` prints."""
        return asdict(self)


def artefact_at(path: str) -> Artefact | None:
    """What an artefact says of itself; None if a file is no artefact.

    Raises:
        ReadError: it is one that nirtorch did not write, or it is damaged.
        ModuleNotFoundError: what reads its format is not installed.
    """
    form = _format_at(path)
    if form is None:
        return None
    try:
        said, tensors = _READERS[form.name](path)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # each library has its own
        text = f"is damaged, or no {form.suffixes[0]} file: {message(error)}"
        raise ReadError("NIR020", text, file=path) from error
    if said is None:
        text = f"is {form.called} that nirtorch did not write: it does not say what made it"
        raise ReadError("NIR020", text, file=path)
    return Artefact(
        file=path,
        size=os.path.getsize(path),
        sha256=digest_of_file(path),
        format=form.name,
        sequence=bool(said.get("sequence", False)),
        provenance=dict(said.get("provenance", said)),
        tensors=[*_ports(said), *tensors],
    )


def _format_at(path: str) -> Format | None:
    """The format of an artefact, by its content where that tells it."""
    if not os.path.isfile(path):
        return None
    if is_weights_file(path):
        return format_named("safetensors", ARTEFACTS)
    named = format_by_suffix(path, [one for one in ARTEFACTS if one.name in ("onnx", "py")])
    if named is not None:
        return named
    if is_zip_file(path) and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
        if "data.pkl" in names and DESCRIPTION in names:
            return format_named("pt", ARTEFACTS)
        if f"extra/{DESCRIPTION}" in names:
            return format_named("pt2", ARTEFACTS)
    return None


def _ports(said: Mapping[str, Any]) -> Iterator[Held]:
    for kind in ("inputs", "outputs", "state", "weights"):
        for one in said.get(kind, ()):
            shape = None if one["shape"] is None else list(one["shape"])
            yield Held(one["name"], kind.rstrip("s"), shape, one["dtype"])


_Said = tuple["dict[str, Any] | None", list[Held]]


def _of_archive(path: str) -> _Said:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.filename.rpartition("/")[2] == DESCRIPTION and info.file_size <= _MOST:
                return json.loads(archive.read(info)), []
    return None, []


def _of_weights(path: str) -> _Said:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        said = (file.metadata() or {}).get(METADATA)
        tensors = []
        for name in file.keys():  # noqa: SIM118 (it is no dict)
            part = file.get_slice(name)
            dtype = _TYPES.get(part.get_dtype(), part.get_dtype())
            tensors.append(Held(name, "weight", list(part.get_shape()), dtype))
    return None if said is None else json.loads(said), tensors


_TYPES = {
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{"BF16": "bfloat16", "U8": "uint8", "BOOL": "bool"},
}
"""What safetensors calls torch's types."""


def _of_source(path: str) -> _Said:
    return _of_weights(os.path.splitext(path)[0] + ".safetensors")


def _of_onnx(path: str) -> _Said:
    import onnx

    model = onnx.load_model(path, load_external_data=False)
    said = {entry.key: entry.value for entry in model.metadata_props}.get(METADATA)
    return None if said is None else json.loads(said), []


_READERS = {
    "pt": _of_archive,
    "pt2": _of_archive,
    "safetensors": _of_weights,
    "py": _of_source,
    "onnx": _of_onnx,
}
