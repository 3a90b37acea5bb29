"""Random networks that frameworks export: exact by the pack, and without it nothing is hidden."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import nir
import pytest
import torch
from networks import module_of
from networks_of import FRAMEWORKS, Network, network_of

from nirtorch_cli import default_map, run_sequence
from nirtorch_cli.conversion.maps import MapOptions, load_map

torch.set_num_threads(1)

SEEDS = range(16)


@pytest.fixture(params=[f"{name} {seed}" for name in FRAMEWORKS for seed in SEEDS])
def case(request: pytest.FixtureRequest) -> tuple[str, Network]:
    """A framework and a network of it."""
    framework, seed = request.param.split()
    try:
        return framework, network_of(framework, int(seed))
    except ModuleNotFoundError as error:
        pytest.skip(f"{framework} is not installed: no module {error.name!r}")


def codes_of(module: Any) -> set[str]:
    return {finding["code"] for finding in module.meta["findings"]}


def assert_equal(module: Any, network: Network) -> None:
    """The module gives what the framework gives: every spike, and voltages to rounding."""
    steps, rows, *_ = network.x.shape
    (port,) = [name for name, kind in module.meta["types"].items() if kind == "Input"]
    taken, _ = module.meta["shapes"][port]
    x = network.x.reshape(steps, rows, *taken)  # a file may hold an axis of a batch of one
    with torch.no_grad():
        found = run_sequence(module, x).outputs.reshape(network.outputs.shape)
    tolerance = 0 if network.is_spiking else 1e-6
    torch.testing.assert_close(found, network.outputs, rtol=tolerance, atol=tolerance)


def test_the_pack_has_the_frameworks_numbers(case: tuple[str, Network], tmp_path: Path) -> None:
    framework, network = case
    file = tmp_path / "model.nir"
    nir.write(file, network.graph)
    pack = import_module(f"nirtorch_mappings.{framework}").PACK(**network.options)
    module = module_of(file, pack)
    if "NIR406" in codes_of(module):  # a file of LIFNodes alone tells no dt
        assert framework == "spikingjelly"
        module = module_of(file, pack, default_map(network.dt))
    assert module.meta["dt"] == network.dt or module.meta["dt_is_guess"]
    assert_equal(module, network)


def test_the_frameworks_own_layers_have_its_numbers(
    case: tuple[str, Network], tmp_path: Path
) -> None:
    framework, network = case
    file = tmp_path / "model.nir"
    nir.write(file, network.graph)
    options = [f"{name}={str(value).lower()}" for name, value in network.options.items()]
    spec = ":".join([framework, "layers", *filter(None, [",".join(options)])])
    layers = load_map(spec, MapOptions(dt=network.dt))
    assert_equal(module_of(file, layers, default_map(network.dt)), network)


def test_without_the_pack_nothing_is_hidden(case: tuple[str, Network], tmp_path: Path) -> None:
    framework, network = case
    file = tmp_path / "model.nir"
    nir.write(file, network.graph)
    module = module_of(file, {})
    assert framework in {name.lower() for name in module.meta["written_by"]}
    assert "NIR804" in codes_of(module)
