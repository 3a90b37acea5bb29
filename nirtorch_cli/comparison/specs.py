"""Parses the specs that `nirtorch compare` is given.

A spec is a kind, for some kinds `:` and a target, and options after commas:
`default`, `map:SPEC` (as in --map), `file:MODEL.pt` (what `nirtorch convert -o` wrote; also .pt2
and .onnx),
`trace:FILE` (what `nirtorch run -o` wrote, .npz or NIR data); `default,integration=exact`,
`map:mymaps:MAP,dt=1e-3`, `map:snntorch:reset=zero,delay=false,dt=1e-3`. In: text. Out: a `Side`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from nirtorch_cli.conversion.options import CHOICES
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.text import listed, quoted

SideKind = Literal["default", "map", "file", "trace"]

_CHOICES = {
    name: {str(choice).lower(): choice for choice in choices}
    for name, choices in CHOICES.items()
    if name != "surrogate"
}
"""No surrogate: it changes no forward value, and nothing else is compared."""

_TAKEN: dict[str, tuple[str, ...]] = {
    "default": ("dt", *_CHOICES),
    "map": ("dt", *_CHOICES),
    "file": (),
    "trace": ("dt",),
}
_OPTION = re.compile(r",([A-Za-z_-]+)=([^,=]*)$")
_OF_MAP = re.compile(r"^map:.+:[A-Za-z_]\w*=")
"""A map with options of its own, which begin at a colon: `map:snntorch:reset=zero,delay=false`."""

_NOT_OF_MAPS = ("dt", "integration", "dtype", "integrator_input", "reset_delay", "fire_at")
"""Options of a side that stay its own behind those of a map."""


@dataclass(frozen=True)
class Side:
    """One of the two sides that are compared.

    spec: as it was given. target: the map, module or file that it names; empty for the default
    map. dt: the length of a step; None for that of the file or model. options: the others, by
    their names in a conversion's request.
    """

    spec: str
    kind: SideKind
    target: str = ""
    dt: float | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def needs_model(self) -> bool:
        """Whether it is made from a .nir file."""
        return self.kind in ("default", "map")


def parse_side(spec: str) -> Side:
    """The side that a spec means.

    Raises:
        UsageError: the spec is wrong; names the wrong part.

    Example:
        >>> parse_side("map:mymaps:MAP,dt=1e-3").target
        'mymaps:MAP'
    """
    head, given = spec, []
    while (option := _OPTION.search(head)) is not None:
        name = option[1].replace("-", "_")
        if _OF_MAP.search(head[: option.start()]) is not None and name not in _NOT_OF_MAPS:
            break  # the map's own, and so are those in front of it
        given.append((name, option[2]))
        head = head[: option.start()]
    kind, colon, target = head.partition(":")
    if kind not in _TAKEN or bool(colon) != (kind != "default") or (colon and not target):
        hint = did_you_mean(kind, _TAKEN) if kind not in _TAKEN else None
        hint = hint or "a spec is default, map:SPEC, file:MODEL.pt or trace:FILE"
        raise _problem(spec, "is not of a form that is known", hint)
    options: dict[str, Any] = {}
    for name, value in reversed(given):
        if name not in _TAKEN[kind]:
            takes = listed(list(_TAKEN[kind])) if _TAKEN[kind] else "none"
            hint = did_you_mean(name, _TAKEN[kind]) or f"{kind} takes {takes}"
            raise _problem(spec, f"has no option {quoted(name)}", hint)
        if name in options:
            raise _problem(spec, f"says {name} twice")
        if name in _CHOICES and value not in _CHOICES[name]:
            hint = f"{name} is {' or '.join(_CHOICES[name])}"
            hint = did_you_mean(value, _CHOICES[name]) or hint
            raise _problem(spec, f"says {name}={quoted(value)}", hint)
        options[name] = _CHOICES[name][value] if name in _CHOICES else value
    dt = _positive(spec, options.pop("dt")) if "dt" in options else None
    return Side(spec, cast(SideKind, kind), target, dt, options)


def _positive(spec: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise _problem(spec, f"says dt={quoted(text)}", "dt is a positive number")
    return value


def _problem(spec: str, message: str, hint: str | None = None) -> UsageError:
    return UsageError(f"{quoted(spec)} {message}", hint=hint)
