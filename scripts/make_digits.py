"""Train small spiking networks in snnTorch on real digits; export them to NIR; record them.

In:  the 1,797 handwritten digits that ship with scikit-learn (8x8 pixels, values 0..16).
Out: for each model NAME two files in the output folder,

     NAME.nir  what snnTorch's own exporter (`snntorch.export_nir.export_to_nir`) makes of it,
     NAME.npz  360 held-out digits and the spikes that snnTorch itself computes on them.

Run, with snntorch, nirtorch, nir and scikit-learn installed:

    python scripts/make_digits.py                 # all models, into tests/data
    python scripts/make_digits.py digits --out /tmp/data

The models:

    digits            affine, Leaky, affine, Leaky                     (feed-forward)
    digits_conv       conv, Leaky, pool, conv, Leaky, flatten, affine, Leaky
    digits_recurrent  affine, RSynaptic, affine, Synaptic              (reads a digit row by row)

Fields of NAME.npz (no pickles):

    images         (B, 8, 8) uint8, pixel values 0..16
    labels         (B,) int64
    layout         how an image becomes frames:
                     "flat"   one frame (B, 64)
                     "image"  one frame (B, 1, 8, 8)
                     "rows"   eight frames (B, 8): the image's rows from top to bottom
    hold           time steps for which each frame is held
    steps          T, time steps in all: (number of frames) * hold
    divisor        16; the network's input at step t is frames[t // hold] / divisor, in float32
    spikes         numpy.packbits of the output neurons' spikes, 0 or 1, in C order
    spikes_shape   (T, B, 10); numpy.unpackbits(spikes, count=T * B * 10).reshape(spikes_shape)
    counts         (B, 10) int64, output spikes summed over time
    predictions    (B,) int64, argmax of counts; the lowest digit wins a tie
    accuracy       share of predictions that equal labels
    hidden_names   the hidden spiking layers, by the name of their node in NAME.nir
    hidden_spikes  int64, total spikes of each of them over all steps, images and neurons
    versions       strings "package version"

Every image starts from a network at rest (all states zero).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import time
from pathlib import Path

import nir
import numpy as np
import snntorch as snn
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from snntorch.export_nir import export_to_nir
from torch import nn

SEED = 0
HELD_OUT = 360
CLASSES = 10
DIVISOR = 16  # the largest pixel value
EXPORTER_DT = 1e-4  # the time step that snnTorch's exporter assumes, in seconds
DEFAULT_OUT = Path(__file__).resolve().parent.parent / "tests" / "data"
PACKAGES = ("snntorch", "torch", "nir", "nirtorch", "scikit-learn", "numpy")

# "zero" without delay is what NIR's equations say: a neuron that crosses its threshold is set to
# v_reset (which snnTorch's exporter writes as 0) in that very step. init_hidden keeps the states
# inside the neurons, so that each layer is called with its input alone, as the exporter expects.
NIR_RESET = {"reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}


class SpikingModel(nn.Module):
    """One time step of a network; the neurons keep their states from step to step.

    Three rules make a model that snnTorch's exporter exports correctly:

    - beta, alpha and threshold have one value per neuron: from a scalar the exporter makes a node
      without a shape, and fails ("type mismatch: conv1.output: [[8 8 8]] -> spiking1.input: []").
    - The first layer is not recurrent: it would get an extra edge from its recurrent weights to
      the second layer.
    - No layer is called "output": the graph's output node would replace it.

    Layers are declared in the order in which they are run, which `expected_edges` relies on.
    """

    layout: str
    hold: int
    hidden_names: tuple[str, ...]  # the hidden spiking layers' nodes in the NIR graph
    epochs: int
    learning_rate: float

    def forward(self, frame: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the spikes of every spiking layer in this step, the output layer's last."""
        raise NotImplementedError

    def reset(self) -> None:
        """Put every neuron at rest. snnTorch never does this by itself."""
        for module in self.modules():
            if isinstance(module, snn.SpikingNeuron):
                module.reset_mem()


class FeedForward(SpikingModel):
    """64 pixels as constant currents; each layer has its own time constant."""

    layout = "flat"
    hold = 25
    hidden_names = ("hidden",)
    epochs = 40
    learning_rate = 3e-3

    def __init__(self) -> None:
        super().__init__()
        hidden = 48
        self.affine_hidden = nn.Linear(64, hidden)
        self.hidden = snn.Leaky(
            beta=torch.full((hidden,), 0.9), threshold=torch.ones(hidden), **NIR_RESET
        )
        self.affine_readout = nn.Linear(hidden, CLASSES)
        self.readout = snn.Leaky(
            beta=torch.full((CLASSES,), 0.8), threshold=torch.ones(CLASSES), **NIR_RESET
        )

    def forward(self, frame: torch.Tensor) -> tuple[torch.Tensor, ...]:
        hidden = self.hidden(self.affine_hidden(frame))
        return hidden, self.readout(self.affine_readout(hidden))


class Convolutional(SpikingModel):
    """An image of constant currents; decay and threshold differ from channel to channel."""

    layout = "image"
    hold = 16
    hidden_names = ("spiking1", "spiking2")
    epochs = 40
    learning_rate = 3e-3

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, kernel_size=3, padding=1)
        self.spiking1 = snn.Leaky(
            beta=per_channel(0.7, 0.9, (8, 8, 8)),
            threshold=per_channel(1.1, 0.9, (8, 8, 8)),
            **NIR_RESET,
        )
        self.pool = nn.AvgPool2d(2)
        self.conv2 = nn.Conv2d(8, 16, kernel_size=3)
        self.spiking2 = snn.Leaky(
            beta=per_channel(0.9, 0.8, (16, 2, 2)),
            threshold=per_channel(0.8, 1.0, (16, 2, 2)),
            **NIR_RESET,
        )
        self.flatten = nn.Flatten()
        self.affine_readout = nn.Linear(64, CLASSES)
        self.readout = snn.Leaky(
            beta=torch.full((CLASSES,), 0.85), threshold=torch.ones(CLASSES), **NIR_RESET
        )

    def forward(self, frame: torch.Tensor) -> tuple[torch.Tensor, ...]:
        spiking1 = self.spiking1(self.conv1(frame))
        spiking2 = self.spiking2(self.conv2(self.pool(spiking1)))
        return spiking1, spiking2, self.readout(self.affine_readout(self.flatten(spiking2)))


class Recurrent(SpikingModel):
    """One row of eight pixels at a time; decays differ from neuron to neuron."""

    layout = "rows"
    hold = 4
    hidden_names = ("hidden.lif",)  # the exporter splits `hidden` into hidden.lif, hidden.w_rec
    epochs = 60
    learning_rate = 3e-3

    def __init__(self) -> None:
        super().__init__()
        hidden = 64
        self.affine_hidden = nn.Linear(8, hidden)
        # RSynaptic's own reset_delay=False is broken in snnTorch 1.0.0: with init_hidden it raises
        # "unsupported operand type(s) for /: 'NoneType' and 'Tensor'", and without init_hidden it
        # resets a local variable, never the membrane. forward() does the reset instead. With the
        # membrane at 0, the delayed reset that reset_delay=True leaves active finds nothing to do.
        self.hidden = snn.RSynaptic(
            alpha=torch.linspace(0.4, 0.8, hidden),
            beta=torch.linspace(0.95, 0.7, hidden),
            threshold=torch.ones(hidden),
            linear_features=hidden,
            reset_mechanism="zero",
            reset_delay=True,
            init_hidden=True,
        )
        self.affine_readout = nn.Linear(hidden, CLASSES)
        self.readout = snn.Synaptic(
            alpha=torch.full((CLASSES,), 0.6),
            beta=torch.full((CLASSES,), 0.9),
            threshold=torch.ones(CLASSES),
            **NIR_RESET,
        )

    def forward(self, frame: torch.Tensor) -> tuple[torch.Tensor, ...]:
        hidden = self.hidden(self.affine_hidden(frame))
        self.hidden.mem = self.hidden.mem - hidden * self.hidden.mem
        return hidden, self.readout(self.affine_readout(hidden))


MODELS: dict[str, type[SpikingModel]] = {
    "digits": FeedForward,
    "digits_conv": Convolutional,
    "digits_recurrent": Recurrent,
}


def per_channel(first: float, last: float, shape: tuple[int, int, int]) -> torch.Tensor:
    """Values from first to last over the channels, the same at every position of a channel."""
    values = torch.linspace(first, last, shape[0])
    return values.reshape(-1, 1, 1).expand(shape).contiguous()


def split_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training images, held-out images, training labels and held-out labels."""
    digits = load_digits()
    return train_test_split(
        digits.images.astype(np.uint8),
        digits.target.astype(np.int64),
        test_size=HELD_OUT,
        random_state=SEED,
        stratify=digits.target,
    )


def frames_of(images: np.ndarray, layout: str) -> torch.Tensor:
    """Turn (B, 8, 8) images into (frames, B, ...) float32 input currents."""
    batch = len(images)
    if layout == "flat":
        frames = images.reshape(1, batch, 64)
    elif layout == "image":
        frames = images.reshape(1, batch, 1, 8, 8)
    elif layout == "rows":
        frames = images.transpose(1, 0, 2)
    else:
        raise ValueError(f"unknown layout: {layout}")
    return torch.from_numpy(frames.astype(np.float32) / DIVISOR)


def run(model: SpikingModel, frames: torch.Tensor) -> list[torch.Tensor]:
    """Run from rest over all time steps; return each spiking layer's spikes as (T, B, ...)."""
    model.reset()
    steps = [model(frame) for frame in frames for _ in range(model.hold)]
    return [torch.stack(layer) for layer in zip(*steps, strict=True)]


def train(model: SpikingModel, images: np.ndarray, labels: np.ndarray) -> None:
    """Fit the model so that the right output neuron spikes most often."""
    frames = frames_of(images, model.layout)
    targets = torch.from_numpy(labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=model.learning_rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, model.epochs)
    model.train()
    for _ in range(model.epochs):
        for batch in torch.randperm(len(targets)).split(64):
            counts = run(model, frames[:, batch])[-1].sum(dim=0)
            loss = nn.functional.cross_entropy(counts, targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scheduler.step()
    model.eval()


@torch.no_grad()
def record(model: SpikingModel, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Run snnTorch on the held-out images and return the fields of the .npz file."""
    model.eval()
    *hidden, output = run(model, frames_of(images, model.layout))
    raster = output.numpy().astype(np.uint8)
    counts = raster.sum(axis=0, dtype=np.int64)
    predictions = counts.argmax(axis=1)
    return {
        "images": images,
        "labels": labels,
        "layout": np.array(model.layout),
        "hold": np.array(model.hold),
        "steps": np.array(len(raster)),
        "divisor": np.array(DIVISOR),
        "spikes": np.packbits(raster),
        "spikes_shape": np.array(raster.shape),
        "counts": counts,
        "predictions": predictions,
        "accuracy": np.array(np.mean(predictions == labels)),
        "hidden_names": np.array(model.hidden_names),
        # Summed in float64: a float32 sum is inexact beyond 2**24 spikes.
        "hidden_spikes": np.array([layer.double().sum().item() for layer in hidden], np.int64),
        "versions": np.array([f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]),
    }


def export(model: SpikingModel, images: np.ndarray) -> nir.NIRGraph:
    """Export with snnTorch's exporter; only the order of the edges is changed."""
    model.eval()
    # The exporter follows the tensors of one forward pass; ignore_dims drops the batch.
    graph = export_to_nir(model, frames_of(images[:1], model.layout)[0], ignore_dims=[0])
    # nirtorch collects the edges in a set of strings, whose order changes from one Python process
    # to the next. Their order means nothing in NIR; sorting them makes the file reproducible.
    graph.edges.sort()
    return graph


def expected_edges(model: SpikingModel) -> list[tuple[str, str]]:
    """The edges that a chain of the model's layers should have, in sorted order."""
    names = ["input"]
    edges = []
    for name, layer in model.named_children():
        if isinstance(layer, snn.RSynaptic):
            name, weights = f"{name}.lif", f"{name}.w_rec"
            edges += [(name, weights), (weights, name)]
        names.append(name)
    names.append("output")
    return sorted(edges + list(itertools.pairwise(names)))


def check_decay(name: str, decay: torch.Tensor, tau: np.ndarray, gain: np.ndarray) -> None:
    """Check that one Euler step of NIR's equation is snnTorch's: state = decay * state + x."""
    np.testing.assert_allclose(1 - EXPORTER_DT / tau, decay.numpy(), atol=1e-6, err_msg=name)
    np.testing.assert_allclose(gain * EXPORTER_DT / tau, 1, rtol=1e-6, err_msg=name)


def check_neuron(name: str, layer: snn.SpikingNeuron, node: nir.NIRNode) -> None:
    """Check a LIF or CubaLIF node against the neurons that it was exported from."""
    if isinstance(layer, snn.Leaky):
        assert isinstance(node, nir.LIF), name
        check_decay(name, layer.beta, node.tau, node.r)
    else:
        assert isinstance(node, nir.CubaLIF), name
        check_decay(name, layer.alpha, node.tau_syn, node.w_in)
        check_decay(name, layer.beta, node.tau_mem, node.r)
    np.testing.assert_array_equal(node.v_threshold, layer.threshold.numpy(), err_msg=name)
    for parameter in (node.v_leak, node.v_reset):
        np.testing.assert_array_equal(parameter, np.zeros(layer.threshold.shape), err_msg=name)


def check_weights(name: str, layer: nn.Linear | nn.Conv2d, node: nir.NIRNode) -> None:
    """Check that an affine or convolution node holds exactly the trained weights."""
    np.testing.assert_array_equal(node.weight, layer.weight.detach().numpy(), err_msg=name)
    np.testing.assert_array_equal(node.bias, layer.bias.detach().numpy(), err_msg=name)
    if isinstance(layer, nn.Conv2d):
        for field in ("stride", "padding", "dilation", "groups"):
            np.testing.assert_array_equal(getattr(node, field), getattr(layer, field), name)


def check_graph(model: SpikingModel, graph: nir.NIRGraph) -> None:
    """Check that a graph read back from its file is the model that was trained."""
    assert sorted(graph.edges) == expected_edges(model), graph.edges
    assert set(graph.nodes) == {name for edge in graph.edges for name in edge}, graph.nodes
    for name, layer in model.named_children():
        if isinstance(layer, snn.RSynaptic):
            check_neuron(name, layer, graph.nodes[f"{name}.lif"])
            check_weights(name, layer.recurrent, graph.nodes[f"{name}.w_rec"])
        elif isinstance(layer, snn.SpikingNeuron):
            check_neuron(name, layer, graph.nodes[name])
        elif isinstance(layer, (nn.Linear, nn.Conv2d)):
            check_weights(name, layer, graph.nodes[name])
        elif isinstance(layer, nn.AvgPool2d):
            node = graph.nodes[name]
            assert np.all(node.kernel_size == layer.kernel_size), name
            assert np.all(node.stride == layer.stride), name
            assert np.all(node.padding == layer.padding), name
        else:
            # The exporter counts dimensions without the batch, which PyTorch's Flatten has.
            assert isinstance(layer, nn.Flatten), name
            assert (graph.nodes[name].start_dim, graph.nodes[name].end_dim) == (0, -1), name


def make(name: str, out: Path) -> None:
    """Train, export, check and record one model."""
    started = time.monotonic()
    train_images, test_images, train_labels, test_labels = split_digits()
    # Seeded for each model, so that one made alone is the same as one made with the others.
    torch.manual_seed(SEED)
    model = MODELS[name]()
    train(model, train_images, train_labels)

    graph_path, record_path = out / f"{name}.nir", out / f"{name}.npz"
    nir.write(graph_path, export(model, test_images))
    check_graph(model, nir.read(graph_path))
    fields = record(model, test_images, test_labels)
    np.savez_compressed(record_path, **fields)
    print(
        f"{name}: accuracy {fields['accuracy']:.4f} on {len(test_labels)} held-out digits, "
        f"{fields['counts'].sum()} output spikes, hidden {fields['hidden_spikes'].tolist()}, "
        f"{graph_path.stat().st_size} + {record_path.stat().st_size} bytes, "
        f"{time.monotonic() - started:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(MODELS)}")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder for the files")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(MODELS))
    if unknown:
        parser.error(f"no such model: {', '.join(unknown)}; choose from {', '.join(MODELS)}")
    torch.set_num_threads(1)  # with more threads, sums may be rounded differently
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or MODELS:
        make(name, arguments.out)


if __name__ == "__main__":
    main()
