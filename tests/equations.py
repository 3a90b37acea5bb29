"""What the neurons of frameworks compute, in NumPy: oracles for the packs by equations.

An oracle is one step of a framework's neuron, in float64, written from the framework's source and
not from the pack. A `Case` is a graph as the framework's exporter writes it, with an oracle.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import nir
import numpy as np
import torch
from networks import module_of

from nirtorch_cli import default_map

N = 5
STEPS = 40
BATCH = (2, 3)

Arrays = dict[str, np.ndarray]
Step = Callable[..., tuple[np.ndarray, Arrays]]
"""Of an input and the variables before it, by name: the output, and the variables after it.

Among these may be `u`, which was compared with the threshold, over the threshold.
"""


def pack(name: str) -> Any:
    return import_module(f"nirtorch_mappings.{name}").PACK


def drawn(low: float, high: float, seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape or (N,))


def above(u: np.ndarray, threshold: Any) -> np.ndarray:
    """H(u - threshold), H(0) = 0."""
    return (u > threshold).astype(np.float64)


def reached(u: np.ndarray, threshold: Any) -> np.ndarray:
    """H(u - threshold), H(0) = 1."""
    return (u >= threshold).astype(np.float64)


@dataclass(frozen=True)
class Case:
    """A graph for a pack, and what its node `n` has to compute.

    first: the variables before the first step. drive: mean and width of the inputs. dt: the length
    of a step; None where the pack tells it from the graph.
    """

    pack: str
    graph: nir.NIRGraph
    step: Step
    first: Arrays
    options: dict[str, Any] = field(default_factory=dict)
    drive: tuple[float, float] = (0.4, 0.6)
    dt: float | None = None

    @property
    def module(self) -> Any:
        return self.converted(torch.float64)

    def converted(self, dtype: torch.dtype) -> Any:
        defaults = default_map(self.dt or "auto")
        return module_of(self.graph, pack(self.pack)(**self.options), defaults, dtype=dtype)

    def inputs(self, seed: int = 0) -> np.ndarray:
        """(STEPS, *BATCH, N)."""
        mean, width = self.drive
        return np.random.default_rng(seed).normal(mean, width, (STEPS, *BATCH, N))

    def run(self, x: np.ndarray) -> tuple[np.ndarray, list[Arrays]]:
        """The outputs of all steps, and the variables after each."""
        after = {k: np.broadcast_to(v, x.shape[1:]) for k, v in self.first.items()}
        outputs, states = [], []
        for one in x:
            before = {name: value for name, value in after.items() if name != "u"}
            output, after = self.step(one, **before)
            outputs.append(output)
            states.append(after)
        return np.stack(outputs), states


def graph_of(*nodes: nir.NIRNode, **others: nir.NIRNode) -> nir.NIRGraph:
    """`n`, and others behind it: a row of nodes between ports."""
    named = dict(zip(("n", "m"), nodes), **others)
    names = ["input", *named, "output"]
    ports = {"input": nir.Input(np.array([N])), "output": nir.Output(np.array([N]))}
    return nir.NIRGraph({**ports, **named}, list(itertools.pairwise(names)), type_check=False)


def looped(node: nir.NIRNode, weights: nir.NIRNode) -> nir.NIRGraph:
    """`n`, and recurrent weights around it, as snnTorch writes them."""
    graph = graph_of(node)
    nodes = {**graph.nodes, "w_rec": weights}
    edges = [*graph.edges, ("n", "w_rec"), ("w_rec", "n")]
    return nir.NIRGraph(nodes, edges, type_check=False)


ZERO, ONE = np.zeros(N), np.ones(N)
W = np.random.default_rng(8).normal(0, 0.4, (N, N))
B = drawn(-0.1, 0.2, 9)
THRESHOLD = drawn(0.5, 1.2, 1)

# ------------------------------------------------------------------------------------ snnTorch

SNNTORCH_DT = 1e-4
BETA, ALPHA = drawn(0.5, 0.95, 2), drawn(0.3, 0.8, 3)


def snntorch_lif(beta: Any = BETA, threshold: Any = THRESHOLD, dt: float = SNNTORCH_DT) -> nir.LIF:
    tau = dt / (1 - np.asarray(beta))
    return nir.LIF(tau=tau, r=tau / dt, v_leak=ZERO, v_threshold=threshold, v_reset=ZERO)


def snntorch_cuba(
    beta: Any = BETA, alpha: Any = ALPHA, threshold: Any = THRESHOLD, dt: float = SNNTORCH_DT
) -> nir.CubaLIF:
    tau, tau_syn = dt / (1 - np.asarray(beta)), dt / (1 - np.asarray(alpha))
    return nir.CubaLIF(
        tau_mem=tau,
        tau_syn=tau_syn,
        r=tau / dt,
        v_leak=ZERO,
        v_threshold=threshold,
        v_reset=ZERO,
        w_in=tau_syn / dt,
    )


def snntorch_fires(
    v: np.ndarray, fired: np.ndarray, threshold: Any, reset: str, delay: bool, graded: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Output, membrane, and what was compared with the threshold."""
    u, z = v, above(v, threshold) * graded
    if not delay:
        again = z / graded - fired
        v = v - again * {"subtract": threshold, "zero": v, "none": 0}[reset]
    return z, v, u / threshold


def snntorch_leaky(
    beta: Any, threshold: Any, reset: str, delay: bool, graded: float, recurrent: bool
) -> Step:
    def step(x: np.ndarray, v: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, Arrays]:
        fired = above(v, threshold)
        if recurrent:
            x = x + z @ W.T + B
        if reset == "subtract":
            v = beta * v + x - fired * threshold
        elif reset == "none":
            v = beta * v + x
        else:
            v = (1 - fired) * (beta * v + x) if recurrent else beta * (1 - fired) * v + x
        z, v, u = snntorch_fires(v, fired, threshold, reset, delay, graded)
        return z, {"v": v, "z": z, "u": u}

    return step


def snntorch_synaptic(
    beta: Any, alpha: Any, threshold: Any, reset: str, delay: bool, graded: float, recurrent: bool
) -> Step:
    def step(
        x: np.ndarray, i: np.ndarray, v: np.ndarray, z: np.ndarray
    ) -> tuple[np.ndarray, Arrays]:
        fired = above(v, threshold)
        if recurrent:
            x = x + z @ W.T + B
        i = alpha * i + x
        v = beta * v + i
        if reset == "subtract":
            v = v - fired * threshold
        elif reset == "zero":
            v = v - fired * v
        z, v, u = snntorch_fires(v, fired, threshold, reset, delay, graded)
        return z, {"i": i, "v": v, "z": z, "u": u}

    return step


def snntorch_cases() -> Iterator[tuple[str, Case]]:
    weights = nir.Affine(W, B)
    for reset in ("subtract", "zero", "none"):
        for delay in (True, False):
            for graded in (1.0, 2.5):
                options = {"reset": reset, "delay": delay, "graded": graded}
                name = f"{reset} {'delay' if delay else 'now'} {graded:g}"
                how = (reset, delay, graded)
                first = {"v": ZERO, "z": ZERO}
                step = snntorch_leaky(BETA, THRESHOLD, *how, False)
                yield (
                    f"Leaky {name}",
                    Case("snntorch", graph_of(snntorch_lif()), step, first, options),
                )
                step = snntorch_leaky(BETA, THRESHOLD, *how, True)
                graph = looped(snntorch_lif(), weights)
                yield f"RLeaky {name}", Case("snntorch", graph, step, first, options)
                first = {"i": ZERO, **first}
                drive = (0.2, 0.4)
                step = snntorch_synaptic(BETA, ALPHA, THRESHOLD, *how, False)
                graph = graph_of(snntorch_cuba())
                yield f"Synaptic {name}", Case("snntorch", graph, step, first, options, drive)
                if delay:  # RSynaptic(reset_delay=False) crashes
                    step = snntorch_synaptic(BETA, ALPHA, THRESHOLD, *how, True)
                    graph = looped(snntorch_cuba(), weights)
                    yield f"RSynaptic {name}", Case("snntorch", graph, step, first, options, drive)


# --------------------------------------------------------------------------------------- Norse

NORSE_DT = 1e-6
"""Norse 1.1.0 writes 1e-3 tau, for its dt of 1e-3."""

RATE, RATE_SYN = drawn(0.1, 0.4, 4), drawn(0.2, 0.5, 5)
V_LEAK, V_RESET = drawn(-0.2, 0.2, 6), drawn(-0.5, 0.1, 7)


def norse_lif(rate: Any = RATE, v_reset: Any = V_RESET, **others: Any) -> nir.LIF:
    parameters = {"r": ONE, "v_leak": V_LEAK, "v_threshold": THRESHOLD, **others}
    return nir.LIF(tau=NORSE_DT / np.asarray(rate), v_reset=v_reset, **parameters)


def norse_cuba(rate: Any = RATE, rate_syn: Any = RATE_SYN, **others: Any) -> nir.CubaLIF:
    parameters = {"v_leak": V_LEAK, "v_threshold": THRESHOLD, "v_reset": V_RESET, **others}
    tau, tau_syn = NORSE_DT / np.asarray(rate), NORSE_DT / np.asarray(rate_syn)
    return nir.CubaLIF(tau_mem=tau, tau_syn=tau_syn, r=ONE, w_in=ONE, **parameters)


def norse_reset(v: np.ndarray, threshold: Any, v_reset: Any) -> tuple[np.ndarray, Arrays]:
    z = above(v, threshold)
    after = v - z * threshold if v_reset is None else np.where(z > 0, v_reset, v)
    return z, {"v": after, "u": v / threshold}


def norse_lif_box(rate: Any, v_leak: Any, threshold: Any, v_reset: Any) -> Step:
    """v_reset: None for reset_subtract."""

    def step(x: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, Arrays]:
        return norse_reset(v + rate * (x + v_leak - v), threshold, v_reset)

    return step


def norse_lif_cell(rate: Any, rate_syn: Any, v_leak: Any, threshold: Any, v_reset: Any) -> Step:
    def step(x: np.ndarray, i: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, Arrays]:
        i = i + x
        v = v + rate * (v_leak - v + i)
        i = i - rate_syn * i
        z, after = norse_reset(v, threshold, v_reset)
        return z, {"i": i, **after}

    return step


def norse_iaf(threshold: Any, v_reset: Any) -> Step:
    def step(x: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, Arrays]:
        return norse_reset(v + x, threshold, v_reset)

    return step


def norse_li_box(rate: Any, v_leak: Any) -> Step:
    def step(x: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, Arrays]:
        v = v + rate * (v_leak - v + x)
        return v, {"v": v}

    return step


def norse_cases() -> Iterator[tuple[str, Case]]:
    drive = (1.5, 1.5)
    first = {"v": V_LEAK}
    for name, options, v_reset in (
        ("value", {}, V_RESET),
        ("v_reset", {"v_reset": -0.3}, np.full(N, -0.3)),
        ("subtract", {"reset": "subtract"}, None),
    ):
        step = norse_lif_box(RATE, V_LEAK, THRESHOLD, v_reset)
        yield f"LIFBox {name}", Case("norse", graph_of(norse_lif()), step, first, options, drive)
    for options, v_reset in (({}, V_RESET), ({"v_reset": -0.3}, np.full(N, -0.3))):
        name = "".join(options)
        cell = norse_lif_cell(RATE, RATE_SYN, V_LEAK, THRESHOLD, v_reset)
        given = {"i": ZERO, **first}
        yield f"LIFCell {name}", Case("norse", graph_of(norse_cuba()), cell, given, options)
        node = nir.IF(r=ONE, v_threshold=THRESHOLD, v_reset=V_RESET)
        iaf = norse_iaf(THRESHOLD, v_reset)
        yield f"IAF {name}", Case("norse", graph_of(node), iaf, {"v": v_reset}, options)
    li = nir.LI(tau=NORSE_DT / RATE, r=ONE, v_leak=V_LEAK)
    yield "LIBox", Case("norse", graph_of(li), norse_li_box(RATE, V_LEAK), first, {}, drive)


# -------------------------------------------------------------------------------------- sinabs

TAU = drawn(2, 9, 10)


def sinabs_lif(tau: Any = TAU, threshold: Any = THRESHOLD) -> nir.LIF:
    return nir.LIF(tau=tau, r=ONE, v_leak=ZERO, v_threshold=threshold, v_reset=ZERO)


def sinabs_neuron(
    tau: Any,
    threshold: Any,
    spikes: Any = "multi",
    reset: str = "subtract",
    norm_input: bool = True,
    tau_syn: float | None = None,
    min_v_mem: float | None = None,
) -> Step:
    """tau: None for an IAF. threshold: None for an ExpLeak."""

    def step(
        x: np.ndarray, v: np.ndarray, i: np.ndarray | None = None
    ) -> tuple[np.ndarray, Arrays]:
        after = {}
        if tau_syn is not None:
            assert i is not None
            x = np.exp(-1 / tau_syn) * (i + x)
            after["i"] = x
        if tau is None:
            v = v + x
        else:
            a = np.exp(-1 / tau)
            v = a * v + ((1 - a) * x if norm_input else x)
        if threshold is None:
            z = v
        elif spikes == "single":
            z = reached(v, threshold)
        else:
            z = (v > 0) * np.trunc(v / threshold)
            if spikes != "multi":
                z = np.minimum(z, spikes)
        if threshold is not None:
            after["u"] = v / threshold
            v = v - z * threshold if reset == "subtract" else v * (z == 0)
        if min_v_mem is not None:
            v = np.maximum(v, min_v_mem)
        return (v if threshold is None and min_v_mem is None else z), {"v": v, **after}

    return step


def sinabs_cases() -> Iterator[tuple[str, Case]]:
    integrator = nir.IF(r=ONE, v_threshold=THRESHOLD, v_reset=ZERO)
    leak = nir.LI(tau=TAU, r=ONE, v_leak=ZERO)
    for spikes in ("multi", "single", 2):
        for reset in ("subtract", "zero"):
            how: dict[str, Any] = {"spikes": spikes, "reset": reset}
            name = f"{spikes} {reset}"
            for norm_input in (True, False):
                for tau_syn in (None, 4.0):
                    options = {**how, "norm_input": norm_input, "tau_syn": tau_syn}
                    drive = (1.5, 2.5) if norm_input else (0.5, 1.5)
                    yield (
                        f"LIF {name} {norm_input} {tau_syn}",
                        Case(
                            "sinabs",
                            graph_of(sinabs_lif()),
                            sinabs_neuron(TAU, THRESHOLD, **options),
                            {"v": ZERO} if tau_syn is None else {"v": ZERO, "i": ZERO},
                            {k: v for k, v in options.items() if v is not None},
                            drive,
                        ),
                    )
            for low in (None, -0.2):
                bound = {} if low is None else {"min_v_mem": low}
                step = sinabs_neuron(None, THRESHOLD, **how, min_v_mem=low)
                options = {**how, **bound}
                yield (
                    f"IAF {name} {low}",
                    Case("sinabs", graph_of(integrator), step, {"v": ZERO}, options, (0.2, 1.2)),
                )
    step = sinabs_neuron(TAU, THRESHOLD, min_v_mem=-0.1)
    options = {"min_v_mem": -0.1}
    yield (
        "LIF as it is, min_v_mem",
        Case("sinabs", graph_of(sinabs_lif()), step, {"v": ZERO}, options, (1.5, 3)),
    )
    for norm in (None, True, False):
        options = {} if norm is None else {"norm_input": norm}
        step = sinabs_neuron(TAU, None, norm_input=bool(norm))
        yield f"ExpLeak {norm}", Case("sinabs", graph_of(leak), step, {"v": ZERO}, options)
    step = sinabs_neuron(TAU, None, norm_input=False, tau_syn=4.0)
    first = {"v": ZERO, "i": ZERO}
    yield "ExpLeak tau_syn", Case("sinabs", graph_of(leak), step, first, {"tau_syn": 4.0})


# -------------------------------------------------------------------------------- SpikingJelly

JELLY_DT = 1e-4
STEPS_OF_TAU, STEPS_OF_TAU_SYN = drawn(2, 8, 11), drawn(2, 5, 12)


def jelly_if(v_reset: Any = V_RESET, threshold: Any = THRESHOLD) -> nir.IF:
    return nir.IF(r=ONE / JELLY_DT, v_threshold=threshold, v_reset=v_reset)


def jelly_lif(tau: Any, decay_input: bool, v_reset: Any, threshold: Any = THRESHOLD) -> nir.LIF:
    return nir.LIF(
        tau=tau * JELLY_DT,
        r=ONE if decay_input else tau,
        v_leak=v_reset,
        v_threshold=threshold,
        v_reset=v_reset,
    )


def jelly_cuba(tau: Any, tau_syn: Any, v_reset: Any, threshold: Any = THRESHOLD) -> nir.CubaLIF:
    return nir.CubaLIF(
        tau_mem=tau * JELLY_DT,
        tau_syn=tau_syn * JELLY_DT,
        r=tau,
        v_leak=ZERO,
        v_threshold=threshold,
        v_reset=v_reset,
        w_in=tau_syn,
    )


def jelly_fires(v: np.ndarray, threshold: Any, v_reset: Any) -> tuple[np.ndarray, Arrays]:
    z = reached(v, threshold)
    return z, {"v": (1 - z) * v + z * v_reset, "u": v / threshold}


def jelly_neuron(tau: Any, decay_input: bool, threshold: Any, v_reset: Any) -> Step:
    """tau: None for an IFNode."""

    def step(x: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, Arrays]:
        if tau is None:
            v = v + x
        elif decay_input:
            v = v + (x - (v - v_reset)) / tau
        else:
            v = v - (v - v_reset) / tau
            v = v + x
        return jelly_fires(v, threshold, v_reset)

    return step


def jelly_cubalif(tau: Any, tau_syn: Any, threshold: Any, v_reset: Any) -> Step:
    def step(x: np.ndarray, i: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, Arrays]:
        i = (1 - 1 / tau_syn) * i + x
        z, after = jelly_fires((1 - 1 / tau) * v + i, threshold, v_reset)
        return z, {"i": i, **after}

    return step


def jelly_cases() -> Iterator[tuple[str, Case]]:
    for name, v_reset in (("zero", ZERO), ("v_reset", V_RESET)):
        first = {"v": v_reset}
        step = jelly_neuron(None, False, THRESHOLD, v_reset)
        yield f"IFNode {name}", Case("spikingjelly", graph_of(jelly_if(v_reset)), step, first)
        for decay_input in (True, False):
            step = jelly_neuron(STEPS_OF_TAU, decay_input, THRESHOLD, v_reset)
            graph = graph_of(jelly_lif(STEPS_OF_TAU, decay_input, v_reset))
            drive = (2.0, 2.0) if decay_input else (0.4, 0.5)
            named = f"LIFNode {name} {decay_input}"
            yield named, Case("spikingjelly", graph, step, first, drive=drive)
        cuba = jelly_cubalif(STEPS_OF_TAU, STEPS_OF_TAU_SYN, THRESHOLD, v_reset)
        graph = graph_of(jelly_cuba(STEPS_OF_TAU, STEPS_OF_TAU_SYN, v_reset))
        given = {"i": ZERO, **first}
        yield f"CUBALIFNode {name}", Case("spikingjelly", graph, cuba, given, drive=(0.2, 0.4))


# ------------------------------------------------------------------------------------ Rockpool

ROCKPOOL_DT = 1e-3
TAU_MEM, TAU_SYN = drawn(3e-3, 2e-2, 13), drawn(2e-3, 1e-2, 14)


def rockpool_r(tau: Any) -> Any:
    return tau / ROCKPOOL_DT * np.exp(-ROCKPOOL_DT / tau)


def rockpool_lif(tau: Any = TAU_MEM, threshold: Any = THRESHOLD) -> nir.LIF:
    r = rockpool_r(tau)
    return nir.LIF(tau=tau, r=r, v_leak=ZERO, v_threshold=threshold, v_reset=ZERO)


def rockpool_cuba(
    tau: Any = TAU_MEM, tau_syn: Any = TAU_SYN, threshold: Any = THRESHOLD
) -> nir.CubaLIF:
    return nir.CubaLIF(
        tau_mem=tau,
        tau_syn=tau_syn,
        r=rockpool_r(tau),
        v_leak=ZERO,
        v_threshold=threshold,
        v_reset=ZERO,
        w_in=ONE,
    )


def rockpool_neuron(
    tau: Any, tau_syn: Any, threshold: Any, bias: Any = 0.0, w_rec: Any = None, most: int = 2**16
) -> Step:
    """tau_syn: None for a LIFNeuronTorch."""
    decay = np.exp(-ROCKPOOL_DT / tau)

    def step(
        x: np.ndarray, v: np.ndarray, z: np.ndarray, i: np.ndarray | None = None
    ) -> tuple[np.ndarray, Arrays]:
        after = {}
        if w_rec is not None:
            x = x + z @ w_rec
        if tau_syn is not None:
            assert i is not None
            x = (i + x) * np.exp(-ROCKPOOL_DT / tau_syn)
            after["i"] = x
        v = v * decay + x + bias
        z = np.minimum(most, (v >= threshold) * np.floor(v / threshold))
        return z, {"v": v - z * threshold, "z": z, "u": v / threshold, **after}

    return step


def rockpool_exp_syn(tau: Any) -> Step:
    def step(x: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, Arrays]:
        v = (v + x) * np.exp(-ROCKPOOL_DT / tau)
        return v, {"v": v}

    return step


def rockpool_cases() -> Iterator[tuple[str, Case]]:
    wide = (0.5, 1.5)
    first = {"v": ZERO, "z": ZERO}
    for bias in (None, B):
        for most in (None, 1, 2):
            options: dict[str, Any] = {} if most is None else {"max_spikes": most}
            options |= {} if bias is None else {"bias": bias}
            added, limit = 0.0 if bias is None else bias, most or 2**16
            name = f"{most} {'bias' if bias is not None else ''}".strip()
            step = rockpool_neuron(TAU_MEM, None, THRESHOLD, added, None, limit)
            graph = graph_of(rockpool_lif())
            yield f"LIFNeuron {name}", Case("rockpool", graph, step, first, options, wide)
            graph = graph_of(rockpool_cuba())
            given = {"i": ZERO, **first}
            for w_rec in (None, 0.2 * W):
                step = rockpool_neuron(TAU_MEM, TAU_SYN, THRESHOLD, added, w_rec, limit)
                held = options if w_rec is None else {**options, "w_rec": w_rec}
                named = f"LIF {name} {'w_rec' if w_rec is not None else ''}".strip()
                yield named, Case("rockpool", graph, step, given, held, wide)
    syn = nir.LI(tau=TAU_SYN, r=rockpool_r(TAU_SYN), v_leak=ZERO)
    ends = graph_of(rockpool_cuba(), syn)

    def both(
        x: np.ndarray, i: np.ndarray, v: np.ndarray, z: np.ndarray, s: np.ndarray
    ) -> tuple[np.ndarray, Arrays]:
        z, after = rockpool_neuron(TAU_MEM, TAU_SYN, THRESHOLD)(x, i=i, v=v, z=z)
        s, _ = rockpool_exp_syn(TAU_SYN)(z, s)
        return s, {**after, "s": s}

    given = {"i": ZERO, **first, "s": ZERO}
    yield "LIF, ExpSyn", Case("rockpool", ends, both, given, drive=wide)
    step = rockpool_exp_syn(TAU_SYN)
    yield "ExpSyn", Case("rockpool", graph_of(syn), step, {"v": ZERO}, dt=ROCKPOOL_DT)


# ---------------------------------------------------------------------------------------- Spyx


def spyx_lif(beta: Any = BETA, threshold: Any = THRESHOLD) -> nir.LIF:
    tau = 1 / (1 - np.asarray(beta))
    return nir.LIF(tau=tau, r=beta, v_leak=ZERO, v_threshold=threshold, v_reset=ZERO)


def spyx_if(threshold: Any = THRESHOLD) -> nir.IF:
    return nir.IF(r=ONE, v_threshold=threshold, v_reset=ZERO)


def spyx_cuba(beta: Any = BETA, alpha: Any = ALPHA, threshold: Any = THRESHOLD) -> nir.CubaLIF:
    return nir.CubaLIF(
        tau_mem=1 / (1 - np.asarray(beta)),
        tau_syn=1 / (1 - np.asarray(alpha)),
        r=beta,
        v_leak=ZERO,
        v_threshold=threshold,
        v_reset=ZERO,
        w_in=ONE,
    )


def spyx_neuron(beta: Any, threshold: Any, w_rec: Any = None) -> Step:
    def step(x: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, Arrays]:
        z, u = above(v, threshold), v / threshold
        if w_rec is not None:
            x = x + z @ w_rec.T
        v = beta * v + x - z * threshold
        return z, {"v": v, "u": u}

    return step


def spyx_cubalif(beta: Any, alpha: Any, threshold: Any, w_rec: Any = None) -> Step:
    def step(x: np.ndarray, i: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, Arrays]:
        z, u = above(v, threshold), v / threshold
        v = v - z * threshold
        if w_rec is not None:
            x = x + z @ w_rec.T
        i = alpha * i + x
        v = beta * v + i
        return z, {"i": i, "v": v, "u": u}

    return step


def spyx_nest(node: nir.NIRNode, weights: nir.NIRNode) -> nir.NIRGraph:
    """A recurrent layer, as Spyx writes it: the Input leads to the weights."""
    nodes = {
        "n.input": nir.Input(np.array([N])),
        "n.lif": node,
        "n.output": nir.Output(np.array([N])),
        "n.w_rec": weights,
    }
    edges = [
        ("n.input", "n.w_rec"),
        ("n.w_rec", "n.lif"),
        ("n.lif", "n.w_rec"),
        ("n.lif", "n.output"),
    ]
    return nir.NIRGraph(nodes, edges, type_check=False)


def spyx_cases() -> Iterator[tuple[str, Case]]:
    first, weights = {"v": ZERO}, nir.Linear(W)
    kinds: dict[str, tuple[nir.NIRNode, Any]] = {
        "IF": (spyx_if(), 1.0),
        "LIF": (spyx_lif(), BETA),
    }
    for name, (node, beta) in kinds.items():
        yield name, Case("spyx", graph_of(node), spyx_neuron(beta, THRESHOLD), first)
        graph = graph_of(spyx_nest(node, weights))
        yield f"R{name}", Case("spyx", graph, spyx_neuron(beta, THRESHOLD, W), first)
    drive, given = (0.2, 0.4), {"i": ZERO, **first}
    step = spyx_cubalif(BETA, ALPHA, THRESHOLD)
    yield "CuBaLIF", Case("spyx", graph_of(spyx_cuba()), step, given, drive=drive)
    step = spyx_cubalif(BETA, ALPHA, THRESHOLD, W)
    graph = graph_of(spyx_nest(spyx_cuba(), weights))
    yield "RCuBaLIF", Case("spyx", graph, step, given, drive=drive)

    def psu(x: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, Arrays]:
        v = BETA * v + x
        return above(v, THRESHOLD), {"v": v, "u": v / THRESHOLD}

    leak = nir.LI(tau=1 / (1 - BETA), r=BETA, v_leak=ZERO)
    yield "PSU_LIF", Case("spyx", graph_of(leak, nir.Threshold(THRESHOLD)), psu, first)
    clipped = np.linspace(-0.4, 0.9, N)  # a decay that training made negative
    step = spyx_neuron(np.clip(clipped, 0, 1), THRESHOLD)
    yield "LIF clipped", Case("spyx", graph_of(spyx_lif(clipped)), step, first)
    step = spyx_cubalif(np.clip(clipped, 0, 1), np.clip(clipped[::-1], 0, 1), THRESHOLD)
    graph = graph_of(spyx_cuba(clipped, clipped[::-1]))
    yield "CuBaLIF clipped", Case("spyx", graph, step, given, drive=drive)


# ------------------------------------------------------------------------------------- mlx-snn

MLX_DT = 1e-3


def mlx_cuba(beta: Any = BETA, alpha: Any = ALPHA, threshold: Any = THRESHOLD) -> nir.CubaLIF:
    tau = MLX_DT / (1 - np.asarray(beta))
    return nir.CubaLIF(
        tau_mem=tau,
        tau_syn=MLX_DT / (1 - np.asarray(alpha)),
        r=tau / MLX_DT,
        v_leak=ZERO,
        v_threshold=threshold,
        v_reset=ZERO,
        w_in=ONE,
    )


def mlx_neuron(beta: Any, threshold: Any, reset: str, alpha: Any = None) -> Step:
    """alpha: None for a neuron without a synapse."""

    def step(
        x: np.ndarray, v: np.ndarray, i: np.ndarray | None = None
    ) -> tuple[np.ndarray, Arrays]:
        after = {}
        if alpha is not None:
            assert i is not None
            x = after["i"] = alpha * i + x
        v = beta * v + x
        z = reached(v, threshold)
        after |= {"v": v - z * threshold if reset == "subtract" else v * (1 - z)}
        return z, {**after, "u": v / threshold}

    return step


def mlx_cases() -> Iterator[tuple[str, Case]]:
    for reset in ("subtract", "zero"):
        options, first = {"reset": reset}, {"v": ZERO}
        graph = graph_of(snntorch_lif(dt=MLX_DT))
        step = mlx_neuron(BETA, THRESHOLD, reset)
        yield f"Leaky {reset}", Case("mlx_snn", graph, step, first, options)
        step = mlx_neuron(1.0, THRESHOLD, reset)
        yield f"IF {reset}", Case("mlx_snn", graph_of(spyx_if()), step, first, options)
        step = mlx_neuron(BETA, THRESHOLD, reset, ALPHA)
        given = {"i": ZERO, **first}
        graph = graph_of(mlx_cuba())
        yield f"Synaptic {reset}", Case("mlx_snn", graph, step, given, options, (0.2, 0.4))


def cases() -> Iterator[tuple[str, Case]]:
    for name, made in (
        ("snntorch", snntorch_cases),
        ("norse", norse_cases),
        ("sinabs", sinabs_cases),
        ("spikingjelly", jelly_cases),
        ("rockpool", rockpool_cases),
        ("spyx", spyx_cases),
        ("mlx_snn", mlx_cases),
    ):
        for kind, case in made():
            yield f"{name} {kind}".strip(), case


CASES = dict(cases())


# ----------------------------------------------------------------- numbers that reach a threshold

HALF, TWO = np.full(N, 0.5), np.full(N, 2.0)


def exact_cases() -> Iterator[tuple[str, Case]]:
    """Constants with which whole inputs give whole numbers of 1/2**k, and reach the threshold."""
    for reset in ("subtract", "zero", "none"):
        for delay in (True, False):
            how = (reset, delay, 1.0, False)
            options = {"reset": reset, "delay": delay}
            first = {"v": ZERO, "z": ZERO}
            step = snntorch_leaky(HALF, ONE, *how)
            graph = graph_of(snntorch_lif(HALF, ONE))
            yield f"snntorch Leaky {reset} {delay}", Case("snntorch", graph, step, first, options)
            step = snntorch_synaptic(HALF, HALF, ONE, *how)
            graph = graph_of(snntorch_cuba(HALF, HALF, ONE))
            given = {"i": ZERO, **first}
            named = f"snntorch Synaptic {reset} {delay}"
            yield named, Case("snntorch", graph, step, given, options)
    exact = {"v_leak": ZERO, "v_threshold": ONE, "v_reset": -HALF}
    for options, v_reset in (({}, -HALF), ({"reset": "subtract"}, None)):
        step = norse_lif_box(HALF, ZERO, ONE, v_reset)
        graph = graph_of(norse_lif(HALF, **exact))
        yield f"norse LIFBox {options}", Case("norse", graph, step, {"v": ZERO}, options)
    step = norse_lif_cell(HALF, HALF, ZERO, ONE, -HALF)
    graph, given = graph_of(norse_cuba(HALF, HALF, **exact)), {"i": ZERO, "v": ZERO}
    yield "norse LIFCell", Case("norse", graph, step, given)
    graph = graph_of(nir.IF(r=ONE, v_threshold=ONE, v_reset=-HALF))
    yield "norse IAF", Case("norse", graph, norse_iaf(ONE, -HALF), {"v": -HALF})
    for spikes in ("multi", "single", 2):
        for reset in ("subtract", "zero"):
            options = {"spikes": spikes, "reset": reset}
            graph = graph_of(nir.IF(r=ONE, v_threshold=ONE, v_reset=ZERO))
            step = sinabs_neuron(None, ONE, **options)
            yield f"sinabs IAF {spikes} {reset}", Case("sinabs", graph, step, {"v": ZERO}, options)
            options["norm_input"] = False
            step, graph = sinabs_neuron(TWO, ONE, **options), graph_of(sinabs_lif(TWO, ONE))
            yield f"sinabs LIF {spikes} {reset}", Case("sinabs", graph, step, {"v": ZERO}, options)
    graph = graph_of(jelly_if(-HALF, ONE))
    step = jelly_neuron(None, False, ONE, -HALF)
    yield "spikingjelly IFNode", Case("spikingjelly", graph, step, {"v": -HALF})
    for decay_input in (True, False):
        graph = graph_of(jelly_lif(TWO, decay_input, -HALF, ONE))
        step = jelly_neuron(TWO, decay_input, ONE, -HALF)
        first = {"v": -HALF}
        named = f"spikingjelly LIFNode {decay_input}"
        yield named, Case("spikingjelly", graph, step, first, dt=JELLY_DT)
    graph = graph_of(jelly_cuba(TWO, TWO, -HALF, ONE))
    step, given = jelly_cubalif(TWO, TWO, ONE, -HALF), {"i": ZERO, "v": -HALF}
    yield "spikingjelly CUBALIFNode", Case("spikingjelly", graph, step, given)
    first = {"v": ZERO, "z": ZERO}
    graph = graph_of(rockpool_lif(TAU_MEM, ONE))
    step = rockpool_neuron(TAU_MEM, None, ONE)
    yield "rockpool LIFNeuron", Case("rockpool", graph, step, first)
    threshold = np.exp(-ROCKPOOL_DT / TAU_SYN)  # what an input of 1 gives
    graph = graph_of(rockpool_cuba(threshold=threshold))
    step = rockpool_neuron(TAU_MEM, TAU_SYN, threshold)
    yield "rockpool LIF", Case("rockpool", graph, step, {"i": ZERO, **first})
    graph, step = graph_of(spyx_lif(HALF, ONE)), spyx_neuron(HALF, ONE)
    yield "spyx LIF", Case("spyx", graph, step, {"v": ZERO})
    graph, step = graph_of(spyx_cuba(HALF, HALF, ONE)), spyx_cubalif(HALF, HALF, ONE)
    yield "spyx CuBaLIF", Case("spyx", graph, step, {"i": ZERO, "v": ZERO})
    graph, step = graph_of(spyx_if(ONE)), spyx_neuron(1.0, ONE)
    yield "spyx IF", Case("spyx", graph, step, {"v": ZERO})
    for reset in ("subtract", "zero"):
        options = {"reset": reset}
        graph = graph_of(snntorch_lif(HALF, ONE, MLX_DT))
        step = mlx_neuron(HALF, ONE, reset)
        yield f"mlx_snn Leaky {reset}", Case("mlx_snn", graph, step, {"v": ZERO}, options)
        graph, step = graph_of(spyx_if(ONE)), mlx_neuron(1.0, ONE, reset)
        yield f"mlx_snn IF {reset}", Case("mlx_snn", graph, step, {"v": ZERO}, options)
        graph, step = graph_of(mlx_cuba(HALF, HALF, ONE)), mlx_neuron(HALF, ONE, reset, HALF)
        first = {"i": ZERO, "v": ZERO}
        yield f"mlx_snn Synaptic {reset}", Case("mlx_snn", graph, step, first, options)


EXACT = dict(exact_cases())


# ------------------------------------------------------------------------------------- lava-dl


def lava_node(du: np.ndarray, dv: np.ndarray, threshold: Any, dt: float = 1e-4) -> nir.CubaLIF:
    tau, tau_syn = 4096 * dt / dv, 4096 * dt / du
    return nir.CubaLIF(
        tau_mem=tau,
        tau_syn=tau_syn,
        r=tau / dt,
        v_leak=ZERO,
        v_threshold=threshold,
        v_reset=ZERO,
        w_in=tau_syn / dt,
    )
