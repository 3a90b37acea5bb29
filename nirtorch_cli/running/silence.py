"""Warns of a run in which no neuron fired, with the likely cause.

In: a converted module, how much its nodes fired, and over how many steps. Out: findings.
Cost: linear in the time constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import counted
from nirtorch_cli.primitives.table import primitive_named
from nirtorch_cli.running.activity import NodeActivity
from nirtorch_cli.running.recording import node_modules

_STEPS_IN_TAU = 1000
"""A time constant is seldom longer than this many dt; if it seems so, it may count steps."""


def silence(
    module: ConvertedModule, activities: Sequence[NodeActivity], steps: int
) -> list[Finding]:
    """NIR617 if there are spiking nodes and none of them fired; otherwise nothing."""
    neurons = sum(node.neurons for node in activities)
    if not steps or not neurons or any(node.spikes for node in activities):
        return []
    text = f"none of {counted(neurons, 'neuron')} fired in {counted(steps, 'step')}"
    return [Finding("NIR617", "warning", text, hint=_likely_cause(module, steps))]


def _likely_cause(module: ConvertedModule, steps: int) -> str:
    dt = float(module.meta["dt"])
    shortest = min(_time_constants(module), default=None)
    if module.meta.get("dt_is_guess"):
        return f"dt {dt:g} is a guess, which --dt replaces"
    if shortest is not None and shortest > _STEPS_IN_TAU * dt:
        return f"every time constant is at least {shortest / dt:,.0f} steps: --dt is in their unit"
    if shortest is not None and steps * dt < shortest:
        return f"that is {steps * dt:g}, less than the shortest time constant {shortest:g}: --steps"
    return "the input may be too weak for their thresholds"


def _time_constants(module: ConvertedModule) -> Iterator[float]:
    """The shortest time constant of each node whose module has them under NIR's names."""
    for _, kind, child in node_modules(module):
        known = primitive_named(kind)
        for name in known.time_constants if known is not None else ():
            tau = getattr(child, name, None)
            if isinstance(tau, torch.Tensor) and tau.numel() and not tau.is_meta:
                yield float(tau.min())
