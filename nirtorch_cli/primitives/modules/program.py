"""A neuron's step as a program of kernels that write into buffers of their own.

A neuron says what a step is in plain torch: charge, fire, reset. Run as it stands, each operation
makes a tensor. Here one step is run and its operations are recorded; from then on each of them
writes into a buffer, the new state over the old one, and the spikes to where the caller wants them.
For many steps at once, sums, products and the like that read nothing but the input are done before,
for all steps:

    charge  v = 0.9 v + 2 x        recorded   a = mul(x, 2)      before the steps, for all of them
    fire    z = v > 1                         b = mul(v, 0.9)    each step, into a buffer
    reset   v = v - z                         c = add(b, a)      ... over b
                                              z = gt(c, 1)       ... into the output
                                              v = sub(c, z)      ... over the old v

`recorder` says which operations are saved. What a step would calculate anew of a variable, though
the step before gave it out (is v over its threshold?), is read from there.

In: the step, an input like those that will come, and the variables before it. Out: a `Program`, or
None if the step does what cannot be written so; then it is run as it stands. The numbers are the
same, bit for bit, since the operations are, but for the sign of a zero, and matrix products, whose
rounding may depend on where their factors lie in memory; the first step is compared. Cost: three
steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any, cast

import torch
from torch import Tensor

from nirtorch_cli.primitives.modules.recorder import Operation, Recorder, Value, alike

Step = Callable[[Tensor, Mapping[str, Tensor]], tuple[Tensor, Mapping[str, Tensor]]]
"""Of an input and the variables by name: the output, and the variables after it."""


@dataclass
class Program:
    """Runs one step after another; see `program_of`.

    variables: changed in place by every step. run: called with what a step reads of its input, the
    tensor for its output, and the output of the step before. first: gives what the first step takes
    for that. is_finite: it does to infinity what the step does.
    """

    variables: dict[str, Tensor]
    run: Callable[..., None]
    hoisted: Sequence[Operation] = ()
    read: Sequence[int] = (0,)
    first: Callable[[], Tensor | None] = lambda: None
    last: Tensor | None = None
    is_finite = True

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The output of a step, written into y; for a program with nothing hoisted.

        The next call reads it there.
        """
        self.run(*([x] * len(self.read)), y, self.first() if self.last is None else self.last)
        self.last = y
        return y

    def over(self, x: Tensor, y: Tensor, record: Mapping[str, Tensor]) -> None:
        """Many steps: their inputs (T, ...), and the tensors for their outputs and variables."""
        found = {0: x}
        for one in self.hoisted:
            args = [found[arg.number] if isinstance(arg, Value) else arg for arg in one.args]
            found[one.value] = one.function(*args, **one.kwargs)
        feeds = [found[number].unbind(0) for number in self.read]
        kept = [(values.unbind(0), self.variables[name]) for name, values in record.items()]
        last = self.first()
        for step, slot in enumerate(y.unbind(0)):
            self.run(*[feed[step] for feed in feeds], slot, last)
            last = slot
            for slots, variable in kept:
                slots[step].copy_(variable)


def program_of(
    step: Step, x: Tensor, variables: Mapping[str, Tensor], *, hoists: bool = False
) -> Program | None:
    """The program of a step for inputs like x; None if it cannot be written into buffers.

    Arguments:
        variables: those before the first step; the program has copies of them.
        hoists: whether operations that read nothing but the input are done by `Program.over`.
    """
    before = {name: value.clone() for name, value in variables.items()}
    recorder = Recorder(x, before)
    with torch.no_grad(), recorder:
        output, after = step(x, before)
    ends = [output, *(after[name] for name in before)]
    numbers = [recorder.numbers.get(id(end)) for end in ends]
    if recorder.is_failed or None in numbers or not all(alike(end, x) for end in ends):
        return None
    mine = {name: value.clone() for name, value in variables.items()}
    program = _Writer(recorder, mine, [n for n in numbers if n is not None], hoists).program()
    y = torch.empty_like(output)
    try:
        program.over(x.unsqueeze(0), y.unsqueeze(0), {})
    except (RuntimeError, TypeError):  # an operation that takes no such `out`
        return None
    made = [y, *mine.values()]
    if not all(torch.allclose(a, b, 0, 0, equal_nan=True) for a, b in zip(made, ends)):
        return None
    for name, value in variables.items():
        mine[name].copy_(value)
    return program


class _Writer:
    """Writes recorded operations as a function: of what a step reads, and of its output's tensor.

    ends: the numbers of the output, and of each variable after the step.
    """

    def __init__(
        self, recorder: Recorder, variables: dict[str, Tensor], ends: list[int], hoists: bool
    ) -> None:
        self.values, self.variables = recorder.values, variables
        self.output, *self.after = ends
        self.before = recorder.of_input if hoists else {0}
        self.hoisted = [one for one in recorder.operations if one.value in self.before]
        self.repeated = self.given_out_before(recorder.operations)
        self.operations, used = self.needed(recorder.operations, ends)
        self.read = sorted(used & self.before)
        self.names = {number: f"x{number}" for number in self.read}
        if self.repeated is not None:
            self.names[self.repeated.value] = "last"
        self.buffers = dict(enumerate(variables.values(), 1))
        self.namespace: dict[str, Any] = {}
        self.given: dict[int, str] = {}
        self.last = {n: place for place, one in enumerate(self.operations) for n in one.read}
        self.last.update(dict.fromkeys(ends, len(self.operations)))

    def needed(
        self, operations: Sequence[Operation], ends: Collection[int]
    ) -> tuple[list[Operation], set[int]]:
        """The operations of a step that are of use, and the values that are."""
        used, kept = set(ends), []
        for one in reversed(operations):
            if one is self.repeated:
                continue
            if one.value in used and one.value not in self.before:
                used.update(one.read)
                kept.append(one)
        return kept[::-1], used

    def given_out_before(self, operations: Sequence[Operation]) -> Operation | None:
        """The operation on a variable that repeats what the step before gave out."""
        given = next((one for one in operations if one.value == self.output), None)
        if given is None or self.output in self.after:
            return None
        for number, after in enumerate(self.after, 1):
            for one in operations:
                then = [Value(after) if _is_one(arg, Value(number)) else arg for arg in one.args]
                is_same = len(then) == len(given.args) and all(map(_is_one, then, given.args))
                is_same &= one.function is given.function and one.kwargs == given.kwargs
                if is_same and one.read == [number]:
                    is_like = alike(self.values[one.value], self.values[self.output])
                    return one if is_like else None
        return None

    def first(self) -> Tensor | None:
        """What the first step takes for what the step before gave out."""
        if self.repeated is None:
            return None
        old = dict(enumerate(self.variables.values(), 1))
        args = [old[one.number] if isinstance(one, Value) else one for one in self.repeated.args]
        like = self.values[self.repeated.value]
        found = torch.empty(like.shape, dtype=like.dtype, device=like.device)
        return cast(Tensor, self.repeated.function(*args, **self.repeated.kwargs, out=found))

    def program(self) -> Program:
        """The program; its function is Python source that holds no names but those made here."""
        lines = [self.line(place, one) for place, one in enumerate(self.operations)]
        lines += self.last_lines()
        arguments = ", ".join([*(self.names[number] for number in self.read), "y", "last"])
        body = "\n    ".join(lines) or "pass"
        exec(_compiled(f"def run({arguments}):\n    {body}\n"), self.namespace)
        run = self.namespace["run"]
        return Program(self.variables, run, self.hoisted, self.read, self.first)

    def line(self, place: int, one: Operation) -> str:
        """An operation, which writes into the output, over a value that ends here, or a buffer."""
        arguments = [self.argument(arg) for arg in one.args]
        arguments += [f"{name}={self.named(value)}" for name, value in one.kwargs.items()]
        if one.value == self.output:
            self.names[one.value] = "y"
        else:
            self.buffers[one.value] = self.buffer(place, one)
        target = self.argument(Value(one.value))
        return f"{self.named(one.function)}({', '.join(arguments)}, out={target})"

    def buffer(self, place: int, one: Operation) -> Tensor:
        like = self.values[one.value]
        free = place if one.is_pointwise else place - 1
        for number, old in enumerate(self.variables.values(), 1):
            if self.after[number - 1] == one.value and self.last.get(number, -1) <= free:
                return old
        read = one.read if one.is_pointwise else []
        temporary = [n for n in read if n > len(self.variables) and n in self.buffers]
        for number in temporary:
            buffer = self.buffers[number]
            is_variable = any(buffer is old for old in self.variables.values())
            if self.last[number] == place and not is_variable and alike(buffer, like):
                return buffer
        return torch.empty(like.shape, dtype=like.dtype, device=like.device)

    def last_lines(self) -> list[str]:
        """Copies of the output, and of the variables that are not in their buffers yet."""
        output = self.argument(Value(self.output))
        lines = [] if output == "y" else [f"y.copy_({output})"]
        late = [
            (old, self.argument(Value(after)))
            for after, old in zip(self.after, self.variables.values())
            if self.buffers.get(after) is not old
        ]
        if len(late) > 1:  # they may change places
            lines += [f"v{place} = {source}.clone()" for place, (_, source) in enumerate(late)]
            late = [(old, f"v{place}") for place, (old, _) in enumerate(late)]
        return lines + [f"{self.named(old)}.copy_({source})" for old, source in late]

    def argument(self, one: Any) -> str:
        if not isinstance(one, Value):
            return self.named(one)
        return self.names.get(one.number) or self.named(self.buffers[one.number])

    def named(self, thing: Any) -> str:
        """A name for an object in the function."""
        name = self.given.setdefault(id(thing), f"c{len(self.given)}")
        self.namespace[name] = thing
        return name


@functools.lru_cache(maxsize=256)
def _compiled(source: str) -> CodeType:
    """Source as code: every run of a network makes the same again."""
    return compile(source, "<program of a neuron's step>", "exec")


def _is_one(one: Any, other: Any) -> bool:
    """Whether two arguments are the same value, constant or number."""
    return one is other if isinstance(one, Tensor) or isinstance(other, Tensor) else one == other
