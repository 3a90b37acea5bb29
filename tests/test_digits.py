"""The recorded snnTorch models: every output spike, and that the record is snnTorch's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import DATA
from networks import module_of
from oracles import assert_same_spikes
from sequences import run_steps

import nirtorch_cli

MODELS = ("digits", "digits_conv", "digits_recurrent")


def recorded_input(record: Any) -> torch.Tensor:
    """What snnTorch was fed, (steps, images, ...)."""
    images, hold = record["images"], int(record["hold"])
    frames = {
        "flat": images.reshape(1, len(images), 64),
        "image": images.reshape(1, len(images), 1, 8, 8),
        "rows": images.transpose(1, 0, 2),
    }[str(record["layout"])]
    steps = np.stack([frames[step // hold] for step in range(int(record["steps"]))])
    return torch.from_numpy(steps.astype(np.float32) / int(record["divisor"]))


def recorded_spikes(record: Any) -> np.ndarray:
    shape = record["spikes_shape"]
    return np.unpackbits(record["spikes"], count=int(np.prod(shape))).reshape(shape)


@pytest.mark.parametrize("name", MODELS)
def test_every_spike_is_the_one_that_snntorch_recorded(name: str) -> None:
    record = np.load(DATA / f"{name}.npz")
    module = module_of(DATA / f"{name}.nir", {})
    assert module.meta["dt"] == 1e-4
    with torch.no_grad():
        run = run_steps(module, recorded_input(record))
        nodes = [str(node) for node in record["hidden_names"]]
        whole = nirtorch_cli.run_sequence(module, recorded_input(record), record=nodes)
    assert_same_spikes(run.outputs, recorded_spikes(record))
    assert_same_spikes(whole.outputs, recorded_spikes(record))
    for node, spikes in zip(nodes, record["hidden_spikes"], strict=True):
        assert whole.trace[node]["spikes"].sum() == spikes
    predictions = run.outputs.sum(0).argmax(-1).numpy()
    assert float((predictions == record["labels"]).mean()) == float(record["accuracy"]) > 0.93


@pytest.mark.parametrize(
    "change", [{"dt": 1.01e-4}, {"reset": "subtract"}, {"integration": "exact"}]
)
def test_another_meaning_of_a_step_gives_other_spikes(change: dict[str, Any]) -> None:
    """So that agreement says something: each setting matters to these models."""
    record = np.load(DATA / "digits.npz")
    options = {"dt": 1e-4, **change}
    module = module_of(DATA / "digits.nir", {}, nirtorch_cli.default_map(**options))
    with torch.no_grad():
        outputs = run_steps(module, recorded_input(record)).outputs.numpy()
    assert (outputs != recorded_spikes(record)).sum() > 100


def test_the_record_is_what_snntorch_computes(tmp_path: Path) -> None:
    """Rebuild the feed-forward net in snnTorch from the file, without our library, and run it."""
    snn = pytest.importorskip("snntorch", reason="the extra 'frameworks' is not installed")
    import nir

    nodes = nir.read(DATA / "digits.nir", type_check=False).nodes
    layers: list[torch.nn.Module] = []
    for name in ("affine_hidden", "hidden", "affine_readout", "readout"):
        node = nodes[name]
        if isinstance(node, nir.Affine):
            linear = torch.nn.Linear(node.weight.shape[1], node.weight.shape[0])
            linear.weight.data = torch.tensor(node.weight)
            linear.bias.data = torch.tensor(node.bias)
            layers.append(linear)
        else:
            layers.append(
                snn.Leaky(
                    beta=torch.tensor(1 - 1e-4 / node.tau.astype(np.float64)).float(),
                    threshold=torch.tensor(node.v_threshold),
                    reset_mechanism="zero",
                    reset_delay=False,
                    init_hidden=True,
                )
            )
    net = torch.nn.Sequential(*layers)
    record = np.load(DATA / "digits.npz")
    with torch.no_grad():
        outputs = torch.stack([net(x) for x in recorded_input(record)])
    assert_same_spikes(outputs, recorded_spikes(record))
