"""Independent answers to what NIR nodes and small NIR graphs must compute, step by step.

In: a `nir` node or `nir.NIRGraph` and its inputs, an array (T, *batch, *node_shape) with any
number of batch axes, every row held constant for one step of length `dt`.
Out: the outputs (or neuron states) of all T steps, stacked along the first axis, in float64.

Nothing here may import torch or the package under test: these answers are only worth comparing
with because they were written apart from it. They are slow on purpose, so that each equation can
be read off the code. `assert_close` and `assert_same_spikes` do the comparing; both also refuse
NaN, infinity, any difference in shape, and comparisons of nothing at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import nir
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp  # type: ignore[import-untyped]

Array: TypeAlias = NDArray[np.float64]
Edge: TypeAlias = tuple[str, str]

INTEGRATORS = (nir.I, nir.IF)
LEAKY = (nir.LI, nir.LIF)
CURRENT_BASED = (nir.CubaLI, nir.CubaLIF)
FIRING = (nir.IF, nir.LIF, nir.CubaLIF)
NEURONS = (*INTEGRATORS, *LEAKY, *CURRENT_BASED)


@dataclass(frozen=True)
class StepRules:
    """How one step is taken: its length and the choices NIR leaves open."""

    dt: float = 1e-4
    integration: str = "euler"
    reset: str = "value"
    integrator_input: str = "charge"
    reset_delay: bool = False
    fire_at: str = "above"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.dt) and self.dt > 0):
            raise ValueError(f"dt must be finite and positive, not {self.dt!r}")
        _require_one_of("integration", self.integration, ("euler", "exact"))
        _require_one_of("reset", self.reset, ("value", "subtract", "none"))
        _require_one_of("fire_at", self.fire_at, ("above", "reached"))
        _require_one_of("integrator_input", self.integrator_input, ("charge", "current"))


def _require_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {allowed}, not {value!r}")


class Simulation(Protocol):
    """One node with its state; each call to `step` advances it by one step."""

    def step(self, x: Array) -> Array: ...


# ------------------------------------------------------------------------------------- neurons


def _parameters(node: nir.NIRNode, *names: str) -> list[Array]:
    return [np.asarray(getattr(node, name), dtype=np.float64) for name in names]


def _integrator_step(node: nir.NIRNode, v: Array, x: Array, rules: StepRules) -> Array:
    (r,) = _parameters(node, "r")
    if rules.integrator_input == "charge":
        return v + r * x
    return v + rules.dt * r * x


def _leaky_step(node: nir.NIRNode, v: Array, x: Array, rules: StepRules) -> Array:
    tau, r, v_leak = _parameters(node, "tau", "r", "v_leak")
    if rules.integration == "euler":
        return v + rules.dt / tau * (v_leak - v + r * x)
    u = v_leak + r * x
    return u + (v - u) * np.exp(-rules.dt / tau)


def _current_based_step(
    node: nir.NIRNode, v: Array, i: Array, x: Array, rules: StepRules
) -> tuple[Array, Array]:
    tau_syn, tau_mem, r, v_leak, w_in = _parameters(
        node, "tau_syn", "tau_mem", "r", "v_leak", "w_in"
    )
    dt = rules.dt
    if rules.integration == "euler":
        i = i + dt / tau_syn * (w_in * x - i)
        v = v + dt / tau_mem * (v_leak - v + r * i)
        return v, i
    j = w_in * x
    w = v_leak + r * j
    decay_mem = np.exp(-dt / tau_mem)
    k = _current_to_membrane(tau_syn, tau_mem, dt)
    v = w + (v - w) * decay_mem + r * (i - j) * k
    i = j + (i - j) * np.exp(-dt / tau_syn)
    return v, i


def _current_to_membrane(tau_syn: Array, tau_mem: Array, dt: float) -> Array:
    """Integral over the step of exp(-(dt-s)/tau_mem) * exp(-s/tau_syn) / tau_mem."""
    d = dt * (1 / tau_mem - 1 / tau_syn)
    decay_mem, decay_syn = np.exp(-dt / tau_mem), np.exp(-dt / tau_syn)
    near = np.abs(d) <= 1
    # decay_mem * expm1(d) equals decay_syn - decay_mem. The first form keeps its digits when the
    # two time constants are close, the second does not overflow when they are far apart.
    difference = np.where(near, decay_mem * np.expm1(np.where(near, d, 0)), decay_syn - decay_mem)
    equal = d == 0
    over_d = np.where(equal, decay_mem, difference / np.where(equal, 1, d))
    return np.asarray(dt / tau_mem * over_d, dtype=np.float64)


class NeuronSimulation:
    """A neuron with its membrane `v` and, for the current based ones, its current `i`."""

    def __init__(self, node: nir.NIRNode, rules: StepRules) -> None:
        if type(node) not in NEURONS:
            raise TypeError(f"not a neuron: {type(node).__name__}")
        self.node = node
        self.rules = rules
        self.state: dict[str, Array] | None = None

    def step(self, x: Array) -> Array:
        if self.state is None:
            self.state = initial_state(self.node, x.shape)
        if type(self.node) not in FIRING:
            self.state["v"] = self._subthreshold(self.state, x)
            return self.state["v"]
        v_threshold, v_reset = _parameters(self.node, "v_threshold", "v_reset")
        late = self._fires(self.state["v"]) & self.rules.reset_delay
        if self.rules.reset == "value":
            self.state["v"] = np.where(late, v_reset, self.state["v"])
        v = self._subthreshold(self.state, x)
        if self.rules.reset == "subtract":
            v = np.where(late, v - v_threshold, v)
        z = self._fires(v)
        to = {"value": v_reset + 0 * v, "subtract": v - v_threshold, "none": v}[self.rules.reset]
        self.state["v"] = v if self.rules.reset_delay else np.where(z, to, v)
        return z.astype(np.float64)

    def _fires(self, v: Array) -> Any:
        (v_threshold,) = _parameters(self.node, "v_threshold")
        return v >= v_threshold if self.rules.fire_at == "reached" else v > v_threshold

    def _subthreshold(self, state: dict[str, Array], x: Array) -> Array:
        """The membrane before any spike; the current, which no spike resets, is stored here."""
        if type(self.node) in CURRENT_BASED:
            v, state["i"] = _current_based_step(self.node, state["v"], state["i"], x, self.rules)
            return v
        if type(self.node) in LEAKY:
            return _leaky_step(self.node, state["v"], x, self.rules)
        return _integrator_step(self.node, state["v"], x, self.rules)


def initial_state(node: nir.NIRNode, step_shape: tuple[int, ...]) -> dict[str, Array]:
    """State before the first step: v = v_leak (0 for I and IF) and, where there is one, i = 0."""
    (r,) = _parameters(node, "r")
    shape = np.broadcast_shapes(step_shape, r.shape)
    if type(node) in INTEGRATORS:
        return {"v": np.zeros(shape)}
    (v_leak,) = _parameters(node, "v_leak")
    state = {"v": v_leak + np.zeros(shape)}
    if type(node) in CURRENT_BASED:
        state["i"] = np.zeros(shape)
    return state


# --------------------------------------------------------------------------------------- delay


def delay_in_steps(delay: ArrayLike, dt: float) -> NDArray[np.int64]:
    """round(delay / dt), halves up; element by element."""
    ratio = np.asarray(delay, dtype=np.float64) / dt
    if not np.all(np.isfinite(ratio) & (ratio >= 0)):
        raise ValueError(f"delays must be finite and not negative: {delay!r}")
    # A delay written as 2.5 * dt, or stored as float32, may come out just below the half.
    noise = 1e-7 * (1 + ratio)
    return np.floor(ratio + 0.5 + noise).astype(np.int64)


class DelaySimulation:
    """Keeps every past input, so that a delay is plain indexing."""

    def __init__(self, node: nir.Delay, rules: StepRules) -> None:
        self.steps = delay_in_steps(node.delay, rules.dt)
        self.history: list[Array] = []

    def step(self, x: Array) -> Array:
        shape = np.broadcast_shapes(x.shape, self.steps.shape)
        self.history.append(np.broadcast_to(x, shape).copy())
        steps = np.broadcast_to(self.steps, shape)
        now = len(self.history) - 1
        y = np.zeros(shape)
        for index in np.ndindex(*shape):
            if steps[index] <= now:
                y[index] = self.history[now - steps[index]][index]
        return y


# ----------------------------------------------------------------------- nodes without a state


def _identity(_node: nir.NIRNode, x: Array) -> Array:
    return x


def _threshold(node: nir.Threshold, x: Array) -> Array:
    (threshold,) = _parameters(node, "threshold")
    return (x > threshold).astype(np.float64)


def _scale(node: nir.Scale, x: Array) -> Array:
    (scale,) = _parameters(node, "scale")
    return x * scale


def _linear(node: nir.Linear | nir.Affine, x: Array) -> Array:
    (weight,) = _parameters(node, "weight")
    size_out, size_in = weight.shape[-2:]
    if x.ndim == 0 or x.shape[-1] != size_in:
        raise ValueError(f"weight {weight.shape} cannot take an input of shape {x.shape}")
    leading = np.broadcast_shapes(x.shape[:-1], weight.shape[:-2])
    y = np.zeros((*leading, size_out))
    for o in range(size_out):
        for i in range(size_in):
            y[..., o] += weight[..., o, i] * x[..., i]
    return y


def _affine(node: nir.Affine, x: Array) -> Array:
    (bias,) = _parameters(node, "bias")
    return _linear(node, x) + bias


def _flatten(node: nir.Flatten, x: Array) -> Array:
    if node.input_type is None or node.input_type.get("input") is None:
        raise ValueError("Flatten without an input shape cannot be counted in the NIR shape")
    shape = tuple(int(size) for size in node.input_type["input"])
    axes, batch_axes = len(shape), x.ndim - len(shape)
    if batch_axes < 0 or x.shape[batch_axes:] != shape:
        raise ValueError(f"Flatten of shape {shape} cannot take an input of shape {x.shape}")
    start = node.start_dim + axes if node.start_dim < 0 else node.start_dim
    end = node.end_dim + axes if node.end_dim < 0 else node.end_dim
    if not 0 <= start <= end < axes:
        raise ValueError(f"Flatten from {node.start_dim} to {node.end_dim} of shape {shape}")
    merged = 1
    for size in shape[start : end + 1]:
        merged *= size
    return x.reshape(*x.shape[:batch_axes], *shape[:start], merged, *shape[end + 1 :])


# ------------------------------------------------------------------------- convolution, pooling


def _per_axis(name: str, value: Any, axes: int) -> tuple[int, ...]:
    """A number, pair, NumPy scalar or array as one whole number per spatial axis."""
    numbers = np.asarray(value).ravel().tolist()
    if len(numbers) == 1:
        numbers = numbers * axes
    if len(numbers) != axes or any(int(number) != number for number in numbers):
        raise ValueError(f"{name} must be a whole number, or {axes} of them, not {value!r}")
    return tuple(int(number) for number in numbers)


def _zero_padded(x: Array, before: Sequence[int], after: Sequence[int]) -> Array:
    """Zeros around the last len(before) axes."""
    untouched = [(0, 0)] * (x.ndim - len(before))
    return np.pad(x, untouched + list(zip(before, after, strict=True)))


def _window_count(size: int, kernel: int, stride: int, dilation: int) -> int:
    """How many windows fit into `size` places; a last window that does not fit is dropped."""
    span = dilation * (kernel - 1) + 1
    if kernel < 1 or stride < 1 or dilation < 1 or span > size:
        raise ValueError(f"no window: {size=} {kernel=} {stride=} {dilation=}")
    return (size - span) // stride + 1


def _convolution_padding(
    padding: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[list[int], list[int]]:
    """Zeros before and after, per spatial axis."""
    if isinstance(padding, str):
        _require_one_of("padding", padding, ("same", "valid"))
        if padding == "valid":
            return [0] * len(kernel), [0] * len(kernel)
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return [total // 2 for total in totals], [total - total // 2 for total in totals]
    amounts = list(_per_axis("padding", padding, len(kernel)))
    return amounts, amounts


def _convolution(node: nir.Conv1d | nir.Conv2d, x: Array) -> Array:
    (weight,) = _parameters(node, "weight")
    kernel, axes = weight.shape[2:], 1 if type(node) is nir.Conv1d else 2
    if len(kernel) != axes or x.ndim < axes + 1:
        raise ValueError(f"{type(node).__name__} of weight {weight.shape}, input {x.shape}")
    stride = _per_axis("stride", node.stride, axes)
    dilation = _per_axis("dilation", node.dilation, axes)
    padded = _zero_padded(x, *_convolution_padding(node.padding, kernel, dilation))
    windows = [
        _window_count(*sizes)
        for sizes in zip(padded.shape[-axes:], kernel, stride, dilation, strict=True)
    ]
    y = np.zeros((*x.shape[: -axes - 1], weight.shape[0], *windows))
    for o, source, tap_channel in _channel_pairs(weight.shape, node.groups, x.shape[-axes - 1]):
        for window in np.ndindex(*windows):
            for tap in np.ndindex(*kernel):
                steps = zip(window, stride, tap, dilation, strict=True)
                target = (..., o, *window)
                place = (..., source, *(w * s + t * d for w, s, t, d in steps))
                tap_of_weight = (o, tap_channel, *tap)
                y[target] += weight[tap_of_weight] * padded[place]
    if node.bias is not None:
        (bias,) = _parameters(node, "bias")
        y += bias.reshape(weight.shape[0], *[1] * axes)
    return y


def _channel_pairs(
    weight_shape: tuple[int, ...], groups: int, channels: int
) -> list[tuple[int, int, int]]:
    """(output channel, the input channel it reads, that channel's place in the weight)."""
    channels_out, channels_per_group = weight_shape[:2]
    groups = int(groups)
    if channels != channels_per_group * groups or channels_out % groups:
        raise ValueError(f"weight {weight_shape} in {groups} groups on {channels} channels")
    outputs_per_group = channels_out // groups
    return [
        (o, o // outputs_per_group * channels_per_group + c, c)
        for o, c in itertools.product(range(channels_out), range(channels_per_group))
    ]


def _sum_pool(node: nir.SumPool2d | nir.AvgPool2d, x: Array) -> Array:
    if x.ndim < 2:
        raise ValueError(f"{type(node).__name__} cannot take an input of shape {x.shape}")
    kernel = _per_axis("kernel_size", node.kernel_size, 2)
    stride = _per_axis("stride", node.stride, 2)
    padding = _per_axis("padding", node.padding, 2)
    padded = _zero_padded(x, padding, padding)
    rows = _window_count(padded.shape[-2], kernel[0], stride[0], 1)
    columns = _window_count(padded.shape[-1], kernel[1], stride[1], 1)
    y = np.zeros((*x.shape[:-2], rows, columns))
    for row, column in np.ndindex(rows, columns):
        for down, right in np.ndindex(*kernel):
            y[..., row, column] += padded[..., row * stride[0] + down, column * stride[1] + right]
    return y


def _average_pool(node: nir.AvgPool2d, x: Array) -> Array:
    kernel = _per_axis("kernel_size", node.kernel_size, 2)
    return _sum_pool(node, x) / (kernel[0] * kernel[1])


# --------------------------------------------------------------------------------------- graphs


class GraphSimulation:
    """A graph with the state of all its nodes; nested graphs are simulations of their own.

    `delayed` names edges by the full names of their ends: `prefix` plus the node's name, where
    the prefix of the nodes in a nested graph called "outer" is "outer.".
    """

    def __init__(
        self,
        graph: nir.NIRGraph,
        rules: StepRules,
        delayed: frozenset[Edge] = frozenset(),
        prefix: str = "",
    ) -> None:
        self.graph, self.rules, self.delayed, self.prefix = graph, rules, delayed, prefix
        self.input_name = self._only_node_of(nir.Input)
        self.output_name = self._only_node_of(nir.Output)
        self.sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
        for source, target in graph.edges:
            if source not in graph.nodes or target not in graph.nodes:
                raise ValueError(f"edge {source!r} -> {target!r} has no node at one of its ends")
            if source in self.sources[target]:
                raise ValueError(f"edge {source!r} -> {target!r} is there twice")
            self.sources[target].append(source)
        for name, sources in self.sources.items():
            if (name == self.input_name) == bool(sources):
                raise ValueError(f"node {prefix + name!r} has inputs {sources}")
        self.simulations = {name: self._new_simulation(name) for name in graph.nodes}
        self.last_outputs: dict[str, Array] | None = None

    def step(self, x: Array) -> Array:
        if self.last_outputs is None:
            self.last_outputs = self._zero_outputs(x)
        outputs = {self.input_name: self.simulations[self.input_name].step(x)}
        while len(outputs) < len(self.simulations):
            missing = [name for name in self.simulations if name not in outputs]
            ready = [name for name in missing if self._is_ready(name, outputs)]
            if not ready:
                names = [self.prefix + name for name in missing]
                raise RuntimeError(f"stuck: these nodes wait for one another: {names}")
            for name in ready:
                outputs[name] = self.simulations[name].step(self._summed_inputs(name, outputs))
        self.last_outputs = outputs
        return outputs[self.output_name]

    def _only_node_of(self, kind: type[nir.NIRNode]) -> str:
        names = [str(name) for name, node in self.graph.nodes.items() if type(node) is kind]
        if len(names) != 1:
            where = self.prefix or "the graph"
            raise ValueError(f"{where} needs exactly one {kind.__name__}, has {names}")
        return names[0]

    def _new_simulation(self, name: str) -> Simulation:
        node = self.graph.nodes[name]
        if type(node) is nir.NIRGraph:
            return GraphSimulation(node, self.rules, self.delayed, f"{self.prefix}{name}.")
        return _simulation_of(node, self.rules)

    def _is_delayed(self, source: str, target: str) -> bool:
        return (self.prefix + source, self.prefix + target) in self.delayed

    def _is_ready(self, name: str, outputs: Mapping[str, Array]) -> bool:
        return all(
            source in outputs or self._is_delayed(source, name) for source in self.sources[name]
        )

    def _summed_inputs(self, name: str, outputs: Mapping[str, Array]) -> Array:
        assert self.last_outputs is not None
        arriving = [
            self.last_outputs[source] if self._is_delayed(source, name) else outputs[source]
            for source in self.sources[name]
        ]
        shapes = {values.shape for values in arriving}
        if len(shapes) != 1:
            raise ValueError(f"inputs of {self.prefix + name!r} differ in shape: {shapes}")
        total = np.zeros(arriving[0].shape)
        for values in arriving:
            total = total + values
        return total

    def _zero_outputs(self, x: Array) -> dict[str, Array]:
        """Zeros in the shape of every node's output, for delayed edges at the first step.

        One input is enough to tell a node's output shape, as all its inputs have one shape. The
        nodes tried out here are new ones, so that the simulation itself does not advance.
        """
        zeros = {self.input_name: np.zeros(x.shape)}
        while len(zeros) < len(self.simulations):
            found = dict(zeros)
            for name, sources in self.sources.items():
                known = [zeros[source] for source in sources if source in zeros]
                if name not in zeros and known:
                    found[name] = np.zeros(self._new_simulation(name).step(known[0]).shape)
            if len(found) == len(zeros):
                unreached = [self.prefix + name for name in self.sources if name not in zeros]
                raise ValueError(f"the graph's input does not reach {unreached}")
            zeros = found
        return zeros


def _edge_names(graph: nir.NIRGraph, prefix: str = "") -> list[Edge]:
    """The full names of all edges, those of nested graphs included."""
    names = [(prefix + source, prefix + target) for source, target in graph.edges]
    for name, node in graph.nodes.items():
        if type(node) is nir.NIRGraph:
            names += _edge_names(node, f"{prefix}{name}.")
    return names


# ------------------------------------------------------------------------------------- dispatch


@dataclass(frozen=True)
class StatelessSimulation:
    """A node whose output depends on the present input alone."""

    function: Callable[[Any, Array], Array]
    node: nir.NIRNode

    def step(self, x: Array) -> Array:
        return self.function(self.node, x)


def _stateless(function: Callable[[Any, Array], Array]) -> Callable[[Any, StepRules], Simulation]:
    def build(node: Any, _rules: StepRules) -> Simulation:
        return StatelessSimulation(function, node)

    return build


# Every node type with an answer here, by exact type: a subclass may mean something else.
COVERED: dict[type[nir.NIRNode], Callable[[Any, StepRules], Simulation]] = {
    **dict.fromkeys(NEURONS, NeuronSimulation),
    nir.Delay: DelaySimulation,
    nir.NIRGraph: GraphSimulation,
    nir.Input: _stateless(_identity),
    nir.Output: _stateless(_identity),
    nir.Threshold: _stateless(_threshold),
    nir.Scale: _stateless(_scale),
    nir.Linear: _stateless(_linear),
    nir.Affine: _stateless(_affine),
    nir.Flatten: _stateless(_flatten),
    nir.Conv1d: _stateless(_convolution),
    nir.Conv2d: _stateless(_convolution),
    nir.SumPool2d: _stateless(_sum_pool),
    nir.AvgPool2d: _stateless(_average_pool),
}


def _simulation_of(node: nir.NIRNode, rules: StepRules) -> Simulation:
    if type(node) not in COVERED:
        raise TypeError(f"no oracle for node type {type(node).__name__}")
    return COVERED[type(node)](node, rules)


def _stacked(new_simulation: Callable[[], Simulation], xs: ArrayLike) -> Array:
    rows = np.asarray(xs, dtype=np.float64)
    if rows.ndim == 0:
        raise ValueError("xs needs a time axis")
    simulation = new_simulation()
    if len(rows) == 0:
        # No step at all still has a well-defined output shape: that of a step, zero times.
        return simulation.step(np.zeros(rows.shape[1:]))[np.newaxis][:0]
    return np.stack([simulation.step(x) for x in rows])


def step_response(
    node: nir.NIRNode,
    xs: ArrayLike,
    *,
    dt: float = 1e-4,
    integration: str = "euler",
    reset: str = "value",
    integrator_input: str = "charge",
    reset_delay: bool = False,
    fire_at: str = "above",
) -> Array:
    """Outputs (T, *batch, *out_shape) of a node in its initial state given xs (T, *batch, *shape).

    A NIRGraph is run without any delayed edge, as `run_graph` does by default.
    """
    rules = StepRules(dt, integration, reset, integrator_input, reset_delay, fire_at)
    return _stacked(partial(_simulation_of, node, rules), xs)


def membrane_trace(
    node: nir.NIRNode,
    xs: ArrayLike,
    *,
    dt: float = 1e-4,
    integration: str = "euler",
    reset: str = "value",
    integrator_input: str = "charge",
    reset_delay: bool = False,
    fire_at: str = "above",
) -> dict[str, Array]:
    """State of a neuron after each step and its reset: {"v": (T, ...)}, and "i" if it has one."""
    rules = StepRules(dt, integration, reset, integrator_input, reset_delay, fire_at)
    neuron = NeuronSimulation(node, rules)
    states: list[dict[str, Array]] = []
    for x in np.asarray(xs, dtype=np.float64):
        neuron.step(x)
        assert neuron.state is not None
        states.append(dict(neuron.state))
    if not states:
        raise ValueError("a trace needs at least one step")
    return {name: np.stack([state[name] for state in states]) for name in states[0]}


def run_graph(
    graph: nir.NIRGraph,
    xs: ArrayLike,
    *,
    delayed: Collection[Edge] = frozenset(),
    dt: float = 1e-4,
    integration: str = "euler",
    reset: str = "value",
    integrator_input: str = "charge",
) -> Array:
    """Outputs of a small graph with one Input and one Output; it may nest and have cycles.

    An edge in `delayed` carries last step's value of its source, zero at the first step. Edges
    inside a nested graph are named with its name and a dot before both ends: ("outer.a",
    "outer.b"). Within a step, any node whose undelayed inputs are all known is evaluated; inputs
    meeting in a node are added. RuntimeError if a cycle is left without a delayed edge.
    """
    names = _edge_names(graph)
    for edge in delayed:
        # A misspelt edge would otherwise be a silent "no delay".
        if names.count(edge) != 1:
            raise ValueError(f"delayed edge {edge} names {names.count(edge)} edges of {names}")
    rules = StepRules(dt, integration, reset, integrator_input)
    return _stacked(partial(GraphSimulation, graph, rules, frozenset(delayed)), xs)


# ------------------------------------------------------------------------------- ODE reference


def ode_reference(
    node: nir.NIRNode,
    x: ArrayLike,
    t_end: float,
    v0: ArrayLike | None = None,
    i0: ArrayLike | None = None,
    *,
    points: int | Sequence[float] | Array,
) -> dict[str, Array]:
    """The node's own differential equation, no threshold, under the constant input x.

    `points` are ascending times in [0, t_end], or their number: evenly spaced with both ends. v0
    and i0 default to the initial state. Returns "t" and, along it, "v" and (where there is one)
    "i", as `membrane_trace` does.
    """
    if type(node) not in NEURONS:
        raise TypeError(f"not a neuron: {type(node).__name__}")
    if i0 is not None and type(node) not in CURRENT_BASED:
        raise ValueError(f"{type(node).__name__} has no current to start from i0")
    drive = np.asarray(x, dtype=np.float64)
    starts = [np.asarray(start, dtype=np.float64) for start in (v0, i0) if start is not None]
    state = initial_state(node, np.broadcast_shapes(drive.shape, *(s.shape for s in starts)))
    for name, start in (("v", v0), ("i", i0)):
        if start is not None:
            state[name] = np.asarray(start, dtype=np.float64) + np.zeros(state["v"].shape)
    names, shape = list(state), state["v"].shape

    def derivative(_t: float, flat: Array) -> Array:
        now = dict(zip(names, flat.reshape(len(names), *shape), strict=True))
        slopes = _slopes(node, now, drive)
        return np.concatenate([slopes[name].ravel() for name in names])

    times = _times(t_end, points)
    rows = _solve(derivative, np.concatenate([state[name].ravel() for name in names]), times)
    values = rows.reshape(len(times), len(names), *shape)
    return {"t": times, **{name: values[:, place] for place, name in enumerate(names)}}


def _slopes(node: nir.NIRNode, state: Mapping[str, Array], x: Array) -> dict[str, Array]:
    """The equations as they stand in the docstrings of `nir`, solved for the derivatives."""
    if type(node) in INTEGRATORS:
        (r,) = _parameters(node, "r")
        return {"v": r * x + np.zeros(state["v"].shape)}
    r, v_leak = _parameters(node, "r", "v_leak")
    if type(node) in LEAKY:
        (tau,) = _parameters(node, "tau")
        return {"v": (v_leak - state["v"] + r * x) / tau}
    tau_syn, tau_mem, w_in = _parameters(node, "tau_syn", "tau_mem", "w_in")
    return {
        "v": (v_leak - state["v"] + r * state["i"]) / tau_mem,
        "i": (-state["i"] + w_in * x) / tau_syn,
    }


def _times(t_end: float, points: int | Sequence[float] | Array) -> Array:
    if isinstance(points, (int, np.integer)):
        return np.linspace(0.0, t_end, int(points))
    times = np.asarray(points, dtype=np.float64)
    if times.ndim != 1 or np.any(np.diff(times) < 0) or np.any((times < 0) | (times > t_end)):
        raise ValueError(f"points must ascend within [0, {t_end}]: {points!r}")
    return times


def _solve(derivative: Callable[[float, Array], Array], start: Array, times: Array) -> Array:
    """The solution at each time, integrated from point to point.

    Asking for all points in one run would interpolate between the solver's own steps, and the
    tolerances do not bound the interpolation's error.
    """
    rows: list[Array] = []
    now, state = 0.0, start
    for time in times:
        if time > now:
            run = solve_ivp(derivative, (now, time), state, method="DOP853", rtol=1e-12, atol=1e-14)
            if not run.success:
                raise RuntimeError(f"the solver gave up at t={run.t[-1]}: {run.message}")
            now, state = float(time), run.y[:, -1]
        rows.append(state)
    return np.stack(rows)


# ----------------------------------------------------------------------------------- comparison


def _as_numbers(name: str, values: Any) -> Array:
    if values is None:
        raise AssertionError(f"{name} is missing (None)")
    try:
        numbers = np.asarray(values)
    except ValueError as error:
        raise AssertionError(f"{name} is not one array: {error}") from error
    if numbers.dtype.kind not in "biuf":
        raise AssertionError(f"{name} is not made of real numbers but of {numbers.dtype}")
    return numbers.astype(np.float64)


def _comparable(actual: Any, expected: Any) -> tuple[Array, Array]:
    """Both as float64 arrays of one shape, all finite, with at least one element."""
    left, right = _as_numbers("actual", actual), _as_numbers("expected", expected)
    if left.shape != right.shape:
        raise AssertionError(f"shapes differ: actual {left.shape}, expected {right.shape}")
    if right.size == 0:
        raise AssertionError(f"nothing to compare: both are empty, shape {right.shape}")
    for name, numbers in (("actual", left), ("expected", right)):
        if not np.all(np.isfinite(numbers)):
            index = _first(~np.isfinite(numbers))
            raise AssertionError(f"{name} is not finite at {index}: {numbers[index]}")
    return left, right


def _first(where: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(place) for place in np.argwhere(where)[0])


def assert_close(actual: Any, expected: Any, *, rtol: float, atol: float) -> None:
    """Same shape, all finite, and |actual - expected| <= atol + rtol * |expected| everywhere.

    Mappings (the traces of `membrane_trace`) must have the same keys and agree key by key.
    """
    if not (0 <= rtol < np.inf and 0 <= atol < np.inf):
        raise ValueError(f"tolerances must be finite and not negative: {rtol=} {atol=}")
    if isinstance(actual, Mapping) or isinstance(expected, Mapping):
        _assert_mappings_close(actual, expected, rtol, atol)
        return
    left, right = _comparable(actual, expected)
    error = np.abs(left - right)
    wrong = ~(error <= atol + rtol * np.abs(right))
    if np.any(wrong):
        index = _first(wrong)
        raise AssertionError(
            f"{np.count_nonzero(wrong)} of {right.size} values differ; first at {index}: "
            f"actual {left[index]!r}, expected {right[index]!r}; "
            f"largest error {np.max(error):.3e} ({rtol=}, {atol=})"
        )


def _assert_mappings_close(actual: Any, expected: Any, rtol: float, atol: float) -> None:
    if not (isinstance(actual, Mapping) and isinstance(expected, Mapping)):
        raise AssertionError(f"a mapping against {type(actual)}, {type(expected)}")
    if set(actual) != set(expected) or not expected:
        raise AssertionError(f"keys: actual {sorted(actual)}, expected {sorted(expected)}")
    for key in expected:
        try:
            assert_close(actual[key], expected[key], rtol=rtol, atol=atol)
        except AssertionError as error:
            raise AssertionError(f"in {key!r}: {error}") from error


def assert_same_spikes(actual: Any, expected: Any) -> None:
    """Same shape, nothing but zeros and ones, and equal everywhere."""
    left, right = _comparable(actual, expected)
    for name, numbers in (("actual", left), ("expected", right)):
        odd = (numbers != 0) & (numbers != 1)
        if np.any(odd):
            index = _first(odd)
            raise AssertionError(f"{name} is no spike train: {numbers[index]!r} at {index}")
    wrong = left != right
    if np.any(wrong):
        index = _first(wrong)
        raise AssertionError(
            f"{np.count_nonzero(wrong)} of {right.size} spikes differ "
            f"(actual has {np.count_nonzero(left)} spikes, expected {np.count_nonzero(right)}); "
            f"first at {index}: actual {left[index]!r}, expected {right[index]!r}"
        )
