"""nir_to_torch: what it returns, what it asks of a user's modules, what it remembers."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from conftest import DATA

import nirtorch_cli
from nirtorch_cli import DEFAULT_MAP, default_map, nir_to_torch
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
    module = nir_to_torch(str(path) if as_text else path, {})
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
    module = nir_to_torch(path, {}, merged)
    assert module.meta["dt"] == module.readout.dynamics.dt == module.hidden.dynamics.dt == 1e-4
    given = nir_to_torch(path, {}, default_map(dt=2e-4, integration="exact", reset="subtract"))
    assert given.readout.dynamics.dt == given.meta["dt"] == 2e-4
    assert (given.meta["integration"], given.meta["reset"]) == ("exact", "subtract")


def test_what_a_module_remembers() -> None:
    meta = nir_to_torch(DATA / "digits_recurrent.nir", {}).meta
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
