"""What other programs exported and ran, ../shared/frameworks: with which options it is computed.

Each folder there holds model.nir, as a framework's own exporter wrote it, and run.npz, that
framework's own run. What the file does not tell is in the folder's name and in a note beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from nirtorch_cli.cli.app import app

ONE_SPIKE = "spikes=single,reset=zero"
NOTED = ("--dt", "1e-3")
"""The step of sc-neurocore's runs, which its hand-made files do not tell."""


@dataclass(frozen=True)
class Case:
    """A folder.

    options: of `nirtorch run`, with the right pack. default: those of the pack's defaults; None if
    no pack is for it. lost: why it cannot be had, with the place in the framework's source.
    """

    options: tuple[str, ...]
    default: str | None
    lost: str | None = None


def packed(pack: str, options: str = "", *others: str, lost: str | None = None) -> Case:
    spec = f"{pack}:{options}" if options else pack
    return Case(("--map", spec, *others), pack, lost)


LOST_BY_ROCKPOOL = (
    "{} are not in the file: rockpool/nn/modules/torch/nir.py writes neither bias nor w_rec; with "
    "--map rockpool:bias=FILE,w_rec=FILE it is exact"
)
SYNAPSE_THEN_ZERO = ("--map-node", "3=snntorch:reset=zero")

CASES: dict[str, Case] = {
    "lava__cuba": packed("lava"),
    "mlxsnn__if_default": packed("mlx_snn"),
    "mlxsnn__leaky_default": packed("mlx_snn"),
    "mlxsnn__leaky_zero_one_beta_dt1e-3": packed("mlx_snn", "reset=zero"),
    "mlxsnn__synaptic_zero": packed("mlx_snn", "reset=zero"),
    "neurocore__conv1d_reset": Case((), None),
    "neurocore__cubalif_reset": Case(NOTED, None),
    "neurocore__delay_scale_threshold_reset": Case(NOTED, None),
    "neurocore__if_reset": Case((*NOTED, "--integrator-input", "current"), None),
    "neurocore__li_cubali_i_reset": Case((*NOTED, "--integrator-input", "current"), None),
    "neurocore__lif_reset": Case(NOTED, None),
    "neurocore__nested_reset": Case(NOTED, None),
    "neurocore__recurrent_affine_reset": Case(NOTED, None),
    "neurocore__recurrent_reset": Case(NOTED, None),
    "neurocore__skip_reset": Case(NOTED, None),
    "neurocore__two_inputs_reset": Case(NOTED, None),
    "norse__iaf": packed("norse"),
    "norse__lif": packed("norse"),
    "norse__lifbox_subtract": packed("norse", "reset=subtract"),
    "norse__lifbox_v_reset": packed("norse", "v_reset=-0.4"),
    "norse__uniform_lifbox": packed("norse"),
    "norsehead__iaf": packed("norse"),
    "norsehead__lif": packed("norse"),
    "norsehead__lifbox_subtract": packed("norse", "reset=subtract"),
    "norsehead__lifbox_v_reset": packed("norse"),
    "norsehead__uniform_lifbox": packed("norse"),
    "rockpool__lif_bias": packed("rockpool", lost=LOST_BY_ROCKPOOL.format("biases")),
    "rockpool__lif_const_scalar": packed("rockpool"),
    "rockpool__lif_dense": packed("rockpool"),
    "rockpool__lif_rec": packed("rockpool", lost=LOST_BY_ROCKPOOL.format("recurrent weights")),
    "sinabs__conv1d": packed("sinabs"),
    "sinabs__conv_sumpool_iaf_defaults": packed("sinabs", "min_v_mem=-1"),
    "sinabs__expleak": packed("sinabs", f"{ONE_SPIKE},norm_input=true"),
    "sinabs__iaf_defaults": packed("sinabs"),
    "sinabs__iaf_single_reset": packed("sinabs", ONE_SPIKE),
    "sinabs__iaf_ties": packed("sinabs"),
    "sinabs__lif_min_v_mem": packed("sinabs", f"{ONE_SPIKE},min_v_mem=-0.2"),
    "sinabs__lif_single_reset_norm": packed("sinabs", ONE_SPIKE),
    "sinabs__lif_tau_syn": packed("sinabs", f"{ONE_SPIKE},tau_syn=5"),
    "sinabs__uniform_lif_single_reset": packed("sinabs", ONE_SPIKE),
    "snntorch__conv_default": packed("snntorch"),
    "snntorch__dense_graded": packed("snntorch", "reset=zero,delay=false,graded=0.5"),
    "snntorch__dense_none_now": packed("snntorch", "reset=none,delay=false"),
    "snntorch__dense_subtract_now": packed("snntorch", "delay=false"),
    "snntorch__dense_zero_now": packed("snntorch", "reset=zero,delay=false"),
    "snntorch__rleaky_first_zero_now": packed("snntorch", "reset=zero,delay=false"),
    "snntorch__rleaky_subtract_delay": packed("snntorch"),
    "snntorch__rleaky_zero_delay": packed("snntorch", "reset=zero"),
    "snntorch__rsynaptic_subtract_delay": packed("snntorch", "", *SYNAPSE_THEN_ZERO),
    "snntorch__synaptic_subtract_delay": packed("snntorch"),
    "snntorch__synaptic_zero_delay": packed("snntorch", "reset=zero"),
    "snntorch__uniform_default": packed("snntorch"),
    "snntorch__uniform_rleaky_zero_now": packed("snntorch", "reset=zero,delay=false"),
    "snntorch__uniform_zero_now": packed("snntorch", "reset=zero,delay=false"),
    "spikingjelly__conv1d": packed("spikingjelly"),
    "spikingjelly__conv_avgpool_lif": packed("spikingjelly"),
    "spikingjelly__cubalif": packed("spikingjelly"),
    "spikingjelly__dropout": packed("spikingjelly"),
    "spikingjelly__if_dt1": packed("spikingjelly", "", "--dt", "1"),
    "spikingjelly__lif_decay": packed("spikingjelly"),
    "spikingjelly__lif_dt1": packed("spikingjelly"),
    "spikingjelly__lif_nodecay_one_tau": packed("spikingjelly"),
    "spikingjelly__lif_one_tau_dt1e-3": packed("spikingjelly", "", "--dt", "1e-3"),
    "spikingjelly__lif_v_reset_nodecay": packed("spikingjelly"),
    "spikingjelly__residual_add": packed("spikingjelly"),
    "spyx__conv_same_sumpool": packed("spyx"),
    "spyx__conv_valid_sumpool_lastconv": packed("spyx"),
    "spyx__if": packed("spyx"),
    "spyx__lif": packed("spyx"),
    "spyx__lif_scalar": packed("spyx"),
    "spyx__rcubalif": packed("spyx"),
    "spyx__rlif": packed("spyx"),
}


@dataclass(frozen=True)
class Outcome:
    """What a run gave: how many spikes differ, of how many nodes, and what it said on stderr.

    differing is None if the file was refused.
    """

    differing: int | None
    nodes: int
    said: str

    @property
    def is_exact(self) -> bool:
        """Whether every spike of every recorded layer is the framework's."""
        return self.differing == 0


def outcome(folder: Path, out: Path, options: Sequence[str] = ()) -> Outcome:
    """Run a folder's file on the input that was recorded, and compare with the run beside it.

    Arguments:
        out: where to write what is recorded.
    """
    run = np.load(folder / "run.npz")
    # Norse ran in double precision, and sc-neurocore is NumPy; all others ran in single.
    is_double = folder.name.startswith(("norse", "neurocore"))
    arguments = ["run", str(folder / "model.nir"), "--dtype", "float64" if is_double else "float32"]
    for name in run.files:
        if name.startswith("input"):
            port = name.partition(":")[2]
            fed = f"{folder / 'run.npz'}:{name}"
            arguments += ["--input", f"{port}={fed}" if port else fed]
    spiking = [name for name in run.files if name.endswith(":spikes")]
    for name in spiking:
        arguments += ["--record", name]
    answer = CliRunner().invoke(app, [*arguments, *options, "--output", str(out)])
    if answer.exit_code != 0 and any("no node" in line for line in answer.stderr.splitlines()):
        raise AssertionError(answer.stderr)
    if answer.exit_code != 0:
        return Outcome(None, len(spiking), answer.stderr)
    found = np.load(out)
    differing = int((np.abs(found["output"] - run["output"]) > 1e-4).sum())
    differing += sum(int((found[name] != run[name]).sum()) for name in spiking)
    return Outcome(differing, len(spiking), answer.stderr)
