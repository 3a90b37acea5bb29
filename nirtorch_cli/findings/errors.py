"""The exceptions of nirtorch-cli and the exit codes they become.

    NirtorchError                        1   anything below; carries the findings
    ├── ReadError                        3   the input cannot be read
    ├── ConversionError (ValueError)     1   the model was examined and is not convertible
    │   ├── StructureError                   dangling edges, no Input, no Output
    │   ├── ShapeError                       shapes that contradict each other
    │   ├── UnmappedNodeError                node types that no map knows; lists every node
    │   └── MapperError                      a mapper raised, or returned no module
    ├── StateError (ValueError)          1   a state that does not belong to the module or input
    ├── ContractError (ValueError)       1   a mapped module broke a promise of its map
    ├── SaveError                        1   a converted module that cannot be stored
    ├── UsageError                       2   the request itself is wrong
    │   ├── MapError (ValueError)            a node map, or a `--map` that does not resolve
    │   └── OutputError                      an output that cannot or must not be written
    └── MissingFrameworkError            4   torch, or what a map needs, is not installed

Not a NirtorchError: Ctrl-C (130), and a bug of ours (70).
A user's mistake raises one of these with a hint; assertions are for our own mistakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, ClassVar, overload

from nirtorch_cli.findings.finding import Finding


class ExitCode(IntEnum):
    """What the process tells its caller."""

    DONE = 0
    UNSOUND = 1
    USAGE = 2
    UNREADABLE = 3
    MISSING_FRAMEWORK = 4
    BUG = 70
    INTERRUPTED = 130


class NirtorchError(Exception):
    """A problem that the user can act on: its text is one line for each finding.

    Made from findings, or from the fields of a single one: code (optional for classes that have
    only one), message, node, parameter and hint.

    >>> ReadError("NIR016", "holds no value", "lif", "tau").findings[0].severity
    'error'
    >>> UsageError("no steps", hint="give --steps").findings[0].code
    'NIR700'

    findings: the problem. context: every finding made so far that may explain it, the problem
    included, in the order of the graph; empty if there was no other.
    """

    exit_code = ExitCode.UNSOUND
    usual_code: ClassVar[str]
    """The code of an error that is made without one."""

    @overload
    def __init__(
        self, findings: Finding | Sequence[Finding], context: Sequence[Finding] = ()
    ) -> None: ...

    @overload
    def __init__(
        self,
        code: str,
        message: str,
        node: str | None = None,
        parameter: str | None = None,
        hint: str | None = None,
        file: str | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        message: str,
        *,
        node: str | None = None,
        hint: str | None = None,
        file: str | None = None,
    ) -> None: ...

    def __init__(self, *said: Any, context: Sequence[Finding] = (), **fields: Any) -> None:
        if isinstance(said[0], str):
            code, *texts = said if len(said) > 1 else (self.usual_code, *said)
            said = (Finding(code, "error", *texts, **fields),)
        findings, self.context = said[0], tuple(said[1] if len(said) > 1 else context)
        self.findings = (findings,) if isinstance(findings, Finding) else tuple(findings)
        super().__init__("\n".join(finding.line() for finding in self.findings))

    def of(self, file: str | None) -> NirtorchError:
        """The same error with the file named in every finding."""
        error = type(self)([finding.of(file) for finding in self.findings])
        error.context = tuple(finding.of(file) for finding in self.context)
        error.__cause__ = self.__cause__
        return error


class ReadError(NirtorchError):
    """The input cannot be read as a NIR graph or as a saved module."""

    exit_code = ExitCode.UNREADABLE


class ConversionError(NirtorchError, ValueError):
    """The graph was read, and cannot be turned into a module."""


class StructureError(ConversionError):
    """Nodes and edges do not form a graph that can be executed."""


class ShapeError(ConversionError):
    """Shapes contradict each other, or one that is needed is not known."""


class UnmappedNodeError(ConversionError):
    """Some node types are in no map. Lists every such node."""


class MapperError(ConversionError):
    """A mapper raised, or returned something that is not a `torch.nn.Module`."""


class StateError(NirtorchError, ValueError):
    """A state, or a value on an edge, does not fit the module that it was given to."""


class ContractError(NirtorchError, ValueError):
    """A module of a user's map broke a promise that maps make about their nodes."""


class SaveError(NirtorchError):
    """The converted module cannot be stored."""


class UsageError(NirtorchError):
    """The request is wrong, whatever the model is."""

    exit_code = ExitCode.USAGE
    usual_code = "NIR700"


class MapError(UsageError, ValueError):
    """A node map is malformed, or a `--map` does not lead to one."""


class OutputError(UsageError):
    """The output cannot or must not be written there."""

    usual_code = "NIR701"


class MissingFrameworkError(NirtorchError):
    """A library that is needed, or that a map needs, is not installed or cannot be imported."""

    exit_code = ExitCode.MISSING_FRAMEWORK
    usual_code = "NIR520"
