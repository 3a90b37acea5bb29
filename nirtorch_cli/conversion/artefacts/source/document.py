"""A converted module as the text of one Python file, and the tensors that the file loads.

In: a converted module. Out: a `Document`. Always holds: the same module gives the same text; it
names no time, path or user. A name that a file gave stands in it as a name, a text or a comment,
never as code. Cost: linear in nodes, edges and weights.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nirtorch_cli.conversion.artefacts.provenance import provenance
from nirtorch_cli.conversion.artefacts.source import plain
from nirtorch_cli.conversion.artefacts.source.definitions import Definitions, NotPlainError
from nirtorch_cli.conversion.artefacts.source.forward import Forward
from nirtorch_cli.conversion.artefacts.source.layers import Layer, layer_of
from nirtorch_cli.conversion.artefacts.source.text import WIDTH, call, in_docstring
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.findings.errors import SaveError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import printable, quoted

CODE = "NIR521"
"""The code of what cannot be written as source."""

HINT = "save it as .pt, which stores any module"


@dataclass(frozen=True)
class Document:
    """A readable module: its text, and its tensors by name, as its state dict has them."""

    text: str
    tensors: dict[str, Tensor]


def document_of(module: ConvertedModule) -> Document:
    """The source of a converted module.

    Raises:
        SaveError: something of it cannot be written; names every such node, and says why.
    """
    writer = _Writer(module.meta.get("dt", 1.0))
    body = writer.graph(module, "Model", "", "")
    if writer.refused:
        raise SaveError(writer.refused)
    definitions = writer.found
    constants = 'State = dict[str, Any]\nWEIGHTS = Path(__file__).with_suffix(".safetensors")\n'
    classes = [*definitions.texts.values(), body]
    if any(re.search(r"\bDT\b", text) for text in classes):
        constants += f"DT = {module.meta['dt']!r}  # the length of a step\n"
    parts = [
        f'"""{_introduction(module)}\n"""\n\nfrom __future__ import annotations\n',
        definitions.import_lines(),
        constants,
        *("\n" + text for text in classes),
        "\n" + _LOAD,
    ]
    return Document("\n".join(parts), writer.tensors)


_LOAD = '''\
def load(weights: Path = WEIGHTS) -> Model:
    """The model with its weights, those of the file beside this one."""
    with torch.device("meta"):  # nothing is drawn or allocated that is replaced below
        model = Model()
    model.load_state_dict(load_file(weights), assign=True)
    return model
'''


@dataclass
class _Writer:
    """What is written so far, and what was refused."""

    dt: float
    found: Definitions = field(default_factory=Definitions)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    refused: list[Finding] = field(default_factory=list)
    owners: dict[int, str] = field(default_factory=dict)

    def graph(self, module: ConvertedModule, name: str, path: str, prefix: str) -> str:
        """The class of a graph, after the classes of its nodes.

        Arguments:
            path: of the NIR graph, for messages. prefix: of its tensors in the state dict.
        """
        nodes = module.meta.get("names", {})
        try:
            forward = Forward(module)
        except NotPlainError as error:
            self.refuse(path.rstrip("/") or None, module, str(error))
            return ""
        for function in sorted(forward.uses):
            self.found.take(getattr(plain, function))
        lines: list[str] = []
        written: dict[int, str] = {}
        for called in forward.called:
            child, node = getattr(module, called), nodes.get(called, called)
            kind = module.meta.get("types", {}).get(called, "")
            said = [] if kind == "NIRGraph" else [kind]
            said += [printable(node)] if node != called else []
            same = written.setdefault(id(child), called)
            if same == called:
                lines += self.child(child, called, path + node, prefix, said)
            else:
                lines.append(f"self.{called} = self.{same}{_comment(said)}")
                self.keep_twice(f"{prefix}{same}.", f"{prefix}{called}.")
        shapes = module.meta.get("shapes", {})
        return _graph_text(name, lines, forward, _ports(module, shapes), path.rstrip("/"))

    def child(
        self, child: torch.nn.Module, name: str, path: str, prefix: str, said: list[str]
    ) -> list[str]:
        """The lines that construct the module of a node."""
        if isinstance(child, ConvertedModule):
            text = self.graph(child, "{name}", f"{path}/", f"{prefix}{name}.")
            called = self.found.define(_class_name(path), text)
            return [f"self.{name} = {called}(){_comment(said)}"]
        try:
            layer = layer_of(child, self.found, self.dt)
            self.keep(layer, f"{prefix}{name}.", path)
        except NotPlainError as error:
            self.refuse(path, child, str(error))
            return []
        called, arguments = layer.construction
        comment = _comment(said[1:] if said and said[0] == called else said)
        line = call(f"self.{name} = {called}(", arguments)
        if "\n" in line or 8 + len(line) + len(comment) > WIDTH:
            lines = [comment.strip(), line] if comment else [line]
        else:
            lines = [line + comment]
        return [*lines, *(line.format(f"self.{name}") for line in layer.amendments)]

    def keep(self, layer: Layer, prefix: str, path: str) -> None:
        """Keep the tensors of a layer, none of whose parameters another has, too."""
        for name, held in layer.tensors.items():
            is_trained = isinstance(held, torch.nn.Parameter)
            owner = self.owners.setdefault(id(held), path) if is_trained else path
            if owner != path:
                raise NotPlainError(f"shares its {name} with the node {quoted(owner)}")
            self.tensors[prefix + name] = held

    def keep_twice(self, prefix: str, other: str) -> None:
        """Keep the tensors of a module that stands for two nodes under both names."""
        kept = [key for key in self.tensors if key.startswith(prefix)]
        self.tensors |= {other + key.removeprefix(prefix): self.tensors[key] for key in kept}

    def refuse(self, node: str | None, module: torch.nn.Module, why: str) -> None:
        text = f"cannot be written as plain source: {type(module).__name__} {why}"
        if isinstance(module, ConvertedModule):
            text = f"cannot be written as plain source: {why}"
        self.refused.append(Finding(CODE, "error", text, node, hint=HINT))


def _graph_text(name: str, lines: list[str], forward: Forward, ports: str, path: str) -> str:
    """The class of a graph."""
    of = f"nested graph {in_docstring(path)}" if path else "network"
    arguments = "".join(f"{argument}: Tensor, " for argument in forward.arguments)
    constructed = "".join(f"        {line}\n" for line in lines)
    body = "".join(f"        {line}\n" for line in forward.lines)
    return (
        f"class {name}(nn.Module):\n"
        f'    """One step of the {of}.\n\n    {ports}\n    """\n\n'
        f"    def __init__(self) -> None:\n        super().__init__()\n{constructed}\n"
        f"    def forward(self, {arguments}state: State | None = None) -> tuple[Any, State]:\n"
        f"{body}"
    )


def _ports(module: ConvertedModule, shapes: Any) -> str:
    """The shapes of inputs and outputs, for a docstring."""
    said = []
    for what, names in (
        ("In", module.meta.get("inputs", [])),
        ("Out", module.meta.get("outputs", [])),
    ):
        each = []
        for name in names:
            shape = shapes.get(name, (None, None))[1]
            sizes = (
                "(*batch, ...)" if shape is None else f"({', '.join(['*batch', *map(str, shape)])})"
            )
            each.append(f"{name} {sizes}")
        said.append(f"{what}: {', '.join(each)}.")
    return " ".join(said)


def _comment(said: list[str]) -> str:
    """A comment behind a construction: what a node is in NIR, where that does not say it."""
    return f"  # {' '.join(said)}" if any(said) else ""


def _class_name(path: str) -> str:
    """A class name for a nested graph."""
    words = re.findall(r"[A-Za-z0-9]+", path.rpartition("/")[2])
    name = "".join(word[:1].upper() + word[1:] for word in words)
    return name if name[:1].isalpha() else f"Graph{name}"


def _introduction(module: ConvertedModule) -> str:
    """What the file is, how it is used, and what made it."""
    return "\n".join(_introduced(module))


def _introduced(module: ConvertedModule) -> Iterator[str]:
    made = provenance(module)
    inputs = ", ".join(module.meta.get("inputs", []))
    yield f"{in_docstring(made['file'] or 'A network')} as plain PyTorch."
    yield ""
    yield "Written by nirtorch-cli, and yours to change; it needs torch and safetensors alone."
    yield "With this file as model.py, and its weights beside it as model.safetensors:"
    yield ""
    yield "    import model"
    yield "    network = model.load()"
    yield f"    output, state = network({inputs})           # one step, from rest"
    yield f"    output, state = network({inputs}, state)    # the next one"
    yield ""
    yield "Any batch axes stand in front of the shapes. A state is never changed."
    yield ""
    yield "What made it:"
    yield ""
    for key, value in made.items():
        if value is None or value == [] or key in ("file", "dt_is_guess", "dt_reason"):
            continue
        yield from _entry_of(key, value, made)


def _entry_of(key: str, value: Any, made: dict[str, Any]) -> Iterator[str]:
    if key == "dt":
        value = f"{value!r} ({made['dt_reason']}{', a guess' if made['dt_is_guess'] else ''})"
    if isinstance(value, dict):
        value = ", ".join(f"{name} {version}" for name, version in value.items())
    elif isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    yield from textwrap.wrap(
        in_docstring(str(value)),
        WIDTH,
        initial_indent=f"    {key.replace('_', ' '):16} ",
        subsequent_indent=" " * 21,
        break_on_hyphens=False,
    )
