"""The class of Python warnings that findings become in the library.

The commands print their findings themselves and warn of nothing.
"""

from __future__ import annotations

from nirtorch_cli.findings.finding import Finding


class NirtorchWarning(UserWarning):
    """A finding that stops nothing, as a Python warning; its text is the finding's line.

    >>> import warnings
    >>> warnings.simplefilter("error", NirtorchWarning)     # or "ignore", as for any class
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding)
        self.finding = finding

    def __str__(self) -> str:
        return self.finding.line()
