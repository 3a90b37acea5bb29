"""Session: pieces of a stream, one step, what is recorded; against a loop of calls by hand."""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import pytest
import torch
from networks import NETWORKS, assert_same, converted, ends, flat, inputs, lif, run, weights

from nirtorch_cli import Session, StateError, UsageError, nir_to_torch
from nirtorch_cli.running.activity import activity
from nirtorch_cli.running.engine.stages import stages_of
from nirtorch_cli.running.recording import node_types, spiking_paths, variables_of

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
    """What a session takes: one tensor, or one for each argument."""
    names = module.meta["inputs"]
    stacked = {name: torch.stack(values) for name, values in zip(names, zip(*steps), strict=True)}
    return stacked if len(names) > 1 else stacked[names[0]]


def stacked(results: list[tuple[Any, Any]]) -> Any:
    outputs = [flat(output) for output, _ in results]
    return {path: torch.stack([output[path] for output in outputs]) for path in outputs[0]}


def close(found: Any, expected: Any) -> None:
    """The engine orders the sums of matrix products by the number of frames."""
    assert found.keys() == expected.keys()
    for path, value in found.items():
        if value is not None:
            torch.testing.assert_close(value, expected[path], atol=1e-5, rtol=1e-5)


def counted(session: Session) -> list[str]:
    return [f"{path}:count" for path in spiking_paths(session.module)]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("pieces", [[6], [2, 4], [1, 1, 1, 1, 1, 1], [3, 1, 2]], ids=str)
def test_pieces_of_a_stream_are_a_loop_of_calls(name: str, pieces: list[int]) -> None:
    module = converted(NETWORKS[name]())
    steps = inputs(module, STEPS)
    expected = run(module, steps)
    session, start, outputs = Session(module), 0, []
    for length in pieces:
        piece = over_time(module, steps[start : start + length])
        outputs.append(flat(session.run(piece).outputs))
        start += length
        close(flat(session.state), flat(expected[start - 1][1]))
    close(
        {key: torch.cat([part[key] for part in outputs]) for key in outputs[0]}, stacked(expected)
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_single_steps_are_calls_to_the_bit(name: str) -> None:
    module = converted(NETWORKS[name]())
    steps = inputs(module, STEPS)
    session, expected = Session(module), run(module, steps)
    for number, step in enumerate(steps):
        found = session.run(over_time(module, [step]))
        one = {path: value[0] for path, value in flat(found.outputs).items()}
        assert_same(one, flat(expected[number][0]))
        assert_same(flat(session.state), flat(expected[number][1]))


@pytest.mark.parametrize("name", NETWORKS)
def test_single_steps_record_what_a_sequence_records(name: str) -> None:
    """Every variable of every node, whether a call or the engine sees it."""
    module = converted(NETWORKS[name]())
    steps = inputs(module, STEPS)
    kinds = dict(node_types(module))
    for path in kinds:
        record = [f"{path}:{variable}" for variable in variables_of(kinds[path])]
        whole = Session(module, record=record).run(over_time(module, steps)).trace[path]
        session = Session(module, record=record)
        parts = [session.run(over_time(module, [step])).trace[path] for step in steps]
        for variable, values in whole.items():
            found = [part[variable] for part in parts]
            joined = sum(found) if variable == "count" else torch.cat(found)
            torch.testing.assert_close(joined, values, atol=1e-5, rtol=1e-5)
            assert joined.dtype == values.dtype
    assert not any(part._forward_hooks for part in module.modules())


def test_the_graph_is_analysed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(
        "nirtorch_cli.running.engine.sequencer.stages_of",
        lambda graph: (calls.append(1), stages_of(graph))[1],
    )
    module = converted(NETWORKS["recurrent"]())
    session = Session(module, record=["lif:v"])
    for _ in range(5):
        session.run(torch.ones(3, 2, 3))
    assert len(calls) == 1


def test_a_state_is_given_and_set_and_never_changed() -> None:
    module = converted(NETWORKS["recurrent"]())
    first = Session(module)
    first.run(torch.ones(4, 2, 3))
    given = first.state
    assert given is not None
    before = {path: v.clone() for path, v in flat(given).items() if v is not None}
    second = Session(module, state=given)
    once = second.run(torch.ones(3, 2, 3)).outputs
    second.state = given
    assert torch.equal(second.run(torch.ones(3, 2, 3)).outputs, once)
    second.state = None
    from_rest = Session(module).run(torch.ones(3, 2, 3)).outputs
    assert torch.equal(second.run(torch.ones(3, 2, 3)).outputs, from_rest)
    assert all(torch.equal(flat(given)[path], value) for path, value in before.items())


def test_each_run_has_a_recording_of_its_own() -> None:
    module = converted(NETWORKS["recurrent"]())
    session = Session(module, record=["lif:v", "lif:count"])
    first = session.run(torch.ones(5, 2, 3)).trace
    kept = {name: value.clone() for name, value in first["lif"].items()}
    second = session.run(torch.ones(2, 2, 3)).trace
    assert (len(first["lif"]["v"]), len(second["lif"]["v"])) == (5, 2)
    assert all(torch.equal(first["lif"][name], value) for name, value in kept.items())
    whole = Session(module, record=["lif:v", "lif:count"]).run(torch.ones(7, 2, 3)).trace
    total = first["lif"]["count"] + second["lif"]["count"]
    assert torch.equal(whole["lif"]["count"], total)


def test_parameters_may_change_between_runs() -> None:
    module = converted(NETWORKS["recurrent"]())
    session = Session(module)
    session.run(torch.ones(3, 2, 3))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(0.5)
    session.state = None
    other = Session(module).run(torch.ones(3, 2, 3)).outputs
    assert torch.equal(session.run(torch.ones(3, 2, 3)).outputs, other)


# ----------------------------------------------------------------------------------- counts


@pytest.mark.parametrize("name", NETWORKS)
def test_every_spiking_node_is_counted(name: str) -> None:
    """By NIR path, against spikes that are caught on the way."""
    module = converted(NETWORKS[name]())
    steps = inputs(module, STEPS)
    session = Session(module)
    session = Session(module, record=counted(session))
    assert {*spiking_paths(module)} == {*SPIKING[name]}
    trace = session.run(over_time(module, steps)).trace
    spikes = Session(module, record=spiking_paths(module)).run(over_time(module, steps)).trace
    for path, neurons in SPIKING[name].items():
        caught = spikes[path]["spikes"]
        assert torch.equal(trace[path]["count"], caught.count_nonzero(0))
        assert caught.numel() == STEPS * 2 * neurons
    found = activity({path: held["count"] for path, held in trace.items()}, STEPS, 1e-4)
    assert {node.node: node.neurons for node in found} == SPIKING[name]
    assert any(0 < node.per_step < 1 for node in found)


def test_counts_by_hand() -> None:
    """One neuron fires at every step, one at every second, one never; a threshold counts too."""
    fire = nir.IF(np.ones(3), np.array([0.5, 1.5, 1e9]), np.zeros(3))
    nodes = {**ends((3,), (3,)), "fire": fire, "above": nir.Threshold(np.array([0.5, 2.0, 0.5]))}
    edges = [("input", "fire"), ("input", "above"), ("fire", "output"), ("above", "output")]
    module = converted(nir.NIRGraph(nodes, edges, type_check=False))
    session = Session(module, record=["fire:count", "above:count"])
    trace = session.run(torch.ones(6, 2, 5, 3)).trace
    assert torch.equal(trace["fire"]["count"], torch.tensor([6, 3, 0]).expand(2, 5, 3))
    assert torch.equal(trace["above"]["count"], torch.tensor([6, 0, 6]).expand(2, 5, 3))


def test_no_batch_rows_and_no_neurons() -> None:
    module = converted(NETWORKS["recurrent"]())
    done = Session(module, record=["lif:count"]).run(torch.ones(3, 0, 3))
    assert done.outputs.shape == (3, 0, 2)
    assert done.trace["lif"]["count"].shape == (0, 4)
    nodes = {**ends((3,), (2,)), "linear": nir.Linear(weights(2, 3))}
    plain = converted(nir.NIRGraph(nodes, [("input", "linear"), ("linear", "output")]))
    session = Session(plain)
    assert session.run(torch.ones(2, 3)).outputs.shape == (2, 2)
    assert session.state == {"input": None, "linear": None, "output": None}


def test_gradients_reach_the_weights() -> None:
    module = converted(NETWORKS["recurrent"]())
    Session(module).run(torch.ones(5, 2, 3)).outputs.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in module.parameters())


def test_several_inputs_by_name_in_any_order() -> None:
    module = converted(NETWORKS["several_ends"]())
    steps = over_time(module, inputs(module, STEPS))
    assert list(steps) == ["left", "right"]
    done = Session(module).run(steps)
    turned = Session(module).run({"right": steps["right"], "left": steps["left"]})
    assert_same(turned.outputs, done.outputs)
    assert {name: tuple(value.shape) for name, value in done.outputs.items()} == {
        "spikes": (STEPS, 2, 4),
        "voltage": (STEPS, 2, 2),
    }


REFUSED = [
    (lambda x, y: {"left": x, "right": y[:3]}, r"one number of steps, not \[3, 6\]"),
    (lambda x, y: {"left": x[:0], "right": y[:0]}, r"one number of steps, not \[0\]"),
    (lambda x, y: {}, r"takes left, right, not"),
    (lambda x, y: {"left": x}, "takes left, right, not left"),
    (lambda x, y: {"left": x, "right": y, "middle": y}, "not left, middle, right"),
    (lambda x, y: x, "takes left, right, not left"),
    (lambda x, y: {"left": x[:, :1], "right": y}, "the same batch axes"),
    (lambda x, y: {"left": x[..., :1], "right": y}, r"left must be \(T, ..., "),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_inputs_that_do_not_fit_are_refused(given: Any, message: str) -> None:
    module = converted(NETWORKS["several_ends"]())
    steps = over_time(module, inputs(module, STEPS))
    with pytest.raises(ValueError, match=message):
        Session(module).run(given(steps["left"], steps["right"]))


def test_what_a_session_cannot_be_made_with() -> None:
    module = converted(NETWORKS["recurrent"]())
    with pytest.raises(UsageError, match="no node 'gone'"):
        Session(module, record=["gone"])
    with pytest.raises(ValueError, match="a chunk has at least one step, not 0"):
        Session(module, chunk=0)
    session = Session(module)
    session.run(torch.ones(2, 2, 3))
    with pytest.raises(StateError):
        session.run(torch.ones(2, 5, 3))  # another batch


# ------------------------------------------------------------- modules of somebody else's


class Leaky(torch.nn.Module):
    """A neuron as another framework has it."""

    def forward(self, x: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
        mem = x if state is None else 0.9 * state["mem"] + x
        spk = (mem > 1).to(x)
        return spk, {"mem": mem - spk}


class Tupled(torch.nn.Module):
    """One whose state is a tuple."""

    def forward(self, x: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
        syn, mem = (x, x) if state is None else (0.8 * state[0] + x, 0.9 * state[1] + state[0])
        return (mem > 1).to(x), (syn, mem)


def with_module(made: Any) -> Any:
    nodes = {**ends((3,), (3,)), "lif": lif(3)}
    edges = [("input", "lif"), ("lif", "output")]
    graph = nir.NIRGraph(nodes, edges, type_check=False)
    return nir_to_torch(graph, {nir.LIF: lambda node: made})


def test_any_tensor_of_a_state_is_recorded() -> None:
    x = torch.rand(7, 2, 3)
    found = Session(with_module(Leaky()), record=["lif:mem", "lif"]).run(x).trace["lif"]
    mem = torch.zeros(2, 3)
    for step, now in enumerate(x):
        mem = 0.9 * mem + now
        spk = (mem > 1).float()
        mem = mem - spk
        torch.testing.assert_close(found["mem"][step], mem)
        assert torch.equal(found["spikes"][step], spk)
    pair = Session(with_module(Tupled()), record=["lif:0", "lif:1"]).run(x).trace["lif"]
    torch.testing.assert_close(pair["0"][1], 0.8 * x[0] + x[1])
    torch.testing.assert_close(pair["1"][1], 0.9 * x[0] + x[0])


def test_a_name_of_nirs_for_a_tensor_of_a_module() -> None:
    module = Leaky()
    module.nir_states = {"mem": "v"}  # type: ignore[assignment]
    x = torch.rand(7, 2, 3)
    found = Session(with_module(module), record=["lif:v", "lif:mem"]).run(x).trace["lif"]
    assert torch.equal(found["v"], found["mem"])


def test_what_a_state_does_not_hold_is_told_with_what_it_does() -> None:
    x = torch.rand(3, 2, 3)
    for made, said in ((Leaky(), "it holds 'mem'"), (Tupled(), "it holds '0', '1'")):
        session = Session(with_module(made), record=["lif:mam"])
        with pytest.raises(UsageError, match=f"has no 'mam' to record; {said}"):
            session.run(x)


def test_a_spiking_node_by_another_map_counts() -> None:
    """The node's type says that it spikes, whatever module stands for it."""

    class Always(torch.nn.Module):
        def forward(self, x: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
            return torch.ones_like(x), state

    trace = Session(with_module(Always()), record=["lif:count"]).run(torch.zeros(4, 2, 3)).trace
    assert torch.equal(trace["lif"]["count"], torch.full((2, 3), 4))
