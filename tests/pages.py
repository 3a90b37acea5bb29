"""The project's pages: their blocks, what their commands print, where their links lead.

A `console` block holds commands after `$ ` and what they print, stdout and stderr together; a
`python` block that begins with a file's name in a comment is that file; other `python` blocks are
doctests. Each page works in a folder of its own, with the project's tests/data and the files of the
page in it. Used by the tests, which compare, and by scripts/rewrite_golden, which rewrites.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conftest import DATA, ROOT

from nirtorch_cli.findings.rules import load_repairs, load_rules

PAGES = tuple(
    sorted(
        page.relative_to(ROOT).as_posix()
        for folder in (".", ".github", "nirtorch_cli", "mappings", "scripts")
        for page in (ROOT / folder).glob("*.md" if folder == "." else "**/*.md")
    )
)
"""Every page of the project, from its root."""

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# (\w+\.py)\n")
_LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf8")


@dataclass(frozen=True)
class Block:
    """A fenced block: its kind, its text, and where the text stands in the page."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def file(self) -> str | None:
        """The name of the file that the block is, if it is one."""
        name = _FILE.match(self.text) if self.kind == "python" else None
        return None if name is None else name[1]


def blocks(text: str, kind: str | None = None) -> list[Block]:
    found = [Block(m[1], m[2], m.start(2), m.end(2)) for m in _BLOCK.finditer(text)]
    return [block for block in found if kind in (None, block.kind)]


def commands(block: Block) -> list[str]:
    return [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]


def doctests(text: str) -> str:
    """The Python of a page that is typed at a prompt."""
    return "\n".join(block.text for block in blocks(text, "python") if ">>>" in block.text)


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return _BLOCK.sub("", text)


def links(text: str) -> list[str]:
    """Where the links of a page lead that do not leave the project."""
    found = _LINK.findall(_CODE.sub("", prose(text)))
    return [target for target in found if not re.match(r"\w+:", target)]


def code_spans(text: str) -> Iterator[str]:
    return (found[1] for found in _CODE.finditer(prose(text)))


def anchors(text: str) -> set[str]:
    """What can be linked to in a page, as GitHub names its headings."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in _HEADING.findall(prose(text)):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def prepare(folder: Path, text: str) -> None:
    """Fill a folder with what the commands of a page work on."""
    shutil.copytree(DATA, folder / "tests" / "data")
    exported = Path("tests", "frameworks", "exported")
    shutil.copytree(ROOT / exported, folder / exported)
    for block in blocks(text):
        if block.file is not None:
            (folder / block.file).write_text(block.text, encoding="utf8")


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


def run_block(block: Block, folder: Path) -> str:
    """The block as it should stand: each command with what it prints now."""
    return "".join(f"$ {command}\n{printed(command, folder)}" for command in commands(block))


def normalised(text: str) -> str:
    """Text without what depends on the processor: times, and what rounding decides."""
    for pattern, name in (
        (r"[\d,]+ µs (a|per) step", "TIME"),
        (r"mean [\d.e-]+", "mean MEAN"),
        (r" +[\d,]+ +[\d.]+% +[\d,.]+ Hz( +\d+)*", " SPIKES"),
        (r"[\d,]+ spikes, [\d,.]+ Hz", "SPIKES"),
        (r"(?m)^ *\d* [┤│].*$", "RASTER"),
        (r'time="[\d.]+"', 'time="TIME"'),
        (r"[\d,]+ steps/s", "SPEED"),
        (r"(part|diverge) at step [\d,]+: .*", "part"),
        (r"((?:parts|diverges) at .*\n)(?:.+\n)+", r"\1"),
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
        details = "".join(f"-{repair}" for repair in rule.repairs)
        section = f"rules.md#{rule.code.lower()}-{rule.name}-{rule.severity}{details}"
        summary = _clause(rule.summary)
        rows.append(f"| [{rule.code}]({section}) | {rule.name} | {rule.severity} | {summary} |")
    return "\n".join(rows) + "\n"


def picture() -> str:
    """What `inspect --format mermaid` draws of the recurrent model."""
    from nirtorch_cli.drawing.graphs.picture import rendered
    from nirtorch_cli.graph.inspection import inspect
    from nirtorch_cli.reading.graphs import read

    text = rendered(inspect(read(DATA / "digits_recurrent.nir")), "mermaid").text
    return f"```mermaid\n{text}```\n"


TABLES = {"picture": picture, "repairs": repairs_table, "rules": rules_table}
"""What is generated: it stands between `<!-- NAME -->` and `<!-- end -->`, once in all pages."""


def tables_in(text: str) -> list[str]:
    """The names of what is generated in a page."""
    return [name for name in TABLES if f"<!-- {name} -->\n" in text]


def with_tables(text: str) -> str:
    """The page with what is generated in it as it should be."""
    for name in tables_in(text):
        start, end = f"<!-- {name} -->\n", "<!-- end -->"
        before, _, rest = text.partition(start)
        text = before + start + "\n" + TABLES[name]() + "\n" + end + rest.partition(end)[2]
    return text


def _clause(sentence: str) -> str:
    """A sentence for a table: it begins small and ends without its dot."""
    first = sentence.split()[0]
    is_name = not first[1:].islower() and len(first) > 1
    start = sentence[0] if is_name else sentence[0].lower()
    return (start + sentence[1:]).rstrip(".")
