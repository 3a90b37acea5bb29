"""Compares two given modules: the entry point for users of the library.

In: two converted modules and an input. Out: a `Comparison`. Always holds: the modules are not
changed, since copies are run. Cost: two copies and two runs; see `capture`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from nirtorch_cli.comparison.capture import fitting, recorded
from nirtorch_cli.comparison.comparison import DEFAULT_ATOL, Comparison, check_tolerances
from nirtorch_cli.comparison.expected import (
    compared_variables,
    expected_of,
    hidden_variables,
    spiking_in,
)
from nirtorch_cli.comparison.grid import common_grid
from nirtorch_cli.comparison.loading import same_inputs
from nirtorch_cli.comparison.nodes import compare
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.conversion.model import evaluating, is_whole
from nirtorch_cli.conversion.state import State
from nirtorch_cli.findings.errors import NirtorchError, UsageError
from nirtorch_cli.findings.text import listed
from nirtorch_cli.findings.tracebacks import is_interrupt, reason
from nirtorch_cli.running.finite import tensors


def compare_modules(
    a: torch.nn.Module,
    b: torch.nn.Module,
    inputs: Tensor | Mapping[str, Tensor],
    *,
    states: tuple[State | None, State | None] = (None, None),
    variables: Iterable[str] | None = None,
    atol: float = DEFAULT_ATOL,
    max_spike_shift: int = 0,
    tau: float | None = None,
    names: tuple[str, str] = ("A", "B"),
) -> Comparison:
    """Run two modules of one graph on the same input, and compare them node by node.

    Copies of both run in evaluation mode and without gradients, so the modules, their state and
    their mode stay unchanged. If one has a shorter dt than the other, the input is constant over
    each of the longer steps, spikes are counted over these, and v and i are compared at their ends.

    Arguments:
        a, b: what `nir_to_torch` returned for the same graph, with any maps, dt and dtype.
        inputs: (T, B, *shape) with the T steps of the longer dt, or for several Inputs a dict
            of such by the Input's name. Each module gets it in its own dtype and device.
        states: the initial state of each; None for the resting state.
        variables: which of spikes, v, i and output (and the states of registered types) are
            compared of each node that has them; None for all.
        atol: the largest |difference| of v, i and outputs that counts as equal.
        max_spike_shift: how many steps apart two spikes may be to match.
        tau: of the distance of van Rossum, in the unit of dt; None for ten steps.
        names: the names of the two in the comparison.

    Raises:
        UsageError: the modules are not of one graph, neither dt is a whole multiple of the other,
        an input does not fit, or a setting makes no sense. StateError: a state is another module's,
        or of another batch. NirtorchError: a module raised when it was run, or cannot be copied.

    Example:
        >>> euler, exact = (
        ...     nir_to_torch("model.nir", {}, default_map(1e-4, integration=name))
        ...     for name in ("euler", "exact")
        ... )
        >>> found = compare_modules(euler, exact, torch.rand(100, 1, 12), atol=1e-3)
        >>> found.passes(), found.first_parting.node
        (False, 'lif')
        >>> [finding.line() for finding in found.failures(atol=0.1, max_spike_shift=1)]
        []
    """
    check_tolerances(atol, max_spike_shift)
    known = compared_variables()
    chosen = known if variables is None else tuple(variables)
    wrong = [name for name in chosen if name not in known]
    if wrong or not chosen:
        text = f"variables has {listed(wrong)}" if wrong else "variables has nothing in it"
        raise UsageError(f"{text}: it takes any of {listed(list(known))}")
    one, other = copied(a, names[0]), copied(b, names[1])
    same_inputs(one, other)
    named = _fitting_graph(one, inputs)
    grid = common_grid(float(one.meta["dt"]), float(other.meta["dt"]))
    expected = expected_of((one, other), chosen, grid.a == grid.b)
    spiking = spiking_in((one, other))
    recordings = [
        recorded(
            name,
            module,
            fitting(module, named),
            expected,
            dt=grid.dt if repeats > 1 else float(module.meta["dt"]),
            repeats=repeats,
            spiking=spiking,
            state=state,
        )
        for name, module, repeats, state in zip(
            names, (one, other), (grid.a, grid.b), states, strict=True
        )
    ]
    return compare(
        *recordings,
        atol=atol,
        max_spike_shift=max_spike_shift,
        tau=tau,
        expected=expected,
        spiking=spiking,
        optional=hidden_variables(variables),
    )


def copied(module: torch.nn.Module, name: str) -> ConvertedModule:
    """A copy of a converted module, in evaluation mode.

    Raises:
        UsageError: it is not the module of a whole graph.
        NirtorchError: something in it cannot be copied.
    """
    if not is_whole(module):
        text = f"{name} is a {type(module).__name__}, which was not made from a NIR graph"
        raise UsageError(text)
    try:
        # torch does not copy a tensor with a gradient history, which a module may keep.
        parts = (vars(part) for part in module.modules())
        kept = {id(t): t.detach().clone() for part in parts for t in tensors(part) if not t.is_leaf}
        copy_of: ConvertedModule = copy.deepcopy(module, kept)
    except BaseException as error:  # a user's class raises whatever it likes
        if is_interrupt(error):
            raise
        text = f"{name} cannot be copied, and running it would change it: {reason(error)}"
        raise NirtorchError("NIR610", text) from error
    return evaluating(copy_of)


def _fitting_graph(
    module: ConvertedModule, inputs: Tensor | Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Inputs by NIR name, (T, B, *shape).

    Raises:
        UsageError: they are not those of the graph, or have other shapes.
    """
    arguments = {module.meta["names"].get(name, name): name for name in module.meta["inputs"]}
    named = {next(iter(arguments)): inputs} if isinstance(inputs, Tensor) else dict(inputs)
    if named.keys() != arguments.keys():
        raise UsageError(f"the inputs are {listed([*arguments])}, not {listed([*named])}")
    for name, values in named.items():
        shape = module.meta["shapes"][arguments[name]][1]
        fits = values.dim() > 1 if shape is None else values.shape[2:] == tuple(shape)
        if not fits or values.dim() < 2:
            axes = ", ".join(("T", "B", *("..." if shape is None else map(str, shape))))
            raise UsageError(f"the input {name!r} must be ({axes}), not {tuple(values.shape)}")
    if len({values.shape[:2] for values in named.values()}) > 1 or 0 in values.shape[:2]:
        sizes = listed([f"{name} {tuple(x.shape[:2])}" for name, x in named.items()])
        raise UsageError(f"inputs must have the same steps and batch rows, one at least: {sizes}")
    return named
