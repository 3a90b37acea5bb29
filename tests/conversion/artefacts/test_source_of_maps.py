"""Readable modules of packs, of maps of one's own, and of modules that were trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import equations
import nir
import numpy as np
import pytest
import torch
from networks import module_of, run, weights
from neurons import DT, neuron
from readable import (
    DTYPES,
    Mine,
    assert_same_gradients,
    assert_same_steps,
    drawn,
    first_of_packs,
    layered,
    steep,
    written,
)

from nirtorch_cli import default_map

torch.set_num_threads(1)

DATA = Path(__file__).parents[2] / "data"


# ------------------------------------------------------------------------------- maps and packs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [pytest.param(c, id=n) for n, c in equations.CASES.items()])
def test_packs(case: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    module = case.converted(dtype)
    assert_same_steps(module, written(module, tmp_path))


@pytest.mark.parametrize("name", first_of_packs())
def test_gradients_of_packs(name: str, tmp_path: Path) -> None:
    case = first_of_packs()[name]
    nodes = {**case.graph.nodes, "scale": nir.Scale(np.linspace(0.5, 1.5, equations.N))}
    behind = [("scale" if a == "input" else a, b) for a, b in case.graph.edges]
    graph = nir.NIRGraph(nodes, [("input", "scale"), *behind], type_check=False)
    maps = equations.pack(name)(**case.options), default_map(case.dt or "auto")
    module = module_of(graph, *maps)
    readable = written(module, tmp_path)
    assert_same_steps(module, readable)
    assert_same_gradients(module, readable)


class Plain(torch.nn.Module):
    """A layer with a state of its own."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.gain = 2.0
        self.weight = torch.nn.Parameter(torch.linspace(0.5, 1.5, size))

    def forward(self, x: torch.Tensor, sign: float = 1.0, *, state: Any = None) -> Any:
        x = sign * x
        total = self.weight * x if state is None else state + self.weight * x
        return torch.nn.functional.relu(total) / self.gain, total


def mine(node: nir.LIF) -> Mine:
    return Mine({"beta": np.linspace(0.5, 0.9, 4)}, surrogate=steep)


def test_a_map_of_ones_own(tmp_path: Path) -> None:
    graph = layered(neuron(nir.LIF, 4), neuron(nir.LI, 4), shape=(4,))
    module = module_of(graph, {nir.LIF: mine, nir.LI: lambda node: Plain(4)})
    readable = written(module, tmp_path)
    assert_same_steps(module, readable)
    assert_same_gradients(module, readable)
    text = (tmp_path / "model.py").read_text()
    assert text.count("def halved(") == 1
    assert "FACTOR = 0.75\n" in text


def test_classes_of_one_name_stay_apart(tmp_path: Path) -> None:
    nodes = [neuron(nir.LIF, 4), equations.norse_lif(), equations.sinabs_lif()]
    graph = layered(neuron(nir.LIF, 5), *nodes[1:], shape=(5,))
    packs = {"n1": "norse", "n2": "sinabs"}
    entries = {name: equations.pack(pack)()[nir.LIF] for name, pack in packs.items()}
    module = module_of(graph, entries, default_map(1.0))
    assert_same_steps(module, written(module, tmp_path))
    text = (tmp_path / "model.py").read_text()
    assert "class LIF(" in text
    assert "class LIF2(" in text


def test_two_meanings_of_a_step_in_one_network(tmp_path: Path) -> None:
    graph = layered(neuron(nir.LIF, 4), neuron(nir.LIF, 4), shape=(4,))
    other = default_map(3e-4, reset="subtract", surrogate="triangular")[nir.LIF]
    module = module_of(graph, {"n1": other}, default_map(DT))
    readable = written(module, tmp_path)
    assert_same_steps(module, readable)
    assert_same_gradients(module, readable)


def test_a_module_that_stands_for_two_nodes(tmp_path: Path) -> None:
    shared = torch.nn.Linear(4, 4)
    graph = layered(nir.Linear(weights(4, 4)), nir.Linear(weights(4, 4)), shape=(4,))
    module = module_of(graph, {nir.Linear: lambda node: shared})
    readable = written(module, tmp_path)
    assert readable.n0 is readable.n1
    assert_same_steps(module, readable)
    assert_same_gradients(module, readable)


# --------------------------------------------------------------------------------------- training


def test_what_was_trained_is_written(tmp_path: Path) -> None:
    module = module_of(DATA / "digits_recurrent.nir", {})
    module.hidden_lif.tau_mem = torch.nn.Parameter(module.hidden_lif.tau_mem * 1.1)
    module.readout.r = torch.nn.Parameter(torch.tensor(1.5))
    module.affine_hidden.bias.requires_grad_(False)
    module.hidden_lif.v_threshold = torch.tensor(0.9)
    optimizer = torch.optim.Adam(p for p in module.parameters() if p.requires_grad)
    sum(output.sum() for output, _ in run(module, drawn(module, 5))).backward()
    optimizer.step()
    optimizer.zero_grad()
    readable = written(module, tmp_path)
    assert_same_steps(module, readable)
    frozen = [name for name, p in readable.named_parameters() if not p.requires_grad]
    assert frozen == ["affine_hidden.bias"]
    for one in (module, readable):
        one.affine_hidden.bias.requires_grad_(True)
    assert_same_gradients(module, readable)


def test_a_step_of_training(tmp_path: Path) -> None:
    module = module_of(DATA / "digits.nir", {})
    readable = written(module, tmp_path)
    for one in (module, readable):
        optimizer = torch.optim.Adam(one.parameters())
        sum(output.sum() for output, _ in run(one, drawn(module, 5))).backward()
        optimizer.step()
    assert_same_steps(module, readable)
