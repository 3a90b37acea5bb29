"""How many steps a module must be run for, so that all of it has been used.

In: a converted module. Out: a number of steps. A value goes through a Delay in as many steps as
that waits, and along a delayed edge in one; so it is known when the first input has come to
every node, and once around every loop. Cost: linear in nodes and edges.
"""

from __future__ import annotations

from torch.fx import Node

from nirtorch_cli.conversion import state
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.running.engine.stages import stages_of


def steps_used(module: ConvertedModule) -> int:
    """The steps after which every delay has given what it was first fed, and every loop too."""
    form = stages_of(module.graph)
    if form is None:
        return 1
    carried = {key: node for key, node in form.carried.items() if node is not None}
    first = _arrivals(module, {})
    around = {key: first.get(node, 0) + 1 for key, node in carried.items()}
    return max((*first.values(), *_arrivals(module, around).values())) + 1


def _arrivals(module: ConvertedModule, earlier: dict[str, int]) -> dict[Node, int]:
    """The step at which the first input comes to each call.

    earlier: for the values of delayed edges, by their key in the state, when they have it.
    """
    delays = module.meta.get("delays", {})
    found: dict[Node, int] = {}
    for node in module.graph.nodes:
        arrival = max((found[source] for source in node.all_input_nodes), default=0)
        if node.target is state.previous_output:
            arrival = max(arrival, earlier.get(str(node.args[1]), 0))
        elif node.op == "call_module":
            child = module.get_submodule(str(node.target))
            inside = steps_used(child) - 1 if isinstance(child, ConvertedModule) else 0
            arrival += max(inside, delays.get(node.target, 0))
        found[node] = arrival
    return found
