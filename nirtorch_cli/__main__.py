"""`python -m nirtorch_cli` is the command `nirtorch`."""

from nirtorch_cli.cli import main

if __name__ == "__main__":
    main()
