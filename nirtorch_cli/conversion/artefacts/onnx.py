"""A converted module as an `.onnx` file: one step with an explicit state, or a whole sequence.

In: a module. Out: an ONNX model, checked by onnx.checker:

    inputs   each Input by its NIR name, (batch, ...); each tensor of the state, `<node>.<variable>`
    outputs  each Output by its NIR name; each tensor after the step, `<node>.<variable>.next`

and with `sequence` the same over time: Inputs and Outputs are (time, batch, ...), the state is that
before the first step and after the last, and a Scan runs the steps. `metadata_props` hold the
`Description` under `nirtorch`. Loading it runs no code: onnxruntime computes what the file says.

Needs the extra `onnx`. Cost: that of `program_of`, and of torch.onnx, which takes seconds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import torch
from torch import Tensor

from nirtorch_cli.conversion.artefacts.atomic import PathLike, write_to
from nirtorch_cli.conversion.artefacts.description import Description, following, from_json
from nirtorch_cli.conversion.artefacts.formats import METADATA
from nirtorch_cli.conversion.artefacts.opaque import OpaqueModule, opaque_module
from nirtorch_cli.conversion.artefacts.program import Program, program_of, said, tested_steps
from nirtorch_cli.conversion.artefacts.resting import refusal
from nirtorch_cli.findings.errors import ReadError
from nirtorch_cli.findings.suggestions import did_you_mean_file
from nirtorch_cli.findings.tracebacks import is_interrupt, lacks_memory


def save(
    module: Any, target: PathLike | BinaryIO, *, clobber: bool = True, sequence: bool = False
) -> None:
    """Store a converted module as an ONNX model.

    Arguments:
        module: what `nir_to_torch` returned.
        target: a path, or a binary stream that is written to.
        clobber: replace a file that is there already.
        sequence: whether the model takes all steps of a sequence at once.

    Raises:
        SaveError: torch.onnx cannot export it; says why.
        OutputError: the target cannot be written, or exists and `clobber` is False.
    """
    from nirtorch_cli.conversion.artefacts.onnx_graph import checked_bytes, model_of

    program = program_of(module)
    program = replace(program, description=replace(program.description, sequence=sequence))
    translated = _translated(program.exported)
    try:
        model = model_of(translated, program.description)
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA, program.description.to_json()
        content = checked_bytes(model)
    except Exception as error:  # protobuf and the checker have many
        raise refusal(f"onnx cannot store it: {said(error)}") from error
    _require_same_numbers(program, content)
    write_to(target, content, clobber=clobber)


def _translated(exported: torch.export.ExportedProgram) -> Any:
    """What torch.onnx makes of a program: an ONNX model with names of its own.

    Raises:
        SaveError: it cannot; says why.
    """
    import onnxscript  # noqa: F401  (torch says less clearly that it is missing)

    try:
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")  # torch's own, about itself
            found = torch.onnx.export(exported, dynamo=True, verbose=False)
            assert found is not None
            return found.model_proto
    except BaseException as error:  # torch's own classes, which change
        if is_interrupt(error) or lacks_memory(error):
            raise
        raise refusal(f"torch.onnx cannot export it: {_first_cause(error)}") from error


def _require_same_numbers(program: Program, content: bytes) -> None:
    """Require that onnxruntime computes what the module does, one step after the other.

    Sums are rounded in another order, so that a voltage that just reaches its threshold may spike
    in one only. What torch.onnx translates wrongly gives other numbers almost everywhere.

    Raises:
        SaveError: it does not, or cannot.
    """
    try:
        session = _Session(content)
    except ImportError:
        raise
    except Exception as error:  # onnxruntime has many
        raise refusal(f"onnxruntime cannot run it: {said(error)}") from error
    for inputs, before, output, after in tested_steps(program):
        outputs, new = session(inputs, before)
        wanted = [*output.values()] if isinstance(output, dict) else [output]
        pairs = [*zip(outputs, wanted), *((new[name], after[name]) for name in after)]
        if any(_share_of_others(*pair) > _MOST_OTHERS for pair in pairs):
            most = max(float((one.double() - other.double()).abs().max()) for one, other in pairs)
            text = f"onnxruntime gives other numbers for it than the module does, by {most:.2g}"
            is_usual = program.description.inputs[0].dtype == "float32"
            raise refusal(text, hint=None if is_usual else "convert it with --dtype float32")


def _share_of_others(one: Tensor, other: Tensor) -> float:
    """The share of numbers that differ by more than rounding."""
    if one.shape != other.shape or not one.numel():
        return float(one.shape != other.shape)
    precision = torch.finfo(other.dtype).eps if other.is_floating_point() else 0.0
    wide, target = one.double(), other.double()
    close = torch.isclose(wide, target, _ROUNDINGS * precision, _ROUNDINGS * precision, True)
    return 1.0 - float(close.double().mean())


_MOST_OTHERS, _ROUNDINGS = 0.1, 256
"""The most that may differ of an output or a variable; the roundings of a number of size one."""


def _first_cause(error: BaseException) -> str:
    """What went wrong at first: the errors around it are about torch's own stages."""
    while error.__cause__ is not None:
        error = error.__cause__
    return said(error)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch.onnx logs about libraries that are not needed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def load(source: PathLike, *, map_location: torch.device | str | None = None) -> OpaqueModule:
    """Load a model that `save` stored, to be run by onnxruntime on the CPU. Runs no code of it.

    Arguments:
        source: a path.
        map_location: the device of the inputs, which is the CPU.

    Raises:
        ReadError: it cannot be read, or is no such model.
    """
    name = os.fspath(source)
    try:
        with open(source, "rb") as file:
            network = _Session(file.read())
    except FileNotFoundError as error:
        hint = did_you_mean_file(name)
        raise ReadError("NIR001", "no such file", hint=hint, file=name) from error
    except ImportError:
        raise  # onnxruntime is not installed
    except Exception as error:  # onnxruntime has many
        text = f"is no model that nirtorch exported, or is damaged: {said(error)}"
        raise ReadError("NIR020", text, file=name) from error
    return opaque_module(network, network.description)


class _Session:
    """One step by onnxruntime."""

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        self.content = content
        self.session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        described = self.session.get_modelmeta().custom_metadata_map.get(METADATA)
        if described is None:
            raise ValueError("it does not say what its inputs and its state are")
        self.description: Description = from_json(described)
        wanted = {*(one.name for one in self.description.inputs + self.description.state)}
        taken = {one.name for one in self.session.get_inputs()}
        if taken != wanted:
            raise ValueError("it takes other inputs than it says")

    def __call__(
        self, inputs: Sequence[Tensor], state: Mapping[str, Tensor]
    ) -> tuple[Sequence[Tensor], Mapping[str, Tensor]]:
        said, is_sequence = self.description, self.description.sequence
        fed = {one.name: x[None] if is_sequence else x for one, x in zip(said.inputs, inputs)}
        names = [
            *(one.name for one in said.outputs),
            *(following(one.name) for one in said.state),
        ]
        arrays = {name: x.detach().contiguous().numpy() for name, x in {**fed, **state}.items()}
        given = [torch.from_numpy(values) for values in self.session.run(names, arrays)]
        outputs = given[: len(said.outputs)]
        after = dict(zip((one.name for one in said.state), given[len(outputs) :]))
        return [y[0] for y in outputs] if is_sequence else outputs, after

    def __reduce__(self) -> tuple[Any, ...]:
        return _Session, (self.content,)
