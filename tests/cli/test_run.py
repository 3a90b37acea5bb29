"""`nirtorch run`: what it feeds, writes and says, and how it fails."""

from __future__ import annotations

import gc
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from conftest import Start
from networks import module_of
from sequences import run_steps
from typer.testing import CliRunner, Result

from nirtorch_cli import Session, load
from nirtorch_cli.cli import app as application
from nirtorch_cli.cli.progress import progress
from nirtorch_cli.findings.errors import ExitCode, OutputError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.running import stream as streaming
from nirtorch_cli.running.shards import part_length
from nirtorch_cli.running.signals.generators import generated, parsed
from nirtorch_cli.running.signals.signal import Signal

DT = 1e-4


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two models."""
    monkeypatch.chdir(tmp_path)
    nir.write("model.nir", one_way())
    nir.write("loop.nir", round_and_round())
    return tmp_path


def lif(size: int) -> nir.LIF:
    one = np.ones(size, np.float32)
    return nir.LIF(tau=0.002 * one, r=one, v_leak=0 * one, v_threshold=0.1 * one)


def one_way() -> nir.NIRGraph:
    """Two inputs' worth of weights, a LIF of three neurons and an LI that reads it out."""
    weight = np.array([[1.0, 0.5], [0.2, 2.0], [0, 0.01]], np.float32)
    nodes = {
        "input": nir.Input({"input": np.array([2])}),
        "w": nir.Linear(weight),
        "lif": lif(3),
        "out": nir.Linear(np.eye(3, dtype=np.float32)),
        "li": nir.LI(tau=0.01 * np.ones(3), r=np.ones(3), v_leak=np.zeros(3)),
        "output": nir.Output({"output": np.array([3])}),
    }
    names = list(nodes)
    return nir.NIRGraph(nodes, list(itertools.pairwise(names)))


def round_and_round() -> nir.NIRGraph:
    nodes = {
        "input": nir.Input({"input": np.array([2])}),
        "lif": lif(2),
        "back": nir.Linear(np.array([[0, 0.05], [-0.05, 0]], np.float32)),
        "output": nir.Output({"output": np.array([2])}),
    }
    edges = [("input", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output")]
    return nir.NIRGraph(nodes, edges)


def two_inputs() -> nir.NIRGraph:
    """Two inputs of different shapes and two outputs, one of them in a nested graph."""
    inner = nir.NIRGraph(
        {
            "in": nir.Input({"input": np.array([2])}),
            "lif": lif(2),
            "out": nir.Output({"output": np.array([2])}),
        },
        [("in", "lif"), ("lif", "out")],
    )
    nodes = {
        "left": nir.Input({"input": np.array([2])}),
        "right.one": nir.Input({"input": np.array([1, 3])}),
        "nest": inner,
        "scale": nir.Scale(np.full((1, 3), 2.0, np.float32)),
        "a": nir.Output({"output": np.array([2])}),
        "b": nir.Output({"output": np.array([1, 3])}),
    }
    edges = [("left", "nest"), ("nest", "a"), ("right.one", "scale"), ("scale", "b")]
    return nir.NIRGraph(nodes, edges)


def invoke(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(application.app, ["run", *arguments], **options)


def ran(*arguments: str, **options: Any) -> dict[str, Any]:
    """The JSON answer of a run that went well."""
    answer = invoke(*arguments, "--json", "--quiet", **options)
    assert answer.exit_code == ExitCode.DONE, answer.stderr
    document = json.loads(answer.stdout)
    assert document["ok"] is True
    assert document["command"] == "run"
    result: dict[str, Any] = document["result"]
    return result


def failure(code: int, *arguments: str, **options: Any) -> str:
    """The one line with which a run fails; nothing is on stdout, and JSON says the same."""
    answer = invoke(*arguments, **options)
    assert answer.exit_code == code, answer.output
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    assert line.startswith("error: ")
    assert "Traceback" not in line
    if "-" not in arguments:
        in_json = invoke(*arguments, "--json", **options)
        assert in_json.exit_code == code
        document = json.loads(in_json.stdout)
        assert document["ok"] is False
        assert document["exit_code"] == code
        assert in_json.stderr == f"{line}\n"
    return line.removeprefix("error: ")


def inputs(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).random(shape, np.float32)


def stepped(model: str, values: np.ndarray, fired: list[int] | None = None) -> Any:
    """What the outputs are, one call of the module after the other; and the spikes of each."""
    module: Any = module_of(model, {})
    if fired is not None:
        module.lif.register_forward_hook(lambda _m, _x, out: fired.append(int(out[0].sum())))
    with torch.no_grad():
        return run_steps(module, torch.from_numpy(values))


def arrays(path: str) -> dict[str, np.ndarray]:
    """What an archive holds but for dt, which is beside all outputs."""
    with np.load(path, allow_pickle=False) as found:
        return {name: array for name, array in found.items() if name != "dt"}


# ------------------------------------------------------------------------- what comes out


@pytest.mark.parametrize("model", ["model.nir", "loop.nir"])
@pytest.mark.parametrize("chunk", [[], ["--chunk", "1"], ["--chunk", "7"], ["--chunk", "999"]])
def test_it_is_what_single_steps_give(model: str, chunk: list[str]) -> None:
    values = inputs(50, 4, 2)
    np.save("in.npy", values)
    found = ran(model, "-i", "in.npy", "-o", "out.npz", "-r", "lif", "-r", "lif:v", *chunk)
    fired: list[int] = []
    expected = stepped(model, values, fired)
    output = arrays("out.npz")["output"]
    np.testing.assert_allclose(output, expected.outputs.numpy(), atol=1e-6)
    (node,) = found["activity"]
    assert node["node"] == "lif"
    assert node["spikes"] == sum(fired) > 0
    spikes, v = arrays("out.npz")["lif:spikes"], arrays("out.npz")["lif:v"]
    assert list(arrays("out.npz")) == ["output", "lif:spikes", "lif:v"]
    assert np.load("out.npz")["dt"].item() == DT
    assert spikes.sum() == node["spikes"]
    assert spikes.shape == v.shape == (50, 4, 3 if model == "model.nir" else 2)
    assert (found["steps"], found["batch"], found["dt"]) == (50, 4, DT)
    assert found["outputs"]["output"]["shape"] == list(output.shape)
    assert found["outputs"]["output"]["max"] == pytest.approx(float(output.max()))
    assert list(found["recorded"]) == ["lif:spikes", "lif:v"]


def test_the_answer_for_people() -> None:
    answer = invoke("model.nir", "--input", "constant:1", "--steps", "20", "--batch", "2")
    assert answer.exit_code == ExitCode.DONE
    lines = answer.stdout.splitlines()
    assert lines[0] == "fed     input 20x2x2 from constant:1"
    assert lines[1].startswith("output  output 20x2x3 float32, mean ")
    assert any(line.startswith("lif ") for line in lines)
    guess, note = answer.stderr.splitlines()
    assert guess.startswith("warning: model.nir: nothing in the file tells dt, and 0.0001 is a gue")
    assert note == f"note: dt 0.0001: {invoke_dt()}"
    assert invoke("model.nir", "--input", "zeros", "--quiet").stderr == ""


def invoke_dt() -> str:
    return str(module_of("model.nir", {}).meta["dt_reason"])


def test_generators_are_fed_at_the_models_dt() -> None:
    ran("model.nir", "-i", "poisson:rate=500", "--seed", "4", "--steps", "300", "-o", "o.npz",
        "-r", "input")  # fmt: skip
    expected = generated(parsed("poisson:rate=500"), (300, 1, 2), dt=DT, seed=4)
    assert (arrays("o.npz")["input:output"] == expected).all()
    assert expected.any()
    ran("model.nir", "-i", "poisson:rate=500", "--dt", "2e-4", "--steps", "300", "-o", "p.npz",
        "-r", "input", "--seed", "4")  # fmt: skip
    assert arrays("p.npz")["input:output"].sum() > expected.sum()


def test_layouts_and_sizes() -> None:
    values = inputs(50, 4, 2)
    np.save("tb.npy", values)
    np.save("bt.npy", values.swapaxes(0, 1))
    np.save("t.npy", values[:, 0])
    ran("model.nir", "-i", "tb.npy", "-o", "tb.npz")
    ran("model.nir", "-i", "bt.npy", "--layout", "BT", "-o", "bt.npz")
    assert (arrays("tb.npz")["output"] == arrays("bt.npz")["output"]).all()
    ran("model.nir", "-i", "t.npy", "-o", "t.npz", "--steps", "9")
    whole = arrays("tb.npz")["output"]
    np.testing.assert_allclose(arrays("t.npz")["output"], whole[:9, :1], atol=1e-6)


def test_several_inputs_and_outputs() -> None:
    nir.write("two.nir", two_inputs())
    np.save("left.npy", inputs(30, 2, 2))
    found = ran("two.nir", "-i", "left=left.npy", "-i", "right.one=constant:3", "-o", "o.npz",
                "-r", "nest/lif:v", "-r", "nest/lif")  # fmt: skip
    assert found["inputs"] == {
        "left": {"fed": "left.npy", "shape": [30, 2, 2]},
        "right.one": {"fed": "constant:3", "shape": [30, 2, 1, 3]},
    }
    written = arrays("o.npz")
    assert list(written) == ["a", "b", "nest/lif:spikes", "nest/lif:v"]
    assert (written["b"] == 6).all()
    assert (written["a"] == written["nest/lif:spikes"]).all()
    ran(
        "two.nir", "-i", "left=left.npy", "-i", "right.one=zeros", "-o", "o.nir", "-r", "nest/lif:v"
    )
    data = nir.read_data("o.nir").nodes
    v = data["nest"].nodes["lif"].observables["v"].data
    assert (v.swapaxes(0, 1) == written["nest/lif:v"]).all()


def test_nir_data_that_a_run_writes_are_read_by_nir_and_by_a_run() -> None:
    np.save("in.npy", inputs(40, 3, 2))
    ran("model.nir", "-i", "in.npy", "-o", "first.nir", "-r", "input", "-r", "lif")
    ran("model.nir", "-i", "in.npy", "-o", "first.npz")
    data = nir.read_data("first.nir").nodes
    assert data["output"].observables["output"].dt == DT
    assert (data["input"].observables["output"].data.swapaxes(0, 1) == inputs(40, 3, 2)).all()
    ran("model.nir", "-i", "first.nir:input", "-o", "second.npz")
    assert (arrays("second.npz")["output"] == arrays("first.npz")["output"]).all()
    assert data["lif"].observables["spikes"].data.dtype == bool


def test_events_are_driven_as_their_binned_form() -> None:
    spikes = inputs(2, 40, 2) < 0.3
    grid = nir.TimeGriddedData(spikes, DT)
    events = nir.NIRNodeData({"events": grid.to_event(spikes.size)})
    nir.write_data("events.nir", nir.NIRGraphData({"input": events}))
    np.save("grid.npy", spikes.swapaxes(0, 1))
    ran("model.nir", "-i", "events.nir", "-o", "events.npz", "-r", "lif")
    ran("model.nir", "-i", "grid.npy", "-o", "grid.npz", "-r", "lif")
    for name, values in arrays("grid.npz").items():
        assert (arrays("events.npz")[name] == values).all()
    assert arrays("grid.npz")["lif:spikes"].any()


def test_a_table_in_and_out() -> None:
    np.savetxt("in.csv", inputs(20, 2), delimiter=",", header="a,b", comments="")
    ran("model.nir", "-i", "in.csv", "-o", "out.csv")
    expected = stepped(
        "model.nir", np.loadtxt("in.csv", np.float32, delimiter=",", skiprows=1)[:, None]
    )
    found = np.loadtxt("out.csv", np.float32, delimiter=",", skiprows=1)
    np.testing.assert_allclose(found, expected.outputs[:, 0].numpy(), atol=1e-6)


@pytest.mark.parametrize("form", ["npz", "csv", "nir"])
def test_outputs_on_stdout(form: str) -> None:
    """They and nothing else; what is said of the run is on stderr."""
    arguments = ["model.nir", "-i", "uniform", "-r", "lif:v"]
    answer = invoke(*arguments, "-o", "-", "--format", form)
    assert answer.exit_code == ExitCode.DONE
    assert "fed     input 100x1x2 from uniform" in answer.stderr
    assert "note: wrote stdout: output, lif:v over 100 steps" in answer.stderr
    invoke(*arguments, "-o", "out.dat", "--format", form)
    assert answer.stdout_bytes == Path("out.dat").read_bytes()
    quiet = invoke(*arguments, "-o", "-", "--format", form, "--quiet")
    assert (quiet.stdout_bytes, quiet.stderr) == (answer.stdout_bytes, "")
    answer = invoke(*arguments, "-o", "-", "--format", form, "--json")
    assert answer.exit_code == ExitCode.USAGE
    assert "-o - leaves no room on stdout for --json; name a file" in answer.stderr


def test_several_arrays_in_one_table() -> None:
    ran("model.nir", "-i", "uniform", "-r", "lif:v", "-o", "out.csv")
    ran("model.nir", "-i", "uniform", "-r", "lif:v", "-o", "out.npz")
    names = [f"{name}[{i}]" for name in ("output", "lif:v") for i in range(3)]
    assert Path("out.csv").read_text().splitlines()[0] == ",".join(names)
    found = np.loadtxt("out.csv", np.float32, delimiter=",", skiprows=1)
    whole = arrays("out.npz")
    assert (found == np.hstack([whole["output"][:, 0], whole["lif:v"][:, 0]])).all()
    line = failure(3, "loop.nir", "-i", "out.csv")
    assert line.startswith("out.csv: has columns of 2 arrays, 'output', 'lif:v'; an input is one")


def test_from_stdin() -> None:
    stream = io.BytesIO()
    np.save(stream, inputs(20, 2, 2))
    found = ran("model.nir", "-i", "-", input=stream.getvalue())
    assert found["inputs"]["input"]["shape"] == [20, 2, 2]
    found = ran("-", "-i", "zeros", input=Path("model.nir").read_bytes())
    assert found["steps"] == 100


@pytest.mark.parametrize("model", ["model.nir", "loop.nir"])
def test_a_recording_may_be_run_in_pieces(model: str) -> None:
    values = inputs(50, 4, 2)
    np.save("all.npy", values)
    np.save("one.npy", values[:20])
    np.save("two.npy", values[20:])
    ran(model, "-i", "all.npy", "-o", "all.npz", "--state-out", "end.npz")
    ran(model, "-i", "one.npy", "-o", "one.npz", "--state-out", "s.npz")
    ran(model, "-i", "two.npy", "-o", "two.npz", "--state-in", "s.npz", "--state-out", "s.npz")
    pieces = np.concatenate([arrays("one.npz")["output"], arrays("two.npz")["output"]])
    np.testing.assert_allclose(pieces, arrays("all.npz")["output"], atol=1e-6)
    for name, array in arrays("end.npz").items():
        np.testing.assert_allclose(arrays("s.npz")[name], array, atol=1e-6)
    ran(model, "-i", "two.npy", "-o", "cold.npz")
    assert (arrays("cold.npz")["output"] != arrays("two.npz")["output"]).any()


@pytest.mark.parametrize("spec", ["poisson:rate=500", "uniform", "impulse:at=10", "all.npy"])
def test_what_is_fed_may_be_run_in_pieces(spec: str) -> None:
    """Generators and files go on where the piece before has ended."""
    np.save("all.npy", inputs(50, 1, 2))
    ran("loop.nir", "-i", spec, "-o", "all.npz", "--steps", "50", "-r", "input")
    found = []
    state: list[str] = []
    for start, steps in ((0, 20), (20, 1), (21, 29)):
        ran("loop.nir", "-i", spec, "--start", str(start), "--steps", str(steps), *state,
            "-o", "part.npz", "-r", "input", "--state-out", "s.npz")  # fmt: skip
        found.append(arrays("part.npz"))
        state = ["--state-in", "s.npz"]
    for name, whole in arrays("all.npz").items():
        pieces = np.concatenate([part[name] for part in found])
        np.testing.assert_allclose(pieces, whole, atol=1e-6)
    line = failure(ExitCode.USAGE, "loop.nir", "-i", "all.npy", "--start", "50")
    assert line == "all.npy: has 50 steps, and --start 50 skips all of them"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_types(dtype: str) -> None:
    np.save("in.npy", inputs(20, 2, 2).astype(np.float64))
    arguments = ["model.nir", "-i", "in.npy", "--dtype", dtype, "--state-out", "s.npz"]
    found = ran(*arguments, "-o", "o.npz")
    assert found["outputs"]["output"]["dtype"] == dtype.replace("bfloat16", "float32")
    ran(*arguments, "--state-in", "s.npz")
    if dtype == "float64":
        values = torch.from_numpy(np.load("in.npy"))
        module = module_of("model.nir", {}, dtype=torch.float64).requires_grad_(False)
        exact = run_steps(module, values)
        np.testing.assert_allclose(arrays("o.npz")["output"], exact.outputs.numpy(), atol=1e-12)


def test_a_saved_module() -> None:
    np.save("in.npy", inputs(20, 2, 2))
    assert convert("model.nir", "-o", "model.pt").exit_code == 0
    Path("model.dat").write_bytes(Path("model.pt").read_bytes())
    ran("model.nir", "-i", "in.npy", "-o", "nir.npz")
    for name in ("model.pt", "model.dat"):
        found = ran(name, "--trust", "-i", "in.npy", "-o", "pt.npz")
        assert (arrays("pt.npz")["output"] == arrays("nir.npz")["output"]).all()
        assert found["dt"] == DT
        line = failure(ExitCode.USAGE, name, "-i", "in.npy")
        assert line == (
            f"{name} is a pickle: loading it runs the code that it names; "
            "give --trust if you trust who wrote it"
        )
    found = ran("model.pt", "--trust", "-i", "in.npy", "--dtype", "float64")
    assert found["outputs"]["output"]["dtype"] == "float64"


def convert(*arguments: str) -> Result:
    return CliRunner().invoke(application.app, ["convert", *arguments])


MAP = """
import nir, torch

class Noisy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, x, state=None):
        print("stepped")
        count, rest = (torch.zeros(2), ()) if state is None else state
        return self.drop(x), (count + 1, (x, None))

class Broken(torch.nn.Module):
    def forward(self, x):
        raise ValueError("not\\ntoday")

NOISY = {nir.LIF: lambda node: Noisy()}
BROKEN = {nir.LIF: lambda node: Broken()}
"""


def test_modules_of_another_framework() -> None:
    """Their prints are not the answer, they are run in eval mode, and tuples are states too."""
    Path("mymaps.py").write_text(MAP)
    np.save("in.npy", inputs(20, 2, 2))
    arguments = ["loop.nir", "--map", "mymaps.py:NOISY", "-i", "in.npy", "--state-out", "s.npz"]
    found = ran_loudly(*arguments, "-o", "o.npz")
    assert found["steps"] == 20
    assert arrays("s.npz")["lif/0"].tolist() == [20, 20]
    ran_loudly(*arguments, "--state-in", "s.npz")
    assert arrays("s.npz")["lif/0"].tolist() == [40, 40]
    ran_loudly(*arguments, "-o", "again.npz")
    assert (arrays("o.npz")["output"] == arrays("again.npz")["output"]).all()


def ran_loudly(*arguments: str) -> dict[str, Any]:
    answer = invoke(*arguments, "--json")
    assert answer.exit_code == ExitCode.DONE, answer.stderr
    assert "stepped" in answer.stderr
    result: dict[str, Any] = json.loads(answer.stdout)["result"]
    return result


def test_outputs_that_are_not_finite_are_told() -> None:
    nodes = {
        "input": nir.Input({"input": np.array([2])}),
        "scale": nir.Scale(np.ones(2, np.float32)),
        "output": nir.Output({"output": np.array([2])}),
    }
    nir.write("wire.nir", nir.NIRGraph(nodes, list(itertools.pairwise(nodes))))
    values = inputs(20, 2, 2)
    values[3] = np.inf
    np.save("in.npy", values)
    answer = invoke("wire.nir", "-i", "in.npy", "--allow-nan", "--json")
    assert answer.exit_code == ExitCode.DONE
    document = json.loads(answer.stdout)
    (finding,) = document["findings"]
    assert (finding["code"], finding["node"]) == ("NIR611", "output")
    assert document["result"]["outputs"]["output"]["max"] == "inf"
    assert "warning: node 'output': gives NaN or infinity" in answer.stderr
    assert invoke("wire.nir", "-i", "in.npy", "--allow-nan").exit_code == ExitCode.DONE


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "no input is given: --input FILE, or a generator: poisson:rate=50, constant:0.3"),
        (["-i", "no.npy"], 3, "no.npy: no such file"),
        (
            ["-i", "posson:rate=5"],
            2,
            "'posson:rate=5' is neither a file nor a generator; did you mean 'poisson'?",
        ),
        (["-i", "poisson:rate=1e6"], 2, "is 100 spikes per step at dt 0.0001; the most is 1 spike"),
        (["-i", "wrong.npy"], 2, "has the shape (5, 4, 3); expected (T, B, 2) or (T, 2)"),
        (
            ["-i", "nan.npy"],
            2,
            "nan.npy: node 'input': has nan at step 2, batch row 1, neuron 0",
        ),
        (["-i", "empty.npy"], 2, "empty.npy: node 'input': has no time steps"),
        (["-i", "text.npy"], 3, "text.npy: is not a .npy file"),
        (["-i", "ok.npy", "--steps", "99"], 2, "ok.npy: has 5 steps, and --steps asks for 99"),
        (["-i", "ok.npy", "--batch", "5"], 2, "asks for 5; --layout BT would fit"),
        (["-i", "ok.npy", "--max-bytes", "2000000", "-i", "ok.npy"], 2, "'input' is given twice"),
        (["-i", "other=zeros"], 2, "the model has no input 'other'; it has 'input'"),
        (["-i", "model.nir"], 3, "model.nir: is an HDF5 file, but does not hold NIR data"),
        (["-i", "zeros", "-o", "out.txt"], 2, "'out.txt': a recording cannot be written as '.txt'"),
        (["-i", "zeros", "-o", "-"], 2, "-o - needs a format; give --format"),
        (["-i", "zeros", "--format", "csv"], 2, "--format is not used here: nothing is written"),
        (["-i", "zeros", "-o", "no/out.npz"], 2, "cannot be written: there is no such folder"),
        (["-i", "zeros", "-o", "model.nir"], 2, "the output is the input, which is never replaced"),
        (["-i", "data.nir", "-o", "data.nir"], 2, "the output is the input, which is never"),
        (["-i", "input=data.nir", "-o", "data.nir"], 2, "the output is the input, which is never"),
        (["-i", "data.nir:input", "-o", "data.nir"], 2, "the output is the input, which is never"),
        (["-i", "lr=0.1/s.npz", "-o", "lr=0.1/s.npz"], 2, "the output is the input, which is nev"),
        (["-i", "./lr=0.1/s.npz", "-o", "lr=0.1/s.npz"], 2, "the output is the input, which is n"),
        (["-i", "input=lr=0.1/s.npz", "-o", "lr=0.1/s.npz"], 2, "the output is the input, which"),
        (["-i", "zeros", "-o", "old.npz", "-n"], 2, "old.npz: exists already; leave out"),
        (["-i", "zeros", "--state-out", "old.npz", "-n"], 2, "old.npz: exists already"),
        (["-i", "zeros", "-o", "a.npz", "--state-out", "a.npz"], 2, "'a.npz' would be written twi"),
        (["-i", "zeros", "-o", "a.csv", "-r", "lif:count"], 2, "'lif:count' has no axis of time"),
        (["-i", "zeros", "-r", "lfi:v"], 2, "no node 'lfi'; did you mean 'li', 'lif'?"),
        (["-i", "zeros", "-r", "w:v"], 2, "node 'w'"),
        (["-i", "zeros", "--state-in", "no.npz"], 3, "no.npz: no such file"),
        (["-i", "zeros", "--state-in", "ok.npy"], 3, "ok.npy: is not a saved state; nirtorch run"),
        (["-i", "zeros", "--state-in", "old.npz"], 3, "old.npz: is "),
        (["-i", "zeros", "--device", "meta"], 2, "--device meta has no values to run with"),
        (["-i", "zeros", "--device", "nope"], 2, "--device 'nope' cannot be used: "),
        (["-i", "zeros", "--dt", "0"], 2, "--dt '0' is neither 'auto' nor a positive number"),
        (["-i", "zeros", "--no-defaults"], 1, ""),
        (["-i", "zeros", "--map", "nothing"], 2, ""),
        (["-i", "zeros", "--map", "mymaps.py:BROKEN"], 1, "raised ValueError when it was run: not"),
    ],
)
def test_refusals(arguments: list[str], code: int, said: str) -> None:
    """One line, the right exit code, nothing written."""
    Path("mymaps.py").write_text(MAP)
    np.save("ok.npy", inputs(5, 4, 2))
    np.save("wrong.npy", inputs(5, 4, 3))
    np.save("empty.npy", inputs(0, 4, 2))
    spoilt = inputs(5, 4, 2)
    spoilt[2, 1, 0] = np.nan
    np.save("nan.npy", spoilt)
    Path("text.npy").write_text("1,2\n")
    Path("old.npz").write_bytes(b"old")
    Path("lr=0.1").mkdir(exist_ok=True)
    np.savez("lr=0.1/s.npz", inputs(5, 4, 2))
    data = nir.NIRNodeData({"s": nir.TimeGriddedData(inputs(1, 5, 2), DT)})
    nir.write_data("data.nir", nir.NIRGraphData({"input": data}))
    before = contents()
    if arguments[2:3] == ["--no-defaults"]:
        answer = invoke("model.nir", *arguments)  # a line for each type
        assert answer.exit_code == code
    else:
        assert said in failure(code, "model.nir", *arguments)
    assert contents() == before


def contents() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().rglob("*.*") if path.is_file()}


def test_a_file_whose_name_begins_as_stdin_does() -> None:
    assert failure(3, "model.nir", "-i", "-no.npy") == "-no.npy: no such file"


def test_a_node_that_is_not_there_is_told_before_anything_is_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Session, "run", lambda *a, **o: pytest.fail("it ran"))
    failure(ExitCode.USAGE, "model.nir", "-i", "zeros", "-r", "nothing")
    failure(ExitCode.USAGE, "model.nir", "-i", "no", "-o", "out.npz")


def test_a_model_that_cannot_be_read() -> None:
    assert failure(3, "no.nir", "-i", "zeros") == "no.nir: no such file"
    Path("text.nir").write_text("hello")
    assert "is not an HDF5 file" in failure(3, "text.nir", "-i", "zeros")
    torch.save({"a": 1}, "dict.pt")
    assert failure(3, "dict.pt", "--trust", "-i", "zeros") == (
        "dict.pt: holds a dict, not a converted module"
    )
    assert failure(3, "no.pt", "--trust", "-i", "zeros") == "no.pt: no such file"
    torch.save(torch.fx.symbolic_trace(torch.nn.ReLU()), "relu.pt")
    assert "not a module that nirtorch converted" in failure(3, "relu.pt", "--trust", "-i", "zeros")


def test_what_is_no_model() -> None:
    np.savez("in.npz", x=inputs(4, 1, 2))
    answer = invoke("in.npz", "-i", "zeros", "-q")
    assert answer.exit_code == ExitCode.UNREADABLE
    assert answer.stderr.startswith("error: in.npz: is an archive of NumPy arrays (.npz), not ")
    answer = invoke("nothing.pt", "-i", "zeros", "-q")
    assert (answer.exit_code, answer.stderr) == (
        ExitCode.UNREADABLE,
        "error: nothing.pt: no such file\n",
    )


def test_a_saved_module_is_not_converted_again() -> None:
    convert("model.nir", "-o", "model.pt")
    line = failure(2, "model.pt", "--trust", "-i", "zeros", "--dt", "1e-3", "--reset", "subtract")
    assert line == (
        "'--dt', '--reset' cannot change model.pt, which is converted already; run the .nir file"
    )


def test_stdin_is_one_thing_only() -> None:
    content = Path("model.nir").read_bytes()
    line = failure(ExitCode.USAGE, "-", "-i", "-", input=content)
    assert line == "MODEL and --input are both -, and stdin can be read once only"


def test_states_of_another_model_or_batch() -> None:
    ran("model.nir", "-i", "zeros", "--state-out", "s.npz")
    line = failure(2, "loop.nir", "-i", "zeros", "--state-in", "s.npz")
    assert line.startswith(
        "s.npz: is not a state of this model and batch: has no 'lif_prev_output'"
    )
    line = failure(2, "model.nir", "-i", "zeros", "--batch", "3", "--state-in", "s.npz")
    assert "'lif/v' has the shape (1, 3), not (3, 3)" in line


def test_several_problems_are_said_at_once() -> None:
    nir.write("two.nir", two_inputs())
    np.save("left.npy", inputs(30, 2, 5))
    answer = invoke("two.nir", "-i", "left=left.npy", "-i", "right.one=no.npy")
    assert answer.exit_code == ExitCode.UNREADABLE
    assert len(answer.stderr.splitlines()) == 2


# ------------------------------------------------------------------ when something happens


@pytest.mark.parametrize("suffix", ["npz", "csv", "nir"])
@pytest.mark.parametrize("option", ["-o", "--state-out"])
def test_a_full_disk_leaves_the_old_file(
    suffix: str, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> Any:
        raise OSError(28, os.strerror(28))

    path = f"out.{suffix}"
    Path(path).write_bytes(b"old")
    before = sorted(os.listdir())
    monkeypatch.setattr("os.fsync", full)
    answer = invoke("model.nir", "-i", "zeros", option, path, "-q")
    assert answer.exit_code == ExitCode.USAGE
    assert answer.stdout.startswith("fed "), "what the run gave is not lost"
    assert answer.stderr == f"error: {path}: cannot be written: No space left on device\n"
    assert Path(path).read_bytes() == b"old"
    assert sorted(os.listdir()) == before


def interrupting(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """Ctrl-C comes while a part of the run is worked on."""
    calls, run = [], Session.run

    def engine(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return run(*arguments, **options)

    monkeypatch.setattr(Session, "run", engine)


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_writes_what_there_is(as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    values = inputs(50, 4, 2)
    np.save("in.npy", values)
    ran("model.nir", "-i", "in.npy", "-o", "all.npz", "-r", "lif:v")
    interrupting(monkeypatch, 4)
    arguments = ["-i", "in.npy", "-o", "out.npz", "--state-out", "s.npz", "-r", "lif:v"]
    json_too = ["--json"] if as_json else []
    answer = invoke("model.nir", *arguments, "--chunk", "7", "-q", *json_too)
    assert answer.exit_code == ExitCode.INTERRUPTED
    assert answer.stderr == (
        "error: interrupted after 21 of 50 steps; wrote out.npz: output, lif:v over 21 steps; "
        "wrote s.npz: the state after 21 steps; --start 21 --state-in s.npz continues from there\n"
    )
    for name, array in arrays("out.npz").items():
        np.testing.assert_allclose(array, arrays("all.npz")[name][:21], atol=1e-6)
    if as_json:
        document = json.loads(answer.stdout)
        assert (document["ok"], document["exit_code"]) == (False, ExitCode.INTERRUPTED)
        assert (document["result"]["steps"], document["result"]["steps_asked"]) == (21, 50)


def test_after_ctrl_c_the_rest_can_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    values = inputs(50, 4, 2)
    np.save("in.npy", values)
    np.save("rest.npy", values[21:])
    ran("loop.nir", "-i", "in.npy", "-o", "all.npz")
    with monkeypatch.context() as patched:
        interrupting(patched, 4)
        answer = invoke("loop.nir", "-i", "in.npy", "--state-out", "s.npz", "--chunk", "7")
        assert answer.exit_code == ExitCode.INTERRUPTED
    ran("loop.nir", "-i", "rest.npy", "--state-in", "s.npz", "-o", "rest.npz")
    np.testing.assert_allclose(
        arrays("rest.npz")["output"], arrays("all.npz")["output"][21:], atol=1e-6
    )


def test_ctrl_c_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupting(monkeypatch, 1)
    answer = invoke("model.nir", "-i", "zeros", "-o", "out.npz")
    assert answer.exit_code == ExitCode.INTERRUPTED
    assert answer.stderr == "error: interrupted before the first 100 steps\n"
    assert answer.stdout == ""
    assert not Path("out.npz").exists()


def test_ctrl_c_after_the_last_part_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of("model.nir", {})
    values = {"input": Signal.of(inputs(20, 2, 2))}

    def interrupt(done: int, state: Any) -> None:
        if done == 20:
            raise KeyboardInterrupt

    outcome = streaming.run_stream(module, values, torch.empty(0), chunk=5, on_steps=interrupt)
    assert not outcome.is_interrupted
    assert outcome.steps == 20


def nirtorch(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([sys.executable, "-m", "nirtorch_cli", *arguments], **pipes)


def test_a_real_ctrl_c(interruptible: Start) -> None:
    """A signal in the middle of a long run: what is written is whole, and exit code 130."""
    command = [sys.executable, "-m", "nirtorch_cli", "run", "model.nir", "-i", "uniform", "-q"]
    command += ["--steps", "20000000", "-o", "out.npz", "--chunk", "64"]
    process = interruptible(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until_busy(process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == ExitCode.INTERRUPTED, stderr
    assert stderr.startswith(b"error: interrupted after ")
    assert stderr.count(b"\n") == 1
    done = len(arrays("out.npz")["output"])
    assert 0 < done < 20_000_000
    assert f"after {done:,} of 20,000,000 steps; wrote out.npz".encode() in stderr
    assert stdout.startswith(b"fed ")


def wait_until_busy(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    maps = Path(f"/proc/{process.pid}/maps")
    while "libtorch_python" not in maps.read_text():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(6)
    assert process.poll() is None


def test_a_reader_that_has_seen_enough() -> None:
    process = nirtorch("run", "model.nir", "-i", "zeros", "-q", "-o", "out.npz")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=120) == ExitCode.DONE
    assert process.stderr.read() == b""
    process.stderr.close()
    assert arrays("out.npz")["output"].shape == (100, 1, 3)


def test_a_reader_that_has_seen_enough_of_the_outputs() -> None:
    """What is written elsewhere is whole all the same."""
    process = nirtorch("run", "model.nir", "-i", "zeros", "-o", "-", "--format", "csv",
                       "--steps", "99999", "--state-out", "s.npz", "-q")  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"n0,n1,n2\n"
    process.stdout.close()
    assert process.wait(timeout=120) == ExitCode.DONE
    assert process.stderr.read() == b""
    process.stderr.close()
    assert Path("s.npz").exists()


@pytest.mark.parametrize("output", [[], ["-o", "-", "--format", "npz", "--steps", "9999"]])
def test_a_full_stdout(output: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        process = nirtorch("run", "model.nir", "-i", "uniform", "-q", *output, stdout=full)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == ExitCode.USAGE
    assert stderr == b"error: stdout cannot be written: No space left on device\n"


# ----------------------------------------------------------------------------- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_and_none_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nirtorch_cli.cli.progress._PATIENCE", 0.0)
    for terminal, enabled, shown in (
        (True, True, True),
        (True, False, False),
        (False, True, False),
    ):
        stream = Terminal() if terminal else io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        with progress(enabled, total=1000) as steps:
            steps.advance(250)
            time.sleep(0.25)
            steps("compiling [lif]")
            time.sleep(0.25)
            steps.advance(1000)
        assert ("250/1000" in stream.getvalue()) == shown
        assert ("steps/s" in stream.getvalue()) == shown
        assert ("compiling [lif]" in stream.getvalue()) == shown


def test_stages_of_work_that_has_no_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nirtorch_cli.cli.progress._PATIENCE", 0.0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress() as stage:
        time.sleep(0.25)
        stage("reading [bold]x")
        time.sleep(0.25)
    assert "working" in sys.stderr.getvalue()
    assert "reading [bold]x" in sys.stderr.getvalue()
    assert "0/" not in sys.stderr.getvalue()


# ------------------------------------------------------------------------ the library's side


def test_parts_change_nothing_in_a_library_call() -> None:
    module = module_of("loop.nir", {})
    values = {"input": Signal.of(inputs(33, 2, 2))}
    record = ["lif:v", "lif:count", "lif"]
    whole = streaming.run_stream(module, values, torch.empty(0), record=record, chunk=33)
    told: list[int] = []
    for chunk in (1, 5, 32):
        told.clear()
        parts = streaming.run_stream(
            module,
            values,
            torch.empty(0),
            record=record,
            chunk=chunk,
            on_steps=lambda done, state: told.append(done),
        )
        assert told[-1] == 33
        assert len(told) == -(-33 // chunk)
        assert (
            parts.signals.keys()
            == whole.signals.keys()
            == {
                ("output", None),
                ("lif", "v"),
                ("lif", "spikes"),
            }
        )
        for key, held in whole.signals.items():
            np.testing.assert_allclose(parts.signals[key].part(), held.part(), atol=1e-6)
        np.testing.assert_array_equal(parts.counts["lif"], whole.counts["lif"])
    assert whole.counts["lif"].sum() == whole.signals["lif", "spikes"].part().sum() > 0


def test_an_output_that_is_called_count() -> None:
    """Counts are added over the parts of a run, and an output of that name is not."""
    graph = two_inputs()
    graph.nodes["count"] = graph.nodes.pop("b")
    graph.edges = [(a, "count" if b == "b" else b) for a, b in graph.edges]
    nir.write("count.nir", graph)
    ran(
        "count.nir", "-i", "left=zeros", "-i", "right.one=constant:1", "-o", "o.npz", "--chunk", "7"
    )
    assert (arrays("o.npz")["count"] == 2).all()
    assert arrays("o.npz")["count"].shape == (100, 1, 1, 3)


def test_loading_what_was_run_is_untouched() -> None:
    convert("model.nir", "-o", "model.pt")
    before = Path("model.pt").read_bytes()
    ran("model.pt", "--trust", "-i", "uniform")
    assert Path("model.pt").read_bytes() == before
    assert load("model.pt").training


def test_parts_follow_from_sizes_alone() -> None:
    """And keep no more than one state and one sum of counts, however many they are."""
    module = module_of("loop.nir", {})
    like = torch.empty(0)
    length = part_length(module, {"input": Signal.of(np.zeros((10**6, 2, 2)))}, like)
    assert 64 < length < 10**5
    wide = part_length(module, {"input": Signal.of(np.zeros((10**5, 100, 2)))}, like)
    assert 64 <= wide <= length
    kept: list[Any] = []
    values = {"input": Signal.of(inputs(40, 2, 2))}
    streaming.run_stream(
        module,
        values,
        like,
        record=["lif:count"],
        chunk=1,
        on_steps=lambda done, state: kept.append(weakref.ref(state["lif"]["v"])),
    )
    gc.collect()
    assert sum(state() is not None for state in kept) == 0


def test_what_could_not_be_written_is_told_and_the_rest_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from nirtorch_cli.running.signals import outputs

    def full(*arguments: Any, **options: Any) -> Any:
        raise OutputError(Finding("NIR701", "error", "the disk is full", file="o.npz"))

    monkeypatch.setattr(outputs, "write_signals", full)
    answer = invoke("loop.nir", "-i", "zeros", "-o", "o.npz", "--state-out", "s.npz", "--json")
    document = json.loads(answer.stdout)
    assert (answer.exit_code, document["ok"]) == (ExitCode.USAGE, False)
    assert document["result"]["steps"] == 100
    assert Path("s.npz").exists()
    before = Path("s.npz").read_bytes()
    arguments = ["-i", "constant:1", "-o", "o.npz", "--state-in", "./s.npz", "--state-out", "s.npz"]
    answer = invoke("loop.nir", *arguments, "-q")
    assert answer.stderr.splitlines() == [
        "error: o.npz: the disk is full",
        "error: s.npz: not replaced, because the outputs were not written",
    ]
    assert Path("s.npz").read_bytes() == before, "the run can be done again"


def test_a_folder_that_cannot_be_written_to_is_told_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "run", None)
    answer = invoke("loop.nir", "-i", "zeros", "-o", "/proc/o.npz", "-q")
    assert answer.exit_code == ExitCode.USAGE
    assert answer.stderr.startswith("error: /proc/o.npz: cannot be written")


def test_nan_inside_the_model_is_told() -> None:
    values = inputs(20, 1, 2)
    values[3] = np.nan
    np.save("in.npy", values)
    answer = invoke("loop.nir", "-i", "in.npy", "--allow-nan", "-r", "lif:v")
    assert answer.exit_code == ExitCode.DONE
    assert "warning: node 'lif': NaN or infinity in 'v'" in answer.stderr
    answer = invoke("loop.nir", "-i", "in.npy", "--allow-nan")
    assert "warning: node 'lif': NaN or infinity in its state after the last step" in answer.stderr


def test_a_module_that_raises_is_told_with_a_state_too() -> None:
    Path("mymaps.py").write_text(
        "import nir, torch\n"
        "class Bad(torch.nn.Module):\n"
        "    def forward(self, x, state=None):\n"
        "        raise RuntimeError('boom')\n"
        "BAD = {nir.LIF: lambda node: Bad()}\n"
    )
    ran("loop.nir", "-i", "zeros", "--state-out", "s.npz")
    for state in ([], ["--state-in", "s.npz"]):
        answer = invoke("loop.nir", "--map", "mymaps:BAD", "-i", "zeros", "-q", *state)
        assert answer.exit_code == ExitCode.UNSOUND
        assert answer.stderr == (
            "error: loop.nir: node 'lif': its module Bad (--map mymaps:BAD) raised RuntimeError "
            "when it was run: boom\n"
        )


def test_compiling() -> None:
    """With a compiler or without one: the same numbers, and a word about it."""
    np.save("in.npy", inputs(200, 2, 2))
    ran("loop.nir", "-i", "in.npy", "-o", "plain.npz", "-r", "lif:v")
    answer = invoke("loop.nir", "-i", "in.npy", "-o", "made.npz", "-r", "lif:v", "--compile")
    assert answer.exit_code == ExitCode.DONE
    assert "note: compiled 1 program in" in answer.stderr or "--compile: run without" in (
        answer.stderr
    )
    for name, array in arrays("plain.npz").items():
        np.testing.assert_allclose(arrays("made.npz")[name], array, atol=1e-6)
    answer = invoke("loop.nir", "-i", "in.npy", "--steps", "20", "--compile", "--json")
    assert json.loads(answer.stdout)["result"]["compiled"] == {
        "programs": 0,
        "seconds": 0.0,
        "problem": None,
    }
    assert "note: compiled nothing" in answer.stderr


def test_without_a_compiler_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", broken)
    answer = invoke("loop.nir", "-i", "uniform", "--steps", "200", "--compile", "--json")
    assert answer.exit_code == ExitCode.DONE
    found = {finding["code"]: finding for finding in json.loads(answer.stdout)["findings"]}
    assert set(found) == {"NIR406", "NIR616"}
    finding = found["NIR616"]
    assert finding["message"] == (
        "--compile: run without it, since RuntimeError: No working C++ compiler found"
    )


def test_pieces_of_a_generator_are_the_whole() -> None:
    ran("loop.nir", "-i", "poisson:rate=4000", "--steps", "90", "-o", "all.npz", "-r", "lif:v")
    ran("loop.nir", "-i", "poisson:rate=4000", "--steps", "40", "-o", "a.npz", "--state-out", "s")
    ran("loop.nir", "-i", "poisson:rate=4000", "--start", "40", "--steps", "50", "-o", "b.npz",
        "--state-in", "s", "--state-out", "s")  # fmt: skip
    pieces = np.concatenate([arrays("a.npz")["output"], arrays("b.npz")["output"]])
    np.testing.assert_array_equal(pieces, arrays("all.npz")["output"])
    assert pieces.any()


def test_where_to_go_on_after_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        interrupting(patched, 4)
        answer = invoke("loop.nir", "-i", "uniform", "--start", "10", "--chunk", "7", "--state-out",
                        "s.npz")  # fmt: skip
    assert answer.exit_code == ExitCode.INTERRUPTED
    assert answer.stderr.splitlines()[1].endswith(
        "--start 31 --state-in s.npz continues from there"
    )


def test_a_state_that_was_made_otherwise() -> None:
    ran("loop.nir", "-i", "uniform", "--state-out", "s.npz")
    answer = invoke("loop.nir", "-i", "uniform", "--state-in", "s.npz", "--dt", "5e-5")
    assert answer.exit_code == ExitCode.DONE
    assert "warning: s.npz: was made with dt 0.0001, not 5e-05" in answer.stderr
    assert "was made with" not in invoke("loop.nir", "-i", "uniform", "--state-in", "s.npz").stderr


def test_a_state_that_no_file_can_hold_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mymaps.py").write_text(
        "import nir, torch\n"
        "class Odd(torch.nn.Module):\n"
        "    def forward(self, x, state=None):\n"
        "        return x, {'kept': object()}\n"
        "ODD = {nir.LIF: lambda node: Odd()}\n"
    )
    parts: list[int] = []
    run = Session.run
    monkeypatch.setattr(Session, "run", lambda *a, **k: (parts.append(1), run(*a, **k))[1])
    answer = invoke("model.nir", "-m", "mymaps:ODD", "-i", "zeros", "--chunk", "1", "--state-out",
                    "s.npz", "-q")  # fmt: skip
    assert answer.exit_code == ExitCode.USAGE
    assert "the state holds a object, which a state file cannot store" in answer.stderr
    assert len(parts) == 1


def test_outputs_to_stdout() -> None:
    process = nirtorch("run", "model.nir", "-i", "uniform", "-o", "-", "--format", "npz")
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == ExitCode.DONE
    ran("model.nir", "-i", "uniform", "-o", "same.npz")
    assert stdout == Path("same.npz").read_bytes()
    assert b"note: wrote stdout: output over 100 steps" in stderr
    assert b"fed     input 100x1x2 from uniform" in stderr


def test_a_pipe_that_is_closed_early_does_not_advance_the_state() -> None:
    ran("loop.nir", "-i", "uniform", "--state-out", "s.npz")
    before = Path("s.npz").read_bytes()
    process = nirtorch(
        "run", "loop.nir", "-i", "uniform", "--steps", "50000", "-o", "-", "--format", "csv", "-q",
        "--state-in", "s.npz", "--state-out", "s.npz",
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=120) == ExitCode.USAGE
    assert b"s.npz: not replaced, because the outputs were not written" in process.stderr.read()
    process.stderr.close()
    assert Path("s.npz").read_bytes() == before


# ---------------------------------------------------------------------- pictures of a run


def side_by_side(count: int) -> nir.NIRGraph:
    """So many LIFs that hear one input, with weights that differ, and an Output of them all."""
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array([2])})}
    edges = []
    for number in range(count):
        nodes[f"w{number}"] = nir.Linear(np.eye(2, dtype=np.float32) * (3 - number / count))
        nodes[f"b{number}"] = lif(2)
        edges += [("input", f"w{number}"), (f"w{number}", f"b{number}"), (f"b{number}", "output")]
    nodes["output"] = nir.Output({"output": np.array([2])})
    return nir.NIRGraph(nodes, edges)


def test_alike_nodes_are_shown_in_natural_order() -> None:
    nir.write("wide.nir", side_by_side(12))
    answer = invoke("wide.nir", "-i", "constant:1", "--steps", "60", "--raster", "-q")
    assert answer.exit_code == ExitCode.DONE, answer.stderr
    table, _, raster = answer.stdout.partition("\n\nb0: ")
    names = [f"b{number}" for number in range(12)]
    assert [line.split()[0] for line in table.splitlines() if line.startswith("b")] == names
    titles = [line for line in ("b0: " + raster).splitlines() if " neurons, 60 steps" in line]
    assert [title.partition(":")[0] for title in titles] == names


def test_nodes_in_a_row_are_shown_in_the_order_in_which_they_are_run() -> None:
    two = nir.NIRGraph.from_list(*(lif(2) for _ in range(3)))
    names = {"lif": "b10", "lif_1": "b2", "lif_2": "b1"}
    nodes = {names.get(name, name): node for name, node in two.nodes.items()}
    edges = [(names.get(s, s), names.get(t, t)) for s, t in two.edges]
    nir.write("row.nir", nir.NIRGraph(nodes, edges))
    answer = invoke("row.nir", "-i", "constant:1", "--steps", "9", "-q")
    lines = [line.split()[0] for line in answer.stdout.splitlines() if line.startswith("b")]
    assert lines == ["b10", "b2", "b1"]


def test_nests_in_a_row_are_shown_in_the_order_in_which_they_are_run() -> None:
    """Their nodes are equally deep in their own graphs; which graph is first is no matter of names.

    Nests beside each other are in their natural order.
    """

    def nest() -> nir.NIRGraph:
        return nir.NIRGraph.from_list(lif(2))

    for edges, expected in (
        ([("g10", "g2"), ("g2", "g1"), ("input", "g10"), ("g1", "output")], ["g10", "g2", "g1"]),
        ([(s, t) for g in ("g10", "g1", "g2") for s, t in (("input", g), (g, "output"))],
         ["g1", "g2", "g10"]),
    ):  # fmt: skip
        ends = {"input": nir.Input({"input": np.array([2])})}
        ends["output"] = nir.Output({"output": np.array([2])})
        nests = {name: nest() for name in ("g10", "g2", "g1")}
        nir.write("nests.nir", nir.NIRGraph({**ends, **nests}, edges))
        answer = invoke("nests.nir", "-i", "constant:1", "--steps", "9", "-q")
        lines = [line.split("/")[0] for line in answer.stdout.splitlines() if "/lif" in line]
        assert lines == expected, answer.stdout + answer.stderr


def lines_of(picture: str, title: str) -> list[str]:
    """The neurons in the legend of a panel, as matplotlib notes them in an SVG."""
    panels = Path(picture).read_text(encoding="utf8").split('<g id="axes_')
    [panel] = [panel for panel in panels if f"<!-- {title}" in panel]
    texts = re.findall(r"<!-- (.*?) -->", panel.partition('<g id="legend_')[2])
    return [text for text in texts if text.isdigit()]


def test_the_neurons_that_are_drawn_can_be_chosen() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib, the extra 'plot', is not there")
    arguments = ["model.nir", "-i", "uniform", "--steps", "50", "-q", "-r", "lif:v"]

    def drawn(*chosen: str) -> list[list[str]]:
        options = [option for text in chosen for option in ("--neurons", text)]
        answer = invoke(*arguments, "--plot", "a.svg", *options)
        assert answer.exit_code == ExitCode.DONE, answer.stderr
        return [lines_of("a.svg", title) for title in ("input: ", "lif:v: ", "output: ")]

    assert drawn() == [["0", "1"], ["0", "1", "2"], ["0", "1", "2"]]
    assert drawn("lif=2") == [["0", "1"], ["2"], ["0", "1", "2"]]
    assert drawn("2", "lif=1,0") == [["0", "1"], ["0", "1"], ["2"]]
    assert drawn("input=1", "output=0,2", "1") == [["1"], ["1"], ["0", "2"]]


def test_voltages_are_drawn_of_neurons_that_fire() -> None:
    """Of 300 neurons three have a threshold that they reach."""
    pytest.importorskip("matplotlib", reason="matplotlib, the extra 'plot', is not there")
    one, threshold = np.ones(300, np.float32), np.full(300, 1e3, np.float32)
    threshold[[41, 42, 188]] = 0.1
    neurons = nir.LIF(tau=0.002 * one, r=one, v_leak=0 * one, v_threshold=threshold)
    layers = [nir.Linear(np.ones((300, 2), np.float32)), neurons]
    nir.write("quiet.nir", nir.NIRGraph.from_list(*layers))
    answer = invoke("quiet.nir", "-i", "constant:1", "--steps", "400", "-q", "-r", "lif:v",
                    "--plot", "a.svg")  # fmt: skip
    assert answer.exit_code == ExitCode.DONE, answer.stderr
    assert lines_of("a.svg", "lif:v: ") == ["41", "42", "188"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--neurons", "1"], "--neurons is not used here: nothing is drawn; give --plot"),
        (
            ["--plot", "a.svg", "--neurons", "x"],
            "--neurons 'x' is not a list of neurons; give [NODE",
        ),
        (
            ["--plot", "a.svg", "--neurons", "lif=3"],
            "'lif=3': no neuron 3; there are 3 neurons, fr",
        ),
        (["--plot", "a.svg", "--neurons", "3"], "--neurons '3': no neuron 3; there are 3 neurons"),
        (
            ["--plot", "a.svg", "--neurons", "li=0"],
            "nothing is drawn of 'li'; record it, or did yo",
        ),
        (["--plot", "a.svg", "--neurons", "lif=0,1,2,3,4,5"], "6 lines cannot be told apart; giv"),
    ],
)
def test_neurons_that_cannot_be_drawn_are_refused_before_the_run(
    arguments: list[str], message: str
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib, the extra 'plot', is not there")
    answer = invoke("model.nir", "-i", "constant:1", "-r", "lif:v", "-q", *arguments)
    assert answer.exit_code == ExitCode.USAGE
    assert message in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stdout == ""
    assert not Path("a.svg").exists()


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ([], "dt 0.0001 is a guess, which --dt replaces"),
        (["--dt", "1e-6"], "every time constant is at least 2,000 steps: --dt is in their unit"),
        (["--dt", "1e-4", "--steps", "5"], "less than the shortest time constant 0.002: --steps"),
        (["--dt", "1e-3", "--steps", "50"], "the input may be too weak for their thresholds"),
    ],
)
def test_a_network_that_never_fires_says_so(options: list[str], hint: str) -> None:
    """With its likely cause, in convert's sample as in a run; one that fires says nothing."""
    high = nir.LIF(np.full(2, 0.002), np.ones(2), np.zeros(2), np.full(2, 1e6))
    nir.write("silent.nir", nir.NIRGraph.from_list(nir.Linear(np.eye(2)), high))
    steps = options[options.index("--steps") + 1] if "--steps" in options else "100"
    line = f"none of 2 neurons fired in {steps} steps; "
    for words in (["convert", "silent.nir"], ["run", "silent.nir", "-i", "uniform"]):
        given = [*words, *options, *(["--steps", "100"] if "--steps" not in options else [])]
        answer = CliRunner().invoke(application.app, [*given, "--json"])
        assert answer.exit_code == 0, answer.stderr
        (found,) = [f for f in json.loads(answer.stdout)["findings"] if f["code"] == "NIR617"]
        assert line in f"{found['message']}; {found['hint']}"
        assert hint in found["hint"]
    fires = CliRunner().invoke(application.app, ["convert", "model.nir", "--json"])
    assert "NIR617" not in fires.stdout


def test_the_sample_of_convert_is_a_run_of_uniform_numbers() -> None:
    """The same generator, the same seed, the same spikes."""
    answer = CliRunner().invoke(application.app, ["convert", "loop.nir", "--json"])
    sample = json.loads(answer.stdout)["result"]["sample"]
    assert sample["activity"] == ran("loop.nir", "-i", "uniform", "--steps", "100")["activity"]


def test_a_sample_that_overflows_says_so() -> None:
    """In convert's sample as in a run of the same input: each node where it shows, once."""
    huge = nir.Linear(np.full((2, 2), 3e38, np.float32))
    opposite = nir.Linear(np.array([[1, -1], [1, 1]], np.float32))
    nir.write("huge.nir", nir.NIRGraph.from_list(huge, opposite))
    found = []
    for words in (["convert", "huge.nir"], ["run", "huge.nir", "-i", "uniform"]):
        answer = CliRunner().invoke(application.app, [*words, "--steps", "100", "--json"])
        assert answer.exit_code == 0, answer.stderr
        findings = json.loads(answer.stdout)["findings"]
        found.append([f for f in findings if f["code"] == "NIR611"])
    assert found[0] == found[1]
    assert [(f["severity"], f["node"]) for f in found[0]] == [("warning", "output")]
