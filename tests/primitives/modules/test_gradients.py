"""Gradients through time that are written by hand: those of autograd, step by step.

The oracle is the module called once for each step, differentiated by autograd alone, in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import pytest
import torch
from networks import DT, module_of
from sequences import NEURONS, OPTIONS, N, sequence
from torch import Tensor

from nirtorch_cli import default_map, run_sequence
from nirtorch_cli.primitives.modules import gradients as by_hand
from nirtorch_cli.primitives.modules.surrogate import SURROGATES

torch.set_num_threads(1)

STEPS = 30
HAND_WRITTEN = ("IF", "IF to zero", "LIF", "CubaLIF", "CubaLI")
Loss = Callable[[Tensor, list[dict[str, Tensor]]], Tensor]


def neuron(name: str, **options: Any) -> Any:
    graph = nir.NIRGraph.from_list(NEURONS[name](), type_check=False)
    return module_of(graph, {}, default_map(dt=DT, **options), dtype=torch.float64)


def key_of(module: Any) -> str:
    """The name of the only neuron."""
    return next(name for name, _ in module.named_children())


def stepped(module: Any, x: Tensor, before: Any) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Outputs over time, and the neuron's state after each step."""
    outputs, states, state = [], [], before
    for frame in x:
        output, state = module(frame, state)
        outputs.append(output)
        states.append(state[key_of(module)])
    return torch.stack(outputs), states


def at_once(module: Any, x: Tensor, before: Any) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """The same of `run_sequence`."""
    name = module.meta["names"][key_of(module)]
    variables = sorted(before[key_of(module)])
    done = run_sequence(module, x, before, [f"{name}:{variable}" for variable in variables])
    recorded = done.trace[name]
    states = [{key: recorded[key][step] for key in variables} for step in range(len(x))]
    return done.outputs, [*states[:-1], done.state[key_of(module)]]


def all_of_it(outputs: Tensor, states: list[dict[str, Tensor]]) -> Tensor:
    """A loss of outputs, of the state after each step, and of the last."""
    weights = torch.linspace(-1, 1, outputs.numel(), dtype=outputs.dtype).reshape(outputs.shape)
    loss = (weights * outputs).sum() + 0.3 * (states[-1]["v"] ** 2).sum()
    return loss + sum(0.1 * (state["v"] * (step % 3)).sum() for step, state in enumerate(states))


LOSSES: dict[str, Loss] = {
    "all": all_of_it,
    "outputs": lambda outputs, states: ((0.5 + outputs) ** 2).sum(),
    "last state": lambda outputs, states: (states[-1]["v"] ** 3).sum(),
}


def gradients(module: Any, run: Any, loss: Loss, second: bool = False) -> list[Tensor]:
    """Of the inputs and of the state before; or of those gradients' squares."""
    torch.manual_seed(0)
    x = sequence(module, STEPS)["input"].requires_grad_()
    with torch.no_grad():
        state = module(x[0])[1]
    own = {name: value.requires_grad_() for name, value in state[key_of(module)].items()}
    wanted = [x, *own.values()]
    value = loss(*run(module, x, {**state, key_of(module): own}))
    found = torch.autograd.grad(value, wanted, create_graph=second, allow_unused=True)
    if second:
        total = sum((gradient**2).sum() for gradient in found if gradient is not None)
        found = torch.autograd.grad(total, wanted, allow_unused=True)
    return [torch.zeros(1) if gradient is None else gradient for gradient in found]


def assert_same(one: list[Tensor], other: list[Tensor]) -> None:
    assert any(gradient.abs().sum() > 0 for gradient in other)
    for mine, expected in zip(one, other, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-9, rtol=1e-9)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hand-written gradients that were made use of."""
    used: list[str] = []
    for name in ("fired", "integrated"):
        original = getattr(by_hand, name)
        monkeypatch.setattr(
            by_hand, name, lambda *a, _f=original, _n=name: (used.append(_n), _f(*a))[1]
        )
    return used


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_first(name: str, options: dict[str, str], loss: str, counted: list[str]) -> None:
    module = neuron(name, **options)
    found = gradients(module, at_once, LOSSES[loss])
    by_hand = {
        "I": ["integrated"],
        "LI": ["integrated"],
        "CubaLI": ["integrated", "integrated"],
        "CubaLIF": ["integrated", "fired"],
    }
    by_steps = options.get("reset_delay") and name.partition(" ")[0] in ("IF", "LIF", "CubaLIF")
    assert counted == ([] if by_steps else by_hand.get(name, ["fired"]))
    assert_same(found, gradients(module, stepped, LOSSES[loss]))


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_every_surrogate(surrogate: str) -> None:
    module = neuron("LIF", surrogate=surrogate)
    assert_same(gradients(module, at_once, all_of_it), gradients(module, stepped, all_of_it))


@pytest.mark.parametrize("reset", ["value", "subtract"])
@pytest.mark.parametrize("name", ["IF", "LIF", "CubaLIF"])
def test_second(name: str, reset: str) -> None:
    module = neuron(name, reset=reset)
    found = gradients(module, at_once, all_of_it, second=True)
    assert_same(found, gradients(module, stepped, all_of_it, second=True))


def test_wide_linear_neurons(counted: list[str]) -> None:
    """Of more neurons than are solved at once."""
    one = np.ones(1100)
    graph = nir.NIRGraph.from_list(nir.LI(3e-3 * one, one, 0.1 * one))
    module = module_of(graph, {}, default_map(dt=DT), dtype=torch.float64)
    found = gradients(module, at_once, all_of_it)
    assert counted == ["integrated"]
    assert_same(found, gradients(module, stepped, all_of_it))
    found = gradients(module, at_once, all_of_it, second=True)
    assert_same(found, gradients(module, stepped, all_of_it, second=True))


def test_forwards_every_bit_is_the_same() -> None:
    module = neuron("CubaLIF").float()
    x = sequence(module, STEPS)["input"]
    learned = run_sequence(module, x.requires_grad_())
    with torch.no_grad():
        plain = run_sequence(module, x)
    assert learned.outputs.requires_grad
    assert torch.equal(learned.outputs, plain.outputs)
    assert all(
        torch.equal(learned.state[key_of(module)][key], value)
        for key, value in plain.state[key_of(module)].items()
    )


def test_a_trained_constant_has_its_gradient(counted: list[str]) -> None:
    """It is left to autograd."""
    module = neuron("LIF")
    layer = module.get_submodule(key_of(module))
    threshold = torch.nn.Parameter(layer.v_threshold.clone())
    del layer.v_threshold
    layer.v_threshold = threshold
    x = sequence(module, STEPS)["input"]
    found = []
    for run in (at_once, stepped):
        state = module(x[0])[1]
        (gradient,) = torch.autograd.grad(all_of_it(*run(module, x, state)), [threshold])
        found.append(gradient.detach())
    assert not counted
    assert found[1].abs().sum() > 0
    torch.testing.assert_close(found[0], found[1])


def test_functional_gradients() -> None:
    """torch.func differentiates, and maps over, what autograd would."""
    module = neuron("LIF")
    x = sequence(module, STEPS)["input"]

    def loss(x: Tensor) -> Tensor:
        return (run_sequence(module, x).outputs ** 2).sum()

    found = torch.func.grad(loss)(x)
    (expected,) = torch.autograd.grad(loss(x.requires_grad_()), [x])
    torch.testing.assert_close(found, expected)
    assert expected.abs().sum() > 0


def test_infinity_is_learned_from_as_in_steps() -> None:
    module = neuron("IF to zero")
    x = torch.full((6, 1, N), 0.4, dtype=torch.float64)
    x[2, 0, 1] = float("inf")
    state = module(x[0])[1]
    for run in (at_once, stepped):
        given = x.clone().requires_grad_()
        outputs, states = run(module, given, state)
        assert torch.isfinite(states[-1]["v"]).all()
        (gradient,) = torch.autograd.grad(outputs[:, :, 0].sum(), [given])
        assert torch.isfinite(gradient[:, :, 0]).all()


def test_memory_is_let_go_after_the_gradient() -> None:
    """No cycle keeps what a run saved."""
    import gc
    import weakref

    module = neuron("LIF")
    x = sequence(module, STEPS)["input"].requires_grad_()
    gc.collect()
    gc.disable()
    try:
        outputs = run_sequence(module, 2 * x).outputs
        saved = weakref.ref(outputs)
        outputs.sum().backward()
        del outputs
        assert saved() is None
    finally:
        gc.enable()
