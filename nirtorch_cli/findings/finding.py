"""Findings about a model: plain, frozen, JSON-ready values.

Every stage reports through `Finding`. A finding has a code that never changes
its meaning, a severity, a place (file, node, parameter), a message that says
what is wrong or was assumed, and a hint that says what to do.

Codes are grouped by their first digit: NIR0xx the file itself, NIR1xx the
structure of the graph, NIR2xx shapes, NIR3xx parameters, NIR4xx time,
NIR5xx the mapping to torch, NIR6xx what happens when it runs, NIR7xx the request,
NIR8xx reading by other programs, NIR9xx this program. `rules` has the table.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal

from nirtorch_cli.findings.text import printable, quoted

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Finding:
    """One thing to know about a model.

    `node` is the node's NIR path: the names of the nested graphs that hold it, then its own, joined
    by `/` (HDF5 allows no `/` in a name). `message` says what is wrong. If it was repaired,
    `repair` names the repair and `hint` says what was done; otherwise `hint` says what to do.
    """

    code: str
    severity: Severity
    message: str
    node: str | None = None
    parameter: str | None = None
    hint: str | None = None
    file: str | None = None
    repair: str | None = None

    def line(self) -> str:
        """The finding as one line of text: place, what, and what to do."""
        place = [] if self.file is None else [self.file or "''"]
        where = [] if self.node is None else [f"node {quoted(self.node)}"]
        where += [] if self.parameter is None else [self.parameter]
        place += [", ".join(where)] if where else []
        text = ": ".join([*place, self.message])
        text = text if self.hint is None else f"{text}; {self.hint}"
        return printable(text if self.repair is None else f"{text} [{self.repair}]")

    def to_json(self) -> dict[str, str | None]:
        """The finding as a JSON object; fields without a value are null."""
        return asdict(self)

    def inside(self, graph: str) -> Finding:
        """The same finding, seen from the graph that holds `graph` as a node."""
        node = graph if self.node is None else f"{graph}/{self.node}"
        return replace(self, node=node)

    def of(self, file: str | None) -> Finding:
        """The same finding with the file named, if it names none yet."""
        return self if self.file is not None or file is None else replace(self, file=file)
