"""Every NIR node against the independent oracle: each type, rule, batch rank and dtype.

In: the table ROWS, a NIR node and the shape of its input in each row. Each row is converted as
a graph Input -> node -> Output and, where the map has a module for it, by its map entry alone.
A NIR type without a row fails `test_every_nir_type_has_rows`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import nir
import numpy as np
import pytest
import torch
from networks import module_of
from oracles import (
    CURRENT_BASED,
    FIRING,
    INTEGRATORS,
    LEAKY,
    NEURONS,
    Array,
    NeuronSimulation,
    StepRules,
    assert_close,
    assert_same_spikes,
    membrane_trace,
    ode_reference,
    step_response,
)

from nirtorch_cli import StateError
from nirtorch_cli.conversion.defaults import default_map

torch.set_num_threads(1)
# torch says this of every even kernel; its answer is right.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

DT = 1e-3
STEPS = 8
BATCH = (2, 3)
MARGIN = 1e-4
"""No voltage of the oracle comes this near to its threshold: float32 must spike the same."""
TOLERANCE = {
    torch.float64: {"rtol": 1e-12, "atol": 1e-12},
    torch.float32: {"rtol": 2e-5, "atol": 2e-5},
}


@dataclass(frozen=True)
class Row:
    """A node, the shape of its input without batch axes, and how strong its input is."""

    node: nir.NIRNode
    shape: tuple[int, ...]
    drive: float = 1.0


def weights(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def expanded(shape: tuple[int, ...], low: float, high: float) -> Array:
    """A different value for each element, in no order."""
    size = int(np.prod(shape))
    values = np.linspace(low, high, size) if size > 1 else np.full(1, (low + high) / 2)
    return np.random.default_rng(size).permutation(values).reshape(shape)


def integrate_and_fire(shape: tuple[int, ...]) -> nir.IF:
    return nir.IF(expanded(shape, 0.5, 1.4), expanded(shape, 0.6, 1.2), expanded(shape, -0.3, 0.2))


def li(shape: tuple[int, ...]) -> nir.LI:
    return nir.LI(
        expanded(shape, 2e-3, 9e-3), expanded(shape, 0.7, 3.0), expanded(shape, -0.5, 0.4)
    )


def lif(shape: tuple[int, ...]) -> nir.LIF:
    return nir.LIF(
        tau=expanded(shape, 2e-3, 9e-3),
        r=expanded(shape, 0.7, 3.0),
        v_leak=expanded(shape, -0.5, 0.4),
        v_threshold=expanded(shape, 0.5, 0.8),
        v_reset=expanded(shape, -0.3, 0.2),
    )


def cuba(kind: Any, shape: tuple[int, ...], equal: bool = False, closeness: float = 1.0) -> Any:
    """`equal`: tau_syn is tau_mem; `closeness` is their ratio then."""
    tau_mem = expanded(shape, 3e-3, 9e-3)
    parameters = {
        "tau_syn": tau_mem * closeness if equal else expanded(shape, 8e-3, 2e-3),
        "tau_mem": tau_mem,
        "r": expanded(shape, 1.0, 3.0),
        "v_leak": expanded(shape, -0.2, 0.3),
        "w_in": expanded(shape, 0.8, 2.5),
    }
    if kind is nir.CubaLIF:
        parameters |= {
            "v_threshold": expanded(shape, 0.4, 0.7),
            "v_reset": expanded(shape, -0.3, 0.1),
        }
    return kind(**parameters)


def conv1d(weight: Array, bias: bool = True, **options: Any) -> nir.Conv1d:
    given = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **options}
    bias_values = weights(len(weight), seed=2) if bias else None
    return nir.Conv1d(input_shape=None, weight=weight, bias=bias_values, **given)


def conv2d(weight: Array, bias: bool = True, **options: Any) -> nir.Conv2d:
    given = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **options}
    bias_values = weights(len(weight), seed=2) if bias else None
    return nir.Conv2d(input_shape=None, weight=weight, bias=bias_values, **given)


def sum_pool(kernel: Any, stride: Any, padding: Any) -> nir.SumPool2d:
    return nir.SumPool2d(kernel, stride, padding)


def avg_pool(kernel: Any, stride: Any, padding: Any) -> nir.AvgPool2d:
    return nir.AvgPool2d(kernel, stride, padding)


def flatten(shape: tuple[int, ...], start: Any, end: Any) -> nir.Flatten:
    """`nir` cannot compute the output of some negative axes; the converter has to."""
    node = nir.Flatten(input_type=None, start_dim=start, end_dim=end)
    node.input_type = {"input": np.array(shape)}
    return node


def delay(*steps: Any, dtype: Any = np.float64) -> nir.Delay:
    return nir.Delay(np.array(steps, dtype=dtype) * dtype(DT))


def graph_of(
    node: nir.NIRNode, shape: tuple[int, ...], output: tuple[int, ...] | None = None
) -> nir.NIRGraph:
    """Input -> node -> Output, where the node may be one of the two ends itself."""
    nodes = {
        "source": nir.Input(np.array(shape)),
        "node": node,
        "sink": nir.Output(None if output is None else np.array(output)),
    }
    if isinstance(node, nir.Input):
        del nodes["source"]
    if isinstance(node, nir.Output):
        del nodes["sink"]
    names = list(nodes)
    return nir.NIRGraph(nodes, list(itertools.pairwise(names)), type_check=False)


def nested() -> nir.NIRGraph:
    """An affine layer and LIF neurons as one node, in a graph inside a graph."""
    inner = graph_of(lif((4,)), (4,), (4,))
    nodes = {
        "input": nir.Input(np.array([3])),
        "affine": nir.Affine(weights(4, 3), weights(4, seed=2)),
        "inner": inner,
        "output": nir.Output(np.array([4])),
    }
    edges = [("input", "affine"), ("affine", "inner"), ("inner", "output")]
    return nir.NIRGraph(nodes, edges, type_check=False)


ROWS = {
    "input": Row(nir.Input(np.array([3])), (3,)),
    "input_matrix": Row(nir.Input(np.array([3, 2])), (3, 2)),
    "output": Row(nir.Output(np.array([3])), (3,)),
    "output_one": Row(nir.Output(np.array([1])), (1,)),
    "graph": Row(nested(), (3,)),
    "graph_of_scale": Row(
        nir.NIRGraph(
            {
                "input": nir.Input(np.array([2])),
                "scale": nir.Scale(weights(2)),
                "output": nir.Output(np.array([2])),
            },
            [("input", "scale"), ("scale", "output")],
            type_check=False,
        ),
        (2,),
    ),
    # Linear maps: a matrix, a matrix on the last axis of more, a stack of matrices.
    "affine": Row(nir.Affine(weights(4, 3), weights(4, seed=2)), (3,)),
    "affine_bias_of_one": Row(nir.Affine(weights(4, 3), weights(1, seed=2)), (3,)),
    "affine_float32": Row(
        nir.Affine(weights(4, 3).astype(np.float32), weights(4, seed=2).astype(">f4")), (3,)
    ),
    "affine_integers": Row(nir.Affine(np.arange(12).reshape(4, 3), np.arange(4)), (3,)),
    "affine_on_last_axis": Row(nir.Affine(weights(4, 3), weights(4, seed=2)), (5, 3)),
    "affine_stack": Row(nir.Affine(weights(2, 4, 3), weights(2, 4, seed=2)), (2, 3)),
    "affine_stack_one_bias": Row(nir.Affine(weights(2, 4, 3), weights(4, seed=2)), (2, 3)),
    "affine_two_stacks": Row(nir.Affine(weights(2, 3, 2, 4), weights(2, 3, 2, seed=2)), (2, 3, 4)),
    "linear": Row(nir.Linear(weights(4, 3)), (3,)),
    "linear_one": Row(nir.Linear(weights(1, 1)), (1,)),
    "linear_fortran_order": Row(nir.Linear(np.asfortranarray(weights(4, 3))), (3,)),
    "linear_stack": Row(nir.Linear(weights(3, 2, 5)), (3, 5)),
    "linear_stack_of_one": Row(nir.Linear(weights(1, 2, 5)), (1, 5)),
    "linear_two_stacks": Row(nir.Linear(weights(2, 2, 3, 1)), (2, 2, 1)),
    "scale": Row(nir.Scale(weights(5)), (5,)),
    "scale_matrix": Row(nir.Scale(weights(2, 3)), (2, 3)),
    "scale_channels": Row(nir.Scale(weights(3, 1, 1)), (3, 2, 4)),
    "scale_longdouble": Row(nir.Scale(weights(3).astype(np.longdouble)), (3,)),
    "scale_big_endian": Row(nir.Scale(weights(3).astype(">f8")), (3,)),
    "scale_of_one": Row(nir.Scale(weights(1)), (5,)),
    # Convolutions, with whatever a file may hold for one number or two.
    "conv1d": Row(conv1d(weights(3, 2, 3)), (2, 9)),
    "conv1d_no_bias": Row(conv1d(weights(3, 2, 3), bias=False), (2, 9)),
    "conv1d_stride": Row(conv1d(weights(3, 2, 3), stride=2, padding=1), (2, 8)),
    "conv1d_dilation": Row(conv1d(weights(3, 2, 3), dilation=2, padding=3), (2, 8)),
    "conv1d_groups": Row(conv1d(weights(4, 1, 3), groups=2), (2, 7)),
    "conv1d_depthwise": Row(conv1d(weights(3, 1, 2), groups=np.int64(3)), (3, 7)),
    "conv1d_arrays": Row(
        conv1d(weights(2, 2, 2), stride=np.array([2]), padding=(1,), dilation=np.array([1])), (2, 7)
    ),
    "conv1d_numpy_scalars": Row(
        conv1d(weights(2, 2, 2), stride=np.int64(2), padding=np.array(1)), (2, 7)
    ),
    "conv1d_same": Row(conv1d(weights(2, 2, 3), padding="same", dilation=2), (2, 7)),
    "conv1d_same_even": Row(conv1d(weights(2, 2, 4), padding="same"), (2, 7)),
    "conv1d_valid": Row(conv1d(weights(2, 2, 3), padding="valid", stride=3), (2, 9)),
    "conv2d": Row(conv2d(weights(3, 2, 3, 3)), (2, 5, 6)),
    "conv2d_no_bias": Row(conv2d(weights(3, 2, 3, 3), bias=False), (2, 5, 6)),
    "conv2d_not_square": Row(conv2d(weights(2, 2, 1, 4), stride=(2, 1), padding=(0, 2)), (2, 4, 5)),
    "conv2d_dilation": Row(conv2d(weights(2, 1, 2, 3), dilation=(2, 1), padding=1), (1, 5, 4)),
    "conv2d_groups": Row(conv2d(weights(4, 2, 2, 2), groups=2), (4, 4, 3)),
    "conv2d_depthwise": Row(conv2d(weights(4, 1, 2, 2), groups=2, stride=2), (2, 4, 4)),
    "conv2d_arrays": Row(
        conv2d(
            weights(2, 1, 2, 2),
            stride=np.array([1, 2]),
            padding=np.array([2, 1]),
            dilation=np.array([1, 1]),
            groups=np.array(1),
        ),
        (1, 3, 4),
    ),
    "conv2d_numpy_scalars": Row(
        conv2d(weights(2, 1, 2, 2), stride=np.int32(2), padding=np.int64(1)), (1, 3, 4)
    ),
    "conv2d_array_of_one": Row(conv2d(weights(2, 1, 2, 2), padding=np.array([1])), (1, 3, 4)),
    "conv2d_same": Row(conv2d(weights(2, 1, 3, 2), padding="same", dilation=(1, 2)), (1, 4, 5)),
    "conv2d_valid": Row(conv2d(weights(2, 1, 3, 2), padding="valid", stride=2), (1, 5, 5)),
    # Pooling, also with more padding than torch's own modules take.
    "sum_pool": Row(sum_pool(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])), (2, 4, 6)),
    "sum_pool_ints": Row(sum_pool(2, 1, 1), (2, 3, 4)),
    "sum_pool_pairs": Row(sum_pool((3, 1), (1, 2), (1, 0)), (1, 4, 5)),
    "sum_pool_padding": Row(sum_pool(np.array([2, 3]), 2, np.array([2, 3])), (2, 4, 4)),
    "sum_pool_remainder": Row(sum_pool(2, np.int64(3), 0), (1, 7, 6)),
    "sum_pool_tiles": Row(sum_pool((2, 3), (2, 3), (1, 0)), (2, 5, 7)),
    "avg_pool": Row(avg_pool(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])), (2, 4, 6)),
    "avg_pool_ints": Row(avg_pool(2, 1, 1), (2, 3, 4)),
    "avg_pool_pairs": Row(avg_pool((3, 1), (1, 2), (1, 0)), (1, 4, 5)),
    "avg_pool_padding": Row(avg_pool(np.array([2, 3]), 2, np.array([2, 3])), (2, 4, 4)),
    "avg_pool_tiles": Row(avg_pool((3, 2), (3, 2), (0, 1)), (2, 7, 5)),
    "avg_pool_remainder": Row(avg_pool(np.array([3]), np.array([2]), np.array(1)), (1, 6, 6)),
    "flatten": Row(flatten((2, 3, 4), 0, -1), (2, 3, 4)),
    "flatten_from_one": Row(flatten((2, 3, 4), 1, -1), (2, 3, 4)),
    "flatten_to_one": Row(flatten((2, 3, 4), 0, 1), (2, 3, 4)),
    "flatten_middle": Row(flatten((2, 3, 2, 2), 1, 2), (2, 3, 2, 2)),
    "flatten_negative": Row(flatten((2, 3, 2, 2), -3, -2), (2, 3, 2, 2)),
    "flatten_one_axis": Row(flatten((2, 3), -1, 1), (2, 3)),
    "flatten_numpy": Row(flatten((2, 3, 2), np.int64(0), np.int64(-1)), (2, 3, 2)),
    "threshold": Row(nir.Threshold(expanded((4,), -0.5, 0.5)), (4,)),
    "threshold_channels": Row(nir.Threshold(expanded((3, 1, 1), -0.5, 0.5)), (3, 2, 2)),
    "threshold_of_one": Row(nir.Threshold(np.array([0.1])), (4,)),
    "delay_uniform": Row(delay(3, 3), (2,)),
    "delay_one_step": Row(delay(1, 1, 1), (3,)),
    "delay_each": Row(delay(0, 1, 4, 20), (4,)),
    "delay_zero": Row(delay(0, 0), (2,)),
    "delay_rounded": Row(delay(0.4, 0.6, 1.5, 2.5), (4,)),
    "delay_float32": Row(delay(1, 2.5, 0.5, 3.4, dtype=np.float32), (4,)),
    "delay_channels": Row(nir.Delay(np.array([0, 2, 3]).reshape(3, 1, 1) * DT), (3, 2, 2)),
    "delay_of_one": Row(delay(2), (3,)),
    # Neurons: one value each, one for a layer, one for a channel.
    "i": Row(nir.I(expanded((4,), -1.0, 2.0)), (4,)),
    "i_of_one": Row(nir.I(np.array([0.7])), (4,)),
    "i_channels": Row(nir.I(expanded((3, 1, 1), 0.5, 2.0)), (3, 2, 2)),
    "if": Row(integrate_and_fire((4,)), (4,)),
    "if_of_one": Row(integrate_and_fire((1,)), (4,)),
    "if_channels": Row(integrate_and_fire((3, 1, 1)), (3, 2, 2)),
    "if_default_reset": Row(nir.IF(np.ones(3), expanded((3,), 0.4, 0.9)), (3,)),
    "li": Row(li((4,)), (4,)),
    "li_of_one": Row(li((1,)), (4,)),
    "li_channels": Row(li((3, 1, 1)), (3, 2, 2)),
    "lif": Row(lif((4,)), (4,)),
    "lif_of_one": Row(lif((1,)), (4,)),
    "lif_channels": Row(lif((3, 1, 1)), (3, 2, 2)),
    "lif_rows": Row(lif((2, 3)), (2, 3)),
    "cuba_li": Row(cuba(nir.CubaLI, (4,)), (4,)),
    "cuba_li_of_one": Row(cuba(nir.CubaLI, (1,)), (4,)),
    "cuba_li_channels": Row(cuba(nir.CubaLI, (3, 1, 1)), (3, 2, 2)),
    "cuba_li_equal_tau": Row(cuba(nir.CubaLI, (4,), equal=True), (4,)),
    "cuba_lif": Row(cuba(nir.CubaLIF, (4,)), (4,), 2.0),
    "cuba_lif_of_one": Row(cuba(nir.CubaLIF, (1,)), (4,), 2.0),
    "cuba_lif_channels": Row(cuba(nir.CubaLIF, (3, 1, 1)), (3, 2, 2), 2.0),
    "cuba_lif_equal_tau": Row(cuba(nir.CubaLIF, (4,), equal=True), (4,), 2.0),
    "cuba_lif_near_tau": Row(cuba(nir.CubaLIF, (4,), equal=True, closeness=1 + 1e-9), (4,), 2.0),
}


def rules_for(node: nir.NIRNode) -> Iterator[StepRules]:
    """Every combination of the rules that matter to a node."""
    nodes = list(node.nodes.values()) if isinstance(node, nir.NIRGraph) else [node]

    def choices(kinds: tuple[type, ...], *options: str) -> tuple[str, ...]:
        return options if any(isinstance(inner, kinds) for inner in nodes) else options[:1]

    for integration, reset, integrator_input in itertools.product(
        choices((*LEAKY, *CURRENT_BASED, nir.NIRGraph), "euler", "exact"),
        choices((*FIRING, nir.NIRGraph), "value", "subtract"),
        choices(INTEGRATORS, "charge", "current"),
    ):
        yield StepRules(DT, integration, reset, integrator_input)
    if any(isinstance(inner, (*FIRING, nir.NIRGraph)) for inner in nodes):
        yield StepRules(DT, reset="none", fire_at="reached")
        yield StepRules(DT, reset="value", reset_delay=True)
        yield StepRules(DT, "exact", "subtract", reset_delay=True)


def described(rules: StepRules) -> str:
    late = "-late" if rules.reset_delay else ""
    return f"{rules.integration}-{rules.reset}-{rules.integrator_input}{late}"


CASES = [
    pytest.param(name, rules, id=f"{name}-{described(rules)}")
    for name, row in ROWS.items()
    for rules in rules_for(row.node)
]


class StateRecorder(NeuronSimulation):
    """Also keeps how near each voltage came to the threshold before a reset."""

    nearest = np.inf

    def _subthreshold(self, state: dict[str, Array], x: Array) -> Array:
        v = super()._subthreshold(state, x)
        self.nearest = min(self.nearest, float(np.abs(v - self.node.v_threshold).min()))
        return v


def margin(node: nir.NIRNode, xs: Array, rules: StepRules) -> float:
    """The least distance between a value and the threshold that it is compared with."""
    if isinstance(node, nir.Threshold):
        return float(np.abs(xs - node.threshold).min())
    if isinstance(node, nir.NIRGraph):
        if "affine" not in node.nodes:
            return np.inf
        hidden = step_response(node.nodes["affine"], xs)
        return margin(node.nodes["inner"].nodes["node"], hidden, rules)
    if not isinstance(node, FIRING):
        return np.inf
    simulation = StateRecorder(node, rules)
    for x in xs:
        simulation.step(x)
    return simulation.nearest


@cache
def case(name: str, rules: StepRules) -> tuple[Array, Array]:
    """Inputs (T, 2, 3, *shape) that leave no spike to rounding, and the oracle's outputs."""
    row = ROWS[name]
    drive = row.drive / rules.dt if rules.integrator_input == "current" else row.drive
    for seed in range(50):
        noise = np.random.default_rng(seed).normal(size=(STEPS, *BATCH, *row.shape))
        # On the whole upwards, so that neurons fire; float32 must hold the same input.
        xs = (drive * (0.4 + noise)).astype(np.float32).astype(np.float64)
        if margin(row.node, xs, rules) > MARGIN:
            return xs, step_response(row.node, xs, **vars(rules))
    raise AssertionError(f"{name}: every input leads a voltage to its threshold")


def is_spiking(node: nir.NIRNode) -> bool:
    return isinstance(node, (*FIRING, nir.Threshold)) or (
        isinstance(node, nir.NIRGraph) and "inner" in node.nodes
    )


def node_map(rules: StepRules) -> Any:
    return default_map(
        rules.dt,
        integration=rules.integration,
        reset=rules.reset,
        integrator_input=rules.integrator_input,
        reset_delay=rules.reset_delay,
        fire_at=rules.fire_at,
    )


def run(module: Any, xs: Array, dtype: torch.dtype, stateful: bool = True) -> tuple[Array, Any]:
    """Outputs of all steps, and the states after each."""
    state, outputs, states = None, [], []
    for x in torch.from_numpy(xs).to(dtype):
        with torch.no_grad():
            y, state = module(x, state) if stateful else (module(x), None)
        assert y.dtype == dtype
        outputs.append(y)
        states.append(state)
    return torch.stack(outputs).double().numpy(), states


def assert_agrees(node: nir.NIRNode, actual: Array, expected: Array, dtype: torch.dtype) -> None:
    if is_spiking(node):
        assert_same_spikes(actual, expected)
    else:
        assert_close(actual, expected, **TOLERANCE[dtype])


def batches(values: Array) -> list[Array]:
    """The same run with two, one and no batch axes."""
    return [values, values[:, 1], values[:, 0, 2]]


# --------------------------------------------------------------------------------- the table


def test_every_nir_type_has_rows() -> None:
    declared = {nir.ir.str2NIRNode(name) for name in vars(nir.ir)["__all_ir"]}
    rows = [type(row.node) for row in ROWS.values()]
    assert len(declared) == 19
    assert {kind: rows.count(kind) >= 2 for kind in declared} == dict.fromkeys(declared, True)
    assert set(default_map()) == declared - {nir.NIRGraph}


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if is_spiking(row.node)])
def test_spiking_rows_fire_now_and_then(name: str) -> None:
    for rules in rules_for(ROWS[name].node):
        xs, spikes = case(name, rules)
        assert 0.05 < spikes.mean() < 0.95
        assert margin(ROWS[name].node, xs, rules) > MARGIN


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(("name", "rules"), CASES)
def test_converted_graph_agrees_with_the_oracle(
    name: str, rules: StepRules, dtype: torch.dtype
) -> None:
    row = ROWS[name]
    xs, expected = case(name, rules)
    module = module_of(graph_of(row.node, row.shape), {}, node_map(rules), dtype=dtype)
    for inputs, outputs in zip(batches(xs), batches(expected), strict=True):
        actual, _ = run(module, inputs, dtype)
        assert_agrees(row.node, actual, outputs, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(
    ("name", "rules"), [c for c in CASES if not isinstance(ROWS[c.values[0]].node, nir.NIRGraph)]
)
def test_map_entry_alone_agrees_with_the_oracle(
    name: str, rules: StepRules, dtype: torch.dtype
) -> None:
    node = ROWS[name].node
    xs, expected = case(name, rules)
    module = node_map(rules)[type(node)](node)
    if isinstance(node, (nir.Input, nir.Output)):
        assert module is None
        assert_close(xs, expected, rtol=0.0, atol=0.0)
        return
    module = module.to(dtype)
    stateful = isinstance(node, (*NEURONS, nir.Delay))
    for inputs, outputs in zip(batches(xs), batches(expected), strict=True):
        actual, states = run(module, inputs, dtype, stateful)
        assert_agrees(node, actual, outputs, dtype)
        if isinstance(node, NEURONS):
            trace = membrane_trace(node, inputs, **vars(rules))
            stacked = {key: torch.stack([s[key] for s in states]).double() for key in states[0]}
            assert_close(stacked, trace, **TOLERANCE[dtype])


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_a_batch_do_not_meet(name: str) -> None:
    """The batch as a whole, and row by row: also where no oracle would see the difference."""
    row, rules = ROWS[name], StepRules(DT)
    xs, _ = case(name, rules)
    module = module_of(graph_of(row.node, row.shape), {}, node_map(rules), dtype=torch.float64)
    together, _ = run(module, xs, torch.float64)
    for place in np.ndindex(*BATCH):
        alone, _ = run(module, xs[(slice(None), *place)], torch.float64)
        assert_close(together[(slice(None), *place)], alone, rtol=1e-13, atol=1e-13)
    nobody, _ = run(module, xs[:, :0], torch.float64)
    assert nobody.shape == together[:, :0].shape


@pytest.mark.parametrize(
    "name", [n for n, row in ROWS.items() if not isinstance(row.node, (nir.Input, nir.Output))]
)
def test_no_input_is_broadcast(name: str) -> None:
    """An axis of size one where the node has more is an error, never repeated."""
    row = ROWS[name]
    module = module_of(graph_of(row.node, row.shape), {}, node_map(StepRules(DT)))
    wide = [axis for axis, size in enumerate(required_shape(row)) if size > 1]
    for axis in wide:
        shape = [2, *row.shape]
        shape[axis + 1] = 1
        with pytest.raises((StateError, RuntimeError)) as raised:
            module(torch.ones(shape))
        if hasattr(row.node, "v_leak") or isinstance(row.node, (nir.Scale, nir.Delay)):
            parameters = tuple(np.broadcast_shapes(required_shape(row)))
            assert isinstance(raised.value, StateError)
            assert f"the shape {tuple(shape)}" in str(raised.value)
            assert str(parameters)[1:-1] in str(raised.value)


def required_shape(row: Row) -> tuple[int, ...]:
    """The sizes that a node's parameters ask of its input; 1 where they ask nothing."""
    node = row.node
    if isinstance(node, nir.NIRGraph):
        return row.shape
    if isinstance(node, (nir.Affine, nir.Linear)):
        wanted = (*node.weight.shape[:-2], node.weight.shape[-1])
        return (*[1] * (len(row.shape) - len(wanted)), *wanted)
    if isinstance(node, (nir.Conv1d, nir.Conv2d)):
        return (row.shape[0], *[1] * (len(row.shape) - 1))
    for parameter in ("r", "scale", "threshold", "delay"):
        if hasattr(node, parameter):
            shape = np.shape(getattr(node, parameter))
            return (*[1] * (len(row.shape) - len(shape)), *shape)
    return (1,) * len(row.shape)


# ---------------------------------------------------------------------- the equations themselves

NEVER = np.full(3, 1e9)
TAU = {"tau": expanded((3,), 2e-3, 9e-3)}
LEAKS = {"r": expanded((3,), 0.5, 2.0), "v_leak": expanded((3,), -0.6, 0.4)}


def of_tau(tau_syn: float, tau_mem: float) -> nir.CubaLI:
    return nir.CubaLI(
        np.full(3, tau_syn), np.full(3, tau_mem), w_in=expanded((3,), 0.5, 2), **LEAKS
    )


SOLVED = {
    "i": (nir.I(LEAKS["r"]), DT),
    "if": (nir.IF(LEAKS["r"], NEVER), DT),
    "li": (nir.LI(**TAU, **LEAKS), DT),
    "li_long_step": (nir.LI(**TAU, **LEAKS), 0.5),
    "li_short_step": (nir.LI(**TAU, **LEAKS), 1e-9),
    "lif": (nir.LIF(**TAU, **LEAKS, v_threshold=NEVER), DT),
    "cuba_li": (of_tau(2e-3, 5e-3), DT),
    "cuba_li_slow_synapse": (of_tau(7e-3, 1e-3), DT),
    "cuba_li_equal": (of_tau(3e-3, 3e-3), DT),
    "cuba_li_equal_long_step": (of_tau(3e-3, 3e-3), 0.05),
    "cuba_li_nearly_equal": (of_tau(3e-3, 3e-3 * (1 + 1e-7)), DT),
    "cuba_li_one_digit_apart": (of_tau(3e-3, float(np.nextafter(3e-3, 1))), DT),
    "cuba_li_fast_synapse": (of_tau(1e-6, 1.0), DT),
    "cuba_li_fast_membrane": (of_tau(1.0, 1e-6), DT),
    "cuba_li_long_step": (of_tau(1e-3, 2e-3), 1.0),
    "cuba_li_short_step": (of_tau(1e-3, 2e-3), 1e-9),
    "cuba_lif": (
        nir.CubaLIF(np.full(3, 2e-3), np.full(3, 5e-3), v_threshold=NEVER, **LEAKS),
        DT,
    ),
}


@pytest.mark.parametrize("name", SOLVED)
def test_exact_integration_solves_the_equation(name: str) -> None:
    """Against a general solver of the node's own equation, over steps of different input."""
    node, dt = SOLVED[name]
    xs = weights(4, 3, seed=7)
    if isinstance(node, INTEGRATORS):
        node_rules = StepRules(dt, "exact", integrator_input="current")
    else:
        node_rules = StepRules(dt, "exact")
    module = node_map(node_rules)[type(node)](node).double()
    _, states = run(module, xs, torch.float64)
    start: dict[str, Any] = {}
    for x, state in zip(xs, states, strict=True):
        solved = ode_reference(node, x, dt, points=2, **start)
        expected = {key: values[-1] for key, values in solved.items() if key != "t"}
        assert_close(state, expected, rtol=1e-9, atol=1e-12)
        start = {f"{key}0": values for key, values in expected.items()}


def test_the_rules_differ_where_they_should() -> None:
    """So that no comparison above holds because a rule is ignored."""
    for name in ("lif", "cuba_lif", "if"):
        row = ROWS[name]
        # Strong enough in the end for an IF that takes its input times dt.
        xs = np.repeat([3.0, 600.0], 6)[:, None] * np.ones(row.shape)
        outcomes = {run_with(row.node, xs, rules) for rules in rules_for(row.node)}
        assert len(outcomes) == len(list(rules_for(row.node)))


def run_with(node: nir.NIRNode, xs: Array, rules: StepRules) -> tuple[float, ...]:
    _, states = run(node_map(rules)[type(node)](node).double(), xs, torch.float64)
    return tuple(torch.stack([state["v"] for state in states]).flatten().tolist())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("integration", ["euler", "exact"])
@pytest.mark.parametrize("with_gradient", [False, True])
def test_a_value_at_the_threshold_does_not_spike(
    integration: str, dtype: torch.dtype, with_gradient: bool
) -> None:
    """Strictly above: 1.0 against 1.0 is silent, the next number fires."""
    above = torch.nextafter(torch.tensor(1.0, dtype=dtype), torch.tensor(2.0, dtype=dtype))
    x = torch.stack([torch.tensor(1.0, dtype=dtype), above])
    x.requires_grad_(with_gradient)
    nodes = default_map(dt=DT, integration=integration)
    fires = nodes[nir.IF](nir.IF(np.ones(2), np.ones(2))).to(dtype)
    z, state = fires(x)
    assert z.tolist() == [0.0, 1.0]
    assert state["v"].tolist() == [1.0, 0.0]
    threshold = nodes[nir.Threshold](nir.Threshold(np.ones(2))).to(dtype)
    assert threshold(x).tolist() == [0.0, 1.0]
    # v rests at 1, its equilibrium, and stays there: no spike. Just below 1 it fires each time.
    rests = nir.LIF(np.full(2, 4e-3), np.ones(2), np.ones(2), np.array([1.0, 0.99]))
    lif_module, state = nodes[nir.LIF](rests).to(dtype), None
    for _ in range(3):
        z, state = lif_module(torch.zeros(2, dtype=dtype), state)
        assert z[0].item() == 0.0
        assert state["v"][0].item() == 1.0


# ----------------------------------------------------------------------------------- misuse

MISUSE = [
    ("another batch", lambda state: {k: v[:1] for k, v in state.items()}, "has the shape"),
    ("another width", lambda state: {k: v[..., :1] for k, v in state.items()}, "has the shape"),
    ("more axes", lambda state: {k: v[None] for k, v in state.items()}, "has the shape"),
    ("nothing", lambda state: {}, "without a tensor"),
    ("another name", lambda state: {"u": state.get("v")}, "without a tensor"),
    ("numbers", lambda state: dict.fromkeys(state, float("nan")), "without a tensor"),
    ("none", lambda state: dict.fromkeys(state), "without a tensor"),
    ("a tensor", lambda state: next(iter(state.values())), "without a tensor"),
    ("a list", lambda state: list(state.values()), "without a tensor"),
]


@pytest.mark.parametrize(("what", "spoilt", "message"), MISUSE, ids=[row[0] for row in MISUSE])
@pytest.mark.parametrize(
    "name", ["i", "if", "li", "lif", "cuba_li", "cuba_lif", "delay_uniform", "delay_each"]
)
def test_a_state_that_does_not_belong_is_refused(
    name: str, what: str, spoilt: Any, message: str
) -> None:
    row = ROWS[name]
    module = node_map(StepRules(DT))[type(row.node)](row.node).float()
    x = torch.ones(2, *row.shape)
    _, state = module(x)
    before = {key: value.clone() for key, value in state.items()}
    module(x, state)
    with pytest.raises(StateError, match=message) as raised:
        module(x, spoilt(state))
    assert raised.value.findings[0].code in ("NIR601", "NIR602")
    assert raised.value.findings[0].hint
    assert all(torch.equal(state[key], before[key]) for key in before)


BAD_OPTIONS = [
    ({"dt": "fast"}, "neither 'auto' nor a number"),
    ({"dt": 0.0}, "not a positive number"),
    ({"dt": float("nan")}, "not a positive number"),
    ({"dt": float("inf")}, "not a positive number"),
    ({"integration": "midpoint"}, "not one of euler, exact"),
    ({"reset": "zero"}, "not one of value, subtract"),
    ({"integrator_input": "voltage"}, "not one of charge, current"),
    ({"surrogate": "step"}, "no surrogate 'step'"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_options_that_are_none_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        default_map(**options)


def test_parameters_that_are_no_real_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match="complex128 are not real numbers"):
        default_map()[nir.Scale](nir.Scale(np.ones(2) * 1j))
    flat = nir.Flatten(input_type=None, start_dim=0)
    with pytest.raises(ValueError, match="give the Input a shape"):
        default_map()[nir.Flatten](flat)
    from_back = nir.Flatten(input_type=None, start_dim=-2, end_dim=-1)
    assert default_map()[nir.Flatten](from_back)(torch.ones(5, 2, 3)).shape == (5, 6)
    with pytest.raises(ValueError, match="negative or not finite"):
        default_map()[nir.Delay](nir.Delay(np.array([-1.0])))
