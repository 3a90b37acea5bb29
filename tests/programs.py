"""What exported programs are tested on: every primitive, convention, structure and two packs.

In: a name. Out: a converted module, in evaluation mode. What a program computes is compared with
what its module does, step by step from rest, by `assert_follows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import nir
import numpy as np
import torch
from conftest import DATA
from equations import (
    BETA,
    ONE,
    TAU_MEM,
    THRESHOLD,
    graph_of,
    looped,
    pack,
    sinabs_lif,
    snntorch_cuba,
    snntorch_lif,
)
from networks import DT, NETWORKS, cuba_lif, ends, flat, inputs, lif, module_of, weights

from nirtorch_cli.conversion.defaults import default_map
from nirtorch_cli.conversion.maps import MapOptions, load_map

STEPS = 100

RULES: dict[str, dict[str, Any]] = {
    "euler": {},
    "exact": {"integration": "exact"},
    "subtract": {"reset": "subtract"},
    "none": {"reset": "none"},
    "delayed": {"reset_delay": True},
    "delayed_subtract": {"reset": "subtract", "reset_delay": True, "integration": "exact"},
    "reached": {"fire_at": "reached"},
    "current": {"integrator_input": "current"},
}


def in_a_row(taken: tuple[int, ...], given: tuple[int, ...], **nodes: nir.NIRNode) -> nir.NIRGraph:
    names = ["input", *nodes, "output"]
    return nir.NIRGraph({**ends(taken, given), **nodes}, list(pairwise(names)), type_check=False)


def neurons() -> nir.NIRGraph:
    """Every neuron, each with constants of its own, and a Delay that differs by element."""
    cuba_li = nir.CubaLI(
        tau_syn=np.linspace(2e-3, 4e-3, 4),
        tau_mem=np.linspace(3e-3, 5e-3, 4),
        r=np.full(4, 2.0),
        v_leak=np.linspace(-0.1, 0.2, 4),
        w_in=np.linspace(1.0, 2.0, 4),
    )
    li = nir.LI(np.linspace(2e-3, 4e-3, 4), np.full(4, 1.5), np.linspace(-0.2, 0.3, 4))
    return in_a_row(
        (3,),
        (4,),
        affine=nir.Affine(2 * weights(4, 3), weights(4, seed=2)),
        cuba=cuba_lif(4),
        to_lif=nir.Linear(2 * weights(4, 4, seed=3)),
        lif=lif(4),
        to_if=nir.Linear(weights(4, 4, seed=5)),
        **{"if": nir.IF(np.ones(4), np.linspace(0.4, 0.9, 4), np.linspace(-0.2, 0.1, 4))},
        wait=nir.Delay(np.array([0, 1, 3, 2]) * DT),
        integral=nir.I(np.full(4, 0.3)),
        cuba_li=cuba_li,
        li=li,
    )


def layers() -> nir.NIRGraph:
    """Every node without a state."""
    return in_a_row(
        (2, 9, 12),
        (6,),
        conv=nir.Conv2d(None, weights(3, 2, 3, 3), 1, 1, 1, 1, weights(3)),
        threshold=nir.Threshold(np.linspace(-0.2, 0.4, 3).reshape(3, 1, 1)),
        sums=nir.SumPool2d(np.array([2, 3]), np.array([1, 2]), np.array([1, 0])),
        tiles=nir.SumPool2d(np.array([2, 1]), np.array([2, 1]), np.array([0, 0])),
        means=nir.AvgPool2d(np.array([2, 2]), np.array([1, 1]), np.array([1, 1])),
        scale=nir.Scale(weights(3, 1, 1)),
        flat=nir.Flatten(np.array([3, 6, 6]), 1, -1),
        along=nir.Conv1d(None, weights(2, 3, 4), 3, 2, 1, 1, weights(2)),
        all=nir.Flatten(np.array([2, 13]), 0, -1),
        linear=nir.Linear(weights(5, 26)),
        affine=nir.Affine(weights(6, 5), weights(6, seed=3)),
    )


def packed(name: str, graph: nir.NIRGraph, **options: Any) -> Any:
    return module_of(graph, pack(name)(**options), default_map("auto"))


def cases() -> Iterator[tuple[str, Callable[[], Any]]]:
    for name, network in NETWORKS.items():
        yield name, lambda network=network: module_of(network(), {}, default_map(dt=DT))
    yield "layers", lambda: module_of(layers(), {}, default_map(dt=DT))
    for name, rules in RULES.items():
        yield (
            f"neurons {name}",
            lambda rules=rules: module_of(neurons(), {}, default_map(dt=DT, **rules)),
        )
    for name in ("digits", "digits_conv", "digits_recurrent"):
        yield name, lambda name=name: module_of(DATA / f"{name}.nir", {})
        yield (
            f"{name} snntorch",
            lambda name=name: module_of(
                DATA / f"{name}.nir",
                load_map("snntorch", MapOptions(dt=1e-4)),
                default_map(dt=1e-4),
            ),
        )
    recurrent = looped(snntorch_lif(BETA, THRESHOLD), nir.Linear(weights(len(BETA), len(BETA))))
    yield "snntorch loop", lambda: packed("snntorch", recurrent)
    cuba = graph_of(snntorch_cuba(BETA, BETA / 2, THRESHOLD))
    yield "snntorch cuba", lambda: packed("snntorch", cuba, reset="zero")
    leaky = graph_of(sinabs_lif(TAU_MEM, THRESHOLD))
    yield "sinabs", lambda: packed("sinabs", leaky)
    yield "sinabs single", lambda: packed("sinabs", leaky, spikes="single")
    integrate = graph_of(nir.IF(r=ONE, v_threshold=THRESHOLD))
    yield "sinabs iaf", lambda: packed("sinabs", integrate)


MODULES = dict(cases())


def module(name: str) -> Any:
    return MODULES[name]().eval()


def assert_follows(program: Any, original: Any, batch: int, atol: float = 0.0) -> float:
    """A program gives the outputs of a module over all steps from rest; the share of its spikes.

    atol: by how much numbers may differ; spikes may not. The state of the program is its own.
    """
    mine = theirs = None
    spikes = []
    with torch.no_grad():
        for arguments in inputs(original, STEPS, batch):
            wanted, mine = original(*arguments, state=mine)
            given, theirs = program(*arguments, state=theirs)
            wanted, given = flat(wanted), flat(given)
            assert list(given) == list(wanted)
            for path, value in wanted.items():
                assert given[path].shape == value.shape
                assert given[path].dtype == value.dtype
                torch.testing.assert_close(given[path], value, rtol=atol, atol=atol)
                spikes.append((value != 0).float().mean())
    return float(torch.stack(spikes).mean())
