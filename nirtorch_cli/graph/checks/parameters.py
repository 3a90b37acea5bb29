"""Can the equation of a node be computed with its numbers?

In: nodes by NIR path. Out: findings. One small function per rule; each gets a node and the ranges
of its parameters, so that every array is read once. Cost: linear in the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np

from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import listed
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.primitives.table import (
    COUNTS,
    SHAPES,
    SINGLE,
    THRESHOLDS,
    primitive_of,
    time_constants_of,
)
from nirtorch_cli.reading.unknown_nodes import UnknownNode

_NOT_COMPUTED_WITH = frozenset({"metadata", *SHAPES, *COUNTS, *SINGLE})


@dataclass(frozen=True)
class Range:
    """Smallest and largest value of a parameter; NaN if it holds NaN."""

    low: float
    high: float


Ranges = Mapping[str, Range]


def examine(
    graph: nir.NIRGraph,
    path: str = "",
    is_known: Callable[[str, nir.NIRNode], bool] = lambda path, node: False,
) -> Iterator[Finding]:
    """What the rules find in the nodes of a graph and of those nested in it.

    Arguments:
        is_known: whether a node of a type that nir does not have is accepted.
    """
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            yield from examine(node, f"{path}{name}/", is_known)
            continue
        if isinstance(node, UnknownNode) and is_known(path + name, node):
            continue
        ranges = {parameter: range_of(values) for parameter, values in numbers(node)}
        for rule in RULES:
            for finding in rule(node, ranges):
                yield finding.inside(path + name)


def numbers(node: nir.NIRNode) -> Iterator[tuple[str, Array]]:
    """The numeric parameters of a node, of any type."""
    if primitive_of(node) is None:
        return
    for name, array in _arrays(node):
        if array.dtype.kind in "fiub" and array.size:
            yield name, array


def _arrays(node: nir.NIRNode) -> Iterator[tuple[str, Array]]:
    for name, value in vars(node).items():
        if name not in _NOT_COMPUTED_WITH and value is not None:
            yield name, np.asarray(value)


def range_of(values: Array) -> Range:
    """The range of some numbers."""
    return Range(float(values.min()), float(values.max()))


def unknown_type(node: nir.NIRNode, ranges: Ranges) -> Iterator[Finding]:
    """NIR005: a type that nir does not have, and that only a map could know."""
    if isinstance(node, UnknownNode):
        yield node.finding()


def no_numbers(node: nir.NIRNode, ranges: Ranges) -> Iterator[Finding]:
    """NIR008: a parameter of another type than real numbers, which no file can hold."""
    for name, array in _arrays(node) if primitive_of(node) is not None else ():
        if array.dtype.kind not in "fiub":
            text = f"holds {array.dtype}, not real numbers"
            yield Finding("NIR008", "error", text, parameter=name)


def unfit_parameters(node: nir.NIRNode, ranges: Ranges) -> Iterator[Finding]:
    """NIR201: a bias without one value per output, or channels that do not divide into groups."""
    if type(node) not in (nir.Affine, nir.Conv1d, nir.Conv2d):
        return
    weight, bias = np.shape(node.weight), None if node.bias is None else np.shape(node.bias)
    outputs = weight[:-1] if type(node) is nir.Affine else weight[:1]
    if bias not in (None, outputs, outputs[-1:]) and np.size(node.bias) != 1:
        text = f"has the shape {bias}, for outputs of shape {outputs}"
        hint = "a bias has one value for each output, or one for all"
        yield Finding("NIR201", "error", text, parameter="bias", hint=hint)
    if type(node) is nir.Affine:
        return
    groups = np.asarray(node.groups).reshape(-1)
    is_number = groups.size == 1 and groups.dtype.kind in "fiu" and groups[0] >= 1
    if is_number and weight[0] % groups[0]:
        text = f"{weight[0]} channels cannot be divided into {groups[0]:g} groups"
        yield Finding("NIR201", "error", text, parameter="groups")


def not_a_number(node: nir.NIRNode, ranges: Ranges) -> Iterator[Finding]:
    """NIR301: NaN, which spreads to everything downstream."""
    for name, span in ranges.items():
        if span.low != span.low:
            values = np.asarray(getattr(node, name))
            text = f"{np.count_nonzero(np.isnan(values))} of {values.size} values are NaN"
            hint = "export it again from weights that are finite"
            yield Finding("NIR301", "error", text, parameter=name, hint=hint)


def infinite(node: nir.NIRNode, ranges: Ranges) -> Iterator[Finding]:
    """NIR302: infinity, which turns into NaN; as tau (no leak) or threshold it has a meaning."""
    for name, span in ranges.items():
        if name != "delay" and (np.isinf(span.low) or np.isinf(span.high)):
            values = np.asarray(getattr(node, name))
            may_be = name in THRESHOLDS or name in time_constants_of(node)
            has_meaning = may_be and span.low > 0
            text = f"{np.count_nonzero(np.isinf(values))} of {values.size} values are infinite"
            yield Finding("NIR302", "warning" if has_meaning else "error", text, parameter=name)


def non_positive_tau(node: nir.NIRNode, ranges: Ranges) -> Iterator[Finding]:
    """NIR303: a time constant that is 0, or negative, so that the variable grows."""
    for name in time_constants_of(node):
        if name in ranges and ranges[name].low <= 0:
            text = f"a time constant of {ranges[name].low:g}; it must be more than 0"
            yield Finding("NIR303", "error", text, parameter=name)


def impossible_delay(node: nir.NIRNode, ranges: Ranges) -> Iterator[Finding]:
    """NIR309: a delay that would need a future value, or wait for ever."""
    span = ranges.get("delay")
    if span is not None and (span.low < 0 or np.isinf(span.high)):
        odd = span.low if span.low < 0 else span.high
        text = f"a delay of {odd:g}; it must be 0 or more, and finite"
        yield Finding("NIR309", "error", text, parameter="delay")


def reset_above_threshold(node: nir.NIRNode, ranges: Ranges) -> Iterator[Finding]:
    """NIR304: a reset that does not bring the voltage below the threshold."""
    reset, threshold = ranges.get("v_reset"), ranges.get("v_threshold")
    if reset is None or threshold is None or reset.high < threshold.low:
        return
    above = _array(node, "v_reset") >= _array(node, "v_threshold")
    if count := _count(above):
        text = f"{count} of {np.size(above)} neurons have v_reset at or above v_threshold"
        yield Finding("NIR304", "warning", text, parameter="v_reset")


def never_fires(node: nir.NIRNode, ranges: Ranges) -> Iterator[Finding]:
    """NIR305: the threshold is infinite, or the input cannot move the voltage above it."""
    if "v_threshold" not in ranges:
        return
    threshold = _array(node, "v_threshold")
    silent = threshold == np.inf
    for gain in ("r", "w_in"):
        if gain in ranges and ranges[gain].low <= 0 <= ranges[gain].high:
            # Without input the voltage stays at v_leak, or for IF at 0.
            rest = _array(node, "v_leak") if "v_leak" in ranges else 0.0
            silent = silent | ((_array(node, gain) == 0) & (rest <= threshold))
    if count := _count(silent):
        text = f"{count} of {np.size(silent)} neurons can never fire"
        yield Finding("NIR305", "warning", text, parameter="v_threshold")


RULES = (
    unknown_type,
    no_numbers,
    unfit_parameters,
    not_a_number,
    infinite,
    non_positive_tau,
    impossible_delay,
    reset_above_threshold,
    never_fires,
)
"""The rules, in the order in which they are reported."""


def _array(node: nir.NIRNode, name: str) -> Array:
    return np.asarray(getattr(node, name))


def _count(condition: Any) -> int:
    return int(np.count_nonzero(condition))


_LIMITS = {
    "float16": (np.finfo(np.float16).max, float(np.finfo(np.float16).smallest_subnormal), 2),
    "bfloat16": (np.finfo(np.float32).max, 2.0**-133, 2),
    "float32": (np.finfo(np.float32).max, float(np.finfo(np.float32).smallest_subnormal), 4),
    "float64": (np.finfo(np.float64).max, float(np.finfo(np.float64).smallest_subnormal), 8),
}
"""Largest and smallest positive number of a floating type, and its bytes."""


def bytes_of(dtype: str) -> int:
    """How many bytes a number of a floating type of torch takes, by its name."""
    return _LIMITS[dtype][2]


def precision(nodes: Mapping[str, nir.NIRNode], dtype: str) -> Iterator[Finding]:
    """NIR306, NIR307: digits and values of parameters that a floating type does not hold.

    Arguments:
        nodes: by NIR path.
        dtype: the name of a floating type of torch; other names give no findings.
    """
    if dtype not in _LIMITS:
        return
    largest, smallest, size = _LIMITS[dtype]
    for where, node in nodes.items():
        rounded = []
        for name, values in numbers(node):
            if values.dtype.kind == "f" and values.dtype.itemsize <= size:
                continue
            known = np.abs(values[np.isfinite(values)].astype(np.float64))
            lost = _count((known > largest) | ((known != 0) & (known < smallest / 2)))
            if lost:
                text = f"{lost} of {values.size} values do not fit in {dtype}"
                hint = "they become 0 or infinity; choose a wider --dtype"
                yield Finding("NIR307", "warning", text, where, name, hint)
            elif _is_rounded(values, dtype):
                rounded.append(name)
        if rounded:
            text = f"the digits of {listed(rounded)} are rounded to {dtype}"
            yield Finding("NIR306", "info", text, where, hint="--dtype float64 keeps them")


def _is_rounded(values: Array, dtype: str) -> bool:
    """Whether float64 values have more digits than a narrower type holds."""
    if (values.dtype.kind == "f" and values.dtype != np.float64) or dtype == "float64":
        return False
    known = values[np.isfinite(values)].astype(np.float64)
    narrow = known.astype(np.float16 if dtype == "float16" else np.float32)
    if dtype == "bfloat16":  # the upper half of a float32
        narrow = (narrow.view(np.uint32) & 0xFFFF0000).view(np.float32)
    return bool(np.any(narrow.astype(np.float64) != known))
