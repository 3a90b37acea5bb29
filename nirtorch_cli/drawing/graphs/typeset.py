"""A scene as PNG or PDF: its SVG, set by typst.

In: a `Scene`, the direction of its edges and how it is to be cut into columns. Out: bytes. A PDF
has lines and text, not pixels. Always holds: with one version of typst and the same fonts the same
scene gives the same bytes; no file is read, and nothing of the scene is code. Only this file loads
typst, when such a picture is asked for. Cost: linear in the scene, and in the pixels of a PNG.
"""

from __future__ import annotations

import re
from typing import Literal

from nirtorch_cli.drawing.graphs.formats import Direction, Wrap
from nirtorch_cli.drawing.graphs.scene import Scene
from nirtorch_cli.drawing.graphs.svg import svg
from nirtorch_cli.findings.frameworks import missing_reported

_PAGE = b"""\
#set document(date: none)
#set page(width: auto, height: auto, margin: 0pt)
#image(bytes(sys.inputs.svg), format: "svg")
"""
"""The page, as large as the picture in it."""

_PER_INCH = 96.0
"""Pixels of SVG in an inch, by its definition."""

_SHARPNESS, _LONGEST = 2.0, 16_000.0
"""Pixels of a PNG for one of the SVG, and the most for a side, with which any viewer copes."""

_SIZE = re.compile(r'width="([\d.]+)" height="([\d.]+)"')


def png(scene: Scene, direction: Direction = "down", wrap: Wrap = "auto") -> bytes:
    """The scene as a PNG, two pixels for one of the SVG if that is not too long."""
    text = svg(scene, direction, wrap)
    found = _SIZE.search(text)
    assert found is not None
    sharpness = min(_SHARPNESS, _LONGEST / max(map(float, found.groups())))
    return _set(text, "png", ppi=sharpness * _PER_INCH)


def pdf(scene: Scene, direction: Direction = "down", wrap: Wrap = "auto") -> bytes:
    """The scene as a PDF of one page."""
    return _set(svg(scene, direction, wrap), "pdf")


def _set(text: str, form: Literal["png", "pdf"], ppi: float | None = None) -> bytes:
    require_typst()
    import typst

    made = typst.compile(_PAGE, format=form, sys_inputs={"svg": text}, ppi=ppi)
    assert isinstance(made, bytes)
    return made


def require_typst() -> None:
    """Check before any work is done that PNG and PDF can be written.

    Raises:
        MissingFrameworkError: typst is not installed, or does not work.
    """
    with missing_reported():
        import typst  # noqa: F401 (is it installed?)
