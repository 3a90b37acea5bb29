"""What a map promises is checked: each faulty map by what it gets, and right ones by silence.

The maps are in faulty_maps.py; scripts/faulty_maps prints the whole of what each gets.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from conftest import DATA
from faulty_maps import FAULTS, MAPS, RIGHT, SOURCE, write_model
from networks import DT, NETWORKS, module_of
from typer.testing import CliRunner

import nirtorch_cli
from nirtorch_cli import ContractError, NirtorchError, StateError, default_map, nir_to_torch
from nirtorch_cli.batch.assess import assess
from nirtorch_cli.batch.task import Assessment, Task
from nirtorch_cli.cli.app import app

PAIR = "must return (output, state), and returned "
ROWS = "mixes the rows of a batch: the output of row 0 "
KEEPS = "keeps something from call to call: two runs from state=None on one input differ"
CALL = "cannot be called as forward("

AT_EVERY_CALL: dict[str, tuple[str, str]] = {
    "bare_tensor": ("NIR531", f"{PAIR}a tensor of the shape ("),
    "gives_none": ("NIR531", f"{PAIR}None"),
    "gives_none_without_state": ("NIR531", "must return a tensor, and returned None"),
    "gives_three": ("NIR531", f"{PAIR}a tuple of 3"),
    "gives_a_dict": ("NIR531", f"{PAIR}a dict"),
    "gives_a_pair_without_state": ("NIR531", "must return a tensor, and returned a tuple of 2"),
    "one_number": ("NIR532", "gives the shape (1, 1) for an input of the shape (1, 10), and must"),
    "no_batch": ("NIR532", "gives the shape (10,) for an input of the shape (1, 10), and must"),
    "squeezes": ("NIR532", "gives the shape (10,) for an input of the shape (1, 10), and must"),
    "changes_shape_late": ("NIR532", "gives the shape (1, 3) for an input of the shape (1, 10)"),
    "float64": ("NIR533", "gives float64 for an input of float32"),
    "float64_late": ("NIR533", "gives float64 for an input of float32"),
    "boolean": ("NIR533", "gives bool for an input of float32"),
    "whole_numbers": ("NIR533", "gives int64 for an input of float32"),
    "complex_numbers": ("NIR533", "gives complex64 for an input of float32"),
    "sparse": ("NIR533", "gives a sparse_coo tensor for a strided one"),
    "other_device": ("NIR533", "gives a tensor on meta for an input on cpu"),
    "raises": ("NIR610", "raised RuntimeError when it was run: not today"),
    "exits": ("NIR610", "raised SystemExit when it was run: 0"),
    "ends_all": ("NIR610", "raised Ending when it was run: over"),
    "generator_exit": ("NIR610", "raised GeneratorExit when it was run"),
    "broken_pipe": ("NIR610", "raised BrokenPipeError when it was run: gone"),
    "recursion": ("NIR610", "raised RecursionError when it was run: maximum recursion depth"),
    "silent_error": ("NIR610", "raised Silent when it was run: (its text cannot be read)"),
    "raises_in_a_hook": ("NIR610", "raised LookupError when it was run: hooked"),
    "raising_tensor": ("NIR610", "raised ArithmeticError when it was run: no function"),
    "raises_late": ("NIR610", "raised RuntimeError when it was run: tired"),
    "takes_nothing": ("NIR530", f"{CALL}x): too many positional arguments"),
    "takes_more": ("NIR530", f"{CALL}x): missing a required argument: 'gain'"),
    "state_by_place": ("NIR530", f"{CALL}x, state=s): "),  # in Python's own words
    "no_forward": ("NIR530", "has no forward"),
    "not_initialised": ("NIR530", "was not initialised: its __init__ must call super()"),
    "cannot_be_moved": ("NIR530", "raised OSError when it was moved to cpu, float32: stuck"),
    "cannot_be_set": ("NIR530", "raised OSError when it was set to evaluation: stays"),
    "strange_signature": ("NIR530", "raised ValueError: none of yours when its forward was"),
    "mapper_raises": ("NIR506", "the mapper of LIF (--map maps.py) raised KeyError: 'no such"),
    "mapper_ends_all": ("NIR506", "the mapper of LIF (--map maps.py) raised Ending: over"),
    "gives_a_class": ("NIR507", "the mapper of LIF (--map maps.py) returned the class ReLU"),
    "gives_a_number": ("NIR507", "the mapper of LIF (--map maps.py) returned int"),
    "gives_a_pretender": ("NIR507", "the mapper of LIF (--map maps.py) returned Pretender"),
}
"""Faults that every command refuses: code, and a part of the line."""

IN_CHECK_ONLY: dict[str, tuple[int, str, str]] = {
    "counts_calls": (1, "NIR630", f"{KEEPS}, at step 0 first"),
    "keeps_voltage": (1, "NIR630", KEEPS),
    "mean_over_rows": (1, "NIR631", f"{ROWS}changes with the other rows, at step 0 first"),
    "counts_rows": (1, "NIR631", f"{ROWS}differs between alone and in a batch of 2"),
    "first_row_apart": (1, "NIR631", f"{ROWS}changes when the rows are reversed"),
    "late_nan": (1, "NIR611", "gives NaN or infinity on random input, at step 50 of 105 first"),
    "nan_in_state": (1, "NIR611", "NaN or infinity in the state of 'lif' after a run of 105"),
    "draws": (1, "NIR632", "draws random numbers in evaluation mode, at step 0 first"),
    "draws_from_the_system": (1, "NIR632", "draws random numbers in evaluation mode, which no"),
    "grows": (0, "NIR634", "grows with every step: from 21 to 2,205 values in 105 steps"),
    "new_key_each_step": (0, "NIR634", "grows with every step: from 21 to 2,205 values"),
    "changes_input": (1, "NIR633", "changes its input in place, at step 0 first"),
    "changes_state": (1, "NIR633", "changes the state it was given in place, at step 1 first"),
    "changes_state_entry": (1, "NIR633", "changes the state it was given in place, at step 1"),
    "one_buffer": (1, "NIR633", "changes what it returned a step before, at step 1 first"),
    "cannot_be_pickled": (1, "NIR508", "(--map maps.py) cannot be saved: stays here"),
    "cannot_be_loaded": (1, "NIR508", "(--map maps.py), once saved, cannot be loaded: it is no"),
}
"""Faults that take several runs to be seen: exit code of `check`, code, a part of the line."""

OF_A_MAP: dict[str, tuple[str, str]] = {
    "raising_map": ("NIR515", "LookupError: no keys"),
    "lying_map": ("NIR515", "KeyError: 'not here'"),
    "unshown_value": ("NIR505", "is a Unshown whose repr raised ValueError: no words"),
    "unshown_key": ("NIR504", "the key a Unshown whose repr raised ValueError: no words"),
    "unsigned_map": ("NIR514", "whose parameters are not known"),
    "ending_map": ("NIR515", "Ending: over"),
    "no_map": ("NIR513", "is int, neither a mapping nor a function that returns one"),
}
"""Faults of a map that does not resolve: code, and a part of the line. Exit code 2."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The maps, and a model for each."""
    made = tmp_path_factory.mktemp("faulty")
    (made / "maps.py").write_text(SOURCE)
    for name in (*FAULTS, *MAPS, *RIGHT):
        write_model(made / f"{name}.nir", name)
    return made


@pytest.fixture
def workplace(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder, as the current one."""
    monkeypatch.chdir(folder)
    importlib.invalidate_caches()
    return folder


def check_process(folder: Path, *arguments: str) -> dict[str, Any]:
    """The document of a `check` in a process of its own, in which anything may go wrong."""
    process = subprocess.run(
        [sys.executable, "-m", "nirtorch_cli", "check", *arguments, "--json", "-j", "2"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
    )
    document: dict[str, Any] = json.loads(process.stdout)
    assert process.returncode == document["exit_code"]
    return document


@pytest.fixture(scope="module")
def checked(folder: Path) -> dict[str, dict[str, Any]]:
    """What `check` says of each model."""
    files = [f"{name}.nir" for name in (*FAULTS, *RIGHT)]
    document = check_process(folder, *files, "--map", "maps.py")
    assert document["exit_code"] == 1  # and not 70, a bug of ours
    return {Path(file["file"]).stem: file for file in document["result"]["files"]}


def of(command: str, name: str, spec: str = "maps.py") -> tuple[int, list[str]]:
    """Exit code and lines on stderr of a command in one process."""
    arguments = {
        "convert": ["convert", f"{name}.nir", "--map", spec],
        "run": ["run", f"{name}.nir", "--map", spec, "-i", "uniform"],
        "compare": ["compare", "default", f"map:{spec}", "-M", f"{name}.nir"],
    }[command]
    answer = CliRunner().invoke(app, [*arguments, "--quiet"])
    return answer.exit_code, answer.stderr.splitlines()


def test_every_fault_has_a_row() -> None:
    assert {*AT_EVERY_CALL, *IN_CHECK_ONLY} == set(FAULTS)
    assert {*OF_A_MAP, "a_class", "shared_instance"} == set(MAPS)
    assert len(AT_EVERY_CALL) + len(IN_CHECK_ONLY) + len(OF_A_MAP) > 60


@pytest.mark.parametrize("command", ["convert", "run", "compare"])
@pytest.mark.parametrize("name", AT_EVERY_CALL)
def test_faults_that_every_command_refuses(workplace: Path, command: str, name: str) -> None:
    """One line, which names file, node and map; exit code 1."""
    code, lines = of(command, name)
    assert (code, len(lines)) == (1, 1), lines
    _, part = AT_EVERY_CALL[name]
    assert lines[0].startswith(f"error: {name}.nir: node 'lif': ")
    assert "(--map maps.py) " in lines[0]
    assert part in lines[0]


@pytest.mark.parametrize("name", FAULTS)
def test_what_check_finds(checked: dict[str, dict[str, Any]], name: str) -> None:
    code, rule, part = IN_CHECK_ONLY.get(name) or (1, *AT_EVERY_CALL[name])
    file = checked[name]
    assert file["exit_code"] == code
    (finding,) = file["findings"]
    assert (finding["code"], finding["node"]) == (rule, "lif")
    in_batches = part.replace("(1, ", "(2, ")
    assert part in finding["message"] or in_batches in finding["message"]
    assert "--map maps.py" in finding["message"] or name == "nan_in_state"
    assert finding["severity"] == ("warning" if code == 0 else "error")
    assert name not in IN_CHECK_ONLY or rule == "NIR508" or file["steps"] == 105


@pytest.mark.parametrize("command", ["convert", "run"])
@pytest.mark.parametrize("name", IN_CHECK_ONLY)
def test_what_one_run_cannot_tell(workplace: Path, command: str, name: str) -> None:
    """It runs; NaN, which one run shows, is said by `run`."""
    code, lines = of(command, name)
    assert (code, lines) == (0, [])
    answer = CliRunner().invoke(app, ["run", f"{name}.nir", "--map", "maps.py", "-i", "uniform"])
    assert ("NaN or infinity" in answer.stderr) == ("nan" in name)


@pytest.mark.parametrize("name", OF_A_MAP)
def test_maps_that_do_not_resolve(workplace: Path, name: str) -> None:
    rule, part = OF_A_MAP[name]
    for command in ("convert", "run", "compare"):
        code, lines = of(command, name, f"maps.py:{name}")
        assert (code, len(lines)) == (2, 1), lines
        assert lines[0].startswith(f"error: --map maps.py:{name}: ")
        assert part in lines[0]
    answer = CliRunner().invoke(app, ["check", f"{name}.nir", "--map", f"maps.py:{name}", "--json"])
    (finding,) = json.loads(answer.stdout)["findings"]
    assert (answer.exit_code, finding["code"]) == (2, rule)
    assert part in finding["message"]


@pytest.mark.parametrize(
    ("name", "rule", "part"),
    [
        ("a_class", "NIR633", "its module ReLU (--map maps.py:a_class) changes its input in"),
        ("shared_instance", "NIR630", KEEPS),
    ],
)
def test_faults_in_which_modules_are_made(folder: Path, name: str, rule: str, part: str) -> None:
    """A class for a mapper gets the node as its first argument; an instance is shared."""
    document = check_process(folder, f"{name}.nir", "--map", f"maps.py:{name}")
    (finding,) = document["findings"]
    assert (document["exit_code"], finding["code"], finding["node"]) == (1, rule, "lif")
    assert part in finding["message"]


@pytest.mark.parametrize("name", RIGHT)
def test_right_maps_pass_without_a_word(
    workplace: Path, checked: dict[str, dict[str, Any]], name: str
) -> None:
    assert checked[name]["findings"] == []
    assert checked[name]["verdict"] == "sound"
    for command in ("convert", "run"):
        assert of(command, name) == (0, [])


# ------------------------------------------------------------------- in every way to run


class Wide(torch.nn.Module):
    """A number more than it must give, from a step on."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        step = 0 if state is None else state
        y = x if step < self.at else torch.cat([x, x[..., :1]], -1)
        return y, step + 1


class WideWithoutState(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        return torch.cat([x, x[..., :1]], -1)


def sequence(module: Any) -> dict[str, torch.Tensor]:
    shapes = {name: module.meta["shapes"][name][1] for name in module.meta["inputs"]}
    return {name: torch.rand(12, 2, *shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("way", ["steps", "sequence", "chunks", "compiled", "saved"])
@pytest.mark.parametrize(
    ("network", "node"),
    [("feedforward", "if"), ("recurrent", "lif"), ("nested", "middle/lambda/lif")],
)
@pytest.mark.parametrize("mapper", [lambda node: Wide(9), lambda node: WideWithoutState()])
def test_in_every_way_to_run(
    network: str, node: str, way: str, mapper: Any, tmp_path: Path
) -> None:
    """In a loop, in nested graphs, alone and over all of time: the node's path is named."""
    kind = nir.IF if network == "feedforward" else nir.LIF
    chosen = {kind: lambda it: mapper(it) if it.r.shape == (4,) else default_map(DT)[kind](it)}
    module = nir_to_torch(NETWORKS[network](), chosen, default_map(DT))
    if way == "saved":
        nirtorch_cli.save(module, tmp_path / "m.pt")
        module = nirtorch_cli.load(tmp_path / "m.pt")
    inputs = sequence(module)
    compiler = nirtorch_cli.Compiler(8, "eager") if way == "compiled" else None

    def run() -> None:
        state = None
        if way not in ("steps", "saved"):
            chunk = 5 if way == "chunks" else None
            nirtorch_cli.run_sequence(module, inputs, chunk=chunk, compiler=compiler)
            return
        for step in range(12):
            _, state = module(**{k: x[step] for k, x in inputs.items()}, state=state)

    with torch.no_grad(), pytest.raises(ContractError) as caught:
        run()
    (finding,) = caught.value.findings
    assert (finding.code, finding.node) == ("NIR532", node)
    assert finding.message.startswith("its module Wide")
    assert "(mapper test_faulty_maps." in finding.message
    assert "gives the shape (2, 5) for an input of the shape (2, 4), and must give (2, 4)" in (
        finding.message
    )


def mapped(kind: Any, module: Any, **options: Any) -> Any:
    """A graph of a Scale, with a module in its place."""
    graph = nir.NIRGraph.from_list(nir.Scale(np.ones(3)))
    return nir_to_torch(graph, {nir.Scale: lambda node: module}, **options)


def test_what_cannot_be_called_is_refused_at_conversion() -> None:
    class More(torch.nn.Module):
        def forward(self, x: Any, gain: Any) -> Any:
            return x * gain

    with pytest.raises(nirtorch_cli.MapperError) as caught:
        mapped(nir.Scale, More())
    assert [finding.code for finding in caught.value.findings] == ["NIR530"]
    assert "missing a required argument: 'gain'" in str(caught.value)


def test_an_input_that_does_not_fit_is_not_the_modules_fault() -> None:
    module = mapped(nir.Scale, torch.nn.Identity())
    with pytest.raises(StateError, match=r"its input has the shape \(2, 4\), which does not end"):
        module(torch.zeros(2, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types_and_devices_follow_the_input(dtype: torch.dtype) -> None:
    for device in ("cpu", "meta"):
        module = mapped(nir.Scale, torch.nn.Tanh(), dtype=dtype, device=device)
        output, _ = module(torch.zeros(2, 5, 3, dtype=dtype, device=device))
        assert (output.dtype, output.device.type, output.shape) == (dtype, device, (2, 5, 3))


def test_whole_numbers_and_autocast_may_become_another_type() -> None:
    module = mapped(nir.Scale, torch.nn.Linear(3, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, _ = module(torch.zeros(2, 3))
    assert output.dtype == torch.bfloat16

    class Halved(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / 2

    output, _ = mapped(nir.Scale, Halved())(torch.ones(2, 3, dtype=torch.bool))
    assert output.dtype == torch.float32


def test_a_meta_tensor_of_another_type_is_refused() -> None:
    class Doubled(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.double()

    with pytest.raises(ContractError, match="gives float64 for an input of float32"):
        mapped(nir.Scale, Doubled(), device="meta")(torch.zeros(2, 3, device="meta"))


def test_transforms_of_torch_keep_the_checks() -> None:
    module = mapped(nir.Scale, torch.nn.Linear(3, 3))
    x = torch.rand(4, 3)
    expected, _ = module(x)
    each = torch.func.vmap(lambda row: module(row)[0])(x)
    torch.testing.assert_close(each, expected)
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x)[0], expected)
    exported = torch.export.export(module, (x,)).module()
    torch.testing.assert_close(exported(x)[0], expected)
    traced = torch.fx.GraphModule(module, module.graph)
    assert "checked_output" in traced.code
    torch.testing.assert_close(traced(x)[0], expected)
    wrong = mapped(nir.Scale, torch.nn.Linear(3, 2))
    with pytest.raises(ContractError, match=r"must give \(4, 3\)"):
        wrong(x)


def test_an_export_for_any_batch_keeps_the_checks() -> None:
    module = mapped(nir.Scale, torch.nn.Linear(3, 3))
    sizes = {"input": {0: torch.export.Dim("rows", min=2, max=64)}}
    exported = torch.export.export(module, (torch.rand(4, 3),), dynamic_shapes=sizes).module()
    x = torch.rand(7, 3)
    torch.testing.assert_close(exported(x)[0], module(x)[0])


@pytest.mark.parametrize(("shared", "codes"), [("Leaky", []), ("counts_calls", ["NIR630"])])
def test_one_instance_for_two_nodes(
    workplace: Path, shared: str, codes: list[str], tmp_path: Path
) -> None:
    """It may stand for both if it is a function of its input and its state."""
    text = f"import nir, maps\nshared = maps.{shared}()\nMAP = {{nir.LIF: lambda node: shared}}\n"
    Path(f"shares_{shared}.py").write_text(text)
    model = str(DATA / "digits.nir")  # its two LIF layers have 48 and 10 neurons
    document = check_process(workplace, model, "--map", f"shares_{shared}.py")
    errors = [f["code"] for f in document["findings"] if f["severity"] == "error"]
    assert errors == codes


def test_reference_modules_are_not_checked_and_keep_their_code() -> None:
    for path in sorted(DATA.glob("digits*.nir")):
        module = module_of(path, {})
        assert "checked" not in module.code
        assert module.meta["origins"] == {}
        again = module_of(path, {nir.LIF: default_map(1e-4)[nir.LIF]})
        assert "checked" not in again.code


# --------------------------------------------------------------------- how long check runs


def checked_steps(path: Path, *options: str) -> tuple[int, list[str]]:
    answer = CliRunner().invoke(app, ["check", str(path), "--json", *options])
    document = json.loads(answer.stdout)
    (file,) = document["result"]["files"]
    return file["steps"], [finding["code"] for finding in document["findings"]]


def write_delays(path: Path, *delays: float, loop: bool = False) -> Path:
    """Delays in a row, in seconds of which a step has 1e-4; or in a loop around a LIF."""
    one = np.ones(2, dtype=np.float32)
    neuron = nir.LIF(one / 64, 30 * one, 0 * one, one, v_reset=0 * one)
    nodes = {"in": nir.Input(np.array([2])), "lif": neuron, "out": nir.Output(np.array([2]))}
    waits = {f"d{i}": nir.Delay(np.array([0, wait])) for i, wait in enumerate(delays)}
    names = ["lif", *waits]
    edges = [("in", "lif"), *zip(names, names[1:])]  # noqa: RUF007
    edges += [(names[-1], "lif"), ("lif", "out")] if loop else [(names[-1], "out")]
    nir.write(path, nir.NIRGraph({**nodes, **waits}, edges, type_check=False))
    return path


@pytest.mark.parametrize(
    ("delays", "loop", "steps"),
    [((), False, 5), ((3e-4,), False, 5), ((2e-3, 3e-3), False, 51), ((1e-2,), True, 200)],
)
def test_it_runs_until_every_delay_and_loop_was_used(
    tmp_path: Path, delays: tuple[float, ...], loop: bool, steps: int
) -> None:
    path = write_delays(tmp_path / "m.nir", *delays, loop=loop)
    found, codes = checked_steps(path)
    # In a loop a Delay waits a step less, for which the edge into it does: what was fed at step 0
    # has gone around by step 100, and has gone through the Delay once more 99 steps later.
    assert found == steps
    # Of the delays, which are written in float64, and of which one in a loop is 0.
    assert set(codes) <= {"NIR306", "NIR404", "NIR406"}
    assert checked_steps(path, "--steps", "3")[0] == 3


def test_a_map_is_run_longer(folder: Path) -> None:
    assert check_process(folder, "Leaky.nir", "--map", "maps.py")["result"]["files"][0][
        "steps"
    ] == (105)


def test_what_takes_too_long_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delay of more steps than there is time for: a warning, which --strict fails."""
    monkeypatch.setattr("nirtorch_cli.batch.round_trip.MOST_SECONDS", 0.01)
    path = str(write_delays(tmp_path / "m.nir", 10.0))
    found = assess(Task(path))
    assert isinstance(found, Assessment)
    assert 5 <= found.steps < 100_001
    (finding,) = found.obstacles
    assert (finding.code, finding.severity) == ("NIR635", "warning")
    assert "and its delays and loops need 100,001" in finding.message
    asked = assess(Task(path, steps=6))
    assert isinstance(asked, Assessment)
    assert (asked.steps, asked.obstacles) == (6, ())


# ------------------------------------------------------------------------------ at the edge


def test_a_map_that_interrupts_is_an_interrupt(workplace: Path) -> None:
    """Nobody can tell it from Ctrl-C, which must end the program."""
    Path("stops.py").write_text(
        "import nir\ndef make(node):\n    raise KeyboardInterrupt\nMAP = {nir.LIF: make}\n"
    )
    assert of("convert", "Leaky", "stops.py") == (130, ["error: interrupted"])


def test_errors_of_a_module_are_its_own_in_the_library() -> None:
    class Raises(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise LookupError("mine")

    module = mapped(nir.Scale, Raises())
    with pytest.raises(LookupError, match="mine"):
        module(torch.zeros(2, 3))
    with pytest.raises(LookupError, match="mine"):
        nirtorch_cli.run_sequence(module, torch.zeros(4, 2, 3))
    with pytest.raises(NirtorchError, match=r"its module Raises .* raised LookupError"):
        nirtorch_cli.compare_modules(module, module, torch.zeros(4, 2, 3))


@pytest.mark.skipif(os.name != "posix", reason="a process of its own")
def test_what_is_left_of_a_map_is_never_a_bug_of_ours(workplace: Path) -> None:
    """Code of a map that runs where nobody expects it: still the map's own."""
    Path("late.py").write_text(
        "import nir, torch\n"
        "class Names(dict):\n"
        "    def items(self):\n"
        "        raise ValueError('no items')\n"
        "class Odd(torch.nn.Module):\n"
        "    def forward(self, x, state=None):\n"
        "        return x, Names(a=x)\n"
        "MAP = {nir.LIF: lambda node: Odd()}\n"
    )
    for command in ("convert", "run"):
        code, lines = of(command, "Leaky", "late.py")
        assert code in (0, 1), lines
        assert not any("bug in nirtorch" in line for line in lines)
    document = check_process(workplace, "Leaky.nir", "--map", "late.py")
    assert document["exit_code"] == 1
    assert [finding["code"] for finding in document["findings"]] == ["NIR610"]
