"""A converted module as a `.pt2` file of torch.export: one step, for any process with torch.

In: a module. Out: an archive that `torch.export.load` reads, with the `Description` as the extra
file `nirtorch.json`. The same module gives the same bytes, with one version of torch.

Without this program, for a batch of three from rest:

    extra = {"nirtorch.json": ""}
    step = torch.export.load("model.pt2", extra_files=extra).module()
    state = {
        one["name"]: torch.tensor(one["rest"], dtype=getattr(torch, one["dtype"])).expand(
            [3 if n == "batch" else n for n in one["shape"]]
        )
        for one in json.loads(extra["nirtorch.json"])["state"]
    }
    output, state = step(torch.ones(3, 8), state)

`torch.export.load` unpickles what the archive says is a pickle, loads libraries that it holds, and
evaluates text in it: loading runs code if its writer wants it to, although ours has none.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import torch
from torch import Tensor

from nirtorch_cli.conversion.artefacts.atomic import PathLike, write_to
from nirtorch_cli.conversion.artefacts.description import from_json
from nirtorch_cli.conversion.artefacts.formats import DESCRIPTION
from nirtorch_cli.conversion.artefacts.opaque import OpaqueModule, opaque_module
from nirtorch_cli.conversion.artefacts.program import program_of, said
from nirtorch_cli.conversion.artefacts.resting import refusal
from nirtorch_cli.findings.errors import ReadError
from nirtorch_cli.findings.suggestions import did_you_mean_file
from nirtorch_cli.findings.tracebacks import is_interrupt, lacks_memory


def save(module: Any, target: PathLike | BinaryIO, *, clobber: bool = True) -> None:
    """Store a converted module as an exported program.

    Arguments:
        module: what `nir_to_torch` returned.
        target: a path, or a binary stream that is written to.
        clobber: replace a file that is there already.

    Raises:
        SaveError: torch.export cannot export it; says why.
        OutputError: the target cannot be written, or exists and `clobber` is False.
    """
    program = program_of(module)
    content = io.BytesIO()  # not a path, whose name would be in the archive
    extra = {DESCRIPTION: program.description.to_json()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about itself
            torch.export.save(program.exported, content, extra_files=extra)
    except Exception as error:
        raise refusal(f"torch.export cannot store it: {said(error)}") from error
    write_to(target, content.getvalue(), clobber=clobber)


def load(source: PathLike, *, map_location: torch.device | str | None = None) -> OpaqueModule:
    """Load a program that `save` stored. Runs code that the file names: trust it first.

    Arguments:
        source: a path.
        map_location: the device to run it on, which is the CPU.

    Raises:
        ReadError: it cannot be read, or is no such program.
    """
    name = os.fspath(source)
    extra = {DESCRIPTION: ""}
    try:
        with open(source, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exported = torch.export.load(io.BytesIO(file.read()), extra_files=extra)
            description = from_json(extra[DESCRIPTION])
            return opaque_module(_Exported(exported), description)
    except FileNotFoundError as error:
        hint = did_you_mean_file(name)
        raise ReadError("NIR001", "no such file", hint=hint, file=name) from error
    except BaseException as error:  # unpickling may raise any error
        if is_interrupt(error) or lacks_memory(error):
            raise
        text = f"is no program that nirtorch exported, or is damaged: {said(error)}"
        raise ReadError("NIR020", text, file=name) from error


class _Exported:
    """One step by an exported program."""

    def __init__(self, exported: torch.export.ExportedProgram) -> None:
        self.exported = exported
        self.module = exported.module()

    def __call__(
        self, inputs: Sequence[Tensor], state: Mapping[str, Tensor]
    ) -> tuple[Sequence[Tensor], Mapping[str, Tensor]]:
        output, after = self.module(*inputs, dict(state))
        return [*output.values()] if isinstance(output, dict) else [output], after

    def __deepcopy__(self, memo: dict[int, Any]) -> _Exported:
        return self  # it has no state of its own
