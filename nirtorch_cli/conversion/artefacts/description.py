"""What an exported program says of itself: its inputs, outputs and state, and what made it.

In: a `Description`, or the JSON in a file. Out: that JSON, or the `Description`. Every exported
format carries it, so that a person can start from rest without this program:

    {"format": 1, "sequence": false,
     "inputs":  [{"name": "input", "argument": "input", "shape": [8], "dtype": "float32"}],
     "outputs": [{"name": "output", "argument": "output", "shape": [10], "dtype": "float32"}],
     "state":   [{"name": "lif.v", "node": "lif", "type": "LIF", "variable": "v", "key": "lif",
                  "shape": ["batch", 10], "dtype": "float32", "rest": 0.0}],
     "provenance": {"file": ..., "dt": ..., ...}}

A shape in "state" has "batch" where the batch goes. "rest" is one number, if all are equal, or
nested lists with an axis of one for the batch, so that it expands to the shape.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

BATCH = "batch"
"""The axis of a batch, in shapes."""

_FORMAT = 1


def following(name: str) -> str:
    """The name of a variable after the step, where inputs and outputs have one name each."""
    return f"{name}.next"


@dataclass(frozen=True)
class Port:
    """An Input or Output: its NIR name, its argument, its shape without a batch, its type."""

    name: str
    argument: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Variable:
    """One tensor of the state.

    name: `<node>.<variable>`, unique among all names. node: NIR path. type: the node's NIR type.
    variable: its name in the node's state; `prev_output` for what a delayed edge carries. key: of
    the node's part in the state of the module. shape: with `BATCH` where the batch goes. rest: the
    values at first, as a number or in nested lists.
    """

    name: str
    node: str
    type: str
    variable: str
    key: str
    shape: tuple[int | str, ...]
    dtype: str
    rest: Any

    def shape_for(self, batch: int) -> tuple[int, ...]:
        """The shape, for a batch of some size."""
        return tuple(batch if n == BATCH else int(n) for n in self.shape)

    def at_rest(self, batch: int) -> Tensor:
        """The values at first, for a batch of some size."""
        values = torch.tensor(self.rest, dtype=getattr(torch, self.dtype))
        return values.expand(self.shape_for(batch)).clone()


@dataclass(frozen=True)
class Description:
    """An exported program; `sequence`: whether it takes all steps at once, time first."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    state: tuple[Variable, ...]
    provenance: Mapping[str, Any]
    sequence: bool = False

    def to_json(self) -> str:
        """One line, the same for equal descriptions."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, sort_keys=True, default=str)

    @property
    def meta(self) -> dict[str, Any]:
        """What a converted module keeps in its `meta`, as far as it is known."""
        ports = {port.argument: port for port in (*self.inputs, *self.outputs)}
        inside = {one.key: one for one in self.state if one.variable != PREVIOUS}
        kinds = {**dict.fromkeys((p.argument for p in self.inputs), "Input"),
                 **dict.fromkeys((p.argument for p in self.outputs), "Output")}  # fmt: skip
        return {
            **self.provenance,
            "names": {**{key: one.name for key, one in ports.items()},
                      **{key: one.node for key, one in inside.items()}},
            "types": {**kinds, **{key: f"state of {one.type}" for key, one in inside.items()}},
            "shapes": {**{key: (one.shape, one.shape) for key, one in ports.items()},
                       **dict.fromkeys(inside, (None, None))},
            "inputs": [port.argument for port in self.inputs],
            "outputs": [port.argument for port in self.outputs],
            "delayed_edges": [],
            "origins": {},
            "delays": {},
            "findings": [],
        }  # fmt: skip


PREVIOUS = "prev_output"
"""The variable of a node whose output a delayed edge carries to the next step."""


def from_json(text: str) -> Description:
    """The description that `to_json` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        said = json.loads(text)
        if said["format"] != _FORMAT:
            raise ValueError(f"format {said['format']}, not {_FORMAT}")
        found = Description(
            inputs=tuple(_port(one) for one in said["inputs"]),
            outputs=tuple(_port(one) for one in said["outputs"]),
            state=tuple(_variable(one) for one in said["state"]),
            provenance=dict(said["provenance"]),
            sequence=bool(said["sequence"]),
        )
        float(found.provenance["dt"])
        for variable in found.state:
            variable.at_rest(1)
    except (KeyError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        raise ValueError("it is not described as nirtorch describes one") from error
    if not found.inputs or not found.outputs:
        raise ValueError("it has no input or no output")
    return found


def _port(said: Mapping[str, Any]) -> Port:
    shape = tuple(int(n) for n in said["shape"])
    return Port(str(said["name"]), str(said["argument"]), shape, _dtype(said))


def _variable(said: Mapping[str, Any]) -> Variable:
    return Variable(
        name=str(said["name"]),
        node=str(said["node"]),
        type=str(said["type"]),
        variable=str(said["variable"]),
        key=str(said["key"]),
        shape=tuple(BATCH if n == BATCH else int(n) for n in said["shape"]),
        dtype=_dtype(said),
        rest=said["rest"],
    )


def _dtype(said: Mapping[str, Any]) -> str:
    name = str(said["dtype"])
    if not isinstance(getattr(torch, name, None), torch.dtype):
        raise TypeError(f"no type {name!r}")
    return name
