"""The command `nirtorch`: thin adapters over the library, one file a command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from nirtorch_cli.cli.app import app

        app()
    except KeyboardInterrupt:  # before the application was there to say so
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)
