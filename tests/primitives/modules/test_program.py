"""The recorded program of a step is the step, bit for bit, or there is none.

Each step is written in plain torch and run for several steps as it stands, by a program without
hoisting, and by one with; the first input may be zero, so that the recorder's own comparison of one
step says little. Random steps come from hypothesis.
"""

from __future__ import annotations

import dis
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nirtorch_cli import Neuron
from nirtorch_cli.primitives.dynamics import Dynamics
from nirtorch_cli.primitives.modules.integrators import IF
from nirtorch_cli.primitives.modules.leaky import LIF
from nirtorch_cli.primitives.modules.program import Program, program_of

torch.set_num_threads(1)

N = 4
STEPS = 6
State = Mapping[str, Tensor]
Step = Callable[[Tensor, State], tuple[Tensor, State]]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0.3, 1, shape)).float()


BETA, THRESHOLD, SHIFT = random(N, seed=1) * 0.2 + 0.7, random(N, seed=2).abs() + 0.2, random(N)
SCALAR, ONE_LONG, W = torch.tensor(0.75), torch.tensor([1.25]), random(N, N, seed=3) * 0.4
ONES, ZEROS = torch.ones(N), torch.zeros(N)


def inputs(*batch: int, zero_first: bool = True) -> Tensor:
    x = random(STEPS, *batch, N, seed=5)
    if zero_first:
        x[0] = 0.0
    return x


def before(*batch: int, resting: bool = False) -> dict[str, Tensor]:
    """The variables v, i before the first step."""
    values = {"v": random(*batch, N, seed=6), "i": random(*batch, N, seed=7)}
    return {name: torch.zeros_like(v) for name, v in values.items()} if resting else values


def plain(step: Step, x: Tensor, state: State) -> tuple[list[Tensor], list[State]]:
    outputs, states = [], []
    for one in x:
        output, state = step(one, state)
        outputs.append(output)
        states.append(state)
    return outputs, states


def is_same(one: Tensor, other: Tensor, near: float = 0.0) -> bool:
    """Equal type, shape and numbers; NaN is equal to itself."""
    alike = one.dtype == other.dtype and one.shape == other.shape
    return alike and torch.allclose(one, other, near, near, equal_nan=True)


def assert_same(step: Step, x: Tensor, state: State, must: bool = True, near: float = 0.0) -> None:
    """A program of the step, if there is one (`must`: there is), has the numbers of the step."""
    kept = {name: value.clone() for name, value in state.items()}
    given_x = x.clone()
    outputs, states = plain(step, x, state)
    for hoists in (False, True):
        program = program_of(step, x[0], state, hoists=hoists)
        if program is None:
            assert not must, "there is no program"
            continue
        y = torch.full_like(torch.stack(outputs), 7)
        recorded = {name: torch.full_like(y, 7) for name in state}
        if hoists:
            program.over(x, y, recorded)
            for name, values in recorded.items():
                assert is_same(values, torch.stack([after[name] for after in states]), near), name
            assert all(is_same(program.variables[n], v, near) for n, v in states[-1].items())
        else:
            for number, one in enumerate(x):
                assert program(one, y[number]) is not None
                for name, value in states[number].items():
                    assert is_same(program.variables[name], value, near), (name, number)
        assert is_same(y, torch.stack(outputs), near)
    assert all(is_same(state[name], value) for name, value in kept.items())
    assert is_same(x, given_x)


def keeping(v: Tensor, i: Tensor) -> dict[str, Tensor]:
    return {"v": v, "i": i}


def lif(x: Tensor, s: State) -> tuple[Tensor, State]:
    v = BETA * s["v"] + x
    z = (v > THRESHOLD).to(v.dtype)
    return z, keeping(v - z * THRESHOLD, s["i"])


def cuba(x: Tensor, s: State) -> tuple[Tensor, State]:
    i = SCALAR * s["i"] + 2 * x
    v = torch.lerp(s["v"], i, BETA)
    z = (v >= THRESHOLD).to(v.dtype)
    return z, keeping(torch.where(z > 0, SHIFT, v), i)


def several(x: Tensor, s: State) -> tuple[Tensor, State]:
    v = s["v"] + x
    z = torch.clamp((v > 0).to(v.dtype) * torch.trunc(v / THRESHOLD), max=2.0)
    return z, keeping(torch.relu(v - z * THRESHOLD + 1) - 1, torch.floor(v))


def late(x: Tensor, s: State) -> tuple[Tensor, State]:
    """The output is of the state before."""
    z = (s["v"] > THRESHOLD).to(x.dtype)
    return z, keeping(s["v"] * BETA - z, s["i"] + z)


def swapped(x: Tensor, s: State) -> tuple[Tensor, State]:
    return s["v"] + x, keeping(s["i"], s["v"])


def swapped_after_a_step(x: Tensor, s: State) -> tuple[Tensor, State]:
    return s["v"] * 2, keeping(s["i"] + x, s["v"])


def all_of_one(x: Tensor, s: State) -> tuple[Tensor, State]:
    v = s["v"] * 0.5 + x
    return v, keeping(v, v)


def the_input(x: Tensor, s: State) -> tuple[Tensor, State]:
    return x, keeping(x, s["v"])


def nothing(x: Tensor, s: State) -> tuple[Tensor, State]:
    return s["v"], s


def twice(x: Tensor, s: State) -> tuple[Tensor, State]:
    a = x * BETA
    b = x * SHIFT
    return a * b + x * x, keeping(s["v"] + a, s["i"] + a - b)


def shapes(x: Tensor, s: State) -> tuple[Tensor, State]:
    v = s["v"] * SCALAR + x * ONE_LONG - SHIFT
    return (v < SCALAR).to(v.dtype), keeping(v.clamp(-2, 2), s["i"] * ONE_LONG)


def neutral(x: Tensor, s: State) -> tuple[Tensor, State]:
    v = (s["v"] * ONES + ZEROS + x * 1 + 0) * 1.0
    return v + 0.0, keeping(v, ONES * s["i"])


def neutral_throughout(x: Tensor, s: State) -> tuple[Tensor, State]:
    return x * ONES, keeping(s["v"] * 1, s["i"] + ZEROS)


def neutral_in_part(x: Tensor, s: State) -> tuple[Tensor, State]:
    some, wide = torch.tensor([1.0, 1, 2, 1]), s["v"] * ONES.double() + 0.1
    return x * some, keeping(wide.to(x.dtype), s["i"] + (some - 1))


def casts(x: Tensor, s: State) -> tuple[Tensor, State]:
    wide = s["v"].double() * math.pi + x.double()
    v = wide.to(x.dtype)
    return (wide > v).to(x.dtype), keeping(v * 0.1, (s["i"].int() + 1).to(x.dtype))


def truths(x: Tensor, s: State) -> tuple[Tensor, State]:
    both = (s["v"] > 0) & (x < THRESHOLD) | (s["i"] == s["v"])
    return both.to(x.dtype), keeping(torch.where(both, x, s["v"]), torch.where(~both, x, s["i"]))


def compared_before_it_changes(x: Tensor, s: State) -> tuple[Tensor, State]:
    fired = s["v"] > THRESHOLD
    v = s["v"] * BETA + x
    return fired.to(x.dtype), keeping(v - fired.to(x.dtype), s["i"] + fired.double().float())


def quotients(x: Tensor, s: State) -> tuple[Tensor, State]:
    v = torch.div(s["v"] + x, THRESHOLD, rounding_mode="trunc")
    i = torch.add(s["i"], x, alpha=0.3)
    return torch.maximum(v, i) - torch.minimum(x, i), keeping(v % 3, torch.abs(i).sqrt())


def unused(x: Tensor, s: State) -> tuple[Tensor, State]:
    _ = torch.exp(s["v"] * 100) + x
    return x + 1, keeping(s["v"] + 1, s["i"])


def reversed_operands(x: Tensor, s: State) -> tuple[Tensor, State]:
    v = s["v"] * BETA + x
    z = (v > THRESHOLD).to(v.dtype)
    return z, keeping((1 - z) * v + z * SHIFT, 1 - s["i"])


def functions(x: Tensor, s: State) -> tuple[Tensor, State]:
    v = torch.tanh(s["v"]) + torch.exp(-x.square()) - torch.sigmoid(s["i"])
    return torch.sign(v), keeping(v, torch.addcmul(s["i"], x, BETA, value=0.2).pow(2).clamp(max=3))


WRITTEN: list[Step] = [
    lif,
    cuba,
    several,
    late,
    swapped,
    swapped_after_a_step,
    all_of_one,
    the_input,
    nothing,
    twice,
    shapes,
    neutral,
    neutral_throughout,
    neutral_in_part,
    casts,
    truths,
    compared_before_it_changes,
    quotients,
    unused,
    reversed_operands,
    functions,
]


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("step", WRITTEN, ids=lambda step: step.__name__)
def test_steps_that_are_written(step: Step, batch: tuple[int, ...]) -> None:
    for zero_first in (True, False):
        for resting in (True, False):
            assert_same(
                step, inputs(*batch, zero_first=zero_first), before(*batch, resting=resting)
            )


# --------------------------------------------------------------------------- products of matrices


def recurrent(x: Tensor, s: State) -> tuple[Tensor, State]:
    v = BETA * s["v"] + x + torch.matmul(s["i"], W)
    z = (v > THRESHOLD).to(v.dtype)
    return z, keeping(v - z * THRESHOLD, z)


def over_itself(x: Tensor, s: State) -> tuple[Tensor, State]:
    """A product whose factor is not needed any more, and could be written over."""
    return torch.matmul(s["v"] + x, W), keeping(torch.matmul(x * BETA, W), torch.matmul(s["i"], W))


def in_a_row(x: Tensor, s: State) -> tuple[Tensor, State]:
    v = torch.matmul(torch.matmul(torch.matmul(x + s["v"], W), W), W)
    return v + 1, keeping(v, torch.matmul(s["v"], W))


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3)])
@pytest.mark.parametrize("step", [recurrent, over_itself, in_a_row])
def test_products_of_matrices(step: Step, batch: tuple[int, ...]) -> None:
    for zero_first in (True, False):
        for resting in (True, False):
            x, state = inputs(*batch, zero_first=zero_first), before(*batch, resting=resting)
            assert_same(step, x, state, must=False, near=1e-5)  # the order of sums may differ


def test_a_layer_with_recurrent_weights_is_written() -> None:
    for step in (recurrent, over_itself, in_a_row):
        assert program_of(step, inputs(3)[0], before(3), hoists=True) is not None


# ----------------------------------------------------------------------------- what is not written


def in_place(x: Tensor, s: State) -> tuple[Tensor, State]:
    v = s["v"] * BETA
    v += x
    return (v > 1).to(x.dtype), keeping(v, s["i"])


def views(x: Tensor, s: State) -> tuple[Tensor, State]:
    v = s["v"].unsqueeze(0).expand(2, *s["v"].shape)[0] + x
    return v, keeping(v, s["i"].flip(-1))


def control_flow(x: Tensor, s: State) -> tuple[Tensor, State]:
    v = s["v"] + x
    if v.sum() > 0:
        v = v * 0.5
    return v, keeping(v, s["i"])


def a_number(x: Tensor, s: State) -> tuple[Tensor, State]:
    return x + float(s["v"].detach().max()), keeping(s["v"] + x, s["i"])


def without_out(x: Tensor, s: State) -> tuple[Tensor, State]:
    v = torch.nn.functional.leaky_relu(s["v"]) + x
    return torch.zeros_like(x) + x, keeping(v, s["i"].clone())


def joined(x: Tensor, s: State) -> tuple[Tensor, State]:
    v = torch.stack([s["v"], x]).sum(0)
    return v, keeping(v, torch.cat([x, s["i"]], -1)[..., :N])


def sorted_values(x: Tensor, s: State) -> tuple[Tensor, State]:
    v, _ = torch.sort(s["v"] + x)
    return v, keeping(v, s["i"])


def a_wider_state(x: Tensor, s: State) -> tuple[Tensor, State]:
    v = s["v"].double() + x
    return v.to(x.dtype), keeping(v, s["i"])


def a_new_constant(x: Tensor, s: State) -> tuple[Tensor, State]:
    return x, keeping(torch.ones_like(x), torch.zeros(x.shape))


def truth_as_output(x: Tensor, s: State) -> tuple[Tensor, State]:
    v = s["v"] + x
    return v > 0, keeping(v, s["i"])


def winner(x: Tensor, s: State) -> tuple[Tensor, State]:
    v = s["v"] + x
    return (v == v.amax(-1, keepdim=True)).to(x.dtype), keeping(v, s["i"])


def normed(x: Tensor, s: State) -> tuple[Tensor, State]:
    return torch.softmax(s["v"] + x, -1), keeping(s["v"] + x - x.mean(), s["i"] + x.sum(-1, True))


OTHERS: list[Step] = [
    in_place,
    views,
    control_flow,
    a_number,
    without_out,
    joined,
    sorted_values,
    a_new_constant,
    winner,
    normed,
]

WITHOUT: list[Step] = [
    in_place,
    views,
    control_flow,
    a_number,
    without_out,
    joined,
    a_wider_state,
    truth_as_output,
]
"""Those of which there must be no program."""


@pytest.mark.parametrize("step", WITHOUT, ids=lambda step: step.__name__)
def test_steps_that_are_not_written(step: Step) -> None:
    for hoists in (False, True):
        state, x = before(3), inputs(3)
        kept = {name: value.clone() for name, value in state.items()}
        assert program_of(step, x[0], state, hoists=hoists) is None
        assert all(torch.equal(state[name], value) for name, value in kept.items())
        assert torch.equal(x, inputs(3))


class Plain(Neuron):
    """A neuron whose step is a function."""

    states: ClassVar[Mapping[str, Any]] = {"v": 0.0, "i": 0.0}

    def __init__(self, function: Step) -> None:
        super().__init__({"held": np.ones(N, np.float32)})
        self.function = function

    def charge(self, x: Tensor, *variables: Tensor) -> tuple[Tensor, ...]:
        output, after = self.function(x, dict(zip(self.states, variables)))
        return (*after.values(), output)

    def reset(self, z: Tensor, *charged: Tensor) -> tuple[Tensor, ...]:
        return charged[:-1]


def assert_runs(neuron: Neuron, x: Tensor, state: Any = None) -> None:
    """A whole sequence, and the steps of a loop, are single steps, bit for bit."""
    outputs, states, given_state = [], [], state
    for one in x:
        output, state = neuron(one, state)
        outputs.append(output)
        states.append(state)
    y, after, recorded = neuron.over_time(x, given_state, neuron.states)
    assert is_same(y, torch.stack(outputs))
    for name in neuron.states:
        assert is_same(after[name], states[-1][name]), name
        assert is_same(recorded[name], torch.stack([one[name] for one in states])), name
    stepper = neuron.stepper(x[0], given_state)
    if stepper is not None:
        for number, one in enumerate(x):
            found = stepper(one, torch.full_like(outputs[0], 7))
            assert is_same(found, outputs[number])
        for name in neuron.states:
            assert is_same(stepper.variables[name], states[-1][name]), name


@pytest.mark.parametrize("needs_gradients", [False, True])
@pytest.mark.parametrize(
    "step",
    [*WRITTEN, *OTHERS, a_wider_state, truth_as_output],
    ids=lambda step: step.__name__,
)
def test_a_neuron_runs_right_with_a_program_and_without(step: Step, needs_gradients: bool) -> None:
    for zero_first in (True, False):
        x = inputs(3, zero_first=zero_first).requires_grad_(needs_gradients)
        assert_runs(Plain(step), x)
        assert_runs(Plain(step), x, before(3))


def test_inputs_in_any_memory_layout() -> None:
    x = random(3, N, STEPS, seed=5).permute(2, 0, 1)
    assert_runs(Plain(cuba), x)
    assert_runs(Plain(lif), random(1, 3, N).expand(STEPS, 3, N))
    assert_runs(Plain(lif), torch.zeros(STEPS, 0, N))
    assert_runs(Plain(lif), inputs(3)[:1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types(dtype: torch.dtype) -> None:
    for step in (late, swapped, all_of_one):
        neuron = Plain(step).to(dtype)
        assert_runs(neuron, inputs(3).to(dtype), {n: v.to(dtype) for n, v in before(3).items()})


def test_inference_mode() -> None:
    with torch.inference_mode():
        assert_runs(Plain(lif), inputs(3))


@pytest.mark.parametrize("step", WRITTEN, ids=lambda step: step.__name__)
def test_nan_and_infinity(step: Step) -> None:
    x = inputs(3)
    x[1, 0, 0], x[2, 1, 1], x[2, 2, 2] = math.nan, math.inf, -math.inf
    assert_same(step, x, before(3))
    state = before(3)
    state["v"][0, 1], state["v"][1, 2], state["i"][0, 0] = math.inf, math.nan, -math.inf
    assert_same(step, inputs(3), state)


def test_noise_is_new_at_every_step() -> None:
    """A program would repeat what was drawn when it was recorded."""

    def of_a_shape(x: Tensor, s: State) -> tuple[Tensor, State]:
        return x + torch.randn(x.shape), s

    def of_the_input(x: Tensor, s: State) -> tuple[Tensor, State]:
        return x + torch.randn_like(x), s

    def of_odds(x: Tensor, s: State) -> tuple[Tensor, State]:
        return torch.bernoulli(torch.sigmoid(x)), s

    def dropped(x: Tensor, s: State) -> tuple[Tensor, State]:
        return torch.nn.functional.dropout(x + 1, 0.5), s

    for step in (of_a_shape, of_the_input, of_odds, dropped):
        assert program_of(step, torch.zeros(200), {}, hoists=True) is None
        y, _, _ = Plain(lambda x, s, step=step: step(x, s)).over_time(torch.zeros(STEPS, 50, N))
        assert len({tuple(one.flatten().tolist()) for one in y}) == STEPS


# ---------------------------------------------------------------------------------- random steps

UNARY: list[Callable[[Tensor], Tensor]] = [
    torch.relu,
    torch.floor,
    torch.trunc,
    torch.neg,
    torch.sign,
    torch.sigmoid,
    lambda a: a.clamp(-1, 2),
    lambda a: a.clamp(max=0.5),
    lambda a: a * 1,
    lambda a: a + 0.0,
    lambda a: 1 - a,
    lambda a: 2.5 * a,
    lambda a: a * ONES,
    lambda a: ZEROS + a,
    lambda a: a * SCALAR,
    lambda a: a - ONE_LONG,
    lambda a: BETA * a,
    lambda a: (a > THRESHOLD).to(a.dtype),
    lambda a: (a >= 0).to(a.dtype),
    lambda a: a.double().mul(1.1).to(a.dtype),
    lambda a: a.detach(),
    lambda a: a.clone(),
]
BINARY: list[Callable[[Tensor, Tensor], Tensor]] = [
    torch.add,
    torch.sub,
    torch.mul,
    torch.maximum,
    lambda a, b: a / (b.abs() + 1),
    lambda a, b: torch.where(a > b, a, SHIFT),
    lambda a, b: torch.where(a > 0, b, a),
    lambda a, b: (a < b).to(a.dtype),
    lambda a, b: torch.lerp(a, b, BETA),
    lambda a, b: ((a > b) & (b > 0)).to(a.dtype),
    lambda a, b: torch.add(a, b, alpha=0.5),
]


@st.composite
def random_steps(draw: Any) -> Step:
    """Operations one after the other, each of values that there are: of the input, v, i."""
    operations = []
    for place in range(draw(st.integers(1, 9))):
        value = st.integers(0, 2 + place)
        if draw(st.booleans()):
            operations.append((draw(st.sampled_from(UNARY)), (draw(value),)))
        else:
            operations.append((draw(st.sampled_from(BINARY)), (draw(value), draw(value))))
    ends = st.integers(0, 2 + len(operations))
    output, v, i = draw(ends), draw(ends), draw(ends)

    def step(x: Tensor, s: State) -> tuple[Tensor, State]:
        values = [x, s["v"], s["i"]]
        for function, read in operations:
            values.append(function(*(values[number] for number in read)))
        return values[output], keeping(values[v], values[i])

    return step


@settings(max_examples=150, deadline=None)
@given(random_steps(), st.sampled_from([(), (3,), (2, 3)]), st.booleans(), st.booleans())
def test_random_steps(step: Step, batch: tuple[int, ...], zero_first: bool, resting: bool) -> None:
    x, state = inputs(*batch, zero_first=zero_first), before(*batch, resting=resting)
    assert_same(step, x, state, must=False)
    assert_runs(Plain(step), x, state)


# ------------------------------------------------------------------------------------ subclasses


class Integrator(Neuron):
    """Nothing but a charge: the output is its last variable."""

    beta: Tensor

    def charge(self, x: Tensor, *before: Tensor) -> Tensor:
        return self.beta * before[0] + x


class TwoVariables(Neuron):
    """Its states begin with a constant, and a number."""

    states: ClassVar[Mapping[str, str | float]] = {"i": "first", "v": 0.5}

    first: Tensor

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        i, v = before
        return i * 0.5 + x, v * 0.8 + i, v

    def fire(self, *charged: Tensor) -> Tensor:
        return self.spike(charged[1], self.first)

    def reset(self, z: Tensor, *charged: Tensor) -> tuple[Tensor, ...]:
        i, v, old = charged
        return i - z, v - z * old


@pytest.mark.parametrize("needs_gradients", [False, True])
def test_neurons_of_ones_own(needs_gradients: bool) -> None:
    x = inputs(2, 3).requires_grad_(needs_gradients)
    assert Integrator.is_whole
    assert TwoVariables.is_whole
    assert_runs(Integrator({"beta": BETA}), x)
    assert_runs(TwoVariables({"first": THRESHOLD}), x)
    y, after, _ = Integrator({"beta": BETA}).over_time(x.detach())
    assert torch.equal(y[-1], after["v"])
    v = torch.zeros(2, 3, N)
    for number, one in enumerate(x.detach()):
        v = BETA * v + one
        assert torch.equal(y[number], v)


def constants() -> dict[str, Tensor]:
    named = {"tau": ONES * 2, "r": ONES, "v_leak": ZEROS, "v_reset": ZEROS}
    return {**named, "v_threshold": THRESHOLD}


class Adapted(LIF):
    """nir's own LIF with another charge, of which the in-place code knows nothing."""

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        (v,) = before
        return (v * 0.5 + 3 * x,)


class Stepped(Neuron):
    """A neuron with a forward of its own."""

    calls = 0

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        self.calls += 1
        v = self.before(state, "v", x) + x
        return v, {"v": v * 0.5}


def test_a_subclass_that_changes_a_step_is_run_step_by_step() -> None:
    assert LIF.is_whole
    assert IF.is_whole
    assert not Adapted.is_whole
    assert not Stepped.is_whole
    neuron = Adapted(constants(), Dynamics(dt=1.0))
    v = torch.zeros(3, N)
    for x in inputs(3):
        y, state = neuron(x, {"v": v})
        u = v * 0.5 + 3 * x
        assert torch.equal(y, (u > THRESHOLD).float())
        v = torch.where(y > 0, ZEROS, u)
        assert torch.equal(state["v"], v)


@pytest.mark.parametrize("loop", [False, True])
def test_subclasses_in_a_network(loop: bool) -> None:
    """The engine calls what is not whole for each step, in a loop and out of one."""
    import nir
    from networks import module_of
    from sequences import by_steps, compare

    from nirtorch_cli import run_sequence

    one = np.ones(N)
    node = nir.LIF(tau=2 * one, r=one, v_leak=0 * one, v_threshold=THRESHOLD.numpy())
    nodes = {"input": nir.Input(np.array([N])), "n": node, "output": nir.Output(np.array([N]))}
    edges = [("input", "n"), ("n", "output")]
    if loop:
        nodes["back"] = nir.Scale(one / 4)
        edges += [("n", "back"), ("back", "n")]
    graph = nir.NIRGraph(nodes, edges, type_check=False)
    made = {
        "adapted": lambda node: Adapted(constants(), Dynamics(dt=1.0)),
        "stepped": lambda node: Stepped({"held": one}),
        "charge": lambda node: Integrator({"beta": BETA.numpy()}),
    }
    for name, mapper in made.items():
        module = module_of(graph, {nir.LIF: mapper})
        x = (inputs(3) * 16).round() / 16
        with torch.no_grad():
            outputs, states = by_steps(module, {"input": x})
            if name == "stepped":
                module.n.calls = 0
            done = run_sequence(module, x, record=["n:v"])
        compare(done.outputs, outputs)
        compare(done.state, states[-1])
        compare(done.trace["n"]["v"], torch.stack([state["n"]["v"] for state in states]))
        if name == "stepped":
            assert module.n.calls == STEPS


def test_a_program_has_variables_of_its_own() -> None:
    state = before(3)
    program = program_of(lif, inputs(3)[0], state)
    assert isinstance(program, Program)
    assert all(torch.equal(program.variables[name], value) for name, value in state.items())
    y = torch.empty(3, N)
    program(inputs(3)[1], y)
    assert not torch.equal(program.variables["v"], state["v"])
    assert all(torch.equal(value, before(3)[name]) for name, value in state.items())


# ---------------------------------------------------- resets by products, and kernels saved


class ToAValue(Neuron):
    """Reset by factors: 1 - z is a difference of a number and a tensor."""

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        (v,) = before
        return (v + (x - (v - self.v_reset)) / self.tau,)

    def fire(self, *charged: Tensor) -> Tensor:
        return self.spike(charged[-1], self.v_threshold, reached=True)

    def reset(self, z: Tensor, *charged: Tensor) -> tuple[Tensor, ...]:
        (v,) = charged
        return (z * self.v_reset + (1.0 - z) * v,)


class Subtracting(ToAValue):
    """Reset by a product of spikes that is taken off."""

    def reset(self, z: Tensor, *charged: Tensor) -> tuple[Tensor, ...]:
        (v,) = charged
        return (v - z * self.v_threshold,)


class Several(ToAValue):
    """Several spikes in a step, by relu, and a lowest voltage."""

    def fire(self, *charged: Tensor) -> Tensor:
        return torch.relu(torch.div(charged[-1], self.v_threshold, rounding_mode="trunc"))

    def reset(self, z: Tensor, *charged: Tensor) -> tuple[Tensor, ...]:
        (v,) = charged
        return (torch.relu(v - z * self.v_threshold + 0.3) - 0.3,)


def neuron(kind: type[Neuron], dtype: torch.dtype, v_reset: float, v_threshold: float) -> Neuron:
    constants: dict[str, Any] = {
        "tau": torch.linspace(1.3, 4, N),
        "v_reset": torch.full((N,), v_reset),
        "v_threshold": torch.linspace(0.5, 0.7, N) + v_threshold,
    }
    return kind(constants).to(dtype)


def drawn(dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(40, 3, N, generator=generator).mul(2).to(dtype)


def step_by_step(made: Neuron, x: Tensor) -> tuple[Tensor, Tensor]:
    outputs, voltages, state = [], [], None
    for one in x:
        z, state = made(one, state)
        outputs.append(z)
        voltages.append(state["v"])
    return torch.stack(outputs), torch.stack(voltages)


@pytest.mark.parametrize("kind", [ToAValue, Subtracting, Several])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("v_reset", "v_threshold"), [(0.0, 0.0), (-0.25, 0.0), (0.0, -1.0)])
def test_it_gives_the_numbers_of_the_steps(
    kind: type[Neuron], dtype: torch.dtype, v_reset: float, v_threshold: float
) -> None:
    made, x = neuron(kind, dtype, v_reset, v_threshold), drawn(dtype)
    z, _, recorded = made.over_time(x, record=["v"])
    expected, voltages = step_by_step(made, x)
    assert expected.any()
    assert torch.equal(z, expected)
    assert torch.equal(recorded["v"], voltages)


@pytest.mark.parametrize("kind", [ToAValue, Subtracting, Several])
@pytest.mark.parametrize("odd", [float("inf"), float("-inf"), float("nan")])
def test_what_is_no_number_stays_so(kind: type[Neuron], odd: float) -> None:
    made, x = neuron(kind, torch.float32, 0.0, 0.0), drawn(torch.float32)
    x[7, 1, 2] = x[0, 0, 0] = odd
    z, _, recorded = made.over_time(x, record=["v"])
    expected, voltages = step_by_step(made, x)
    torch.testing.assert_close(z, expected, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(recorded["v"], voltages, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("kind", "v_reset", "kernels"),
    [(ToAValue, 0.0, 6), (ToAValue, -0.25, 8), (Subtracting, 0.0, 5), (Several, 0.0, 10)],
)
def test_its_kernels_are_few(kind: type[Neuron], v_reset: float, kernels: int) -> None:
    """x - v, / tau, + v, >=, and a reset: 1 - z and its product, or a product taken off as one."""
    made, x = neuron(kind, torch.float32, v_reset, 0.0), drawn(torch.float32)
    program = program_of(made.settled().step, x[0], made.variables(x[0], None), hoists=True)
    assert isinstance(program, Program)
    loaded = [
        one.argval for one in dis.get_instructions(program.run) if one.opname == "LOAD_GLOBAL"
    ]
    held = program.run.__globals__
    assert sum(callable(held[name]) for name in loaded) == kernels
