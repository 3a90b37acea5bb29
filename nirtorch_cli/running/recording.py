"""Requests for recording, such as `lif1:v`, to nodes and their variables.

In: a converted module and requests such as `lif1`, `lif1:v`, `nest/lif1:spikes`. Out: for each
node's path the names of the variables, or one UsageError that lists all that is wrong.

Variables: `output` of any node; `spikes`, which is the output of a node of a spiking type; `count`,
how often each neuron of a spiking node fired; and the tensors of a node's state after a step: `v`
and `i` of nir's own neurons, any tensor (`mem`) of a mapped module. A mapped module may translate
its names into NIR's by an attribute:

    nir_states = {"mem": "v", "syn": "i"}

A module that a map made of a whole nested graph may say which of its nodes it is, so that this can
be recorded under its path, too:

    nir_nodes = {"lif": "LIF"}

A name alone means the output, which may be spikes. A name that no node has may be a pattern
(`hidden*`, `*:v`), which stands for all matching nodes that have the variable.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from nirtorch_cli.conversion.artefacts.opaque import Hidden
from nirtorch_cli.conversion.graph_module import NIR_NAME, ConvertedModule
from nirtorch_cli.conversion.wiring import is_stateful
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.ordering import in_natural_order
from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.text import listed, quoted
from nirtorch_cli.primitives.broadcasting import Shape
from nirtorch_cli.primitives.modules.neuron import Neuron
from nirtorch_cli.primitives.table import is_spiking, known_primitives, states_of

OF_OUTPUTS = ("output", "spikes", "count")
"""The variables that come from a node's output; all others are in its state."""

NIR_STATES = "nir_states"
"""The attribute by which a module translates its names of variables into NIR's."""

NIR_NODES = "nir_nodes"
"""The attribute by which the module of a nested graph says which of its nodes it is, and types."""

Wanted = dict[str, set[str]]


def wanted(module: ConvertedModule, record: Iterable[str]) -> Wanted:
    """The requested variables, by the path of their node.

    Raises:
        UsageError: a node does not exist, or does not have the variable.
    """
    kinds = dict(node_types(module))
    modules = {path: child for path, _, child in node_modules(module)}
    found: Wanted = {}
    problems = []
    for request in record:
        path, variable = _split(request, kinds)
        matching = list(_matching(path, variable, request, kinds, modules))
        if matching:
            for node, its_own in matching:
                found.setdefault(node, set()).add(its_own)
        elif path not in kinds and _fitting(path, kinds):
            text = f"no node that {quoted(path)} fits has {quoted(variable)} to record"
            problems.append(Finding("NIR604", "error", text))
        elif path not in kinds:
            hint = _hint(request, kinds)
            problems.append(Finding("NIR604", "error", f"no node {quoted(path)}", hint=hint))
        elif not _has(modules.get(path), kinds[path], variable):
            text = f"{_a(kinds[path])} has no {quoted(variable)} to record"
            there = _known(modules.get(path), kinds[path])
            hint = did_you_mean(variable, there) or f"it has {listed(list(there))}"
            problems.append(Finding("NIR604", "error", text, path, hint=hint))
        else:
            found.setdefault(path, set()).add(variable)
    if problems:
        raise UsageError(problems)
    return found


def node_types(module: ConvertedModule) -> list[tuple[str, str]]:
    """Path and NIR type of each node that has a value, those of nested graphs too."""
    return [(path, kind) for path, kind, _, _ in _nodes(module)]


def node_modules(module: ConvertedModule) -> list[tuple[str, str, torch.nn.Module | None]]:
    """Path, NIR type and module of each node that has a value; None for one that has no module."""
    return [(path, kind, owner._modules.get(name)) for path, kind, owner, name in _nodes(module)]


def node_shapes(module: ConvertedModule) -> dict[str, Shape | None]:
    """The shape of the value of each node that has one, by its path; None if it is not known."""
    return {path: owner.meta["shapes"][name][1] for path, _, owner, name in _nodes(module)}


def shown_paths(module: ConvertedModule) -> list[str]:
    """The paths of `node_types` in display order.

    That is the order of execution, except that nodes of equal depth whose names differ in numbers
    only are sorted by these.
    """
    paths = [path for path, *_ in _nodes(module)]
    depth = _depths(module)
    order = in_natural_order(paths, [depth.get(path, -1) for path in paths])
    return [paths[place] for place in order]


def inner_nodes(module: torch.nn.Module | None) -> dict[str, str]:
    """The nodes of a nested graph that its module says it is, by name, with their types."""
    return {str(name): str(kind) for name, kind in (getattr(module, NIR_NODES, None) or {}).items()}


def _nodes(module: ConvertedModule) -> list[tuple[str, str, ConvertedModule, str]]:
    """Path and type of each node that has a value, its graph's module, and its name there."""
    found: list[tuple[str, str, ConvertedModule, str]] = []

    def collect(module: ConvertedModule, prefix: str) -> None:
        children = module._modules  # named_children() leaves out the second node of a shared module
        for name, nir_name in module.meta["names"].items():
            path, child = prefix + nir_name, children.get(name)
            if isinstance(child, ConvertedModule):
                collect(child, f"{path}/")
            if child is not None or name in (*module.meta["inputs"], *module.meta["outputs"]):
                found.append((path, module.meta["types"][name], module, name))
            for inner, kind in inner_nodes(child).items():
                found.append((f"{path}/{inner}", kind, module, name))

    collect(module, "")
    return found


def _depths(module: ConvertedModule) -> dict[str, int]:
    """A number for each node's path; equal numbers mean equal depth in the same graph.

    The depth of a node is the length of the longest path to it within a step. The numbers
    themselves have no meaning.
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
    """The name of the module that a value comes from; a stateful one returns it first of two."""
    while node.op == "call_function" and node.all_input_nodes:
        node = node.all_input_nodes[0]
    return str(node.target)


def variables_of(kind: str | None) -> tuple[str, ...]:
    """The variables that can be recorded of a node of a NIR type."""
    of_spikes = ("spikes", "count") if is_spiking(kind) else ()
    return ("output", *of_spikes, *states_of(kind))


def node_variables(module: ConvertedModule) -> dict[str, tuple[str, ...]]:
    """The variables that the nodes of a module have by their NIR types, by their paths."""
    return {
        path: child.variables if isinstance(child, Hidden) else variables_of(kind)
        for path, kind, child in node_modules(module)
    }


def known_variables() -> tuple[str, ...]:
    """The variables that can be recorded of any type: outputs, then the states of all types."""
    states = (name for entry in known_primitives() for name in entry.states)
    return (*OF_OUTPUTS, *dict.fromkeys(states))


def _has(module: torch.nn.Module | None, kind: str, variable: str) -> bool:
    """Whether a node may have a variable; the state of a mapped module is known only in a run."""
    if variable in _known(module, kind):
        return True
    if module is None or variable in OF_OUTPUTS:
        return False
    if isinstance(module, (Neuron, ConvertedModule, Hidden)):
        return False
    return is_stateful(module)


def _known(module: torch.nn.Module | None, kind: str) -> tuple[str, ...]:
    """The variables of a type, and those that a `Neuron` says it has, of whatever node it is.

    Of a node inside of a program only its state is there.
    """
    if isinstance(module, Hidden):
        return module.variables
    of_type = variables_of(kind)
    own = module.states if isinstance(module, Neuron) else ()
    return (*of_type, *(name for name in own if name not in of_type))


def _a(kind: str) -> str:
    """A type with its article: a Linear, an AdLIF."""
    return f"{'an' if kind[:1] in 'AEIOU' else 'a'} {kind}"


def own_names(module: torch.nn.Module, variables: Collection[str]) -> dict[str, str]:
    """The module's own names of variables of its state, by NIR's names."""
    said = getattr(module, NIR_STATES, None) or {}
    own = {str(nir_name): str(name) for name, nir_name in dict(said).items()}
    return {name: own.get(name, name) for name in sorted(variables)}


def held(state: Any, name: str) -> Tensor | None:
    """A tensor of a state: an entry of a dict, an attribute, or an item of a tuple by its index.

    If the state is itself a tensor, its name is `state`.
    """
    if isinstance(state, Mapping):
        value = state.get(name)
    elif isinstance(state, (tuple, list)) and name.isdecimal():
        value = state[int(name)] if int(name) < len(state) else None
    elif isinstance(state, Tensor):
        value = state if name == "state" else None
    else:
        value = getattr(state, name, None)
    return value if isinstance(value, Tensor) else None


def held_names(state: Any) -> list[str]:
    """The names of the tensors in a state."""
    if isinstance(state, Mapping):
        names = [str(name) for name in state]
    elif isinstance(state, (tuple, list)):
        names = [*getattr(state, "_fields", map(str, range(len(state))))]
    else:
        names = ["state"] if isinstance(state, Tensor) else [*getattr(state, "__dict__", ())]
    return [name for name in names if held(state, name) is not None]


def _matching(
    path: str,
    variable: str,
    request: str,
    kinds: dict[str, str],
    modules: Mapping[str, torch.nn.Module | None],
) -> Iterator[tuple[str, str]]:
    """The matching nodes that have the variable, each with the variable that is meant."""
    for node in _fitting(path, kinds):
        name = variable if path != request else _split(node, kinds)[1]
        if name in _known(modules.get(node), kinds[node]):
            yield node, name


def _fitting(path: str, kinds: dict[str, str]) -> list[str]:
    """The nodes that match a pattern; none if it is the name of a node, or not a pattern."""
    if path in kinds or not any(character in path for character in "*?["):
        return []
    return [node for node in kinds if fnmatch.fnmatchcase(node, path)]


def _hint(request: str, kinds: dict[str, str]) -> str:
    """The hint for a request of a node that does not exist."""
    path = request.rpartition(":")[0]
    near = did_you_mean(path or request, kinds) or did_you_mean(request, kinds)
    return near or f"the nodes are {listed(sorted(kinds), most=5)}"


def _split(request: str, kinds: dict[str, str]) -> tuple[str, str]:
    """A request's node and variable; a name may have colons of its own."""
    path, colon, variable = request.rpartition(":")
    is_node = path in kinds or bool(_fitting(path, kinds))
    if request in kinds or not colon or not (is_node or variable in known_variables()):
        return request, "spikes" if is_spiking(kinds.get(request)) else "output"
    return path, variable


def spiking_paths(module: ConvertedModule) -> list[str]:
    """The paths of the nodes whose output is spikes, those of nested graphs too."""
    return [path for path, kind in node_types(module) if is_spiking(kind)]


def thresholds(module: ConvertedModule) -> dict[str, Tensor]:
    """The `v_threshold` of each spiking node whose module has one; pictures show it."""
    found = {}
    for path, kind, child in node_modules(module):
        threshold = getattr(child, "v_threshold", None)
        if is_spiking(kind) and isinstance(threshold, Tensor):
            found[path] = threshold.detach()
    return {path: threshold for path, threshold in found.items() if not threshold.is_meta}
