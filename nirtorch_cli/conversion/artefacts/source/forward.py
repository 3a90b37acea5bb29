"""An fx graph as the lines of a `forward` that a person would write.

In: a converted module, as it is, edits included. Out: its `forward`, one line for each node of the
network: what is used once stands where it is used, the sum of edges and a node's part of the state
among it. Refused is an fx graph with calls that no conversion makes. Cost: linear.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch

from nirtorch_cli.conversion import state
from nirtorch_cli.conversion.artefacts.source.definitions import NotPlainError
from nirtorch_cli.conversion.artefacts.source.text import WIDTH, call, listing, literal, string
from nirtorch_cli.conversion.graph_module import ConvertedModule

ENTRY, REQUIRE = "_entry", "_require_shape"
"""The functions of `plain` that a forward calls: no Input is called so, whatever a file says."""

_LONGEST = 60
"""How long an expression may be that stands where it is used."""


class Forward:
    """The `forward` of a graph.

    arguments: the names of its inputs. lines: its body. called: the modules that it calls, by name,
    in order. uses: the functions of `plain` that it calls.

    Raises:
        NotPlainError: the graph was edited, and has what no conversion makes.
    """

    def __init__(self, module: ConvertedModule) -> None:
        self.arguments: list[str] = []
        self.lines: list[str] = []
        self.called: list[str] = []
        self.uses: set[str] = set()
        self.texts: dict[torch.fx.Node, str] = {}
        self.batch: str | None = None
        self.delays = False
        self.shapes: Mapping[str, Any] = module.meta.get("shapes", {})
        writers: dict[str, Callable[[torch.fx.Node], None]] = {
            "placeholder": self.placeholder,
            "call_module": functools.partial(self.call_module, module),
            "call_function": self.call_function,
            "output": self.output,
        }
        for node in module.graph.nodes:
            if node.op not in writers:
                raise NotPlainError(f"its graph was edited: it has a {node.op}, {node.name}")
            writers[node.op](node)
        if self.batch is not None:
            self.lines.insert(len(self.arguments) if self.uses & {REQUIRE} else 0, self.batch)

    def placeholder(self, node: torch.fx.Node) -> None:
        """An argument, whose shape is checked, where NIR has it."""
        name = self.texts[node] = str(node.target)
        if name == "state":
            return
        self.arguments.append(name)
        shape = self.shapes.get(name, (None, None))[1]
        if shape is not None:
            self.uses.add(REQUIRE)
            self.lines.append(call(f"{REQUIRE}(", [name, *map(str, shape)]))

    def call_module(self, module: ConvertedModule, node: torch.fx.Node) -> None:
        """A call, whose output and state are unpacked at once."""
        name = str(node.target)
        if "." in name:
            raise NotPlainError(f"its graph was edited: it calls {name}, of another graph")
        if name not in self.called:
            self.called.append(name)
        result = state.result_of(node)
        arguments = [self.text(one) for one in node.args]
        is_second = _takes_state_second(getattr(module, name))
        arguments += [
            self.text(one) if key == "state" and is_second else f"{key}={self.text(one)}"
            for key, one in node.kwargs.items()
        ]
        parts = _unpacked(result)
        self.texts |= dict.fromkeys((node, result), result.name)
        self.texts |= {part: part.name for part in parts}
        names = ", ".join(part.name for part in parts) if parts else result.name
        self.lines.append(call(f"{names} = self.{name}(", arguments))

    def call_function(self, node: torch.fx.Node) -> None:
        """A call of one of the few functions that generated code calls."""
        target, arguments = node.target, node.args
        if node in self.texts:  # what a call of a module settled
            return
        if target is state.entry:
            self.uses.add(ENTRY)
            self.inline(node, f"{ENTRY}({', '.join(self.text(one) for one in arguments)})")
        elif target is state.add:
            left, right = (self.text(one) for one in arguments)
            self.inline(node, f"{left} + ({right})" if "+" in right else f"{left} + {right}")
        elif target is state.silence:
            self.inline(node, self.zeros(*arguments))
        elif target is state.previous_output:
            before, key, *of_zeros = arguments
            self.previous(node, self.text(before), str(key), self.zeros(*of_zeros))
        elif target is operator.getitem:
            self.inline(node, "{}[{}]".format(*(self.text(one) for one in arguments)))
        elif target is dict and len(arguments) == 1:
            entries = [f"{string(k)}: {self.text(v)}" for k, v in arguments[0].items()]  # type: ignore[union-attr]
            self.assign(node, listing("{", entries, "}"))
        else:
            called = getattr(target, "__name__", str(target))
            raise NotPlainError(f"its graph was edited: it calls {called}")

    def previous(self, node: torch.fx.Node, before: str, key: str, zeros: str) -> None:
        """What a delayed edge carries: an output of the step before."""
        parts = (zeros, f"if {before} is None", f"else {before}[{string(key)}]")
        line, space = " ".join(parts), "\n            "
        if 8 + len(node.name) + 3 + len(line) > WIDTH:
            inside = line if 12 + len(line) <= WIDTH else space.join(parts)
            line = f"({space}{inside}\n        )"
        if not self.delays:
            self.lines.append("# A delayed edge carries an output of the step before.")
        self.delays = True
        self.assign(node, line)

    def zeros(self, reference: Any, shape: Any, rank: Any) -> str:
        """Zeros with the batch axes of an input."""
        name = self.text(reference)
        self.batch = f"_batch = {name}.shape" + (f"[:-{rank}]" if rank else "")
        return (
            f"{name}.new_zeros((*_batch, {', '.join(map(str, shape))}))"
            if shape
            else (f"{name}.new_zeros(_batch)")
        )

    def output(self, node: torch.fx.Node) -> None:
        (value,) = node.args
        if not isinstance(value, tuple) or len(value) != 2:
            raise NotPlainError("its graph was edited: it does not return (output, state)")
        self.lines.append(f"return {self.text(value[0])}, {self.text(value[1])}")

    def inline(self, node: torch.fx.Node, text: str) -> None:
        """Let an expression stand where it is used, or name it."""
        if len(node.users) == 1 and len(text) <= _LONGEST:
            self.texts[node] = text
        else:
            self.assign(node, text)

    def assign(self, node: torch.fx.Node, text: str) -> None:
        self.texts[node] = node.name
        self.lines.append(f"{node.name} = {text}")

    def text(self, value: Any) -> str:
        """An argument as source."""
        if isinstance(value, torch.fx.Node):
            return self.texts[value]
        written = literal(value)
        if written is None:
            raise NotPlainError(f"its graph was edited: it hands on a {type(value).__name__}")
        return written


def _takes_state_second(module: torch.nn.Module) -> bool:
    """Whether the second argument of a module is its state, so that it needs no keyword."""
    if isinstance(module, ConvertedModule):
        return len(module.meta.get("inputs", [])) == 1
    parameters = list(inspect.signature(module.forward).parameters.values())
    second = parameters[1] if len(parameters) > 1 else None
    return (
        second is not None
        and second.name == "state"
        and second.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    )


def _unpacked(step: torch.fx.Node) -> tuple[torch.fx.Node, ...]:
    """The output and the state of a call, where both are taken from it and nothing else is."""
    users = list(step.users)
    taken = {user.args[1]: user for user in users if user.target is operator.getitem}
    return (taken[0], taken[1]) if len(users) == 2 and set(taken) == {0, 1} else ()
