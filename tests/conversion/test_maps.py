"""`--map` specs: every form that is understood, and every failure in one clear line."""

from __future__ import annotations

import importlib
import json
import os
import sys
import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path

import nir
import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from nirtorch_cli.cli.app import app
from nirtorch_cli.conversion import importing
from nirtorch_cli.conversion.interpreter import nir_to_torch
from nirtorch_cli.conversion.maps import MapOptions, load_maps
from nirtorch_cli.findings.errors import ExitCode, MapError, MapperError, MissingFrameworkError

OPTIONS = MapOptions(
    dt=0.5, integration="exact", reset="subtract", device="cpu", dtype=torch.float64
)

MAPS = """
import nir
import torch


class Doubled(torch.nn.Module):
    def forward(self, x):
        return 2 * x


def doubled(node):
    return Doubled()


def identity(node):
    return torch.nn.Identity()


MAP = {nir.LIF: doubled}
OTHER = {nir.LIF: identity, nir.Linear: doubled}


class Lab:
    class Maps:
        best = {nir.LIF: identity}
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    return tmp_path


@pytest.fixture
def model(workplace: Path) -> Path:
    one = np.ones(2)
    path = workplace / "model.nir"
    weight = np.array([[1.0, 2.0], [3.0, 4.0]])
    nir.write(path, nir.NIRGraph.from_list(nir.Linear(weight), nir.LIF(one, one, 0 * one, one)))
    return path


def put(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    importlib.invalidate_caches()
    return path.resolve()


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["convert", "model.nir", "--quiet", *arguments])


NO_TYPE = (
    "is not a NIR node type; use a class such as nir.LIF, the name of a type, or that of a node"
)


def problem(*specs: str) -> str:
    """The one line with which a spec is refused, by the library."""
    with pytest.raises(MapError) as caught:
        load_maps(specs, OPTIONS)
    assert caught.value.exit_code == ExitCode.USAGE
    (finding,) = caught.value.findings
    line = str(caught.value)
    assert line == finding.line()
    assert "\n" not in line
    prefix = f"--map {specs[-1]}: "
    assert line.startswith(prefix)
    return line.removeprefix(prefix)


# ---- every form


@pytest.mark.parametrize(
    ("spec", "file"),
    [
        ("mymaps:MAP", "mymaps.py"),
        ("mymaps", "mymaps.py"),
        ("lab.maps:MAP", "lab/maps.py"),
        ("lab.maps", "lab/maps.py"),
        ("lab", "lab/__init__.py"),
        ("mymaps.py:MAP", "mymaps.py"),
        ("mymaps.py", "mymaps.py"),
        ("./mymaps.py:MAP", "mymaps.py"),
        ("some folder/my-maps.py:MAP", "some folder/my-maps.py"),
    ],
)
def test_forms(spec: str, file: str) -> None:
    put(file, MAPS)
    assert list(load_maps([spec], OPTIONS)) == [nir.LIF]


def test_an_absolute_path(tmp_path: Path) -> None:
    path = put("elsewhere/maps.py", MAPS)
    assert list(load_maps([f"{path}:MAP"], OPTIONS)) == [nir.LIF]


def test_nested_attributes() -> None:
    put("mymaps.py", MAPS)
    made = load_maps(["mymaps:Lab.Maps.best"], OPTIONS)
    assert isinstance(made[nir.LIF](None), torch.nn.Identity)


def test_installed_packs() -> None:
    assert "minimal" in importing.installed_packs()
    assert list(load_maps(["minimal"], OPTIONS)) == [nir.LIF]


def test_later_maps_win() -> None:
    put("mymaps.py", MAPS)
    first = load_maps(["mymaps:MAP", "mymaps:OTHER"], OPTIONS)
    second = load_maps(["mymaps:OTHER", "mymaps:MAP"], OPTIONS)
    assert set(first) == set(second) == {nir.LIF, nir.Linear}
    assert isinstance(first[nir.LIF](None), torch.nn.Identity)
    assert type(second[nir.LIF](None)).__name__ == "Doubled"


def test_the_current_folder_comes_first() -> None:
    """A module of the user's own folder is found, and its neighbours with it."""
    put("colours.py", "import nir\nMAP = {nir.LIF: print}\n")
    put("mymaps.py", "from colours import MAP\n")
    assert load_maps(["mymaps"], OPTIONS) == {nir.LIF: print}


def test_neighbours_of_a_file_are_found() -> None:
    put("deep/neighbour.py", "import nir\nMAP = {nir.LIF: print}\n")
    put("deep/maps.py", "from neighbour import MAP\n")
    assert load_maps(["deep/maps.py"], OPTIONS) == {nir.LIF: print}


def test_a_file_does_not_replace_a_module_of_its_name() -> None:
    path = put("json.py", MAPS)
    assert list(load_maps([str(path)], OPTIONS)) == [nir.LIF]
    assert sys.modules["json"] is json
    assert json.loads("[1]") == [1]


def test_a_file_is_loaded_once() -> None:
    """What it defines has one identity, so that modules of it can be pickled."""
    put("mymaps.py", MAPS)
    first = load_maps(["mymaps.py:MAP"], OPTIONS)
    second = load_maps(["mymaps:MAP"], OPTIONS)
    assert first[nir.LIF] is second[nir.LIF]


@pytest.mark.parametrize(
    ("signature", "seen"),
    [
        ("()", {}),
        ("(dt)", {"dt": 0.5}),
        ("(integration, reset)", {"integration": "exact", "reset": "subtract"}),
        (
            "(dtype, device, *, surrogate)",
            {"dtype": torch.float64, "device": "cpu", "surrogate": "atan"},
        ),
        ("(dt, mine=3)", {"dt": 0.5, "mine": 3}),
        ("(dt, *rest, **more)", {"dt": 0.5, "rest": (), "more": {}}),
        ("(integrator_input='current')", {"integrator_input": "charge"}),
    ],
)
def test_functions_are_handed_what_they_ask_for(
    signature: str, seen: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    put(
        "mymaps.py",
        f"""
        import nir
        SEEN = []
        def make{signature}:
            SEEN.append(dict(locals()))
            return {{nir.LIF: print}}
        """,
    )
    assert load_maps(["mymaps:make"], OPTIONS) == {nir.LIF: print}
    assert [seen] == sys.modules["mymaps"].SEEN
    assert capsys.readouterr() == ("", "")


def test_partials_and_callable_objects() -> None:
    put(
        "mymaps.py",
        """
        import functools, nir
        def make(dt, scale):
            return {nir.LIF: functools.partial(print, dt, scale)}
        half = functools.partial(make, scale=0.5)
        class Maker:
            def __call__(self, dt):
                return make(dt, 1)
        maker = Maker()
        """,
    )
    assert load_maps(["mymaps:half"], OPTIONS)[nir.LIF].args == (0.5, 0.5)
    assert load_maps(["mymaps:maker"], OPTIONS)[nir.LIF].args == (0.5, 1)


def test_through_the_command_line(model: Path) -> None:
    put("mymaps.py", MAPS)
    answer = invoke("--map", "mymaps:MAP", "--map", "mymaps:OTHER", "--json")
    assert answer.exit_code == ExitCode.DONE
    nodes = {row["type"]: row["module"] for row in json.loads(answer.stdout)["result"]["nodes"]}
    assert nodes["Linear"] == "Doubled"
    assert nodes["LIF"] == "Identity"
    assert answer.stderr == ""


# ---- specs that do not resolve


@pytest.mark.parametrize("spec", ["", ":", ":MAP", "mymaps:", ".maps:MAP", "./maps:MAP", ".."])
def test_not_of_the_form(spec: str) -> None:
    assert problem(spec) == "is not of the form MODULE:ATTR, FILE.py:ATTR or PACK"


@pytest.mark.parametrize(
    ("spec", "missing"), [("nomaps:MAP", "nomaps"), ("nomaps", "nomaps"), ("os.nope", "os.nope")]
)
def test_no_such_module(spec: str, missing: str) -> None:
    assert problem(spec) == (
        f"no module '{missing}' here or installed; a file is named with its path (maps.py:MAP); "
        "installed packs: lava, minimal, mlx_snn, norse, rockpool, sinabs, snntorch, "
        "spikingjelly, spyx"
    )


def test_no_such_file() -> None:
    assert problem("lab/maps.py:MAP") == "no file 'lab/maps.py'"


@pytest.mark.parametrize(
    ("spec", "near"),
    [
        ("mymap:MAP", "'mymaps'"),
        ("MyMaps", "'mymaps'"),
        ("minimall", "'minimal'"),
        ("mymap.py:MAP", "'mymaps.py'"),
        ("labb:MAP", "'lab'"),
    ],
)
def test_a_near_name_is_proposed(spec: str, near: str) -> None:
    put("mymaps.py", "MAP = {}\n")
    put("lab/__init__.py", "MAP = {}\n")
    assert problem(spec).endswith(f"; did you mean {near}?")


@pytest.mark.parametrize("spec", ["mymaps:MAP", "mymaps.py:MAP"])
def test_a_module_that_raises(spec: str) -> None:
    path = put("mymaps.py", "import nir\n\nraise RuntimeError('no luck\\ntoday')\n")
    assert problem(spec) == (
        f"raised {path}:3: RuntimeError: no luck today; --debug shows the traceback"
    )
    assert "mymaps" not in sys.modules


@pytest.mark.parametrize("spec", ["mymaps:MAP", "mymaps.py:MAP"])
def test_a_module_that_exits(spec: str) -> None:
    """A script without a guard must not end the program as if all were done."""
    path = put("mymaps.py", "import sys\nsys.exit(0)\n")
    line = problem(spec)
    assert line == f"raised {path}:2: SystemExit: 0; --debug shows the traceback"


@pytest.mark.parametrize("spec", ["mymaps:MAP", "mymaps.py:MAP"])
def test_a_syntax_error(spec: str) -> None:
    path = put("mymaps.py", "import nir\nMAP = {nir.LIF\n")
    line = problem(spec)
    assert line.startswith(f"raised {path}:2: SyntaxError: ")
    assert "never closed" in line


@pytest.mark.parametrize("spec", ["mymaps:MAP", "mymaps.py:MAP"])
def test_a_module_that_imports_a_missing_one(spec: str) -> None:
    path = put("mymaps.py", "import nir\nimport nosuchframework.sub\n")
    assert problem(spec) == (
        f"raised {path}:2: ModuleNotFoundError: No module named 'nosuchframework'; "
        "--debug shows the traceback"
    )


def test_a_module_in_which_a_name_is_missing() -> None:
    path = put("mymaps.py", "from nir import LIV\n")
    assert problem("mymaps").startswith(f"raised {path}:1: ImportError: cannot import name 'LIV'")


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("map", "'mymaps' has no 'map'; did you mean 'MAP'?"),
        ("OTHERS", "'mymaps' has no 'OTHERS'; did you mean 'OTHER'?"),
        ("Lab.Maps.bests", "'Maps' has no 'bests'; did you mean 'best'?"),
        ("xyz", "'mymaps' has no 'xyz'"),
        ("MAP.x", "'dict' has no 'x'"),
        ("Lab..best", "'Lab' has no ''"),
    ],
)
def test_no_such_attribute(attribute: str, message: str) -> None:
    put("mymaps.py", MAPS)
    assert problem(f"mymaps:{attribute}").startswith(message)


def test_no_map_in_a_module() -> None:
    put("mymaps.py", "MAPS = {}\n")
    assert problem("mymaps") == "'mymaps' has no 'MAP'; did you mean 'MAPS'?"


def test_an_attribute_that_raises() -> None:
    path = put("mymaps.py", "def __getattr__(name):\n    return 1 / 0\n")
    line = problem("mymaps:MAP")
    assert line.startswith(f"raised {path}:2: ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("value", "kind"), [("3", "int"), ("[]", "list"), ("'x'", "str"), ("None", "NoneType")]
)
def test_no_mapping(value: str, kind: str) -> None:
    put("mymaps.py", f"MAP = {value}\n")
    assert problem("mymaps") == f"is {kind}, neither a mapping nor a function that returns one"


KNOWN = (
    "it may ask for dt, integration, reset, reset_delay, fire_at, integrator_input, surrogate, "
    "device, dtype; others are given as mymaps:"
)


@pytest.mark.parametrize(
    ("function", "asked"),
    [
        ("def MAP(node): return {}", "'node'"),
        ("def MAP(dt, tau, *, gain): return {}", "'tau', 'gain'"),
        ("class MAP:\n    def __init__(self, size): pass", "'size'"),
    ],
)
def test_a_function_that_asks_for_more(function: str, asked: str) -> None:
    put("mymaps.py", function)
    first = asked.split("'")[1]
    assert problem("mymaps") == f"the function asks for {asked}; {KNOWN}{first}=..."


def test_a_builtin_function() -> None:
    line = problem("builtins:dict")
    assert line == "is a built-in function, whose parameters are not known; wrap it in a function"


def test_a_function_that_raises() -> None:
    path = put("mymaps.py", "def MAP(dt):\n    return {}['x']\n")
    assert problem("mymaps").startswith(f"raised {path}:2: KeyError: 'x'; --debug shows")


@pytest.mark.parametrize(("value", "kind"), [("None", "NoneType"), ("[dt]", "list")])
def test_a_function_that_returns_no_mapping(value: str, kind: str) -> None:
    put("mymaps.py", f"def MAP(dt):\n    return {value}\n")
    assert problem("mymaps") == f"the function returned {kind}, not a mapping"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("'': print", f"the key '' {NO_TYPE}"),
        ("int: print", f"the key <class 'int'> {NO_TYPE}"),
        (
            "nir.LIF: 3",
            "the value for LIF is 3, which cannot be called; "
            "use a function that takes a node and returns a module",
        ),
        (
            "nir.LIF: None",
            "the value for LIF is None, which cannot be called; "
            "use a function that takes a node and returns a module",
        ),
    ],
)
def test_entries_that_are_none(entry: str, message: str) -> None:
    put("mymaps.py", f"import nir\nMAP = {{{entry}}}\n")
    assert problem("mymaps") == message


def test_every_bad_spec_is_named() -> None:
    put("mymaps.py", "MAP = 3\n")
    with pytest.raises(MapError) as caught:
        load_maps(["mymaps", "lab.py", "mymaps:", "minimal"], OPTIONS)
    assert str(caught.value).splitlines() == [
        "--map mymaps: is int, neither a mapping nor a function that returns one",
        "--map lab.py: no file 'lab.py'",
        "--map mymaps:: is not of the form MODULE:ATTR, FILE.py:ATTR or PACK",
    ]


def test_a_strange_spec_stays_on_its_line() -> None:
    with pytest.raises(MapError) as caught:
        load_maps(["a\nb.py"], OPTIONS)
    assert str(caught.value) == r"--map a\nb.py: no file 'a\nb.py'"


@pytest.mark.parametrize("lazy", [False, True])
def test_a_pack_whose_framework_is_missing(monkeypatch: pytest.MonkeyPatch, lazy: bool) -> None:
    load = "import nosuchframework.nn"
    put("pack.py", f"def MAP(dt):\n    {load}\n" if lazy else f"{load}\nMAP = {{}}\n")
    monkeypatch.syspath_prepend(os.getcwd())
    pack = EntryPoint("lab", "pack:MAP", importing.ENTRY_POINT_GROUP)
    monkeypatch.setattr(importing, "entry_points", lambda group: [pack])
    with pytest.raises(MissingFrameworkError) as caught:
        load_maps(["lab"], OPTIONS)
    assert caught.value.exit_code == ExitCode.MISSING_FRAMEWORK
    assert str(caught.value) == (
        "--map lab: the pack needs 'nosuchframework', which is not installed; "
        "pip install nosuchframework"
    )


def test_a_pack_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    path = put("pack.py", "raise ValueError('broken')\n")
    monkeypatch.syspath_prepend(os.getcwd())
    pack = EntryPoint("lab", "pack:MAP", importing.ENTRY_POINT_GROUP)
    monkeypatch.setattr(importing, "entry_points", lambda group: [pack])
    line = problem("lab")
    assert line == f"raised {path}:1: ValueError: broken; --debug shows the traceback"


# ---- the same through the command line: one line, the right exit code, no traceback


def failure(code: int, *arguments: str) -> str:
    answer = invoke(*arguments)
    assert answer.exit_code == code
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("raise RuntimeError('no luck')", "mymaps.py:1: RuntimeError: no luck"),
        ("import sys; sys.exit(0)", "mymaps.py:1: SystemExit: 0"),
        ("x = (", "mymaps.py:1: SyntaxError: "),
        ("import nosuchframework", "ModuleNotFoundError: No module named 'nosuchframework'"),
        ("OTHER = 1", "'mymaps' has no 'MAP'"),
        ("MAP = 1", "is int, neither a mapping nor a function that returns one"),
        ("def MAP(node): return {}", f"the function asks for 'node'; {KNOWN}"),
        ("def MAP(dt): return 1 / 0", "mymaps.py:1: ZeroDivisionError: division by zero"),
        ("def MAP(dt): return 3", "the function returned int, not a mapping"),
        (
            "MAP = {1: print}",
            f"the key 1 {NO_TYPE}",
        ),
        ("import nir\nMAP = {nir.LIF: 1}", "the value for LIF is 1, which cannot be called"),
    ],
)
def test_specs_that_do_not_resolve_are_usage_errors(model: Path, text: str, part: str) -> None:
    put("mymaps.py", text)
    line = failure(ExitCode.USAGE, "--map", "mymaps")
    assert line.startswith("--map mymaps: ")
    assert part in line


def test_debug_shows_the_users_traceback(model: Path) -> None:
    path = put("mymaps.py", "def fail():\n    raise RuntimeError('no luck')\n\nfail()\n")
    answer = invoke("--map", "mymaps", "--debug")
    assert answer.exit_code == ExitCode.USAGE
    assert "Traceback (most recent call last):" in answer.stderr
    assert f'File "{path}", line 2, in fail' in answer.stderr
    assert answer.stderr.splitlines()[-1].startswith("error: --map mymaps: raised ")
    assert answer.stdout == ""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "raise ValueError('too\\nlarge')",
            "node 'lif': the mapper of LIF (--map mymaps) raised ValueError: too large",
        ),
        (
            "return 3",
            "node 'lif': the mapper of LIF (--map mymaps) returned int; "
            "it must return a torch.nn.Module, or None to skip the node",
        ),
        (
            "return torch.nn.ReLU",
            "node 'lif': the mapper of LIF (--map mymaps) returned the class ReLU, no instance; "
            "it must return a torch.nn.Module, or None to skip the node",
        ),
    ],
)
def test_mappers_that_fail_on_a_node(model: Path, body: str, message: str) -> None:
    put("mymaps.py", f"import nir, torch\ndef lif(node):\n    {body}\nMAP = {{nir.LIF: lif}}\n")
    assert failure(ExitCode.UNSOUND, "--map", "mymaps") == f"model.nir: {message}"
    answer = invoke("--map", "mymaps", "--debug")
    assert ("in lif" in answer.stderr) == body.startswith("raise")


def test_a_mapper_that_exits_does_not_end_the_program_as_done(model: Path) -> None:
    put("mymaps.py", "import nir, sys\nMAP = {nir.LIF: lambda node: sys.exit(0)}\n")
    line = failure(ExitCode.UNSOUND, "--map", "mymaps")
    assert "sys.exit" in line or "SystemExit" in line


def test_a_node_that_cannot_be_skipped(model: Path) -> None:
    weight = np.ones((3, 2))
    nir.write("model.nir", nir.NIRGraph.from_list(nir.Linear(weight)))
    put("mymaps.py", "import nir\nMAP = {nir.Linear: lambda node: None}\n")
    assert failure(ExitCode.UNSOUND, "--map", "mymaps") == (
        "model.nir: node 'linear': Linear maps the shape (2,) to (3,) and cannot be skipped; "
        "its mapping is required"
    )


def test_no_defaults(model: Path) -> None:
    put("mymaps.py", "import nir, torch\nMAP = {nir.LIF: lambda node: torch.nn.Identity()}\n")
    answer = invoke("--map", "mymaps", "--no-defaults")
    assert answer.exit_code == ExitCode.UNSOUND
    assert answer.stdout == ""
    lines = answer.stderr.splitlines()
    assert [line.partition("; ")[0] for line in lines] == [
        "error: model.nir: node 'input': no mapping for nir.ir.graph.Input",
        "error: model.nir: node 'linear': no mapping for nir.ir.linear.Linear",
        "error: model.nir: node 'output': no mapping for nir.ir.graph.Output",
    ]
    assert all("add it to the node map, or skip" in line for line in lines)


def test_skipping_what_no_map_knows(model: Path) -> None:
    put("mymaps.py", MAPS)
    answer = invoke("--map", "mymaps:OTHER", "--no-defaults", "--skip-unmapped")
    assert answer.exit_code == ExitCode.DONE
    assert answer.stderr == ""


def test_what_is_skipped_is_said(model: Path) -> None:
    answer = CliRunner().invoke(
        app, ["convert", "model.nir", "--no-defaults", "--skip-unmapped", "--steps", "1"]
    )
    assert answer.exit_code == ExitCode.DONE
    warnings = [line for line in answer.stderr.splitlines() if line.startswith("warning")]
    assert warnings == [
        f"warning: model.nir: node '{node}': no mapping for nir.ir.{kind}: skipped, "
        "its input is passed on"
        for node, kind in (("linear", "linear.Linear"), ("lif", "neuron.LIF"))
    ]


def test_a_map_for_every_node_leaves_graphs_to_us() -> None:
    inner = nir.NIRGraph.from_list(nir.Linear(np.ones((2, 2))))
    graph = nir.NIRGraph(
        {"in": nir.Input(np.array([2])), "nest": inner, "out": nir.Output(np.array([2]))},
        [("in", "nest"), ("nest", "out")],
        type_check=False,
    )
    module = nir_to_torch(graph, {nir.NIRNode: lambda node: torch.nn.Identity()}, {})
    assert isinstance(module.nest, torch.fx.GraphModule)
    whole = nir_to_torch(graph, {nir.NIRGraph: lambda node: torch.nn.Identity()})
    assert isinstance(whole.nest, torch.nn.Identity)


def test_what_cannot_be_skipped_is_refused() -> None:
    one = np.ones(3)
    graph = nir.NIRGraph.from_list(nir.Linear(np.ones((3, 2))), nir.LIF(one, one, one, one))
    with pytest.raises(MapperError, match=r"node 'linear': Linear maps the shape \(2,\) to \(3,\)"):
        nir_to_torch(graph, {}, {}, skip_unmapped=True)


def test_json_of_a_failure(model: Path) -> None:
    answer = invoke("--map", "nomaps", "--json")
    assert answer.exit_code == ExitCode.USAGE
    document = json.loads(answer.stdout)
    assert document["schema_version"] == 1
    assert document["exit_code"] == ExitCode.USAGE
    assert document["ok"] is False
    (finding,) = document["findings"]
    assert finding["code"] == "NIR511"
    assert finding["message"].startswith("--map nomaps: no module 'nomaps' here or installed")
