"""The command `nirtorch`: thin adapters over the library, one file per command.

This file has no `from __future__` import, so that nothing is imported before the current folder is
off the path.
"""

import os
import sys


def main() -> None:
    """Run the command line."""
    leave_current_folder()
    try:
        from nirtorch_cli.cli.app import app
        from nirtorch_cli.cli.completion import for_bash

        with for_bash():
            app()
    except KeyboardInterrupt:  # before the application could report it
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)


def leave_current_folder() -> None:
    """Take the current folder off the import path, for this process and those that it starts.

    It may be a stranger's, with a file for every module that is imported from here on. It stays if
    PYTHONPATH names it; an empty part of PYTHONPATH (an extra colon) does not count.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    unwanted = {""}
    named = os.environ.get("PYTHONPATH", "")
    words = [word for word in named.split(os.pathsep) if word]
    if named and len(words) <= named.count(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join(words)
        unwanted.add(os.getcwd() if os.path.isdir(".") else "")
        unwanted.difference_update(os.path.abspath(word) for word in words)
    sys.path[:] = [entry for entry in sys.path if entry not in unwanted]
