"""The modules of the sides that are run: converted or loaded.

In: a `Side` that is not a trace, and the .nir file. Out: a module in evaluation mode, as in
`nirtorch run`. Cost: a conversion, or reading a file.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeGuard

from nirtorch_cli.comparison.specs import Side
from nirtorch_cli.conversion.attribution import user_errors
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.conversion.model import convert_model, loaded_model, usable_device
from nirtorch_cli.conversion.options import Options
from nirtorch_cli.findings.errors import ReadError, UsageError
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
        module = _loaded(side, trust, device)
    else:
        assert model is not None
        maps = (side.target,) if side.kind == "map" else ()
        options: dict[str, Any] = side.options
        request = Options(maps=maps, dt=side.dt, device=device)
        module = convert_model(model, replace(request, **options))
    with user_errors(module, "when it was set to evaluation", "NIR530"):
        module.eval()
    return module


def _loaded(side: Side, trust: bool, device: str) -> ConvertedModule:
    if not trust:
        text = "is a saved module, a pickle: loading it runs the code that it names"
        hint = "give --trust if you trust who wrote it"
        raise UsageError(text, hint=hint, file=side.target)
    module = loaded_model(side.target, usable_device(device))
    if not is_whole(module):
        text = f"holds a {type(module).__name__} that was not made from a NIR graph"
        raise ReadError("NIR020", text, file=side.target)
    return module


def is_whole(module: Any) -> TypeGuard[ConvertedModule]:
    """Whether something is the module of a whole NIR graph, which has a dt."""
    return isinstance(module, ConvertedModule) and "dt" in module.meta


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
