"""A converted module as a NIR file again: what was not trained is equal byte for byte."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import torch
from conftest import SHARED
from networks import module_of
from typer.testing import CliRunner

from nirtorch_cli import NirtorchError, SaveError, default_map, load, run_sequence, save, to_nir
from nirtorch_cli.cli.app import app
from nirtorch_cli.conversion.artefacts.written_back import save as save_nir

DATA = Path(__file__).parents[2] / "data"
FILES = sorted(
    [
        *DATA.glob("digits*.nir"),
        *(DATA.parent / "frameworks" / "exported").glob("*.nir"),
        *SHARED.glob("nir/**/*.nir"),
        *SHARED.glob("frameworks/*/model.nir"),
    ]
)
Change = Callable[[str], bool]


def datasets(source: Any) -> dict[str, Any]:
    """Every dataset of a file by its path: type, shape and bytes."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            value = item[()]
            is_text = item.dtype.kind == "O"
            bits = np.asarray(value).tolist() if is_text else np.asarray(value).tobytes()
            found[name] = str(item.dtype), item.shape, bits

    with h5py.File(source) as file:
        file.visititems(visit)
    found.pop("version", None)
    return found


def written(module: Any) -> io.BytesIO:
    stream = io.BytesIO()
    save_nir(module, stream)
    return io.BytesIO(stream.getvalue())


def differences(module: Any, source: Any) -> set[str]:
    before, after = datasets(source), datasets(written(module))
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def repaired(module: Any) -> bool:
    return any(finding["repair"] for finding in module.meta["findings"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: "/".join(file.parts[-2:]))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_real_files_come_back_byte_for_byte(file: Path, dtype: torch.dtype) -> None:
    try:
        module = module_of(file, {}, dtype=dtype)
    except NirtorchError:
        pytest.skip("it cannot be converted")
    found = differences(module, file)
    if not repaired(module) and is_strict(file):
        # What old files leave out, nir writes; and one number where one is in an array of one.
        kinds = {"v_reset"} | (
            {"stride", "padding", "dilation"} if "conv1d" in str(file) else set()
        )
        assert {name.rpartition("/")[2] for name in found} <= kinds
    arrays = {name for name in found if name.rpartition("/")[2] in ("weight", "bias", "tau", "r")}
    assert not arrays
    nir.read(written(module))


def is_strict(file: Path) -> bool:
    """Whether nir accepts a file with its type check on."""
    try:
        nir.read(file)
    except Exception:
        return False
    return True


def everything() -> nir.NIRGraph:
    """A graph with constants in float64 that float32 rounds, a nest, metadata, and a loop."""
    third, one = np.full(3, 1 / 3), np.ones(3)
    inner = nir.NIRGraph(
        {
            "input": nir.Input(np.array([3])),
            "lif": nir.LIF(0.1 * one, third, 0 * one, 0.7 * one, 0 * one),
            "w_rec": nir.Linear(np.full((3, 3), 0.1)),
            "output": nir.Output(np.array([3])),
        },
        [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
    )
    nodes = {
        "input": nir.Input(np.array([2])),
        "fc": nir.Affine(np.full((3, 2), 0.3), third),
        "delay": nir.Delay(np.array([1e-4, 2e-4, 3e-4])),
        "nest": inner,
        "scale": nir.Scale(third.astype(np.float32)),
        "cuba": nir.CubaLIF(0.01 * one, 0.02 * one, third, 0 * one, one, 0 * one, third),
        "output": nir.Output(np.array([3])),
    }
    order = list(nodes)
    edges = [*zip(order, order[1:])]  # noqa: RUF007
    return nir.NIRGraph(nodes, edges[::-1], {"made by": "hand", "number": 3})


@pytest.fixture
def original(tmp_path: Path) -> Path:
    nir.write(tmp_path / "model.nir", everything())
    return tmp_path / "model.nir"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_edges_metadata_and_what_was_rounded_come_back(original: Path, dtype: torch.dtype) -> None:
    module = module_of(original, {}, default_map(1e-4), dtype=dtype)
    assert differences(module, original) == set()
    again = nir.read(written(module))
    assert again.metadata == nir.read(original).metadata
    moved = module.double()
    assert differences(moved, original) == set()


def trained(module: Any, names: Change) -> Any:
    """The module after ten steps of an optimizer over some of its parameters."""
    chosen = [p for name, p in module.named_parameters() if names(name)]
    optimizer = torch.optim.Adam(chosen, lr=0.01)
    x = torch.rand(8, 4, 2, generator=torch.Generator().manual_seed(0)) * 50
    for _ in range(10):
        optimizer.zero_grad()
        run_sequence(module, x).outputs.sum().backward()
        optimizer.step()
    return module


def test_only_what_was_trained_differs(original: Path) -> None:
    module = module_of(original, {}, default_map(1e-4))
    trained(module, lambda name: name == "fc.bias")
    assert differences(module, original) == {"node/nodes/fc/bias"}
    bias = nir.read(written(module)).nodes["fc"].bias
    assert bias.dtype == np.float64
    np.testing.assert_array_equal(bias, module.fc.bias.detach().double().numpy())


def test_constants_that_were_trained_come_back_too(original: Path) -> None:
    module = module_of(original, {}, default_map(1e-4))
    with torch.no_grad():
        module.cuba.v_threshold += 0.25
    module.cuba.tau_mem = torch.full((3,), 0.03)
    cuba = "node/nodes/cuba"
    assert differences(module, original) == {f"{cuba}/v_threshold", f"{cuba}/tau_mem"}
    again = module_of(to_nir(module), {}, default_map(1e-4))
    x = torch.rand(20, 3, 2) * 50
    with torch.no_grad():
        assert torch.equal(run_sequence(module, x).outputs, run_sequence(again, x).outputs)


def test_saved_loaded_and_exported(original: Path, tmp_path: Path) -> None:
    module = module_of(original, {}, default_map(1e-4))
    module.fc.bias.data += 0.5
    save(module, tmp_path / "tuned.pt")
    loaded = load(tmp_path / "tuned.pt")
    assert loaded.meta["graph"] == module.meta["graph"]
    arguments = ["export", str(tmp_path / "tuned.pt"), "-o", str(tmp_path / "tuned.nir")]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    assert "--trust" in refused.stderr
    done = CliRunner().invoke(app, [*arguments, "--trust"])
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("saved ")
    before, after = datasets(original), datasets(tmp_path / "tuned.nir")
    assert {name for name in before if before[name] != after[name]} == {"node/nodes/fc/bias"}
    assert before.keys() == after.keys()


def test_a_program_is_not_exported_again(original: Path, tmp_path: Path) -> None:
    program = str(tmp_path / "model.pt2")
    assert CliRunner().invoke(app, ["convert", str(original), "-o", program, "-q"]).exit_code == 0
    again = ["export", program, "-o", str(tmp_path / "again.nir"), "--trust"]
    answer = CliRunner().invoke(app, again)
    assert answer.exit_code == 2
    assert "is a program, which is written in no other format" in answer.stderr


def test_converting_twice_gives_the_same_numbers(original: Path, tmp_path: Path) -> None:
    answer = CliRunner().invoke(
        app, ["convert", str(original), "-o", str(tmp_path / "again.nir"), "-q"]
    )
    assert answer.exit_code == 0, answer.stderr
    assert datasets(original) == datasets(tmp_path / "again.nir")


class Leaky(torch.nn.Module):
    """A neuron that keeps no parameter of NIR."""

    def __init__(self, beta: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("beta", beta)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.beta * x


def leaky_map() -> Any:
    return {nir.CubaLIF: lambda node: Leaky(torch.from_numpy(1 - 1e-4 / node.tau_mem))}


def test_a_module_of_a_map_must_not_have_changed_elsewhere(original: Path) -> None:
    module = module_of(original, leaky_map(), default_map(1e-4))
    assert differences(module, original) == set()
    module.fc.weight.data += 1
    assert differences(module, original) == {"node/nodes/fc/weight"}
    module.cuba.beta += 0.01
    with pytest.raises(SaveError, match=r"'cuba': its module Leaky was changed, and not in NIR's"):
        to_nir(module)
    del module.fc.weight
    with pytest.raises(SaveError, match="no tensor 'weight' any more"):
        to_nir(module)


def test_a_node_with_another_tensor_of_the_name_is_not_taken_for_it(original: Path) -> None:
    class Steps(Leaky):
        def __init__(self, tau: torch.Tensor) -> None:
            super().__init__(tau)
            self.register_buffer("tau_mem", tau / 1e-4)

    own = {nir.CubaLIF: lambda node: Steps(torch.from_numpy(node.tau_mem))}
    module = module_of(original, own, default_map(1e-4))
    assert differences(module, original) == set()
    module.cuba.tau_mem += 1
    with pytest.raises(SaveError, match="was changed"):
        to_nir(module)


def test_the_given_graph_is_not_shared() -> None:
    graph = everything()
    module = module_of(graph, {}, default_map(1e-4))
    before = graph.nodes["delay"].delay.copy()
    graph.nodes["delay"].delay += 1
    graph.metadata["made by"] = "someone"
    found = to_nir(module)
    np.testing.assert_array_equal(found.nodes["delay"].delay, before)
    assert found.metadata["made by"] == "hand"
    found.nodes["fc"].weight += 1
    assert not np.array_equal(to_nir(module).nodes["fc"].weight, found.nodes["fc"].weight)


def test_what_was_not_converted_is_refused() -> None:
    with pytest.raises(NirtorchError, match="does not keep the NIR graph"):
        to_nir(torch.nn.Identity())


def test_what_is_kept_is_small() -> None:
    single = nir.Linear(np.ones((300, 200), np.float32))
    module = module_of(nir.NIRGraph.from_list(single), {})
    assert len(pickle.dumps(module.meta)) < 20_000
