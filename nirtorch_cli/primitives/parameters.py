"""Single parameters of a node, in whichever form its file has them.

In: a parameter, or a node. Out: plain numbers and arrays. A ValueError says what is wrong; its text
continues after the node's type. Cost: linear in the parameters.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.primitives.broadcasting import Shape as Shape

_MOST_SAID = 200
"""Characters of what torch or NumPy say of a value."""


def is_tensor(value: Any) -> bool:
    """Whether a value is a torch tensor, without loading torch."""
    return hasattr(value, "detach") and hasattr(value, "requires_grad")


def array_of(value: Any) -> Array:
    """Numbers as an array; of a tensor, a copy without its gradients.

    Raises:
        ValueError: there are none, as on the device 'meta', or they form no array.
    """
    try:
        if not is_tensor(value):
            return np.asarray(value)
        tensor = value.detach().cpu()
        try:
            return np.array(tensor.numpy())
        except TypeError:  # a type that NumPy lacks, such as bfloat16, which float32 holds
            return np.array(tensor.float().numpy())
    except (TypeError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())[:_MOST_SAID]
        raise ValueError(f"is of the type {type(value).__name__}, and no array: {said}") from error


def pair(value: Any) -> tuple[int, int]:
    """A stride, padding, dilation or kernel size as two ints."""
    numbers = _whole_numbers(value)
    if len(numbers) == 1:
        return numbers[0], numbers[0]
    if len(numbers) != 2:
        raise ValueError(f"{value!r} is neither a number nor a pair")
    return numbers[0], numbers[1]


def single(value: Any) -> int:
    """A stride, padding or dilation of one axis as an int."""
    numbers = _whole_numbers(value)
    if len(numbers) != 1:
        raise ValueError(f"{value!r} is not one number")
    return numbers[0]


def _whole_numbers(value: Any) -> list[int]:
    array = np.asarray(value).reshape(-1)
    if array.dtype.kind not in "fiu" or not np.array_equal(array, np.floor(array)):
        raise ValueError(f"{value!r} is not a whole number")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{value!r} is not finite")
    return [int(number) for number in array]


def padding_mode(padding: Any) -> str | None:
    """'same' or 'valid' if a padding is given as a word, else None."""
    if isinstance(padding, np.ndarray) and padding.dtype.kind in "SUO" and padding.size == 1:
        padding = padding.item()
    if isinstance(padding, bytes):
        padding = padding.decode("utf8", "replace")
    if not isinstance(padding, str):
        return None
    if padding not in ("same", "valid"):
        raise ValueError(f"padding {padding!r} is neither 'same', 'valid' nor a number")
    return str(padding)


def elementwise_parameters(node: Any) -> dict[str, Array]:
    """The parameters of an elementwise node, by name; of another, those that can be arrays."""
    found = {}
    for name, value in vars(node).items():
        if name not in ("metadata", "input_type", "output_type"):
            with contextlib.suppress(ValueError):
                found[name] = array_of(value)
    return found


def channels(node: Any) -> int:
    """How many channels a convolution takes."""
    return int(node.weight.shape[1]) * single(node.groups)


def delay_steps(delay: Any, dt: float) -> Array:
    """A delay, in the unit of dt, as whole numbers of steps: delay/dt rounded, halves up.

    Raises:
        ValueError: a delay is negative, not finite, or longer than 2^31 steps.
    """
    ratio = np.asarray(delay, dtype=np.float64) / dt
    if not np.all(np.isfinite(ratio)) or np.any(ratio < 0):
        raise ValueError("a delay is negative or not finite")
    if np.any(ratio >= 2**31):
        raise ValueError(f"a delay of {float(ratio.max()):g} steps of {dt:g} cannot be kept")
    # The small term rounds 1.4999999, a float32 file's 1.5, up as well.
    return np.floor(ratio + 0.5 + 1e-7 * (1 + ratio)).astype(np.int64)
