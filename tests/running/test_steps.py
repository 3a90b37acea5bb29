"""run_steps: the same as a loop by hand, with every spike counted."""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import pytest
import torch
from networks import NETWORKS, assert_same, converted, ends, flat, inputs, lif, run, weights

from nirtorch_cli import StateError, nir_to_torch
from nirtorch_cli.running.sequence import Run, SpikeCount, counting_spikes, run_steps, spiking_nodes

torch.set_num_threads(1)

STEPS = 6
SPIKING = {
    "feedforward": {"cuba": 4, "if": 4},
    "convolutional": {"lif": 128, "cuba": 3},
    "recurrent": {"lif": 4},
    "nested": {"first.layer": 3, "middle/lambda/lif": 4, "middle/0": 2},
    "several_ends": {"lif": 4},
}


def over_time(module: Any, steps: list[tuple[torch.Tensor, ...]]) -> Any:
    """What `run_steps` takes: one tensor, or one for each argument."""
    names = module.meta["inputs"]
    stacked = {name: torch.stack(values) for name, values in zip(names, zip(*steps), strict=True)}
    return stacked if len(names) > 1 else stacked[names[0]]


def stacked(results: list[tuple[Any, Any]]) -> Any:
    outputs = [flat(output) for output, _ in results]
    return {path: torch.stack([output[path] for output in outputs]) for path in outputs[0]}


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_a_loop(name: str) -> None:
    module = converted(NETWORKS[name]())
    steps = inputs(module, STEPS)
    expected = run(module, steps)
    done = run_steps(module, over_time(module, steps))
    assert isinstance(done, Run)
    assert_same(flat(done.outputs), stacked(expected))
    assert_same(done.state, expected[-1][1])
    # In two parts, the second from the first one's state.
    first = run_steps(module, over_time(module, steps[:2]))
    before = {path: v.clone() for path, v in flat(first.state).items() if v is not None}
    second = run_steps(module, over_time(module, steps[2:]), first.state)
    assert_same(flat(second.outputs), stacked(expected[2:]))
    assert_same(second.state, done.state)
    assert all(torch.equal(flat(first.state)[path], before[path]) for path in before)
    for path, count in done.spikes.items():
        assert count.spikes == first.spikes[path].spikes + second.spikes[path].spikes
        assert count.values == first.spikes[path].values + second.spikes[path].values


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_every_spiking_node(name: str) -> None:
    """By NIR path, against spikes that are caught on the way."""
    module = converted(NETWORKS[name]())
    steps = inputs(module, STEPS)
    caught: dict[str, list[torch.Tensor]] = {path: [] for path in SPIKING[name]}
    hooks = [
        child.register_forward_hook(lambda _m, _x, out, path=path: caught[path].append(out[0]))
        for path, child, _ in spiking_nodes(module)
    ]
    done = run_steps(module, over_time(module, steps))
    for hook in hooks:
        hook.remove()
    assert {path: count.neurons for path, count in done.spikes.items()} == SPIKING[name]
    for path, count in done.spikes.items():
        spikes = torch.stack(caught[path]).detach()
        assert len(spikes) == STEPS
        assert count.spikes == int(spikes.sum())
        assert count.values == spikes.numel() == STEPS * 2 * SPIKING[name][path]
        assert count.rate == pytest.approx(float(spikes.mean()))
    assert any(0 < count.rate < 1 for count in done.spikes.values())


def test_counts_by_hand() -> None:
    """One neuron fires at every step, one at every second, one never; a threshold counts too."""
    fire = nir.IF(np.ones(3), np.array([0.5, 1.5, 1e9]), np.zeros(3))
    nodes = {**ends((3,), (3,)), "fire": fire, "above": nir.Threshold(np.array([0.5, 2.0, 0.5]))}
    edges = [("input", "fire"), ("input", "above"), ("fire", "output"), ("above", "output")]
    module = converted(nir.NIRGraph(nodes, edges, type_check=False))
    done = run_steps(module, torch.ones(6, 2, 5, 3))
    rows = 2 * 5
    assert done.spikes["fire"] == SpikeCount(spikes=rows * (6 + 3), neurons=3, values=rows * 18)
    assert done.spikes["above"] == SpikeCount(spikes=rows * 12, neurons=3, values=rows * 18)
    assert done.spikes["fire"].rate == 0.5
    alone = run_steps(module, torch.ones(4, 3))
    assert alone.spikes["fire"] == SpikeCount(spikes=4 + 2, neurons=3, values=12)


def test_a_rate_of_nothing_is_zero() -> None:
    assert SpikeCount().rate == 0.0
    module = converted(NETWORKS["recurrent"]())
    done = run_steps(module, torch.ones(3, 0, 3))
    assert done.outputs.shape == (3, 0, 2)
    assert done.spikes["lif"] == SpikeCount(spikes=0, neurons=4, values=0)


def test_no_hook_stays_behind() -> None:
    module = converted(NETWORKS["nested"]())
    steps = inputs(module, 2)
    with counting_spikes(module) as counts:
        run(module, steps)
    assert {count.values for count in counts.values()} == {2 * 2 * n for n in (3, 4, 2)}
    seen = {path: count.values for path, count in counts.items()}
    run(module, steps)
    assert {path: count.values for path, count in counts.items()} == seen
    with pytest.raises(StateError, match=r"shape \(2, 7\)"), counting_spikes(module):
        module(torch.ones(2, 7))
    assert not any(part._forward_hooks for part in module.modules())


def test_a_model_without_neurons() -> None:
    nodes = {**ends((3,), (2,)), "linear": nir.Linear(weights(2, 3))}
    edges = [("input", "linear"), ("linear", "output")]
    module = converted(nir.NIRGraph(nodes, edges, type_check=False))
    done = run_steps(module, torch.ones(2, 3))
    assert done.outputs.shape == (2, 2)
    assert done.spikes == {}
    assert done.state == {"input": None, "linear": None, "output": None}


def test_meta_device_counts_values_only() -> None:
    module = converted(NETWORKS["recurrent"](), device="meta")
    done = run_steps(module, torch.ones(3, 2, 3, device="meta"))
    assert done.outputs.device.type == "meta"
    assert done.spikes["lif"] == SpikeCount(spikes=0, neurons=4, values=24, is_abstract=True)


def test_gradients_reach_the_weights() -> None:
    module = converted(NETWORKS["recurrent"]())
    run_steps(module, torch.ones(5, 2, 3)).outputs.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in module.parameters())


def test_several_inputs_by_name_in_any_order() -> None:
    module = converted(NETWORKS["several_ends"]())
    steps = over_time(module, inputs(module, STEPS))
    assert list(steps) == ["left", "right"]
    done = run_steps(module, steps)
    turned = run_steps(module, {"right": steps["right"], "left": steps["left"]})
    assert_same(turned.outputs, done.outputs)
    assert {name: tuple(value.shape) for name, value in done.outputs.items()} == {
        "spikes": (STEPS, 2, 4),
        "voltage": (STEPS, 2, 2),
    }


REFUSED = [
    (lambda x, y: {"left": x, "right": y[:3]}, ValueError, r"one number of steps, not \[3, 6\]"),
    (lambda x, y: {"left": x[:0], "right": y[:0]}, ValueError, r"one number of steps, not \[0\]"),
    (lambda x, y: {}, ValueError, r"one number of steps, not \[\]"),
    (lambda x, y: {"left": x}, TypeError, "right"),
    (lambda x, y: {"left": x, "right": y, "middle": y}, TypeError, "middle"),
    (lambda x, y: x, TypeError, "right"),
]


@pytest.mark.parametrize(("given", "error", "message"), REFUSED)
def test_inputs_that_do_not_fit_are_refused(given: Any, error: Any, message: str) -> None:
    module = converted(NETWORKS["several_ends"]())
    steps = over_time(module, inputs(module, STEPS))
    with pytest.raises(error, match=message):
        run_steps(module, given(steps["left"], steps["right"]))
    assert not any(part._forward_hooks for part in module.modules())


def test_a_spiking_node_by_another_map_counts() -> None:
    """The node's type says that it spikes, whatever module stands for it."""

    class Always(torch.nn.Module):
        def forward(self, x: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
            return torch.ones_like(x), state

    nodes = {**ends((3,), (3,)), "lif": lif(3)}
    edges = [("input", "lif"), ("lif", "output")]
    graph = nir.NIRGraph(nodes, edges, type_check=False)
    module = nir_to_torch(graph, {nir.LIF: lambda node: Always()})
    done = run_steps(module, torch.zeros(4, 2, 3))
    assert done.spikes["lif"] == SpikeCount(spikes=24, neurons=3, values=24)
    assert done.spikes["lif"].rate == 1.0
