"""The operations of a step, as torch's kernels see them, for `program` to write down again.

In: a step that is run while the recorder is open. Out: its operations, each with the numbers of the
values that it reads. Always holds: done again in their order, for other inputs of the same shape,
they give what the step would, but for the sign of a zero; else the recorder `is_failed`.

Kernels are saved where that changes no number: what multiplies by 1 or adds 0 is left out, and the
sum with a product of spikes is one operation, since a factor of 0 or 1 rounds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

COMPARISONS = frozenset({"gt", "ge", "lt", "le", "eq", "ne"})
"""Operations that can write 0.0 and 1.0 instead of booleans, for which torch has vector code."""

ROUNDED = COMPARISONS.union(
    ("add", "sub", "mul", "div", "neg", "abs", "sign", "trunc", "floor", "ceil", "round", "where"),
    ("clamp", "clamp_min", "clamp_max", "maximum", "minimum", "_to_copy", "bitwise_and"),
    ("bitwise_or", "bitwise_not", "logical_and", "logical_or", "logical_not"),
)
"""Operations of exact or correctly rounded result, the same however many numbers are done at once.

An exponential is not: vector and scalar code differ in its last bit.
"""

NEUTRAL = {"mul": 1, "add": 0, "sub": 0, "div": 1}
"""What an operation leaves its other argument unchanged with; the last two only their first."""


@dataclass(frozen=True)
class Value:
    """A tensor that differs from step to step, by its number: 0 is the input."""

    number: int


@dataclass(frozen=True)
class Operation:
    """A call of a function of torch that takes `out`; `value` is the number of what it gives.

    is_pointwise: whether it can write over what it reads.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    value: int
    is_pointwise: bool

    @property
    def read(self) -> list[int]:
        """The numbers of the values that it reads."""
        return [one.number for one in self.args if isinstance(one, Value)]


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the operations of a step while it is open.

    values: by number, the input, the variables, and what the operations gave. numbers: by the
    identity of a tensor. of_input: the numbers of the values that follow from the input alone, and
    are the same for one step as for many at once; binary: of those that are 0 or 1; zeros: of those
    that are 0.
    """

    def __init__(self, x: Tensor, variables: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.values = [x, *variables.values()]
        self.numbers = {id(value): number for number, value in enumerate(self.values)}
        self.operations: list[Operation] = []
        self.of_input = {0}
        self.binary: set[int] = set()
        self.zeros: set[int] = set()
        self.kept: list[Any] = []
        self.constants: dict[tuple[int, torch.Size], Tensor] = {}
        self.is_failed = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.kept += [args, result]  # an identity stands for a tensor only while that lives
        self.is_failed |= torch.Tag.nondeterministic_seeded in func.tags  # new at every step
        given = _leaves((args, *kwargs.values()))
        read = {self.numbers[id(one)] for one in given if self.varies(one)}
        name = func.overloadpacket.__name__
        if read:
            self.add(name, func, args, kwargs, result, read)
        return result

    def varies(self, one: Any) -> bool:
        return isinstance(one, Tensor) and id(one) in self.numbers

    def add(
        self,
        name: str,
        func: Any,
        args: Any,
        kwargs: Mapping[str, Any],
        result: Any,
        read: set[int],
    ) -> None:
        """Add the operation of a call; one that gives what it took is none."""
        if name == "detach":
            self.numbers[id(result)] = self.numbers[id(args[0])]
            return
        name, args = _with_out(name, args, result)
        function: Any
        written = self.as_number(name, args, result)
        if written is None and name == "_to_copy":
            args, kwargs = (args[0], result.dtype), {}
        if written is not None:
            function, args, kwargs = written.function, written.args, written.kwargs
            is_pointwise = True
        else:
            function = _cast if name == "_to_copy" else getattr(torch, name, None)
            is_pointwise = torch.Tag.pointwise in func.tags or name == "_to_copy"
            top = {id(one) for one in args}
            nested = [one for one in _leaves((args, *kwargs.values())) if self.varies(one)]
            self.is_failed |= (
                function is None
                or not isinstance(result, Tensor)
                or func.is_view
                or func._schema.is_mutable
                or any(id(one) not in top for one in nested)
            )
            if self.is_failed:
                return
            args = tuple(self.argument(one, result if is_pointwise else None) for one in args)
        same = self.unchanged(name, args, kwargs, result)
        if same is not None:
            self.numbers[id(result)] = same
            return
        number = self.numbers[id(result)] = len(self.values)
        self.values.append(result)
        operation = Operation(function, args, kwargs, number, is_pointwise)
        self.describe(operation)
        self.operations.append(self.joined(operation))
        is_like_input = result.shape == self.values[0].shape
        if name in ROUNDED and read <= self.of_input and is_like_input:
            self.of_input.add(number)

    def as_number(self, name: str, args: Any, result: Tensor) -> Operation | None:
        """The comparison that a cast turns into 0.0 and 1.0, which can write these itself."""
        made = self.made_by(Value(self.numbers[id(args[0])])) if name == "_to_copy" else None
        is_comparison = made is not None and made.function.__name__ in COMPARISONS
        return made if is_comparison and args[0].shape == result.shape else None

    def made_by(self, one: Any) -> Operation | None:
        """The operation that gave a value."""
        number = one.number if isinstance(one, Value) else None
        return next((made for made in self.operations if made.value == number), None)

    def argument(self, one: Any, like: Tensor | None) -> Any:
        """An argument: a value by its number, or a constant, in full size for a faster kernel."""
        if not isinstance(one, Tensor):
            return one
        if id(one) in self.numbers:
            return Value(self.numbers[id(one)])
        if like is None or one.dim() == 0:
            return one
        key = id(one), like.shape
        if key not in self.constants:
            self.kept.append(one)
            self.constants[key] = one.expand(like.shape).contiguous()
        return self.constants[key]

    def unchanged(
        self, name: str, args: Any, kwargs: Mapping[str, Any], result: Tensor
    ) -> int | None:
        """The number of the value that an operation multiplies by 1, or adds 0 to."""
        if name not in NEUTRAL or kwargs or len(args) != 2:
            return None
        for one, other in (args, args[::-1])[: 2 if name in ("mul", "add") else 1]:
            if not isinstance(one, Value) or not alike(self.values[one.number], result):
                continue
            if isinstance(other, Value):
                is_neutral = NEUTRAL[name] == 0 and other.number in self.zeros
            else:
                is_neutral = bool(torch.as_tensor(other).eq(NEUTRAL[name]).all())
            if is_neutral:
                return one.number
        return None

    def describe(self, operation: Operation) -> None:
        """Note whether what an operation gives is nothing but 0 and 1, or nothing but 0."""
        name, args = operation.function.__name__, operation.args
        if name in COMPARISONS:
            self.binary.add(operation.value)
        elif name in ("sub", "mul") and not operation.kwargs and self.are_like(operation):
            for one, other in (args, args[::-1]):
                if not isinstance(other, Tensor) or one.number not in self.binary:
                    continue
                if name == "mul" and not other.any():
                    self.zeros.add(operation.value)
                if name == "sub" and one is args[1] and bool(other.eq(1).all()):
                    self.binary.add(operation.value)

    def joined(self, operation: Operation) -> Operation:
        """a + z b or a - z b as one operation, for a z that is 0 or 1."""
        if operation.function not in (torch.add, torch.sub) or operation.kwargs:
            return operation
        is_sum = operation.function is torch.add
        for a, factor in (operation.args, operation.args[::-1])[: 2 if is_sum else 1]:
            product = self.made_by(factor)
            is_product = product is not None and product.function is torch.mul
            if product is None or not is_product or not self.binary.intersection(product.read):
                continue
            kwargs = {} if is_sum else {"value": -1}
            made = Operation(torch.addcmul, (a, *product.args), kwargs, operation.value, True)
            if self.are_like(made):
                return made
        return operation

    def are_like(self, operation: Operation) -> bool:
        """Whether all arguments are floating tensors of the shape and type of what it gives."""
        like = self.values[operation.value]
        given = [self.values[a.number] if isinstance(a, Value) else a for a in operation.args]
        return like.is_floating_point() and all(
            isinstance(one, Tensor) and alike(one, like) for one in given
        )


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and type."""
    return one.shape == other.shape and one.dtype == other.dtype


def _leaves(given: Any) -> list[Any]:
    """The arguments of a call, also those in lists; torch's own function for this is slow."""
    if not isinstance(given, (tuple, list)):
        return [given]
    return [leaf for one in given for leaf in _leaves(one)]


def _with_out(name: str, args: Any, result: Any) -> tuple[str, Any]:
    """An operation; one without `out` as another that has it and calculates the same."""
    if name == "relu":
        return "clamp_min", (args[0], 0)
    if name == "rsub" and len(args) == 2:
        left = args[1] if isinstance(args[1], Tensor) else torch.full_like(result, args[1])
        return "sub", (left, args[0])
    return name, args


def _cast(x: Tensor, dtype: torch.dtype, *, out: Tensor | None = None) -> Tensor:
    """A value in another type."""
    return x.to(dtype) if out is None else out.copy_(x)
