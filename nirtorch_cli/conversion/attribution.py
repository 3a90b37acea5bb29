"""Finds the node of a converted module that raised, and the map that its module is from.

In: a converted module, and the error from running, moving or copying it. Out: a finding that names
both, in one line. Cost: that of the traceback; none without an error.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.findings.errors import ContractError, NirtorchError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.tracebacks import is_interrupt, lacks_memory, message


class Leaf(NamedTuple):
    """The module of a node that is not a converted graph.

    path: the node's NIR path. name: the module's class and the entry of a user's map that made
    it, in words; the class alone for reference modules. is_mapped: whether a user's map made it.
    """

    path: str
    module: torch.nn.Module
    name: str
    is_mapped: bool
    owner: ConvertedModule
    key: str


def leaves(module: ConvertedModule, prefix: str = "") -> Iterator[Leaf]:
    """The modules of all nodes in the order of a step; a shared one for each of its nodes."""
    origins = module.meta.get("origins", {})
    for key, name in module.meta["names"].items():
        child = module._modules.get(key)
        if isinstance(child, ConvertedModule) and key not in origins:
            yield from leaves(child, f"{prefix}{name}/")
        elif child is not None:
            words = origins.get(key, type(child).__name__)
            yield Leaf(prefix + name, child, words, key in origins, module, key)


@contextlib.contextmanager
def user_errors(
    module: ConvertedModule,
    when: str = "when it was run",
    code: str = "NIR610",
    kind: type[NirtorchError] = NirtorchError,
) -> Iterator[None]:
    """Raise a NirtorchError that names file, node and map in place of what a module raises.

    Ctrl-C, errors that are findings already, and a lack of memory pass unchanged.
    """
    file = module.meta.get("file")
    try:
        yield
    except ContractError as error:
        raise error.of(file) from error.__cause__
    except (NirtorchError, MemoryError):
        raise
    except BaseException as error:  # a user's module may raise any error
        if is_interrupt(error) or lacks_memory(error):
            raise
        raise kind(failure(module, error, when, code).of(file)) from error


def failure(
    module: ConvertedModule,
    error: BaseException,
    when: str = "when it was run",
    code: str = "NIR610",
) -> Finding:
    """The finding for what a module raised."""
    leaf = raising_leaf(module, error)
    who = "the module" if leaf is None else f"its module {leaf.name}"
    path = None if leaf is None else leaf.path
    text = f"{who} raised {type(error).__name__} {when}"
    if said := message(error):
        text = f"{text}: {said}"
    return Finding(code, "error", text, path)


def raising_leaf(module: ConvertedModule, error: BaseException) -> Leaf | None:
    """The node in whose module an exception was raised; None if in none."""
    found = None
    by_identity = {id(leaf.module): leaf for leaf in reversed([*leaves(module)])}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        owner: Any = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
        found = by_identity.get(id(owner), found)
    return found
