"""NIR node -> reference module: the maps that are used where the user gives none.

In: what a step means (dt, integration, reset, ...). Out: a node map, a plain dict from
NIR node types to `DefaultMapper`s, one for every NIR primitive. Weights and constants
are copied, in the file's precision; `nir_to_torch` converts them once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor

from nirtorch_cli.graph.shapes import input_shape
from nirtorch_cli.graph.time_step import delay_steps, infer_time_step
from nirtorch_cli.primitives.modules.convolution import Conv1d, Conv2d
from nirtorch_cli.primitives.modules.cuba import CubaLI, CubaLIF
from nirtorch_cli.primitives.modules.elementwise import Delay, Scale, Threshold
from nirtorch_cli.primitives.modules.integrators import IF, I
from nirtorch_cli.primitives.modules.leaky import LI, LIF
from nirtorch_cli.primitives.modules.neuron import Dynamics, Population
from nirtorch_cli.primitives.modules.pooling import AvgPool2d, SumPool2d
from nirtorch_cli.primitives.modules.surrogate import Derivative
from nirtorch_cli.primitives.modules.weights import StackedLinear
from nirtorch_cli.primitives.shape_rules import padding_mode, pair, single

NodeMap = dict[type[nir.NIRNode], Callable[[Any], torch.nn.Module | None]]
Build = Callable[[Any, Dynamics], torch.nn.Module | None]


@dataclass(frozen=True)
class DefaultMapper:
    """One entry of a default map: builds the reference module of one node type.

    With `infers_dt`, dt is not settled yet: `nir_to_torch` infers it from the whole
    graph, and a call with a single node from that node.
    """

    build: Build
    dynamics: Dynamics
    infers_dt: bool

    def __call__(self, node: nir.NIRNode) -> torch.nn.Module | None:
        settled = self.with_dt(infer_time_step(node).dt) if self.infers_dt else self
        return self.build(node, settled.dynamics)

    def with_dt(self, dt: float) -> DefaultMapper:
        """The same entry with dt settled."""
        return replace(self, dynamics=replace(self.dynamics, dt=dt), infers_dt=False)


def default_map(
    dt: float | str = "auto",
    integration: str = "euler",
    reset: str = "value",
    surrogate: str | Derivative = "atan",
    integrator_input: str = "charge",
) -> NodeMap:
    """A map with a reference module for every NIR primitive.

    Arguments:
        dt: length of a step in the unit of the file's time constants, or "auto" to
            infer it from the graph (1e-4 where the graph leaves no trace of it).
        integration: "euler" (forward Euler) or "exact" (solves the neuron's equation
            for an input that is constant over a step).
        reset: after a spike, "value" sets v to v_reset, "subtract" lowers v by
            v_threshold - v_reset.
        surrogate: the derivative of a spike in the backward pass: "atan", "sigmoid",
            "fast_sigmoid", "triangular", "straight_through", or a function of
            v - v_threshold. A function must be importable, or the module cannot be saved.
        integrator_input: what I and IF take: "charge" per step or "current".

    Raises:
        ValueError: an option is none of these, or dt is not a positive number.

    Example:
        >>> nir_to_torch("model.nir", {}, default_map(dt=1e-3, integration="exact"))
    """
    infers_dt = dt == "auto"
    if isinstance(dt, str) and not infers_dt:
        raise ValueError(f"dt {dt!r} is neither 'auto' nor a number")
    dynamics = Dynamics(
        **({} if infers_dt else {"dt": float(dt)}),
        integration=integration,
        reset=reset,
        surrogate=surrogate,
        integrator_input=integrator_input,
    )
    return {kind: DefaultMapper(build, dynamics, infers_dt) for kind, build in _BUILDERS.items()}


def tensor(value: Any) -> Tensor:
    """A copy of a NIR parameter as a tensor, in its own precision; numbers become floating.

    Raises:
        TypeError: the parameter is not real numbers.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"parameters of type {array.dtype} are not real numbers")
    single_or_half = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    # Also the machine's byte order: a file may hold another, which torch refuses.
    native = array.dtype.newbyteorder("=") if single_or_half else np.dtype(np.float64)
    return torch.from_numpy(np.array(array, dtype=native, order="C"))


def _nothing(node: nir.NIRNode, dynamics: Dynamics) -> None:
    """Input and Output only say where data go: they pass their input on."""


def _linear(node: nir.Linear | nir.Affine, dynamics: Dynamics) -> torch.nn.Module:
    weight = tensor(node.weight)
    bias = tensor(node.bias) if isinstance(node, nir.Affine) else None
    if bias is not None:  # for a stack of matrices it may be one row for all of them
        bias = torch.broadcast_to(bias, weight.shape[:-1]).contiguous()
    if weight.dim() != 2:
        return StackedLinear(weight, bias)
    return _plain_linear(weight, bias)


def _plain_linear(weight: Tensor, bias: Tensor | None) -> torch.nn.Linear:
    """A `torch.nn.Linear` with these weights.

    Its constructor would draw random ones first, from the global generator on which the
    user's own results depend, and takes most of a conversion's time to do so.
    """
    module = torch.nn.Linear.__new__(torch.nn.Linear)
    torch.nn.Module.__init__(module)
    module.in_features, module.out_features = weight.shape[1], weight.shape[0]
    module.weight = torch.nn.Parameter(weight)
    module.register_parameter("bias", None if bias is None else torch.nn.Parameter(bias))
    return module


def _with_weights(module: torch.nn.Module, weight: Tensor, bias: Tensor | None) -> torch.nn.Module:
    module.weight = torch.nn.Parameter(weight)
    if bias is not None:
        module.bias = torch.nn.Parameter(bias)
    return module


def _scale(node: nir.Scale, dynamics: Dynamics) -> torch.nn.Module:
    return Scale(tensor(node.scale))


def _convolution(node: nir.Conv1d | nir.Conv2d, dynamics: Dynamics) -> torch.nn.Module:
    weight = tensor(node.weight)
    bias = None if node.bias is None else tensor(node.bias)
    size: Callable[[Any], Any] = single if isinstance(node, nir.Conv1d) else pair
    groups, mode = single(node.groups), padding_mode(node.padding)
    kind: type[Any] = Conv1d if isinstance(node, nir.Conv1d) else Conv2d
    # On "meta" nothing is drawn or allocated for weights that are replaced at once.
    module = kind(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        stride=size(node.stride),
        padding=size(node.padding) if mode is None else mode,
        dilation=size(node.dilation),
        groups=groups,
        bias=bias is not None,
        device="meta",
    )
    return _with_weights(module, weight, bias)


def _sum_pool(node: nir.SumPool2d, dynamics: Dynamics) -> torch.nn.Module:
    return SumPool2d(pair(node.kernel_size), pair(node.stride), pair(node.padding))


def _avg_pool(node: nir.AvgPool2d, dynamics: Dynamics) -> torch.nn.Module:
    return AvgPool2d(pair(node.kernel_size), pair(node.stride), pair(node.padding))


def _flatten(node: nir.Flatten, dynamics: Dynamics) -> torch.nn.Module:
    """Axes counted from the back, so that batch axes in front do not matter."""
    shape = input_shape(node)
    start, end = int(node.start_dim), int(node.end_dim)
    if shape is None:
        if start >= 0 or end >= 0:
            raise ValueError("the shape of its input is not known; give the Input a shape")
        return torch.nn.Flatten(start, end)
    from_back = (axis - len(shape) if axis >= 0 else axis for axis in (start, end))
    return torch.nn.Flatten(*from_back)


def _threshold(node: nir.Threshold, dynamics: Dynamics) -> torch.nn.Module:
    return Threshold(tensor(node.threshold), dynamics.surrogate)


def _delay(node: nir.Delay, dynamics: Dynamics) -> torch.nn.Module:
    return Delay(torch.from_numpy(np.asarray(delay_steps(node.delay, dynamics.dt))))


def _population(kind: type[Population], *constants: str) -> Build:
    def build(node: nir.NIRNode, dynamics: Dynamics) -> torch.nn.Module:
        return kind({name: tensor(getattr(node, name)) for name in constants}, dynamics)

    return build


_BUILDERS: dict[type[nir.NIRNode], Build] = {
    nir.Input: _nothing,
    nir.Output: _nothing,
    nir.Affine: _linear,
    nir.Linear: _linear,
    nir.Scale: _scale,
    nir.Conv1d: _convolution,
    nir.Conv2d: _convolution,
    nir.SumPool2d: _sum_pool,
    nir.AvgPool2d: _avg_pool,
    nir.Flatten: _flatten,
    nir.Threshold: _threshold,
    nir.Delay: _delay,
    nir.I: _population(I, "r"),
    nir.IF: _population(IF, "r", "v_threshold", "v_reset"),
    nir.LI: _population(LI, "tau", "r", "v_leak"),
    nir.LIF: _population(LIF, "tau", "r", "v_leak", "v_threshold", "v_reset"),
    nir.CubaLI: _population(CubaLI, "tau_syn", "tau_mem", "r", "v_leak", "w_in"),
    nir.CubaLIF: _population(
        CubaLIF, "tau_syn", "tau_mem", "r", "v_leak", "w_in", "v_threshold", "v_reset"
    ),
}

DEFAULT_MAP: NodeMap = default_map()
"""The map with every option at its default; dt is inferred from the graph."""
