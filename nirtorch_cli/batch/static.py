"""Judges a file that was read as far as that goes without torch: `check --static`.

In: a file and what its conversion would be asked for. Out: the findings that it would have by the
default map, and none of a run. Cost: linear in nodes, edges and parameters.
"""

from __future__ import annotations

from collections.abc import Iterator

import nir

from nirtorch_cli.conversion.options import Options
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.graph.checks.parameters import bytes_of, precision
from nirtorch_cli.graph.checks.time import of_a_step
from nirtorch_cli.graph.demand import demands, require_allowed
from nirtorch_cli.graph.inlining import inline
from nirtorch_cli.graph.origin import Origin, origin_of
from nirtorch_cli.graph.plan import plan_graph
from nirtorch_cli.graph.sound import required_sound
from nirtorch_cli.graph.time_step import TimeStep
from nirtorch_cli.graph.traces import neurons_of
from nirtorch_cli.primitives.dynamics import Dynamics
from nirtorch_cli.primitives.table import time_constants_of
from nirtorch_cli.reading.graphs import ModelFile
from nirtorch_cli.reading.limits import allowed_bytes


def examined(file: ModelFile, request: Options) -> list[Finding]:
    """What there is to say of a file.

    Raises:
        ConversionError: no module could be made of it, or none whose step is allowed.
    """
    examination = required_sound(
        file.graph,
        file.findings,
        repair=request.repair,
        is_known=lambda path, node: request.skip_unmapped,
    )
    graph = examination.graph
    origin = _origin(graph, request)
    step, integrator_input = origin.time_step, request.integrator_input
    if integrator_input == "auto":
        integrator_input = origin.integrator_input
    dynamics = Dynamics(
        **{**request.of_a_step, "dt": step.dt, "integrator_input": integrator_input}
    )
    asked = list(demands(graph, step.dt, bytes_of(request.dtype)))
    stored = sum(demand.parameters for demand in asked)
    require_allowed(asked, request.batch, allowed_bytes(file.max_bytes, stored))
    planned = _planned(graph, "", step, dynamics, request.dtype)
    return [*examination.findings, *origin.findings, *planned]


def _origin(graph: nir.NIRGraph, request: Options) -> Origin:
    """What wrote a file, with the findings that matter to reference modules with these options."""
    origin = origin_of(graph)
    if request.dt is not None:
        origin = origin.at(TimeStep(request.dt, "given by --dt"))
    if not any(map(time_constants_of, neurons_of(graph))):
        origin = origin.without("NIR406", "NIR409")
    if request.integrator_input != "auto":
        origin = origin.without("NIR408")
    if not Dynamics(**request.of_firing).fires_by_default:
        origin = origin.without("NIR804")
    return origin


def _planned(
    graph: nir.NIRGraph, path: str, step: TimeStep, dynamics: Dynamics, dtype: str
) -> Iterator[Finding]:
    """The findings about the order of a step, and about the nodes in it."""
    flat = inline(graph, lambda node: False)
    plan, ambiguous = plan_graph(flat, step.dt, path)
    yield from ambiguous
    for name in plan.order:
        node, where = flat.nodes[name], path + flat.origin[name]
        if isinstance(node, nir.NIRGraph):
            yield from _planned(node, f"{where}/", step, dynamics, dtype)
        else:
            yield from of_a_step({where: node}, step, dynamics, dtype)
            yield from precision({where: node}, dtype)
