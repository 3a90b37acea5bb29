"""The command `nirtorch`: thin adapters over the library, one file a command."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from nirtorch_cli.cli.app import app

    app()
