"""`nirtorch_cli.draw`, what notebooks show of it and of a module, and PNG and PDF."""

from __future__ import annotations

import base64
import copy
import io
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from conftest import DATA
from equations import graph_of
from networks import NETWORKS, lif, module_of
from typer.testing import CliRunner, Result

import nirtorch_cli
from nirtorch_cli import draw
from nirtorch_cli.cli.app import app

DIGITS, RECURRENT = DATA / "digits.nir", DATA / "digits_recurrent.nir"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


SOURCES: dict[str, Callable[[Path], Any]] = {
    "a path": lambda path: path,
    "a name": str,
    "a stream": lambda path: io.BytesIO(path.read_bytes()),
    "bytes": lambda path: path.read_bytes(),
    "a file that was read": nirtorch_cli.read,
    "an inspection": nirtorch_cli.inspect,
    "a graph": lambda path: nirtorch_cli.read(path).graph,
    "a module": lambda path: module_of(path, {}),
    "a module of a pack": lambda path: module_of(path, nirtorch_cli.default_map(dt=1e-4)),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("path", [DIGITS, RECURRENT], ids=["digits", "recurrent"])
def test_every_source_is_drawn_as_inspect_draws_it(source: str, path: Path) -> None:
    expected = invoke(path, "--format", "svg").stdout
    names = {"a graph": "a graph", "bytes": "&lt;bytes&gt;", "a stream": "&lt;stream&gt;"}
    shown = draw(SOURCES[source](path)).svg
    assert shown.replace(names.get(source, path.name), path.name) == expected


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "convolutional"])
def test_every_network_is_drawn_of_its_module(name: str) -> None:
    """But for one that is repaired for its conversion, and whose picture then has no marks."""
    graph = NETWORKS[name]()
    module = module_of(graph, {}, nirtorch_cli.default_map(dt=1e-4))
    assert draw(module).svg == draw(graph, dt=1e-4).svg


def test_a_module_is_drawn_as_it_is_now() -> None:
    module = module_of(DIGITS, {})
    before = draw(module).svg
    with torch.no_grad():
        module.affine_hidden.weight.fill_(3.0)
    assert "weight 48x64 of 3" in draw(module).svg
    assert "weight 48x64 of 3" not in before
    assert draw(copy.deepcopy(module)).svg == draw(module).svg
    nirtorch_cli.save(module, "a.pt")
    assert draw(nirtorch_cli.load("a.pt")).svg == draw(module).svg


def test_a_module_that_keeps_something_else_is_drawn_too() -> None:
    """A decay that was trained is no NIR parameter: it cannot be written, and can be drawn."""
    assert CliRunner().invoke(
        app, ["convert", str(DIGITS), "--map", "snntorch", "-o", "a.pt", "-q"]
    ).exit_code == 0  # fmt: skip
    module = nirtorch_cli.load("a.pt")
    before = draw(module).svg
    with torch.no_grad():
        for name, buffer in module.hidden.named_buffers():
            buffer.mul_(1.0 if name in ("v_threshold", "v_reset") else 0.5)
    with pytest.raises(nirtorch_cli.SaveError):
        nirtorch_cli.to_nir(module)
    assert draw(module).svg == before


def test_what_keeps_no_graph() -> None:
    module = module_of(NETWORKS["nested"](), {}, nirtorch_cli.default_map(dt=1e-4))
    (inner,) = [m for m in module.children() if isinstance(m, type(module).__mro__[1])]
    for other in (torch.nn.Linear(2, 2), inner):
        with pytest.raises(nirtorch_cli.ConversionError, match="does not keep the NIR graph"):
            draw(other)
    assert inner._repr_svg_() is None
    assert inner._repr_html_() is None
    del module.meta["graph"]
    assert module._repr_svg_() is None


def test_what_a_notebook_shows() -> None:
    module, picture = module_of(RECURRENT, {}), draw(RECURRENT)
    assert module._repr_svg_() == picture._repr_svg_() == picture.svg
    html = picture._repr_html_()
    assert html == module._repr_html_()
    start, _, data = html.partition("base64,")
    assert start.startswith("<img alt=")
    assert base64.b64decode(data.split('"')[0]).decode() == picture.svg


def test_a_module_with_names_of_what_a_notebook_asks_for() -> None:
    for name in ("_repr_svg_", "_repr_html_", "_nir_graph_", "_shown"):
        graph = graph_of(**{name: lif(5)})
        module = module_of(graph, {}, nirtorch_cli.default_map(dt=1e-4))
        assert f">{name}<" in module._repr_svg_()


def test_a_large_module_is_not_shown_unasked() -> None:
    graph = graph_of(*(), **{f"n{i}": nir.Scale(np.ones(5)) for i in range(3000)})
    module = module_of(graph, {}, nirtorch_cli.default_map(dt=1e-4))
    assert module._repr_html_() is None
    assert draw(module).svg.count('class="node') == 3002


# ----------------------------------------------------------------------------- PNG and PDF


def test_a_file_is_what_its_name_ends_in() -> None:
    picture = draw(RECURRENT, direction="right", wrap="never")
    for name in ("a.svg", "a.png", "a.pdf", "a.dot", "a.mmd"):
        picture.save(name)
        arguments = (RECURRENT, "--direction", "right", "-o", f"c{name}", "-q")
        wrap = () if name in ("a.dot", "a.mmd") else ("--wrap", "never")
        assert invoke(*arguments, *wrap).exit_code == 0
        assert Path(name).read_bytes() == Path(f"c{name}").read_bytes()
    assert Path("a.svg").read_text() == picture.svg
    content = Path("a.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    with pytest.raises(nirtorch_cli.UsageError, match=r"end it in \.svg, \.dot, \.gv, \.mmd"):
        picture.save("a.gif")
    with pytest.raises(nirtorch_cli.OutputError, match="exists already"):
        picture.save("a.png", clobber=False)


def test_a_png_is_twice_the_svg() -> None:
    svg = draw(RECURRENT).svg
    draw(RECURRENT).save("a.png")
    width, height = size_of(Path("a.png").read_bytes())
    wanted = [float(svg.split(f'{side}="')[1].split('"')[0]) for side in ("width", "height")]
    assert (width, height) == pytest.approx([2 * n for n in wanted], abs=1)


def test_a_png_is_not_longer_than_viewers_take() -> None:
    graph = graph_of(*(), **{f"n{i}": nir.Scale(np.ones(5)) for i in range(400)})
    draw(graph, wrap="never").save("a.png")
    assert max(size_of(Path("a.png").read_bytes())) == pytest.approx(16_000, abs=2)


@pytest.mark.parametrize("form", ["png", "pdf"])
def test_on_stdout(form: str) -> None:
    answer = invoke(RECURRENT, "--format", form)
    draw(RECURRENT).save(f"a.{form}")
    assert answer.stdout_bytes == Path(f"a.{form}").read_bytes()


@pytest.mark.parametrize("form", ["png", "pdf"])
def test_names_are_no_code(form: str) -> None:
    names = ['#panic("x")', '")#read("/etc/passwd")', "<&>'\"", "]]>", "\\", "größer", "神経"]
    draw(graph_of(*(), **{name: nir.Scale(np.ones(5)) for name in names})).save(f"a.{form}")
    assert Path(f"a.{form}").stat().st_size > 5000


@pytest.mark.parametrize("form", ["png", "pdf"])
def test_without_typst(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "typst", None)
    answer = invoke(RECURRENT, "-o", f"a.{form}")
    assert answer.exit_code == 4
    assert "typst is not installed; pip install 'nirtorch-cli[draw]'" in answer.stderr
    assert not Path(f"a.{form}").exists()
    with pytest.raises(nirtorch_cli.MissingFrameworkError):
        draw(RECURRENT).save(f"a.{form}")
    assert invoke(RECURRENT, "-o", "a.svg").exit_code == 0


def test_a_conversion_loads_no_drawing() -> None:
    code = f"""
import sys, warnings
warnings.simplefilter("ignore")
import nirtorch_cli
module = nirtorch_cli.nir_to_torch({str(DIGITS)!r}, {{}}, on_error="warn")
print([name for name in sys.modules if name.startswith("nirtorch_cli.drawing")])
assert module._repr_svg_()
print("typst" in sys.modules)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout.splitlines() == ["[]", "False"], process.stderr
