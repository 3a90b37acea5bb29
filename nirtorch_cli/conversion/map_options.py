"""The options of a spec, as in `sinabs:spikes=single,min_v_mem=-1`, by a function's signature.

In: texts, and the function that makes the map. Out: keyword arguments of the types that its
signature names: bool (true or false), int, float, str, Literals, and unions of these. Wrong names
and values are refused with what there is. Loads no torch.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.text import listed, quoted


@dataclass(frozen=True)
class MapOption:
    """An option of a map.

    values: what it takes, in words. default: its default; None if it has none.
    """

    name: str
    values: str
    default: bool | int | float | str | None


class MapOptionError(ValueError):
    """An option of a spec is wrong; `hint` says what it may be."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def written(default: bool | int | float | str | None) -> str:
    """A default as it is written in a spec; nothing for None."""
    text = "" if default is None else str(default)
    return text.lower() if isinstance(default, bool) else text


def options_of(function: Callable[..., Any], handed: Collection[str]) -> list[MapOption]:
    """The options that a spec can give a function, without those that are handed to it."""
    hints = _hints(function)
    return [
        MapOption(name, _described(hints.get(name, str)), _plain(parameter.default))
        for name, parameter in _parameters(function).items()
        if name not in handed
    ]


def converted_options(
    function: Callable[..., Any], given: Mapping[str, str], handed: Collection[str]
) -> dict[str, Any]:
    """The texts of a spec as the arguments that a function takes.

    Raises:
        MapOptionError: an option does not exist, or cannot have this value.
    """
    hints = _hints(function)
    names = [name for name in _parameters(function) if name not in handed]
    found = {}
    for name, text in given.items():
        if name in handed and name not in names:
            raise MapOptionError(f"{name} is an option of the command", f"use --{name}")
        if name not in names:
            there = f"it has {listed(names)}" if names else "it has none"
            raise MapOptionError(
                f"has no option {quoted(name)}", did_you_mean(name, names) or there
            )
        found[name] = _value(name, text, hints.get(name, str))
    return found


def _value(name: str, text: str, hint: Any) -> Any:
    for one in _alternatives(hint):
        try:
            return _converted(text, one)
        except ValueError:
            continue
    choices = [str(value) for one in _alternatives(hint) for value in get_args(one)]
    meant = did_you_mean(text, choices)
    raise MapOptionError(f"says {name}={quoted(text)}", meant or f"{name} is {_described(hint)}")


def _converted(text: str, kind: Any) -> Any:
    """A text as a value of one type; raises a ValueError if it is none."""
    for value in get_args(kind) if get_origin(kind) is Literal else ():
        if str(value) == text:
            return value
    if kind is bool and text in ("true", "false"):
        return text == "true"
    if kind in (int, float):
        return kind(text)
    if kind is str:
        return text
    raise ValueError(text)


def _alternatives(hint: Any) -> list[Any]:
    """The types of a union, those first that take least."""
    union = get_origin(hint) in (Union, types.UnionType)
    kinds = [one for one in get_args(hint) if one is not type(None)] if union else [hint]
    return sorted(kinds, key=lambda one: one is str)


def _described(hint: Any) -> str:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    parts = []
    for one in _alternatives(hint):
        is_literal = get_origin(one) is Literal
        parts += [str(value) for value in get_args(one)] if is_literal else [words.get(one, "any")]
    return " or ".join(parts)


def _plain(default: Any) -> bool | int | float | str | None:
    if default is None or default is inspect.Parameter.empty:
        return None
    return default if isinstance(default, (bool, int, float, str)) else str(default)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    is_plain = inspect.isroutine(function) or inspect.isclass(function)
    target = function if is_plain else type(function).__call__
    try:
        return get_type_hints(target)
    except Exception:  # annotations are anybody's
        return {}


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
