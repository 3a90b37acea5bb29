"""The README's blocks: which there are, and what their commands print.

Blocks of the kind `console` hold commands after `$ ` and what they print, stdout and stderr
together; a `python` block that begins with a file's name in a comment is that file; other
`python` blocks are doctests. Used by the tests, which compare, and by
scripts/rewrite_golden, which rewrites.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from conftest import DATA, ROOT

README = ROOT / "README.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its kind, its text, and where the text stands in the page."""

    kind: str
    text: str
    start: int
    end: int


def blocks(page: str) -> list[Block]:
    return [Block(m[1], m[2], m.start(2), m.end(2)) for m in _BLOCK.finditer(page)]


def commands(block: Block) -> list[str]:
    return [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]


def prepare(folder: Path, page: str) -> None:
    """Fill a folder with what the README's commands work on."""
    shutil.copytree(DATA, folder / "tests" / "data")
    for block in blocks(page):
        name = re.match(r"# (\w+\.py)\n", block.text) if block.kind == "python" else None
        if name is not None:
            (folder / name[1]).write_text(block.text)


def printed(command: str, folder: Path) -> str:
    """What a command prints, stdout and stderr together."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "COLUMNS": "80", "NO_COLOR": "1"}
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
    )
    text = done.stdout.decode()
    return text.rstrip() + "\n" if text.strip() else ""


def normalised(text: str) -> str:
    """Text without what depends on the processor: times, and what rounding decides."""
    for pattern, name in (
        (r"[\d,]+ µs a step", "TIME a step"),
        (r"mean [\d.e-]+", "mean MEAN"),
        (r" +[\d,]+ +[\d.]+% +[\d,]+ Hz", " SPIKES"),
    ):
        text = re.sub(pattern, name, text)
    return text


def run_block(block: Block, folder: Path) -> str:
    """The block as it should stand: each command with what it prints now."""
    return "".join(f"$ {command}\n{printed(command, folder)}" for command in commands(block))
