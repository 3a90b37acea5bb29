"""Each rule by a smallest file that triggers it and one beside it that does not.

The table has a row for every rule about a model; the test of the table fails without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import ROOT
from files import (
    Tree,
    chain,
    conv,
    cuba_lif,
    delay,
    flatten,
    graph,
    inlet,
    integrate_and_fire,
    lif,
    linear,
    loop,
    model,
    nested,
    outlet,
    scale,
    sound,
    with_,
    write,
)

from nirtorch_cli.conversion.model import convert_model
from nirtorch_cli.conversion.options import Options
from nirtorch_cli.findings.errors import NirtorchError, UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.rules import load_repairs, load_rules, selected, selectors
from nirtorch_cli.reading.graphs import read

RULES = load_rules()
REPAIRS = load_repairs()


def found(path: Path, **request: Any) -> list[Finding]:
    """What reading and converting a file tells, or is refused for."""
    try:
        module = convert_model(read(path), Options(**request))
    except NirtorchError as error:
        return list(error.findings)
    return [Finding(**finding) for finding in module.meta["findings"]]


def codes(findings: list[Finding]) -> list[str]:
    return sorted({finding.code for finding in findings})


INF, NAN = np.float32(np.inf), np.float32(np.nan)


def external(group: h5py.Group, name: str) -> None:
    group[name] = h5py.ExternalLink("other.h5", "/x")


def itself(group: h5py.Group, name: str) -> None:
    group[name] = group


def compound(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, data=np.zeros(1, dtype=[("a", "f4"), ("b", "f4")]))


def unwritten(group: h5py.Group, name: str) -> None:
    """A dataset that claims six gigabytes and takes no room in the file."""
    group.create_dataset(name, shape=(3 * 2**29,), dtype="f4", chunks=(2**20,))


def doubles(*values: float) -> Tree:
    return {"type": "Scale", "scale": np.array(values)}


def two_ways_in() -> Tree:
    nodes = {"a": linear(2, 2), "b": linear(2, 2)}
    return loop(("input", "a"), ("input", "b"), ("a", "b"), ("b", "a"), ("b", "lif"), **nodes)


def one_way_in() -> Tree:
    nodes = {"a": linear(2, 2), "b": linear(2, 2)}
    return loop(("input", "a"), ("a", "b"), ("b", "a"), ("b", "lif"), **nodes)


def several_ports() -> Tree:
    nodes = {"i": inlet(2), "j": inlet(2), "o": outlet(2)}
    return nested(graph(nodes, [("i", "o"), ("j", "o")]))


def inner(**nodes: Tree) -> Tree:
    return chain(**nodes)["node"]


PIXELS = chain(
    input=inlet(2, 5, 6), conv=conv((3, 2, 3, 3)), flatten=flatten((3, 3, 4), 0), output=outlet(36)
)
WINDOW = {name: np.array([1, 1]) for name in ("kernel_size", "stride", "padding")}
OPEN = {"a": lif(2), "b": lif(2), "o": outlet(2), "i": inlet(2)}

CASES: dict[str, tuple[Tree | bytes | None, Tree]] = {
    "NIR001": (b"no HDF5", sound()),
    "NIR002": (b"damaged", sound()),
    "NIR003": ({"version": "1"}, sound()),
    "NIR004": (with_(sound(), "node/nodes/lif/tau", {"deep": {}}), sound()),
    "NIR005": (with_(sound(), "node/nodes/lif/type", "Izhikevich"), sound()),
    "NIR006": (with_(sound(), "node/nodes/lif/tau", None), sound()),
    "NIR007": (with_(sound(), "node/edges", [["input", "w", "lif"]]), sound()),
    "NIR008": (with_(sound(), "node/nodes/input/shape", np.array([0.5])), sound()),
    "NIR010": (with_(sound(), "node/nodes/lif/tau", external), sound()),
    "NIR011": (with_(sound(), "node/metadata", {"again": itself}), sound()),
    "NIR012": (with_(sound(), "node/nodes/lif/v_reset", None), sound()),
    "NIR013": (with_(sound(), "node/nodes/lif/tau", np.float32(0.5)), sound()),
    "NIR014": (with_(sound(), "node/nodes/w/weight", unwritten), sound()),
    "NIR015": (with_(sound(), "node/nodes/lif/gain", 2.0), sound()),
    "NIR016": (with_(sound(), "node/metadata", {"odd": compound}), sound()),
    "NIR017": (with_(sound(), "node/nodes/" + "n" * 5000, scale(1)), sound()),
    "NIR018": (
        with_(PIXELS, "node/nodes/flatten/input_type", {"input": np.array([3, 3, 4])}),
        PIXELS,
    ),
    "NIR019": (
        with_(chain(input=inlet(2), **{"a/b": lif(2)}, output=outlet(2)), "version", "1"),
        chain(input=inlet(2), **{"a.b": lif(2)}, output=outlet(2)),
    ),
    "NIR101": (
        model({"i": inlet(2), "a": lif(2), "o": outlet(2)}, [("i", "a"), ("a", "o"), ("a", "x")]),
        model({"i": inlet(2), "a": lif(2), "o": outlet(2)}, [("i", "a"), ("a", "o")]),
    ),
    "NIR102": (
        model({"a": lif(2), "b": lif(2), "o": outlet(2)}, [("a", "o"), ("b", "o")]),
        model({**OPEN}, [("i", "a"), ("i", "b"), ("a", "o"), ("b", "o")]),
    ),
    "NIR103": (
        model({"a": lif(2), "b": lif(2), "i": inlet(2)}, [("i", "a"), ("i", "b")]),
        model({**OPEN}, [("i", "a"), ("i", "b"), ("a", "o"), ("b", "o")]),
    ),
    "NIR104": (loop(("input", "lif")), loop()),
    "NIR105": (loop(("lif", "input")), loop()),
    "NIR106": (
        loop(("w", "lif"), w=linear(2, 3)),
        loop(("input", "w"), ("w", "lif"), w=scale(1, 2)),
    ),
    "NIR107": (several_ports(), nested(inner(i=inlet(2), o=outlet(2)))),
    "NIR108": (model({}, []), sound()),
    "NIR109": (two_ways_in(), one_way_in()),
    "NIR110": (
        loop(("a", "b"), ("b", "a"), ("a", "lif"), a=scale(1, 1), b=scale(1, 1)),
        loop(("input", "a"), ("a", "b"), ("b", "a"), ("a", "lif"), a=scale(1, 1), b=scale(1, 1)),
    ),
    "NIR111": (
        model({**OPEN, "a": scale(1, 1)}, [("i", "a"), ("b", "o")]),
        loop(),
    ),
    "NIR112": (
        loop(("lif", "w"), w=linear(2, 2)),
        loop(("lif", "w"), ("w", "lif"), w=linear(2, 2)),
    ),
    "NIR113": (loop(("lif", "lif")), loop()),
    "NIR201": (with_(sound(), "node/nodes/lif/tau", np.ones(3)), sound()),
    "NIR202": (with_(sound(), "node/nodes/output/shape", np.array([1, 2])), sound()),
    "NIR203": (with_(sound(), "node/nodes/w/weight", np.ones((4, 3))), sound()),
    "NIR204": (with_(PIXELS, "node/nodes/flatten", flatten((1, 3, 3, 4), 1)), PIXELS),
    "NIR205": (
        loop(("pool", "lif"), pool={"type": "SumPool2d", **WINDOW}),
        loop(),
    ),
    "NIR206": (
        chain(input=inlet(3), w=linear(2, 3), lif=lif(1), output=outlet(2)),
        chain(input=inlet(3), w=linear(1, 3), lif=lif(1), output=outlet(1)),
    ),
    "NIR207": (with_(PIXELS, "node/nodes/conv/input_shape", None), PIXELS),
    "NIR208": (
        chain(input=inlet(2), s=scale(1, 1), lif=lif((1, 2)), output=outlet(2)),
        chain(input=inlet(1, 2), lif=lif((1, 2)), output=outlet(1, 2)),
    ),
    "NIR301": (with_(sound(), "node/nodes/w/weight", np.array([[1, NAN, 1]] * 2)), sound()),
    "NIR302": (
        with_(sound(), "node/nodes/w/weight", np.array([[1, INF, 1]] * 2)),
        with_(sound(), "node/nodes/w/weight", np.array([[1, np.float32(3e38), 1]] * 2)),
    ),
    "NIR303": (
        chain(input=inlet(2), lif=lif(2, tau=np.array([1.0, 0.0], "f4")), output=outlet(2)),
        chain(input=inlet(2), lif=lif(2, tau=np.array([5e-4, 4e-4], "f4")), output=outlet(2)),
    ),
    "NIR304": (
        chain(input=inlet(2), lif=lif(2, v_reset=np.array([0, 0.25], "f4")), output=outlet(2)),
        chain(input=inlet(2), lif=lif(2, v_reset=np.array([0, 0.05], "f4")), output=outlet(2)),
    ),
    "NIR305": (
        chain(input=inlet(2), lif=lif(2, r=np.array([1, 0], "f4")), output=outlet(2)),
        chain(input=inlet(2), lif=lif(2, r=np.array([1, -1], "f4")), output=outlet(2)),
    ),
    "NIR306": (
        chain(input=inlet(2), s=doubles(0.1, 1), output=outlet(2)),
        chain(input=inlet(2), s=doubles(0.5, 1), output=outlet(2)),
    ),
    "NIR307": (
        chain(input=inlet(2), s=doubles(1e-60, 1), output=outlet(2)),
        chain(input=inlet(2), s=doubles(0, 2.0**-140), output=outlet(2)),
    ),
    "NIR308": (
        chain(input=inlet(2), lif=lif(2, tau=np.full(2, 900, "f4")), output=outlet(2)),
        chain(input=inlet(2), lif=lif(2, tau=np.full(2, 700, "f4")), output=outlet(2)),
    ),
    "NIR309": (
        chain(input=inlet(2), wait=delay(1e-4, -1e-4), output=outlet(2)),
        chain(input=inlet(2), wait=delay(1e-4, 0), output=outlet(2)),
    ),
    "NIR401": (
        chain(input=inlet(2), lif=lif(2, tau=np.array([6e-5, 1], "f4")), output=outlet(2)),
        chain(input=inlet(2), lif=lif(2, tau=np.array([2e-4, 1], "f4")), output=outlet(2)),
    ),
    "NIR402": (
        chain(input=inlet(2), lif=lif(2, tau=np.array([4e-5, 1], "f4")), output=outlet(2)),
        chain(input=inlet(2), lif=lif(2, tau=np.array([6e-5, 1], "f4")), output=outlet(2)),
    ),
    "NIR403": (
        chain(input=inlet(2), wait=delay(1e-4, 2.5e-4), output=outlet(2)),
        chain(input=inlet(2), wait=delay(1e-4, np.float32(3e-4)), output=outlet(2)),
    ),
    "NIR404": (
        loop(("lif", "wait"), ("wait", "lif"), wait=delay(0, 2e-4)),
        loop(("lif", "wait"), ("wait", "lif"), wait=delay(1e-4, 2e-4)),
    ),
    "NIR405": (
        chain(input=inlet(2), wait=delay(1, 3), output=outlet(2)),
        chain(input=inlet(2), wait=delay(0, 1e-3), output=outlet(2)),
    ),
    "NIR406": (chain(input=inlet(2), lif=lif(2, r=np.full(2, 4, "f4")), output=outlet(2)), sound()),
    "NIR407": (
        with_(sound(), "node/metadata", {"dt": np.array(1e-3)}),
        with_(sound(), "node/metadata", {"dt": np.array(1e-4)}),
    ),
    "NIR408": (
        chain(input=inlet(2), n=integrate_and_fire(2, r=np.array([343, 400], "f4")),
              output=outlet(2)),
        chain(input=inlet(2), n=integrate_and_fire(2, r=np.array([0.5, 2], "f4")),
              output=outlet(2)),
    ),
    "NIR409": (
        chain(input=inlet(2), lif=lif(2, tau=np.full(2, 0.2, "f4")), output=outlet(2)),
        chain(input=inlet(2), lif=lif(2, tau=np.full(2, 0.05, "f4")), output=outlet(2)),
    ),
    "NIR114": (
        model({"input": inlet(2), "input_w": inlet(2), "w": linear(2, 2), "output": outlet(2)},
              [("input", "output"), ("input_w", "w"), ("w", "output")]),
        model({"input": inlet(2), "other": inlet(2), "w": linear(2, 2), "output": outlet(2)},
              [("input", "output"), ("other", "w"), ("w", "output")]),
    ),
    "NIR115": (
        loop(("lif", "w_rec"), ("w_rec", "lif"), ("w_rec", "output"), w_rec=linear(2, 2)),
        loop(("lif", "w_rec"), ("w_rec", "lif"), w_rec=linear(2, 2)),
    ),
    "NIR024": (with_(sound(), "node/nodes/lif/type", None), sound()),
}  # fmt: skip
"""A file that triggers a rule, and its neighbour."""

ELSEWHERE = {
    **dict.fromkeys(
        ("NIR020", "NIR021", "NIR022", "NIR023"),
        "saved modules, not NIR files: tests/conversion/test_graph_module.py",
    ),
    "NIR025": "weights, not NIR files: tests/conversion/artefacts/test_safetensors.py",
    "NIR5": "maps: tests/conversion/test_maps.py, test_interpreter.py",
    "NIR6": "what happens when a module runs: cli/test_check.py, conversion/test_training.py",
    "NIR7": "requests: tests/cli/test_failures.py",
    "NIR8": "portability: tests/cli/test_check.py",
    "NIR9": "the program: tests/cli/test_failures.py",
}
"""Rules that are not about what a file holds, by the beginning of their codes."""


def test_every_rule_about_a_file_has_a_row() -> None:
    elsewhere = {code for code in RULES if code.startswith(tuple(ELSEWHERE))}
    assert set(CASES) | elsewhere == set(RULES)
    assert not set(CASES) & elsewhere


def put(path: Path, content: Tree | bytes) -> Path:
    if content == b"damaged":
        write(path, with_(sound(), "node/nodes/lif/tau", np.linspace(0, 1, 2)))
        data = bytearray(path.read_bytes())
        start = data.index(b"TREE", 200)
        data[start : start + 4] = b"TWIG"
        path.write_bytes(bytes(data))
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write(path, content)
    return path


@pytest.mark.parametrize("code", CASES)
def test_a_smallest_file_triggers_the_rule_and_its_neighbour_does_not(
    code: str, tmp_path: Path
) -> None:
    bad, good = CASES[code]
    telling = found(put(tmp_path / "bad.nir", bad))
    assert code in codes(telling), telling
    for finding in telling:
        if finding.code == code and finding.repair is None:
            allowed = {RULES[code].severity, "error", "warning"}
            assert finding.severity in allowed
        assert finding.message
        assert finding.file is not None
    assert code not in codes(found(put(tmp_path / "good.nir", good)))


@pytest.mark.parametrize("code", CASES)
def test_the_neighbours_have_nothing_else_to_say_either(code: str, tmp_path: Path) -> None:
    path = put(tmp_path / "good.nir", CASES[code][1])
    # Whether the numbers tell dt is not what these are about.
    told = [f for f in found(path) if f.severity != "info" and f.code != "NIR406"]
    # Each stands beside a smaller mistake of its own kind.
    assert codes(told) == {"NIR402": ["NIR401"], "NIR308": ["NIR409"]}.get(code, [])


def test_the_sound_file_has_nothing_to_say(tmp_path: Path) -> None:
    assert found(write(tmp_path / "sound.nir", sound())) == []


# ------------------------------------------------------------------- more of some rules

MORE: list[tuple[str, Tree, str, bool]] = [
    ("NIR302", lif(2, tau=np.array([1, INF], "f4")), "warning", True),
    ("NIR302", lif(2, v_threshold=np.array([1, INF], "f4")), "warning", True),
    ("NIR302", lif(2, v_threshold=np.array([1, -INF], "f4")), "error", True),
    ("NIR302", lif(2, r=np.array([1, INF], "f4")), "error", True),
    ("NIR303", cuba_lif(2, tau_syn=np.array([1, -1], "f4")), "error", True),
    ("NIR303", lif(2, tau=np.array([1, 0])), "error", True),
    ("NIR303", lif(2, tau=np.array([1, -1], "i1")), "error", True),
    ("NIR309", delay(np.inf, 0), "error", True),
    ("NIR309", {"type": "Delay", "delay": np.array([-2, 1])}, "error", True),
    ("NIR309", {"type": "Delay", "delay": -1}, "error", True),
    ("NIR304", integrate_and_fire(2, v_reset=np.array([0, 1])), "warning", True),
    ("NIR303", cuba_lif(2, tau_mem=np.array([1, 0], "f4")), "error", True),
    ("NIR304", integrate_and_fire(2, v_reset=np.array([0, 1], "f4")), "warning", True),
    ("NIR305", integrate_and_fire(2, r=np.array([1, 0], "f4")), "warning", True),
    ("NIR305", integrate_and_fire(2, v_threshold=np.array([1, INF], "f4")), "warning", True),
    ("NIR305", cuba_lif(2, w_in=np.array([1, 0], "f4")), "warning", True),
    ("NIR305", lif(2, r=np.array([1, 0], "f4"), v_leak=np.array([1, 1], "f4")), "warning", False),
]


@pytest.mark.parametrize(("code", "node", "severity", "is_found"), MORE)
def test_more_nodes(code: str, node: Tree, severity: str, is_found: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "m.nir", chain(input=inlet(2), n=node, output=outlet(2)))
    told = [f for f in found(path) if f.code == code]
    assert [f.severity for f in told] == ([severity] if is_found else [])


@pytest.mark.parametrize(
    ("dtype", "value", "code"),
    [
        ("float64", 0.1, None),
        ("float64", 1e-60, None),
        ("float32", 0.1, "NIR306"),
        ("float32", 1e39, "NIR307"),
        ("float16", 0.1, "NIR306"),
        ("float16", 1e-9, "NIR307"),
        ("float16", 7e4, "NIR307"),
        ("bfloat16", 7e4, "NIR306"),
        ("bfloat16", 1e-45, "NIR307"),
    ],
)
def test_what_a_type_keeps(dtype: str, value: float, code: str | None, tmp_path: Path) -> None:
    node = doubles(value, 1)
    path = write(tmp_path / "m.nir", chain(input=inlet(2), s=node, output=outlet(2)))
    told = [f.code for f in found(path, dtype=dtype) if f.code in ("NIR306", "NIR307")]
    assert told == ([] if code is None else [code])


def test_the_findings_of_nested_graphs_name_their_path(tmp_path: Path) -> None:
    inside = inner(i=inlet(2), a=lif(2, tau=np.array([1, 0], "f4")), o=outlet(2))
    told = found(write(tmp_path / "m.nir", nested(inside)))
    assert ("NIR303", "nest/a") in [(f.code, f.node) for f in told]


def test_the_real_files_are_told_nothing_but_what_is_true(real_files: Path) -> None:
    expected = {
        "braille_nested": ["NIR012", "NIR306", "NIR804"],
        "braille_noDelay_bias_zero": ["NIR012", "NIR306", "NIR804"],
        "braille_noDelay_bias_zero_subgraph": ["NIR012", "NIR101", "NIR306", "NIR804"],
        "lif_norse": ["NIR012", "NIR406", "NIR804"],
        "lif_rockpool": ["NIR012", "NIR202", "NIR804"],
        "two_lif_neurons": ["NIR012", "NIR306", "NIR406"],
    }
    paths = {path.stem: path for path in real_files.glob("*.nir")}
    assert {name: codes(found(path)) for name, path in paths.items()} == expected


# ---------------------------------------------------------------------------- the tables


def source_texts() -> Callable[[str], set[str]]:
    files = (ROOT / "nirtorch_cli").rglob("*.py")
    text = "\n".join(path.read_text(encoding="utf8") for path in files)
    return lambda pattern: set(re.findall(pattern, text))


def test_every_code_in_the_program_is_in_the_table_and_the_other_way_round() -> None:
    assert source_texts()(r'"(NIR\d{3})"') == set(RULES)


def test_every_repair_in_the_program_is_in_the_table_and_the_other_way_round() -> None:
    found = source_texts()
    named = {name for rule in RULES.values() for name in rule.repairs}
    assert named == set(REPAIRS)
    assert named <= found(r'"([a-z]+(?:-[a-z]+)+)"')
    assert found(r'repair="([a-z-]+)"') <= named


@pytest.mark.parametrize("code", RULES)
def test_a_rule_is_explained(code: str) -> None:
    rule = RULES[code]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.name)
    assert rule.severity in ("error", "warning", "info")
    assert rule.group
    assert len(rule.summary) < 100
    assert len(rule.explanation) > 10
    assert rule.summary.endswith(".")
    assert rule.explanation.endswith(".")


def test_names_are_used_once() -> None:
    assert len({rule.name for rule in RULES.values()}) == len(RULES)


# ----------------------------------------------------------------------------- selection


def finding(code: str) -> Finding:
    return Finding(code, "error", "text")


@pytest.mark.parametrize(
    ("select", "ignore", "expected"),
    [
        ([], [], "101 104 202 401"),
        (["NIR1"], [], "101 104"),
        (["NIR1", "NIR401"], [], "101 104 401"),
        ([], ["NIR1"], "202 401"),
        (["NIR1"], ["NIR104"], "101"),
        (["NIR104"], ["NIR1"], "104"),
        (["NIR1"], ["NIR1"], ""),
        (["NIR"], ["NIR"], ""),
        (["NIR"], ["NIR2"], "101 104 401"),
    ],
)
def test_the_longest_selector_decides(select: list[str], ignore: list[str], expected: str) -> None:
    findings = [finding(f"NIR{number}") for number in ("101", "104", "202", "401")]
    left = [f.code for f in selected(findings, select, ignore)]
    assert left == [f"NIR{number}" for number in expected.split()]


def test_selectors_come_in_lists_and_all_is_all() -> None:
    assert selectors(["NIR1,NIR401", " NIR2 ", "ALL", ""], "--select") == [
        "NIR1",
        "NIR401",
        "NIR2",
        "NIR",
    ]
    with pytest.raises(UsageError, match=r"--ignore: no rule's code begins with 'E501', 'NIR99'"):
        selectors(["NIR1,E501", "NIR99"], "--ignore")
