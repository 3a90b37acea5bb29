"""`python -m nirtorch_cli` is the command `nirtorch`.

For `-m` Python puts the current folder first on the path. Nothing is imported from it: it may be
a stranger's. So it is taken off the path before anything is imported that Python does not have
loaded by then, and there is no `from __future__`, which is an import, too.
"""

import sys

if not getattr(sys.flags, "safe_path", False):
    del sys.path[0]

from nirtorch_cli.cli import main

if __name__ == "__main__":
    main()
