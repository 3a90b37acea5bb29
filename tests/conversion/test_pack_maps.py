"""Packs and mappers that ask for a node's surroundings; options of specs, `--map-node`, `auto`."""

from __future__ import annotations

import importlib
import json
import sys
import textwrap
from collections.abc import Callable
from importlib.metadata import EntryPoint
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from networks import module_of
from typer.testing import CliRunner, Result

import nirtorch_cli
from nirtorch_cli import Context, MapperError, NirtorchWarning, Pack, default_map, nir_to_torch
from nirtorch_cli.cli.app import app
from nirtorch_cli.conversion import importing
from nirtorch_cli.conversion.importing import spec_options, split_spec
from nirtorch_cli.conversion.maps import MapOptions, load_map, load_maps
from nirtorch_cli.conversion.packs import PackMap
from nirtorch_cli.findings.errors import ExitCode, MapError

ONE, TWO = np.ones(2), np.full(2, 2.0)
SHAPE = np.array([2])
OPTIONS = MapOptions(dt=0.5)


def lif(tau: float = 2.0, r: float = 1.0) -> nir.LIF:
    return nir.LIF(tau=tau * ONE, r=r * ONE, v_leak=0 * ONE, v_threshold=ONE, v_reset=0 * ONE)


def graph_of(nodes: dict[str, nir.NIRNode], *more: tuple[str, str]) -> nir.NIRGraph:
    """A row of nodes between ports, with more edges."""
    named = {"input": nir.Input(SHAPE), **nodes, "output": nir.Output(SHAPE)}
    return nir.NIRGraph(named, [*pairwise(named), *more], type_check=False)


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    return tmp_path


def put(name: str, text: str) -> None:
    Path(name).write_text(textwrap.dedent(text))
    importlib.invalidate_caches()


def write(graph: nir.NIRGraph, name: str = "model.nir") -> None:
    nir.write(name, graph)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["convert", "model.nir", "--quiet", *arguments])


def converted(*arguments: str) -> dict[str, Any]:
    """By node, what convert says of it."""
    answer = invoke("--json", *arguments)
    assert answer.exit_code == ExitCode.DONE, answer.output
    document = json.loads(answer.stdout)
    return {row["name"]: row for row in document["result"]["nodes"]}


def failure(code: int, *arguments: str) -> str:
    answer = invoke(*arguments)
    assert answer.exit_code == code, answer.output
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


# ------------------------------------------------------------------------------ packs in Python


class Doubled(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def entries(factor: float = 2.0) -> dict[Any, Any]:
    if factor < 0:
        raise ValueError(f"factor {factor:g} is negative")
    return {nir.LIF: lambda node: Doubled()}


PACK = Pack(
    "Lab",
    entries,
    verified="1.0",
    equations="y = 2 x",
    nodes={"LIF": "exact", "CubaLIF": "Lab has two synapses"},
    dt=0.25,
)


def test_a_pack_called_is_a_map_that_knows_it() -> None:
    made = PACK(factor=3.0)
    assert isinstance(made, PackMap)
    assert made.pack is PACK
    assert isinstance(made[nir.LIF](lif()), Doubled)
    assert {nir.I, nir.IF, nir.LI, nir.CubaLI, nir.CubaLIF} < set(made)
    with pytest.raises(ValueError, match=r"^factor -1 is negative$"):
        PACK(factor=-1)
    with pytest.raises(TypeError, match="gain"):
        PACK(gain=1)


def test_nir_to_torch_takes_a_packs_map() -> None:
    write(graph_of({"n": lif()}))
    for given in ("model.nir", nir.read("model.nir")):
        module = module_of(given, PACK())
        assert isinstance(module.n, Doubled)
        assert module.meta["dt"] == 0.25
        assert module.meta["dt_reason"] == "as Lab has it: time constants count steps"
    snntorch = importlib.import_module("nirtorch_mappings.snntorch").PACK
    write(graph_of({"n": lif(2e-4, 2.0)}))
    assert module_of("model.nir", snntorch(reset="zero")).n.mechanism == "zero"


def test_options_of_a_step_that_a_pack_says_itself_have_no_effect() -> None:
    graph = graph_of({"n": lif()})
    chosen = default_map(reset="subtract", integrator_input="current")
    with pytest.warns(
        NirtorchWarning, match=r"^'reset', 'integrator_input': no effect, .* Lab"
    ) as all:
        module = nir_to_torch(graph, PACK(), chosen)
    assert [warning.message.finding.code for warning in all] == ["NIR519"]
    assert module.meta["reset"] is module.meta["integration"] is None
    assert module.meta["surrogate"] == "atan"
    mixed = module_of(graph_of({"n": lif(), "i": nir.I(ONE)}), {nir.LIF: PACK()[nir.LIF]}, chosen)
    assert mixed.meta["reset"] == "subtract"


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (nir.IF(ONE, ONE, 0 * ONE), "IF is not mapped: Lab exports none"),
        (
            nir.CubaLIF(TWO, TWO, ONE, 0 * ONE, ONE, 0 * ONE, ONE),
            "CubaLIF is not mapped: Lab has two synapses",
        ),
    ],
)
def test_neurons_that_a_pack_leaves_out_are_refused(node: nir.NIRNode, text: str) -> None:
    with pytest.raises(MapperError, match=f"^node 'n': {text}$") as caught:
        nir_to_torch(graph_of({"n": node}), PACK())
    assert [finding.code for finding in caught.value.findings] == ["NIR517"]


def test_a_packs_mapper_that_fails_otherwise_is_a_fault_of_it() -> None:
    def failing(node: nir.LIF) -> torch.nn.Module:
        raise KeyError("beta")

    pack = Pack("Lab", lambda: {nir.LIF: failing}, verified="", equations="", nodes={})
    with pytest.raises(MapperError, match="the mapper of LIF raised KeyError: 'beta'") as caught:
        nir_to_torch(graph_of({"n": lif()}), pack())
    assert [finding.code for finding in caught.value.findings] == ["NIR506"]


def test_weights_and_ports_are_mapped_by_the_defaults() -> None:
    graph = graph_of({"w": nir.Linear(np.eye(2)), "n": lif()})
    assert type(module_of(graph, PACK()).w).__name__ == "Linear"


def test_edges_that_an_exporter_invents() -> None:
    graph = graph_of({"a": nir.Scale(ONE), "n": lif()}, ("input", "n"))
    pack = Pack(
        "Lab",
        entries,
        verified="",
        equations="",
        nodes={},
        dt=1.0,
        invented_edges=lambda graph: [("input", "n")] if "n" in graph.nodes else [],
    )
    x = torch.ones(1, 2)
    assert module_of(graph, pack())(x)[0].tolist() == [[2, 2]]
    assert module_of(graph, PACK())(x)[0].tolist() == [[4, 4]]
    assert ("input", "n") in graph.edges


# --------------------------------------------------------------------- what a mapper is handed


class Seen:
    """A mapper that keeps the contexts it was handed."""

    def __init__(self) -> None:
        self.contexts: dict[str, Context] = {}

    def __call__(self, node: nir.NIRNode, context: Context) -> torch.nn.Module:
        self.contexts[context.path] = context
        return torch.nn.Identity()


def test_a_mapper_of_two_parameters_gets_the_surroundings() -> None:
    nodes = {"a": nir.Scale(ONE), "b": lif(), "back": nir.Scale(ONE), "c": lif()}
    named = {"input": nir.Input(SHAPE), **nodes, "output": nir.Output(SHAPE)}
    edges = [("input", "a"), ("a", "b"), ("b", "back"), ("back", "b"), ("b", "c"), ("c", "output")]
    graph = nir.NIRGraph(named, [*edges, ("a", "c")], type_check=False)
    seen = Seen()
    module_of(graph, {nir.LIF: seen, nir.Scale: seen}, default_map(0.5))
    found = seen.contexts
    assert set(found) == {"a", "b", "back", "c"}
    assert {path: set(context.predecessors) for path, context in found.items()} == {
        "a": {"input"},
        "b": {"a", "back"},
        "back": {"b"},
        "c": {"a", "b"},
    }
    assert [path for path in sorted(found) if found[path].in_loop] == ["b", "back"]
    assert {context.dt for context in found.values()} == {0.5}
    assert all(set(context.graph.nodes) == set(named) for context in found.values())


def test_in_nested_graphs() -> None:
    inner = graph_of({"n": lif()})
    graph = graph_of({"nest": graph_of({"deep": inner, "m": lif()}), "n": lif()})
    seen = Seen()
    module_of(graph, {nir.LIF: seen})
    assert set(seen.contexts) == {"nest/deep/n", "nest/m", "n"}
    assert seen.contexts["nest/deep/n"].predecessors == ("nest/deep/input",)
    assert seen.contexts["nest/m"].predecessors == ("nest/deep",)
    assert seen.contexts["n"].predecessors == ("nest",)
    assert not any(context.in_loop for context in seen.contexts.values())
    nodes = {path: set(context.graph.nodes) for path, context in seen.contexts.items()}
    assert nodes["nest/deep/n"] == {"input", "n", "output"}
    assert nodes["nest/m"] == {"input", "deep", "m", "output"}
    assert nodes["n"] == {"input", "nest", "n", "output"}


def test_in_a_nest_that_a_loop_opens() -> None:
    """The loop leads through the nest, whose nodes are then part of the graph around it."""
    inner = graph_of({"n": lif(), "w": nir.Scale(ONE)})
    graph = graph_of({"a": nir.Scale(ONE), "nest": inner}, ("nest", "a"))
    seen = Seen()
    module_of(graph, {nir.LIF: seen, nir.Scale: seen})
    assert set(seen.contexts) == {"a", "nest/n", "nest/w"}
    assert all(context.in_loop for context in seen.contexts.values())
    assert set(seen.contexts["nest/n"].graph.nodes) == {"input", "n", "w", "output"}
    assert set(seen.contexts["a"].graph.nodes) == {"input", "a", "nest", "output"}
    assert seen.contexts["nest/w"].predecessors == ("nest/n",)


def test_a_node_alone_has_few_surroundings() -> None:
    seen = Seen()
    nir_to_torch(lif(), {nir.LIF: seen}, default_map(0.5))
    (context,) = seen.contexts.values()
    assert (context.path, context.predecessors, context.in_loop) == ("LIF", (), False)
    assert context.dt == 0.5
    assert set(context.graph.nodes) == {"LIF"}


def test_a_second_parameter_with_a_default_is_no_context() -> None:
    taken: list[tuple[Any, ...]] = []

    def keeping(*arguments: Any) -> torch.nn.Module:
        taken.append(arguments)
        return torch.nn.Identity()

    for mapper in (
        lambda node, gain=3: keeping(node, gain),
        lambda node, *, gain=3: keeping(node, gain),
        lambda node, *rest, **more: keeping(node, *rest),
    ):
        module_of(graph_of({"n": lif()}), {nir.LIF: mapper})
    assert [arguments[1:] for arguments in taken] == [(3,), (3,), ()]
    module_of(graph_of({"n": lif()}), {nir.LIF: lambda node, context=None: keeping(context)})
    assert isinstance(taken[-1][0], Context)


# ------------------------------------------------------------------------------- single nodes


def of(factor: float) -> Callable[[nir.NIRNode], torch.nn.Module]:
    class Times(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return factor * x

    return lambda node: Times()


def test_paths_and_patterns_win_over_types() -> None:
    nodes = {"hidden.1": lif(), "hidden.2": lif(), "readout": lif()}
    mapping = {nir.LIF: of(2), "hidden.*": of(3), "hidden.1": of(5), "other": of(0)}
    for given in (mapping, dict(reversed(mapping.items()))):
        module = module_of(graph_of(dict(nodes)), given)
        names = {nir_name: name for name, nir_name in module.meta["names"].items()}
        found = {path: getattr(module, names[path])(torch.ones(1)).item() for path in nodes}
        assert found == {"hidden.1": 5, "hidden.2": 3, "readout": 2}


def test_of_patterns_the_last_wins() -> None:
    module = module_of(graph_of({"n": lif()}), {"n*": of(2), "*": of(3)})
    assert module.n(torch.ones(1)).item() == 3


def test_patterns_of_nodes_in_nested_graphs() -> None:
    graph = graph_of({"nest": graph_of({"n": lif(), "m": lif()}), "n": lif()})
    module = module_of(graph, {nir.LIF: of(2), "nest/n": of(3)})
    x = torch.ones(1)
    assert [one(x).item() for one in (module.nest.n, module.nest.m, module.n)] == [3, 2, 2]
    module = module_of(graph, {nir.LIF: of(2), "nest/*": of(3)})
    assert [one(x).item() for one in (module.nest.n, module.nest.m, module.n)] == [3, 3, 2]
    whole = module_of(graph, {"nest": of(7)})
    assert whole.nest(x).item() == 7


def test_the_name_of_a_type_is_its_type() -> None:
    module = module_of(graph_of({"n": lif(), "s": nir.Scale(ONE)}), {"LIF": of(2), "Scale": of(3)})
    x = torch.ones(1)
    assert [module.n(x).item(), module.s(x).item()] == [2, 3]


def test_a_mapper_of_graphs_says_which_it_takes() -> None:
    class Some:
        def takes(self, graph: nir.NIRGraph) -> bool:
            return "n" in graph.nodes

        def __call__(self, graph: nir.NIRGraph, context: Context) -> torch.nn.Module:
            assert set(graph.nodes) == {"input", "n", "output"}
            assert context.path == "one"
            return torch.nn.Identity()

    graph = graph_of({"one": graph_of({"n": lif()}), "other": graph_of({"m": lif()})})
    module = module_of(graph, {nir.NIRGraph: Some()})
    assert isinstance(module.one, torch.nn.Identity)
    assert isinstance(module.other, torch.fx.GraphModule)
    # Not in the loop that a nest closes with itself either, which would else be opened.
    looped = graph_of({"one": graph_of({"n": lif()})}, ("one", "one"))
    assert isinstance(module_of(looped, {nir.NIRGraph: Some()}).one, torch.nn.Identity)


# ---------------------------------------------------------------------------- options of a spec

TYPED = """
from __future__ import annotations
import nir
from typing import Literal, Optional

SEEN = []

def MAP(
    dt,
    on: bool = False,
    steps: int = 1,
    gain: float = 1.0,
    name: str = "a",
    how: Literal["one", "two"] = "one",
    most: Literal["all"] | int = "all",
    low: float | None = None,
    file: Optional[str] = None,
    untyped=None,
    either: str | int = "a",
):
    SEEN.append({k: v for k, v in locals().items()})
    return {nir.LIF: print}

class Maker:
    def __call__(self, gain: float = 1.0):
        SEEN.append({"gain": gain})
        return {nir.LIF: print}

maker = Maker()
MAPPING = {nir.LIF: print}
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on=true", {"on": True}),
        ("on=false", {"on": False}),
        ("steps=3", {"steps": 3}),
        ("steps=-3", {"steps": -3}),
        ("gain=2", {"gain": 2.0}),
        ("gain=-1e-3,on=true", {"gain": -1e-3, "on": True}),
        ("name=some text", {"name": "some text"}),
        ("name=", {"name": ""}),
        ("name=a=b", {"name": "a=b"}),
        ("how=two", {"how": "two"}),
        ("most=all", {"most": "all"}),
        ("most=7", {"most": 7}),
        ("low=-0.5", {"low": -0.5}),
        ("file=a.npy", {"file": "a.npy"}),
        ("untyped=3", {"untyped": "3"}),
        ("either=3", {"either": 3}),
        ("either=b", {"either": "b"}),
    ],
)
@pytest.mark.parametrize("where", ["mymaps:", "mymaps:MAP:", "mymaps.py:", "./mymaps.py:MAP:"])
def test_options_are_what_the_signature_says(
    where: str, text: str, expected: dict[str, Any]
) -> None:
    put("mymaps.py", TYPED)
    load_maps([f"{where}{text}"], OPTIONS)
    (seen,) = sys.modules["mymaps"].SEEN
    assert seen["dt"] == 0.5
    for name, value in expected.items():
        assert seen[name] == value
        assert type(seen[name]) is type(value)
    untouched = {"on": False, "steps": 1, "gain": 1.0, "name": "a", "how": "one", "most": "all"}
    assert {n: seen[n] for n in untouched if n not in expected} == {
        n: v for n, v in untouched.items() if n not in expected
    }


def test_options_of_an_object_that_is_called() -> None:
    put("mymaps.py", TYPED)
    load_maps(["mymaps:maker:gain=2"], OPTIONS)
    assert sys.modules["mymaps"].SEEN == [{"gain": 2.0}]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mymaps:gian=2", "has no option 'gian'; did you mean 'gain'?"),
        (
            "mymaps:xyz=2",
            "has no option 'xyz'; it has 'on', 'steps', 'gain', 'name', 'how', 'most', 'low', "
            "'file', 'untyped', 'either'",
        ),
        ("mymaps:on=yes", "says on='yes'; on is true or false"),
        ("mymaps:on=True", "says on='True'; on is true or false"),
        ("mymaps:steps=1.5", "says steps='1.5'; steps is a whole number"),
        ("mymaps:gain=much", "says gain='much'; gain is a number"),
        ("mymaps:how=tow", "says how='tow'; did you mean 'two'?"),
        ("mymaps:how=xyz", "says how='xyz'; how is one or two"),
        ("mymaps:most=some", "says most='some'; most is all or a whole number"),
        ("mymaps:low=None", "says low='None'; low is a number"),
        ("mymaps:gain=1,gain=2", "says gain twice; options are name=value, with commas between"),
        (
            "mymaps:gain=1,on",
            "the option 'on' has no value; options are name=value, with commas between",
        ),
        (
            "mymaps:gain=1,",
            "the option '' has no value; options are name=value, with commas between",
        ),
        ("mymaps:dt=1", "dt is an option of the command; use --dt"),
        ("mymaps:MAPPING:gain=2", "is a mapping, which has no options"),
        ("snntorch:dt=1", "dt is an option of the command; use --dt"),
        ("snntorch:reset=zeros", "says reset='zeros'; did you mean 'zero'?"),
        ("snntorch:rest=zero", "has no option 'rest'; did you mean 'reset'?"),
        ("sinabs:spikes=0", "spikes 0 is neither multi nor single nor a positive number"),
        ("sinabs:spikes=many", "says spikes='many'; spikes is multi or single or a whole number"),
        ("norse:reset=subtract,v_reset=1", "v_reset 1 has no use with reset=subtract"),
        ("rockpool:max_spikes=0", "max_spikes 0 is not a positive whole number"),
        ("lava:scale=0", "scale 0 is not a positive whole number"),
        ("minimal:gain=2", "has no option 'gain'; it has none"),
    ],
)
def test_options_that_are_refused(spec: str, message: str) -> None:
    put("mymaps.py", TYPED)
    write(graph_of({"n": lif()}))
    assert failure(ExitCode.USAGE, "--map", spec) == f"--map {spec}: {message}"
    with pytest.raises(MapError) as caught:
        load_maps([spec], OPTIONS)
    assert [finding.code for finding in caught.value.findings] == ["NIR516"]


def test_a_file_of_an_option_that_is_not_there() -> None:
    write(graph_of({"n": lif()}))
    line = failure(ExitCode.USAGE, "--map", "rockpool:bias=nothing.npy")
    assert line.startswith("--map rockpool:bias=nothing.npy: ")
    assert "nothing.npy" in line.partition(": ")[2]
    Path("text.npy").write_text("no array")
    line = failure(ExitCode.USAGE, "--map", "rockpool:bias=text.npy")
    assert line.startswith("--map rockpool:bias=text.npy: ")


@pytest.mark.parametrize(
    ("spec", "where", "attribute", "options"),
    [
        (r"rockpool:bias=C:\x.npy", "rockpool", None, {"bias": r"C:\x.npy"}),
        ("rockpool:bias=/a:b/x.npy", "rockpool", None, {"bias": "/a:b/x.npy"}),
        (r"C:\maps.py", r"C:\maps.py", None, {}),
        (r"C:\maps.py:MAP", r"C:\maps.py", "MAP", {}),
        (r"C:\maps.py:MAP:gain=2", r"C:\maps.py", "MAP", {"gain": "2"}),
        (r"C:\maps.py:gain=2", r"C:\maps.py", None, {"gain": "2"}),
        ("a.b:C.d:x=1,y=2", "a.b", "C.d", {"x": "1", "y": "2"}),
        ("norse:layers", "norse", "layers", {}),
        ("norse:layers:reset=subtract", "norse", "layers", {"reset": "subtract"}),
        ("norse:layers,reset=subtract", "norse", "layers", {"reset": "subtract"}),
    ],
)
def test_the_parts_of_a_spec(
    spec: str, where: str, attribute: str | None, options: dict[str, str]
) -> None:
    assert split_spec(spec) == (where, attribute)
    assert spec_options(spec)[1] == options


def test_options_reach_the_modules() -> None:
    write(graph_of({"n": lif(2e-4, 2.0)}))
    assert converted("--map", "snntorch:reset=zero,delay=false")["n"]["module"] == "Leaky"
    made = load_map("snntorch:reset=zero,delay=false,graded=2", MapOptions(dt=1e-4))
    module = module_of("model.nir", made)
    assert (module.n.mechanism, module.n.delay, module.n.graded) == ("zero", False, 2.0)


# ---------------------------------------------------------------------------------- --map-node

NODE_MAPS = """
import nir, torch
import nirtorch_cli

class Doubled(torch.nn.Module):
    def forward(self, x):
        return 2 * x

class Gain(torch.nn.Module):
    def __init__(self, dt):
        super().__init__()
    def forward(self, x):
        return x

def mapper(node):
    return Doubled()

def asking(node, context):
    assert context.path == "n", context
    return Doubled()

MAP = {nir.LIF: lambda node: Doubled()}

def factory(dt):
    return {nir.LIF: lambda node: Gain(dt)}

OTHER = {nir.IF: mapper}
NUMBER = 3
"""


@pytest.mark.parametrize(
    ("spec", "module"),
    [
        ("mymaps:mapper", "Doubled"),
        ("mymaps:asking", "Doubled"),
        ("mymaps.py:mapper", "Doubled"),
        ("mymaps:MAP", "Doubled"),
        ("mymaps", "Doubled"),
        ("mymaps:factory", "Gain"),
        ("norse", "LIFBox"),
        ("norse:reset=subtract", "SubtractingLIFBox"),
        ("minimal", "MinimalLIF"),
        ("torch.nn:Identity", "Identity"),
    ],
)
def test_a_node_mapped_by_itself(spec: str, module: str) -> None:
    put("mymaps.py", NODE_MAPS)
    write(graph_of({"n": lif(), "m": lif()}))
    found = converted("--map-node", f"n={spec}")
    assert {name: found[name]["module"] for name in ("n", "m")} == {"n": module, "m": "LIF"}


def test_patterns_of_nodes() -> None:
    put("mymaps.py", NODE_MAPS)
    write(graph_of({"n": lif(), "nest": graph_of({"n": lif()})}))
    for arguments, kinds in (
        (("--map-node", "*n=mymaps:mapper"), ("Doubled", "Doubled")),
        (("--map-node", "nest/n=mymaps:mapper", "--map", "norse"), ("LIFBox", "Doubled")),
        (("--map-node", "n=mymaps:mapper", "--map", "norse"), ("Doubled", "LIFBox")),
    ):
        Path("model.pt").unlink(missing_ok=True)
        answer = invoke(*arguments, "-o", "model.pt")
        assert answer.exit_code == ExitCode.DONE, answer.output
        module: Any = nirtorch_cli.load("model.pt")
        assert (type(module.n).__name__, type(module.nest.n).__name__) == kinds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n", "is not of the form NODE=SPEC; NODE is the path of a node, or a pattern"),
        ("n=", "is not of the form NODE=SPEC; NODE is the path of a node, or a pattern"),
        ("=norse", "is not of the form NODE=SPEC; NODE is the path of a node, or a pattern"),
        ("redout=norse", "no node 'redout'; did you mean 'readout'?"),
        ("x*=norse", "no node 'x*'; the nodes are 'input', 'n', 'output', 'readout'"),
    ],
)
def test_nodes_that_are_refused(text: str, message: str) -> None:
    write(graph_of({"n": lif(), "readout": lif()}))
    assert failure(ExitCode.USAGE, "--map-node", text) == f"--map-node {text}: {message}"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mymaps:NUMBER", "is int, neither a mapper nor a map"),
        ("mymaps:nope", "'mymaps' has no 'nope'"),
        ("norze", "no module 'norze' here or installed; did you mean 'norse'?"),
        ("norse:rest=subtract", "has no option 'rest'; did you mean 'reset', 'v_reset'?"),
    ],
)
def test_specs_of_nodes_that_are_refused(spec: str, message: str) -> None:
    put("mymaps.py", NODE_MAPS)
    write(graph_of({"n": lif()}))
    line = failure(ExitCode.USAGE, "--map-node", f"n={spec}")
    assert line.startswith(f"--map {spec}: {message}")


def test_a_map_without_an_entry_for_the_node() -> None:
    put("mymaps.py", NODE_MAPS)
    write(graph_of({"n": lif()}))
    line = failure(ExitCode.UNSOUND, "--map-node", "n=mymaps:OTHER")
    assert "node 'n': " in line
    assert "the map mymaps:OTHER has no entry for LIF" in line


def test_a_pack_for_a_node_refuses_it_by_name() -> None:
    write(graph_of({"n": lif(r=2.0)}))
    line = failure(ExitCode.UNSOUND, "--map-node", "n=norse")
    assert "node 'n': " in line
    assert "LIF: r is 2, not 1; Norse weighs the input by 1" in line


# -------------------------------------------------------------------------------------- --map auto


def test_auto_is_the_pack_of_the_one_that_wrote_it() -> None:
    one = np.ones(2, np.float32)
    beta = np.array([0.5, 0.8], np.float32)
    node = nir.LIF(tau=1 / (1 - beta), r=beta, v_leak=0 * one, v_threshold=one, v_reset=0 * one)
    write(graph_of({"layer_0": node}))
    found = converted("--map", "auto")
    assert found["layer_0"]["module"] == "LIF"
    answer = invoke("--map", "auto", "--json")
    assert json.loads(answer.stdout)["result"]["dt"] == 1


def test_auto_where_no_program_is_known() -> None:
    write(graph_of({"n": nir.I(ONE)}))
    line = failure(ExitCode.USAGE, "--map", "auto")
    assert line == (
        "model.nir: --map auto: no program is known that writes such files; "
        "'nirtorch maps' lists the packs"
    )


def test_auto_where_several_may_have_written_it() -> None:
    one = np.ones(2, np.float32)
    node = nir.IF(r=one, v_threshold=one, v_reset=0 * one)
    write(graph_of({"0": node}))
    line = failure(ExitCode.USAGE, "--map", "auto")
    assert line.startswith("model.nir: --map auto: 'sinabs', 'Norse' write such files; choose one")
    assert line.endswith("choose one: --map sinabs or --map norse")


# ------------------------------------------------------------------- layers, edges, time of packs


@pytest.mark.parametrize("arguments", [("--map", "norse:layers"), ("--map-node", "n=norse:layers")])
def test_layers_of_a_framework_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, str]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "norse"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "nirtorch_mappings.layers.norse", raising=False)
    monkeypatch.setitem(sys.modules, "norse", None)
    write(graph_of({"n": lif()}))
    line = failure(ExitCode.MISSING_FRAMEWORK, *arguments)
    assert line == (
        "--map norse:layers: the pack needs 'norse.torch', which is not installed; "
        "pip install norse"
    )


def test_a_pack_without_layers() -> None:
    write(graph_of({"n": lif()}))
    line = failure(ExitCode.USAGE, "--map", "spyx:layers")
    assert line == "--map spyx:layers: the pack has no 'layers'"


def test_an_edge_that_snntorch_invents() -> None:
    node = lif(2e-4, 2.0)
    nodes = {
        "input": nir.Input(SHAPE),
        "0.lif": node,
        "0.w_rec": nir.Affine(np.eye(2), ONE),
        "1": nir.Linear(np.eye(2)),
        "output": nir.Output(SHAPE),
    }
    edges = [
        ("input", "0.lif"),
        ("0.lif", "0.w_rec"),
        ("0.w_rec", "0.lif"),
        ("0.lif", "1"),
        ("1", "output"),
    ]
    x = torch.full((1, 2), 3.0)
    outputs = {}
    for name, more in (("sound", []), ("invented", [("0.w_rec", "1")])):
        write(nir.NIRGraph(nodes, [*edges, *more], type_check=False))
        answer = invoke("--map", "snntorch", "-o", f"{name}.pt")
        assert answer.exit_code == ExitCode.DONE, answer.output
        outputs[name] = nirtorch_cli.load(f"{name}.pt")(x)[0]
        answer = invoke("-o", f"{name} default.pt")
        outputs[f"{name} default"] = nirtorch_cli.load(f"{name} default.pt")(x)[0]
    assert torch.equal(outputs["sound"], outputs["invented"])
    assert not torch.equal(outputs["sound default"], outputs["invented default"])


def meta(*arguments: str) -> dict[str, Any]:
    answer = invoke("--json", *arguments)
    assert answer.exit_code == ExitCode.DONE, answer.output
    result: dict[str, Any] = json.loads(answer.stdout)["result"]
    return result


def test_dt_of_the_command_wins() -> None:
    write(graph_of({"n": lif(2e-2)}))
    assert meta("--map", "norse")["dt"] == 1e-3
    assert meta("--map", "norse", "--dt", "2e-3")["dt"] == 2e-3
    assert meta("--map", "sinabs")["dt"] == 1
    assert meta()["dt"] == 1e-4
    write(graph_of({"n": lif(2e-5)}))
    assert meta("--map", "norse")["dt"] == 1e-6


def test_every_map_is_handed_the_dt_that_is_settled() -> None:
    """A map beside a pack, and a node's own map, step as the pack does."""
    put(
        "mymaps.py",
        """
        import nir, torch
        SEEN = []
        def MAP(dt):
            SEEN.append(dt)
            return {nir.Scale: lambda node: torch.nn.Identity()}
        """,
    )
    write(graph_of({"n": lif(2e-2), "s": nir.Scale(ONE)}))
    for arguments in (
        ("--map", "norse", "--map", "mymaps"),
        ("--map", "mymaps", "--map", "norse"),
        ("--map", "norse", "--map-node", "s=mymaps"),
    ):
        assert meta(*arguments)["dt"] == 1e-3
        assert sys.modules["mymaps"].SEEN.pop() == 1e-3


def test_a_later_map_is_not_the_packs() -> None:
    put(
        "mymaps.py",
        """
        import nir
        def failing(node):
            raise ValueError("no luck")
        MAP = {nir.LIF: failing}
        """,
    )
    write(graph_of({"n": lif()}))
    line = failure(ExitCode.UNSOUND, "--map", "norse", "--map", "mymaps")
    assert line.endswith("the mapper of LIF (--map mymaps) raised ValueError: no luck")
    line = failure(ExitCode.UNSOUND, "--map", "mymaps", "--map", "snntorch")
    assert "--map snntorch: LIF: r is 1, not 20000; snnTorch weighs the input by 1" in line


def test_a_packs_map_in_ones_own_file() -> None:
    put(
        "mymaps.py",
        """
        from nirtorch_mappings.norse import PACK
        MAP = PACK(reset="subtract")
        def made(dt):
            return PACK(v_reset=-1.0)
        """,
    )
    write(graph_of({"n": lif(2e-2)}))
    for spec, module in (("mymaps", "SubtractingLIFBox"), ("mymaps:made", "LIFBox")):
        found = meta("--map", spec)
        assert found["dt"] == 1e-3
        assert [row["module"] for row in found["nodes"] if row["name"] == "n"] == [module]
    write(graph_of({"n": lif(2e-2, 2.0)}))
    line = failure(ExitCode.UNSOUND, "--map", "mymaps")
    assert line.endswith("--map mymaps: LIF: r is 2, not 1; Norse weighs the input by 1")


def test_of_two_packs_the_last_settles_dt() -> None:
    write(graph_of({"n": lif(2e-2)}))
    assert meta("--map", "sinabs", "--map", "norse")["dt"] == 1e-3
    assert meta("--map", "norse", "--map", "sinabs")["dt"] == 1
    assert meta("--map", "spyx", "--map", "norse")["dt"] == 1e-3


def test_installed_packs_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    put(
        "lab_pack.py",
        """
        import nir, torch
        from nirtorch_cli import Pack

        def entries(dt, gain: float = 1.0):
            return {nir.LIF: lambda node, context: torch.nn.Identity()}

        PACK = Pack("Lab", entries, verified="1", equations="none", nodes={}, dt=0.125)
        """,
    )
    monkeypatch.syspath_prepend(str(Path.cwd()))
    point = EntryPoint("lab", "lab_pack:PACK", importing.ENTRY_POINT_GROUP)
    monkeypatch.setattr(importing, "entry_points", lambda group: [point])
    write(graph_of({"n": lif()}))
    found = meta("--map", "lab:gain=2")
    assert found["dt"] == 0.125
    assert failure(ExitCode.USAGE, "--map", "lab:gian=2").endswith("did you mean 'gain'?")
