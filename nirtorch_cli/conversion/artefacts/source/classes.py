"""Classes of maps and packs, taken over into a readable module: what a step runs, as it stands.

In: a module whose class says its step in methods that need torch and its own attributes alone: a
`Neuron` with charge, fire and reset, or any `torch.nn.Module` with a forward. Out: its class, with
the methods that a step calls and without its `__init__`, which may need more; and how to construct
it, from the shapes of its tensors and the settings that the methods read.
Refused, by name: what needs another file than torch's, and what is more than its methods say.
"""

from __future__ import annotations

import ast
import sys
import textwrap
import types
from collections.abc import Iterator
from typing import Any

import torch

from nirtorch_cli.conversion.artefacts.source import plain
from nirtorch_cli.conversion.artefacts.source.definitions import (
    Definitions,
    NotPlainError,
    source_of,
)
from nirtorch_cli.conversion.artefacts.source.text import in_docstring, literal
from nirtorch_cli.findings.text import printable
from nirtorch_cli.primitives.modules.neuron import Neuron, SpikingNeuron

_OF_A_STEP = ("charge", "fire", "reset")
_GIVEN = frozenset((*_OF_A_STEP, "spike", "with_surrogate", "states"))
"""What the base class of neurons in readable modules has."""

_REPLACED = frozenset(
    ("forward", "step", "variables", "before", "spike", "with_surrogate", "__call__")
)
"""Methods of `Neuron` on which a step depends: a class with its own is no plain neuron."""

_UNUSUAL = frozenset(
    ("__call__", "__getattr__", "__getattribute__", "__setattr__", "__new__", "get_extra_state")
)


def taken_over(module: torch.nn.Module, found: Definitions) -> tuple[str, list[str]]:
    """Write the class of a module; returns what to call to construct it, and with which arguments.

    Raises:
        NotPlainError: it cannot be written, and why.
    """
    is_neuron = isinstance(module, Neuron)
    base: Any = plain.Neuron if is_neuron else plain.Layer
    ours = Neuron if is_neuron else torch.nn.Module
    classes = [one for one in type(module).__mro__ if one not in ours.__mro__]
    _require_usual(module, classes, ours)
    methods = _methods_of(module, classes, _OF_A_STEP if is_neuron else ("forward",))
    _require_there(module, classes, methods)
    name = found.take(base)
    files: set[str] = set()
    for kind in reversed(classes):
        text = _class_text(kind, name, methods[kind], module, found)
        if is_neuron and kind.__module__ not in files:
            text = _equations(kind) + text
        files.add(kind.__module__)
        name = found.define(kind.__name__, text)
    read = dict.fromkeys(name for name, _ in _attributes(methods) if name in vars(module))
    settings = {name: vars(module)[name] for name in read if name != "training"}
    return _construction(name, module, settings, found)


def _require_usual(module: torch.nn.Module, classes: list[type], ours: type) -> None:
    """Refuse a module that is more than its methods, parameters and buffers."""
    if isinstance(module, SpikingNeuron):
        raise NotPlainError("is built on NIR's own neurons, and not by charge, fire and reset")
    if any(child is not None for child in module._modules.values()):
        raise NotPlainError("holds other modules")
    for kind in classes:
        own = set(vars(kind)) & ((_REPLACED | _UNUSUAL) if ours is Neuron else _UNUSUAL)
        if own:
            raise NotPlainError(f"has a {sorted(own)[0]} of its own")


def _require_there(
    module: torch.nn.Module, classes: list[type], methods: dict[type, dict[str, str]]
) -> None:
    """Refuse methods that read what is not written of their module."""
    there = {name for of_class in methods.values() for name in of_class}
    there |= {*vars(module), *module._buffers, *module._parameters}
    there |= {
        n for kind in classes for n, value in vars(kind).items() if literal(value) is not None
    }
    there |= _GIVEN if isinstance(module, Neuron) else set()
    for name, is_needed in _attributes(methods):
        if is_needed and name not in there and hasattr(module, name):
            raise NotPlainError(f"uses self.{name}, which is not written")


def _methods_of(
    module: torch.nn.Module, classes: list[type], roots: tuple[str, ...]
) -> dict[type, dict[str, str]]:
    """By class, the sources of the methods that a step calls."""
    found: dict[type, dict[str, str]] = {kind: {} for kind in classes}
    waiting, done = list(roots), set()
    while waiting:
        name = waiting.pop(0)
        done.add(name)
        for kind in classes:
            if name not in vars(kind):
                continue
            member = vars(kind)[name]
            function = member.fget if isinstance(member, property) else member
            function = getattr(function, "__func__", function)
            if not isinstance(function, types.FunctionType):
                continue  # a plain value of the class
            found[kind][name] = source_of(function)
            waiting += [n for n, _ in _read_of_self(found[kind][name]) if n not in done]
            if f"super().{name}(" not in found[kind][name]:
                break
    return found


def _attributes(methods: dict[type, dict[str, str]]) -> Iterator[tuple[str, bool]]:
    """What the methods read of their module, and whether it must be there."""
    for of_class in methods.values():
        for source in of_class.values():
            yield from _read_of_self(source)


def _read_of_self(source: str) -> Iterator[tuple[str, bool]]:
    """The attributes of its module that a method reads, and whether they must be there.

    Raises:
        NotPlainError: it changes the module, or hands it on as a whole.
    """
    tree = ast.parse(source)
    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef)
    if not function.args.args or any(_is(one, "staticmethod") for one in function.decorator_list):
        return
    me, seen = function.args.args[0].arg, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is(node.value, me):
            if not isinstance(node.ctx, ast.Load):
                raise NotPlainError(f"its {function.name} changes self.{node.attr}")
            seen.add(node.value)
            yield node.attr, True
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("hasattr", "getattr"):
            first, second, *_ = node.args
            if _is(first, me) and isinstance(second, ast.Constant):
                seen.add(first)
                yield str(second.value), False
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "super()":
            yield node.attr, False
    if any(_is(node, me) and node not in seen for node in ast.walk(tree)):
        raise NotPlainError(f"its {function.name} hands on the module as a whole")


def _is(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _equations(kind: type) -> str:
    """What the file of a class says at its top, as a comment."""
    said = (sys.modules[kind.__module__].__doc__ or "").strip()
    return "".join(f"# {printable(line)}".rstrip() + "\n" for line in said.splitlines())


def _class_text(
    kind: type,
    base: str,
    methods: dict[str, str],
    module: torch.nn.Module,
    found: Definitions,
) -> str:
    """A class with a docstring, its values and the methods that a step calls."""
    named = vars(sys.modules[kind.__module__])
    body: list[str] = []
    values: list[str] = []
    said = (kind.__doc__ or "").strip()
    if "__doc__" in vars(kind) and said:
        lines = [in_docstring(line) for line in textwrap.dedent(f"    {said}").splitlines()]
        lines[0] = lines[0].strip()
        end = '"""' if len(lines) == 1 else '\n"""'
        body.append('"""' + "\n".join(line.rstrip() for line in lines) + end)
    for name, value in vars(kind).items():
        written = None if name.startswith("__") or name == "is_whole" else literal(value)
        if written is not None:
            values.append(f"{name} = {written}")
    for name in vars(kind).get("__annotations__", {}):
        if name in module._buffers or name in module._parameters:
            values.append(f"{name}: Tensor")
    body += ["\n".join(values)] if values else []
    for source in methods.values():
        found.require(source, named)
        body.append(source.rstrip())
    text = textwrap.indent("\n\n".join(body) or "pass", "    ")
    return f"class {{name}}({base}):\n{text}\n"


def _construction(
    name: str,
    module: torch.nn.Module,
    settings: dict[str, Any],
    found: Definitions,
) -> tuple[str, list[str]]:
    """The class that constructs a module that was taken over, and the arguments for that."""
    arguments = []
    for what, held in (("buffers", module._buffers), ("parameters", module._parameters)):
        shapes = {n: tuple(value.shape) for n, value in held.items() if value is not None}
        settings |= {n: None for n, value in held.items() if value is None}
        if shapes:
            arguments.append(f"{what}={literal(shapes)}")
    if isinstance(module, Neuron):
        settings["surrogate"] = module.derivative
        settings |= {"states": vars(module)["states"]} if "states" in vars(module) else {}
    for setting, value in settings.items():
        written = literal(value)
        if written is None and isinstance(value, types.FunctionType):
            written = found.take(value)
        if written is None:
            raise NotPlainError(f"its {setting} is a {type(value).__name__}")
        arguments.append(f"{setting}={written}")
    return name, arguments
