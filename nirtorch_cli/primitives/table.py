"""The table of NIR node types: one entry per type, used by every room.

In: a node, or the name of a type. Out: its `Primitive`; None for an unknown type. Does not load
torch: the module of a type is named as text, `package.file:name`, and loaded when it is built.

A type that nir does not have, or only in a newer release, can be registered in two ways, and is
then treated like nir's own:

    nirtorch_cli.register(Primitive(AdLIF, "neuron", "elementwise", "mypack.adlif:AdLIF", ...))

from Python, or by an installed pack with an entry point of the group `nirtorch.primitives`, whose
name is that of the type and whose value names the `Primitive`. Cost: constant.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, Literal

import nir

Role = Literal["port", "weights", "neuron", "delay", "pooling", "reshaping", "other"]
"""The role of a type in a network; pictures show it, and the schedule depends on it."""

ShapeRule = Literal["port", "elementwise", "linear", "convolution", "pooling", "flatten"]
"""How the output shape follows from the input shape: see `shape_rules`."""

ENTRY_POINT_GROUP = "nirtorch.primitives"
_OWN_MODULES = "nirtorch_cli.primitives.modules"
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Primitive:
    """A node type.

    Arguments:
        type: its class, a dataclass derived from `nir.NIRNode`. role: its role in a network. A
        "neuron" has a state, and the delayed edge of a loop starts at it. shape_rule: how its
        output shape follows: the name of a rule, or a function of a node and its input shape,
        without batch axes, that raises a ValueError if the shape does not fit. With "elementwise"
        the output has the shape of the input, and every parameter has one value per element.
        module: what builds the torch module of a node, as text `package.file:name` (with a dot in
            front, one of ours), or the function or class itself. A subclass of
            `modules.neuron.Neuron` is called with the parameters by name and the `Dynamics`;
            anything else with the node and the `Dynamics`. None: the input is passed on.
        required, optional: the fields that a file must and may hold. defaults: the values of
        missing optional fields; a field that is not named here stays missing. states: the variables
        in its state, in display order, each with its initial value: the name of a parameter, or a
        number. Each has the shape of the input. spikes: whether its output is spikes.
        time_constants: the fields that are time constants, which must be positive. rank: how many
        axes its input has, batch axes apart; None for any number.
    """

    type: type[nir.NIRNode]
    role: Role
    shape_rule: ShapeRule | Callable[[Any, tuple[int, ...]], tuple[int, ...]]
    module: str | Callable[..., Any] | None
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    defaults: Mapping[str, float] = field(default_factory=lambda: _NOTHING)
    states: Mapping[str, str | float] = field(default_factory=lambda: _NOTHING)
    spikes: bool = False
    time_constants: tuple[str, ...] = ()
    rank: int | None = None

    @property
    def name(self) -> str:
        """The name of the type in a file."""
        return self.type.__name__

    @property
    def fields(self) -> tuple[str, ...]:
        """Every field except those that all nodes have."""
        return (*self.required, *self.optional)

    @property
    def shaped_by(self) -> str:
        """The parameter of an elementwise type that has the shape of the node."""
        return self.required[-1]

    def is_default_of_nir(self, name: str) -> bool:
        """Whether nir itself has a default for a field; other defaults are torch's."""
        found = {entry.name: entry for entry in dataclasses.fields(self.type)}.get(name)
        return found is not None and found.default is not dataclasses.MISSING

    def builder(self) -> Callable[..., Any] | None:
        """The function or class that builds the module of a node; imports its file."""
        if not isinstance(self.module, str):
            return self.module
        file, _, name = self.module.partition(":")
        module = importlib.import_module(file, _OWN_MODULES if file.startswith(".") else None)
        found: Callable[..., Any] = getattr(module, name)
        return found


_PORT = ("shape", "input_type", "output_type")
_CONVOLUTION: dict[str, Any] = {
    "required": ("weight",),
    "optional": ("stride", "padding", "dilation", "groups", "bias", "input_shape"),
    "defaults": MappingProxyType({"stride": 1, "padding": 0, "dilation": 1, "groups": 1}),
}
_POOLING: dict[str, Any] = {
    "required": ("kernel_size", "stride"),
    "optional": ("padding",),
    "defaults": MappingProxyType({"padding": 0}),
    "rank": 3,
}
_LEAK = ("tau", "r", "v_leak")
_SYNAPSE = ("tau_syn", "tau_mem", "r", "v_leak")
_Start = Mapping[str, str | float]
_FROM_REST: _Start = MappingProxyType({"v": "v_leak"})
_FROM_ZERO: _Start = MappingProxyType({"v": 0.0})
_WITH_CURRENT: _Start = MappingProxyType({"v": "v_leak", "i": 0.0})
_RESET = MappingProxyType({"v_reset": 0.0})

PRIMITIVES: Mapping[str, Primitive] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Primitive(nir.Input, "port", "port", None, optional=_PORT),
            Primitive(nir.Output, "port", "port", None, optional=_PORT),
            Primitive(
                nir.Affine,
                "weights",
                "linear",
                ".build:linear",
                required=("weight",),
                optional=("bias",),
                defaults=MappingProxyType({"bias": 0.0}),
            ),
            Primitive(
                nir.Linear, "weights", "linear", ".build:linear", ("weight",), optional=("bias",)
            ),
            Primitive(nir.Scale, "weights", "elementwise", ".build:scale", ("scale",)),
            Primitive(
                nir.Conv1d, "weights", "convolution", ".build:convolution", **_CONVOLUTION, rank=2
            ),
            Primitive(
                nir.Conv2d, "weights", "convolution", ".build:convolution", **_CONVOLUTION, rank=3
            ),
            Primitive(nir.SumPool2d, "pooling", "pooling", ".build:sum_pool", **_POOLING),
            Primitive(nir.AvgPool2d, "pooling", "pooling", ".build:avg_pool", **_POOLING),
            Primitive(
                nir.Flatten,
                "reshaping",
                "flatten",
                ".build:flatten",
                optional=("start_dim", "end_dim", "input_type"),
                defaults=MappingProxyType({"start_dim": 1, "end_dim": -1}),
            ),
            Primitive(
                nir.Threshold,
                "other",
                "elementwise",
                ".build:threshold",
                required=("threshold",),
                spikes=True,
            ),
            Primitive(nir.Delay, "delay", "elementwise", ".build:delay", ("delay",)),
            Primitive(nir.I, "neuron", "elementwise", ".integrators:I", ("r",), states=_FROM_ZERO),
            Primitive(
                nir.IF,
                "neuron",
                "elementwise",
                ".integrators:IF",
                required=("r", "v_threshold"),
                optional=("v_reset",),
                defaults=_RESET,
                states=_FROM_ZERO,
                spikes=True,
            ),
            Primitive(
                nir.LI,
                "neuron",
                "elementwise",
                ".leaky:LI",
                required=_LEAK,
                states=_FROM_REST,
                time_constants=("tau",),
            ),
            Primitive(
                nir.LIF,
                "neuron",
                "elementwise",
                ".leaky:LIF",
                required=(*_LEAK, "v_threshold"),
                optional=("v_reset",),
                defaults=_RESET,
                states=_FROM_REST,
                spikes=True,
                time_constants=("tau",),
            ),
            Primitive(
                nir.CubaLI,
                "neuron",
                "elementwise",
                ".cuba:CubaLI",
                required=_SYNAPSE,
                optional=("w_in",),
                defaults=MappingProxyType({"w_in": 1.0}),
                states=_WITH_CURRENT,
                time_constants=("tau_mem", "tau_syn"),
            ),
            Primitive(
                nir.CubaLIF,
                "neuron",
                "elementwise",
                ".cuba:CubaLIF",
                required=(*_SYNAPSE, "v_threshold"),
                optional=("v_reset", "w_in"),
                defaults=MappingProxyType({"v_reset": 0.0, "w_in": 1.0}),
                states=_WITH_CURRENT,
                spikes=True,
                time_constants=("tau_mem", "tau_syn"),
            ),
        )
    }
)
"""nir's own types, except NIRGraph, by name."""

_BY_TYPE = MappingProxyType({entry.type: entry for entry in PRIMITIVES.values()})

_REGISTERED: dict[str, Primitive] = {}
"""The types that were registered in this process, by name."""


def register(primitive: Primitive) -> Primitive:
    """Register a node type for this process.

    A type may be registered again, and the last one counts; nir's own types cannot be.

    Raises:
        ValueError: it is one of nir's own, or its class is not derived from `nir.NIRNode`.

    Example:
        >>> register(Primitive(AdLIF, "neuron", "elementwise", "mypack:AdLIFModule", ("tau", "b")))
    """
    if primitive.name in PRIMITIVES:
        raise ValueError(f"{primitive.name} is one of nir's own types; map it instead")
    if not issubclass(primitive.type, nir.NIRNode):
        raise ValueError(f"{primitive.type.__name__} is not derived from nir.NIRNode")
    _REGISTERED[primitive.name] = primitive
    return primitive


def primitive_named(name: str | None) -> Primitive | None:
    """The type with a name; None if it is unknown."""
    if name is None:
        return None
    found = PRIMITIVES.get(name) or _REGISTERED.get(name)
    if found is None and name in _installed():
        found = register(_installed()[name].load())
    return found


def primitive_of(node: nir.NIRNode) -> Primitive | None:
    """The type of a node, or the nearest known type that it is derived from."""
    for kind in type(node).__mro__:
        found = _BY_TYPE.get(kind) or _REGISTERED.get(kind.__name__)
        if found is not None and found.type is kind:
            return found
    return None


def known_types() -> tuple[str, ...]:
    """The names of all types."""
    return tuple(dict.fromkeys((*PRIMITIVES, *_REGISTERED, *_installed())))


def known_primitives() -> Iterator[Primitive]:
    """All types: nir's own, then the registered ones."""
    yield from PRIMITIVES.values()
    yield from _REGISTERED.values()


@functools.cache
def _installed() -> Mapping[str, EntryPoint]:
    """The types that installed packs have, by name."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def is_of_role(node: nir.NIRNode, *roles: Role) -> bool:
    """Whether a node's type has one of these roles."""
    found = primitive_of(node)
    return found is not None and found.role in roles


def shape_rule_of(node: nir.NIRNode) -> Any:
    """The shape rule of a node's type, or None."""
    found = primitive_of(node)
    return None if found is None else found.shape_rule


def parameters_of(node: nir.NIRNode) -> tuple[str, ...]:
    """The fields of a node's type."""
    found = primitive_of(node)
    return () if found is None else found.fields


def time_constants_of(node: nir.NIRNode) -> tuple[str, ...]:
    """The fields of a node that are time constants."""
    found = primitive_of(node)
    return () if found is None else found.time_constants


def states_of(kind: str | None) -> tuple[str, ...]:
    """The variables in the state of a type, by its name."""
    found = primitive_named(kind)
    return () if found is None else tuple(found.states)


def is_spiking(kind: str | None) -> bool:
    """Whether the output of a type is spikes, by its name."""
    found = primitive_named(kind)
    return found is not None and found.spikes


# ------------------------------------------------------------------------- fields, by their names

OLD_NAMES: Mapping[str, str] = MappingProxyType({"weights": "weight", "v_th": "v_threshold"})
"""Names of fields before NIR 0.1, and their present names."""

COUNTS = frozenset({"kernel_size", "stride", "padding", "dilation", "groups", "input_shape"})
"""Fields that are whole numbers, whatever their type in the file."""

POSITIVE = frozenset({"kernel_size", "stride", "dilation", "groups"})
"""Those of them that must be 1 or more."""

SINGLE = frozenset({"groups", "start_dim", "end_dim"})
"""Fields with one whole number; other counts have one per axis, or one for all axes."""

SHAPES = frozenset({"shape", "input_type", "output_type"})
"""Fields that are shapes; some files store them in a group of their own."""

THRESHOLDS = frozenset({"threshold", "v_threshold"})
"""Fields that may be infinite: a neuron with such a threshold never fires."""
