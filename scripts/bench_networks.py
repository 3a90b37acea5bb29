"""The networks of scripts/bench_run: as NIR graphs, and built by hand from other frameworks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor, nn

Runner = Callable[[Tensor], Any]

SPIKING = (nir.IF, nir.CubaLIF)

DT = 1e-4
TAU_SYN, TAU_MEM = 5e-4, 2e-3


def _if(*shape: int) -> nir.IF:
    return nir.IF(np.ones(shape), np.ones(shape), np.zeros(shape))


def convolutional() -> tuple[nir.NIRGraph, list[nn.Module]]:
    """Three convolutions and two matrices, each before a layer of IF; and their torch modules."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [
        nn.Conv2d(2, 16, 5, 2, 1, bias=False),
        nn.Conv2d(16, 16, 3, 1, 1, bias=False),
        nn.Conv2d(16, 8, 3, 1, 1, bias=False),
        nn.Linear(128, 256, bias=False),
        nn.Linear(256, 10, bias=False),
    ]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight)  # type: ignore[arg-type]
        layer.requires_grad_(False)
    nodes: dict[str, nir.NIRNode] = {"input": nir.Input(np.array([2, 34, 34]))}
    sizes = [(34, 34), (16, 16), (8, 8)]
    fires = [_if(16, 16, 16), _if(16, 16, 16), _if(8, 8, 8), _if(256), _if(10)]
    two = np.array([2, 2])
    for number, (layer, neurons) in enumerate(zip(layers, fires, strict=True)):
        weight = layer.weight.numpy()  # type: ignore[union-attr, operator]
        if isinstance(layer, nn.Conv2d):
            bias = np.zeros(len(weight), dtype=np.float32)
            stride, padding = layer.stride[0], int(layer.padding[0])
            nodes[f"conv{number}"] = nir.Conv2d(sizes[number], weight, stride, padding, 1, 1, bias)
        else:
            nodes[f"fc{number}"] = nir.Affine(weight, np.zeros(len(weight), dtype=np.float32))
        nodes[f"if{number}"] = neurons
        if number in (1, 2):
            nodes[f"pool{number}"] = nir.SumPool2d(two, two, np.array([0, 0]))
        if number == 2:
            nodes["flatten"] = nir.Flatten({"input": np.array([8, 4, 4])}, 0, -1)
    nodes["output"] = nir.Output(np.array([10]))
    return nir.NIRGraph(nodes, list(pairwise(nodes)), type_check=False), layers


def _stack(layers: list[nn.Module], neurons: Iterable[nn.Module | None]) -> list[nn.Module]:
    """The layers in order, each followed by its neurons, with pools and the flattening."""
    stack: list[nn.Module] = []
    for number, (layer, neuron) in enumerate(zip(layers, neurons)):
        stack += [layer] if neuron is None else [layer, neuron]
        if number in (1, 2):
            stack.append(nn.LPPool2d(1, 2))  # the sum of what is not negative
        if number == 2:
            stack.append(nn.Flatten())
    return stack


def floor(layers: list[nn.Module]) -> Runner:
    """The layers without neurons, over all frames at once."""
    stack = nn.Sequential(*_stack(layers, [None] * 5))
    return lambda x: stack(x.flatten(0, 1))


def stepping(step: Callable[[Tensor], Tensor], reset: Callable[[], None]) -> Runner:
    def run(x: Tensor) -> Tensor:
        reset()
        return torch.stack([step(frame) for frame in x])

    return run


def counting(runner: Runner, neurons: Iterable[nn.Module]) -> Runner:
    """The runner, able to say how many spikes there were."""
    neurons = list(neurons)

    def count(x: Tensor) -> int:
        total = 0

        def add(module: nn.Module, given: Any, output: Any) -> None:
            nonlocal total
            total += int((output[0] if isinstance(output, tuple) else output).sum())

        hooks = [neuron.register_forward_hook(add) for neuron in neurons]
        runner(x)
        for hook in hooks:
            hook.remove()
        return total

    runner.count = count  # type: ignore[attr-defined]
    return runner


class _Stateful:
    """Calls modules in a row; neurons of a type get their state, and give it back."""

    def __init__(self, stack: list[nn.Module], kind: type[nn.Module]) -> None:
        self.stack, self.kind = stack, kind
        self.states: dict[int, Any] = {}

    def reset(self) -> None:
        self.states = {}

    def __call__(self, x: Tensor) -> Tensor:
        for number, module in enumerate(self.stack):
            if isinstance(module, self.kind):
                before = self.states.get(number, ())
                x, *after = module(x, *before)
                self.states[number] = after
            else:
                x = module(x)
        return x


def convolutional_elsewhere(
    layers: list[nn.Module],
    graph: nir.NIRGraph,
    frameworks: dict[str, Any],
    learning: bool = False,
) -> dict[str, Runner]:
    """The same network in the frameworks that are installed; `learning` with gradients."""
    for layer in layers:
        layer.requires_grad_(learning)
    runners: dict[str, Runner] = {}
    if frameworks["norse"]:
        from norse.torch import IAFCell, IAFParameters

        cells = [IAFCell(p=IAFParameters(v_th=torch.tensor(1.0))) for _ in layers]
        net = _Stateful(_stack(layers, cells), IAFCell)
        runners["norse, steps"] = counting(stepping(net, net.reset), cells)
    if frameworks["snntorch"]:
        from snntorch import Leaky

        leaky = [Leaky(1.0, reset_mechanism="zero", reset_delay=False) for _ in layers]
        net = _Stateful(_stack(layers, leaky), Leaky)

        def reset() -> None:
            net.reset()
            for cell in leaky:  # without a state they go on from the last run's
                cell.reset_mem()

        runners["snntorch, steps"] = counting(stepping(net, reset), leaky)
    if frameworks["sinabs"]:
        runners |= _sinabs(layers)
    if frameworks["spikingjelly"]:
        runners |= _spikingjelly(layers)
    if frameworks["nirtorch"]:
        runners |= _nirtorch(
            graph,
            {
                nir.IF: lambda node: _HandWrittenIF(),
                nir.Flatten: lambda node: nn.Flatten(),  # its own takes the batch along
            },
            learning,
        )
    return runners


def _sinabs(layers: list[nn.Module]) -> dict[str, Runner]:
    import sinabs.layers as sl
    from sinabs.activation import MembraneReset, SingleSpike

    def neurons() -> list[nn.Module]:
        return [sl.IAF(spike_fn=SingleSpike, reset_fn=MembraneReset()) for _ in layers]

    def reset(cells: list[Any]) -> None:
        for cell in cells:
            cell.reset_states()

    one, whole = neurons(), neurons()
    wrapped = [_OneStep(cell) for cell in one]
    steps = nn.Sequential(*_stack(layers, wrapped))

    def at_once(x: Tensor) -> Tensor:
        reset(whole)
        steps_, batch = x.shape[:2]
        x = x.transpose(0, 1)
        remaining = iter(whole)
        for module in _stack(layers, whole):
            if module in whole:
                x = next(remaining)(x.unflatten(0, (batch, steps_)) if x.dim() in (2, 4) else x)
            else:
                x = module(x.flatten(0, 1) if x.shape[:2] == (batch, steps_) else x)
        return x

    by_steps = stepping(steps, lambda: reset(one))
    return {
        "sinabs, steps": counting(by_steps, one),
        "sinabs, all steps at once": counting(at_once, whole),
    }


class _OneStep(nn.Module):
    """A layer of sinabs, which wants an axis of time, for one step."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x.unsqueeze(1)).squeeze(1)
        return y


def _spikingjelly(layers: list[nn.Module]) -> dict[str, Runner]:
    from spikingjelly.activation_based import functional, layer, neuron

    one = [neuron.IFNode() for _ in layers]
    many = [neuron.IFNode(step_mode="m") for _ in layers]
    steps = nn.Sequential(*_stack(layers, one))
    stack: list[nn.Module] = []
    for module in _stack(layers, many):
        stack.append(module if module in many else layer.SeqToANNContainer(module))
    whole = nn.Sequential(*stack)

    def at_once(x: Tensor) -> Tensor:
        functional.reset_net(whole)
        y: Tensor = whole(x)
        return y

    by_steps = stepping(steps, lambda: functional.reset_net(steps))
    return {
        "spikingjelly, steps": counting(by_steps, one),
        "spikingjelly, multi-step": counting(at_once, many),
    }


def _nirtorch(
    graph: nir.NIRGraph, node_map: dict[Any, Any], learning: bool = False
) -> dict[str, Runner]:
    import nirtorch

    module = nirtorch.nir_to_torch(graph, node_map)
    module.requires_grad_(learning)
    for part in module.modules():  # its map of Affine leaves the bias random
        if isinstance(part, nn.Linear) and part.bias is not None:
            part.bias.requires_grad_(False).zero_()

    def run(x: Tensor) -> Tensor:
        state, outputs = None, []
        for frame in x:
            output, state = module(frame, state)
            outputs.append(output)
        return torch.stack(outputs)

    neurons = [m for m in module.modules() if isinstance(m, (_HandWrittenIF, _HandWrittenCuba))]
    return {"nirtorch 2.6, hand-written neuron": counting(run, neurons)}


class _HandWrittenIF(nn.Module):
    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        v = x if state is None else state + x
        z = _Spike.apply(v - 1) if v.requires_grad else (v > 1).to(x.dtype)
        return z, v * (1 - z.detach())


# ------------------------------------------------------------------------------- recurrent


def _affine(to: int, of: int) -> np.ndarray:
    return (torch.randn(to, of) * 2 / math.sqrt(of)).numpy()


def _cuba(count: int) -> nir.CubaLIF:
    """As snnTorch's Synaptic: w_in = tau_syn/dt and r = tau_mem/dt take dt out of both."""
    one = np.ones(count)
    values = {"tau_syn": TAU_SYN, "tau_mem": TAU_MEM, "r": TAU_MEM / DT, "v_leak": 0.0}
    values |= {"v_threshold": 8.0, "v_reset": 0.0, "w_in": TAU_SYN / DT}
    return nir.CubaLIF(**{name: value * one for name, value in values.items()})


def recurrent(inputs: int, hidden: int, outputs: int) -> tuple[nir.NIRGraph, list[np.ndarray]]:
    """A layer that hears itself and one behind it; and the three matrices."""
    torch.manual_seed(1)
    weights = [_affine(hidden, inputs), _affine(hidden, hidden), _affine(outputs, hidden)]
    nodes = {
        "input": nir.Input(np.array([inputs])),
        "fc1": nir.Linear(weights[0]),
        "lif1": _cuba(hidden),
        "rec": nir.Linear(weights[1]),
        "fc2": nir.Linear(weights[2]),
        "lif2": _cuba(outputs),
        "output": nir.Output(np.array([outputs])),
    }
    edges = [("input", "fc1"), ("fc1", "lif1"), ("lif1", "rec"), ("rec", "lif1"), ("lif1", "fc2")]
    edges += [("fc2", "lif2"), ("lif2", "output")]
    return nir.NIRGraph(nodes, edges, type_check=False), weights


def chain(width: int) -> nir.NIRGraph:
    """Two layers of a width, without a loop."""
    torch.manual_seed(1)
    nodes = {
        "input": nir.Input(np.array([12])),
        "fc1": nir.Linear(_affine(width, 12)),
        "lif1": _cuba(width),
        "fc2": nir.Linear(_affine(width, width)),
        "lif2": _cuba(width),
        "output": nir.Output(np.array([width])),
    }
    return nir.NIRGraph(nodes, list(pairwise(nodes)), type_check=False)


def recurrent_elsewhere(
    weights: list[np.ndarray],
    graph: nir.NIRGraph,
    frameworks: dict[str, Any],
    learning: bool = False,
) -> dict[str, Runner]:
    """The same network in the frameworks that have such a neuron; `learning` with gradients."""
    first, back, second = (torch.tensor(weight, requires_grad=learning) for weight in weights)
    runners: dict[str, Runner] = {}

    def loop(cell: Callable[..., Any]) -> Callable[[Tensor], Tensor]:
        def run(x: Tensor) -> Tensor:
            before: list[Any] = [(), ()]
            z = x.new_zeros(x.shape[1], len(first))
            outputs = []
            for frame in x:
                z, *before[0] = cell(0, frame @ first.T + z @ back.T, *before[0])
                y, *before[1] = cell(1, z @ second.T, *before[1])
                outputs.append(y)
            return torch.stack(outputs)

        return run

    if frameworks["snntorch"]:
        from snntorch import Synaptic

        alpha, beta = 1 - DT / TAU_SYN, 1 - DT / TAU_MEM
        layers = [
            Synaptic(alpha, beta, 8.0, reset_mechanism="zero", reset_delay=False) for _ in range(2)
        ]
        run = loop(lambda number, x, *state: layers[number](x, *state))

        def runner(x: Tensor) -> Tensor:
            for layer in layers:
                layer.reset_mem()
            return run(x)

        runners["snntorch, steps"] = counting(runner, layers)
    if frameworks["norse"]:
        from norse.torch import LIFCell, LIFParameters

        parameters = LIFParameters(
            tau_syn_inv=torch.tensor(1 / TAU_SYN),
            tau_mem_inv=torch.tensor(1 / TAU_MEM),
            v_th=torch.tensor(8.0 * DT / TAU_MEM),
        )
        cells = [LIFCell(p=parameters, dt=DT) for _ in range(2)]
        norse_runner = loop(lambda number, x, *state: cells[number](x, *state))
        runners["norse, steps (other equations)"] = counting(norse_runner, cells)
    if frameworks["sinabs"]:
        runners["sinabs, all steps at once"] = _sinabs_recurrent(first, back, second)
    if frameworks["spikingjelly"]:
        from spikingjelly.activation_based import functional, neuron

        decays = {"c_decay": 1 - DT / TAU_SYN, "v_decay": 1 - DT / TAU_MEM}
        nodes = [neuron.CUBALIFNode(**decays, v_threshold=8.0) for _ in range(2)]
        jelly = loop(lambda number, x: (nodes[number](x),))

        def fresh(x: Tensor) -> Tensor:
            for node in nodes:
                functional.reset_net(node)
            return jelly(x)

        runners["spikingjelly, steps"] = counting(fresh, nodes)
    if frameworks["nirtorch"]:
        runners |= _nirtorch(graph, {nir.CubaLIF: lambda node: _HandWrittenCuba()}, learning)
    return runners


def _sinabs_recurrent(first: Tensor, back: Tensor, second: Tensor) -> Runner:
    """Its current is alpha (i + x), so that what arrives is divided by alpha."""
    import sinabs.layers as sl
    from sinabs.activation import MembraneReset, SingleSpike

    alpha = 1 - DT / TAU_SYN
    constants = {
        "tau_mem": -1 / math.log1p(-DT / TAU_MEM),
        "tau_syn": -1 / math.log1p(-DT / TAU_SYN),
        "spike_threshold": torch.tensor(8.0),
        "spike_fn": SingleSpike,
        "reset_fn": MembraneReset(),
        "norm_input": False,
    }
    hears_itself = nn.Linear(*back.shape[::-1], bias=False)
    hears_itself.weight = nn.Parameter(back.detach() / alpha, requires_grad=back.requires_grad)
    layers = [sl.LIFRecurrent(rec_connect=hears_itself, **constants), sl.LIF(**constants)]

    def run(x: Tensor) -> Tensor:
        for layer in layers:
            layer.reset_states()
        z = layers[0](x.transpose(0, 1) @ (first / alpha).T)
        y: Tensor = layers[1](z @ (second / alpha).T).transpose(0, 1)
        return y

    return counting(run, layers)


class _HandWrittenCuba(nn.Module):
    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        i, v = (torch.zeros_like(x), torch.zeros_like(x)) if state is None else state
        i = (1 - DT / TAU_SYN) * i + x
        v = (1 - DT / TAU_MEM) * v + i
        z = _Spike.apply(v - 8) if v.requires_grad else (v > 8).to(x.dtype)
        return z, (i, v * (1 - z.detach()))


class _Spike(torch.autograd.Function):
    """A spike with the derivative of an arctangent."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        return gradient / (1 + (math.pi * u).square())
