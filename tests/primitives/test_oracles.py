"""Checks the oracles themselves: against closed forms, SciPy and numbers worked out by hand.

In: nothing but the oracles and small nodes written out here. Out: pass or fail.
Each oracle is also shown to fail: given one wrong value, the comparison must say so.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import pytest
from numpy.typing import ArrayLike
from oracles import (
    COVERED,
    Array,
    assert_close,
    assert_same_spikes,
    delay_in_steps,
    membrane_trace,
    ode_reference,
    run_graph,
    step_response,
)
from scipy.signal import correlate  # type: ignore[import-untyped]

EXACT = {"rtol": 0.0, "atol": 0.0}
ROUNDING = {"rtol": 1e-13, "atol": 1e-13}
ODE = {"rtol": 1e-9, "atol": 1e-9}


def array(*values: Any) -> Array:
    return np.array(values, dtype=np.float64)


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def li(tau: Array, r: Array, v_leak: Array) -> nir.LI:
    return nir.LI(tau=tau, r=r, v_leak=v_leak)


def cuba_li(tau_syn: Array, tau_mem: Array) -> nir.CubaLI:
    size = len(tau_syn)
    return nir.CubaLI(
        tau_syn=tau_syn,
        tau_mem=tau_mem,
        r=np.linspace(0.5, 3.0, size),
        v_leak=np.linspace(-1.0, 0.7, size),
        w_in=np.linspace(2.0, -0.4, size),
    )


def assert_accepts_only(actual: ArrayLike, expected: ArrayLike, **tolerance: float) -> None:
    """`expected` passes, and stops passing with any one of its values changed."""
    assert_close(actual, expected, **tolerance)
    for index in np.ndindex(np.shape(expected)):
        wrong = np.array(expected, dtype=np.float64)
        wrong[index] += 1e-6
        with pytest.raises(AssertionError, match="values differ"):
            assert_close(actual, wrong, **tolerance)


# ------------------------------------------------------------------------------------ coverage


def test_every_nir_type_is_covered() -> None:
    declared = {nir.ir.str2NIRNode(name) for name in vars(nir.ir)["__all_ir"]}
    assert len(declared) == 19
    assert set(COVERED) == declared


class UnknownNode(nir.Scale):  # type: ignore[misc]
    pass


def test_unknown_type_is_refused_even_if_it_extends_a_known_one() -> None:
    with pytest.raises(TypeError, match="UnknownNode"):
        step_response(UnknownNode(scale=array(1.0)), [[1.0]])
    with pytest.raises(TypeError, match="Scale"):
        membrane_trace(nir.Scale(scale=array(1.0)), [[1.0]])
    with pytest.raises(TypeError, match="Scale"):
        ode_reference(nir.Scale(scale=array(1.0)), array(1.0), 1.0, points=2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dt": 0.0},
        {"dt": float("nan")},
        {"integration": "exakt"},
        {"reset": "zero"},
        {"integrator_input": "voltage"},
    ],
)
def test_unknown_rule_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        step_response(nir.I(r=array(1.0)), [[1.0]], **wrong)


# ------------------------------------------------------------------------- neurons against ODE


def test_li_exact_is_the_ode() -> None:
    node = li(array(1e-3, 2e-2, 0.5), array(1.0, -2.0, 3.0), array(0.0, 0.5, -1.0))
    x, dt, steps = array(0.3, -1.2, 2.0), 3e-3, 12
    actual = step_response(node, np.tile(x, (steps, 1)), dt=dt, integration="exact")
    expected = ode_reference(node, x, steps * dt, points=steps + 1)["v"][1:]
    assert_accepts_only(actual, expected, **ODE)


@pytest.mark.parametrize(
    ("tau_syn", "tau_mem"),
    [
        pytest.param([1e-2, 0.3], [1e-2, 0.3], id="equal"),
        pytest.param([1e-2, 0.3], [1e-2 * (1 + 1e-9), 0.3 * (1 - 1e-7)], id="nearly equal"),
        pytest.param([1e-4, 2e-3], [1e-1, 0.4], id="fast synapse"),
        pytest.param([1e-1, 0.4], [1e-4, 2e-3], id="fast membrane"),
        pytest.param([8e-3, 5e-3], [5e-3, 8e-3], id="ordinary"),
    ],
)
def test_cuba_li_exact_is_the_ode(tau_syn: list[float], tau_mem: list[float]) -> None:
    node = cuba_li(array(*tau_syn), array(*tau_mem))
    x, dt, steps = array(1.5, -0.7), 2e-3, 8
    actual = membrane_trace(node, np.tile(x, (steps, 1)), dt=dt, integration="exact")
    expected = ode_reference(node, x, steps * dt, points=steps + 1)
    assert_accepts_only(actual["v"], expected["v"][1:], **ODE)
    assert_accepts_only(actual["i"], expected["i"][1:], **ODE)


def test_cuba_exact_survives_a_membrane_far_faster_than_the_step() -> None:
    node = cuba_li(array(1e-2), array(1e-6))
    trace = membrane_trace(node, np.ones((5, 1)), dt=1e-2, integration="exact")
    # The membrane then follows the current: v = v_leak + r * i up to tau_mem / tau_syn.
    assert_close(trace["v"], -1.0 + 0.5 * trace["i"], rtol=0, atol=2e-4)


def test_exact_steps_follow_an_input_that_changes() -> None:
    node = cuba_li(array(8e-3), array(5e-3))
    xs, dt = array([1.0], [0.0], [-2.0], [4.0]), 4e-3
    actual = membrane_trace(node, xs, dt=dt, integration="exact")
    v, i = array(-1.0), array(0.0)
    for step, x in enumerate(xs):
        end = ode_reference(node, x, dt, v, i, points=2)
        v, i = end["v"][-1], end["i"][-1]
        assert_accepts_only(actual["v"][step], v, **ODE)
        assert_accepts_only(actual["i"][step], i, **ODE)


@pytest.mark.parametrize("kind", ["LI", "CubaLI"])
def test_euler_approaches_the_ode_at_first_order(kind: str) -> None:
    node: Any = cuba_li(array(8e-3), array(5e-3))
    if kind == "LI":
        node = li(array(8e-3), array(2.0), array(0.3))
    expected = ode_reference(node, array(1.5), 0.01, points=2)["v"][-1]
    errors = []
    for steps in (1000, 2000):
        v = step_response(node, np.full((steps, 1), 1.5), dt=0.01 / steps)
        errors.append(np.abs(v[-1] - expected).item())
    assert errors[0] < 2e-3
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.01)


def test_ode_reference_has_the_textbook_solutions() -> None:
    t = np.linspace(0, 0.05, 11)
    v = ode_reference(li(array(0.01), array(2.0), array(0.5)), 3.0, 0.05, 1.0, points=11)["v"]
    assert_accepts_only(v[:, 0], 6.5 - 5.5 * np.exp(-t / 0.01), rtol=0, atol=1e-11)
    v = ode_reference(nir.I(r=array(2.0)), 3.0, 0.05, points=[0.0, 0.02, 0.05])["v"]
    assert_accepts_only(v[:, 0], [0.0, 0.12, 0.3], rtol=0, atol=1e-12)
    node = nir.CubaLI(array(0.01), array(0.01), array(2.0), array(0.0), array(1.0))
    trace = ode_reference(node, 0.0, 0.05, 0.0, 1.0, points=11)
    assert_accepts_only(trace["i"][:, 0], np.exp(-t / 0.01), rtol=0, atol=1e-11)
    alpha = 2 * t / 0.01 * np.exp(-t / 0.01)
    assert_accepts_only(trace["v"][:, 0], alpha, rtol=0, atol=1e-11)
    assert_close(trace["t"], t, **EXACT)


def test_ode_reference_refuses_what_it_cannot_answer() -> None:
    node = nir.I(r=array(2.0))
    with pytest.raises(ValueError, match="i0"):
        ode_reference(node, 1.0, 1.0, 0.0, 0.0, points=2)
    for points in ([0.5, 0.2], [0.5, 2.0], [-0.1, 1.0]):
        with pytest.raises(ValueError, match="points"):
            ode_reference(node, 1.0, 1.0, points=points)


# --------------------------------------------------------------------------- neurons by hand


def test_euler_steps_by_hand() -> None:
    # v = 1 at first; 1 + (1 - 1 + 6) / 2 = 4; 4 + (1 - 4 + 6) / 2 = 5.5
    node = li(array(2.0), array(2.0), array(1.0))
    assert_accepts_only(step_response(node, [[3.0], [3.0]], dt=1.0), [[4.0], [5.5]], **EXACT)
    # i = 1, 1.5; v = 1 + (1 - 1 + 3 * 1) / 4 = 1.75; 1.75 + (1 - 1.75 + 3 * 1.5) / 4 = 2.6875
    cuba = nir.CubaLI(array(2.0), array(4.0), array(3.0), array(1.0), array(2.0))
    trace = membrane_trace(cuba, [[1.0], [1.0]], dt=1.0)
    assert_accepts_only(trace["i"], [[1.0], [1.5]], **EXACT)
    assert_accepts_only(trace["v"], [[1.75], [2.6875]], **EXACT)
    assert_close(step_response(cuba, [[1.0], [1.0]], dt=1.0), trace["v"], **EXACT)


def test_integrator_adds_charge_or_current() -> None:
    node, xs = nir.I(r=array(2.0, -1.0)), [[1.0, 3.0], [0.5, 0.5]]
    for integration in ("euler", "exact"):
        charge = step_response(node, xs, dt=0.25, integration=integration)
        assert_accepts_only(charge, [[2.0, -3.0], [3.0, -3.5]], **EXACT)
        current = step_response(
            node, xs, dt=0.25, integration=integration, integrator_input="current"
        )
        assert_accepts_only(current, [[0.5, -0.75], [0.75, -0.875]], **EXACT)


def test_threshold_is_strict_and_resets_go_to_v_reset_or_down_by_the_threshold() -> None:
    # 0.5, 1.0 (no spike: not above 1), 1.5 (spike), and on from 0.25 or from 1.5 - 1 = 0.5.
    node, xs = nir.IF(array(1.0), array(1.0), array(0.25)), np.full((5, 1), 0.5)
    value = membrane_trace(node, xs)["v"]
    assert_accepts_only(value, [[0.5], [1.0], [0.25], [0.75], [0.25]], **EXACT)
    assert_same_spikes(step_response(node, xs), [[0], [0], [1], [0], [1]])
    subtract = membrane_trace(node, xs, reset="subtract")["v"]
    assert_accepts_only(subtract, [[0.5], [1.0], [0.5], [1.0], [0.5]], **EXACT)
    spikes = step_response(node, xs, reset="subtract")
    assert_same_spikes(spikes, [[0], [0], [1], [0], [1]])
    with pytest.raises(AssertionError, match="2 of 5 spikes differ"):
        assert_same_spikes(spikes, step_response(node, xs, fire_at="reached", reset="none"))
    none = membrane_trace(node, xs, reset="none", fire_at="reached")["v"]
    assert_accepts_only(none, [[0.5], [1.0], [1.5], [2.0], [2.5]], **EXACT)
    assert_same_spikes(step_response(node, xs, reset="none"), [[0], [0], [1], [1], [1]])
    # A reset of the step before: at 1.5 the spike, then 0.25 + 0.5, or 1.5 + 0.5 - 1.
    late = membrane_trace(node, xs, reset_delay=True)["v"]
    assert_accepts_only(late, [[0.5], [1.0], [1.5], [0.75], [1.25]], **EXACT)
    late = membrane_trace(node, xs, reset_delay=True, reset="subtract")["v"]
    assert_accepts_only(late, [[0.5], [1.0], [1.5], [1.0], [1.5]], **EXACT)


def test_lif_fires_after_the_time_of_the_closed_form() -> None:
    tau, r, v_leak, threshold, dt = 0.02, 2.0, 0.1, 1.0, 1e-3
    node = nir.LIF(*(array(p) for p in (tau, r, v_leak, threshold, v_leak)))
    # From v_leak, v reaches the threshold after tau * log(r x / (r x - (threshold - v_leak))).
    for x in (0.5, 0.7, 1.3):
        rise = tau * np.log(r * x / (r * x - (threshold - v_leak)))
        period = int(np.floor(rise / dt)) + 1
        spikes = step_response(node, np.full((100, 1), x), dt=dt, integration="exact")
        assert np.flatnonzero(spikes).tolist() == list(range(period - 1, 100, period))


@pytest.mark.parametrize("integration", ["euler", "exact"])
def test_a_spike_resets_the_membrane_and_not_the_current(integration: str) -> None:
    times = [array(p) for p in (8e-3, 5e-3)]
    firing = nir.CubaLIF(*times, array(2.0), array(0.0), array(0.6), array(-0.1), array(1.5))
    silent = nir.CubaLI(*times, array(2.0), array(0.0), array(1.5))
    rules: dict[str, Any] = {"dt": 1e-3, "integration": integration}
    xs = np.ones((40, 1))
    with_spikes, without = membrane_trace(firing, xs, **rules), membrane_trace(silent, xs, **rules)
    spikes = step_response(firing, xs, **rules)
    assert 1 < np.count_nonzero(spikes) < 40
    assert_close(with_spikes["i"], without["i"], **EXACT)
    assert np.all(with_spikes["v"][spikes == 1] == -0.1)
    first = int(np.argmax(spikes))
    assert_close(with_spikes["v"][:first], without["v"][:first], **EXACT)
    assert without["v"][first] > 0.6 >= without["v"][first - 1]


def neurons() -> list[nir.NIRNode]:
    a, b, c, d = (np.linspace(low, low + 0.2, 3) for low in (0.01, 0.03, 0.5, -0.3))
    return [
        li(a, c, d),
        nir.LIF(a, c, d, c, d),
        cuba_li(a, b),
        nir.CubaLIF(a, b, c, d, c, d, c),
        nir.I(r=c),
        nir.IF(c, c, d),
    ]


@pytest.mark.parametrize("node", neurons(), ids=lambda node: type(node).__name__)
def test_batch_axes_do_not_mix(node: nir.NIRNode) -> None:
    xs = random(6, 2, 4, 3) * 5
    for rules in ({"integration": "euler"}, {"integration": "exact", "reset": "subtract"}):
        together = step_response(node, xs, dt=2e-3, **rules)
        assert together.shape == xs.shape
        for j, k in np.ndindex(2, 4):
            alone = step_response(node, xs[:, j, k], dt=2e-3, **rules)
            assert_close(together[:, j, k], alone, **EXACT)


def test_state_starts_at_v_leak_or_zero() -> None:
    zero = np.zeros((1, 3))
    for node in neurons():
        expected = getattr(node, "v_leak", np.zeros(3))
        trace = membrane_trace(node, zero, integration="exact")
        if not isinstance(node, nir.IF | nir.LIF | nir.CubaLIF):
            assert_accepts_only(trace["v"][0], expected, rtol=0, atol=1e-15)
        assert ("i" in trace) == isinstance(node, nir.CubaLI | nir.CubaLIF)


# --------------------------------------------------------------------- nodes without a state


def test_pointwise_nodes_by_hand() -> None:
    xs = array([[1.0, 2.0], [0.5, -3.0]])
    threshold = nir.Threshold(threshold=array(1.0, -3.0))
    assert_accepts_only(step_response(threshold, xs), [[[0, 1], [0, 0]]], **EXACT)
    scale = nir.Scale(scale=array(2.0, -1.0))
    assert_accepts_only(step_response(scale, xs), [[[2, -2], [1, 3]]], **EXACT)
    for node in (nir.Input(np.array([2])), nir.Output(np.array([2]))):
        assert_accepts_only(step_response(node, xs), xs, **EXACT)


def test_linear_and_affine_against_einsum() -> None:
    for weight, bias in ((random(4, 3), random(4)), (random(2, 5, 4, 3), random(2, 5, 4))):
        for batch in ((), (2,), (2, 3)):
            xs = random(2, *batch, *weight.shape[:-2], 3, seed=1)
            product = np.einsum("...oi,...i->...o", weight, xs)
            assert_accepts_only(step_response(nir.Linear(weight), xs), product, **ROUNDING)
            affine = step_response(nir.Affine(weight, bias), xs)
            assert_accepts_only(affine, product + bias, **ROUNDING)
    with pytest.raises(ValueError, match="cannot take"):
        step_response(nir.Linear(random(4, 3)), random(2, 4))


def test_flatten_counts_axes_of_the_nir_shape() -> None:
    shape = (2, 3, 4)
    expected = {(0, -1): (24,), (1, -1): (2, 12), (0, 1): (6, 4), (-2, 2): (2, 12), (1, 1): shape}
    for batch in ((), (5,), (5, 1)):
        xs = random(2, *batch, *shape)
        for (start, end), flat in expected.items():
            node = nir.Flatten(np.array(shape), start_dim=start, end_dim=end)
            actual = step_response(node, xs)
            assert actual.shape == (2, *batch, *flat)
            assert_close(actual.ravel(), xs.ravel(), **EXACT)
    with pytest.raises(ValueError, match="input shape"):
        step_response(nir.Flatten(None), random(1, 2, 3))
    with pytest.raises(ValueError, match="cannot take"):
        step_response(nir.Flatten(np.array([2, 3])), random(1, 3, 2))


# ------------------------------------------------------------------------- convolution, pooling


def conv2d(weight: Array, bias: Array | None = None, **changes: Any) -> nir.Conv2d:
    fields = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **changes}
    return nir.Conv2d(input_shape=None, weight=weight, bias=bias, **fields)


def conv1d(weight: Array, bias: Array | None = None, **changes: Any) -> nir.Conv1d:
    fields = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **changes}
    return nir.Conv1d(input_shape=None, weight=weight, bias=bias, **fields)


def correlated(x: Array, weight: Array) -> Array:
    """SciPy's cross-correlation of one sample (C_in, ...) with each output channel's weights."""
    return np.stack([correlate(x, one, mode="valid", method="direct")[0] for one in weight])


def test_conv2d_against_scipy() -> None:
    x, weight, bias = random(3, 6, 7), random(2, 3, 3, 2, seed=1), array(0.5, -1.0)
    plain = correlated(x, weight)
    assert_accepts_only(step_response(conv2d(weight), x[None])[0], plain, **ROUNDING)
    with_bias = plain + bias[:, None, None]
    for batch in ((), (2,), (2, 1)):
        xs = np.broadcast_to(x, (1, *batch, *x.shape))
        expected = np.broadcast_to(with_bias, (1, *batch, *with_bias.shape))
        assert_accepts_only(step_response(conv2d(weight, bias), xs), expected, **ROUNDING)
    strided = step_response(conv2d(weight, stride=(2, 3)), x[None])[0]
    assert_accepts_only(strided, plain[:, ::2, ::3], **ROUNDING)
    around = np.pad(x, [(0, 0), (2, 2), (1, 1)])
    padded = step_response(conv2d(weight, padding=np.array([2, 1])), x[None])[0]
    assert_accepts_only(padded, correlated(around, weight), **ROUNDING)


def test_conv2d_dilation_and_groups_against_scipy() -> None:
    x, weight = random(2, 7, 8), random(2, 2, 3, 2, seed=1)
    holes = np.zeros((2, 2, 5, 4))
    holes[:, :, ::2, ::3] = weight
    dilated = step_response(conv2d(weight, dilation=(2, 3)), x[None])[0]
    assert_accepts_only(dilated, correlated(x, holes), **ROUNDING)
    x, weight = random(4, 4, 3), random(6, 2, 2, 2, seed=1)
    apart = np.concatenate([correlated(x[:2], weight[:3]), correlated(x[2:], weight[3:])])
    grouped = step_response(conv2d(weight, groups=2), x[None])[0]
    assert_accepts_only(grouped, apart, **ROUNDING)


def test_conv1d_against_scipy_and_by_hand() -> None:
    x, weight, bias = random(3, 9), random(2, 3, 4, seed=1), array(0.5, -1.0)
    plain = correlated(x, weight)
    actual = step_response(conv1d(weight, bias), x[None])[0]
    assert_accepts_only(actual, plain + bias[:, None], **ROUNDING)
    strided = step_response(conv1d(weight, stride=np.int64(2), padding=np.array([1])), x[None])[0]
    around = np.pad(x, [(0, 0), (1, 1)])
    assert_accepts_only(strided, correlated(around, weight)[:, ::2], **ROUNDING)
    xs = array([[1.0, 2.0, 3.0, 4.0]])
    # Two taps apart: 1*1 + 10*3, 1*2 + 10*4. A convolution that flips the kernel gives 13, 24.
    dilated = step_response(conv1d(array([[1.0, 10.0]]), dilation=2), xs)
    assert_accepts_only(dilated, [[[31.0, 42.0]]], **EXACT)


def test_same_padding_puts_the_odd_zero_on_the_right() -> None:
    xs = array([[1.0, 2.0, 3.0]])
    # 0 before, 1 after: 1 + 20, 2 + 30, 3 + 0. Before instead of after it would be 10, 21, 32.
    same = step_response(conv1d(array([[1.0, 10.0]]), padding="same"), xs)
    assert_accepts_only(same, [[[21.0, 32.0, 3.0]]], **EXACT)
    valid = step_response(conv1d(array([[1.0, 10.0]]), padding="valid"), xs)
    assert_accepts_only(valid, [[[21.0, 32.0]]], **EXACT)
    x, weight = random(1, 4, 5), random(1, 1, 3, 4, seed=1)
    around = np.pad(x, [(0, 0), (1, 1), (1, 2)])
    actual = step_response(conv2d(weight, padding="same"), x[None])[0]
    assert_accepts_only(actual, correlated(around, weight), **ROUNDING)


def test_convolution_refuses_wrong_channels_and_padding() -> None:
    with pytest.raises(ValueError, match="channels"):
        step_response(conv2d(random(2, 3, 1, 1)), random(1, 4, 5, 5))
    with pytest.raises(ValueError, match="padding"):
        step_response(conv2d(random(2, 3, 1, 1), padding=(1, 2, 3)), random(1, 3, 5, 5))
    with pytest.raises(ValueError, match="no window"):
        step_response(conv2d(random(2, 3, 6, 1)), random(1, 3, 5, 5))


FOUR_BY_FOUR = np.arange(1.0, 17.0).reshape(1, 1, 4, 4)


def pools(kernel: Any, stride: Any, padding: Any) -> tuple[nir.SumPool2d, nir.AvgPool2d]:
    fields = (np.array(kernel), np.array(stride), np.array(padding))
    return nir.SumPool2d(*fields), nir.AvgPool2d(*fields)


def test_pooling_a_four_by_four_by_hand() -> None:
    total, average = pools((2, 2), (2, 2), (0, 0))
    sums = array([[14.0, 22.0], [46.0, 54.0]])[None]
    assert_accepts_only(step_response(total, FOUR_BY_FOUR), sums, **EXACT)
    assert_accepts_only(step_response(average, FOUR_BY_FOUR), sums / 4, **EXACT)
    # One zero around: corners see 1 value, edges 2; the average still divides by 4.
    total, average = pools(2, 2, 1)
    sums = array([[1.0, 5.0, 4.0], [14.0, 34.0, 20.0], [13.0, 29.0, 16.0]])[None]
    assert_accepts_only(step_response(total, FOUR_BY_FOUR), sums, **EXACT)
    assert_accepts_only(step_response(average, FOUR_BY_FOUR), sums / 4, **EXACT)
    # Three columns wide, one row high, 2 columns on: the second window would not fit.
    total, average = pools((1, 3), (3, 2), (0, 0))
    sums = array([[6.0], [42.0]])[None]
    assert_accepts_only(step_response(total, FOUR_BY_FOUR), sums, **EXACT)
    assert_accepts_only(step_response(average, FOUR_BY_FOUR), sums / 3, **EXACT)
    # Two by two, 1 row and 2 columns on.
    total, average = pools((2, 2), (1, 2), (0, 0))
    sums = array([[14.0, 22.0], [30.0, 38.0], [46.0, 54.0]])[None]
    assert_accepts_only(step_response(total, FOUR_BY_FOUR), sums, **EXACT)
    assert_accepts_only(step_response(average, FOUR_BY_FOUR), sums / 4, **EXACT)


def test_pooling_leaves_leading_axes_alone() -> None:
    xs = random(2, 3, 2, 5, 4)
    for node in pools((2, 3), (1, 1), (1, 0)):
        together = step_response(node, xs)
        assert together.shape == (2, 3, 2, 6, 2)
        for j, k in np.ndindex(3, 2):
            assert_close(together[:, j, k], step_response(node, xs[:, j, k]), **EXACT)


# --------------------------------------------------------------------------------------- delay


def test_delay_by_hand() -> None:
    node = nir.Delay(delay=array(0.0, 1e-4, 3e-4, 9e-4))
    xs = np.arange(1.0, 6.0)[:, None] * array(1.0, 10.0, 100.0, 1000.0)
    expected = [
        [1.0, 0.0, 0.0, 0.0],
        [2.0, 10.0, 0.0, 0.0],
        [3.0, 20.0, 0.0, 0.0],
        [4.0, 30.0, 100.0, 0.0],
        [5.0, 40.0, 200.0, 0.0],
    ]
    assert_accepts_only(step_response(node, xs), expected, **EXACT)
    batched = step_response(node, np.stack([xs, 2 * xs], axis=1))
    assert_close(batched, np.stack([expected, np.multiply(2, expected)], axis=1), **EXACT)


def test_delay_rounds_to_the_nearest_step_and_halves_up() -> None:
    assert delay_in_steps([0.0, 1.4e-4, 1.6e-4, 2.5e-4, 0.5e-4], 1e-4).tolist() == [0, 1, 2, 3, 1]
    # Written as a product in floats, whole and half steps land on either side of themselves.
    for steps in range(2000):
        assert delay_in_steps(np.float64(steps * 1e-4), 1e-4) == steps
        assert delay_in_steps(np.float32((steps + 0.5) * 1e-4), 1e-4) == steps + 1
    for wrong in (-1e-4, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="delays"):
            delay_in_steps(wrong, 1e-4)


# --------------------------------------------------------------------------------------- graphs


def graph_of(nodes: dict[str, nir.NIRNode], edges: list[tuple[str, str]]) -> nir.NIRGraph:
    """Unchecked, as `nir` cannot infer types around a cycle."""
    ends = {"input": nir.Input(np.array([1])), "output": nir.Output(np.array([1]))}
    return nir.NIRGraph(nodes={**ends, **nodes}, edges=edges, type_check=False)


def scale(factor: float) -> nir.Scale:
    return nir.Scale(scale=array(factor))


def recurrent() -> nir.NIRGraph:
    """An integrator that hears its own output times 0.5."""
    return graph_of(
        {"sum": nir.I(r=array(1.0)), "back": scale(0.5)},
        [("input", "sum"), ("sum", "back"), ("back", "sum"), ("sum", "output")],
    )


def test_recurrence_by_hand() -> None:
    xs = [[1.0], [2.0], [4.0]]
    # v = 0 + 1; 1 + 2 + 0.5 * 1 = 3.5; 3.5 + 4 + 0.5 * 3.5 = 9.25, wherever the cycle is cut.
    for cut in (("back", "sum"), ("sum", "back")):
        actual = run_graph(recurrent(), xs, delayed={cut})
        assert_accepts_only(actual, [[1.0], [3.5], [9.25]], **EXACT)
    # Cut in both places, the integrator hears its output of two steps ago.
    twice = run_graph(recurrent(), xs, delayed={("back", "sum"), ("sum", "back")})
    assert_accepts_only(twice, [[1.0], [3.0], [7.5]], **EXACT)
    batched = run_graph(recurrent(), np.tile(xs, (1, 4))[..., None], delayed={("back", "sum")})
    assert_close(batched, np.tile([[1.0], [3.5], [9.25]], (1, 4))[..., None], **EXACT)


def test_first_step_has_the_batch_shape_even_if_only_delayed_edges_arrive() -> None:
    graph = graph_of(
        {"a": scale(2.0), "b": scale(3.0)}, [("input", "a"), ("a", "b"), ("b", "output")]
    )
    xs = np.arange(1.0, 7.0).reshape(3, 2, 1)
    actual = run_graph(graph, xs, delayed={("a", "b")})
    assert_accepts_only(actual, np.concatenate([np.zeros((1, 2, 1)), 6 * xs[:-1]]), **EXACT)
    assert_accepts_only(run_graph(graph, xs), 6 * xs, **EXACT)
    assert_close(step_response(graph, xs), run_graph(graph, xs), **EXACT)


def test_inputs_meeting_in_a_node_are_added() -> None:
    graph = graph_of(
        {"a": scale(2.0), "b": scale(30.0)},
        [("input", "a"), ("input", "b"), ("a", "output"), ("b", "output"), ("input", "output")],
    )
    assert_accepts_only(run_graph(graph, [[1.0], [2.0]]), [[33.0], [66.0]], **EXACT)


def test_nested_graphs_keep_their_state_and_name_their_edges() -> None:
    edges = [("input", "outer"), ("outer", "after"), ("after", "output")]
    graph = graph_of({"outer": recurrent(), "after": scale(10.0)}, edges)
    xs = [[1.0], [2.0], [4.0]]
    delayed = {("outer.back", "outer.sum")}
    actual = run_graph(graph, xs, delayed=delayed)
    assert_accepts_only(actual, [[10.0], [35.0], [92.5]], **EXACT)
    later = run_graph(graph, xs, delayed=delayed | {("outer", "after")})
    assert_accepts_only(later, [[0.0], [10.0], [35.0]], **EXACT)
    deep = graph_of({"far": graph}, [("input", "far"), ("far", "output")])
    actual = run_graph(deep, xs, delayed={("far.outer.back", "far.outer.sum")})
    assert_accepts_only(actual, [[10.0], [35.0], [92.5]], **EXACT)
    with pytest.raises(RuntimeError, match=r"outer\.sum"):
        run_graph(graph, xs)


def test_a_loop_around_a_nested_graph() -> None:
    inner = graph_of({"sum": nir.I(r=array(1.0))}, [("input", "sum"), ("sum", "output")])
    edges = [("input", "outer"), ("outer", "back"), ("back", "outer"), ("outer", "output")]
    graph = graph_of({"outer": inner, "back": scale(0.5)}, edges)
    actual = run_graph(graph, [[1.0], [2.0], [4.0]], delayed={("back", "outer")})
    assert_accepts_only(actual, [[1.0], [3.5], [9.25]], **EXACT)


def test_spiking_recurrence_passes_the_rules_on() -> None:
    graph = graph_of(
        {"fire": nir.IF(array(1.0), array(1.0), array(0.5)), "back": scale(-1.0)},
        [("input", "fire"), ("fire", "back"), ("back", "fire"), ("fire", "output")],
    )
    xs, cut = np.full((5, 1), 1.5), {("back", "fire")}
    # To 0.5: 1.5 !, 0.5 + 0.5, 1.0 + 1.5 = 2.5 !, 1.0, 2.5 !
    assert_same_spikes(run_graph(graph, xs, delayed=cut), [[1], [0], [1], [0], [1]])
    # Down by 1: 1.5 ! -> 0.5, 0.5 + 0.5, 1.0 + 1.5 = 2.5 ! -> 1.5, 2.0 ! -> 1.0, 1.5 !
    spikes = run_graph(graph, xs, delayed=cut, reset="subtract")
    assert_same_spikes(spikes, [[1], [0], [1], [1], [1]])
    # A quarter of the input: 0.375, 0.75, 1.125 ! -> 0.5, 0.625 with the -0.25, 1.0
    slow = run_graph(graph, xs, delayed=cut, dt=0.25, integrator_input="current")
    assert_same_spikes(slow, [[0], [0], [1], [0], [0]])


def test_graphs_that_have_no_answer_are_refused() -> None:
    xs = [[1.0]]
    with pytest.raises(RuntimeError, match="stuck"):
        run_graph(recurrent(), xs)
    with pytest.raises(ValueError, match="delayed edge"):
        run_graph(recurrent(), xs, delayed={("back", "input")})
    through = [("input", "output")]
    with pytest.raises(ValueError, match="has inputs"):
        run_graph(graph_of({"alone": scale(1.0)}, [*through, ("alone", "output")]), xs)
    with pytest.raises(ValueError, match="twice"):
        run_graph(graph_of({}, through * 2), xs)
    with pytest.raises(ValueError, match="no node"):
        run_graph(graph_of({}, [*through, ("input", "nowhere")]), xs)
    with pytest.raises(ValueError, match="exactly one Output"):
        run_graph(graph_of({"more": nir.Output(np.array([1]))}, through), xs)
    ring = [("a", "b"), ("b", "a"), ("input", "output")]
    with pytest.raises(ValueError, match="does not reach"):
        run_graph(graph_of({"a": scale(1.0), "b": scale(1.0)}, ring), xs, delayed={("a", "b")})
    wide = [("input", "wide"), ("wide", "output"), ("input", "output")]
    with pytest.raises(ValueError, match="differ in shape"):
        run_graph(graph_of({"wide": nir.Linear(np.ones((2, 1)))}, wide), xs)


def test_probing_shapes_does_not_advance_the_simulation() -> None:
    # This one fires on no input at all, once, so that a step taken while probing would show.
    once = nir.IF(array(1.0), array(-1.0), array(-5.0))
    graph = graph_of({"once": once}, [("input", "once"), ("once", "output")])
    assert_same_spikes(run_graph(graph, np.zeros((3, 1))), [[1], [0], [0]])


def test_no_steps_give_an_empty_output_of_the_right_shape() -> None:
    assert step_response(nir.Linear(np.ones((4, 3))), np.zeros((0, 2, 3))).shape == (0, 2, 4)


# ----------------------------------------------------------------------------------- comparison

VALUES: Array = np.linspace(-1.0, 1.0, 6).reshape(2, 3)
CLOSE = {"rtol": 1e-6, "atol": 1e-6}


def changed(index: tuple[int, int], value: float) -> Array:
    values: Array = VALUES.copy()
    values[index] = value
    return values


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        pytest.param(changed((1, 2), 1.1), r"first at \(1, 2\).*1\.1.*1\.0", id="one value"),
        pytest.param(changed((0, 1), np.nan), r"actual is not finite at \(0, 1\)", id="nan"),
        pytest.param(changed((0, 1), np.inf), "actual is not finite", id="infinity"),
        pytest.param(VALUES[:1], "shapes differ", id="shorter"),
        pytest.param(np.concatenate([VALUES, VALUES]), "shapes differ", id="extra"),
        pytest.param(VALUES[None], "shapes differ", id="extra axis"),
        pytest.param(VALUES.T, "shapes differ", id="transposed"),
        pytest.param(0.0, "shapes differ", id="number that would broadcast"),
        pytest.param(None, "missing", id="missing"),
        pytest.param([[1.0, 2.0], [3.0]], "not one array", id="ragged"),
        pytest.param(VALUES.astype(str), "real numbers", id="text"),
        pytest.param(VALUES + 1j, "real numbers", id="complex"),
        pytest.param({"v": VALUES}, "mapping", id="mapping"),
    ],
)
def test_assert_close_fails(actual: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_close(actual, VALUES, **CLOSE)
    with pytest.raises(AssertionError):
        assert_close(VALUES, actual, **CLOSE)


def test_assert_close_refuses_nan_on_both_sides_and_empty_comparisons() -> None:
    both = changed((0, 0), np.nan)
    with pytest.raises(AssertionError, match="not finite"):
        assert_close(both, both, **CLOSE)
    with pytest.raises(AssertionError, match="nothing to compare"):
        assert_close(np.zeros((0, 3)), np.zeros((0, 3)), **CLOSE)
    for tolerance in (np.inf, np.nan, -1.0):
        with pytest.raises(ValueError, match="tolerances"):
            assert_close(VALUES, VALUES, rtol=tolerance, atol=0.0)


def test_assert_close_accepts_other_types_within_tolerance() -> None:
    assert_close(VALUES.astype(np.float32), VALUES, **CLOSE)
    assert_close(VALUES.tolist(), VALUES + 9e-7, **CLOSE)
    assert_close([1, 0], [True, False], **EXACT)
    # Relative to the expected value: 1.005 is within 1 % of 101.005 and not within 1 % of 100.
    assert_close(100.0, 101.005, rtol=0.01, atol=0)
    with pytest.raises(AssertionError, match="values differ"):
        assert_close(101.005, 100.0, rtol=0.01, atol=0)


def test_assert_close_compares_traces_key_by_key() -> None:
    trace = {"v": VALUES, "i": -VALUES}
    assert_close(trace, {"i": -VALUES, "v": VALUES}, **EXACT)
    for wrong in ({"v": VALUES}, {**trace, "w": VALUES}, {}):
        with pytest.raises(AssertionError, match="keys"):
            assert_close(wrong, trace, **CLOSE)
    with pytest.raises(AssertionError, match="in 'i'"):
        assert_close({**trace, "i": VALUES}, trace, **CLOSE)


SPIKES = array([0, 1, 0], [1, 1, 0])


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        pytest.param(1 - SPIKES, r"6 of 6 spikes differ.*first at \(0, 0\)", id="all"),
        pytest.param(array([0, 1, 0], [1, 0, 0]), "1 of 6 spikes differ", id="one missing"),
        pytest.param(array([0, 1, 0], [1, 1, 1]), "actual has 4 spikes, expected 3", id="one more"),
        pytest.param(SPIKES[:1], "shapes differ", id="shorter"),
        pytest.param(SPIKES * 0.999999, "no spike train", id="not quite one"),
        pytest.param(SPIKES * np.nan, "not finite", id="nan"),
        pytest.param(None, "missing", id="missing"),
    ],
)
def test_assert_same_spikes_fails(actual: Any, message: str) -> None:
    assert_same_spikes(SPIKES.astype(bool), SPIKES)
    with pytest.raises(AssertionError, match=message):
        assert_same_spikes(actual, SPIKES)
    with pytest.raises(AssertionError):
        assert_same_spikes(SPIKES, actual)
