"""The variables that two runs of a graph must both have, by the types of its nodes.

In: a converted module. Out: by NIR path, the variables that are compared, whether a node's output
is spikes, and which nodes are skipped. Cost: linear in the nodes and edges.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch.fx import Node

from nirtorch_cli.conversion import state
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.primitives.table import primitive_named
from nirtorch_cli.running.engine.stages import stages_of
from nirtorch_cli.running.recording import (
    OF_OUTPUTS,
    known_variables,
    node_types,
    node_variables,
)


def compared_variables() -> tuple[str, ...]:
    """The variables that a comparison looks at: spikes, the states of all types, outputs."""
    return ("spikes", *(name for name in known_variables() if name not in OF_OUTPUTS), "output")


def hidden_variables(asked: Iterable[str] | None) -> tuple[str, ...]:
    """The variables that pass if a side does not show them: states that were not asked for."""
    return () if asked is not None else compared_variables()[1:-1]


def expected_variables(
    module: ConvertedModule, variables: Iterable[str] | None = None, between: bool = True
) -> dict[str, list[str]]:
    """By NIR path, the variables that a module's nodes should have by their NIR types.

    A node's output is left out if its spikes are the same, or if it is the output of a node in it.
    Of a nested graph that a map takes whole, only the output is known.

    Arguments:
        between: whether the outputs of nodes other than Outputs are wanted.
    """
    chosen = compared_variables() if variables is None else tuple(variables)
    opened = {path for path, _ in nested_modules(module)}
    found = {}
    known = node_variables(module)
    for path, kind in node_types(module):
        is_whole = kind == "NIRGraph" and path not in opened
        names = [name for name in known[path] if name in chosen]
        if "spikes" in names or not (between or kind == "Output" or is_whole):
            names = [name for name in names if name != "output"]
        if names and (is_whole or kind not in ("Input", "NIRGraph")):
            found[path] = names
    return found


def expected_of(
    modules: Iterable[ConvertedModule], variables: Iterable[str], between: bool
) -> dict[str, list[str]]:
    """The variables that several modules of one graph should have; see `expected_variables`."""
    found: dict[str, dict[str, None]] = {}
    for module in modules:
        for path, names in expected_variables(module, variables, between).items():
            found.setdefault(path, {}).update(dict.fromkeys(names))
    return {path: list(names) for path, names in found.items()}


def nested_modules(
    module: ConvertedModule, prefix: str = ""
) -> Iterator[tuple[str, ConvertedModule]]:
    """Path and module of each nested graph that was converted."""
    for name, child in module.named_children():
        if isinstance(child, ConvertedModule):
            path = prefix + module.meta["names"].get(name, name)
            yield path, child
            yield from nested_modules(child, f"{path}/")


def skipped_nodes(module: ConvertedModule) -> list[str]:
    """The paths of nodes that a map skipped, which do not run."""
    every = [("", module), *((f"{path}/", child) for path, child in nested_modules(module))]
    return [
        prefix + nir_name
        for prefix, part in every
        for name, nir_name in part.meta["names"].items()
        if name not in (*part.meta["inputs"], *part.meta["outputs"]) and not hasattr(part, name)
    ]


def only_output(module: ConvertedModule) -> str | None:
    """The NIR name of a module's Output, if it has only one."""
    names = [module.meta["names"].get(name, name) for name in module.meta["outputs"]]
    return str(names[0]) if len(names) == 1 else None


def spiking_outputs(module: ConvertedModule, prefix: str = "") -> dict[str, bool]:
    """By NIR path, whether a node's output is spikes, if the graph says so.

    It is if the node's NIR type spikes, or if the node passes spikes on. For an Input, and for a
    nested graph that a map takes whole, only the values tell.
    """
    staged = stages_of(module.graph)
    if staged is None:
        return {}
    found: dict[str, bool] = {}
    known: dict[Node, bool | None] = dict.fromkeys(staged.arguments)
    for stage in staged.stages:
        for node in stage.nodes:
            known[node] = _gives_spikes(module, node, known)
            if node.op == "call_module":
                name = str(node.target)
                path = prefix + module.meta["names"].get(name, name)
                child = module.get_submodule(name)
                if isinstance(child, ConvertedModule):
                    found.update(spiking_outputs(child, f"{path}/"))
                    known[node] = found.get(f"{path}/{only_output(child)}")
                if (gives := known[node]) is not None:
                    found[path] = gives
    outputs = staged.outputs
    ends = {module.meta["outputs"][0]: outputs} if isinstance(outputs, Node) else outputs
    for name, source in ends.items():
        if (gives := known.get(source)) is not None:
            found[prefix + module.meta["names"][name]] = gives
    return found


def spiking_in(modules: Iterable[ConvertedModule]) -> dict[str, bool]:
    """`spiking_outputs` of several modules of one graph; the first that knows decides."""
    found: dict[str, bool] = {}
    for module in modules:
        found = {**spiking_outputs(module), **found}
    return found


def _gives_spikes(
    module: ConvertedModule, node: Node, known: Mapping[Node, bool | None]
) -> bool | None:
    """Whether a call gives spikes; None if that is not known."""
    target: Any = node.target
    sources = [known.get(source) for source in node.all_input_nodes]
    if node.op == "call_module":
        kind = module.meta["types"].get(target)
        known_type = primitive_named(kind)
        if known_type is None or known_type.role == "port":
            return None  # its module may give anything
        return sources[0] if known_type.role in ("delay", "reshaping") else known_type.spikes
    if target is operator.getitem or target in state.CHECKS:
        return sources[0]
    if target is state.add:
        return None if None in sources else all(sources)
    return None
