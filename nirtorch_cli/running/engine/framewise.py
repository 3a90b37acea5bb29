"""Which modules may take the frames of all time steps at once.

In: a module and what it is about to be given. Out: the same output as of a call for each step.
Only modules that are known to look at each frame by itself are called once; any other may
remember something from call to call, and is called step by step. So is one that somebody hooks
into, and one that behaves otherwise in training.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules import module as all_modules

from nirtorch_cli.primitives.modules.convolution import Conv1d, Conv2d
from nirtorch_cli.primitives.modules.elementwise import Scale, Threshold
from nirtorch_cli.primitives.modules.pooling import AvgPool2d, SumPool2d
from nirtorch_cli.primitives.modules.weights import StackedLinear

_ANY_AXES: tuple[type[nn.Module], ...] = (
    *(Conv1d, Conv2d, StackedLinear, Scale, Threshold, SumPool2d, AvgPool2d, nn.Linear),
    *(nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid),
    *(nn.Tanh, nn.Softplus, nn.Hardtanh, nn.LayerNorm),
)
"""They take any number of axes in front of those that they act on."""

_ONE_BATCH_AXIS: tuple[type[nn.Module], ...] = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.AvgPool1d, nn.AvgPool2d, nn.MaxPool1d, nn.MaxPool2d),
    *(nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten, nn.Unflatten, nn.GroupNorm),
)
"""They take one axis in front, that of the batch."""

_UNLESS_TRAINING: tuple[type[nn.Module], ...] = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.Dropout, nn.Dropout1d, nn.Dropout2d),
)
"""As those of one batch axis, but in training frames depend on each other, or on chance."""


def over_frames(
    module: nn.Module, x: Tensor, batch_axes: int, call: Callable[..., Tensor]
) -> Tensor:
    """A stateless module's outputs for inputs (T, *batch, *shape), `batch_axes` of them batch.

    call: what is called for each step, where that is how it must be run.
    """
    if _takes_any_axes(module):
        return _called(module, x)
    if batch_axes == 1 and _takes_a_batch(module):
        frames = _called(module, x.flatten(0, 1))
        return frames.reshape(*x.shape[:2], *frames.shape[1:])
    return stepped(call, x)


def stepped(call: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """A call for each step, and their outputs side by side."""
    return torch.stack([call(*step) for step in zip(*(x.unbind(0) for x in inputs), strict=True)])


def is_framewise(module: nn.Module) -> bool:
    """Whether a module is known to look at each frame by itself, and nobody looks at it."""
    return _takes_any_axes(module) or _takes_a_batch(module)


def applied(
    module: nn.Module, like: Tensor, room: Tensor | None = None
) -> Callable[[Tensor], Tensor]:
    """A framewise module as a function of many inputs in the shape of one.

    room: where outputs may be written, each over the one before. Matrices of torch are
    multiplied as they would multiply themselves, without the way there.
    """
    if type(module) is not nn.Linear or like.dim() != 2:
        return module.forward
    weight, bias = module.weight.t(), module.bias
    if bias is None:
        return lambda x: torch.mm(x, weight, out=room)
    return lambda x: torch.addmm(bias, x, weight, out=room)


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody wants to see each call."""
    names = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
    return any(
        getattr(module, f"_{name}", None) or getattr(all_modules, f"_global_{name}", None)
        for name in names
    )


def _takes_any_axes(module: nn.Module) -> bool:
    if type(module) is nn.Flatten:  # counted from the back
        return module.start_dim < 0 and module.end_dim < 0 and not has_hooks(module)
    if type(module) is nn.Sequential:
        return not has_hooks(module) and all(map(_takes_any_axes, module))
    return type(module) in _ANY_AXES and not has_hooks(module)


def _takes_a_batch(module: nn.Module) -> bool:
    if has_hooks(module):
        return False
    if type(module) is nn.Sequential:
        return all(_takes_any_axes(part) or _takes_a_batch(part) for part in module)
    if type(module) in _UNLESS_TRAINING:
        return not module.training
    return type(module) in (*_ANY_AXES, *_ONE_BATCH_AXIS)


def _called(module: nn.Module, x: Tensor) -> Tensor:
    output: Tensor = module(x)
    return output
