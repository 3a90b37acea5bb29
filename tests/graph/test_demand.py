"""Memory and time are bounded by what was asked: a small file takes no more than is allowed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from files import Tree, chain, conv, inlet, lif, linear, outlet, sound, write
from typer.testing import CliRunner, Result

from nirtorch_cli import NirtorchWarning, nir_to_torch
from nirtorch_cli.cli.app import app
from nirtorch_cli.findings.errors import ConversionError

GIB = 2**30


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(word) for word in arguments])


def delay(seconds: float, size: int = 1000) -> Tree:
    node = {"type": "Delay", "delay": np.full(size, seconds)}
    return chain(input=inlet(size), d=node, output=outlet(size))


def pool(kernel: int, stride: int, padding: int, size: int = 8) -> Tree:
    node: Tree = {"type": "SumPool2d", "kernel_size": np.array([kernel, kernel])}
    node |= {"stride": np.array([stride, stride]), "padding": np.array([padding, padding])}
    given = (size + 2 * padding - kernel) // stride + 1
    return chain(input=inlet(1, size, size), p=node, output=outlet(1, given, given))


def padded(padding: int) -> Tree:
    node = conv((3, 2, 3, 3), padding=np.array([padding, padding]), stride=np.array([900, 900]))
    sizes = [(n + 2 * padding - 3) // 900 + 1 for n in (5, 6)]
    return chain(input=inlet(2, 5, 6), c=node, output=outlet(3, *sizes))


def dilated() -> Tree:
    node = conv((1, 2, 3, 3), padding="same", dilation=np.array([20_000, 20_000]))
    return chain(input=inlet(2, 5, 6), c=node, output=outlet(1, 5, 6))


MUCH: dict[str, tuple[Tree, str]] = {
    "delay": (delay(200.0), "node 'd': a step would take 22.4 GiB, more than the 1.0 GiB that are "
              "allowed: 22.4 GiB for the delay line of 2,000,000 steps of this node"),
    "pool": (pool(40_000, 40_000, 40_000), "node 'p': a step would take 23.8 GiB"),
    "slow pool": (pool(3000, 1, 3000), "node 'p': a step would take 8.1e+13 operations"),
    "same": (dilated(), "node 'c': a step would take 11.9 GiB"),
}  # fmt: skip


@pytest.mark.parametrize("command", ["convert", "check", "run", "compare"])
@pytest.mark.parametrize("name", MUCH)
def test_what_would_take_too_much_is_refused_before_it_is_built(
    tmp_path: Path, name: str, command: str
) -> None:
    tree, text = MUCH[name]
    path = write(tmp_path / "m.nir", tree)
    assert path.stat().st_size < 40_000
    if command == "compare":
        answer = invoke("compare", "default", "default,integration=exact", "--model", path)
    else:
        more = {"run": ["--input", "zeros"], "check": ["--ignore", "NIR8"]}.get(command, [])
        answer = invoke(command, path, *more)
    assert answer.exit_code == 1
    assert "NIR014" in answer.output or command != "check"
    assert text in answer.output
    assert "if you trust the file, give --max-bytes " in answer.output


def test_the_amount_that_is_named_is_enough(tmp_path: Path) -> None:
    path = write(tmp_path / "m.nir", delay(1e-2))
    small = invoke("convert", path, "--max-bytes", 500_000, "--json", "--steps", 1)
    (finding,) = [f for f in json.loads(small.stdout)["findings"] if f["severity"] == "error"]
    assert (finding["code"], finding["node"]) == ("NIR014", "d")
    named = int(finding["hint"].partition("--max-bytes ")[2])
    assert invoke("convert", path, "--max-bytes", named, "--steps", 1).exit_code == 0
    assert invoke("convert", path, "--max-bytes", named - 1, "--steps", 1).exit_code == 1


@pytest.mark.parametrize(("option", "factor"), [("--dtype float64", 2), ("--batch 3", 3)])
def test_type_and_batch_count(tmp_path: Path, option: str, factor: int) -> None:
    """A delay line grows with both; so does the amount that is named."""
    path = write(tmp_path / "m.nir", delay(1e-1))
    named = []
    for words in ([], option.split()):
        answer = invoke("convert", path, "--max-bytes", 1_000_000, "--json", *words)
        (finding,) = json.loads(answer.stdout)["findings"][-1:]
        named.append(int(finding["hint"].partition("--max-bytes ")[2].split()[0]))
    assert named[1] == pytest.approx(factor * named[0], rel=0.01)


def test_the_library_refuses_it_too() -> None:
    graph = nir.NIRGraph.from_list(nir.Delay(np.full(1000, 200.0)))
    with pytest.raises(ConversionError, match="the delay line of 2,000,000 steps"):
        nir_to_torch(graph, {})
    small = nir.NIRGraph.from_list(nir.Delay(np.full(10, 1.0)))
    with pytest.raises(ConversionError, match=r"more than the 97\.7 KiB that are allowed"):
        nir_to_torch(small, {}, max_bytes=100_000)
    with pytest.warns(NirtorchWarning, match="which look like numbers of steps"):
        assert nir_to_torch(small, {}, max_bytes=2_000_000)


def test_a_large_file_says_itself_that_it_is_large(tmp_path: Path) -> None:
    """The default is eight times the file where that is more than 1 GiB; see `limits`."""
    from nirtorch_cli.reading.limits import allowed_bytes

    assert allowed_bytes(None, 0) == GIB
    assert allowed_bytes(None, GIB // 2) == 4 * GIB
    assert allowed_bytes(1000, GIB) == 1000


def test_what_one_step_takes_is_no_less_than_it_takes() -> None:
    """The estimate against what torch allocates: convolutions by columns, pools, delay lines."""
    graphs = {
        "conv": (nir.Conv2d((64, 64), np.ones((1, 8, 5, 5)), 1, 2, 1, 1, np.zeros(1)), (8, 64, 64)),
        "pool": (nir.SumPool2d(np.array([9, 9]), np.array([1, 1]), np.array([9, 9])), (4, 64, 64)),
        "delay": (nir.Delay(np.full((64, 64), 5e-3)), (64, 64)),
    }
    for name, (node, shape) in graphs.items():
        nodes = {"i": nir.Input(np.array(shape)), "n": node, "o": nir.Output(None)}
        graph = nir.NIRGraph(nodes, [("i", "n"), ("n", "o")], type_check=False)
        module = nir_to_torch(graph, {}, dtype=torch.float64)
        estimate = module.meta["step_bytes"][1]
        x = torch.rand(1, *shape, dtype=torch.float64)
        state = module(x)[1]
        with torch.profiler.profile(profile_memory=True) as profile, torch.no_grad():
            module(x, state)
        taken = sum(max(0, event.self_cpu_memory_usage) for event in profile.key_averages())
        assert 0 < taken <= estimate, (name, taken, estimate)
        assert estimate < 12 * taken + 2**20, (name, taken, estimate)


# ------------------------------------------------------------------------ in constant memory

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss in KiB")

PEAK = """
import resource, sys
from nirtorch_cli.cli.app import app
try:
    app(sys.argv[1:])
finally:
    print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def peak(*arguments: Any) -> int:
    """The most memory that a command took, in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, arguments)], capture_output=True, text=True
    )
    assert "PEAK" in done.stderr, done.stderr
    return int(done.stderr.split("PEAK ")[1].split()[0]) * 1024


@needs_linux
@pytest.mark.parametrize("command", ["convert", "run"])
def test_memory_does_not_grow_with_the_steps(tmp_path: Path, command: str) -> None:
    """1,000 neurons over so many steps would be 800 MB of outputs, and as much of inputs."""
    path = write(tmp_path / "m.nir", chain(input=inlet(1000), a=lif(1000), output=outlet(1000)))
    fed = ["--input", "uniform"] if command == "run" else []
    few = peak(command, path, "--steps", 2000, *fed)
    many = peak(command, path, "--steps", 200_000, *fed)
    assert many - few < 100 * 2**20


def test_a_sample_of_unsaid_length_ends_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nirtorch_cli.cli import convert

    monkeypatch.setattr(convert, "DEFAULT_SECONDS", 0.0)
    monkeypatch.setattr(convert, "DEFAULT_STEPS", 10**9)
    (tmp_path / "slow.py").write_text("MAP = {}\n")
    path = write(tmp_path / "m.nir", sound())
    monkeypatch.setattr(convert, "DEFAULT_SECONDS", 0.2)
    answer = invoke("convert", path)
    assert answer.exit_code == 0
    assert "of 1,000,000,000 steps, all that was done in 0.2 s; --steps N runs N" in answer.stdout
    exact = invoke("convert", path, "--steps", 7, "--json")
    assert json.loads(exact.stdout)["result"]["sample"]["steps"] == 7


def test_statistics_part_by_part_are_those_of_the_whole() -> None:
    from nirtorch_cli.running.tally import Tally, statistics

    values = np.random.default_rng(0).normal(size=(100, 3, 4)).astype(np.float32)
    tally = Tally()
    for start in range(0, 100, 7):
        tally.add(values[start : start + 7])
    whole = statistics(values)
    told = tally.result()
    assert (told.shape, told.dtype, told.min, told.max) == (
        [100, 3, 4],
        "float32",
        whole.min,
        whole.max,
    )
    assert told.mean == pytest.approx(float(values.mean(dtype=np.float64)), abs=1e-12)
    tally.add(np.full((1, 3, 4), np.nan, np.float32))
    assert (tally.result().min, tally.result().max, tally.result().mean) == ("nan", "nan", "nan")
    assert not tally.is_finite


# -------------------------------------------------------------------- a limit for the workers

HUNGRY = """
import nir, torch

class Hungry(torch.nn.Module):
    def forward(self, x):
        torch.ones(2**30)
        return x

MAP = {nir.Scale: lambda node: Hungry()}
"""


@needs_linux
def test_a_check_that_takes_too_much_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the other files are examined all the same."""
    monkeypatch.chdir(tmp_path)
    Path("hungry.py").write_text(HUNGRY)
    one = {"type": "Scale", "scale": np.ones(2)}
    write(tmp_path / "a.nir", chain(input=inlet(2), s=one, output=outlet(2)))
    write(tmp_path / "b.nir", sound())
    done = subprocess.run(
        [sys.executable, "-m", "nirtorch_cli", "check", "a.nir", "b.nir", "--map", "hungry.py",
         "--max-memory", str(2**29), "--json"],
        capture_output=True, text=True,
    )  # fmt: skip
    first, second = json.loads(done.stdout)["result"]["files"]
    assert done.returncode == 1
    told = [f"{f['code']} {f['message']}; {f['hint']}" for f in first["findings"]]
    assert told[0] == (
        "NIR902 not enough memory to examine it: more than the 536,870,912 bytes that it may take; "
        "raise --max-memory, if you trust it"
    )
    assert second["verdict"] == "sound"


def test_the_limit_of_memory_is_one_that_can_be_told(tmp_path: Path) -> None:
    path = write(tmp_path / "m.nir", chain(input=inlet(3), w=linear(2, 3), output=outlet(2)))
    assert invoke("check", path, "--max-memory", 0, "--ignore", "NIR8").exit_code == 0
    assert invoke("check", path, "--max-memory", -1).exit_code == 2
