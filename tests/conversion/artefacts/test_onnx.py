"""Converted modules as ONNX models in onnxruntime: every spike, floats to rounding."""

from __future__ import annotations

import io
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nir
import numpy as np
import onnx as onnx_library
import onnxruntime
import pytest
import torch
from conftest import DATA, Command
from networks import DT, ends, flat, inputs, lif, module_of
from programs import MODULES, STEPS, assert_follows, module, neurons
from torch import Tensor

from nirtorch_cli import ReadError, default_map
from nirtorch_cli.conversion.artefacts import onnx
from nirtorch_cli.conversion.artefacts.description import Description, from_json
from nirtorch_cli.findings.errors import OutputError, SaveError, UsageError
from nirtorch_cli.running.session import Session

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

ATOL = 1e-5


def stored(original: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    onnx.save(original, content, **options)
    return content.getvalue()


def written(original: Any, folder: Path, **options: Any) -> Any:
    onnx.save(original, folder / "model.onnx", **options)
    return onnx.load(folder / "model.onnx")


def described(session: Any) -> Description:
    return from_json(session.get_modelmeta().custom_metadata_map[onnx.METADATA])


@pytest.mark.parametrize("name", MODULES)
def test_a_step_gives_every_spike_of_its_module(name: str, tmp_path: Path) -> None:
    original = module(name)
    program = written(original, tmp_path)
    for batch in (1, 5):
        assert assert_follows(program, original, batch, ATOL) > 0.002, "the case says little"


SEQUENCES = (
    *("nested", "several_ends", "convolutional", "layers"),
    *("neurons euler", "digits_recurrent", "snntorch loop"),
)


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_whole_sequence_gives_every_spike(name: str, tmp_path: Path) -> None:
    original = module(name)
    content = stored(original, sequence=True)
    session = onnxruntime.InferenceSession(content)
    said = described(session)
    assert said.sequence
    steps = inputs(original, STEPS, 3)
    outputs: list[dict[str, Tensor]] = []
    state = None
    with torch.no_grad():
        for arguments in steps:
            output, state = original(*arguments, state=state)
            single = original.meta["outputs"][0]
            outputs.append(output if isinstance(output, dict) else {single: output})
    fed = {one.name: torch.stack([s[n] for s in steps]) for n, one in enumerate(said.inputs)}
    first = {one.name: one.at_rest(3) for one in said.state}
    names = [one.name for one in said.outputs] + [f"{one.name}.next" for one in said.state]
    given = session.run(names, {name: x.numpy() for name, x in {**fed, **first}.items()})
    for one, values in zip(said.outputs, given):
        wanted = torch.stack([output[one.argument] for output in outputs])
        torch.testing.assert_close(torch.from_numpy(values), wanted, rtol=ATOL, atol=ATOL)
    # In two pieces, from the last state of the first: the same.
    half = {name: x[:40].numpy() for name, x in fed.items()}
    before = session.run(names, {**half, **{name: x.numpy() for name, x in first.items()}})
    after = dict(zip(first, before[len(said.outputs) :]))
    rest = {name: x[40:].numpy() for name, x in fed.items()}
    again = session.run(names, {**rest, **after})
    for whole, one, other in zip(given, before, again[: len(said.outputs)]):
        np.testing.assert_array_equal(whole, np.concatenate([one, other]))
    for last, other in zip(given[len(said.outputs) :], again[len(said.outputs) :]):
        np.testing.assert_array_equal(last, other)
    # As a module it is run step by step.
    program = written(original, tmp_path, sequence=True)
    assert assert_follows(program, original, 2, ATOL) > 0.002


def test_its_names_are_those_of_nir(tmp_path: Path) -> None:
    content = stored(module("nested"))
    session = onnxruntime.InferenceSession(content)
    state = [
        *("first.layer.v", "middle/lambda/lif.v", "middle/lambda/lif.prev_output"),
        *("middle/lambda/again.prev_output", "middle/0.v", "li.v"),
    ]
    assert [one.name for one in session.get_inputs()] == ["input", *state]
    assert [one.name for one in session.get_outputs()] == ["output", *(f"{n}.next" for n in state)]
    assert [one.shape for one in session.get_inputs()][:2] == [["batch", 3], ["batch", 3]]
    model = onnx_library.load_from_string(content)
    onnx_library.checker.check_model(model, full_check=True)
    said = json.loads({one.key: one.value for one in model.metadata_props}["nirtorch"])
    assert [one["name"] for one in said["state"]] == state
    np.testing.assert_allclose(said["state"][0]["rest"], lif(3).v_leak[None], rtol=1e-6)
    assert said["provenance"]["dt"] == DT
    sequence = onnxruntime.InferenceSession(stored(module("nested"), sequence=True))
    assert [one.shape for one in sequence.get_inputs()][:2] == [["time", "batch", 3], ["batch", 3]]
    assert [one.name for one in sequence.get_inputs()] == ["input", *state]


def test_the_same_conversion_gives_the_same_bytes_without_a_path() -> None:
    for options in ({}, {"sequence": True}):
        first = stored(module("recurrent"), **options)
        assert stored(module("recurrent"), **options) == first
        for text in (Path(onnx.__file__).parents[3], Path(torch.__file__).parent):
            assert str(text).encode() not in first


def test_names_that_are_taken(tmp_path: Path) -> None:
    """Nodes with the names that torch.onnx gives, and that variables and steps have."""
    nodes = {
        "lif.v": nir.Input(np.array([2])),
        "lif": lif(2),
        "sub": nir.Output(np.array([2])),
        "lerp": nir.Output(np.array([2])),
        "lif.v.step": nir.Output(np.array([2])),
    }
    edges = [("lif.v", "lif"), ("lif", "sub"), ("lif", "lerp"), ("lif.v", "lif.v.step")]
    original = module_of(nir.NIRGraph(nodes, edges, type_check=False), {}, default_map(dt=DT))
    for options in ({}, {"sequence": True}):
        program = written(original.eval(), tmp_path, **options)
        assert_follows(program, original, 2, ATOL)
    assert [one.name for one in program.network.description.state] == ["lif.v_"]


class Windows(torch.nn.Module):
    """A pooling whose divisor torch.onnx does not heed."""

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.nn.functional.avg_pool1d
        return (
            pooled(x[:, None], 3, 1, 1)[:, 0]
            + torch.nn.functional.avg_pool2d(
                x[:, None, None], (1, 3), 1, (0, 1), divisor_override=1
            )[:, 0, 0]
        )


class Unknown(torch.nn.Module):
    """An operation that torch.onnx does not have."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


def mapped(kind: type[torch.nn.Module]) -> Any:
    graph = nir.NIRGraph(
        {**ends((4,), (4,)), "odd": nir.Scale(np.ones(4))},
        [("input", "odd"), ("odd", "output")],
        type_check=False,
    )
    return module_of(graph, {nir.Scale: lambda node: kind()}, default_map(dt=DT))


@pytest.mark.parametrize(
    ("original", "text"),
    [
        (lambda: mapped(Windows), "onnxruntime gives other numbers for it than the module does"),
        (lambda: mapped(Unknown), r"torch.onnx cannot export it: .*bessel_j0"),
        (lambda: module_of(neurons(), {}, default_map(dt=DT), dtype=torch.bfloat16),
         "onnxruntime cannot run it: .*NOT_IMPLEMENTED"),
    ],
)  # fmt: skip
def test_what_is_refused(original: Any, text: str, tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    with pytest.raises(SaveError) as raised:
        onnx.save(original(), target)
    assert re.search(text, str(raised.value), re.DOTALL)
    assert raised.value.findings[0].code == "NIR508"
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        onnx.save(module("recurrent"), target, clobber=False)
    assert target.read_text() == "mine"


def test_other_files_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no such file"):
        onnx.load(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(ReadError, match="is no model that nirtorch exported, or is damaged"):
        onnx.load(tmp_path / "text.onnx")
    model = onnx_library.load_from_string(stored(module("recurrent")))
    del model.metadata_props[:]
    onnx_library.save(model, tmp_path / "other.onnx")
    with pytest.raises(ReadError, match="does not say what its inputs and its state are"):
        onnx.load(tmp_path / "other.onnx")
    for change in ({"format": 2}, {"state": []}, {"inputs": [{}]}, {"provenance": {}}):
        said = json.loads(
            described(onnxruntime.InferenceSession(stored(module("recurrent")))).to_json()
        )
        entry = onnx_library.StringStringEntryProto(
            key="nirtorch", value=json.dumps({**said, **change})
        )
        del model.metadata_props[:]
        model.metadata_props.append(entry)
        onnx_library.save(model, tmp_path / "other.onnx")
        with pytest.raises(ReadError, match="is no model that nirtorch exported"):
            onnx.load(tmp_path / "other.onnx")


def test_its_state_is_recorded(tmp_path: Path) -> None:
    original = module("several_ends")
    program = pickle.loads(pickle.dumps(written(original, tmp_path)))
    steps = inputs(original, 20)
    x = {name: torch.stack([s[n] for s in steps]) for n, name in enumerate(original.meta["inputs"])}
    record = ["lif:v", "li:v", "spikes", "voltage"]
    with torch.no_grad():
        wanted, given = Session(original, record).run(x), Session(program, record).run(x)
    for path, variables in wanted.trace.items():
        for variable, values in variables.items():
            torch.testing.assert_close(given.trace[path][variable], values, rtol=ATOL, atol=ATOL)
    for path, values in flat(wanted.outputs).items():
        torch.testing.assert_close(flat(given.outputs)[path], values, rtol=ATOL, atol=ATOL)
    with pytest.raises(UsageError, match="no 'count' to record; it has 'v'"):
        Session(program, ["lif:count"])


def test_run_and_compare(nirtorch: Command) -> None:
    model = str(DATA / "digits_recurrent.nir")
    feed = ("-i", "poisson:rate=2000")
    for name, options in (("m.onnx", ()), ("s.onnx", ("--sequence",))):
        done = nirtorch("convert", model, "-o", name, "-q", *options)
        assert done.returncode == 0, done.stderr
        run = nirtorch("run", name, *feed, "--batch", "3", "-r", "*:v", "-o", "out.npz")
        assert run.returncode == 0, run.stderr
        assert "wrote out.npz: output, hidden.lif:v, readout:v" in run.stderr
        same = nirtorch("compare", "default", f"file:{name}", "-M", model, *feed)
        assert same.returncode == 0, same.stdout + same.stderr
        assert "they agree" in same.stdout
    trace = ("run", model, *feed, "-r", "hidden.lif", "-r", "hidden.lif:v", "-o", "trace.npz")
    assert nirtorch(*trace).returncode == 0
    same = nirtorch("compare", "trace:trace.npz", "file:m.onnx", *feed)
    assert same.returncode == 0, same.stdout + same.stderr
    other = nirtorch("compare", "default,reset=none", "file:m.onnx", "-M", model, *feed)
    assert other.returncode == 1
    refused = nirtorch("run", "m.onnx", *feed, "-r", "hidden.lif")
    assert refused.returncode == 2
    assert "has no 'output' to record; it has 'i', 'v'" in refused.stderr


MISSING = """
import sys
sys.modules[sys.argv[1]] = None
from nirtorch_cli.cli import main
sys.argv = ["nirtorch", *sys.argv[2:]]
main()
"""


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_a_library_that_is_not_installed(library: str, tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    command = ["convert", str(DATA / "digits.nir"), "-q", "-o", str(target)]
    done = subprocess.run(
        [sys.executable, "-c", MISSING, library, *command], capture_output=True, text=True
    )
    assert done.returncode == 4, done.stderr
    assert "pip install 'nirtorch-cli[onnx]'" in done.stderr
    assert not target.exists()
