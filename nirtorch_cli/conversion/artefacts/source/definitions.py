"""Functions and classes of other files, taken over into a readable module with all that they name.

In: a function or a class. Out: its source as it stands, and that of every function, number and
class of its file that it names, each once; or a `NotPlainError` that says what cannot be written.
What is torch's, Python's or `math`'s is imported. Cost: linear in the source taken over.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import math
import re
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch

from nirtorch_cli.conversion.artefacts.source import plain
from nirtorch_cli.conversion.artefacts.source.text import literal
from nirtorch_cli.findings.text import quoted
from nirtorch_cli.primitives.modules import surrogate

_SAID_BY_US = {
    surrogate.with_surrogate: plain.with_surrogate,
}
"""Functions of this program that need more of it, and what is written in their place."""

_ALWAYS = {
    "pathlib": ("Path",),
    "typing": ("Any",),
    "safetensors.torch": ("load_file",),
    "torch": ("Tensor", "nn"),
}
"""What every readable module imports, beside torch."""

_TAKEN = frozenset((*(name for names in _ALWAYS.values() for name in names), "State", "torch"))
"""Names that mean the same in every readable module."""

_MEANT = (Any, torch, torch.nn, torch.Tensor, plain.State)

_ANNOTATIONS = frozenset(("Any", "Callable", "State", "Tensor", "torch", "nn", *dir(builtins)))
"""Names in the types of arguments that are kept."""

_TOLD = re.compile(r"  # (type: ignore|noqa).*")


class NotPlainError(ValueError):
    """Something cannot be written as source that needs torch alone."""


class Definitions:
    """The imports, functions and classes of a readable module, in the order in which they are
    needed.

    >>> found = Definitions()
    >>> found.take(surrogate.atan)
    'atan'
    >>> list(found.texts), sorted(found.modules)
    (['atan'], ['import math', 'import torch'])
    """

    def __init__(self) -> None:
        self.modules = {"import torch"}
        self.imports = {library: list(names) for library, names in _ALWAYS.items()}
        self.texts: dict[str, str] = {}
        self.taken: dict[str, Any] = {"load": None, "Model": None, "DT": None, "WEIGHTS": None}

    def take(self, found: Any) -> str:
        """Write a function or a class of a file, and what it names; returns its name.

        Raises:
            NotPlainError: it cannot be written.
        """
        found = _SAID_BY_US.get(found, found)
        name: str = found.__name__
        if self._is_new(name, found):
            source = source_of(found)
            self.require(source, vars(sys.modules[found.__module__]))
            self.texts[name] = source  # behind all that it names
        return name

    def define(self, wanted: str, text: str) -> str:
        """Write a class whose text has `class {name}(`; the same text is written once.

        Returns its name, `wanted` or, where that means something else, one beside it.
        """
        name, number = wanted, 1
        while (name in self.taken and self.taken[name] != text) or name in _TAKEN:
            number += 1
            name = f"{wanted}{number}"
        self.taken[name] = text
        self.texts.setdefault(name, text.replace("class {name}(", f"class {name}(", 1))
        return name

    def require(self, source: str, named: dict[str, Any]) -> None:
        """Write or import what source names, of the names of its file.

        Raises:
            NotPlainError: something of it cannot be written.
        """
        for name in free_names(source):
            if name in named:
                self._name(name, named[name])
            elif not hasattr(builtins, name):
                raise NotPlainError(f"names {quoted(name)}, which is not there")

    def _name(self, name: str, value: Any) -> None:
        """Make a name mean what it means in another file."""
        if name in _TAKEN and any(value is one for one in _MEANT):
            return
        if isinstance(value, types.ModuleType):
            if value is not math and value.__name__.partition(".")[0] != "torch":
                raise NotPlainError(f"uses {value.__name__}")
            if self._is_new(name, value):
                own_name = name == value.__name__
                self.modules.add(f"import {value.__name__}" + ("" if own_name else f" as {name}"))
            return
        library = _library_of(name, value)
        if library is not None:
            if self._is_new(name, value):
                self.imports.setdefault(library, []).append(name)
            return
        is_ours = getattr(value, "__module__", "").startswith("nirtorch_cli.")
        if isinstance(value, types.FunctionType) or (isinstance(value, type) and is_ours):
            if self.take(value) != name:
                raise NotPlainError(f"calls {value.__name__} by another name, {name}")
            return
        written = literal(value)
        if written is None:
            raise NotPlainError(f"names {quoted(name)}, a {type(value).__name__}")
        text = f"{name} = {written}\n"
        if self.texts.get(name) != text and self._is_new(name, text):
            self.texts[name] = text

    def import_lines(self) -> str:
        """The imports, sorted: Python's own, then those of torch and safetensors."""
        lines = [*sorted(self.modules)]
        lines += [f"from {library} import {', '.join(sorted(names))}"
                  for library, names in sorted(self.imports.items())]  # fmt: skip
        others = [line for line in lines if line.split()[1].startswith(("torch", "safetensors"))]
        own = [line for line in lines if line not in others]
        return "\n".join([*own, "", *others]) + "\n"

    def _is_new(self, name: str, value: Any) -> bool:
        """Whether a name is not written yet.

        Raises:
            NotPlainError: it is, and means something else.
        """
        if name in self.taken and self.taken[name] is value:
            return False
        if name in self.taken or name in _TAKEN:
            raise NotPlainError(f"names {quoted(name)}, which means something else in the module")
        self.taken[name] = value
        return True


def source_of(found: Any) -> str:
    """The source of a function or class, not indented.

    Raises:
        NotPlainError: there is none, or it is not all of it.
    """
    if isinstance(found, types.FunctionType):
        if found.__closure__ and set(found.__code__.co_freevars) != {"__class__"}:
            raise NotPlainError(f"{found.__name__} needs variables of another function")
        if found.__name__ == "<lambda>":
            raise NotPlainError("has a lambda, which has no source of its own")
    try:
        source = textwrap.dedent(inspect.getsource(found))
        tree = ast.parse(source)
    except (OSError, TypeError, SyntaxError) as error:
        raise NotPlainError(f"the source of {found.__name__} is not to be had") from error
    decorators = getattr(tree.body[0], "decorator_list", [])
    if any(ast.unparse(one) not in ("property", "staticmethod") for one in decorators):
        raise NotPlainError(f"{found.__name__} has a decorator")
    types_named = {name for node in ast.walk(tree) for one in _annotations(node)
                   for name in _names_in(one)}  # fmt: skip
    return without_annotations(source) if types_named - _ANNOTATIONS else _TOLD.sub("", source)


def _annotations(node: ast.AST) -> Iterator[ast.AST]:
    """The types that a node of a syntax tree has."""
    for found in (getattr(node, "annotation", None), getattr(node, "returns", None)):
        if found is not None:
            yield found


def _names_in(tree: ast.AST) -> Iterator[str]:
    yield from (node.id for node in ast.walk(tree) if isinstance(node, ast.Name))


def free_names(source: str) -> Iterator[str]:
    """The names that source takes from around it, in order; names that it stores are its own."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    methods = {id(node) for one in ast.walk(tree) if isinstance(one, ast.ClassDef)
               for node in one.body}  # fmt: skip
    own = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    own |= {node.name for node in functions if id(node) not in methods}
    own |= {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    own |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
    yield from dict.fromkeys(node.id for node in names if node.id not in own)


def without_annotations(source: str) -> str:
    """A function without the types of its arguments, which may name what is not written."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
    return ast.unparse(tree) + "\n"


def _library_of(name: str, value: Any) -> str | None:
    """The library that has a value under a name."""
    if value is Callable:
        return "collections.abc"
    libraries = (torch, torch.nn, torch.nn.functional, math)
    return next((one.__name__ for one in libraries if getattr(one, name, None) is value), None)
