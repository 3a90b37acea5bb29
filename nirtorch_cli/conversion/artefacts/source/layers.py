"""The module of a node in a readable module: its class, its construction, its tensors.

In: a module of a converted one. Out: a `Layer`: the lines that construct it, and its tensors by
name. Torch's own layers stay what they are; those of this program are taken from `plain`,
`neurons`, or their own file; those of a map from theirs, see `classes`.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nirtorch_cli.conversion.artefacts.source import plain
from nirtorch_cli.conversion.artefacts.source.classes import taken_over
from nirtorch_cli.conversion.artefacts.source.definitions import Definitions, NotPlainError
from nirtorch_cli.conversion.artefacts.source.neurons import CROSS_GAIN, TIMES, neuron_text
from nirtorch_cli.conversion.artefacts.source.text import literal
from nirtorch_cli.primitives.modules import convolution, elementwise, pooling, weights
from nirtorch_cli.primitives.modules.cuba import CubaLI, CubaLIF
from nirtorch_cli.primitives.modules.integrators import IF, I
from nirtorch_cli.primitives.modules.leaky import LI, LIF
from nirtorch_cli.primitives.modules.neuron import Neuron, SpikingNeuron

_HOOKS = (
    *("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"),
    *("_state_dict_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"),
)


Construction = tuple[str, list[str]]


@dataclass(frozen=True)
class Layer:
    """A module as source.

    construction: what to call to construct it, and with which arguments. tensors: its parameters
    and buffers by name, as they are stored. amendments: lines that make its tensors what they are
    where a construction does not, with `{}` for the module.
    """

    construction: Construction
    tensors: dict[str, Tensor]
    amendments: tuple[str, ...]


def layer_of(module: torch.nn.Module, found: Definitions, dt: float) -> Layer:
    """The source of a module.

    Arguments:
        found: where its class is written. dt: what the source calls DT.

    Raises:
        NotPlainError: it cannot be written, and why.
    """
    _require_plain(module)
    kind = type(module)
    if kind in _NEURONS:
        expression = _neuron(module, found, dt)
    elif kind in _WRITERS:
        expression = _WRITERS[kind](module, found)
    else:
        expression = taken_over(module, found)
    tensors = _tensors(module)
    return Layer(expression, tensors, tuple(_amendments(module, tensors)))


def _require_plain(module: torch.nn.Module) -> None:
    """Refuse a module that does more than its class says."""
    if any(getattr(module, name, None) for name in _HOOKS):
        raise NotPlainError("has hooks")
    if any(isinstance(value, types.MethodType) or (callable(value) and name == "forward")
           for name, value in vars(module).items()):  # fmt: skip
        raise NotPlainError("has a method of its own, beside those of its class")
    types_held = {held.dtype for held in _held(module).values() if held.is_floating_point()}
    if len(types_held) > 1:
        raise NotPlainError(
            f"has tensors of several types, {', '.join(sorted(map(str, types_held)))}"
        )


def _held(module: torch.nn.Module) -> dict[str, Tensor]:
    held = {**module._parameters, **module._buffers}
    return {name: tensor for name, tensor in held.items() if tensor is not None}


def _tensors(module: torch.nn.Module) -> dict[str, Tensor]:
    """The tensors of a module as they are stored: time constants as they were before rounding."""
    tensors = _held(module)
    for name in TIMES if type(module) in _NEURONS else ():
        held = tensors.get(name)
        if held is not None:
            wide = module.wide(name)  # type: ignore[operator]
            if not torch.equal(held.to(wide.dtype), wide):
                tensors[name] = wide
    return tensors


def _amendments(module: torch.nn.Module, tensors: dict[str, Tensor]) -> list[str]:
    """Lines for tensors that are not as the class makes them, since somebody changed them."""
    lines = []
    common = next((t.shape for t in module._buffers.values() if t is not None), None)
    for name, held in tensors.items():
        shape = literal(tuple(held.shape))
        if type(module) in _NEURONS and isinstance(held, torch.nn.Parameter):
            lines.append(f"{{}}.{name} = nn.Parameter(torch.empty({shape}))  # is trained")
        elif type(module) in _NEURONS and held.shape != common:
            lines.append(f"{{}}.{name} = torch.empty({shape})")
        if isinstance(held, torch.nn.Parameter) and not held.requires_grad:
            lines.append(f"{{}}.{name}.requires_grad_(False)")
    return lines


# --------------------------------------------------------------------------------- torch's layers


def _call(name: str, *arguments: Any, **keywords: Any) -> Construction:
    """A call with plain values."""
    given = [str(literal(value)) for value in arguments]
    return name, [*given, *(f"{key}={literal(value)}" for key, value in keywords.items())]


def _linear(module: Any, found: Definitions) -> Construction:
    bias = {} if module.bias is not None else {"bias": False}
    return _call("nn.Linear", module.weight.shape[1], module.weight.shape[0], **bias)


def _convolution(name: str) -> Callable[[Any, Definitions], Construction]:
    def written(module: Any, found: Definitions) -> Construction:
        usual = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "padding_mode": "zeros"}
        options = {key: _simple(getattr(module, key)) for key in usual}
        chosen = {key: value for key, value in options.items() if value != usual[key]}
        if module.bias is None:
            chosen["bias"] = False
        size = _simple(module.kernel_size)
        called = found.take(type(module)) if name == "" else name
        return _call(called, module.in_channels, module.out_channels, size, **chosen)

    return written


def _simple(size: Any) -> Any:
    """A size for each axis as one number, if all are the same."""
    if isinstance(size, tuple):
        return size[0] if len(set(size)) == 1 else tuple(size)
    return size


def _flatten(module: Any, found: Definitions) -> Construction:
    return _call("nn.Flatten", module.start_dim, module.end_dim)


def _identity(module: Any, found: Definitions) -> Construction:
    return _call("nn.Identity")


# ---------------------------------------------------------------------------------- our own layers


def _pooling(module: Any, found: Definitions) -> Construction:
    name = found.take(type(module))
    return _call(name, module.kernel_size, module.stride, module.padding)


def _scale(module: Any, found: Definitions) -> Construction:
    return _call(found.take(plain.Scale), *module.scale.shape)


def _threshold(module: Any, found: Definitions) -> Construction:
    surrogate = found.take(module.derivative)
    name = found.take(plain.Threshold)
    return name, [*map(str, module.threshold.shape), f"surrogate={surrogate}"]


def _delay(module: Any, found: Definitions) -> Construction:
    return _call(found.take(plain.Delay), *module.steps.shape, longest=module.longest)


def _stacked(module: Any, found: Definitions) -> Construction:
    bias = {} if module.bias is not None else {"bias": False}
    return _call(found.take(plain.StackedLinear), *module.weight.shape, **bias)


def _neuron(module: Any, found: Definitions, dt: float) -> Construction:
    dynamics, kind = module.dynamics, type(module)
    surrogate = ""
    if issubclass(kind, SpikingNeuron):
        surrogate = found.take(module.derivative)
        found.take(plain.Spike)
    if issubclass(kind, CubaLI) and dynamics.integration == "exact":
        assert found.take(plain.cross_gain) == CROSS_GAIN
    step = "DT" if dynamics.dt == dt else repr(dynamics.dt)
    text = neuron_text("{name}", kind, dynamics, step, surrogate)
    name = found.define(_CALLED.get(kind, kind.__name__), text)
    return _call(name, *next(iter(module._buffers.values())).shape)


_CALLED: dict[type, str] = {I: "Integrator"}
"""What a class is called whose name in NIR is none that Python's checkers take."""

_NEURONS: tuple[type[Neuron], ...] = (I, IF, LI, LIF, CubaLI, CubaLIF)

_WRITERS: dict[type, Callable[[Any, Definitions], Construction]] = {
    torch.nn.Linear: _linear,
    torch.nn.Conv1d: _convolution("nn.Conv1d"),
    torch.nn.Conv2d: _convolution("nn.Conv2d"),
    torch.nn.Flatten: _flatten,
    torch.nn.Identity: _identity,
    convolution.Conv1d: _convolution(""),
    convolution.Conv2d: _convolution(""),
    pooling.SumPool2d: _pooling,
    pooling.AvgPool2d: _pooling,
    weights.StackedLinear: _stacked,
    elementwise.Scale: _scale,
    elementwise.Threshold: _threshold,
    elementwise.Delay: _delay,
}
