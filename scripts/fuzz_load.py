"""Loaded once before scripts/fuzz forks: what a first conversion imports, on one thread."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from pathlib import Path

import nir
import numpy as np
import torch

from nirtorch_cli.cli import main

torch.set_num_threads(1)

with tempfile.TemporaryDirectory() as folder:
    path = str(Path(folder) / "small.nir")
    nir.write(path, nir.NIRGraph.from_list(nir.Threshold(np.ones(1))))
    arguments = sys.argv
    for command in (["inspect", path], ["convert", path, "--json"], ["repair", path]):
        sys.argv = ["nirtorch", *command]
        quiet = io.StringIO()
        with (
            contextlib.redirect_stdout(quiet),
            contextlib.redirect_stderr(quiet),
            contextlib.suppress(SystemExit),
        ):
            main()
    sys.argv = arguments
