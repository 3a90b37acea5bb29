"""The files of readable modules: what is refused, names of strangers, and a process without us."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import equations
import nir
import numpy as np
import pytest
import torch
from networks import NETWORKS, module_of, run, weights
from neurons import DT, neuron
from readable import Mine, assert_same_steps, drawn, first_of_packs, layered, same_bits, written
from safetensors import safe_open

from nirtorch_cli import Neuron, SpikingNeuron, default_map
from nirtorch_cli.conversion.artefacts.source.writing import save
from nirtorch_cli.findings.errors import OutputError, SaveError, UsageError
from nirtorch_cli.primitives.modules.leaky import LIF

torch.set_num_threads(1)

DATA = Path(__file__).parents[2] / "data"


def text_of(module: Any, folder: Path) -> str:
    save(module, folder / "text.py")
    return (folder / "text.py").read_text(encoding="utf8")


# ---------------------------------------------------------------------------------------- refusals


class Helped(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.asarray(x.detach()))


class Holding(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


class Counting(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count = getattr(self, "count", 0) + 1
        return x


class Shown(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return aside(self, x)


def aside(module: Any, x: torch.Tensor) -> torch.Tensor:
    return x


class Adapted(SpikingNeuron):
    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        z, v = self.fired(self.before(state, "v", x) + x)
        return z, {"v": v}


class Hidden(Neuron):
    def charge(self, x: torch.Tensor, *before: torch.Tensor) -> Any:
        return before[0] + self.gain("tau") * x


class Kept(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.settings = object()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.settings else -x


class Called(torch.nn.Module):
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def hooked() -> torch.nn.Module:
    layer = torch.nn.Linear(4, 4)
    layer.register_forward_hook(lambda module, x, y: y + 1)
    return layer


def patched() -> torch.nn.Module:
    layer = torch.nn.Linear(4, 4)
    layer.forward = lambda x: x  # type: ignore[method-assign]
    return layer


CONSTANTS = {"tau": np.ones(4), "r": np.ones(4), "v_leak": np.zeros(4)}
FIRING = {"v_threshold": np.ones(4), "v_reset": np.zeros(4)}

REFUSED = [
    (Helped, "Helped uses numpy"),
    (Holding, "Holding holds other modules"),
    (Counting, "Counting its forward changes self.count"),
    (Shown, "Shown its forward hands on the module as a whole"),
    (Kept, "Kept its settings is a object"),
    (Called, "Called has a __call__ of its own"),
    (hooked, "Linear has hooks"),
    (patched, "Linear has a method of its own"),
    (lambda: torch.nn.LSTM(4, 4), "LSTM"),
    (lambda: Adapted(FIRING), "Adapted is built on NIR's own neurons"),
    (lambda: Hidden({"tau": np.ones(4)}), "Hidden uses self.gain"),
    (lambda: Mine({"beta": np.ones(4)}, surrogate=lambda u: u), "has a lambda"),
    (lambda: Mine({"beta": np.ones(4)}, surrogate=np.abs), "its surrogate is a ufunc"),
    (lambda: type("Local", (LIF,), {})({**CONSTANTS, **FIRING}), "Local is built on NIR's own"),
]


@pytest.mark.parametrize(
    ("made", "said"), REFUSED, ids=lambda value: getattr(value, "__name__", "")
)
def test_what_cannot_be_written_is_refused(made: Any, said: str, tmp_path: Path) -> None:
    graph = layered(nir.Linear(weights(4, 4)), neuron(nir.LIF, 4), shape=(4,))
    module = module_of(graph, {"n0": lambda node: made()})
    with pytest.raises(SaveError, match=said) as caught:
        save(module, tmp_path / "model.py")
    (finding,) = caught.value.findings
    assert (finding.code, finding.node) == ("NIR521", "n0")
    assert ".pt" in str(finding.hint)
    assert list(tmp_path.iterdir()) == []


def test_every_node_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    graph = layered(nir.Linear(weights(4, 4)), nir.Linear(weights(4, 4)), shape=(4,))
    module = module_of(graph, {nir.Linear: lambda node: Holding()})
    with pytest.raises(SaveError) as caught:
        save(module, tmp_path / "model.py")
    assert [finding.node for finding in caught.value.findings] == ["n0", "n1"]


def test_weights_that_two_modules_share_are_refused(tmp_path: Path) -> None:
    graph = layered(nir.Linear(weights(4, 4)), nir.Linear(weights(4, 4)), shape=(4,))
    module = module_of(graph, {})
    module.n1.weight = module.n0.weight
    with pytest.raises(SaveError, match="shares its weight with the node 'n0'"):
        save(module, tmp_path / "model.py")


def test_an_edited_graph(tmp_path: Path) -> None:
    module = module_of(DATA / "digits.nir", {})
    module.graph.eliminate_dead_code()
    module.recompile()
    assert_same_steps(module, written(module, tmp_path))
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    with module.graph.inserting_before(output):
        turned = module.graph.call_function(torch.relu, (output.args[0][0],))
    output.args = ((turned, output.args[0][1]),)
    module.recompile()
    with pytest.raises(SaveError, match="its graph was edited: it calls relu"):
        save(module, tmp_path / "other.py")


def test_a_single_node_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="no converted graph"):
        save(module_of(neuron(nir.LIF, 4), {}), tmp_path / "model.py")


# ------------------------------------------------------------------------------------------- files


def test_the_same_conversion_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(module_of(DATA / "digits_conv.nir", {}), tmp_path / f"{name}.py")
    for suffix in ("py", "safetensors"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_neither_file_is_replaced_unless_both_may_be(tmp_path: Path) -> None:
    module = module_of(DATA / "digits.nir", {})
    for name in ("model.py", "model.safetensors"):
        (tmp_path / name).write_bytes(b"old")
        with pytest.raises(OutputError, match="exists already"):
            save(module, tmp_path / "model.py", clobber=False)
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
        (tmp_path / name).unlink()
    with pytest.raises(UsageError, match="two files"):
        save(module, sys.stdout.buffer)


def test_what_made_it_stands_in_both_files(tmp_path: Path) -> None:
    module = module_of(DATA / "digits.nir", {}, default_map(integration="exact"))
    text = text_of(module, tmp_path)
    with safe_open(tmp_path / "text.safetensors", "pt") as file:
        said = json.loads(file.metadata()["nirtorch"])
    assert said["integration"] == "exact"
    top = text.split('"""')[1]
    for value in (said["file"], said["sha256"], "exact", "0.0001 (all LIF neurons", "snnTorch"):
        assert value in top
    assert str(tmp_path) not in text


HOSTILE = [
    'a"""b',
    "a\nb = 1",
    "a\\",
    '"',
    "{body}",
    "{name}",
    "\u202eabc",
    "ünï",
    "class",
    "_entry",
    "Tensor",
    "tuple",
    "torch",
    "nn",
    "LIF",
    "Model",
    "load",
    "DT",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_strangers(name: str, tmp_path: Path) -> None:
    """As the name of an Input, of a neuron, of a nested graph and of the file."""
    lif = neuron(nir.LIF, 3)
    ports = {name: nir.Input(np.array([3])), "output": nir.Output(np.array([3]))}
    nest = nir.NIRGraph({**ports, "lif": lif}, [(name, "lif"), ("lif", "output")], type_check=False)
    ends = {"in": nir.Input(np.array([3])), "out": nir.Output(np.array([3]))}
    edges = [("in", name), (name, f"{name}2"), (f"{name}2", "w"), ("w", f"{name}2"), (name, "out")]
    nodes = {**ends, name: nest, f"{name}2": lif, "w": nir.Linear(weights(3, 3))}
    module = module_of(nir.NIRGraph(nodes, edges, type_check=False), {}, default_map(DT))
    module.meta.update(file=name, dt_reason=name)
    assert_same_steps(module, written(module, tmp_path), steps=10)


def test_a_wrong_input_is_refused(tmp_path: Path) -> None:
    readable = written(module_of(DATA / "digits.nir", {}), tmp_path)
    with pytest.raises(ValueError, match=r"must end in \(64,\)"):
        readable(torch.ones(2, 1))


# ------------------------------------------------------------------- without nir and this program

ALONE = """
import importlib, sys, pathlib, warnings
import torch
warnings.simplefilter("error")
sys.path[:0] = ["stubs", "."]
for name in ("nirtorch_cli", "nir", "nirtorch_mappings"):
    try:
        importlib.import_module(name)
    except ImportError:
        pass
    else:
        raise SystemExit(f"{name} is here")
torch.set_num_threads(1)
for path in sorted(pathlib.Path(".").glob("model_*.py")):
    model = importlib.import_module(path.stem).load()
    results, state = [], None
    with torch.no_grad():
        for arguments in torch.load(f"{path.stem}.in"):
            output, state = model(*arguments, state)
            results.append((output, state))
    torch.save(results, f"{path.stem}.out")
"""


def test_in_a_process_of_their_own(tmp_path: Path) -> None:
    """One hundred steps of networks, files and packs, in Python without nir and this program."""
    modules = {name: module_of(make(), {}, default_map(1e-3)) for name, make in NETWORKS.items()}
    for file in ("digits", "digits_conv", "digits_recurrent"):
        modules[file] = module_of(DATA / f"{file}.nir", {})
        modules[f"{file}_64"] = module_of(DATA / f"{file}.nir", {}, dtype=torch.float64)
    for name, case in first_of_packs().items():
        modules[name] = case.converted(torch.float32)
    for stub in ("nirtorch_cli", "nir", "nirtorch_mappings"):
        (tmp_path / "stubs" / stub).mkdir(parents=True)
        (tmp_path / "stubs" / stub / "__init__.py").write_text("raise ImportError('not here')")
    steps = {}
    for name, module in modules.items():
        steps[name] = drawn(module, 100)
        save(module, tmp_path / f"model_{name}.py")
        torch.save(steps[name], tmp_path / f"model_{name}.in")
    command = [sys.executable, "-W", "error", "-c", ALONE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for name, module in modules.items():
        with torch.no_grad():
            same_bits(torch.load(tmp_path / f"model_{name}.out"), run(module, steps[name]))


def test_the_source_is_tidy(tmp_path: Path) -> None:
    """As ruff sees it: sorted imports, no unknown or unused name, and formatted."""
    ruff = Path(sys.executable).with_name("ruff")
    if not ruff.exists():
        pytest.skip("ruff is not here")
    modules = {name: module_of(make(), {}, default_map(1e-3)) for name, make in NETWORKS.items()}
    for number, case in enumerate([*first_of_packs().values(), *equations.CASES.values()][::4]):
        modules[f"pack_{number}"] = case.converted(torch.float32)
    for name, module in modules.items():
        save(module, tmp_path / f"{name}.py")
    options = ["--isolated", "--line-length=100", str(tmp_path)]
    for command in (["check", "--select=E,F,I,W,UP,N", "--ignore=E501"], ["format", "--diff"]):
        done = subprocess.run([ruff, *command, *options], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-4000:]
