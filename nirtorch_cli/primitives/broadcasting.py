"""How the parameters of an elementwise node are expanded to its layer, from their shapes alone.

In: shapes. Out: the shape of a layer, from its parameters, and how a parameter is expanded to it:
unchanged, as one value for all neurons, along its axes of size one, or with axes of size one added
or removed. A ValueError says why there is no way, or more than one.

Always holds: a layer is never larger than its largest parameter or its input; an axis is never
chosen because lengths happen to agree. Cost: constant.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]
"""An array of NumPy, of any type."""

Shape = tuple[int, ...]

Way = Literal["same", "one", "repeated", "axes of one"]
"""How a parameter is expanded to a layer: value by value; one value for all; repeated along its
axes of size one; value by value, after axes of size one are removed from either shape."""


def way_over(parameter: Shape, layer: Shape) -> Way | None:
    """How a parameter is expanded to a layer; None if there is no way, or more than one."""
    if parameter == layer:
        return "same"
    if math.prod(parameter) == 1:
        return "one"
    if len(parameter) != len(layer) and without_ones(parameter) == without_ones(layer):
        return "axes of one"  # a column and a row contradict each other
    if len(parameter) == len(layer) and all(p in (1, n) for p, n in zip(parameter, layer)):
        return "repeated"
    return None


def laid_over(values: Array, layer: Shape) -> Array:
    """A parameter expanded to one value per neuron of a layer; a copy, unless it has these already.

    Raises:
        ValueError: there is no way to expand it, or more than one.
    """
    way = way_over(values.shape, layer)
    if way is None:
        raise ValueError(f"has the shape {values.shape}; it {why_not(values.shape, layer)}")
    if way == "same":
        return values
    shaped = {"one": (), "axes of one": layer}.get(way, values.shape)
    laid: Array = np.broadcast_to(values.reshape(shaped), layer).copy()
    return laid


def layer_of(shapes: Mapping[str, Shape]) -> Shape:
    """The shape of a layer, from the shapes of its parameters; there is at least one.

    Raises:
        ValueError: they cannot be expanded to one layer in one way; names the odd ones.
    """
    present = {*shapes.values()}
    if all(math.prod(shape) == 1 for shape in present):
        return max(present, key=len)
    layer = min(present, key=lambda shape: (-math.prod(shape), len(shape), shape))
    if all(way_over(shape, layer) is not None for shape in present):
        return layer
    raise ValueError(_contradiction(shapes))


def axes_that_fit(parameter: Shape, layer: Shape) -> list[int]:
    """The first axes of a layer along which a parameter with fewer axes would fit."""
    span = len(parameter)
    starts = range(len(layer) - span + 1) if span < len(layer) else ()
    return [start for start in starts if layer[start : start + span] == parameter]


def along(parameter: Shape, layer: Shape, start: int) -> Shape:
    """The shape that assigns a parameter to the axes of a layer from `start` on."""
    return (*[1] * start, *parameter, *[1] * (len(layer) - start - len(parameter)))


def why_not(parameter: Shape, layer: Shape) -> str:
    """Why a parameter cannot be expanded to a layer; the text continues after its name."""
    fitting = axes_that_fit(parameter, layer)
    if not fitting:
        return f"is elementwise: one value for each of the neurons {layer}, or one for all"
    said = " or ".join(f"{along(parameter, layer, start)}" for start in fitting)
    axes = " or ".join(f"axis {start}" for start in fitting)
    return f"could be meant for {axes}: say which, by the shape {said}"


def _contradiction(shapes: Mapping[str, Shape]) -> str:
    """Which parameters do not fit the others, and why."""
    counts = Counter(shapes.values())
    # The layer has the most common shape; of equally common ones, that with the most axes.
    layer = max(counts, key=lambda shape: (counts[shape], len(shape), math.prod(shape), shape))
    odd = {name: shape for name, shape in shapes.items() if way_over(shape, layer) is None}
    names = ", ".join(f"{name} has the shape {shape}" for name, shape in odd.items())
    first, shape = next(iter(odd.items()))
    return f"{names}, the others {layer}; {first} {why_not(shape, layer)}"


def without_ones(shape: Shape) -> Shape:
    """A shape without its axes of size one."""
    return tuple(size for size in shape if size != 1)
