"""The modules of the sides that are run: converted or loaded.

In: a `Side` that is not a trace, and the .nir file. Out: a module in evaluation mode, as in
`nirtorch run`. Cost: a conversion, or reading a file.
"""

from __future__ import annotations

from dataclasses import replace

from nirtorch_cli.comparison.specs import Side
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.conversion.model import convert_model, evaluating, saved_model, usable_device
from nirtorch_cli.conversion.options import Options
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.reading.graphs import ModelFile


def module_of(
    side: Side, model: ModelFile | None, *, trust: bool = False, device: str = "cpu"
) -> ConvertedModule:
    """The module of a side that is not a trace.

    Arguments:
        model: the .nir file, for sides that are made from one.
        trust: whether a saved module, which is a pickle, may be loaded.

    Raises:
        ConversionError, MapError, MissingFrameworkError, ReadError: as converting or loading.
        UsageError: a saved module without `trust`.
    """
    if usable_device(device).type == "meta":
        text = "on the device 'meta' nothing has values that could be compared"
        raise UsageError(text)
    if side.kind == "file":
        return saved_model(side.target, device, trust=trust)
    assert model is not None
    maps = (side.target,) if side.kind == "map" else ()
    request = Options(maps=maps, dt=side.dt, device=device)
    return evaluating(convert_model(model, replace(request, **side.options)))


def same_inputs(a: ConvertedModule, b: ConvertedModule) -> None:
    """Require that two modules take the same inputs.

    Raises:
        UsageError: they do not, so they are not modules of one graph.
    """
    taken = [
        {module.meta["names"].get(n, n): module.meta["shapes"][n][1] for n in module.meta["inputs"]}
        for module in (a, b)
    ]
    if taken[0] != taken[1]:
        text = f"A and B are not of one graph: A takes {taken[0]}, and B {taken[1]}"
        raise UsageError(text)
