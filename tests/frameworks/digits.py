"""scikit-learn's digits as spikes, and the files in which a network's run on them is recorded.

Imports neither torch nor nirtorch_cli: Spyx has an environment of its own, without both.

A pixel of 0..16 gives that many spikes in 16 steps, evenly spread. All weights are rounded to
whole multiples of 1/4096 once they are trained, so that their sums are exact in any order: what
differs between two runs is then the neurons, not how a library orders a sum.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

PIXELS, HIDDEN, CLASSES = 64, 32, 10
STEPS = 25
FULL = 16
"""The largest value of a pixel."""

HELD_OUT = 360
FINENESS = 4096


class Digits(NamedTuple):
    """Spikes are 0 or 1, (STEPS, digits, PIXELS) float32."""

    training: np.ndarray
    training_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def split() -> Digits:
    """The same 1,437 digits to train on and 360 to test with, always."""
    pixels, labels = load_digits(return_X_y=True)
    training, test, training_labels, test_labels = train_test_split(
        pixels, labels, test_size=HELD_OUT, random_state=0, stratify=labels
    )
    return Digits(spikes(training), training_labels, spikes(test), test_labels)


def spikes(pixels: np.ndarray) -> np.ndarray:
    """How often (step + 1) * pixel / 16 passes a whole number."""
    steps = np.arange(STEPS + 1)[:, None, None]
    return np.diff(steps * pixels.astype(np.int64) // FULL, axis=0).astype(np.float32)


def rounded(weights: Any) -> Any:
    """Weights, of any library, as whole multiples of 1/FINENESS."""
    return (weights * FINENESS).round() / FINENESS


def folder() -> Path:
    """The one argument of every script here."""
    parser = argparse.ArgumentParser(description="Train a network, export it and record its run.")
    parser.add_argument("folder", type=Path, help="where model.nir and run.npz are written")
    found: Path = parser.parse_args().folder
    return found


def record(out: Path, nodes: Mapping[str, np.ndarray], digits: Digits) -> None:
    """Write run.npz: by NIR node, spikes (STEPS, digits, neurons) on the test digits.

    The last node's are the output. Beside them the labels, and the share of digits whose neuron
    spikes most often; the lowest wins a tie.
    """
    *_, output = nodes.values()
    accuracy = np.mean(output.sum(0).argmax(1) == digits.test_labels)
    np.savez_compressed(
        out / "run.npz",
        input=small(digits.test),
        output=small(output),
        labels=digits.test_labels,
        accuracy=accuracy,
        **{f"{node}:spikes": small(counts) for node, counts in nodes.items()},
    )
    spikes = {node: int(counts.sum()) for node, counts in nodes.items()}
    print(json.dumps({"accuracy": round(float(accuracy), 4), "spikes": spikes}))


def small(counts: np.ndarray) -> np.ndarray:
    """Whole numbers, in as few bytes as they take."""
    whole = np.asarray(counts).astype(np.int8)
    assert (whole == counts).all()
    return whole
