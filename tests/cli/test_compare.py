"""`nirtorch compare` as its users see it: what is printed where, and the exit codes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from conftest import DATA
from typer.testing import CliRunner, Result

from nirtorch_cli import default_map, nir_to_torch, save
from nirtorch_cli.cli.app import app
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.running.signals.generators import generated, parsed

torch.set_num_threads(1)

DIGITS = str(DATA / "digits.nir")
NEURONS = 3


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small model, and maps that change it in one place."""
    monkeypatch.chdir(tmp_path)
    ones = np.ones(NEURONS)
    nodes = {
        "input": nir.Input(np.array([NEURONS])),
        "lif": nir.LIF(2e-3 * ones, 3 * ones, 0 * ones, ones),
        "li": nir.LI(5e-3 * ones, ones, 0 * ones),
        "output": nir.Output(np.array([NEURONS])),
    }
    edges = [("input", "lif"), ("lif", "li"), ("li", "output")]
    nir.write("model.nir", nir.NIRGraph(nodes, edges))
    Path("maps.py").write_text(
        "import nir, torch\n"
        "from nirtorch_cli import default_map\n"
        "SAME = default_map(1e-3)\n"
        "class Late(torch.nn.Module):\n"
        "    '''A reference neuron whose spikes come a step late.'''\n"
        "    def __init__(self, inner):\n"
        "        super().__init__()\n"
        "        self.inner = inner\n"
        "    def forward(self, x, state=None):\n"
        "        z, after = self.inner(x, state)\n"
        "        late = torch.zeros_like(z) if state is None else state['z']\n"
        "        return late, {**after, 'z': z}\n"
        "def late(node):\n"
        "    return Late(SAME[nir.LIF](node))\n"
        "LATE = {nir.LIF: late}\n"
        "class Wrong(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        print('not the answer')\n"
        "        return x * float('nan')\n"
        "NAN = {nir.LI: lambda node: Wrong()}\n"
    )


def invoke(*arguments: str, **options: object) -> Result:
    return CliRunner().invoke(app, ["compare", *arguments], **options)  # type: ignore[arg-type]


def on_model(*arguments: str) -> Result:
    return invoke(*arguments, "--model", "model.nir")


def document(*arguments: str) -> dict[str, Any]:
    answer = invoke(*arguments, "--json")
    told: dict[str, Any] = json.loads(answer.stdout)
    assert told["exit_code"] == answer.exit_code
    assert (told["command"], told["ok"]) == ("compare", answer.exit_code == 0)
    return told


AGREEING = """\
A      default,dt=1e-3
B      map:maps.py:SAME,dt=1e-3
over   20 steps of 0.001, 2 batch rows

node    diverges at  spikes A  spikes B    rate A    rate B  distance  v differs  output differs
lif                        55        55  458.3 Hz  458.3 Hz         0          0
li                                                                             0               0
output                                                                                         0

they agree (atol 1e-05, spikes shifted by up to 0)
"""


def test_two_that_agree() -> None:
    answer = on_model(
        "default,dt=1e-3", "map:maps.py:SAME,dt=1e-3", "--steps", "20", "--batch", "2"
    )
    assert answer.exit_code == 0
    assert answer.stdout == AGREEING
    assert answer.stderr == ""
    x = generated(parsed("uniform"), (20, 2, NEURONS), dt=1e-3, seed=0)
    v, spikes = np.zeros((2, NEURONS)), 0
    for step in x:
        v += 0.5 * (3 * step - v)
        spikes += int((v > 1).sum())
        v[v > 1] = 0
    assert (spikes, round(spikes / x.size / 1e-3, 1)) == (55, 458.3)


def test_two_that_differ() -> None:
    answer = on_model("default,dt=1e-3", "default,integration=exact,dt=1e-3", "-q")
    assert answer.exit_code == 1
    assert "they differ: first at step 0 in 'lif' (atol 1e-05" in answer.stdout
    lines = answer.stderr.splitlines()
    assert [line.partition(": the runs diverge")[0] for line in lines] == [
        "error: node 'lif'",
        "error: node 'li'",
        "error: node 'output'",
    ]


def test_tolerances_decide() -> None:
    late = "default,dt=1e-3", "map:maps.py:LATE,dt=1e-3"
    seed = "--seed", "3", "--steps", "30", "--variables", "spikes"
    assert on_model(*late, *seed).exit_code == 1
    shifted = on_model(*late, *seed, "--max-spike-shift", "1")
    module_spikes = document(*late, "-M", "model.nir", *seed)["result"]["nodes"][0]["spikes"]
    # The last step's spikes never come, unless there are none.
    assert shifted.exit_code == (module_spikes["spikes_a"] != module_spikes["spikes_b"])
    assert module_spikes["shifted"] == 0
    exact = "default,dt=1e-3", "default,dt=1e-3,dtype=float64"
    assert on_model(*exact, "--variables", "v,output", "--atol", "0").exit_code == 1
    assert on_model(*exact, "--variables", "v,output", "--atol", "1e-4").exit_code == 0
    assert on_model(*exact, "--atol", "inf").exit_code == 0


def test_as_json() -> None:
    told = document("default,dt=1e-3", "default,integration=exact,dt=1e-3", "-M", "model.nir")
    assert told["exit_code"] == 1
    errors = [f["code"] for f in told["findings"] if f["severity"] == "error"]
    assert errors == ["NIR620"] * 3
    result = told["result"]
    assert (result["steps"], result["rows"], result["dt"]) == (100, 1, 1e-3)
    assert (result["passes"], result["first_parting"]) == (False, "lif")
    assert [node["node"] for node in result["nodes"]] == ["lif", "li", "output"]
    lif = result["nodes"][0]
    assert set(lif) == {*("node", "first_step", "spikes", "values", "not_compared", "unknown_from")}
    assert lif["values"]["v"]["largest"] > 1e-5
    assert (
        document("default", "default", "-M", "model.nir", "--atol", "inf")["result"]["atol"]
        == "inf"
    )


def test_nan_never_passes() -> None:
    answer = on_model(
        "map:maps.py:NAN", "map:maps.py:NAN", "--atol", "inf", "--variables", "output"
    )
    assert answer.exit_code == 1
    assert "node 'output': the runs diverge at step 0: output is NaN or infinity in 300 values" in (
        answer.stderr
    )
    assert "not the answer" not in answer.stdout
    assert "not the answer" in answer.stderr


def test_what_could_not_be_compared_fails() -> None:
    answer = on_model("default,dt=1e-3", "map:maps.py:NAN,dt=1e-3", "--variables", "v")
    assert answer.exit_code == 1
    assert "error: node 'li': v could not be compared: B does not have it" in answer.stderr
    assert "not compared" in answer.stdout


def test_other_steps() -> None:
    answer = on_model("default,dt=1e-3", "default,dt=5e-4", "--atol", "inf", "--steps", "9")
    assert answer.stdout.splitlines()[2] == "over   9 steps of 0.001, 1 batch row"
    assert "note: compared on steps of 0.001, over which the input is constant" in answer.stderr
    answer = on_model("default,dt=1e-3", "default,dt=7e-4")
    assert answer.exit_code == 2
    assert answer.stderr == (
        "error: the steps 0.001 and 0.0007 have no common grid; "
        "one dt must be a whole multiple of the other\n"
    )


def test_saved_modules_need_trust() -> None:
    save(nir_to_torch("model.nir", {}, default_map(1e-3)), "model.pt")
    answer = invoke("file:model.pt", "file:model.pt")
    assert answer.exit_code == 2
    assert "model.pt is a pickle" in answer.stderr
    assert invoke("file:model.pt", "file:model.pt", "--trust").exit_code == 0
    assert on_model("default,dt=1e-3", "file:model.pt", "--trust").exit_code == 0
    Path("other.pt").write_bytes(b"no pickle")
    assert invoke("file:other.pt", "file:model.pt", "--trust").exit_code == 3


def recording(name: str, spikes: np.ndarray, **more: Any) -> str:
    np.savez(name, **{"lif:spikes": spikes}, **more)
    return f"trace:{name}"


def test_two_traces_need_no_model() -> None:
    spikes = np.zeros((10, 1, 3))
    spikes[4, 0, 1] = 1
    a = recording("a.npz", spikes, dt=1e-3)
    b = recording("b.npz", np.roll(spikes, 1, axis=0), dt=1e-3)
    assert invoke(a, a).exit_code == 0
    answer = invoke(a, b)
    assert answer.exit_code == 1
    assert answer.stderr == (
        "error: node 'lif': the runs diverge at step 4: spikes shifted by up to 1 step\n"
    )
    assert invoke(a, b, "--max-spike-shift", "1").exit_code == 0
    unsaid = recording("c.npz", spikes)
    assert invoke(a, unsaid).exit_code == 2
    assert invoke(a, f"{unsaid},dt=1e-3").exit_code == 0


def test_a_trace_against_a_run_of_the_same_input() -> None:
    module = nir_to_torch("model.nir", {}, default_map(1e-3))
    x = torch.rand((15, 2, NEURONS), generator=torch.Generator().manual_seed(0))
    np.save("x.npy", x.numpy())
    state, spikes = None, []
    module.lif.register_forward_hook(lambda m, args, out: spikes.append(out[0].numpy()))
    for step in x:
        _, state = module(step, state)
    trace = recording("t.npz", np.stack(spikes))
    assert np.stack(spikes).any()
    run = trace, "default,dt=1e-3", "-M", "model.nir"
    answer = invoke(*run, "--input", "x.npy")
    assert answer.exit_code == 0, answer.output
    guessed = "trace:t.npz does not say dt: taken as 0.001; add ',dt=SECONDS' to its spec"
    for options in [(), ("-q",)]:
        answer = invoke(*run, "--input", "x.npy", *options)
        assert answer.stderr.count(f"warning: {guessed}\n") == 1
    told = document(*run, "--input", "x.npy")
    assert ("NIR621", "warning") in [(f["code"], f["severity"]) for f in told["findings"]]
    said = f"{trace},dt=1e-3", *run[1:], "--input", "x.npy", "-q"
    assert invoke(*said).stderr == ""
    assert "over   15 steps of 0.001, 2 batch rows" in answer.stdout
    swapped = x.numpy().swapaxes(0, 1)
    np.save("bt.npy", swapped)
    assert invoke(*run, "--input", "bt.npy", "--layout", "BT").exit_code == 0
    assert invoke(*run, "--input", "zeros").exit_code == 1
    answer = invoke(*run)
    assert answer.exit_code == 2
    assert "what a trace was fed is not known; give --input, as it was" in answer.stderr


def test_generators_are_seeded() -> None:
    poisson = "default,dt=1e-3", "default,dt=1e-3", "-M", "model.nir", "--input", "poisson:rate=300"
    counts = [
        document(*poisson, "--seed", seed)["result"]["nodes"][0]["spikes"]["spikes_a"]
        for seed in ("1", "1", "2")
    ]
    assert counts[0] == counts[1] != counts[2]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["default", "default"], 2, "'default' is made from a model; give --model MODEL.nir"),
        (["default", "faster", "-M", "model.nir"], 2, "'faster' is not of a form that is known"),
        (["default"], 2, "issing argument"),
        (["default", "default", "-M", "model.nir", "--atol", "-1"], 2, "--atol"),
        (["default", "default", "-M", "model.nir", "--atol", "nan"], 2, "--atol"),
        (["default", "default", "-M", "model.nir", "--tau", "0"], 2, "--tau '0'"),
        (["default", "default", "-M", "-", "--input", "-"], 2, "MODEL and --input are both -"),
        (
            ["default", "default", "-M", "model.nir", "--variables", "v,u"],
            2,
            "--variables names 'u'",
        ),
        (
            ["default", "default", "-M", "model.nir", "--variables", ","],
            2,
            "--variables names nothing",
        ),
        (["default", "default", "-M", "model.nir", "--input", "x.npy"], 3, "x.npy: no such file"),
        (["trace:a.npz", "trace:b.npz"], 3, "a.npz: no such file"),
        (["file:a.pt", "file:b.pt", "--trust"], 3, "a.pt: no such file"),
        (["file:a.pt", "file:b.pt", "-M", "model.nir"], 2, "--model is not used here"),
        (["trace:a.npz", "trace:b.npz", "--input", "zeros"], 2, "--input is not used here"),
        (["default", "default", "-M", "gone.nir"], 3, "gone.nir: no such file"),
        (["default", "map:gone", "-M", "model.nir"], 2, "--map gone: no module 'gone'"),
        (["default", "default", "-M", "model.nir", "--device", "meta"], 2, "nothing has values"),
    ],
)
def test_what_cannot_be_done(arguments: list[str], code: int, text: str) -> None:
    answer = invoke(*arguments)
    assert answer.exit_code == code, answer.output
    assert answer.stdout == ""
    assert text in answer.stderr
    assert answer.stderr.startswith("error: ")
    told = document(*arguments)
    assert (told["exit_code"], told["result"]) == (code, None)


def test_a_real_model_agrees_with_itself_in_every_node() -> None:
    answer = invoke(
        "default", "default", "-M", DIGITS, "--atol", "0", "--input", "poisson:rate=900"
    )
    assert answer.exit_code == 0, answer.output
    assert "hidden" in answer.stdout


@pytest.mark.parametrize("suffix", [".npz", ".nir"])
def test_what_run_wrote_is_a_trace(suffix: str) -> None:
    options = "--dt", "1e-3", "--input", "uniform", "--record", "lif", "--record", "lif:v"
    run = CliRunner().invoke(app, ["run", "model.nir", *options, "-o", f"run{suffix}"])
    assert run.exit_code == 0, run.output
    sides = f"trace:run{suffix},dt=1e-3", "default,dt=1e-3"
    answer = on_model(*sides, "--input", "uniform", "-q")
    assert answer.exit_code == 0, answer.output
    assert [line.split()[0] for line in answer.stdout.splitlines()[5:7]] == ["lif", "output"]
    assert on_model(*sides, "--input", "zeros").exit_code == 1
    assert on_model(f"trace:run{suffix},dt=2e-3", *sides[1:], "--input", "uniform").exit_code == 1


def test_stdin_that_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from nirtorch_cli.cli import run_request

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(run_request.sys, "stdin", Terminal())
    for specs in (["-"], ["-:lif/spikes"]):
        with pytest.raises(UsageError, match="--input is - but stdin is a terminal"):
            run_request.stdin_of(specs)
    assert run_request.stdin_of(["x.npy", "zeros"]) is None


def test_an_input_from_stdin() -> None:
    stream = io.BytesIO()
    np.save(stream, np.ones((7, 1, NEURONS)))
    arguments = "default", "default", "-M", "model.nir", "--input", "-"
    answer = invoke(*arguments, input=stream.getvalue())
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.splitlines()[2] == "over   7 steps of 0.0001, 1 batch row"


def test_nan_is_fed_if_that_is_wanted() -> None:
    np.save("x.npy", np.full((5, 1, NEURONS), np.nan))
    arguments = "default", "default", "-M", "model.nir", "--input", "x.npy"
    answer = invoke(*arguments)
    assert answer.exit_code == 2
    assert "--allow-nan feeds it all the same" in answer.stderr
    answer = invoke(*arguments, "--allow-nan")
    assert answer.exit_code == 1
    assert "node 'lif': the runs diverge at step 0: v is NaN or infinity" in answer.stderr


def test_inputs_are_read_in_the_wider_type_of_both() -> None:
    """In float32, 1 + 1e-12 is 1, and no spike comes."""
    np.save("x.npy", np.full((1, 1, NEURONS), 1 + 1e-12))
    ones = np.ones(NEURONS)
    nodes = {
        "input": nir.Input(np.array([NEURONS])),
        "if": nir.IF(ones, ones),
        "output": nir.Output(np.array([NEURONS])),
    }
    nir.write("if.nir", nir.NIRGraph(nodes, [("input", "if"), ("if", "output")]))
    for sides, spikes in [
        (("default,dtype=float64", "default,dtype=float64"), [3, 3]),
        (("default", "default,dtype=float64"), [0, 3]),
        (("default,dtype=float16", "default,dtype=float64"), [0, 3]),
    ]:
        told = document(*sides, "-M", "if.nir", "--input", "x.npy")["result"]["nodes"][0]
        assert [told["spikes"]["spikes_a"], told["spikes"]["spikes_b"]] == spikes


def last_line(*arguments: str) -> str:
    return on_model(*arguments, "-q").stdout.splitlines()[-1]


def test_the_verdict_says_what_was_compared() -> None:
    Path("mine.py").write_text(
        "import nir, torch\n"
        "from nirtorch_cli import default_map\n"
        "class Bare(torch.nn.Module):\n"
        "    def __init__(self, inner):\n"
        "        super().__init__()\n"
        "        self.inner = inner\n"
        "    def forward(self, x, state=None):\n"
        "        z, after = self.inner(x, None if state is None else {'v': state})\n"
        "        return z, after['v']\n"
        "REFERENCE = default_map(1e-3)\n"
        "BARE = {kind: lambda node, kind=kind: Bare(REFERENCE[kind](node))\n"
        "        for kind in (nir.LIF, nir.LI)}\n"
        "class Odd(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x * float('nan')\n"
        "ODD = {nir.LIF: lambda node: Odd()}\n"
    )
    bare = "default,dt=1e-3", "map:mine.py:BARE,dt=1e-3"
    assert last_line(*bare) == (
        "they agree in what was compared (atol 1e-05, spikes shifted by up to 0); "
        "not compared: 'lif:v', 'li:v'"
    )
    assert on_model(*bare).exit_code == 0
    stderr = on_model(*bare).stderr
    assert (
        "warning: node 'lif': v could not be compared: B does not have it; a module whose "
        in stderr
    )
    assert on_model(*bare, "--variables", "spikes,v").exit_code == 1
    assert on_model(*bare, "--variables", "spikes,output").exit_code == 0
    assert last_line(bare[1], bare[1], "--variables", "v") == "nothing was compared"
    assert last_line("map:mine.py:ODD", "map:mine.py:ODD") == (
        "they differ: where first is unknown, because 'lif' was not compared "
        "(atol 1e-05, spikes shifted by up to 0)"
    )
    parted = "default,dt=1e-3", "default,dt=1e-3,dtype=float64", "--variables", "v,output"
    assert last_line(*parted, "--atol", "inf").startswith("they agree (atol inf")
