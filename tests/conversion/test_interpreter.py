"""nir_to_torch: what it returns, what it asks of a user's modules, what it remembers."""

from __future__ import annotations

import json
import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from conftest import DATA
from networks import module_of
from typer.testing import CliRunner

import nirtorch_cli
from nirtorch_cli import DEFAULT_MAP, default_map, nir_to_torch
from nirtorch_cli.cli.app import app
from nirtorch_cli.primitives.modules.leaky import LIF

ONE = np.ones(4)


def small_graph() -> nir.NIRGraph:
    """Linear(3 -> 4), then a leaky integrator."""
    return nir.NIRGraph.from_list(nir.Linear(np.ones((4, 3))), nir.LI(ONE, ONE, 0 * ONE))


class Counting(torch.nn.Module):
    """A user's module: its state, of any kind, counts the steps."""

    def __init__(self, start: Any, step: Any) -> None:
        super().__init__()
        self.start, self.step = start, step

    def forward(self, x: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
        state = self.start if state is None else self.step(state)
        return x, state


def one_more(state: Any) -> Any:
    return {"n": state["n"] + 1} if isinstance(state, dict) else state + 1


@pytest.mark.parametrize("start", [0, torch.zeros(2), {"n": 0}])
def test_a_module_with_a_parameter_called_state_is_stateful(start: Any) -> None:
    module = nir_to_torch(small_graph(), {nir.LI: lambda node: Counting(start, one_more)})
    state = None
    for _ in range(3):
        _, state = module(torch.ones(1, 3), state)
    count = state["li"]["n"] if isinstance(start, dict) else state["li"]
    assert (count == 2) if isinstance(count, int) else torch.equal(count, torch.full((2,), 2.0))
    assert state["linear"] is None


@pytest.mark.parametrize("kind", [torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM])
def test_torch_rnns_count_as_stateful(kind: type[torch.nn.RNNBase]) -> None:
    rnn = kind(4, 4)
    module = nir_to_torch(small_graph(), {nir.LI: lambda node: rnn})
    x = torch.rand(2, 3)
    first, state = module(x)
    second, _ = module(x, state)
    hidden = module.linear(x)
    expected_first, kept = rnn(hidden)
    expected_second, _ = rnn(hidden, kept)
    assert torch.equal(first, expected_first)
    assert torch.equal(second, expected_second)
    again = pickle.loads(pickle.dumps(module))
    assert torch.equal(again(x, state)[0], second)


@pytest.mark.parametrize("as_text", [True, False])
def test_a_path_is_read(as_text: bool) -> None:
    path = DATA / "digits.nir"
    module = module_of(str(path) if as_text else path, {})
    assert module.meta["file"] == "digits.nir"
    assert module.meta["file_version"] == "1.0.8"
    with pytest.raises(nirtorch_cli.ReadError, match=r"none\.nir: no such file"):
        nir_to_torch(Path("none.nir"), {})


def test_a_single_node_gives_the_mapped_module_itself() -> None:
    node = nir.LIF(ONE, ONE, 0 * ONE, ONE)
    lif = nir_to_torch(node, {}, dtype=torch.float64)
    assert type(lif) is LIF
    assert lif.tau.dtype == torch.float64
    mine = torch.nn.Linear(1, 1)
    assert nir_to_torch(node, {nir.LIF: lambda node: mine}) is mine
    assert isinstance(nir_to_torch(nir.Input(np.array([2])), {}), torch.nn.Identity)
    with pytest.raises(nirtorch_cli.UnmappedNodeError, match=r"nir\.ir\.neuron\.LIF"):
        nir_to_torch(node, {}, {})


def test_entries_of_the_user_win_and_base_classes_count() -> None:
    class MyLinear(nir.Linear):
        pass

    graph = nir.NIRGraph.from_list(MyLinear(np.ones((2, 2))), nir.Linear(np.ones((2, 2))))
    plain = nir_to_torch(graph, {})
    assert type(plain.mylinear) is type(plain.linear) is torch.nn.Linear
    mine = nir_to_torch(graph, {MyLinear: lambda node: torch.nn.Identity()})
    assert type(mine.mylinear) is torch.nn.Identity
    assert type(mine.linear) is torch.nn.Linear


def test_a_merged_default_map_infers_one_dt_for_all() -> None:
    """Alone, the readout's one tau would not tell dt; the graph as a whole does."""
    path = DATA / "digits.nir"
    merged = {**DEFAULT_MAP, nir.Affine: DEFAULT_MAP[nir.Affine]}
    module = module_of(path, {}, merged)
    assert module.meta["dt"] == module.readout.dynamics.dt == module.hidden.dynamics.dt == 1e-4
    given = module_of(path, {}, default_map(dt=2e-4, integration="exact", reset="subtract"))
    assert given.readout.dynamics.dt == given.meta["dt"] == 2e-4
    assert (given.meta["integration"], given.meta["reset"]) == ("exact", "subtract")


def test_what_a_module_remembers() -> None:
    meta = module_of(DATA / "digits_recurrent.nir", {}).meta
    assert meta["names"]["hidden_w_rec"] == "hidden.w_rec"
    assert meta["types"]["hidden_lif"] == "CubaLIF"
    assert meta["shapes"]["affine_hidden"] == ((8,), (64,))
    assert meta["delayed_edges"] == [["hidden_lif", "hidden_w_rec"]]
    assert (meta["inputs"], meta["outputs"]) == (["input"], ["output"])
    assert meta["integration"] == "euler"
    assert meta["surrogate"] == "atan"
    assert set(meta["versions"]) == {"nirtorch_cli", "nir", "torch"}


def test_nothing_remembers_dynamics_that_no_default_set() -> None:
    everything = {nir.NIRNode: lambda node: torch.nn.Identity()}
    graph = nir.NIRGraph.from_list(nir.Scale(ONE))
    meta = nir_to_torch(graph, everything, {}).meta
    assert meta["integration"] is None
    assert meta["dt"] == 1e-4


def test_every_failing_mapper_is_named_at_once() -> None:
    def fails(node: nir.NIRNode) -> torch.nn.Module:
        raise KeyError("no such chip")

    with pytest.raises(nirtorch_cli.MapperError) as caught:
        nir_to_torch(small_graph(), {nir.Linear: fails, nir.LI: lambda node: 3})
    assert str(caught.value).splitlines() == [
        "node 'linear': the mapper of Linear raised KeyError: 'no such chip'",
        "node 'li': the mapper of LI returned int; "
        "it must return a torch.nn.Module, or None to skip the node",
    ]
    assert isinstance(caught.value.__cause__, KeyError)


# ---- what is noticed about the graph


def graph_with(**nodes: nir.NIRNode) -> nir.NIRGraph:
    names = ["input", *nodes, "output"]
    ports = {"input": nir.Input(np.array([4])), "output": nir.Output(np.array([4]))}
    edges = list(pairwise(names))
    return nir.NIRGraph({**ports, **nodes}, edges, type_check=False)


def lif(tau: float) -> nir.LIF:
    return nir.LIF(tau * ONE, ONE, 0 * ONE, ONE)


def said(*arguments: Any, **options: Any) -> list[nirtorch_cli.NirtorchWarning]:
    """The warnings of a conversion, of which there is one at least."""
    with pytest.warns(nirtorch_cli.NirtorchWarning) as caught:
        nir_to_torch(*arguments, **options)
    assert {warning.filename for warning in caught} == {__file__}, "not where it was called"
    return [warning.message for warning in caught]


def test_a_finding_of_severity_error_is_an_exception() -> None:
    """All of them at once, with what else was noticed as the context."""
    graph = graph_with(a=lif(1e-3), b=lif(2e-3), c=lif(1.0), d=nir.Linear(np.full((4, 4), np.nan)))
    with pytest.raises(nirtorch_cli.ConversionError) as caught:
        nir_to_torch(graph, {}, default_map(dt=3e-3))
    error = caught.value
    assert [(f.code, f.node) for f in error.findings] == [("NIR301", "d"), ("NIR402", "a")]
    assert "node 'a', tau: dt 0.003 is longer than the time constant 0.001" in str(error)
    assert ("NIR401", "b") in [(f.code, f.node) for f in error.context]
    assert nir_to_torch(graph_with(a=lif(1e-3)), {}, default_map(3e-3, "exact"))


def test_errors_can_be_warnings() -> None:
    graph = graph_with(a=lif(1e-3), b=lif(2e-3))
    warned = said(graph, {}, default_map(dt=3e-3), on_error="warn")
    assert [warning.finding.code for warning in warned] == ["NIR402", "NIR401"]
    with pytest.raises(ValueError, match="on_error 'ignore' is neither 'raise' nor 'warn'"):
        nir_to_torch(graph, {}, on_error="ignore")
    with pytest.raises(nirtorch_cli.StructureError):  # of which no module can be built
        nir_to_torch(nir.NIRGraph({}, [], type_check=False), {}, on_error="warn")


@pytest.mark.parametrize("as_file", [False, True])
def test_a_finding_of_severity_warning_is_a_warning(as_file: bool, tmp_path: Path) -> None:
    source: Any = graph_with(a=lif(2e-3), b=nir.Delay(0.0035 * ONE))
    if as_file:
        nir.write(tmp_path / "model.nir", source)
        source = tmp_path / "model.nir"
    first, second = said(source, {}, default_map(dt=3e-3), dtype=torch.float64)
    assert [(w.finding.code, w.finding.node) for w in (first, second)] == [
        ("NIR401", "a"),
        ("NIR403", "b"),
    ]
    where = f"{source}: " if as_file else ""
    assert str(first).startswith(f"{where}node 'a', tau: dt 0.003 is longer than")
    assert str(pickle.loads(pickle.dumps(first))) == str(first)


def test_all_findings_are_kept() -> None:
    with pytest.warns(nirtorch_cli.NirtorchWarning):
        module = nir_to_torch(DATA / "damaged.nir", {})
    severities = [finding["severity"] for finding in module.meta["findings"]]
    assert "warning" in severities
    warned = said(DATA / "damaged.nir", {})
    kept = [finding for finding in module.meta["findings"] if finding["severity"] != "info"]
    assert [warning.finding.to_json() for warning in warned] == kept


def test_an_info_is_no_warning() -> None:
    """Nothing is said here, where warnings are errors."""
    module = nir_to_torch(graph_with(a=nir.Linear(np.full((4, 4), 0.1))), {})
    assert [finding["severity"] for finding in module.meta["findings"]] == ["info"]


def test_commands_do_not_warn_beside_what_they_print(tmp_path: Path) -> None:
    arguments = ["convert", str(DATA / "damaged.nir"), "-o", str(tmp_path / "m.pt"), "--json"]
    result = CliRunner().invoke(app, arguments)  # where warnings are errors
    assert result.exit_code == 0
    assert "NIR202" in {finding["code"] for finding in json.loads(result.stdout)["findings"]}
