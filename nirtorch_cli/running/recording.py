"""What of a run is to be recorded, as a user says it, to nodes and their variables.

In: a converted module and requests such as `lif1`, `lif1:v`, `nest/lif1:spikes`. Out: for each
node's path the names of the variables, or one UsageError that says all that is wrong.

Variables: `output` of any node; `spikes`, the same of a node of a spiking type; `v` and `i`,
voltage and current after a step, of a node that keeps them in its state; `count`, how often each
neuron of a spiking node fired. A name alone is its output, or spikes. A name that no node has may
be a pattern (`hidden*`, `*:v`) and stands for all nodes that it fits and that have the variable.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator

import torch

from nirtorch_cli.conversion.graph_module import NIR_NAME, ConvertedModule
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.ordering import in_natural_order
from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.text import listed, quoted
from nirtorch_cli.primitives.shape_rules import Shape

SPIKING_TYPES = ("IF", "LIF", "CubaLIF", "Threshold")
"""The NIR types whose output is spikes."""

_VOLTAGES = ("I", "IF", "LI", "LIF", "CubaLI", "CubaLIF")
_CURRENTS = ("CubaLI", "CubaLIF")
VARIABLES = ("output", "spikes", "v", "i", "count")

Wanted = dict[str, set[str]]


def wanted(module: ConvertedModule, record: Iterable[str]) -> Wanted:
    """The variables that are asked for, by the path of their node.

    Raises:
        UsageError: a node that is not there, or a variable that it does not have.
    """
    kinds = dict(node_types(module))
    found: Wanted = {}
    problems = []
    for request in record:
        path, variable = _split(request, kinds)
        matching = list(_matching(path, variable, request, kinds))
        if matching:
            for node, its_own in matching:
                found.setdefault(node, set()).add(its_own)
        elif path not in kinds and _fitting(path, kinds):
            text = f"no node that {quoted(path)} fits has {quoted(variable)} to record"
            problems.append(Finding("NIR604", "error", text))
        elif path not in kinds:
            hint = _hint(request, kinds)
            problems.append(Finding("NIR604", "error", f"no node {quoted(path)}", hint=hint))
        elif variable not in variables_of(kinds[path]):
            text = f"a {kinds[path]} has no {quoted(variable)} to record"
            there = variables_of(kinds[path])
            hint = did_you_mean(variable, there) or f"it has {listed(list(there))}"
            problems.append(Finding("NIR604", "error", text, path, hint=hint))
        else:
            found.setdefault(path, set()).add(variable)
    if problems:
        raise UsageError(problems)
    return found


def node_types(module: ConvertedModule) -> list[tuple[str, str]]:
    """Path and NIR type of each node that has a value, those of nested graphs too."""
    return [(path, owner.meta["types"][name]) for path, owner, name in _nodes(module)]


def node_shapes(module: ConvertedModule) -> dict[str, Shape | None]:
    """The shape of the value of each node that has one, by its path; None if it is not known."""
    return {path: owner.meta["shapes"][name][1] for path, owner, name in _nodes(module)}


def shown_paths(module: ConvertedModule) -> list[str]:
    """The paths of `node_types` as people are shown them.

    That is in the order of execution; alike nodes of a graph that stand equally deep in it are
    in the natural order of their names, which alone tells them apart.
    """
    paths = [path for path, _, _ in _nodes(module)]
    depth = _depths(module)
    order = in_natural_order(paths, [depth.get(path, -1) for path in paths])
    return [paths[place] for place in order]


def _nodes(module: ConvertedModule) -> list[tuple[str, ConvertedModule, str]]:
    """Path of each node that has a value, its graph's module, and its name there."""
    found: list[tuple[str, ConvertedModule, str]] = []

    def collect(module: ConvertedModule, prefix: str) -> None:
        children = module._modules  # named_children() leaves out one that stands for two nodes
        for name, nir_name in module.meta["names"].items():
            path, child = prefix + nir_name, children.get(name)
            if isinstance(child, ConvertedModule):
                collect(child, f"{path}/")
            if child is not None or name in (*module.meta["inputs"], *module.meta["outputs"]):
                found.append((path, module, name))

    collect(module, "")
    return found


def _depths(module: ConvertedModule) -> dict[str, int]:
    """A number for each node's path, the same for nodes that stand equally deep in a graph.

    How deep a node stands is how many nodes lead to it at most within a step; so must the graphs
    around it. The numbers themselves mean nothing.
    """
    numbers: dict[tuple[int, int], int] = {}
    found: dict[str, int] = {}

    def collect(module: ConvertedModule, prefix: str, around: int) -> None:
        reached: dict[torch.fx.Node, int] = {}
        for node in module.graph.nodes:
            deep = max((reached[source] for source in node.all_input_nodes), default=0)
            name = node.meta.get(NIR_NAME)
            reached[node] = deep + (name is not None)
            if name is not None:
                number = numbers.setdefault((around, deep), len(numbers))
                found[f"{prefix}{name}"] = number
                child = module._modules.get(_called(node))
                if isinstance(child, ConvertedModule):
                    collect(child, f"{prefix}{name}/", number)

    collect(module, "", -1)
    return found


def _called(node: torch.fx.Node) -> str:
    """The name of the module that gives a value: a stateful one's is the first of two."""
    while node.op == "call_function" and node.all_input_nodes:
        node = node.all_input_nodes[0]
    return str(node.target)


def variables_of(kind: str) -> tuple[str, ...]:
    """What can be recorded of a node of a NIR type."""
    return (
        "output",
        *(("spikes", "count") if kind in SPIKING_TYPES else ()),
        *(("v",) if kind in _VOLTAGES else ()),
        *(("i",) if kind in _CURRENTS else ()),
    )


def _matching(
    path: str, variable: str, request: str, kinds: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """The nodes that a pattern fits, with the variable that is meant of each that has it."""
    for node in _fitting(path, kinds):
        name = variable if path != request else _split(node, kinds)[1]
        if name in variables_of(kinds[node]):
            yield node, name


def _fitting(path: str, kinds: dict[str, str]) -> list[str]:
    """The nodes that a pattern fits; none if it is the name of a node, or no pattern."""
    if path in kinds or not any(character in path for character in "*?["):
        return []
    return [node for node in kinds if fnmatch.fnmatchcase(node, path)]


def _hint(request: str, kinds: dict[str, str]) -> str:
    """What may have been meant by a request of a node that is not there."""
    path = request.rpartition(":")[0]
    near = did_you_mean(path or request, kinds) or did_you_mean(request, kinds)
    return near or f"the nodes are {listed(sorted(kinds), most=5)}"


def _split(request: str, kinds: dict[str, str]) -> tuple[str, str]:
    """A request's node and variable; a name may have colons of its own."""
    path, colon, variable = request.rpartition(":")
    if request in kinds or not colon or (path not in kinds and variable not in VARIABLES):
        return request, "spikes" if kinds.get(request) in SPIKING_TYPES else "output"
    return path, variable
