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

from nirtorch_cli.findings.rules import load_repairs, load_rules

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
        (r'time="[\d.]+"', 'time="TIME"'),
        (r"[\d,]+ steps/s", "SPEED"),
        (r"part at step [\d,]+: .*", "part"),
        (r"(parts at .*\n)(?:.+\n)+", r"\1"),
        (r"first at step [\d,]+ in '\w+'", "first"),
    ):
        text = re.sub(pattern, name, text)
    return text


def repairs_table() -> str:
    """The repairs, with the condition under which each is made."""
    rows = ["| repair | what it does | when |", "| --- | --- | --- |"]
    for repair in load_repairs().values():
        rows.append(
            f"| `{repair.name}` | {_clause(repair.summary)} | {_clause(repair.condition)} |"
        )
    return "\n".join(rows) + "\n"


def rules_table() -> str:
    """The rules about models, in the order of their codes."""
    rows = ["| code | name | severity | |", "| --- | --- | --- | --- |"]
    for rule in load_rules().values():
        summary = _clause(rule.summary)
        rows.append(f"| {rule.code} | {rule.name} | {rule.severity} | {summary} |")
    return "\n".join(rows) + "\n"


def picture() -> str:
    """What `inspect --format mermaid` draws of the recurrent model."""
    from nirtorch_cli.drawing.graphs.picture import draw
    from nirtorch_cli.graph.inspection import inspect_file
    from nirtorch_cli.reading.graphs import read

    text = draw(inspect_file(read(DATA / "digits_recurrent.nir")), "mermaid").text
    return f"```mermaid\n{text}```\n"


TABLES = {"picture": picture, "repairs": repairs_table, "rules": rules_table}


def with_tables(page: str) -> str:
    """The page with what is generated in it as it should be."""
    for name, make in TABLES.items():
        start, end = f"<!-- {name} -->\n", "<!-- end -->"
        before, _, rest = page.partition(start)
        assert rest, f"the page has no {start}"
        page = before + start + "\n" + make() + "\n" + end + rest.partition(end)[2]
    return page


def _clause(sentence: str) -> str:
    """A sentence for a table: it begins small and ends without its dot."""
    first = sentence.split()[0]
    is_name = not first[1:].islower() and len(first) > 1
    start = sentence[0] if is_name else sentence[0].lower()
    return (start + sentence[1:]).rstrip(".")


def run_block(block: Block, folder: Path) -> str:
    """The block as it should stand: each command with what it prints now."""
    return "".join(f"$ {command}\n{printed(command, folder)}" for command in commands(block))
