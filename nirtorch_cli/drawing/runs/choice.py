"""Which neurons are drawn as lines: those that a user names, else the most active ones.

In: `[NODE=]N,N,...` from a user, and the number of neurons of each drawn name; or values (T, N) and
spikes. Out: a `Choice`, or indices of neurons in ascending order. The index of a neuron counts from
0 through its node's flattened shape, as in rasters.
Cost: linear in T times N.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.text import counted, listed, quoted
from nirtorch_cli.primitives.broadcasting import Array

MOST_LINES = 5
"""The most lines that can be told apart."""

_GRAMMAR = "give [NODE=]N,N,... such as 0,3,7 or lif1=0,3"


@dataclass(frozen=True)
class Choice:
    """The neurons that a user chose.

    by_name: for a node, an input or an output. others: for all that are not named there.
    """

    by_name: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    others: tuple[int, ...] = ()

    def of(self, name: str, neurons: int) -> tuple[int, ...]:
        """The neurons that were chosen of a name; empty if none was chosen."""
        asked = self.by_name.get(name, self.others)
        return tuple(sorted(neuron for neuron in asked if neuron < neurons))


def choice_of(texts: Iterable[str], drawn: Mapping[str, int | None]) -> Choice:
    """What `--neurons` asks for.

    Arguments:
        texts: each `[NODE=]N,N,...`.
        drawn: the number of neurons of each drawn name; None if it is not known.

    Raises:
        UsageError: a text is not such a list, a name is not drawn or given twice, there are more
        lines than can be told apart, or a neuron does not exist.
    """
    by_name: dict[str, tuple[int, ...]] = {}
    others: tuple[int, ...] = ()
    for text in texts:
        name, equals, numbers = text.rpartition("=")
        asked = _numbers(text, numbers)
        if not equals:
            if others:
                raise _refused(f"{quoted(text)}: a list for all nodes is given twice", "join them")
            others = asked
        elif name in by_name:
            raise _refused(f"{quoted(text)}: {quoted(name)} is given twice", "join the lists")
        elif name not in drawn:
            near = did_you_mean(name, drawn)
            there = f"; drawn are {listed(list(drawn), most=5)}" if drawn else ""
            hint = f"record it, or {near}" if near else f"record it{there}"
            raise _refused(f"{quoted(text)}: nothing is drawn of {quoted(name)}", hint)
        else:
            by_name[name] = asked
            _require_neurons(text, asked, [drawn[name]])
    if others:
        rest = [count for name, count in drawn.items() if name not in by_name]
        _require_neurons(",".join(map(str, others)), others, rest)
    return Choice(by_name, others)


def _numbers(text: str, numbers: str) -> tuple[int, ...]:
    parts = [part.strip() for part in numbers.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts):
        raise _refused(f"{quoted(text)} is not a list of neurons", _GRAMMAR)
    asked = tuple(dict.fromkeys(map(int, parts)))
    if len(asked) > MOST_LINES:
        what = f"{quoted(text)}: {len(asked)} lines cannot be told apart"
        raise _refused(what, f"give at most {MOST_LINES} neurons")
    return asked


def _require_neurons(text: str, asked: tuple[int, ...], counts: list[int | None]) -> None:
    """Refuse a neuron that does not exist in any of these; an unknown size may include it."""
    known = [count for count in counts if count is not None]
    if len(known) < len(counts) or not known:
        return
    most = max(known)
    missing = [str(neuron) for neuron in asked if neuron >= most]
    if missing:
        has = f"there {'is' if most == 1 else 'are'} {counted(most, 'neuron')}, from 0 on"
        raise _refused(f"{quoted(text)}: no neuron {', '.join(missing)}", has)


def _refused(text: str, hint: str) -> UsageError:
    return UsageError(f"--neurons {text}", hint=hint)


def most_active(values: Array, most: int, spikes: Array | None = None) -> Array:
    """The `most` most active neurons of (T, N).

    First those that fired most; without spikes, those whose values change most. If too few fired,
    those with the highest values come next. Of equal ones some are taken at equal distances.
    Constant ones are left out, unless all are constant.
    """
    steps, neurons = values.shape
    if neurons <= most or not steps:
        return _spread(np.arange(neurons), most)
    fired = np.zeros(neurons, np.int64) if spikes is None else np.count_nonzero(spikes, axis=0)
    numbers = np.where(np.isfinite(values), values, np.nan)
    highest, lowest = (np.nan_to_num(of.reduce(numbers, axis=0)) for of in (np.fmax, np.fmin))
    change = highest - lowest
    rank = highest if fired.any() else change
    candidates = np.flatnonzero((fired > 0) | (change > 0))
    if not len(candidates):
        return _spread(np.arange(neurons), most)
    order = candidates[np.lexsort((-rank[candidates], -fired[candidates]))]
    last = order[:most][-1]
    is_last = (fired[order] == fired[last]) & (rank[order] == rank[last])
    before = int(np.flatnonzero(is_last)[0])
    alike = np.sort(order[is_last])
    return np.sort(np.concatenate([order[:before], _spread(alike, most - before)]))


def _spread(places: Array, most: int) -> Array:
    """`most` of these, at equal distances."""
    turns = np.linspace(0, len(places) - 1, min(len(places), most)).round().astype(int)
    chosen: Array = np.unique(places[turns])
    return chosen
