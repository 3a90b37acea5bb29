"""Converts a file that was read, and tries the module: what `check` does with torch.

In: a file and a `Task`. Out: findings, and a `Proof`: what stands in the file's way, and for how
many steps it was run. Cost: see `round_trip`.
"""

from __future__ import annotations

import torch

from nirtorch_cli.batch.round_trip import Proof, proved
from nirtorch_cli.batch.task import Task
from nirtorch_cli.conversion.attribution import leaves
from nirtorch_cli.conversion.graph_module import ConvertedModule, stored_tensors
from nirtorch_cli.conversion.model import convert_model
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.reading.graphs import ModelFile
from nirtorch_cli.running.recording import spiking_paths
from nirtorch_cli.running.sampling import inputs_without_shape, run_sample


def examined(file: ModelFile, task: Task) -> tuple[list[Finding], Proof]:
    """What was noticed, and what stands in the file's way.

    Raises:
        NirtorchError: it cannot be converted.
    """
    torch.manual_seed(task.seed)  # whatever a file before drew; mappers may draw weights
    module = convert_model(file, task.request)
    noted = [Finding(**finding) for finding in module.meta["findings"]]
    proof = proved(module, task.steps, batch_of(module, task.batch, file.max_bytes), task.seed)
    if not proof.findings:
        noted += _silence(module, task.seed)
    return noted, proof


SAMPLE_STEPS, SAMPLE_SECONDS = 100, 1.0
"""How long a network is fed to find out whether it fires: as long as `convert` does, or less."""


def _silence(module: ConvertedModule, seed: int) -> list[Finding]:
    """NIR617 if no neuron fires in the sample that `convert` shows.

    Modules of a user's map are called often enough without it.
    """
    if inputs_without_shape(module) or not spiking_paths(module) or _is_abstract(module):
        return []
    if any(leaf.is_mapped for leaf in leaves(module)):
        return []
    sample = run_sample(module, SAMPLE_STEPS, 1, seed, seconds=SAMPLE_SECONDS)
    return [finding for finding in sample.findings if finding.code == "NIR617"]


def _is_abstract(module: ConvertedModule) -> bool:
    """Whether a module is on the device meta, where nothing has a value."""
    return any(tensor.is_meta for tensor in stored_tensors(module))


def batch_of(module: ConvertedModule, batch: int, max_bytes: int) -> int:
    """As many rows as were asked for, or one if two runs' states would take too much."""
    without, with_one = module.meta["step_bytes"]
    return batch if without + 2 * batch * (with_one - without) <= max_bytes else 1
