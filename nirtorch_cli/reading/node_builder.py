"""The fields of one node, as a file stores them, to a nir node.

In: a type's name and the values of its fields. Out: the node, and findings for everything that had
to be assumed. Tolerant of form (one value for a whole layer, an array of one number, a missing
field for which nir has a default), strict about meaning: what could mean two things is refused.
Numbers stay in the file's precision. Cost: linear in the values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np

from nirtorch_cli.findings.errors import ReadError, ShapeError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import quoted
from nirtorch_cli.primitives.broadcasting import Array, laid_over, layer_of, way_over
from nirtorch_cli.primitives.table import (
    COUNTS,
    POSITIVE,
    SHAPES,
    SINGLE,
    Primitive,
    primitive_named,
)
from nirtorch_cli.reading.sources import shown

_TOO_LARGE = 2**40
"""The limit for sizes and steps: torch counts in 64 bits, and products of them must fit."""

_MOST_AXES = 32
"""The most axes: what NumPy and torch can handle, less a few for batch and time."""


@dataclass(slots=True)
class NodeBuilder:
    """Builds one node.

    Arguments:
        where: the node's path, for messages.
        note: called with a finding for what is assumed.
        claim: called with the bytes that are about to be allocated, and for what.
    """

    kind: str
    where: str | None
    note: Callable[[Finding], None]
    claim: Callable[[int, str], None]

    def build(self, values: dict[str, Any], metadata: dict[str, Any]) -> nir.NIRNode:
        """The node.

        Arguments:
            values: by name, text or numbers; None for a field that says it has no value.

        Raises:
            ReadError: a field does not hold what it should.
            ShapeError: the shapes of its parameters do not fit together.
        """
        fields = primitive_named(self.kind)
        assert fields is not None
        for name in fields.required:
            if values[name] is None:
                raise self.refused("NIR016", "holds no value", name)
        present = {name: value for name, value in values.items() if value is not None}
        arguments = {name: self.parameter(name, value) for name, value in present.items()}
        self.fill_in(fields, arguments)
        if fields.shape_rule == "elementwise" and len(fields.fields) > 1:
            arguments.update(self.of_one_shape({n: arguments[n] for n in fields.fields}))
        node_type = self.completed(fields.type, arguments)
        try:
            with np.errstate(all="ignore"):
                return node_type(**arguments, metadata=metadata)
        except (ArithmeticError, AssertionError, ValueError, TypeError, LookupError) as error:
            reason = shown(" ".join(str(error).split()), 200)
            text = f"{self.kind} with parameters that do not fit together: {reason}"
            raise self.misshapen(text) from error

    def parameter(self, name: str, value: Any) -> Any:
        """A parameter: numbers, whole numbers if they count something, or a padding in words."""
        array = np.asarray(value)
        kind = array.dtype.kind
        if kind == "f" and name not in COUNTS and name not in SHAPES and name not in SINGLE:
            return value
        if kind not in "fiub":
            if name == "padding":
                return self.padding(array)
            raise self.refused("NIR008", "holds text, not numbers", name)
        if name in SHAPES:
            return self.shape(name, array)
        if name in COUNTS or name in SINGLE:
            return self.count(name, array)
        return value

    def padding(self, array: Array) -> str:
        words = [w.decode("utf8", "replace") if isinstance(w, bytes) else w for w in array.flat]
        word = str(words[0]).strip().lower() if len(words) == 1 else ""
        if word not in ("same", "valid"):
            text = quoted(shown(str(words[0]))) if len(words) == 1 else f"{len(words)} words"
            raise self.misshapen(f"is {text}, not 'same', 'valid' or numbers", "padding")
        if array.ndim:
            self.other_form("padding", "is an array of one word")
        if word != words[0]:
            self.other_form("padding", f"is {quoted(str(words[0]))}", f"read as {quoted(word)}")
        return word

    def whole(self, name: str, array: Array) -> Array:
        """Whole numbers as integers, whatever their type in the file."""
        if array.dtype.kind in "iu":
            if array.size and max(int(array.max()), -int(array.min())) >= _TOO_LARGE:
                raise self.refused("NIR008", f"holds {array.max():g}, which is too large", name)
            return array
        finite = np.isfinite(array)
        strange = array[~finite | (array != np.floor(np.where(finite, array, 0)))]
        if strange.size:
            raise self.refused("NIR008", f"holds {strange[0]:g}, which is not a whole number", name)
        if np.any(np.abs(array.astype(np.float64)) >= _TOO_LARGE):
            raise self.refused("NIR008", f"holds {array.max():g}, which is too large", name)
        self.other_form(name, f"is of the type {array.dtype}", "read as whole numbers")
        return array.astype(np.int64)

    def count(self, name: str, array: Array) -> Any:
        """A parameter with one number per axis, or one for all axes."""
        axes = 1 if name in SINGLE or self.kind == "Conv1d" else 2
        if array.size not in (1, axes):
            wanted = "one number" if axes == 1 else "one number or two"
            raise self.misshapen(f"is {shown(str(array.tolist()))}, not {wanted}", name)
        whole = self.whole(name, array)
        if name in POSITIVE and np.any(whole < 1):
            raise self.misshapen(f"holds {whole.min():g}, and must be 1 or more", name)
        if whole.ndim == 0 or (axes == 2 and whole.shape == (2,)):
            return whole[()]
        self.other_form(name, f"has the shape {array.shape}", "read as its numbers alone")
        return whole.reshape(-1)[0] if whole.size == 1 else whole.reshape(-1)

    def shape(self, name: str, array: Array) -> Array:
        """A shape: sizes of at least 0, whose product may be allocated."""
        if array.ndim > 1 or array.size > _MOST_AXES:
            text = f"is {shown(str(array.tolist()))}, which is not a shape"
            raise self.refused("NIR008", text, name)
        sizes = [int(size) for size in self.whole(name, array).reshape(-1).tolist()]
        if any(size < 0 for size in sizes):
            raise self.refused("NIR008", f"is {array.tolist()}, which is not a shape", name)
        if array.ndim == 0:
            self.other_form(name, "is one number", "read as a shape of one axis")
        self.claim(math.prod(sizes) * np.dtype(np.float32).itemsize, name)
        return np.array(sizes, dtype=np.int64)

    def fill_in(self, fields: Primitive, arguments: dict[str, Any]) -> None:
        """Fill in missing fields that have one sensible value."""
        for name, default in fields.defaults.items():
            if name in arguments:
                continue
            value: Any = default
            if fields.shape_rule == "elementwise":
                # In the shape of the node's parameters, so that it is expanded with them.
                pattern = np.asarray(arguments[fields.shaped_by])
                self.claim(pattern.nbytes, name)
                value = np.full_like(pattern, default)
            elif name == "bias":
                weight = np.asarray(arguments["weight"])
                value = np.zeros(weight.shape[:-1], dtype=weight.dtype)
            elif name in COUNTS or name in SINGLE:
                value = int(default)
            arguments[name] = value
            severity = "info" if fields.is_default_of_nir(name) else "warning"
            text = f"is not in the file; taken as {default:g}"
            self.note(Finding("NIR012", severity, text, self.where, name))  # type: ignore[arg-type]

    def of_one_shape(self, values: dict[str, Any]) -> dict[str, Array]:
        """Neuron parameters, each in the shape of the layer.

        NIR wants the same shape for all; some exporters write one value for a whole layer, or
        leave axes of size one in some of them.
        """
        arrays = {name: np.asarray(value) for name, value in values.items()}
        shapes = {name: array.shape for name, array in arrays.items()}
        if len(set(shapes.values())) == 1:
            return values
        try:
            layer = layer_of(shapes)
        except ValueError as error:
            raise self.misshapen(str(error)) from error
        count = math.prod(layer)
        laid = {}
        for name, array in arrays.items():
            way = way_over(array.shape, layer)
            if way != "same":
                text = f"has the shape {array.shape}, its node has {layer}"
                hint = f"taken for all {count:,} neurons" if count != 1 else "taken for its neuron"
                repair = "scalar-parameters"
                if way == "axes of one":
                    hint, repair = f"taken as {layer}", "size-one-axes"
                self.note(Finding("NIR013", "warning", text, self.where, name, hint, None, repair))
                self.claim(count * array.itemsize, name)
            laid[name] = laid_over(array, layer)
        return laid

    def completed(
        self, kind: type[nir.NIRNode], arguments: dict[str, Any]
    ) -> Callable[..., nir.NIRNode]:
        """The type to build, with its arguments as that type takes them."""
        if kind in (nir.Input, nir.Output):
            own, other = ("input_type", "output_type")[:: 1 if kind is nir.Input else -1]
            shape = self.declared(
                [name for name in ("shape", own, other) if name in arguments], arguments
            )
            arguments.clear()
            arguments[own] = {own.removesuffix("_type"): shape}
        elif kind is nir.Linear and "bias" in arguments:
            self.other_form("bias", "is a field that only an Affine has", "read as an Affine")
            kind = nir.Affine
        elif kind in (nir.Conv1d, nir.Conv2d):
            arguments.setdefault("bias", None)
            arguments.setdefault("input_shape", None)
            axes = 3 if kind is nir.Conv1d else 4
            if np.ndim(arguments["weight"]) != axes:
                text = f"has the shape {np.shape(arguments['weight'])}, not {axes} axes"
                raise self.misshapen(text, "weight")
        elif kind is nir.Flatten:
            arguments["input_type"] = {"input": arguments.get("input_type")}
            for name in SINGLE & arguments.keys():
                arguments[name] = int(arguments[name])
        return kind

    def declared(self, names: list[str], arguments: dict[str, Any]) -> Array | None:
        """The shape of an Input or Output, from the first of the given field names that it has."""
        if not names:
            text = "is not in the file; taken from the nodes around"
            self.note(Finding("NIR012", "info", text, self.where, "shape"))
            return None
        shape: Array = arguments[names[0]]
        if names[0] != "shape":
            self.other_form(names[0], "is not a shape", "read as the shape")
        for name in names[1:]:
            if arguments[name].tolist() != shape.tolist():
                text = f"differs from its {names[0]}; not used"
                self.note(Finding("NIR015", "warning", text, self.where, name))
        return shape

    def other_form(self, name: str, message: str, hint: str | None = None) -> None:
        """Report a field that nir would write in a different form, but whose meaning is clear."""
        self.note(Finding("NIR018", "info", message, self.where, name, hint))

    def refused(self, code: str, message: str, name: str) -> ReadError:
        return ReadError(code, message, self.where, name)

    def misshapen(
        self, message: str, name: str | None = None, hint: str | None = None
    ) -> ShapeError:
        return ShapeError("NIR201", message, self.where, name, hint)
