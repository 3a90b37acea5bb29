"""The table of node types: complete, and open to a type that nir does not have.

The type is an adaptive LIF, a recurrent neuron with a third state variable. It is registered in the
public way, and everything that the program does with a node is done with it, against a NumPy loop.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from conftest import ROOT
from typer.testing import CliRunner, Result

import nirtorch_cli
from nirtorch_cli import Primitive, SpikingNeuron, register
from nirtorch_cli.cli.app import app
from nirtorch_cli.drawing.graphs.labels import STYLES, kind_of
from nirtorch_cli.primitives import table
from nirtorch_cli.primitives.dynamics import SURROGATES
from nirtorch_cli.primitives.modules import surrogate

DT = 1e-3
N = 3


@dataclass(eq=False)
class AdLIF(nir.NIRNode):
    """A leaky integrate-and-fire neuron whose spikes and voltage feed an adaptation w.

    tau dv/dt = v_leak - v + r x - w;  tau_w dw/dt = a (v - v_leak) - w
    z = v > v_threshold;  v = v_reset, w = w + b where z
    """

    tau: np.ndarray
    tau_w: np.ndarray
    r: np.ndarray
    a: np.ndarray
    b: np.ndarray
    v_leak: np.ndarray
    v_threshold: np.ndarray
    v_reset: np.ndarray

    def __post_init__(self) -> None:
        shape = np.array(np.shape(self.v_threshold))
        self.input_type, self.output_type = {"input": shape}, {"output": shape}


class AdLIFModule(SpikingNeuron):
    """One Euler step of it; both variables go on from their old values."""

    def forward(self, x: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
        v, w = self.before(state, "v", x, self.v_leak), self.before(state, "w", x)
        above = v - self.v_leak
        v = v + self.gain("tau") * (self.r * x - w - above)
        w = w + self.gain("tau_w") * (self.a * above - w)
        z, v = self.fired(v)
        return z, {"v": v, "w": w + self.b * z}


ADLIF = Primitive(
    AdLIF,
    "neuron",
    "elementwise",
    "test_table:AdLIFModule",
    required=("tau", "tau_w", "r", "a", "b", "v_leak", "v_threshold"),
    optional=("v_reset",),
    defaults={"v_reset": 0.0},
    states={"v": "v_leak", "w": 0.0},
    spikes=True,
    time_constants=("tau", "tau_w"),
)


@pytest.fixture
def registered() -> Iterator[Primitive]:
    yield register(ADLIF)
    table._REGISTERED.clear()


@pytest.fixture
def model(tmp_path: Path, registered: Primitive, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    nir.write("model.nir", network())
    return tmp_path / "model.nir"


def neuron(size: int = N, **values: Any) -> AdLIF:
    one = np.linspace(0.9, 1.1, size)
    given = {
        "tau": 5e-3 * one,
        "tau_w": 2e-2 * one,
        "r": 2 * one,
        "a": 0.5 * one,
        "b": 0.3 * one,
        "v_leak": 0.1 * one,
        "v_threshold": 0.6 * one,
        "v_reset": 0.05 * one,
    }
    return AdLIF(**{**given, **values})


WEIGHT = np.random.default_rng(1).normal(size=(N, N)) * 0.8


def network(node: AdLIF | None = None) -> nir.NIRGraph:
    """Input -> neuron -> Output, and the neuron to itself through weights with a bias."""
    nodes = {
        "input": nir.Input(np.array([N])),
        "ad": neuron() if node is None else node,
        "rec": nir.Affine(WEIGHT, np.full(N, 0.2)),
        "output": nir.Output(np.array([N])),
    }
    edges = [("input", "ad"), ("ad", "rec"), ("rec", "ad"), ("ad", "output")]
    return nir.NIRGraph(nodes, edges, type_check=False)


def expected(x: np.ndarray, node: AdLIF) -> dict[str, np.ndarray]:
    """The equation in float64; the spikes arrive a step late, the bias from the first step on."""
    v = np.broadcast_to(node.v_leak, x.shape[1:]).copy()
    w, z = np.zeros_like(v), np.zeros_like(v)
    found: dict[str, list[np.ndarray]] = {"spikes": [], "v": [], "w": []}
    for now in x.astype(np.float64):
        current = now + z @ WEIGHT.T + 0.2
        above = v - node.v_leak
        v = v + DT / node.tau * (node.r * current - w - above)
        w = w + DT / node.tau_w * (node.a * above - w)
        z = (v > node.v_threshold).astype(float)
        v, w = np.where(z > 0, node.v_reset, v), w + node.b * z
        for name, value in (("spikes", z), ("v", v), ("w", w)):
            found[name].append(value)
    return {name: np.stack(values) for name, values in found.items()}


def invoke(*arguments: str, code: int = 0) -> Result:
    answer = CliRunner().invoke(app, [*arguments])
    assert answer.exit_code == code, (answer.stdout, answer.stderr)
    return answer


INPUT = np.random.default_rng(2).uniform(0, 1.2, (60, 2, N)).astype(np.float32)


def converted(**options: Any) -> Any:
    options.setdefault("dtype", torch.float64)
    return nirtorch_cli.nir_to_torch("model.nir", {}, nirtorch_cli.default_map(DT), **options)


def test_it_is_read_with_what_is_missing_and_one_value_for_all(model: Path) -> None:
    import h5py

    with h5py.File(model, "a") as file:
        del file["node/nodes/ad/v_reset"], file["node/nodes/ad/r"]
        file["node/nodes/ad/r"] = 2.0
    found = json.loads(invoke("inspect", "model.nir", "--json").stdout)
    told = [(f["code"], f["parameter"]) for f in found["findings"]]
    assert ("NIR012", "v_reset") in told
    assert ("NIR013", "r") in told
    (node,) = [n for n in found["result"]["nodes"] if n["type"] == "AdLIF"]
    assert node["input_shape"] == node["output_shape"] == [N]


def test_its_numbers_are_checked(tmp_path: Path, registered: Primitive) -> None:
    bad = tmp_path / "bad.nir"
    nir.write(bad, network(neuron(tau_w=np.array([0.0, 1, 1]))))
    line = invoke("inspect", str(bad), code=1).stderr
    assert "NIR303" in json.loads(invoke("inspect", str(bad), "--json", code=1).stdout).__str__()
    assert "'ad', tau_w: a time constant of 0; it must be more than 0" in line
    nir.write(bad, network(neuron(5)))
    assert "'ad'" in invoke("inspect", str(bad), code=1).stderr  # five neurons for three numbers


def test_it_is_repaired(model: Path) -> None:
    import h5py

    with h5py.File(model, "a") as file:
        del file["node/nodes/output/shape"]
        file["node/nodes/output/shape"] = np.array([1, N])  # a batch axis
    said = invoke("repair", "model.nir", "-o", "repaired.nir").stderr
    assert "stale-shape" in said
    again = json.loads(invoke("inspect", "repaired.nir", "--json").stdout)
    # Nothing tells dt, which is said of any file with time constants.
    assert [f["code"] for f in again["findings"] if f["severity"] != "info"] == ["NIR406"]
    assert {n["type"] for n in again["result"]["nodes"]} == {"Input", "AdLIF", "Affine", "Output"}


def test_its_delayed_edge_is_at_its_spikes(model: Path) -> None:
    assert converted().meta["delayed_edges"] == [["ad", "rec"]]


def test_step_by_step_and_as_a_sequence(model: Path) -> None:
    module, x = converted(), torch.from_numpy(INPUT).double()
    right = expected(INPUT, neuron())
    assert 10 < right["spikes"].sum() < right["spikes"].size - 10
    state, spikes = None, []
    for now in x:
        z, state = module(now, state)
        spikes.append(z)
    assert np.array_equal(torch.stack(spikes).detach().numpy(), right["spikes"])
    np.testing.assert_allclose(state["ad"]["w"].detach().numpy(), right["w"][-1], rtol=1e-12)
    done = nirtorch_cli.run_sequence(module, x, record=["ad", "ad:v", "ad:w"])
    for name, values in right.items():
        found = done.trace["ad"][name].detach().numpy()
        np.testing.assert_allclose(found, values, rtol=1e-12, atol=1e-12)
    again = nirtorch_cli.run_sequence(
        module, x[20:], nirtorch_cli.run_sequence(module, x[:20]).state
    )
    assert torch.equal(again.outputs, done.outputs[20:])


def test_an_input_of_another_shape_is_refused(model: Path) -> None:
    """Nothing is broadcast over the constants, though the class does not check it itself."""
    module = converted()
    with pytest.raises(nirtorch_cli.StateError, match="its parameters have the shape"):
        module.ad(torch.ones(2, 1, dtype=torch.float64))


def test_it_learns(model: Path) -> None:
    module = converted()
    x = torch.from_numpy(INPUT).double().requires_grad_()
    nirtorch_cli.run_sequence(module, x).outputs.sum().backward()
    assert float(x.grad.abs().sum()) > 0
    assert float(module.rec.weight.grad.abs().sum()) > 0


def test_it_is_run_and_recorded_by_the_command(model: Path) -> None:
    np.save("x.npy", INPUT)
    options = ["--dt", str(DT), "--dtype", "float64"]
    invoke("run", "model.nir", "-i", "x.npy", "-o", "y.npz", "--record", "ad:w", "--record", "*:v",
           *options, "--plot", "y.svg")  # fmt: skip
    right = expected(INPUT, neuron())
    with np.load("y.npz") as found:
        np.testing.assert_allclose(found["ad:w"], right["w"], rtol=1e-9)
        np.testing.assert_allclose(found["ad:v"], right["v"], rtol=1e-9, atol=1e-12)
    assert "ad:w" in Path("y.svg").read_text()
    said = invoke("run", "model.nir", "-i", "x.npy", "--record", "ad:u", *options, code=2).stderr
    assert "an AdLIF has no 'u' to record" in said


def test_it_is_compared(model: Path) -> None:
    module = converted()
    with torch.no_grad():
        other = converted()
        other.ad.b.mul_(1.5)
    same = nirtorch_cli.compare_modules(module, module, torch.from_numpy(INPUT))
    (node,) = [node for node in same.nodes if node.node == "ad"]
    assert same.passes()
    assert set(node.values) == {"v", "w"}
    different = nirtorch_cli.compare_modules(module, other, torch.from_numpy(INPUT))
    assert different.first_parting is not None
    assert different.first_parting.node == "ad"
    assert any("w differs by" in finding.line() for finding in different.failures())


def test_it_is_drawn(model: Path) -> None:
    assert kind_of("AdLIF") == "neuron"
    mermaid = invoke("inspect", "model.nir", "--format", "mermaid").stdout
    assert "AdLIF" in mermaid
    assert mermaid.count('-.->|"1 step"|') + mermaid.count("-. ") + mermaid.count("-.->") >= 1


def test_it_is_saved_and_loaded(model: Path) -> None:
    module = converted()
    nirtorch_cli.save(module, "model.pt")
    loaded: Any = nirtorch_cli.load("model.pt")
    x = torch.from_numpy(INPUT).double()
    one, other = (nirtorch_cli.run_sequence(m, x, record=["ad:w"]) for m in (module, loaded))
    assert torch.equal(one.trace["ad"]["w"], other.trace["ad"]["w"])


def test_a_map_registers_the_type_that_it_is_for(tmp_path: Path) -> None:
    """In processes of their own: neither knows the type before it has imported the map."""
    nir.write(tmp_path / "model.nir", network())
    (tmp_path / "pack.py").write_text(
        f"import sys\nsys.path[:0] = {[str(Path(__file__).parent), str(ROOT / 'tests')]!r}\n"
        "import nirtorch_cli\nfrom test_table import ADLIF\n"
        "nirtorch_cli.register(ADLIF)\nMAP = {}\n"
    )
    for command in (["convert", "model.nir"], ["check", "model.nir"]):
        done = subprocess.run(
            [sys.executable, "-m", "nirtorch_cli", *command, "--map", "pack.py", "--dt", "1e-3"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
    assert "unknown node type 'AdLIF'" in CliRunner().invoke(
        app, ["convert", str(tmp_path / "model.nir")]
    ).stderr  # fmt: skip


def test_what_cannot_be_registered() -> None:
    with pytest.raises(ValueError, match="LIF is one of nir's own types; map it instead"):
        register(Primitive(nir.LIF, "neuron", "elementwise", None))
    with pytest.raises(ValueError, match="dict is not derived from"):
        register(Primitive(dict, "other", "elementwise", None))


# --------------------------------------------------------------------------- the table is whole


def nirs_types() -> list[type[nir.NIRNode]]:
    types = [kind for kind in vars(nir.ir).values() if isinstance(kind, type)]
    own = [kind for kind in types if issubclass(kind, nir.NIRNode)]
    return [kind for kind in own if kind not in (nir.NIRNode, nir.NIRGraph)]


def test_every_type_of_nir_has_an_entry() -> None:
    assert {entry.type for entry in table.PRIMITIVES.values()} == set(nirs_types())


@pytest.mark.parametrize("entry", table.PRIMITIVES.values(), ids=table.PRIMITIVES)
def test_an_entry_is_true(entry: Primitive) -> None:
    own = {name for name in entry.type.__dataclass_fields__ if name != "metadata"}
    extra = {"bias"} if entry.type is nir.Linear else {"shape"}  # what files have beside nir
    assert set(entry.fields) <= own | extra
    assert set(entry.defaults) <= set(entry.optional)
    assert set(entry.time_constants) == {name for name in entry.fields if name.startswith("tau")}
    assert entry.role != "neuron" or entry.states
    assert all(isinstance(at, float) or at in entry.fields for at in entry.states.values())
    assert entry.spikes == (("v_threshold" in entry.fields) or ("threshold" in entry.fields))
    assert (entry.builder() is None) == (entry.role == "port")
    assert kind_of(entry.name) in STYLES


def test_the_surrogates_are_those_that_there_are() -> None:
    assert tuple(surrogate.SURROGATES) == SURROGATES


def test_a_class_derived_from_a_neuron_steps_as_its_own_forward_says() -> None:
    """The quick ways over many steps are for the classes that have them, not for heirs."""
    from nirtorch_cli.primitives.modules.leaky import LIF

    class Doubling(LIF):
        def forward(self, x: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
            z, state = super().forward(x, state)
            return 2 * z, state

    assert (LIF.is_whole, Doubling.is_whole) == (True, False)
    one = np.ones(2)
    graph = nir.NIRGraph.from_list(nir.LIF(1e-3 * one, 4 * one, 0 * one, one))
    made = nirtorch_cli.default_map(1e-4)[nir.LIF]

    def doubling(node: nir.LIF) -> Doubling:
        module: Any = made(node)
        return Doubling(dict(module.named_buffers()), module.dynamics)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = nirtorch_cli.nir_to_torch(graph, {nir.LIF: doubling})
    outputs = nirtorch_cli.run_sequence(module, torch.ones(30, 1, 2)).outputs
    assert set(outputs.unique().tolist()) == {0.0, 2.0}
