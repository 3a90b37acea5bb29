"""Pictures: all there, once each, where it belongs, and whatever the nodes are called."""

from __future__ import annotations

import json
import math
import random
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import nir
import numpy as np
import pytest
from conftest import DATA, Command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import NETWORKS
from typer.testing import CliRunner, Result

import nirtorch_cli
from nirtorch_cli.cli.app import app
from nirtorch_cli.drawing.graphs.labelling import LABEL_SIZE
from nirtorch_cli.drawing.graphs.labels import LONGEST, MARKS, STYLES, columns, kind_of, shortened
from nirtorch_cli.drawing.graphs.layering import TALLEST
from nirtorch_cli.drawing.graphs.layout import Drawing, Rectangle, draw_scene
from nirtorch_cli.drawing.graphs.mermaid import MOST_CHARACTERS, MOST_EDGES
from nirtorch_cli.drawing.graphs.picture import Rendered, rendered
from nirtorch_cli.drawing.graphs.scene import ROOT, Link, Scene, scene_of
from nirtorch_cli.findings.errors import ExitCode
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.graph.described import described
from nirtorch_cli.graph.inspection import InspectedEdge, InspectedNode, Inspection, inspect
from nirtorch_cli.reading.graphs import ModelFile

PACKAGE = str(Path(nirtorch_cli.__file__).parent)
SVG = "{http://www.w3.org/2000/svg}"
SHAPES = ("path", "rect", "polygon", "g", "text", "tspan", "circle")
PICTURES = ("svg", "dot", "mermaid")

Nodes = list[tuple[str, str]]
Edges = list[tuple[str, str, bool]]


def inspection(
    nodes: Nodes, edges: Edges, file: str = "model.nir", findings: list[Finding] | None = None
) -> Inspection:
    rows = [
        InspectedNode(name, kind, (2,), (3, 4), {"tau": described(0.1)} if kind == "LIF" else {}, 2)
        for name, kind in nodes
    ]
    drawn = [InspectedEdge(*edge) for edge in edges]
    return Inspection(file, 1, "1.0", 1e-4, "", rows, drawn, findings or [])


def inspected(graph: nir.NIRGraph) -> Inspection:
    return inspect(ModelFile(graph, "1.0", "a model"))


RECURRENT = inspection(
    [("in", "Input"), ("w", "Affine"), ("lif", "LIF"), ("out", "Output")],
    [("in", "lif", False), ("w", "lif", False), ("lif", "w", True), ("lif", "out", False)],
)

NESTED = inspection(
    [
        ("in", "Input"),
        ("g", "NIRGraph"),
        ("g/in", "Input"),
        ("g/h", "NIRGraph"),
        ("g/h/in", "Input"),
        ("g/h/lif", "LIF"),
        ("g/h/out", "Output"),
        ("g/out", "Output"),
        ("loop/lif", "LIF"),  # a loop passes through this graph: it has no row of its own
        ("back", "Affine"),
        ("loop/out", "Output"),
        ("out", "Output"),
    ],
    [
        ("in", "g", False),
        ("g/in", "g/h", False),
        ("g/h/in", "g/h/lif", False),
        ("g/h/lif", "g/h/lif", True),
        ("g/h/lif", "g/h/out", False),
        ("g/h", "g/out", False),
        ("g", "loop/lif", False),
        ("loop/lif", "loop/out", False),
        ("loop/out", "back", True),
        ("back", "loop/lif", False),
        ("loop/out", "out", False),
    ],
)


def chain(count: int) -> Inspection:
    names = [f"layer {number}" for number in range(count)]
    return inspection(
        [(name, ("LIF", "Affine")[turn % 2]) for turn, name in enumerate(names)],
        [(a, b, False) for a, b in pairwise(names)],
    )


def blocks(count: int) -> Inspection:
    """Chains with short and long skips, branches, and feedback over one block and over many."""
    choose = random.Random(3)
    nodes: Nodes = [("in", "Input")]
    edges: Edges = []
    last, ends = "in", ["in"]
    for number in range(count // 5):
        inner = [f"block{number}/{name}" for name in ("conv", "lif", "conv2", "lif2")]
        nodes += [(f"block{number}", "NIRGraph")] if number % 2 else []
        nodes += [(f"rec{number}", "Affine")]
        nodes += [(name, "LIF" if "lif" in name else "Conv2d") for name in inner]
        edges += [(a, b, False) for a, b in pairwise([last, *inner])]
        edges += [(last, inner[-1], False), (inner[1], inner[3], False)]
        edges += [(inner[-1], f"rec{number}", True), (f"rec{number}", inner[-1], False)]
        edges.append((inner[-1], choose.choice(ends[-20:]), True))
        edges.append((choose.choice(ends[-20:]), inner[0], False))
        last = inner[-1]
        ends.append(last)
    unique = {(source, target): late for source, target, late in edges}
    return inspection(nodes, [(*pair, late) for pair, late in unique.items()])


def reaching(count: int) -> Inspection:
    """A chain whose first node leads to many, and many to its last."""
    found = chain(count)
    names = [row.node for row in found.nodes]
    for name in names[5:-5:3]:
        found.edges.append(InspectedEdge(names[0], name, False))
        found.edges.append(InspectedEdge(name, names[-1], False))
    return found


def sources(count: int) -> Inspection:
    """Many nodes that lead to the end of a chain."""
    found = chain(20)
    names = [f"source {number}" for number in range(count - 20)]
    rows = inspection([(name, "LIF") for name in names], []).nodes
    found.nodes.extend(rows)
    found.edges.extend(InspectedEdge(name, found.nodes[19].node, False) for name in names)
    return found


def star(count: int) -> Inspection:
    names = [f"n{number}" for number in range(count)]
    nodes = [("in", "Input"), *((name, "LIF") for name in names), ("out", "Output")]
    edges = [("in", name, False) for name in names] + [(name, "out", False) for name in names]
    return inspection(nodes, edges)


def mesh(seed: int) -> Inspection:
    """A chain with many more edges, forward and back, through boxes."""
    choose = random.Random(seed)
    boxes, nodes = [""], []
    count = choose.randint(20, 120)
    for number in range(count):
        box = choose.choice(boxes[-3:])
        kind = "NIRGraph" if choose.random() < 0.05 else "LIF"
        nodes.append((f"{box}{number}", kind))
        boxes += [f"{box}{number}/"] if kind == "NIRGraph" else []
    names = [name for name, _ in nodes]
    edges = set(pairwise(names))
    for _ in range(choose.randint(0, 60)):
        place = choose.randrange(count)
        near = min(count - 1, max(0, place + choose.randint(-10, 25)))
        far = choose.randrange(count)
        edges.add((names[place], names[near if choose.random() < 0.7 else far]))
    return inspection(nodes, [(*edge, choose.random() < 0.2) for edge in sorted(edges)])


EXAMPLES: dict[str, Callable[[], Inspection]] = {
    "recurrent": lambda: RECURRENT,
    "nested": lambda: NESTED,
    "chain": lambda: chain(60),
    "blocks": lambda: blocks(150),
    "star": lambda: star(60),
    "reaching": lambda: reaching(60),
    "sources": lambda: sources(60),
    "nothing": lambda: inspection([], []),
    "no edges": lambda: inspection([(f"n{number}", "LIF") for number in range(30)], []),
    "an empty box": lambda: inspection([("g", "NIRGraph"), ("a", "LIF")], [("g", "a", False)]),
    "missing": lambda: inspection(
        [("a", "LIF"), ("g", "NIRGraph"), ("g/b", "LIF")],
        [("a", "gone", False), ("g/gone", "g/b", False), ("lost", "lost", False)],
    ),
    "ways back out of a box": lambda: inspection(
        [(name, "NIRGraph" if name == "g" else "LIF") for name in ("a", "b", "g", "g/c", "g/d")],
        [
            ("a", "g/c", False),
            ("b", "g/d", False),
            ("g/c", "a", True),
            ("g/d", "b", True),
        ],
    ),
    "late ways in and out": lambda: inspection(  # of a box in whose loop nothing is delayed
        [(name, "NIRGraph" if name == "g" else "LIF") for name in ("a", "g", "g/b", "g/c", "g/d")],
        [
            ("a", "g/c", False),
            ("g/b", "a", True),
            ("g/b", "g/d", False),
            ("g/c", "g/b", False),
            ("g/d", "a", True),
            ("g/d", "g/c", True),
            ("gone", "g", False),
            ("gone", "g/c", True),
            ("gone", "g/d", True),
        ],
    ),
    **{name: (lambda make=make: inspected(make())) for name, make in NETWORKS.items()},
}
"""Every structure there is."""

every_example = pytest.mark.parametrize("name", EXAMPLES)

# ---------------------------------------------------------------------- all there, once each


def elements(picture: str, kind: str, name: str) -> list[ET.Element]:
    """The elements of an SVG that have a class, and a number."""
    found = ET.fromstring(picture).iter(f"{SVG}{kind}")
    return [e for e in found if name in e.get("class", "").split() and e.get("id")]


def title_of(element: ET.Element) -> str:
    return element.findtext(f"{SVG}title") or ""


def edge_title(edge: InspectedEdge) -> str:
    return f"{edge.source} -> {edge.target}{', delayed by one step' if edge.delayed else ''}"


def ghosts(found: Inspection) -> set[str]:
    ends = {end for edge in found.edges for end in (edge.source, edge.target)}
    return ends - {row.node for row in found.nodes}


@every_example
def test_an_svg_has_every_node_and_every_edge_once(name: str) -> None:
    found = EXAMPLES[name]()
    picture = rendered(found, "svg").text
    nodes = elements(picture, "g", "node") + elements(picture, "g", "box")
    drawn = sorted(title_of(node).splitlines()[0] for node in nodes)
    opened = {"loop"} if found is NESTED else set()
    opened |= {f"block{n}" for n in range(0, 30, 2)} if name == "blocks" else set()
    assert drawn == sorted([row.node for row in found.nodes] + [*ghosts(found), *opened])
    edges = [title_of(edge) for edge in elements(picture, "path", "edge")]
    assert sorted(edges) == sorted(map(edge_title, found.edges))
    delayed = [title_of(edge) for edge in elements(picture, "path", "delayed")]
    assert sorted(delayed) == sorted(edge_title(edge) for edge in found.edges if edge.delayed)
    identifiers = [element.get("id") for element in ET.fromstring(picture).iter()]
    given_out = [identifier for identifier in identifiers if identifier]
    assert len(given_out) == len(set(given_out))


@every_example
def test_every_delayed_edge_of_an_svg_is_labelled(name: str) -> None:
    found = EXAMPLES[name]()
    texts = [text.text for text in ET.fromstring(rendered(found, "svg").text).iter(f"{SVG}text")]
    assert texts.count("1 step") == sum(edge.delayed for edge in found.edges)


def test_what_stands_on_a_node_and_in_its_tooltip() -> None:
    picture = rendered(RECURRENT, "svg").text
    (lif,) = [node for node in elements(picture, "g", "neuron") if "node" in node.get("class", "")]
    assert [text.text for text in lif.iter(f"{SVG}text")] == ["lif", "LIF 3x4"]
    assert title_of(lif) == "lif\nLIF: 2 -> 3x4\ntau 0.1"


def label_places(picture: str) -> list[Rectangle]:
    """The grounds of the labels of delayed edges."""
    found = []
    elements_of = list(ET.fromstring(picture).iter())
    for ground, text in pairwise(elements_of):
        if text.get("class") == "late":
            assert ground.get("class") in ("paper", "ground"), "a label without a ground"
            sides = (float(ground.get(name, "nan")) for name in ("x", "y", "width", "height"))
            found.append(Rectangle(*sides))
    return found


@pytest.mark.parametrize("direction", ["down", "right"])
@every_example
def test_a_label_stands_on_no_node_and_on_a_line_only_in_its_own(name: str, direction: Any) -> None:
    found = EXAMPLES[name]()
    scene = scene_of(found)
    drawing = draw_scene(scene, direction)
    labels = label_places(rendered(found, "svg", direction=direction).text)
    delayed = [turn for turn, link in enumerate(scene.links) if link.delayed]
    for one, other in combinations(labels, 2):
        assert not overlap(one, other, -0.2)
    on_lines = 0
    for turn, place in zip(delayed, labels, strict=True):
        assert (place.width, place.height) == LABEL_SIZE
        for item, covered in zip(scene.items, drawing.rectangles, strict=True):
            assert item.is_box or not overlap(place, covered, -0.2), scene.links[turn].tooltip
        routes = [list(samples(route, direction)) for route in drawing.routes]
        hit = [any(overlap(Rectangle(*p, 0, 0), place, -1) for p in route) for route in routes]
        assert hit[turn] or not any(hit)
        on_lines += any(hit)
    assert on_lines <= max(2, len(labels) // 5)


def test_labels_of_small_loops_stand_on_no_line() -> None:
    for found in (RECURRENT, NESTED, inspected(NETWORKS["recurrent"]())):
        for direction in ("down", "right"):
            scene = scene_of(found)
            drawing = draw_scene(scene, direction)  # type: ignore[arg-type]
            picture = rendered(found, "svg", direction=direction).text  # type: ignore[arg-type]
            places = label_places(picture)
            assert len(places) == sum(link.delayed for link in scene.links) > 0
            for route in drawing.routes:
                for point in samples(route, direction):
                    assert not any(overlap(Rectangle(*point, 0, 0), place) for place in places)


def test_the_page_is_white_and_as_large_as_the_picture() -> None:
    root = ET.fromstring(rendered(RECURRENT, "svg").text)
    first = next(root.iter(f"{SVG}rect"))
    assert first.get("class") == "paper"
    assert (first.get("width"), first.get("height")) == (root.get("width"), root.get("height"))
    assert ".paper { fill: #ffffff; }" in (root.findtext(f"{SVG}style") or "")


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2 has it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_what_wcag_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def rules_of(style: str) -> dict[str, dict[str, str]]:
    """Colours by selector."""
    return {
        selector.strip(): dict(re.findall(r"(fill|stroke): (#[0-9a-f]{6})", body))
        for selector, body in re.findall(r"^([^{}@]+) \{([^{}]*)\}$", style, re.MULTILINE)
    }


EVERY_KIND = inspection(
    [
        ("in", "Input"),
        ("w", "Affine"),
        ("lif", "LIF"),
        ("flat", "Flatten"),
        ("delay", "Delay"),
        ("g", "NIRGraph"),
        ("g/lif", "LIF"),
    ],
    [("in", "w", False), ("w", "lif", False), ("lif", "w", True), ("lif", "gone", False)],
    findings=[
        Finding("NIR301", "error", "1 of 4 values are NaN", "w", "weight"),
        Finding("NIR304", "warning", "v_reset at or above v_threshold", "lif"),
        Finding("NIR202", "warning", "declares (1,)", "g", repair="stale-shape", hint="taken as 1"),
    ],
)
"""All kinds and all marks."""


@pytest.mark.parametrize("is_dark", [False, True])
def test_text_and_lines_of_an_svg_can_be_read_on_a_light_and_on_a_dark_page(is_dark: bool) -> None:
    style = ET.fromstring(rendered(EVERY_KIND, "svg").text).findtext(f"{SVG}style") or ""
    light, dark = style.split("@media (prefers-color-scheme: dark) {")
    rules = rules_of(dark if is_dark else light)
    assert set(rules_of(dark)) == {key for key, colours in rules_of(light).items() if colours}
    paper = rules[".paper"]["fill"]
    assert (luminance(paper) < 0.05) == is_dark
    for kind in STYLES:
        shape = rules[f".{kind} .shape"]
        assert contrast(rules["text"]["fill"], shape["fill"]) > 7
        assert contrast(rules[".detail"]["fill"], shape["fill"]) > 4.5
        assert contrast(shape["stroke"], paper) > 3
    for mark in MARKS:
        assert contrast(rules[f".{mark} > .shape"]["stroke"], paper) > 3
    grounds = (paper, rules[".ground"]["fill"])
    for ground in grounds:
        assert contrast(rules[".late"]["fill"], ground) > 4.5
        for line in (".edge", ".delayed"):
            assert contrast(rules[line]["stroke"], ground) > 3


def test_mermaid_shows_on_the_themes_of_light_and_of_dark_pages() -> None:
    text = rendered(EVERY_KIND, "mermaid").text
    assert "linkStyle default" not in text  # lines have the colour of the theme
    classes = dict(re.findall(r"classDef nir_(\w+) (.*)", text))
    assert set(classes) == {*STYLES, *MARKS}
    assert classes["graph"] == "fill:none,stroke:#64748b"
    for kind in set(STYLES) - {"graph"}:
        fill, colour = re.findall(r"(?:fill|color):(#[0-9a-f]{6})", classes[kind])
        assert contrast(fill, colour) > 7
    [delayed] = re.findall(r"linkStyle 2 stroke:(#[0-9a-f]{6})$", text, re.MULTILINE)
    for line in (delayed, "#64748b"):
        for page in ("#ffffff", "#0d1117"):
            assert contrast(line, page) > 3


# ---------------------------------------------------------------------- what findings say


def test_nodes_with_findings_are_marked_and_say_why() -> None:
    root = ET.fromstring(rendered(EVERY_KIND, "svg").text)
    marked = {
        title_of(group).splitlines()[0]: group
        for group in root.iter(f"{SVG}g")
        if "marked" in group.get("class", "").split()
    }
    assert set(marked) == {"w", "lif", "g"}
    for name, mark, reason in (
        ("w", "error", "error NIR301: weight 1 of 4 values are NaN"),
        ("lif", "warning", "warning NIR304: v_reset at or above v_threshold"),
        ("g", "repaired", "repaired NIR202: declares (1,); taken as 1"),
    ):
        assert mark in marked[name].get("class", "").split()
        assert title_of(marked[name]).splitlines()[-1] == reason
        signs = [g.get("class") for g in marked[name].iter(f"{SVG}g") if "sign" in (g.get("class"))]
        assert signs == [f"sign {mark}"]
    forms = {  # each sign has a form of its own, colour aside
        str(sign.get("class")): sign[0].tag.removeprefix(SVG)
        for sign in root.iter(f"{SVG}g")
        if "sign" in sign.get("class", "")
    }
    assert forms == {"sign error": "circle", "sign warning": "polygon", "sign repaired": "rect"}
    texts = {text.text for text in root.iter(f"{SVG}text")}
    assert {"error", "warning", "repaired"} <= texts  # the legend
    assert any("; 1 error" in (text or "") for text in texts)


def test_marks_in_dot_and_mermaid_say_why() -> None:
    text = rendered(EVERY_KIND, "dot").text
    lines = {line.split("[")[0].strip(): line for line in text.splitlines() if " [label=" in line}
    assert 'label="w\\nAffine 3x4\\nerror NIR301"' in lines["n1"]
    assert "penwidth=2, peripheries=2" in lines["n1"]
    assert "error NIR301: weight 1 of 4 values are NaN" in lines["n1"]
    assert "peripheries" not in lines["n0"]
    assert 'label="g  NIRGraph 3x4  repaired NIR202"' in text
    chart = rendered(EVERY_KIND, "mermaid").text
    assert '["<b>w</b><br>Affine 3x4<br>error NIR301"]' in chart
    assert '["<b>g</b> NIRGraph 3x4 repaired NIR202"]' in chart
    assert "class n1 nir_error" in chart
    assert "warning NIR304: v_reset at or above v_threshold" in chart
    assert chart.count("  click n") == 3
    assert "click" not in rendered(RECURRENT, "mermaid").text


def test_the_worst_finding_marks_a_node_and_what_is_only_good_to_know_does_not() -> None:
    findings = [
        Finding("NIR018", "info", "left out, so 0", "a"),
        Finding("NIR202", "warning", "declares (1,)", "b", repair="stale-shape"),
        Finding("NIR304", "warning", "odd", "b"),
        Finding("NIR303", "error", "tau 0", "b"),
        Finding("NIR100", "error", "of the whole graph"),
        Finding("NIR100", "error", "of a node that is not drawn", "nowhere"),
    ]
    scene = scene_of(inspection([("a", "LIF"), ("b", "LIF")], [], findings=findings))
    first, second = scene.items
    assert (first.mark, first.reason) == (None, "")
    assert first.tooltip.endswith("info NIR018: left out, so 0")
    assert (second.mark, second.reason) == ("error", "error NIR303")
    assert [line[:5] for line in second.tooltip.splitlines()[-3:]] == ["error", "warni", "repai"]
    assert scene.subtitle.endswith("; 3 errors")
    many = [Finding("NIR303", "error", "x" * 5000, "a") for _ in range(100)]
    [item] = scene_of(inspection([("a", "LIF")], [], findings=many)).items
    assert len(item.tooltip) < 20_000


# ---------------------------------------------------------------------- natural order


def test_alike_nodes_beside_each_other_stand_in_natural_order() -> None:
    names = [f"b{number}" for number in range(13)]
    shuffled = sorted(names)  # b0, b1, b10, b11, ..., as the order of execution may be
    nodes = [("in", "Input"), *((name, "LIF") for name in shuffled), ("out", "Output")]
    edges = [("in", name, False) for name in shuffled] + [(n, "out", False) for n in shuffled]
    found = inspection(nodes, edges)
    scene, drawing = scene_of(found), draw_scene(scene_of(found))
    at = {item.name: drawing.rectangles[item.number] for item in scene.items}
    assert sorted(names, key=lambda name: at[name].x) == names
    assert len({at[name].y for name in names}) == 1
    pattern = {"dot": r'\[label="(b\d+)', "mermaid": r"<b>(b\d+)</b>"}
    for form, label in pattern.items():
        assert re.findall(label, rendered(found, form).text) == names  # type: ignore[arg-type]


def test_natural_order_changes_no_chain() -> None:
    chained = ["b2", "b1", "b10", "a", "b3"]
    edges = [(a, b, False) for a, b in pairwise(chained)]
    found = inspection([(name, "LIF") for name in chained], edges)
    assert re.findall(r"<b>(\w+)</b>", rendered(found, "mermaid").text) == chained
    drawing = draw_scene(scene_of(found))
    assert [place.y for place in drawing.rectangles] == sorted(p.y for p in drawing.rectangles)


DOT_NODE = re.compile(r"^ *n(\d+) \[(.*)\]$", re.MULTILINE)
DOT_EDGE = re.compile(r"^  n(\d+) -> n(\d+) \[(.*)\]$", re.MULTILINE)


@every_example
def test_dot_has_every_node_and_every_edge_once(name: str) -> None:
    found = EXAMPLES[name]()
    scene, text = scene_of(found), rendered(found, "dot").text
    nodes = [int(number) for number, rest in DOT_NODE.findall(text) if "shape=point" not in rest]
    assert sorted(nodes) == [item.number for item in scene.items if not item.is_box]
    boxes = re.findall(r"^ *subgraph cluster_(\d+) \{$", text, re.MULTILINE)
    assert sorted(map(int, boxes)) == [item.number for item in scene.items if item.is_box]
    edges = DOT_EDGE.findall(text)
    assert len(edges) == len(found.edges)
    for link, (_, _, rest) in zip(scene.links, edges, strict=True):
        assert (f"ltail=cluster_{link.source}" in rest) == scene.items[link.source].is_box
        assert (f"lhead=cluster_{link.target}" in rest) == scene.items[link.target].is_box
        assert ("style=dashed" in rest) == link.delayed
        assert ('label="1 step"' in rest) == link.delayed
    assert text.count("{") == text.count("}")


MERMAID = re.compile(
    r"""flowchart\ (?:TB|LR)
    | \ +subgraph\ n(?P<box>\d+)\["(?P<heading>[^"]*)"\]
    | \ +direction\ (?:TB|LR)
    | \ +end
    | \ +n(?P<node>\d+)(?:\(\[|\{\{|\[\\|\[\[|\[)"(?P<label>[^"]*)"(?:\]\)|\}\}|/\]|\]\]|\])
    | \ +n(?P<source>\d+)\ (?P<arrow>-->|-\.->\|"1\ step"\|)\ n(?P<target>\d+)
    | \ +click\ n\d+\ call\ nirtorch_tooltip\(\)\ "[\w\ ,.()':/+=?‹›-]+"
    | \ +classDef\ nir_[a-z]+\ [a-z:\#0-9,\ -]+
    | \ +class\ n[n0-9,]+\ nir_[a-z]+
    | \ +linkStyle\ (?P<styled>default|[0-9,]+)\ [a-z:\#0-9,]+""",
    re.VERBOSE,
)


def mermaid_lines(text: str) -> list[dict[str, str | None]]:
    """The parts of each line; every line is of a form that is known."""
    matches = [MERMAID.fullmatch(line) for line in text.split("\n")[:-1]]
    assert None not in matches
    return [match.groupdict() for match in matches if match]


@every_example
def test_mermaid_has_every_node_and_every_edge_once(name: str) -> None:
    found = EXAMPLES[name]()
    scene, text = scene_of(found), rendered(found, "mermaid").text
    lines = mermaid_lines(text)
    numbers = [int(n) for line in lines for n in (line["node"], line["box"]) if n is not None]
    assert sorted(numbers) == [item.number for item in scene.items]
    edges = [line for line in lines if line["arrow"]]
    assert [
        (int(line["source"] or 0), int(line["target"] or 0), line["arrow"] != "-->")
        for line in edges
    ] == [(link.source, link.target, link.delayed) for link in scene.links]
    delayed = [str(number) for number, link in enumerate(scene.links) if link.delayed]
    styled = [line["styled"] for line in lines if line["styled"] not in (None, "default")]
    assert styled == ([",".join(delayed)] if delayed else [])
    assert text.count("subgraph n") == len(re.findall(r"^ +end$", text, re.MULTILINE))


def test_what_is_inside_a_box_stands_inside_it() -> None:
    for form, opening, closing in (
        ("dot", r"subgraph cluster_(\d+)", r"^ *\}$"),
        ("mermaid", r"subgraph n(\d+)", r"^ *end$"),
    ):
        scene = scene_of(NESTED)
        around, seen = [ROOT], {}
        for line in rendered(NESTED, form).text.splitlines():  # type: ignore[arg-type]
            if match := re.search(opening, line):
                seen[int(match[1])] = around[-1]
                around.append(int(match[1]))
            elif re.match(closing, line):
                around.pop()
            elif match := re.match(r" *n(\d+)[\[\{\( ]+(?!->|-)", line):
                seen.setdefault(int(match[1]), around[-1])
        assert seen == {item.number: item.parent for item in scene.items}


def test_mermaid_says_when_it_is_too_much_for_mermaid() -> None:
    assert rendered(RECURRENT, "mermaid").notes == ()
    (note,) = rendered(star(MOST_EDGES // 2 + 1), "mermaid").notes
    assert "500 edges and 50,000 characters" in note
    long = rendered(inspection([(f"{n}" * 20, "LIF") for n in range(1500)], []), "mermaid")
    assert len(long.text) > MOST_CHARACTERS
    assert len(long.notes) == 1
    assert rendered(star(MOST_EDGES), "svg").notes == rendered(star(MOST_EDGES), "dot").notes == ()


# ---------------------------------------------------------------------- where it belongs


def overlap(one: Rectangle, other: Rectangle, margin: float = 0.0) -> bool:
    return (
        one.x < other.x + other.width + margin
        and other.x < one.x + one.width + margin
        and one.y < other.y + other.height + margin
        and other.y < one.y + one.height + margin
    )


def is_within(inner: Rectangle, outer: Rectangle) -> bool:
    return (
        outer.x <= inner.x + 0.1
        and outer.y <= inner.y + 0.1
        and inner.x + inner.width <= outer.x + outer.width + 0.1
        and inner.y + inner.height <= outer.y + outer.height + 0.1
    )


def turned(route: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(y, x) for x, y in route]


def samples(
    route: list[tuple[float, float]], direction: str = "down"
) -> Iterator[tuple[float, float]]:
    """Points of a route, of its curves too, close enough to hit whatever lies under it."""
    if direction == "right":
        yield from turned(list(samples(turned(route))))
        return
    for (x, y), (to_x, to_y) in pairwise(route):
        count = 2 + int(math.hypot(to_x - x, to_y - y) / 15)
        for turn in range(count + 1):
            t = turn / count
            if x != to_x and y != to_y:  # a cubic whose ends are vertical
                share = 3 * t * t - 2 * t**3
                half = (y + to_y) / 2
                down = (1 - t) ** 3 * y + 3 * t * (1 - t) * half + t**3 * to_y
                yield x + (to_x - x) * share, down
            else:
                yield x + (to_x - x) * t, y + (to_y - y) * t


def boxes_around(scene: Scene, number: int) -> set[int]:
    found = {number}
    while number != ROOT:
        number = scene.items[number].parent
        found.add(number)
    return found


def on_border(point: tuple[float, float], place: Rectangle) -> bool:
    """Whether a point, which is given to a tenth, lies on the border of a rectangle."""
    x, y = point
    right, lower = place.x + place.width, place.y + place.height
    is_within_reach = place.x - 0.1 < x < right + 0.1 and place.y - 0.1 < y < lower + 0.1
    at_edge = min(abs(x - place.x), abs(x - right), abs(y - place.y), abs(y - lower)) < 0.1
    return is_within_reach and at_edge


def assert_well_laid_out(scene: Scene, direction: Any = "down", wrap: Any = "auto") -> Drawing:
    drawing = draw_scene(scene, direction, wrap)
    page = Rectangle(0, 0, *drawing.size)
    for item, place in zip(scene.items, drawing.rectangles, strict=True):
        outer = page if item.parent == ROOT else drawing.rectangles[item.parent]
        assert is_within(place, outer), item.path
    for inside in scene.children.values():
        for one, other in combinations(inside, 2):
            assert not overlap(drawing.rectangles[one], drawing.rectangles[other], 10)
    for link, route in zip(scene.links, drawing.routes, strict=True):
        assert on_border(route[0], drawing.rectangles[link.source]), link.tooltip
        assert on_border(route[-1], drawing.rectangles[link.target]), link.tooltip
        ends = boxes_around(scene, link.source) | boxes_around(scene, link.target)
        points = list(samples(route, direction))
        for item, place in zip(scene.items, drawing.rectangles, strict=True):
            if item.number not in ends:
                hit = [p for p in points if overlap(Rectangle(*p, 0, 0), place, -0.5)]
                assert not hit, f"{link.tooltip} lies over {item.path}"
        for x, y in points:
            assert is_within(Rectangle(x, y, 0, 0), page), link.tooltip
    for one, other in shared_lines(scene, drawing):
        text = f"{one.tooltip} and {other.tooltip} are drawn over each other"
        assert share_an_end(scene, one, other), text
    return drawing


def share_an_end(scene: Scene, one: Link, other: Link) -> bool:
    """Whether links begin or end at one item, or one of them at a box around an end of the other.

    The latter a sound graph does not have: a box is executed as a whole, or it is not.
    """
    ends = {one.source, one.target}, {other.source, other.target}
    around = [set().union(*(boxes_around(scene, end) for end in pair)) - {ROOT} for pair in ends]
    return bool(ends[0] & around[1] or ends[1] & around[0])


def shared_lines(scene: Scene, drawing: Drawing) -> Iterator[tuple[Link, Link]]:
    """The pairs of links that run for a while on one level or upright line."""
    lines: dict[tuple[bool, float], list[tuple[float, float, Link]]] = {}
    for link, route in zip(scene.links, drawing.routes, strict=True):
        for (x, y), (to_x, to_y) in pairwise(route):
            if x == to_x:
                lines.setdefault((True, round(x, 3)), []).append((*sorted((y, to_y)), link))
            elif y == to_y:
                lines.setdefault((False, round(y, 3)), []).append((*sorted((x, to_x)), link))
    for parts in lines.values():
        for one, other in combinations(parts, 2):
            if one[2] is not other[2] and min(one[1], other[1]) - max(one[0], other[0]) > 1:
                yield one[2], other[2]


@pytest.mark.parametrize("wrap", ["auto", "always"])
@pytest.mark.parametrize("direction", ["down", "right"])
@every_example
def test_nothing_lies_on_anything_and_all_is_in_its_box(
    name: str, direction: str, wrap: str
) -> None:
    assert_well_laid_out(scene_of(EXAMPLES[name]()), direction, wrap)


@st.composite
def inspections(draw_value: st.DrawFn) -> Inspection:
    """Any nodes in any boxes, and edges between any two of them, delayed or not."""
    count = draw_value(st.integers(1, 24))
    boxes = [""]
    nodes: Nodes = []
    for number in range(count):
        box = draw_value(st.sampled_from(boxes))
        kind = draw_value(st.sampled_from(["LIF", "Affine", "Input", "Flatten", "NIRGraph"]))
        nodes.append((f"{box}{number}", kind))
        if kind == "NIRGraph":
            boxes.append(f"{box}{number}/")
    names = [name for name, _ in nodes]
    ends = st.sampled_from([*names, "gone"])
    edges = draw_value(st.lists(st.tuples(ends, ends), max_size=40, unique=True))
    return inspection(nodes, [(s, t, draw_value(st.booleans())) for s, t in edges])


@given(
    inspections(), st.sampled_from(["down", "right"]), st.sampled_from(["auto", "never", "always"])
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_graph_is_well_laid_out(found: Inspection, direction: str, wrap: str) -> None:
    assert_well_laid_out(without_links_to_what_is_inside(scene_of(found)), direction, wrap)


@pytest.mark.parametrize("seed", range(12))
def test_any_larger_graph_is_well_laid_out(seed: int) -> None:
    scene = without_links_to_what_is_inside(scene_of(mesh(seed)))
    assert_well_laid_out(scene, wrap="always")
    assert_well_laid_out(scene, ("down", "right")[seed % 2])


def without_links_to_what_is_inside(scene: Scene) -> Scene:
    """NIR has no edge between a graph and its own nodes."""

    def is_inside(one: int, other: int) -> bool:
        return one != other and other in boxes_around(scene, one)

    scene.links[:] = [
        link
        for link in scene.links
        if not is_inside(link.source, link.target) and not is_inside(link.target, link.source)
    ]
    return scene


@given(inspections())
@settings(max_examples=60, deadline=None)
def test_any_graph_is_drawn_in_every_form(found: Inspection) -> None:
    scene = scene_of(found)
    picture = ET.fromstring(rendered(found, "svg").text)
    assert len([e for e in picture.iter(f"{SVG}path") if e.get("id")]) == len(found.edges)
    assert len([e for e in picture.iter(f"{SVG}g") if e.get("id")]) == len(scene.items)
    assert len(DOT_EDGE.findall(rendered(found, "dot").text)) == len(found.edges)
    lines = mermaid_lines(rendered(found, "mermaid").text)
    assert sum(line["arrow"] is not None for line in lines) == len(found.edges)


def size(found: Inspection) -> tuple[float, float]:
    return size_of(rendered(found, "svg").text)


def size_of(picture: str) -> tuple[float, float]:
    root = ET.fromstring(picture)
    return float(root.get("width", "")), float(root.get("height", ""))


def test_a_short_chain_is_one_column() -> None:
    drawing = draw_scene(scene_of(chain(10)))
    assert len({place.x + place.width / 2 for place in drawing.rectangles}) == 1
    assert [place.y for place in drawing.rectangles] == sorted(p.y for p in drawing.rectangles)


def unet(levels: int = 3) -> Inspection:
    """An encoder and a decoder, whose levels are joined by skips."""
    names = ["input"]
    for part in ("encoder", "decoder"):
        names += [f"{part}{level}_{kind}" for level in range(levels) for kind in ("conv", "if")]
        names += ["middle_conv", "middle_if"] if part == "encoder" else ["head_conv", "head_if"]
    names.append("output")
    kinds = {"conv": "Conv2d", "if": "IF", "input": "Input", "output": "Output"}
    skips = [(f"encoder{n}_if", f"decoder{levels - 1 - n}_conv", False) for n in range(levels)]
    edges = [*((a, b, False) for a, b in pairwise(names)), *skips]
    return inspection([(name, kinds[name.rpartition("_")[2]]) for name in names], edges)


def test_a_u_net_is_one_column_with_its_skips_at_the_side() -> None:
    found = unet()
    assert len(found.nodes) == 18
    scene = scene_of(found)
    drawing = assert_well_laid_out(scene)
    tops = [place.y for place in drawing.rectangles]
    assert tops == sorted(set(tops))  # a row for each, in the order of execution
    main = [p.x + p.width / 2 for p in drawing.rectangles]
    assert max(main) - min(main) < 100
    outermost = max(p.x + p.width for p in drawing.rectangles)
    ways = {link.tooltip: max(x for x, _ in r) for link, r in zip(scene.links, drawing.routes)}
    inner, outer = (ways[f"encoder{n}_if -> decoder{2 - n}_conv"] for n in (1, 0))
    assert outermost < inner < outer  # lanes beside the column, one in the other


def rows_and_columns(drawing: Drawing) -> tuple[int, int]:
    return (
        len({place.y for place in drawing.rectangles}),
        len({place.x + place.width / 2 for place in drawing.rectangles}),
    )


def test_rows_are_cut_into_columns_only_where_they_are_too_high() -> None:
    def size_of_chain(count: int, **how: Any) -> tuple[int, tuple[float, float]]:
        drawing = draw_scene(scene_of(chain(count)), **how)
        return rows_and_columns(drawing)[1], drawing.size

    columns, (_, height) = size_of_chain(39)
    assert (columns, height > 0.9 * TALLEST) == (1, True)
    assert height <= TALLEST
    columns, (_, height) = size_of_chain(60)
    assert columns > 2
    assert height < TALLEST / 2
    assert size_of_chain(60, wrap="never")[0] == 1
    assert size_of_chain(300, wrap="never")[1][1] > TALLEST
    assert size_of_chain(20, wrap="always")[0] > 1
    assert size_of_chain(2, wrap="always")[0] == 1


def test_a_picture_to_the_right_has_its_rows_as_columns() -> None:
    down, right = (draw_scene(scene_of(chain(10)), way) for way in ("down", "right"))
    assert rows_and_columns(down) == (10, 1)
    assert rows_and_columns(right) == (1, 10)
    assert [place.x for place in right.rectangles] == sorted(p.x for p in right.rectangles)
    wrapped = draw_scene(scene_of(chain(60)), "right")
    rows, columns = rows_and_columns(wrapped)
    assert 1 < rows < columns
    assert wrapped.size[0] <= TALLEST
    assert "rankdir=LR" in rendered(chain(3), "dot", direction="right").text
    assert "rankdir=TB" in rendered(chain(3), "dot").text
    assert rendered(chain(3), "mermaid", direction="right").text.startswith("flowchart LR\n")
    nested = rendered(NESTED, "mermaid", direction="right").text
    assert nested.count("direction LR") == 3
    assert "TB" not in nested


def test_edges_to_the_right_end_at_the_outlines_of_their_nodes() -> None:
    """A neuron's side is half a circle: an edge beside its middle goes on to it."""
    two = inspection(
        [("a", "LIF"), ("b", "Input"), ("c", "LIF")],
        [("a", "c", False), ("b", "c", False), ("c", "a", True)],
    )
    scene, drawing = scene_of(two), draw_scene(scene_of(two), "right")
    paths = elements(rendered(two, "svg", direction="right").text, "path", "edge")
    for link, route, path in zip(scene.links, drawing.routes, paths, strict=True):
        drawn = [float(x) for x in re.findall(r"-?[0-9.]+", path.get("d", ""))]
        for number, (x, y), (drawn_x, drawn_y) in (
            (link.source, route[0], drawn[:2]),
            (link.target, route[-1], drawn[-2:]),
        ):
            place = drawing.rectangles[number]
            half, aside = place.height / 2, abs(y - place.y - place.height / 2)
            inwards = abs(drawn_x - x)
            expected = half - math.sqrt(half**2 - aside**2)
            if scene.items[number].kind == "port":
                expected = 9 * aside / half
            assert inwards == pytest.approx(expected, abs=0.11)
            assert drawn_y == pytest.approx(y, abs=0.06)
            assert place.x <= drawn_x <= place.x + place.width


@pytest.mark.parametrize("make", [chain, blocks, star, sources])
@pytest.mark.parametrize("count", [100, 300, 1000])
def test_a_large_graph_is_a_page_and_no_strip(
    make: Callable[[int], Inspection], count: int
) -> None:
    width, height = size(make(count))
    assert 0.4 < width / height < 2.5
    assert width * height < 150_000 * count


def test_an_edge_over_many_rows_does_not_bend_at_each() -> None:
    found = chain(300)
    names = [row.node for row in found.nodes]
    found.edges.extend(InspectedEdge(a, b, False) for a, b in zip(names, names[12:], strict=False))
    routes = draw_scene(scene_of(found)).routes
    assert len(routes) == 299 + 288
    assert max(map(len, routes)) <= 14


def test_columns_are_read_downwards_and_then_to_the_right() -> None:
    drawing = draw_scene(scene_of(chain(300)))
    middles = [(round(p.x + p.width / 2), p.y) for p in drawing.rectangles]
    assert middles == sorted(middles)
    assert 5 < len({x for x, _ in middles}) < 30


def test_deep_nesting_needs_no_recursion() -> None:
    nodes: Nodes = []
    path = ""
    for number in range(100):
        nodes.append((f"{path}g", "NIRGraph"))
        path += "g/"
        nodes.append((f"{path}n{number}", "LIF"))
    edges = [(nodes[turn][0], nodes[-1 - turn][0], False) for turn in range(1, 199, 2)]
    found = inspection(nodes, edges)
    limit = sys.getrecursionlimit()
    depth = len(list(_frames()))
    sys.setrecursionlimit(depth + 60)
    try:
        pictures = [rendered(found, form).text for form in PICTURES]  # type: ignore[arg-type]
    finally:
        sys.setrecursionlimit(limit)
    assert len(elements(pictures[0], "g", "box")) == 100


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


# ---------------------------------------------------------------------- whatever they are called

HOSTILE = [
    "end",
    'a"b',
    "</title><script>alert(1)",
    "x]y[z",
    "{{a}}",
    '%%{init: {"theme":"dark"}}%%',
    "back\\slash\\",
    "\\N\\G\\n",
    "#35;",
    "&lt;&amp;",
    "]]>",
    "1. list",
    "`code`",
    "click",
    "line\nbreak\r",
    "\x00\x1b[31m\x7f",
    "\ud800",
    "\uffff\u202e",
    "日本語",
    "",
    " ",
    "$$x$$",
    "fa:fa-car",
]

names = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_characters="/")))


def with_names(found: list[str]) -> Inspection:
    nodes = [*((name, "LIF") for name in found), ("box", "NIRGraph"), (f"box/{found[0]}", "LIF")]
    edges = [(a, b, True) for a, b in pairwise(found)]
    unique = dict(nodes)
    findings = [
        Finding("NIR303", "error", f"{name} is odd; {name}", node, hint=f"so says {name}")
        for node, name in zip(unique, [*found, found[0], found[0]], strict=False)
    ]
    edges.append(("box", found[0] + "gone", False))
    return inspection(list(unique.items()), edges, found[-1], findings)


many_names = st.lists(names, min_size=1, max_size=6, unique=True)
any_names = pytest.mark.parametrize("found", [HOSTILE])


def check_svg(found: list[str]) -> None:
    scene, text = scene_of(with_names(found)), rendered(with_names(found), "svg").text
    assert text.isascii()
    root = ET.fromstring(text)
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags <= {*SHAPES, "svg", "title", "style", "defs", "marker"}
    drawn = {e.get("id"): e for e in root.iter(f"{SVG}g") if e.get("id")}
    for item in scene.items:
        element = drawn[f"n{item.number}"]
        assert title_of(element) == item.tooltip
        if not item.is_box:
            texts = [line.text for line in element.iter(f"{SVG}text")]
            assert texts == [item.name, item.detail]


DOT_STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"')


def check_dot(found: list[str]) -> None:
    scene, text = scene_of(with_names(found)), rendered(with_names(found), "dot").text
    text.encode("utf8")
    outside = DOT_STRING.sub("", text)
    assert re.fullmatch(r"[A-Za-z0-9_ \n\[\]{}=,.>-]*", outside)
    labels = dict(re.findall(r'^ *n(\d+) \[label=("(?:[^"\\\n]|\\.)*")', text, re.MULTILINE))
    for item in scene.items:
        if not item.is_box:
            reason = f"\n{item.reason}" if item.reason else ""
            assert undotted(labels[str(item.number)]) == f"{item.name}\n{item.detail}{reason}"


def undotted(string: str) -> str:
    """What Graphviz makes of a string: escapes, then entities."""
    escapes = {"n": "\n", "\\": "\\", '"': '"'}
    text = re.sub(r"\\(.)", lambda match: escapes[match[1]], string[1:-1])
    assert not re.search(r"&(?!amp;)", text)
    return text.replace("&amp;", "&")


def check_mermaid(found: list[str]) -> None:
    scene, text = scene_of(with_names(found)), rendered(with_names(found), "mermaid").text
    text.encode("utf8")
    lines = mermaid_lines(text)
    labels = {line["node"]: line["label"] for line in lines if line["node"]}
    for item in scene.items:
        if not item.is_box:
            label = labels[str(item.number)] or ""
            plain = re.sub(r"#(\d+);|</?b>|<br>", "", label)
            assert re.fullmatch(r"[\w ,.-]*", plain)
            decoded = re.sub(r"#(\d+);", lambda match: chr(int(match[1])), label)
            reason = f"<br>{item.reason}" if item.reason else ""
            shown = f"<b>{item.name}</b><br>{item.detail}{reason}"
            assert decoded.replace("\u200c", "") == shown
            assert not re.search(r"\$\$|\\n|:fa-", decoded)


@any_names
def test_hostile_names_in_svg(found: list[str]) -> None:
    check_svg(found)


@any_names
def test_hostile_names_in_dot(found: list[str]) -> None:
    check_dot(found)


@any_names
def test_hostile_names_in_mermaid(found: list[str]) -> None:
    check_mermaid(found)


@given(many_names)
@settings(max_examples=100, deadline=None)
def test_any_names(found: list[str]) -> None:
    check_svg(found)
    check_dot(found)
    check_mermaid(found)


def test_long_names_are_shortened_on_the_page_and_whole_in_the_tooltip() -> None:
    name = "encoder." + "x" * 300 + ".lif"
    picture = rendered(inspection([(name, "LIF")], []), "svg").text
    (node,) = elements(picture, "g", "node")
    assert title_of(node).splitlines()[0] == name
    (shown, _) = [text.text or "" for text in node.iter(f"{SVG}text")]
    assert shown.startswith("encoder.x")
    assert shown.endswith("x.lif")
    assert len(shown) == LONGEST
    assert size(inspection([(name * 100, "LIF")], []))[0] < 600


@given(st.text(), st.integers(2, 30))
def test_shortened(text: str, longest: int) -> None:
    short = shortened(text, longest)
    assert short.isprintable()
    assert columns(short) <= max(2, longest)
    if text.isascii() and text.isprintable() and 0 < len(text) <= longest:
        assert short == text


def test_wide_and_combining_characters_are_measured() -> None:
    assert columns("日本") == 4
    assert columns("e\u0301") == 1
    assert columns(shortened("日" * 40)) <= LONGEST
    assert columns(shortened("e\u0301" * 40)) <= LONGEST


def test_every_nir_type_has_a_kind() -> None:
    types = {
        name
        for name, value in vars(nir).items()
        if isinstance(value, type) and issubclass(value, nir.NIRNode) and value is not nir.NIRNode
    }
    assert {name for name in types if kind_of(name) == "other"} == {"Delay", "Threshold"}
    assert kind_of("NIRGraph") == "graph"
    assert kind_of("of tomorrow") == "other"
    assert {kind_of(name) for name in types} | {"missing"} == set(STYLES)


# ---------------------------------------------------------------------- nothing else decides

SCRIPT = """
import json, sys
from nirtorch_cli.drawing.graphs.picture import rendered
from nirtorch_cli.graph.inspection import inspect
from nirtorch_cli.reading.graphs import read
for file in sys.argv[1:]:
    for form in ("svg", "dot", "mermaid"):
        print(rendered(inspect(read(file)), form).text)
"""


def test_the_hash_seed_changes_nothing(tmp_path: Path) -> None:
    files = [DATA / "digits_conv.nir", DATA / "digits_recurrent.nir"]
    for name in ("nested", "several_ends"):
        nir.write(tmp_path / f"{name}.nir", NETWORKS[name]())
        files.append(tmp_path / f"{name}.nir")
    outputs = []
    for seed in ("0", "1", "2"):
        process = subprocess.run(
            [sys.executable, "-c", SCRIPT, *map(str, files)],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            check=True,
            timeout=120,
        )
        outputs.append(process.stdout)
    assert len(outputs[0]) > 5000
    assert outputs[0] == outputs[1] == outputs[2]


@pytest.mark.parametrize("name", ["recurrent", "nested", "several_ends"])
def test_the_order_in_the_file_changes_nothing(name: str) -> None:
    first = NETWORKS[name]()
    expected = [rendered(inspected(first), form) for form in PICTURES]  # type: ignore[arg-type]
    for seed in range(5):
        graph = NETWORKS[name]()
        choose = random.Random(seed)
        nodes = list(graph.nodes.items())
        choose.shuffle(nodes)
        choose.shuffle(graph.edges)
        graph.nodes = dict(nodes)
        assert [rendered(inspected(graph), form) for form in PICTURES] == expected  # type: ignore[arg-type]


def test_the_order_of_a_damaged_graphs_edges_changes_nothing() -> None:
    found = EXAMPLES["missing"]()
    turned = inspection([(row.node, row.type) for row in found.nodes], [])
    turned.edges.extend(reversed(found.edges))
    for form in PICTURES:
        assert rendered(turned, form) == rendered(found, form)  # type: ignore[arg-type]


# ---------------------------------------------------------------------- what it costs


def work_of(function: Callable[[], Any]) -> int:
    """How many lines of the package are executed, and calls made."""
    count = 0

    def count_line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return count_line

    def choose(frame: FrameType, event: str, argument: Any) -> Any:
        return count_line if frame.f_code.co_filename.startswith(PACKAGE) else None

    traced = sys.gettrace()
    sys.settrace(choose)
    try:
        function()
    finally:
        sys.settrace(traced)
    return count


def deep(count: int) -> Inspection:
    """Boxes beside each other, each with a chain inside."""
    nodes: Nodes = []
    edges: Edges = []
    for number in range(count // 20):
        nodes.append((f"g{number}", "NIRGraph"))
        nodes += [(f"g{number}/{place}", "LIF") for place in range(19)]
        edges += [(f"g{number}/{a}", f"g{number}/{b}", False) for a, b in pairwise(range(19))]
        edges += [(f"g{number}", f"g{number + 1}", False)] if number + 1 < count // 20 else []
    return inspection(nodes, edges)


@pytest.mark.parametrize("form", PICTURES)
@pytest.mark.parametrize("make", [chain, blocks, star, deep, reaching])
def test_twice_the_graph_is_twice_the_work(make: Callable[[int], Inspection], form: Any) -> None:
    small, large = make(400), make(800)
    rendered(small, form)
    ratio = work_of(lambda: rendered(large, form)) / work_of(lambda: rendered(small, form))
    assert 1.6 < ratio < 2.6
    assert len(rendered(large, form).text) < 2.5 * len(rendered(small, form).text)


# ---------------------------------------------------------------------- the command


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    nir.write("model.nir", NETWORKS["recurrent"]())
    return "model.nir"


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An edge to two nodes that are not there, so that no repair can guess which is meant."""
    monkeypatch.chdir(tmp_path)
    two = np.ones(2)
    nodes = {
        "input": nir.Input(two),
        "lif": nir.LIF(two, two, 0 * two, two),
        "other": nir.LIF(two, two, 0 * two, two),
        "output": nir.Output(two),
    }
    edges = [("input", "lif"), ("lif", "gone"), ("lost", "output"), ("lif", "lif")]
    nir.write("damaged.nir", nir.NIRGraph(nodes, edges, type_check=False))
    return "damaged.nir"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["inspect", *arguments])


BEGINNINGS = {"svg": "<?xml", "dot": "digraph", "mermaid": "flowchart", "json": "{", "text": "file"}


@pytest.mark.parametrize("form", BEGINNINGS)
def test_a_format_on_stdout_and_in_a_file_is_the_same(model: str, form: str) -> None:
    shown = invoke(model, "--format", form)
    assert shown.exit_code == 0, shown.stderr
    (told,) = shown.stderr.splitlines()
    assert "nothing in the file tells dt" in told
    assert shown.stdout.startswith(BEGINNINGS[form])
    written = invoke(model, "--format", form, "--output", "out")
    assert written.exit_code == 0
    assert written.stdout == ""
    same, note = written.stderr.splitlines()
    assert same == told
    assert note.startswith("note: wrote out: 8 nodes, 9 edges, 2 of them delayed")
    assert Path("out").read_bytes() == shown.stdout_bytes


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.svg", "svg"),
        ("a.SVG", "svg"),
        ("a.dot", "dot"),
        ("a.gv", "dot"),
        ("a.mmd", "mermaid"),
        ("a.b.mermaid", "mermaid"),
        ("a.json", "json"),
        ("a.txt", "text"),
    ],
)
def test_the_name_says_which_format(model: str, name: str, form: str) -> None:
    assert invoke(model, "-o", name, "-q").stderr == ""
    assert Path(name).read_text(encoding="utf8").startswith(BEGINNINGS[form])


def test_the_direction_and_the_columns_can_be_chosen(model: str) -> None:
    usual = invoke(model, "--format", "svg").stdout
    assert invoke(model, "--format", "svg", "--direction", "down").stdout == usual
    assert invoke(model, "--format", "svg", "--wrap", "auto").stdout == usual
    right = invoke(model, "--format", "svg", "--direction", "right").stdout
    assert size_of(usual)[0] < size_of(right)[0]
    assert size_of(usual)[1] > size_of(right)[1]
    assert "rankdir=LR" in invoke(model, "--format", "dot", "--direction", "right").stdout
    chart = invoke(model, "--format", "mermaid", "--direction", "right").stdout
    assert chart.startswith("flowchart LR")
    layers = [nir.Scale(np.ones(2)) for _ in range(20)]
    nir.write("long.nir", nir.NIRGraph.from_list(*layers))
    one, many = (
        size_of(invoke("long.nir", "--format", "svg", "--wrap", wrap).stdout)
        for wrap in ("never", "always")
    )
    assert one[1] > 3 * one[0]
    assert many[1] < one[1] / 2
    assert size_of(invoke("long.nir", "--format", "svg").stdout) == one


def test_an_explicit_format_wins_over_the_name(model: str) -> None:
    assert invoke(model, "-o", "a.svg", "--format", "dot").exit_code == 0
    assert Path("a.svg").read_text(encoding="utf8").startswith("digraph")


def test_json_is_format_json(model: str) -> None:
    documents = [invoke(model, *how).stdout for how in (["--json"], ["--format", "json"])]
    assert documents[0] == documents[1]
    assert json.loads(documents[0])["command"] == "inspect"
    assert invoke(model, "--json", "-o", "a.json").stdout == ""
    assert Path("a.json").read_text(encoding="utf8") == documents[0]
    assert invoke(model, "--json", "-o", "-").stdout == documents[0]
    assert invoke(model, "--format", "text").stdout == invoke(model).stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["-o", "a.gif"],
            "'a.gif': a model cannot be written as '.gif'; end it in .txt, .json, .svg, ",
        ),
        (["-o", "a"], "'a': the name has no suffix; end it in "),
        (["--json", "--format", "svg"], "--json and --format svg ask for two formats"),
        (["--json", "-o", "a.svg"], "--json and -o 'a.svg' ask for two formats; leave out --json"),
        (["--format", "gif"], "'gif' is not one of 'text', 'json', 'svg', 'dot', 'mermaid'"),
        (["--format", "svg", "-o", "model.nir"], "the output is the input"),
        (
            ["--direction", "right"],
            "--direction is not used here: text is not a picture; give --fo",
        ),
        (["--json", "--direction", "down"], "--direction is not used here: json is not a picture"),
        (
            ["--wrap", "never"],
            "--wrap is not used here: text is not cut into columns; give --forma",
        ),
        (["--format", "dot", "--wrap", "auto"], "dot is not cut into columns; give --format svg"),
        (["--format", "svg", "--wrap", "2"], "'2' is not one of 'auto', 'never', 'always'"),
        (["--format", "svg", "--direction", "up"], "'up' is not one of 'down', 'right'"),
        (["-o", "no/a.svg"], "there is no such folder"),
    ],
)
def test_requests_that_are_wrong(model: str, arguments: list[str], text: str) -> None:
    before = Path(model).read_bytes()
    answer = invoke(model, *arguments)
    assert answer.exit_code == ExitCode.USAGE
    assert text in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert {path.name for path in Path().iterdir()} == {model}
    assert Path(model).read_bytes() == before


def test_an_existing_file_is_replaced_unless_it_must_not_be(model: str) -> None:
    Path("a.svg").write_text("old")
    refused = invoke(model, "-o", "a.svg", "--no-clobber")
    assert refused.exit_code == ExitCode.USAGE
    assert "exists already" in refused.stderr
    assert Path("a.svg").read_text() == "old"
    assert invoke(model, "-o", "a.svg").exit_code == 0
    assert Path("a.svg").read_text().startswith("<?xml")


def test_a_damaged_graph_is_drawn_and_the_exit_code_is_1(damaged: str) -> None:
    text = invoke(damaged)
    for form in PICTURES:
        answer = invoke(damaged, "--format", form)
        assert answer.exit_code == ExitCode.UNSOUND
        assert answer.stderr == text.stderr
        assert "error: damaged.nir: 1 edge" in answer.stderr
        assert answer.stdout.count("not in the graph") >= 2
    picture = invoke(damaged, "--format", "svg").stdout
    missing = elements(picture, "g", "missing")
    assert sorted(title_of(node).splitlines()[0] for node in missing) == ["gone", "lost"]
    assert len(elements(picture, "path", "edge")) == 4
    written = invoke(damaged, "-o", "a.svg")
    assert written.exit_code == ExitCode.UNSOUND
    assert Path("a.svg").read_text() == picture


def test_a_model_without_errors_has_no_missing_nodes(model: str) -> None:
    assert "not in the graph" not in invoke(model, "--format", "svg").stdout


def test_stdin_to_stdout(nirtorch: Command) -> None:
    with (DATA / "digits_recurrent.nir").open("rb") as file:
        process = nirtorch("inspect", "-", "--format", "svg", stdin=file)
    assert process.returncode == 0
    assert len(elements(process.stdout, "path", "delayed")) == 1


def test_a_picture_is_utf_8_whatever_the_terminal_takes(tmp_path: Path, nirtorch: Command) -> None:
    two = np.ones(2)
    graph = nir.NIRGraph.from_list(nir.Linear(np.eye(2)), nir.LIF(two, two, 0 * two, two))
    graph.nodes["日本"] = graph.nodes.pop("lif")
    graph.edges = [tuple("日本" if end == "lif" else end for end in edge) for edge in graph.edges]
    nir.write(tmp_path / "model.nir", graph)
    process = nirtorch(
        "inspect",
        "model.nir",
        "--format",
        "mermaid",
        text=False,
        env={"PYTHONIOENCODING": "ascii", "PATH": ""},
    )
    assert "日本" in process.stdout.decode("utf8")  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", PICTURES)
def test_drawing_loads_no_torch(form: str) -> None:
    code = f"""
import sys
sys.argv = ["nirtorch", "inspect", "-q", {str(DATA / "digits_recurrent.nir")!r},
            "--format", {form!r}]
from nirtorch_cli.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print(sorted({{"torch", "networkx", "rich"}} & set(sys.modules)), file=sys.stderr)
"""
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert process.stderr.strip() == "[]"


def test_plain_inspect_does_not_load_the_drawing() -> None:
    code = f"""
import sys
from typer.testing import CliRunner
from nirtorch_cli.cli.app import app
CliRunner().invoke(app, ["inspect", {str(DATA / "digits.nir")!r}])
loaded = {{name.removeprefix("nirtorch_cli.") for name in sys.modules}}
print("graph.inspection" in loaded, "drawing.graphs.picture" in loaded)
"""
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert process.stdout.split() == ["True", "False"]


def test_a_picture_is_plain_data() -> None:
    assert rendered(RECURRENT, "svg") == Rendered(rendered(RECURRENT, "svg").content)
