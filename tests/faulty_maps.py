"""Maps that break their contract, and maps that keep it: source text, and the models to try them.

`SOURCE` is a file of maps. In each model the LIF's metadata name the fault, so that one `check`
examines all of them; faults of a map as a whole have a map of their own, `MAPS`. Used by
test_faulty_maps.py, which says what each gets, and by scripts/faulty_maps, which prints it.
"""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np

SOURCE = '''
import collections, os, random, sys
import nir, torch


def spikes(x):
    return (x > 0.5).to(x.dtype)


class Module(torch.nn.Module):
    """What the others are made of."""


# ------------------------------------------------------------------------------- at a call


class bare_tensor(Module):
    def forward(self, x, state=None):
        return spikes(x)


class gives_none(Module):
    def forward(self, x, state=None):
        return None


class gives_none_without_state(Module):
    def forward(self, x):
        return None


class gives_three(Module):
    def forward(self, x, state=None):
        return x, state, x


class gives_a_dict(Module):
    def forward(self, x, state=None):
        return {"output": x, "state": state}


class gives_a_pair_without_state(Module):
    def forward(self, x):
        return x, None


class one_number(Module):
    def forward(self, x, state=None):
        return x.mean(-1, keepdim=True), state


class no_batch(Module):
    def forward(self, x, state=None):
        return x.sum(0), state


class squeezes(Module):
    def forward(self, x):
        return x.squeeze()


class changes_shape_late(Module):
    def forward(self, x, state=None):
        n = 0 if state is None else state
        return (x if n < 7 else x[..., :3]), n + 1


class float64(Module):
    def forward(self, x, state=None):
        return x.double(), state


class float64_late(Module):
    def forward(self, x, state=None):
        n = 0 if state is None else state
        return (x if n < 7 else x.double()), n + 1


class boolean(Module):
    def forward(self, x):
        return x > 0.5


class whole_numbers(Module):
    def forward(self, x):
        return (x > 0.5).long()


class complex_numbers(Module):
    def forward(self, x):
        return x + 1j


class sparse(Module):
    def forward(self, x):
        return x.to_sparse()


class other_device(Module):
    def forward(self, x):
        return torch.empty_like(x, device="meta")


# --------------------------------------------------------------------- over several calls


class counts_calls(Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x * self.calls


class keeps_voltage(Module):
    def __init__(self):
        super().__init__()
        self.v = None

    def forward(self, x, state=None):
        self.v = x if self.v is None else 0.5 * self.v + x
        return spikes(self.v), state


class mean_over_rows(Module):
    def forward(self, x):
        return x - x.mean(0)


class counts_rows(Module):
    def forward(self, x):
        return x / len(x)


class first_row_apart(Module):
    def forward(self, x):
        return x * torch.arange(1, len(x) + 1).to(x).unsqueeze(-1)


class late_nan(Module):
    def forward(self, x, state=None):
        n = 0 if state is None else state
        return (x / 0 - x / 0 if n >= 50 else x), n + 1


class nan_in_state(Module):
    def forward(self, x, state=None):
        return x, {"v": [x / 0]}


class draws(Module):
    def forward(self, x):
        return x + torch.rand_like(x)


class draws_from_the_system(Module):
    def forward(self, x):
        return x + random.SystemRandom().random()


class grows(Module):
    def forward(self, x, state=None):
        state = [*(state or []), x]
        return spikes(sum(state)), state


class new_key_each_step(Module):
    def forward(self, x, state=None):
        state = {} if state is None else state
        return x, {**state, f"step {len(state)}": x}


class changes_input(Module):
    def forward(self, x):
        return x.mul_(2)


class changes_state(Module):
    def forward(self, x, state=None):
        state = torch.zeros_like(x) if state is None else state
        state += x
        return spikes(state), state


class changes_state_entry(Module):
    def forward(self, x, state=None):
        state = {"v": torch.zeros_like(x)} if state is None else state
        state["v"] = state["v"] + x
        return spikes(state["v"]), state


class one_buffer(Module):
    def forward(self, x):
        if not hasattr(self, "buffer"):
            self.buffer = torch.empty_like(x)
        return self.buffer.copy_(x)


# ------------------------------------------------------------------------------ it raises


class Silent(Exception):
    def __str__(self):
        raise ValueError("no words")


class Ending(BaseException):
    pass


class raises(Module):
    def forward(self, x, state=None):
        raise RuntimeError("not\\ntoday")


class exits(Module):
    def forward(self, x, state=None):
        raise SystemExit(0)


class ends_all(Module):
    def forward(self, x, state=None):
        raise Ending("over")


class generator_exit(Module):
    def forward(self, x, state=None):
        raise GeneratorExit


class broken_pipe(Module):
    def forward(self, x, state=None):
        raise BrokenPipeError("gone")


class recursion(Module):
    def forward(self, x, state=None):
        return self.forward(x, state)


class silent_error(Module):
    def forward(self, x, state=None):
        raise Silent


class raises_in_a_hook(Module):
    def __init__(self):
        super().__init__()
        self.register_forward_hook(self.hook)

    def hook(self, *arguments):
        raise LookupError("hooked")

    def forward(self, x):
        return x


class raising_tensor(Module):
    class Mine(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            raise ArithmeticError("no function")

    def forward(self, x):
        return torch.Tensor._make_subclass(self.Mine, x)


class raises_late(Module):
    def forward(self, x, state=None):
        n = 0 if state is None else state
        if n == 20:
            raise RuntimeError("tired")
        return x, n + 1


# ------------------------------------------------------------------------- before any call


class takes_nothing(Module):
    def forward(self):
        return 1


class takes_more(Module):
    def forward(self, x, gain):
        return x * gain


class state_by_place(Module):
    def forward(self, x, state, /):
        return x, state


class no_forward(Module):
    pass


class not_initialised(Module):
    def __init__(self):
        self.gain = 2

    def forward(self, x):
        return x * self.gain


class cannot_be_moved(Module):
    def _apply(self, *arguments, **keywords):
        raise OSError("stuck")

    def forward(self, x):
        return x


class cannot_be_set(Module):
    def train(self, mode=True):
        raise OSError("stays")

    def forward(self, x):
        return x


class cannot_be_pickled(Module):
    def __reduce_ex__(self, protocol):
        raise Ending("stays here")

    def forward(self, x):
        return x


class cannot_be_loaded(Module):
    def __setstate__(self, state):
        raise Ending("no more")

    def forward(self, x):
        return x


class strange_signature(Module):
    @property
    def forward(self):
        raise ValueError("none of yours")


def mapper_raises(node):
    raise KeyError("no such chip")


def mapper_ends_all(node):
    raise Ending("over")


def gives_a_class(node):
    return torch.nn.ReLU


def gives_a_number(node):
    return 3


class Pretender:
    @property
    def __class__(self):
        return torch.nn.Module


def gives_a_pretender(node):
    return Pretender()


# ------------------------------------------------------------------------ nothing is wrong


class RightLIF(Module):
    """As norse: the state is a named tuple."""

    State = collections.namedtuple("State", "v, i")

    def forward(self, x, state=None):
        v, i = (torch.zeros_like(x), torch.zeros_like(x)) if state is None else state
        i = 0.5 * i + x
        v = 0.5 * v + i
        z = spikes(v)
        return z, State(v * (1 - z), i)


State = RightLIF.State


class Leaky(Module):
    """As snnTorch: the state is a tensor."""

    def forward(self, x, state=None):
        state = torch.zeros_like(x) if state is None else state
        v = 0.8 * state + x
        return spikes(v), v


class Inner(torch.nn.Module):
    """As SpikingJelly: it keeps its voltage itself."""

    def __init__(self):
        super().__init__()
        self.v = 0.0

    def forward(self, x):
        self.v = self.v + 0.3 * x
        z = spikes(self.v)
        self.v = self.v - z
        return z


class Wrapped(Module):
    """The same with the state handed in and out."""

    def __init__(self):
        super().__init__()
        self.inner = Inner()

    def forward(self, x, state=None):
        self.inner.v = 0.0 if state is None else state
        z = self.inner(x)
        return z, self.inner.v


class AsList(Module):
    def forward(self, x, state=None):
        v = x if state is None else state[0] + x
        return [x, [v, {"steps": 0 if state is None else state[1]["steps"] + 1}]]


class NoState(Module):
    def forward(self, x, state=None):
        return spikes(x), None


class Window(Module):
    """A state that grows until it is full."""

    def forward(self, x, state=None):
        state = (state or ())[-4:] + (x,)
        return spikes(sum(state)), state


class Dense(Module):
    """Weights and a neuron in one, with more entries in its state dict."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(10, 10)
        torch.nn.init.normal_(self.layer.weight)

    def get_extra_state(self):
        return {"version": 1}

    def set_extra_state(self, state):
        pass

    def forward(self, x, state=None):
        v = self.layer(x) if state is None else 0.9 * state + self.layer(x)
        return spikes(v), v


class Recurrent(Module):
    def __init__(self):
        super().__init__()
        self.cell = torch.nn.GRUCell(10, 10)

    def forward(self, x, state=None):
        h = self.cell(x, state)
        return h, h


class Mine(torch.Tensor):
    pass


class OfItsOwnClass(Module):
    def forward(self, x):
        return (2 * x).as_subclass(Mine)


class Unspoken(Module):
    def __repr__(self):
        raise ValueError("no words")

    def state_dict(self, *arguments, **keywords):
        raise ValueError("no state")

    def forward(self, x):
        return 2 * x


def dropout(node):
    return torch.nn.Dropout(0.5)


def lazy(node):
    return torch.nn.LazyLinear(10)


def batch_norm(node):
    return torch.nn.BatchNorm1d(10)


def sequential(node):
    return torch.nn.Sequential(torch.nn.Linear(10, 10), torch.nn.Tanh())


def make(node):
    does = node.metadata["does"]
    entry = globals()[does.decode() if isinstance(does, bytes) else does]
    return entry() if isinstance(entry, type) else entry(node)


MAP = {nir.LIF: make}

# ---------------------------------------------------------------------- the map as a whole


class Raising(dict):
    def keys(self):
        raise LookupError("no keys")

    __iter__ = items = keys


class Lying(collections.abc.Mapping):
    def __getitem__(self, key):
        raise KeyError("not here")

    def __iter__(self):
        return iter([nir.LIF])

    def __len__(self):
        return 1


class Unshown:
    def __repr__(self):
        raise ValueError("no words")


class Unsigned:
    @property
    def __signature__(self):
        raise ValueError("unsigned")

    def __call__(self):
        return {}


def ending_map(dt):
    raise Ending("over")


raising_map = Raising({nir.LIF: make})
lying_map = Lying()
unshown_value = {nir.LIF: Unshown()}
unshown_key = {Unshown(): make}
unsigned_map = Unsigned()
a_class = {nir.LIF: torch.nn.ReLU}
no_map = 3
shared = counts_calls()
shared_instance = {nir.LIF: lambda node: shared}
'''

FAULTS = [
    *("bare_tensor", "gives_none", "gives_none_without_state", "gives_three", "gives_a_dict"),
    *("gives_a_pair_without_state", "one_number", "no_batch", "squeezes", "changes_shape_late"),
    *("float64", "float64_late", "boolean", "whole_numbers", "complex_numbers", "sparse"),
    *("other_device", "counts_calls", "keeps_voltage", "mean_over_rows", "counts_rows"),
    *("first_row_apart", "late_nan", "nan_in_state", "draws", "draws_from_the_system", "grows"),
    *("new_key_each_step", "changes_input", "changes_state", "changes_state_entry"),
    *("one_buffer", "raises", "exits", "ends_all", "generator_exit", "broken_pipe", "recursion"),
    *("silent_error", "raises_in_a_hook", "raising_tensor", "raises_late", "takes_nothing"),
    *("takes_more", "state_by_place", "no_forward", "not_initialised", "cannot_be_moved"),
    *("cannot_be_set", "cannot_be_pickled", "cannot_be_loaded", "strange_signature"),
    *("mapper_raises", "mapper_ends_all", "gives_a_class", "gives_a_number", "gives_a_pretender"),
]
"""The faults that a model's metadata name."""

MAPS = [
    *("raising_map", "lying_map", "unshown_value", "unshown_key", "unsigned_map", "ending_map"),
    *("no_map", "a_class", "shared_instance"),
]
"""The faults of a map as a whole."""

RIGHT = [
    *("RightLIF", "Leaky", "Wrapped", "AsList", "NoState", "Window", "Dense", "Recurrent"),
    *("OfItsOwnClass", "Unspoken", "dropout", "lazy", "batch_norm", "sequential"),
]
"""What keeps the contract, and must pass without a word."""


def write_model(path: Path, does: str) -> None:
    """A Linear of 4 to 10, then a LIF whose module does what the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    one = np.ones(10, dtype=np.float32)
    neuron = nir.LIF(one, one, 0 * one, one, v_reset=0 * one, metadata={"does": does})
    weight = np.random.default_rng(0).uniform(0.1, 0.6, size=(10, 4)).astype(np.float32)
    nir.write(path, nir.NIRGraph.from_list(nir.Linear(weight), neuron))
