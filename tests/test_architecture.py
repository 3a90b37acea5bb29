"""The shape of the package: one direction, few doors to the outside, nothing that remembers."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import DATA

import nirtorch_cli

PACKAGE = Path(nirtorch_cli.__file__).parent

ROOMS = (
    "findings",
    "primitives",
    "reading",
    "graph",
    "conversion",
    "running",
    "comparison",
    "batch",
    "drawing",
    "cli",
)
"""The rooms; none imports one that stands below it. DESIGN.md, section 2."""

WITHOUT_TORCH = (
    "findings",
    "primitives.broadcasting",
    "primitives.dynamics",
    "primitives.parameters",
    "primitives.shape_rules",
    "primitives.table",
    "reading",
    "graph",
    "conversion.artefacts.atomic",
    "conversion.artefacts.formats",
    "conversion.artefacts.nir",
    "conversion.artefacts.shown",
    "conversion.importing",
    "conversion.map_options",
    "conversion.maps",
    "conversion.naming",
    "conversion.node_map",
    "conversion.options",
    "conversion.packs",
    "running.signals",
    "running.state_file",
    "batch.collect",
    "batch.pool",
    "batch.portability",
    "batch.reports",
    "batch.serve",
    "batch.static",
    "batch.task",
    "batch.verdict",
    "drawing",
)
"""Rooms and files that never import torch, nor anything of ours that does."""

PUBLIC = (
    "Comparison",
    "Compiler",
    "Context",
    "ContractError",
    "ConversionError",
    "ConvertedModule",
    "DEFAULT_MAP",
    "Dynamics",
    "Finding",
    "MapError",
    "MapperError",
    "MissingFrameworkError",
    "Neuron",
    "NirtorchError",
    "NirtorchWarning",
    "OutputError",
    "Pack",
    "Picture",
    "Primitive",
    "ReadError",
    "SaveError",
    "Session",
    "ShapeError",
    "SpikingNeuron",
    "StateError",
    "StructureError",
    "UnmappedNodeError",
    "UsageError",
    "__version__",
    "check",
    "compare_modules",
    "default_map",
    "draw",
    "inspect",
    "load",
    "load_weights",
    "nir_to_torch",
    "read",
    "register",
    "repair",
    "run_sequence",
    "save",
    "to_nir",
)


def stage_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {stage_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
INNER = [stage for stage in FILES if stage and not stage.startswith(("cli", "__main__"))]


def tree(stage: str) -> ast.Module:
    return ast.parse(FILES[stage].read_text(encoding="utf8"))


def imports(stage: str) -> Iterator[str]:
    """Every module that a file imports, wherever in it; names that are modules too."""
    for node in ast.walk(tree(stage)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{stage} imports relatively"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(stage: str) -> set[str]:
    names = {name for name in imports(stage) if name.startswith("nirtorch_cli.")}
    return {name.removeprefix("nirtorch_cli.") for name in names} & set(FILES)


def room_of(stage: str) -> str:
    return stage.partition(".")[0]


def test_at_the_root_are_only_rooms() -> None:
    entries = {path.name for path in PACKAGE.iterdir()} - {"__pycache__"}
    assert entries == {
        *ROOMS,
        *("__init__.py", "__main__.py", "_version.py", "py.typed", "README.md"),
    }


@pytest.mark.parametrize("stage", [stage for stage in FILES if room_of(stage) in ROOMS])
def test_a_room_never_imports_a_later_one(stage: str) -> None:
    allowed = {*ROOMS[: ROOMS.index(room_of(stage)) + 1], "_version"}
    assert {room_of(name) for name in own_imports(stage)} <= allowed


def test_no_imports_go_in_a_circle() -> None:
    done: set[str] = set()

    def visit(stage: str, way: tuple[str, ...]) -> None:
        assert stage not in way, " -> ".join([*way, stage])
        if stage not in done:
            for other in own_imports(stage) - {
                room for room in own_imports(stage) if is_room(room)
            }:
                visit(other, (*way, stage))
            done.add(stage)

    for stage in FILES:
        visit(stage, ())
    assert done == set(FILES)


def is_room(stage: str) -> bool:
    """Whether a stage is a package, which is imported with any of its files."""
    return FILES[stage].name == "__init__.py"


@pytest.mark.parametrize("stage", [s for s in FILES if s and is_room(s) and s != "cli"])
def test_a_room_opens_without_loading_anything(stage: str) -> None:
    """Its `__init__` is a docstring: whoever imports one file of a room gets that file."""
    assert [type(node) for node in tree(stage).body] == [ast.Expr]


def test_some_imports_are_seen() -> None:
    assert {"graph.schedule", "graph.inlining", "primitives.table"} <= own_imports("graph.plan")
    assert "conversion.state" in own_imports("conversion.wiring")
    assert "conversion.model" in own_imports("cli.convert")


@pytest.mark.parametrize("stage", FILES)
def test_only_the_reading_room_knows_hdf5(stage: str) -> None:
    if not stage.startswith("reading") and stage != "running.signals.nirdata_writing":
        assert not any(name.split(".")[0] == "h5py" for name in imports(stage))


def is_without_torch(stage: str) -> bool:
    return any(stage == name or stage.startswith(f"{name}.") for name in WITHOUT_TORCH)


@pytest.mark.parametrize("stage", [stage for stage in FILES if is_without_torch(stage)])
def test_what_does_without_torch(stage: str) -> None:
    assert not any(name.split(".")[0] == "torch" for name in imports(stage))
    others = {other for other in own_imports(stage) if not is_room(other)} - {"_version"}
    assert {other for other in others if not is_without_torch(other)} <= {
        "running.arrays",
        "running.activity",
    }


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_what_does_without_torch_is_there(name: str) -> None:
    assert name in FILES


FORBIDDEN = {
    "print",
    "exit",
    "quit",
    "SystemExit",
    "sys.exit",
    "os._exit",
    "sys.argv",
    "sys.stdout",
    "sys.stderr",
    "sys.stdin",
    "warnings.warn",
}

WARNING = "conversion.interpreter"
"""Where findings become warnings, for whoever calls `nir_to_torch`: no command does."""


@pytest.mark.parametrize("stage", INNER)
def test_the_library_neither_prints_nor_exits_nor_reads_arguments(stage: str) -> None:
    used = set()
    module = tree(stage)
    for node in ast.walk(module):
        if isinstance(node, ast.ExceptHandler):
            node.type = None  # a map that somebody wrote may try to exit, and is caught
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used.add(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            used.add(node.id)
    assert used & FORBIDDEN == ({"warnings.warn"} if stage == WARNING else set())


def test_no_command_warns_of_what_it_prints() -> None:
    """Commands convert without `nir_to_torch`, which would say each finding once more."""
    outer = [stage for stage in FILES if room_of(stage) in ROOMS[ROOMS.index("conversion") :]]
    names = {stage: {node.id for node in ast.walk(tree(stage)) if isinstance(node, ast.Name)}
             for stage in outer}  # fmt: skip
    assert [stage for stage in outer if "nir_to_torch" in names[stage]] == []


# ---------------------------------------------------------------- nothing that remembers

CHANGING = {
    "add",
    "append",
    "clear",
    "discard",
    "extend",
    "insert",
    "pop",
    "popitem",
    "remove",
    "setdefault",
    "update",
}

REMEMBERING = {
    ("", "globals"): "a public name, once it was resolved",
    ("conversion.wiring", "lru_cache"): "whether a class takes a state, as its code says",
    ("primitives.modules.program", "lru_cache"): "the code of a program, by its source",
    ("primitives.table", "_REGISTERED"): "the node types that a program registered",
    ("primitives.table", "cache"): "the node types of installed packs",
}
"""What may outlive a call: it changes how long the next takes, and nothing else."""


def module_names(module: ast.Module) -> set[str]:
    """The names that a module binds at its top level to anything but imports."""
    names = set()
    for node in module.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def changes(module: ast.Module) -> Iterator[str]:
    """What is changed from within functions of a module and lives at its top level."""
    top = module_names(module)
    for function in ast.walk(module):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(function, ast.FunctionDef):
            for decorator in function.decorator_list:
                name = decorator.func if isinstance(decorator, ast.Call) else decorator
                called = ast.unparse(name).rpartition(".")[2]
                if "cache" in called and called != "cached_property":
                    yield called
        for node in ast.walk(function):
            if isinstance(node, ast.Global):
                yield from node.names
            place: ast.expr | None = None
            if isinstance(node, (ast.Subscript, ast.Attribute)) and not isinstance(
                node.ctx, ast.Load
            ):
                place = node.value
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                place = node.func.value if node.func.attr in CHANGING else None
            if isinstance(place, ast.Call) and ast.unparse(place) == "globals()":
                yield "globals"
            elif isinstance(place, ast.Name) and place.id in top:
                yield place.id


def test_no_module_remembers_anything() -> None:
    found = {(stage, name) for stage in FILES for name in changes(tree(stage))}
    assert found == set(REMEMBERING)


@pytest.mark.parametrize(
    "code",
    [
        "A = {}\ndef f(x):\n    A[x] = 1",
        "A = []\ndef f(x):\n    A.append(x)",
        "A = 1\ndef f(x):\n    global A",
        "A: list = []\ndef f(x):\n    del A[0]",
        "A = {}\nf = lambda x: A.setdefault(x, 1)",
        "@cache\ndef f(x):\n    return x",
        "A = object()\ndef f(x):\n    A.x = x",
    ],
)
def test_what_remembers_is_seen(code: str) -> None:
    assert set(changes(ast.parse(code))) in ({"A"}, {"cache"})


# -------------------------------------------------------------------------- what is loaded

HEAVY = ("torch", "nir", "numpy", "h5py", "rich", "networkx")


def loaded(code: str) -> set[str]:
    """Which of the heavy libraries are there after some code ran in a fresh process."""
    report = f"import json, sys; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    process = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    return set(json.loads(process.stdout.splitlines()[-1]))


def command(*arguments: str) -> str:
    return f"""
import sys
sys.argv = ["nirtorch", *{arguments!r}]
from nirtorch_cli.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import nirtorch_cli", set()),
        ("import nirtorch_cli.cli.app", set()),
        ("from nirtorch_cli import ReadError, Finding", set()),
        (command("--help"), set()),
        (command("--version"), set()),
        (command("convert", "--help"), set()),
        (command("inspect", "--help"), set()),
        (command("repair", "--help"), set()),
        (command("check", "--help"), set()),
        (command("run", "--help"), set()),
        (command("compare", "--help"), set()),
        (command("check", "--list-rules"), set()),
        (command("schema", "inspect"), set()),
        (command("check", "--explain", "NIR104"), set()),
        ("import nirtorch_cli.graph.inspection", {"nir", "numpy", "h5py"}),
        ("import nirtorch_cli.graph.schedule, nirtorch_cli.conversion.naming", set()),
        (
            command("inspect", str(DATA / "digits_recurrent.nir"), "--json"),
            {"nir", "numpy", "h5py"},
        ),
    ],
)
def test_what_is_loaded(code: str, expected: set[str]) -> None:
    assert loaded(code) == expected


def test_inspecting_for_people_loads_no_torch() -> None:
    assert "torch" not in loaded(command("inspect", str(DATA / "digits.nir")))


def test_repairing_and_checking_load_no_torch_here() -> None:
    assert "torch" not in loaded(command("repair", str(DATA / "damaged.nir"), "-q"))
    assert loaded(command("check", str(DATA / "digits.nir"))) == set()


def test_converting_loads_torch() -> None:
    """The tests above would also pass if nothing were ever seen."""
    assert {"torch", "nir"} <= loaded("from nirtorch_cli import nir_to_torch")


# --------------------------------------------------------------------------- the surface


def test_the_public_names() -> None:
    assert tuple(sorted(nirtorch_cli.__all__)) == PUBLIC
    assert set(PUBLIC) <= set(dir(nirtorch_cli))
    for name in PUBLIC:
        assert getattr(nirtorch_cli, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nirtorch_cli.nothing


@pytest.mark.parametrize("first", ["nir_to_torch", "DEFAULT_MAP"])
def test_a_public_name_is_the_same_whatever_was_used_before(first: str) -> None:
    loaded(f"import nirtorch_cli as n; n.{first}; assert callable(n.default_map), n.default_map")


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public_is_documented(name: str) -> None:
    value = getattr(nirtorch_cli, name)
    if inspect.isfunction(value) or inspect.isclass(value):
        assert value.__doc__
        assert len(value.__doc__.split()) >= 5


def public_functions(module: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    for node in module.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node


@pytest.mark.parametrize("stage", FILES)
def test_every_file_says_what_it_is(stage: str) -> None:
    assert ast.get_docstring(tree(stage))


@pytest.mark.parametrize("stage", INNER)
def test_every_public_function_of_the_library_says_what_it_is(stage: str) -> None:
    public = public_functions(tree(stage))
    assert [node.name for node in public if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("stage", FILES)
def test_a_file_can_be_read_at_one_sitting(stage: str) -> None:
    assert len(FILES[stage].read_text(encoding="utf8").splitlines()) < 450
