"""The thresholds of a module's spiking nodes, for pictures of their voltages.

In: a converted module. Out: by NIR path, an array. Cost: linear in the nodes.
"""

from __future__ import annotations

import torch

from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.running.arrays import Array, as_array
from nirtorch_cli.running.sequence import spiking_nodes


def thresholds(module: ConvertedModule) -> dict[str, Array]:
    """The `v_threshold` of each spiking node whose module has one, in any shape it is kept in."""
    found = {path: getattr(child, "v_threshold", None) for path, child, _ in spiking_nodes(module)}
    return {
        path: as_array(threshold)
        for path, threshold in found.items()
        if isinstance(threshold, torch.Tensor) and threshold.device.type != "meta"
    }
