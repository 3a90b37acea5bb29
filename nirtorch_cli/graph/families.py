"""Which program wrote a file, where numbers, names and structure together tell it.

In: a graph and its traces. Out: the families whose exporter writes such files: one, several where
they write alike, or none. A family is ruled out by anything that its exporter never writes.

Source: the NIR exporters of snnTorch 1.0.0, Norse 1.1.0 and its head of 2026, sinabs 3.1.3,
SpikingJelly 2.0.0, Rockpool 3.1.0, Spyx 1.0.0, mlx-snn 0.5.0, lava-dl 0.6.0. Loads no torch. Cost:
linear in nodes and parameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import nir
import numpy as np

from nirtorch_cli.graph.traces import Trace, numbers_of
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.primitives.table import is_of_role


@dataclass(frozen=True)
class Family:
    """A family of files.

    name: of the framework. pack: the map that has its numbers. untold: what its files do not tell.
    present: the pack's spec with what the reference modules compute by default, if there is one.
    """

    name: str
    pack: str
    untold: str
    present: str | None = None


@dataclass(frozen=True)
class Evidence:
    """What of a graph tells its exporter.

    neurons: all, nested ones too. names: of all nodes but ports. inputs: of the Inputs. weights:
    the arrays of the layers. traces: by their name.
    """

    neurons: Sequence[nir.NIRNode]
    names: Sequence[str]
    inputs: Sequence[str]
    weights: Sequence[Array]
    traces: Mapping[str, Trace]

    def only(self, *kinds: type[nir.NIRNode]) -> bool:
        """Whether all neurons are of these types."""
        return all(isinstance(one, kinds) for one in self.neurons)

    def named(self, pattern: str) -> bool:
        """Whether the names of all nodes match."""
        return bool(self.names) and all(re.fullmatch(pattern, name) for name in self.names)

    def all_equal(self, parameter: str, value: float) -> bool:
        """Whether a parameter has one value in all neurons that have it."""
        held = [np.asarray(getattr(n, parameter)) for n in self.neurons if hasattr(n, parameter)]
        return all(one.dtype.kind in "fiu" and bool(np.all(one == value)) for one in held)

    def of(self, *kinds: type[nir.NIRNode]) -> bool:
        """Whether there is a neuron of these types."""
        return any(isinstance(one, kinds) for one in self.neurons)

    @property
    def is_plain(self) -> bool:
        """Whether r and w_in are 1 everywhere."""
        return self.all_equal("r", 1) and self.all_equal("w_in", 1)

    @property
    def is_double(self) -> bool:
        """Whether the parameters of all neurons are in double precision."""
        held = [value for one in self.neurons for value in vars(one).values()]
        return all(one.dtype == np.float64 for one in held if _is_floating(one))


def families(
    graph: nir.NIRNode, neurons: Sequence[nir.NIRNode], found: Sequence[Trace]
) -> list[Family]:
    """The families whose exporter writes such a graph."""
    if not neurons or not isinstance(graph, nir.NIRGraph):
        return []
    named = list(_named(graph))
    evidence = Evidence(
        neurons,
        [name for name, node in named if not is_of_role(node, "port")],
        [name for name, node in graph.nodes.items() if isinstance(node, nir.Input)],
        [node.weight for _, node in named if isinstance(getattr(node, "weight", None), np.ndarray)],
        {trace.name: trace for trace in found},
    )
    return [family for family, writes in FAMILIES.items() if writes(evidence)]


def _named(graph: nir.NIRGraph) -> Iterator[tuple[str, nir.NIRNode]]:
    waiting = [graph]
    while waiting:
        for name, node in waiting.pop().nodes.items():
            yield name, node
            if isinstance(node, nir.NIRGraph):
                waiting.append(node)


def _is_floating(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size > 0


_NUMBER = r"\d+(\.\w+)?"
_UNDERSCORED = r"_\d+(\.\w+)?|_?input\w*"
_LAYER = r"layer_\d+(\..*)?"
_ROCKPOOL = r"(.*_)?\d+_\w+Torch.*|\w+Torch"


def _is_of_names(evidence: Evidence) -> bool:
    """Whether nodes have names of attributes, or numbers, as nirtorch's tracer gives them."""
    return not any(evidence.named(one) for one in (_UNDERSCORED, _LAYER, _ROCKPOOL))


def _snntorch(evidence: Evidence) -> bool:
    """Its parameters are in single precision, but for those of recurrent neurons."""
    is_recurrent = any(name.endswith("w_rec") for name in evidence.names)
    told = evidence.traces.get("weight"), evidence.traces.get("synapse")
    dts = {trace.dt for trace in told if trace is not None}
    return (
        _is_of_names(evidence)
        and evidence.only(nir.LIF, nir.CubaLIF)
        and dts == {1e-4}
        and (is_recurrent or not evidence.is_double)
        and (told[0] is not None or not evidence.of(nir.LIF))
        and (told[1] is not None or not evidence.of(nir.CubaLIF))
        and evidence.all_equal("v_leak", 0)
        and evidence.all_equal("v_reset", 0)
    )


def _are_plain(evidence: Evidence) -> bool:
    """Whether r of all IF is 1."""
    return all(np.all(np.asarray(n.r) == 1) for n in evidence.neurons if isinstance(n, nir.IF))


def _mlx_snn(evidence: Evidence) -> bool:
    told = evidence.traces
    return (
        _is_of_names(evidence)
        and not evidence.named(_NUMBER)
        and evidence.only(nir.LIF, nir.CubaLIF, nir.IF)
        and ("weight" in told or not evidence.of(nir.LIF))
        and ("membrane" in told or not evidence.of(nir.CubaLIF))
        and _are_plain(evidence)
        and not evidence.is_double
        and evidence.all_equal("v_leak", 0)
        and evidence.all_equal("v_reset", 0)
    )


def _is_single(weights: Sequence[Array]) -> bool:
    """Whether there are weights, all in single precision."""
    return bool(weights) and all(one.dtype == np.float32 for one in weights)


def _spikingjelly(evidence: Evidence) -> bool:
    """Its neurons are in double precision, its layers not; Inputs have the names of arguments."""
    told = evidence.traces
    lifs = numbers_of(evidence.neurons, nir.LIF)
    return (
        evidence.is_double
        and not any(evidence.named(one) for one in (_NUMBER, _LAYER, _ROCKPOOL))
        and evidence.only(nir.LIF, nir.CubaLIF, nir.IF)
        and ("synapse" in told or not evidence.of(nir.CubaLIF))
        and (
            not {"weight", "weight or 1"}.isdisjoint(told)
            or not evidence.of(nir.LIF)
            or (lifs is not None and bool(np.all(lifs.r == 1)))
        )
        and ("current" in told or _are_plain(evidence))
        and all(
            np.array_equal(np.broadcast_to(n.v_leak, np.shape(n.v_reset)), n.v_reset)
            for n in evidence.neurons
            if isinstance(n, nir.LIF)
        )
        and (
            ("input" not in evidence.inputs and _is_single(evidence.weights))
            or "input_1" in evidence.inputs
            or evidence.named(_UNDERSCORED)
            or not {"current", "weight", "weight or 1", "synapse"}.isdisjoint(told)
        )
    )


def _rockpool(evidence: Evidence) -> bool:
    return evidence.only(nir.LIF, nir.CubaLIF, nir.LI) and (
        "decayed weight" in evidence.traces
        or any(re.fullmatch(_ROCKPOOL, n) for n in evidence.names)
    )


def _spyx(evidence: Evidence) -> bool:
    if not evidence.only(nir.LIF, nir.CubaLIF, nir.IF, nir.LI):
        return False
    return "decay" in evidence.traces or (
        evidence.named(_LAYER) and evidence.only(nir.IF, nir.LI) and evidence.is_plain
    )


def _sinabs(evidence: Evidence) -> bool:
    told = evidence.traces
    return (
        _is_of_names(evidence)
        and evidence.only(nir.LIF, nir.IF, nir.LI)
        and evidence.is_plain
        and ("steps" in told or evidence.only(nir.IF))
        and not evidence.is_double
        and evidence.all_equal("v_leak", 0)
    )


def _norse(evidence: Evidence) -> bool:
    is_named = evidence.named(_NUMBER) or (
        evidence.named(_UNDERSCORED) and "input_tensor" in evidence.inputs
    )
    return (
        (is_named or "times dt" in evidence.traces)
        and evidence.only(nir.LIF, nir.CubaLIF, nir.IF, nir.LI)
        and evidence.is_plain
        and "steps" not in evidence.traces
        and not evidence.is_double
    )


def _lava(evidence: Evidence) -> bool:
    """lava-dl keeps decays as whole numbers of 1/4096."""
    trace = evidence.traces.get("synapse")
    numbers = numbers_of(evidence.neurons, nir.CubaLIF)
    if trace is None or numbers is None or not evidence.only(nir.CubaLIF) or not evidence.is_double:
        return False
    decays = np.concatenate([trace.dt / numbers.tau, trace.dt / numbers.tau_syn]) * 4096
    return bool(np.all(np.abs(decays - np.round(decays)) < 1e-3))


FAMILIES: Mapping[Family, Callable[[Evidence], bool]] = {
    Family(
        "snnTorch",
        "snntorch",
        "its default resets by subtraction, one step late; the file says reset to zero",
        "snntorch:reset=zero,delay=false",
    ): _snntorch,
    Family(
        "SpikingJelly",
        "spikingjelly",
        "it fires where v has reached the threshold, and starts at v_reset",
    ): _spikingjelly,
    Family(
        "mlx-snn",
        "mlx_snn",
        "its default resets by subtraction, and it fires where v has reached the threshold",
    ): _mlx_snn,
    Family(
        "sinabs",
        "sinabs",
        "its default gives several spikes a step and resets by subtraction, and its LIF decays by "
        "exp(-1/tau), with the input scaled or not; the file tells none of it",
    ): _sinabs,
    Family(
        "Norse",
        "norse",
        "whether it resets by subtraction, and in files of 1.1.0 to which v_reset; its LIFCell "
        "adds the whole input to the current",
    ): _norse,
    Family(
        "Rockpool",
        "rockpool",
        "it decays by exp(-dt/tau) after it took the input, gives several spikes a step and resets "
        "by subtraction; biases and recurrent weights of neurons are not in the file",
    ): _rockpool,
    Family(
        "Spyx",
        "spyx",
        "it fires by the voltage of the step before, resets by subtraction, and weighs the input "
        "by 1, where the file has r",
    ): _spyx,
    Family(
        "lava-dl",
        "lava",
        "it calculates in whole numbers, by default of 1/64",
    ): _lava,
}
"""Every family, and whether its exporter may have written a graph."""
