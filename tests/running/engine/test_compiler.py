"""Compiled loops of neurons: what a plain run gives, to rounding, or a word why there are none.

Most tests use torch.compile's backend "aot_eager", which traces and differentiates as "inductor"
does and needs no C++ compiler; one takes "inductor" where there is a compiler.
"""

from __future__ import annotations

import shutil
import sys
from typing import Any

import pytest
import torch
from networks import NETWORKS, converted, flat
from sequences import compare, made_exact, sequence
from torch import Tensor

from nirtorch_cli import Compiler, StateError
from nirtorch_cli.running.session import run_sequence

torch.set_num_threads(1)

LOOPS = {"feedforward": 0, "convolutional": 0, "recurrent": 2, "nested": 3, "several_ends": 0}
"""How many loops each network has. Neurons in none have their gradients by hand; of the nested one
the first hears the input itself, which has none."""
STAGES = {"feedforward": 4, "convolutional": 2, "recurrent": 2, "nested": 5, "several_ends": 2}
"""How many loops, and neurons in none, a Delay not counted."""


def network(name: str) -> Any:
    return converted(made_exact(NETWORKS[name]()))


def compiler(steps: int = 8) -> Compiler:
    return Compiler(steps, backend="aot_eager")


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_and_numbers(name: str) -> None:
    module, plain = network(name), network(name)
    inputs, made = sequence(module, 20), compiler()
    done = run_sequence(module, inputs, compiler=made)
    assert made.problem is None
    assert made.programs == LOOPS[name]
    expected = run_sequence(plain, inputs)
    compare(done.outputs, expected.outputs, 1e-6)
    compare(done.state, expected.state, 1e-6)
    for result in (done, expected):
        tensors = [value for value in flat(result.outputs).values() if isinstance(value, Tensor)]
        sum((value * value).sum() for value in tensors).backward()
    own, others = dict(module.named_parameters()), dict(plain.named_parameters())
    assert own.keys() == others.keys()
    for key, parameter in own.items():
        assert parameter.grad is not None, key
        torch.testing.assert_close(parameter.grad, others[key].grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_numbers(name: str) -> None:
    module, made = network(name), compiler()
    inputs = sequence(module, 20)
    with torch.no_grad():
        done = run_sequence(module, inputs, compiler=made)
        assert made.problem is None
        assert made.programs == STAGES[name]
        expected = run_sequence(module, inputs)
    compare(done.outputs, expected.outputs, 1e-6)
    compare(done.state, expected.state, 1e-6)


def test_trained_constants() -> None:
    """Their gradients are not by hand, so that it pays to compile a neuron in no loop, too."""
    module, made = network("feedforward"), compiler()
    for part in module.modules():
        if type(part).__name__ == "CubaLIF":
            tau = torch.nn.Parameter(part.tau_mem.clone())
            del part.tau_mem
            part.tau_mem = tau
    inputs = sequence(module, 20)
    run_sequence(module, inputs, compiler=made).outputs.square().sum().backward()
    assert made.programs == 1
    found = tau.grad.clone()
    tau.grad = None
    run_sequence(module, inputs).outputs.square().sum().backward()
    torch.testing.assert_close(found, tau.grad, atol=1e-5, rtol=1e-4)
    assert found.abs().sum() > 0


def test_a_program_is_made_once() -> None:
    module, made, report = network("recurrent"), compiler(), []
    made.report = report.append
    inputs = sequence(module, 20)
    first = run_sequence(module, inputs, compiler=made)
    assert sorted(report) == ["back, lif", "echo, again"]
    again = run_sequence(module, inputs, compiler=made)
    longer = run_sequence(module, sequence(module, 41), compiler=made)
    assert len(report) == 2
    compare(again.outputs, first.outputs)
    compare(longer.outputs, run_sequence(module, sequence(module, 41)).outputs, 1e-6)
    run_sequence(module, sequence(module, 20, (3,)), compiler=made)
    assert len(report) == 4, "another batch is another program"


def test_from_a_state_and_in_chunks() -> None:
    module, made = network("nested"), compiler()
    inputs = sequence(module, 40)
    expected = run_sequence(module, inputs)
    done = run_sequence(module, inputs, compiler=made, chunk=13)
    compare(done.outputs, expected.outputs, 1e-6)
    half = {name: x[:20] for name, x in inputs.items()}
    rest = {name: x[20:] for name, x in inputs.items()}
    middle = run_sequence(module, half, compiler=made).state
    before = {path: value.clone() for path, value in flat(middle).items() if value is not None}
    compare(run_sequence(module, rest, middle, compiler=made).state, expected.state, 1e-6)
    after = flat(middle)
    assert all(torch.equal(after[path], value) for path, value in before.items())
    assert made.problem is None


def test_what_is_recorded() -> None:
    module, made = network("nested"), compiler()
    inputs = sequence(module, 30)
    record = ["middle/lambda/lif:v", "middle/lambda/lif", "middle/0:count", "middle/lambda/back"]
    done = run_sequence(module, inputs, record=[*record, "li:v"], compiler=made)
    assert made.programs == 3
    compare(done.trace, run_sequence(module, inputs, record=[*record, "li:v"]).trace, 1e-6)


def test_constants_may_change_between_two_runs() -> None:
    module, made = network("recurrent"), compiler()
    inputs = sequence(module, 20)
    run_sequence(module, inputs, compiler=made)
    with torch.no_grad():
        module.lif.v_threshold.mul_(0.5)
        module.affine.weight.mul_(2)
    done = run_sequence(module, inputs, compiler=made)
    expected = run_sequence(module, inputs)
    compare(done.outputs, expected.outputs, 1e-6)
    assert expected.outputs.detach().abs().sum() > 0
    assert made.programs == 2


def test_where_it_does_not_pay_nothing_is_compiled() -> None:
    module, made = network("convolutional"), compiler()
    with torch.no_grad():  # on a CPU: a few steps; wide layers
        run_sequence(module, sequence(module, 8), compiler=made)
        assert made.programs == 0
        run_sequence(module, sequence(module, 40, (80,)), compiler=made)
        assert made.programs == 1, "lif has 2 x 8 x 8 x 80 neurons, cuba 3 x 80"
    meta = converted(NETWORKS["feedforward"](), device="meta")
    done = run_sequence(meta, torch.empty(40, 2, 3, device="meta"), compiler=made)
    assert done.outputs.shape == (40, 2, 2)
    assert made.programs == 1


def test_what_somebody_looks_at_is_not_compiled() -> None:
    module, made, seen = network("recurrent"), compiler(), []
    module.lif.register_forward_hook(lambda m, i, o: seen.append(o[0]))
    inputs = sequence(module, 20)
    done = run_sequence(module, inputs, compiler=made)
    assert len(seen) == 20
    assert made.programs == 1, "echo and again, the other loop"
    compare(done.outputs, run_sequence(module, inputs).outputs, 1e-6)


def test_an_edited_graph_is_compiled_anew() -> None:
    module, made = network("recurrent"), compiler()
    inputs = sequence(module, 20)
    before = run_sequence(module, inputs, compiler=made).outputs
    module.again.scale.data.mul_(-1)
    added = next(node for node in module.graph.nodes if node.name == "echo_input")
    added.args = (added.args[0], added.args[0])
    module.recompile()
    done = run_sequence(module, inputs, compiler=made)
    compare(done.outputs, run_sequence(module, inputs).outputs, 1e-6)
    assert not torch.equal(done.outputs, before)


def test_what_cannot_be_compiled_is_run_plainly_and_said() -> None:
    module, made = network("recurrent"), Compiler(8, backend="no such backend")
    inputs = sequence(module, 20)
    done = run_sequence(module, inputs, compiler=made)
    compare(done.outputs, run_sequence(module, inputs).outputs)
    assert made.programs == 0
    assert made.problem is not None
    assert "no such backend" in made.problem
    assert "\n" not in made.problem


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 8 steps, not 7"):
        Compiler(7)
    module, made = network("recurrent"), compiler()
    state = run_sequence(module, sequence(module, 3)).state
    with pytest.raises(StateError):
        run_sequence(module, sequence(module, 20, (5,)), state, compiler=made)
    assert made.problem is None, "a state that does not fit is no failure of the compiler"


@pytest.mark.parametrize(
    ("steps", "lengths"),
    [(7, []), (8, [8]), (19, [16]), (64, [64]), (99, [64, 32]), (255, [64, 64, 64, 32, 16])],
)
def test_lengths_of_programs(steps: int, lengths: list[int]) -> None:
    assert list(Compiler(64).lengths(steps)) == lengths


@pytest.mark.filterwarnings("default")  # torch's own, of what it compiles
def test_with_a_compiler() -> None:
    module, made = network("recurrent"), Compiler(16)
    inputs = sequence(module, 20)
    done = run_sequence(module, inputs, compiler=made)
    compare(done.outputs, run_sequence(module, inputs).outputs, 1e-6)
    assert sys.float_info.min / 2 > 0, "small numbers are not flushed to zero"
    if made.problem is None:
        assert made.programs == 2
        assert made.seconds > 0
    else:  # without one, that is what is said
        assert {shutil.which("g++"), shutil.which("clang++")} == {None}, made.problem
