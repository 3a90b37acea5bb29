"""The GraphModule that a conversion returns, and its pickling.

torch pickles a GraphModule as Python source and traces that source again on load: names
change, `meta` is lost, and an owner of nested GraphModules recompiles all of them at
every level. This subclass pickles its fx graph as plain data instead and rebuilds it
node by node, so that a loaded module prints the same code, keeps `meta`, and loads in
time linear in its size. A graph that was edited is stored as it is then.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from nirtorch_cli.conversion.importing import map_folders, module_of
from nirtorch_cli.conversion.state import StateTracer
from nirtorch_cli.findings.errors import MapError, NirtorchError
from nirtorch_cli.reading.formats import loaded

if TYPE_CHECKING:
    import nir

NIR_NAME = "nir_name"
"""Where the `meta` of an fx node keeps the NIR name of the node it stands for."""


@dataclass(frozen=True)
class _Reference:
    """An fx node in a pickle, by its index in the graph."""

    place: int


class NodeRecord(NamedTuple):
    """One fx node as plain data."""

    op: str
    target: Any
    args: Any
    kwargs: Any
    name: str
    type_expr: Any
    nir_name: str | None


def stored_tensors(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    """The parameters and buffers of a module, without calling methods of its class."""
    for part in module.modules():
        for tensor in (*part._parameters.values(), *part._buffers.values()):
            if tensor is not None:
                yield tensor


def first_floating(module: torch.nn.Module) -> torch.Tensor | None:
    """A tensor with the type and device of a module; None if it takes any."""
    return next((t for t in stored_tensors(module) if t.is_floating_point()), None)


class ConvertedModule(torch.fx.GraphModule):
    """A `torch.fx.GraphModule` made from a NIR graph: what `nir_to_torch` and `load` return.

    Called with `(input, state=None)`, for one time step, it returns `(output, state)`. What made it
    is in its `meta`, which is stored with it: `file`, `sha256`, `dt` and `dt_reason`, what a step
    means (`integration`, `reset`, ...), `maps`, `versions`, and `findings`; `inputs` and `outputs`;
    and by the name of each node in the module its NIR name (`names`), type (`types`) and shapes
    (`shapes`).

    Example:
        >>> module: ConvertedModule = nir_to_torch("model.nir", {})
        >>> module.meta["dt"], module.meta["names"]["hidden_lif"]
        (0.0001, 'hidden.lif')
    """

    def __reduce__(self) -> tuple[Any, ...]:
        attributes = {key: value for key, value in self.__dict__.items() if key not in _DERIVED}
        name = self.__class__.__name__
        rebuilt = type(self).__mro__[1], name, records(self.graph), attributes
        specs = self.meta.get("maps")
        # First, so that the classes of a map are imported before its modules are unpickled.
        return (_rebuild_mapped, (MapModules(specs), *rebuilt)) if specs else (_rebuild, rebuilt)

    def _recompile_submodules(self) -> list[Any]:
        # Each nested module compiled itself when it was made; torch would do it again for
        # every graph around it.
        return []

    def _nir_graph_(self) -> tuple[nir.NIRGraph, str | None, float]:
        """What `nirtorch_cli.draw` draws: the graph as it is now, the file's name, and dt."""
        graph = loaded(_SHOWN_GRAPH)(self)
        return graph, self.meta.get("file"), float(self.meta["dt"])

    def _repr_svg_(self) -> str | None:
        """What a notebook shows at the end of a cell; None if the picture would be too large."""
        return self._shown("_repr_svg_")

    def _repr_html_(self) -> str | None:
        return self._shown("_repr_html_")

    def _shown(self, form: str) -> str | None:
        if len(self.graph.nodes) > _MOST_SHOWN:
            return None
        try:
            shown: str = getattr(loaded(_DRAW)(self), form)()
        except NirtorchError:  # it keeps no graph, say: the notebook shows its text
            return None
        return shown


_SHOWN_GRAPH = "nirtorch_cli.conversion.source_graph:shown_graph"
_DRAW = "nirtorch_cli.drawing.graphs.picture:draw"
"""What pictures are made by, named as text: a conversion loads neither."""

_MOST_SHOWN = 3000
"""How many fx nodes a module has whose picture is shown without being asked for."""


_DERIVED = ("_graph", "_code", "_lineno_map", "_prologue_start", "_tracer_cls")
"""Attributes that follow from the graph."""


def records(graph: torch.fx.Graph) -> list[NodeRecord]:
    """An fx graph as plain data."""
    place = {node: number for number, node in enumerate(graph.nodes)}

    def referring(node: torch.fx.Node) -> Any:
        return _Reference(place[node])

    def plain(argument: Any) -> Any:
        return torch.fx.node.map_arg(argument, referring)

    return [
        NodeRecord(
            node.op,
            node.target,
            plain(node.args),
            plain(node.kwargs),
            node.name,
            node.type,
            node.meta.get(NIR_NAME),
        )
        for node in graph.nodes
    ]


def graph_from_records(rows: list[NodeRecord]) -> torch.fx.Graph:
    """The fx graph from its `records`."""
    graph = torch.fx.Graph(tracer_cls=StateTracer)
    nodes: list[torch.fx.Node] = []

    def resolved(argument: Any) -> Any:
        return nodes[argument.place] if isinstance(argument, _Reference) else argument

    for row in rows:
        node = graph.create_node(
            row.op,
            row.target,
            torch.fx.node.map_aggregate(row.args, resolved),
            torch.fx.node.map_aggregate(row.kwargs, resolved),
            row.name,
            row.type_expr,
        )
        if row.nir_name is not None:
            node.meta[NIR_NAME] = row.nir_name
        nodes.append(node)
    return graph


class MapModules:
    """In a pickle, what imports the modules of `--map` specs as the conversion did.

    Their classes are stored by name, and a map in the current folder, or in a file of another,
    is not found by that alone.
    """

    def __init__(self, specs: Sequence[str]) -> None:
        self.specs = list(specs)

    def __reduce__(self) -> tuple[Any, ...]:
        return _imported, (self.specs,)


def _imported(specs: Sequence[str]) -> MapModules:
    for spec in specs:
        with contextlib.suppress(MapError):  # what is then missing is reported when it is needed
            module_of(spec)
    # For what a mapper imported when it was called. `pt.load` takes them off the path again.
    sys.path.extend(folder for folder in map_folders(specs) if folder not in sys.path)
    return MapModules(specs)


def _rebuild_mapped(maps: MapModules, *rebuilt: Any) -> ConvertedModule:
    return _rebuild(*rebuilt)


def _rebuild(
    kind: type[ConvertedModule], name: str, rows: list[NodeRecord], attributes: dict[str, Any]
) -> ConvertedModule:
    root = torch.nn.Module()
    root.__dict__.update(attributes)
    module = kind(root, graph_from_records(rows), class_name=name)
    module.__dict__.update(attributes)
    return module
