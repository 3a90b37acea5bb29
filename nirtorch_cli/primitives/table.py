"""What a `.nir` file holds for each type of node: a table, and what missing fields mean.

The fields are nir's. What older files call them, and what is taken for those that a file
lacks, stands here too; who reads a file says which of it was used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import nir


@dataclass(frozen=True)
class NodeFields:
    """What the file must and may hold for one node type.

    `shared` names the parameters of one value per neuron: they have one shape. `defaults`
    says what is taken for an optional field that is missing; nothing is for one not named.
    """

    type: type[nir.NIRNode]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    defaults: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def known(self) -> tuple[str, ...]:
        """Every field but those that all nodes have."""
        return (*self.required, *self.optional)


_LI = ("tau", "r", "v_leak")
_CUBA = ("tau_syn", "tau_mem", "r", "v_leak")
_RESET = MappingProxyType({"v_reset": 0.0})
_CONV = NodeFields(
    nir.Conv2d,
    ("weight",),
    ("stride", "padding", "dilation", "groups", "bias", "input_shape"),
    defaults=MappingProxyType({"stride": 1, "padding": 0, "dilation": 1, "groups": 1}),
)
_POOL = NodeFields(
    nir.SumPool2d,
    ("kernel_size", "stride"),
    ("padding",),
    defaults=MappingProxyType({"padding": 0}),
)

NODE_FIELDS: Mapping[str, NodeFields] = MappingProxyType(
    {
        "Input": NodeFields(nir.Input, (), ("shape", "input_type", "output_type")),
        "Output": NodeFields(nir.Output, (), ("shape", "input_type", "output_type")),
        "Affine": NodeFields(
            nir.Affine, ("weight",), ("bias",), defaults=MappingProxyType({"bias": 0.0})
        ),
        "Linear": NodeFields(nir.Linear, ("weight",), ("bias",)),
        "Scale": NodeFields(nir.Scale, ("scale",)),
        "Conv1d": NodeFields(nir.Conv1d, _CONV.required, _CONV.optional, (), _CONV.defaults),
        "Conv2d": _CONV,
        "SumPool2d": _POOL,
        "AvgPool2d": NodeFields(nir.AvgPool2d, _POOL.required, _POOL.optional, (), _POOL.defaults),
        "Flatten": NodeFields(
            nir.Flatten,
            (),
            ("start_dim", "end_dim", "input_type"),
            defaults=MappingProxyType({"start_dim": 1, "end_dim": -1}),
        ),
        "Threshold": NodeFields(nir.Threshold, ("threshold",)),
        "Delay": NodeFields(nir.Delay, ("delay",)),
        "I": NodeFields(nir.I, ("r",), (), ("r",)),
        "IF": NodeFields(
            nir.IF,
            ("r", "v_threshold"),
            ("v_reset",),
            ("r", "v_threshold", "v_reset"),
            _RESET,
        ),
        "LI": NodeFields(nir.LI, _LI, (), _LI),
        "LIF": NodeFields(
            nir.LIF,
            (*_LI, "v_threshold"),
            ("v_reset",),
            (*_LI, "v_threshold", "v_reset"),
            _RESET,
        ),
        "CubaLI": NodeFields(
            nir.CubaLI,
            _CUBA,
            ("w_in",),
            (*_CUBA, "w_in"),
            MappingProxyType({"w_in": 1.0}),
        ),
        "CubaLIF": NodeFields(
            nir.CubaLIF,
            (*_CUBA, "v_threshold"),
            ("v_reset", "w_in"),
            (*_CUBA, "v_threshold", "v_reset", "w_in"),
            MappingProxyType({"v_reset": 0.0, "w_in": 1.0}),
        ),
    }
)
"""The fields of every NIR node type but NIRGraph, by the type name in the file."""

OLD_NAMES: Mapping[str, str] = MappingProxyType({"weights": "weight", "v_th": "v_threshold"})
"""What NIR before 0.1 called some fields, and what they are called since."""

NIRS_DEFAULTS = frozenset({"v_reset", "w_in", "start_dim", "end_dim"})
"""Fields for which nir has a default of its own; that of the others is torch's."""

COUNTS = frozenset({"kernel_size", "stride", "padding", "dilation", "groups", "input_shape"})
"""Parameters that are whole numbers, whatever type the file gives them."""

POSITIVE = frozenset({"kernel_size", "stride", "dilation", "groups"})
"""Those of them that nothing can be done with if they are 0."""

SINGLE = frozenset({"groups", "start_dim", "end_dim"})
"""Parameters of one number; the other counts have one for each axis, or one for all."""

SHAPES = frozenset({"shape", "input_type", "output_type"})
"""Parameters that are shapes; some files have a group around them."""
