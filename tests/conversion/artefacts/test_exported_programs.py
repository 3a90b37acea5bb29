"""Converted modules as .pt2 programs: bit for bit, in any process with torch, from rest."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from conftest import DATA, Command
from networks import DT, NETWORKS, ends, flat, inputs, lif, module_of
from programs import MODULES, assert_follows, layers, module, neurons

import nirtorch_cli
from nirtorch_cli import ReadError, UsageError, default_map
from nirtorch_cli.conversion.artefacts import pt2
from nirtorch_cli.conversion.artefacts.description import from_json
from nirtorch_cli.conversion.model import saved_model
from nirtorch_cli.findings.errors import OutputError, SaveError, StateError
from nirtorch_cli.primitives.table import known_primitives
from nirtorch_cli.running.session import Session

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def stored(original: Any) -> bytes:
    content = io.BytesIO()
    pt2.save(original, content)
    return content.getvalue()


def written(original: Any, folder: Path) -> Any:
    pt2.save(original, folder / "program.pt2")
    return pt2.load(folder / "program.pt2")


@pytest.mark.parametrize("name", MODULES)
def test_a_program_is_its_module_bit_for_bit(name: str, tmp_path: Path) -> None:
    original = module(name)
    program = written(original, tmp_path)
    for batch in (1, 2, 5):
        assert assert_follows(program, original, batch) > 0.002, "the case says little"


def test_every_nir_type_is_exported() -> None:
    kinds: set[str] = set()

    def collect(graph: nir.NIRGraph) -> None:
        for node in graph.nodes.values():
            kinds.add(type(node).__name__)
            if isinstance(node, nir.NIRGraph):
                collect(node)

    for graph in (neurons(), layers(), *(make() for make in NETWORKS.values())):
        collect(graph)
    assert kinds >= {one.name for one in known_primitives()}


ALONE = """
import json, sys, torch
sys.modules["nirtorch_cli"] = None  # importing it raises
about = {"nirtorch.json": ""}
step = torch.export.load(sys.argv[1], extra_files=about).module()
state = {}
for one in json.loads(about["nirtorch.json"])["state"]:
    rest = torch.tensor(one["rest"], dtype=getattr(torch, one["dtype"]))
    state[one["name"]] = rest.expand([3 if n == "batch" else n for n in one["shape"]])
outputs = []
for inputs in torch.load(sys.argv[2]):
    output, state = step(*inputs, state)
    outputs.append(output)
torch.save((outputs, state), sys.argv[3])
"""


@pytest.mark.parametrize("name", ["nested", "several_ends", "neurons exact", "snntorch loop"])
def test_a_process_that_cannot_import_us(name: str, tmp_path: Path) -> None:
    original = module(name)
    pt2.save(original, tmp_path / "p.pt2")
    steps = inputs(original, 100, 3)
    torch.save(steps, tmp_path / "in.pt")
    files = [str(tmp_path / file) for file in ("p.pt2", "in.pt", "out.pt")]
    command = [sys.executable, "-I", "-c", ALONE, *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    outputs, _ = torch.load(tmp_path / "out.pt")
    state = None
    with torch.no_grad():
        for arguments, output in zip(steps, outputs, strict=True):
            wanted, state = original(*arguments, state=state)
            for path, value in flat(wanted).items():
                assert torch.equal(flat(output)[path], value)


def test_the_same_conversion_gives_the_same_bytes_without_a_path(tmp_path: Path) -> None:
    first = stored(module("recurrent"))
    assert stored(module("recurrent")) == first
    assert stored(module("nested")) != first
    again = "import sys; sys.path[:0] = sys.argv[2:]\n"
    again += "from programs import module\nfrom nirtorch_cli.conversion.artefacts import pt2\n"
    again += "pt2.save(module('recurrent'), sys.argv[1])"
    where = [str(tmp_path / "again.pt2"), *sys.path]
    subprocess.run([sys.executable, "-c", again, *where], check=True, timeout=200)
    assert (tmp_path / "again.pt2").read_bytes() == first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        everything = b"".join(archive.read(name) for name in archive.namelist())
    for text in (str(Path(pt2.__file__).parents[3]), str(Path(torch.__file__).parent)):
        assert text.encode() not in everything


def test_what_a_program_says_of_itself() -> None:
    about = {pt2.DESCRIPTION: ""}
    original = module_of(DATA / "digits_recurrent.nir", {}).eval()
    torch.export.load(io.BytesIO(stored(original)), extra_files=about)
    said = json.loads(about[pt2.DESCRIPTION])
    assert said["inputs"] == [
        {"name": "input", "argument": "input", "shape": [8], "dtype": "float32"}
    ]
    assert [one["name"] for one in said["state"]] == [
        *("hidden.lif.i", "hidden.lif.v", "readout.i", "readout.v", "hidden.lif.prev_output")
    ]
    assert said["state"][0]["shape"] == ["batch", 64]
    assert {one["rest"] for one in said["state"]} == {0.0}
    assert said["provenance"]["sha256"] == original.meta["sha256"]
    assert said["provenance"]["dt"] == original.meta["dt"]
    assert from_json(about[pt2.DESCRIPTION]).to_json() == about[pt2.DESCRIPTION]


def test_rest_is_each_neurons_own(tmp_path: Path) -> None:
    program = written(module("neurons euler"), tmp_path)
    state = {one.name: one for one in program.network.description.state}
    np.testing.assert_allclose(state["lif.v"].rest, lif(4).v_leak[None], rtol=1e-6)
    assert state["wait.history"].shape == (3, "batch", 4)
    assert state["wait.history"].at_rest(2).shape == (3, 2, 4)


def test_its_state_is_recorded_and_its_nodes_are_not_seen(tmp_path: Path) -> None:
    original = module("nested")
    program = written(original, tmp_path)
    x = torch.stack([one for (one,) in inputs(original, 20)])
    record = ["middle/lambda/lif:v", "li:v", "output", "input"]
    with torch.no_grad():
        wanted = Session(original, record).run(x, chunk=1)
        for given in (Session(program, record).run(x), Session(program, record).run(x, chunk=7)):
            for path, variables in wanted.trace.items():
                for variable, values in variables.items():
                    torch.testing.assert_close(given.trace[path][variable], values)
    with pytest.raises(Exception, match="state of LIF has no 'spikes' to record; it has 'v'"):
        Session(program, ["middle/lambda/lif:spikes"])
    with pytest.raises(StateError, match="one batch axis"):
        program(torch.ones(3))
    _, state = program(torch.ones(2, 3))
    with pytest.raises(StateError, match="start with state=None"):
        program(torch.ones(4, 3), state)
    spoilt = {**state, "li": {}}
    with pytest.raises(StateError, match=r"the state 'li.v' must have the shape \(2, 2\)"):
        program(torch.ones(2, 3), spoilt)
    with pytest.raises(StateError, match="takes float32"):
        program(torch.ones(2, 3).double())


class Counting(torch.nn.Module):
    """Keeps a number that is no tensor."""

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        count = 0 if state is None else state["count"]
        return x * count, {"count": count + 1}


class Late(torch.nn.Module):
    """Begins with ones, which its first step does not show."""

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        v = torch.ones_like(x) if state is None else state["v"]
        return v, {"v": x}


class Choosing(torch.nn.Module):
    """What it does depends on numbers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Pairs(torch.nn.Module):
    """Keeps a tuple."""

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        one, other = (x * 0, [x * 0]) if state is None else state
        return x + one + other[0], (x, [one])


def mapped(kind: type[torch.nn.Module]) -> Any:
    nodes = {**ends((2,), (2,)), "odd.node": nir.Scale(np.ones(2))}
    edges = [("input", "odd.node"), ("odd.node", "output")]
    graph = nir.NIRGraph(nodes, edges, type_check=False)
    return module_of(graph, {nir.Scale: lambda node: kind()}, default_map(dt=DT))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Counting, "node 'odd.node': its state holds a int, which is no tensor"),
        (Late, "from the state of rest that it shows it gives other numbers than from None"),
        (Choosing, "torch.export cannot export it: "),
    ],
)
def test_what_is_refused(kind: type[torch.nn.Module], text: str, tmp_path: Path) -> None:
    with pytest.raises(SaveError) as raised:
        pt2.save(mapped(kind), tmp_path / "p.pt2")
    assert text in str(raised.value)
    assert raised.value.findings[0].code == "NIR508"
    assert list(tmp_path.iterdir()) == []


def test_a_state_of_tuples(tmp_path: Path) -> None:
    original = mapped(Pairs).eval()
    program = written(original, tmp_path)
    assert_follows(program, original, 3)
    names = [one.name for one in program.network.description.state]
    assert names == ["odd.node.0", "odd.node.1/0"]


def test_modules_that_cannot_be_exported(tmp_path: Path) -> None:
    target = tmp_path / "p.pt2"
    with pytest.raises(SaveError, match="Linear is not the module of a whole NIR graph"):
        pt2.save(torch.nn.Linear(2, 2), target)
    with pytest.raises(SaveError, match="it is on the device 'meta'"):
        pt2.save(module("recurrent").to("meta"), target)
    target.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        pt2.save(module("recurrent"), target, clobber=False)
    assert target.read_text() == "mine"


def test_names_that_are_taken(tmp_path: Path) -> None:
    """An Input with the name of a variable."""
    nodes = {"lif.v": nir.Input(np.array([2])), "lif": lif(2), "o": nir.Output(np.array([2]))}
    graph = nir.NIRGraph(nodes, [("lif.v", "lif"), ("lif", "o")], type_check=False)
    original = module_of(graph, {}, default_map(dt=DT)).eval()
    program = written(original, tmp_path)
    assert [one.name for one in program.network.description.state] == ["lif.v_"]
    assert_follows(program, original, 2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_types(dtype: torch.dtype, tmp_path: Path) -> None:
    original = module_of(neurons(), {}, default_map(dt=DT), dtype=dtype).eval()
    program = written(original, tmp_path)
    state = mine = None
    with torch.no_grad():
        for arguments in inputs(original, 20, 3, dtype):
            wanted, mine = original(*arguments, state=mine)
            given, state = program(*arguments, state=state)
            assert given.dtype == dtype
            assert torch.equal(given, wanted)


def test_other_files_are_no_programs(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no such file"):
        pt2.load(tmp_path / "none.pt2")
    (tmp_path / "text.pt2").write_text("text")
    with pytest.raises(ReadError, match="is no program that nirtorch exported, or is damaged"):
        pt2.load(tmp_path / "text.pt2")
    other = torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),))
    torch.export.save(other, tmp_path / "other.pt2")
    with pytest.raises(ReadError, match="is no program that nirtorch exported"):
        pt2.load(tmp_path / "other.pt2")
    with pytest.raises(ReadError, match=r"is an exported program by its name, not a saved module"):
        nirtorch_cli.load(tmp_path / "other.pt2")
    with pytest.raises(UsageError, match="holds the weights of a module, and cannot be run"):
        saved_model("w.safetensors", "cpu", trust=True)


def test_run_and_compare(nirtorch: Command) -> None:
    model = str(DATA / "digits_recurrent.nir")
    assert nirtorch("convert", model, "-o", "m.pt2", "-q").returncode == 0
    feed = ("-i", "poisson:rate=2000")
    refused = nirtorch("run", "m.pt2", *feed)
    assert refused.returncode == 2
    assert "m.pt2 may hold pickles: loading it runs the code that it names" in refused.stderr
    for name in ("m.pt2", model):
        done = nirtorch(
            "run", name, "--trust", *feed, "-r", "hidden.lif:v", "-o", f"{name[-3:]}.npz"
        )
        assert done.returncode == 0, done.stderr
    same = nirtorch("compare", "file:m.pt2", "default", "--trust", "-M", model, *feed)
    assert same.returncode == 0, same.stdout + same.stderr
    assert "only what file:m.pt2 shows is compared: outputs and states" in same.stderr
    other = nirtorch("compare", "file:m.pt2", "default,reset=none", "--trust", "-M", model, *feed)
    assert other.returncode == 1
    for option in (["--dtype", "float64"], ["--dt", "1e-3"], ["--device", "meta"]):
        assert nirtorch("run", "m.pt2", "--trust", *feed, *option).returncode == 2
    assert nirtorch("run", "m.pt2", "--trust", *feed, "--compile").returncode == 0
    out = nirtorch("run", "m.pt2", "--trust", *feed, "--state-out", "s.npz", "--steps", "50")
    assert out.returncode == 0, out.stderr
    again = nirtorch("run", "m.pt2", "--trust", *feed, "--state-in", "s.npz", "--start", "50")
    assert again.returncode == 0, again.stderr
    sequence = nirtorch("convert", model, "-o", "s.pt2", "--sequence")
    assert sequence.returncode == 2
    assert "--sequence: .pt2 has no whole sequences; '.onnx' has them" in sequence.stderr
