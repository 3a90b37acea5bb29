"""The four programs of the documentation page that the project was asked for from."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import pytest
import torch

import nirtorch_cli as nirtorch

TENSOR = torch.from_numpy(np.array([1]))
STRIDE_IS_READ = torch.nn.AvgPool2d(2, stride=TENSOR)(torch.ones(1, 6, 6)).shape == (1, 5, 5)
reads_tensor_stride = pytest.mark.skipif(
    not STRIDE_IS_READ, reason="torch's own AvgPool2d ignores a stride that is a tensor (torch 2.4)"
)


def page_graph() -> nir.NIRGraph:
    """The page's graph; nir 1.0.8 needs its type check off for it."""
    return nir.NIRGraph.from_list(
        nir.AvgPool2d(kernel_size=np.array([2, 2]), stride=np.array([1]), padding=np.array([0, 0])),
        nir.Linear(weight=np.ones((5, 5), dtype=np.float32)),
        type_check=False,
    )


def page_map() -> dict[Any, Callable[..., torch.nn.Module]]:
    return {
        nir.AvgPool2d: lambda node: torch.nn.AvgPool2d(
            kernel_size=tuple(torch.from_numpy(node.kernel_size)),
            stride=torch.from_numpy(node.stride),
            padding=tuple(torch.from_numpy(node.padding)),
        )
    }


def test_a_mapped_and_a_default_node() -> None:
    module = nirtorch.nir_to_torch(page_graph(), page_map())
    assert isinstance(module, torch.fx.GraphModule)
    assert repr(module) == (
        "GraphModule(\n"
        "  (avgpool2d): AvgPool2d(kernel_size=(tensor(2), tensor(2)), stride=tensor([1]), "
        "padding=(tensor(0), tensor(0)))\n"
        "  (linear): Linear(in_features=5, out_features=5, bias=False)\n"
        ")"
    )


@reads_tensor_stride
def test_executing_it() -> None:
    module = nirtorch.nir_to_torch(page_graph(), page_map())
    # The page feeds 10 by 10, which cannot give its own printed output at stride 1.
    output, state = module(torch.ones(1, 6, 6))
    assert torch.equal(output, torch.full((1, 5, 5), 5.0))
    assert output.requires_grad
    assert state == {"input": None, "avgpool2d": None, "linear": None, "output": None}
    assert list(state) == ["input", "avgpool2d", "linear", "output"]


def test_no_defaults() -> None:
    with pytest.raises(ValueError, match=r"nir\.ir\.graph\.Input") as caught:
        nirtorch.nir_to_torch(page_graph(), page_map(), {})
    for node in ("input", "linear", "output"):
        assert f"node '{node}': no mapping for" in str(caught.value)


@reads_tensor_stride
def test_a_partial_that_has_the_device_bound() -> None:
    nir_to_torch_map: dict[Any, Any] = {
        nir.AvgPool2d: lambda node, device: torch.nn.AvgPool2d(
            kernel_size=tuple(torch.from_numpy(node.kernel_size).to(device)),
            stride=torch.from_numpy(node.stride).to(device),
            padding=tuple(torch.from_numpy(node.padding).to(device)),
        )
    }
    nir_to_torch_map[nir.AvgPool2d] = functools.partial(
        nir_to_torch_map[nir.AvgPool2d], device="cpu"
    )
    module = nirtorch.nir_to_torch(page_graph(), nir_to_torch_map)
    output, state = module(torch.ones(1, 6, 6), None)
    assert torch.equal(output, torch.full((1, 5, 5), 5.0))
    assert list(state) == ["input", "avgpool2d", "linear", "output"]


def test_public_names_are_not_shadowed_by_modules() -> None:
    """Importing a submodule sets it as an attribute, over a public name of the same spelling."""
    nirtorch.nir_to_torch(page_graph(), page_map())
    assert callable(nirtorch.default_map)
    assert nir.LIF in nirtorch.default_map(dt=1e-3)
