"""Every real file by another program: converted, run, saved, loaded in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nir
import numpy as np
import pytest
import torch
from networks import module_of
from oracles import assert_close, assert_same_spikes
from sequences import run_steps, spikes_of

import nirtorch_cli
from nirtorch_cli.conversion.artefacts.nir import repair

SOUND = (
    "braille_nested",
    "braille_noDelay_bias_zero",
    "lif_norse",
    "lif_rockpool",
    "two_lif_neurons",
)
DAMAGED = "braille_noDelay_bias_zero_subgraph"
STEPS = 100

RUN_AGAIN = """
import sys, torch, nirtorch_cli
module = nirtorch_cli.load(sys.argv[1])
inputs, expected = torch.load(sys.argv[2], weights_only=True)
state, outputs = None, []
with torch.no_grad():
    for x in inputs:
        y, state = module(x, state)
        outputs.append(y)
assert torch.equal(torch.stack(outputs), expected), "another output in a fresh process"
print("identical", len(outputs))
"""


def random_input(module: torch.fx.GraphModule, batch: int) -> torch.Tensor:
    """Currents strong enough to make every one of the files spike."""
    shape = module.meta["shapes"][module.meta["inputs"][0]][1]
    generator = torch.Generator().manual_seed(1)
    return 3 * torch.rand((STEPS, batch, *shape), generator=generator)


def test_no_file_is_left_out(real_files: Path) -> None:
    assert sorted(path.stem for path in real_files.glob("*.nir")) == sorted([*SOUND, DAMAGED])


@pytest.mark.parametrize("name", SOUND)
def test_rows_of_a_batch_are_independent(real_files: Path, name: str) -> None:
    module = module_of(real_files / f"{name}.nir", {})
    inputs = random_input(module, 3)
    together = run_steps(module, inputs)
    assert sum(float(spikes.sum()) for spikes in spikes_of(module, inputs).values()) > 0
    for row in range(3):
        alone = run_steps(module, inputs[:, row : row + 1])
        assert_same_spikes(alone.outputs.detach(), together.outputs[:, row : row + 1].detach())


@pytest.mark.parametrize("name", SOUND)
def test_saved_and_loaded_in_a_fresh_process(real_files: Path, name: str, tmp_path: Path) -> None:
    module = module_of(real_files / f"{name}.nir", {})
    inputs = random_input(module, 3)
    with torch.no_grad():
        expected = run_steps(module, inputs).outputs
    nirtorch_cli.save(module, tmp_path / "model.pt")
    torch.save((inputs, expected), tmp_path / "run.pt")
    arguments = [str(tmp_path / "model.pt"), str(tmp_path / "run.pt")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN_AGAIN, *arguments], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr, done.returncode) == (f"identical {STEPS}\n", "", 0)


def test_the_damaged_file_is_refused_where_nothing_is_repaired(real_files: Path) -> None:
    with pytest.raises(nirtorch_cli.StructureError) as caught:
        nirtorch_cli.nir_to_torch(real_files / f"{DAMAGED}.nir", {}, repair=False)
    (line,) = str(caught.value).splitlines()
    assert line.endswith(
        f"{DAMAGED}.nir: node 'lif1/lif1': 4 edges to or from 'lif', which names no "
        "node; the repair 'missing-node' would correct it, but is turned off"
    )


@pytest.mark.parametrize("name", [DAMAGED, "braille_nested"])
def test_the_nested_files_equal_the_flat_one_in_every_spike(real_files: Path, name: str) -> None:
    flat = module_of(real_files / "braille_noDelay_bias_zero.nir", {})
    other = module_of(real_files / f"{name}.nir", {})
    inputs = 5 * torch.randn((200, 4, 12), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        ours, theirs = run_steps(flat, inputs), run_steps(other, inputs)
    assert_same_spikes(theirs.outputs, ours.outputs)
    one, two = spikes_of(flat, inputs), spikes_of(other, inputs)
    for node, nested in (("lif1.lif", "lif1/lif1"), ("lif2", "lif2")):
        assert torch.equal(one[node], two[nested])
        assert one[node].sum() > 100


@pytest.mark.parametrize("name", [*SOUND, DAMAGED])
def test_what_repair_writes_is_read_by_nir_and_gives_the_same_numbers(
    real_files: Path, name: str, tmp_path: Path
) -> None:
    fixed = tmp_path / "fixed.nir"
    fixed.write_bytes(repair(real_files / f"{name}.nir").content)
    nir.read(fixed, type_check=True)
    before = module_of(real_files / f"{name}.nir", {})
    after = module_of(fixed, {}, repair=False)
    inputs = random_input(before, 2)
    with torch.no_grad():
        ours, theirs = run_steps(before, inputs), run_steps(after, inputs)
    assert torch.equal(ours.outputs, theirs.outputs)
    one, two = spikes_of(before, inputs), spikes_of(after, inputs)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[path], two[path]) for path in one)
    # What no repair can tell: dt, and what the program that wrote it did.
    told = [f for f in after.meta["findings"] if f["code"] not in ("NIR406", "NIR804")]
    assert all(f["severity"] == "info" for f in told)


def test_lif_norse_is_the_recurrence_written_out(real_files: Path) -> None:
    """The file's one neuron in NumPy float64, spikes exactly, voltages to float32 rounding."""
    path = real_files / "lif_norse.nir"
    module = module_of(path, {}, nirtorch_cli.default_map(dt=1e-4))
    node = nir.read(path, type_check=False).nodes["1"]
    tau, r, v_leak, threshold = (
        float(getattr(node, name)[0]) for name in ("tau", "r", "v_leak", "v_threshold")
    )
    inputs = np.random.default_rng(0).uniform(0, 0.6, (2000, 1, 1)).astype(np.float32)

    v, state = v_leak, None
    spikes, voltages, ours, our_voltages = [], [], [], []
    for x in inputs:
        v = v + 1e-4 / tau * (v_leak - v + r * float(x[0, 0]))
        assert abs(v - threshold) > 1e-7, "an input that decides a spike by rounding"
        z = v > threshold
        v = 0.0 if z else v
        spikes.append(z)
        voltages.append(v)
        y, state = module(torch.from_numpy(x), state)
        ours.append(float(y.detach()))
        our_voltages.append(float(state["nir_node_1"]["v"].detach()))
    assert 50 < sum(spikes) < 1000
    assert_same_spikes(np.array(ours), np.array(spikes, dtype=float))
    assert_close(np.array(our_voltages), np.array(voltages), rtol=2e-5, atol=1e-8)


def test_the_delay_of_the_nested_braille_file_is_that_of_the_flat_one(real_files: Path) -> None:
    flat, nested = (
        module_of(real_files / f"{name}.nir", {})
        for name in ("braille_noDelay_bias_zero", "braille_nested")
    )
    assert flat.meta["delayed_edges"] == [["lif1_lif", "lif1_w_rec"]]
    assert nested.lif1.meta["delayed_edges"] == [["lif1", "lin"]]


def test_a_stale_output_shape_is_reported_and_the_parameters_win(real_files: Path) -> None:
    with pytest.warns(nirtorch_cli.NirtorchWarning) as caught:
        module = nirtorch_cli.nir_to_torch(real_files / "lif_rockpool.nir", {})
    finding, written = [f for f in module.meta["findings"] if f["severity"] == "warning"]
    assert [warning.message.finding.to_json() for warning in caught] == [finding, written]
    assert (written["code"], module.meta["written_by"]) == ("NIR804", ["Rockpool"])
    assert (finding["code"], finding["node"]) == ("NIR202", "output")
    assert finding["message"] == "declares the shape (1, 1, 1), but gets (1,)"
    assert module(torch.zeros(2, 1))[0].shape == (2, 1)
