"""Convert NIR files of spiking neural networks to `torch.fx.GraphModule`s.

    >>> import nirtorch_cli
    >>> module = nirtorch_cli.nir_to_torch("model.nir", {})
    >>> output, state = module(x)

The public names are resolved when they are first used: importing this package loads
neither torch nor nir. It loads nothing at all, since `python -m nirtorch_cli` does it with the
current folder, which may be a stranger's, first on the path: see `__main__`.
"""

from nirtorch_cli._version import __version__ as __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nirtorch_cli.batch.check import check as check
    from nirtorch_cli.comparison.comparison import Comparison as Comparison
    from nirtorch_cli.comparison.modules import compare_modules as compare_modules
    from nirtorch_cli.conversion.artefacts.nir import repair as repair
    from nirtorch_cli.conversion.artefacts.pt import load as load
    from nirtorch_cli.conversion.artefacts.pt import save as save
    from nirtorch_cli.conversion.artefacts.safetensors import load_weights as load_weights
    from nirtorch_cli.conversion.defaults import DEFAULT_MAP as DEFAULT_MAP
    from nirtorch_cli.conversion.defaults import default_map as default_map
    from nirtorch_cli.conversion.graph_module import ConvertedModule as ConvertedModule
    from nirtorch_cli.conversion.interpreter import nir_to_torch as nir_to_torch
    from nirtorch_cli.conversion.packs import Context as Context
    from nirtorch_cli.conversion.packs import Pack as Pack
    from nirtorch_cli.conversion.source_graph import to_nir as to_nir
    from nirtorch_cli.drawing.graphs.picture import Picture as Picture
    from nirtorch_cli.drawing.graphs.picture import draw as draw
    from nirtorch_cli.findings.errors import ContractError as ContractError
    from nirtorch_cli.findings.errors import ConversionError as ConversionError
    from nirtorch_cli.findings.errors import MapError as MapError
    from nirtorch_cli.findings.errors import MapperError as MapperError
    from nirtorch_cli.findings.errors import MissingFrameworkError as MissingFrameworkError
    from nirtorch_cli.findings.errors import NirtorchError as NirtorchError
    from nirtorch_cli.findings.errors import OutputError as OutputError
    from nirtorch_cli.findings.errors import ReadError as ReadError
    from nirtorch_cli.findings.errors import SaveError as SaveError
    from nirtorch_cli.findings.errors import ShapeError as ShapeError
    from nirtorch_cli.findings.errors import StateError as StateError
    from nirtorch_cli.findings.errors import StructureError as StructureError
    from nirtorch_cli.findings.errors import UnmappedNodeError as UnmappedNodeError
    from nirtorch_cli.findings.errors import UsageError as UsageError
    from nirtorch_cli.findings.finding import Finding as Finding
    from nirtorch_cli.findings.warnings import NirtorchWarning as NirtorchWarning
    from nirtorch_cli.graph.inspection import inspect as inspect
    from nirtorch_cli.primitives.dynamics import Dynamics as Dynamics
    from nirtorch_cli.primitives.modules.neuron import Neuron as Neuron
    from nirtorch_cli.primitives.modules.neuron import SpikingNeuron as SpikingNeuron
    from nirtorch_cli.primitives.table import Primitive as Primitive
    from nirtorch_cli.primitives.table import register as register
    from nirtorch_cli.reading.graphs import read as read
    from nirtorch_cli.running.engine.compiler import Compiler as Compiler
    from nirtorch_cli.running.session import Session as Session
    from nirtorch_cli.running.session import run_sequence as run_sequence

_HOME = {
    "Comparison": "comparison.comparison",
    "Compiler": "running.engine.compiler",
    "Context": "conversion.packs",
    "ContractError": "findings.errors",
    "ConversionError": "findings.errors",
    "ConvertedModule": "conversion.graph_module",
    "DEFAULT_MAP": "conversion.defaults",
    "Dynamics": "primitives.dynamics",
    "Finding": "findings.finding",
    "MapError": "findings.errors",
    "MapperError": "findings.errors",
    "MissingFrameworkError": "findings.errors",
    "Neuron": "primitives.modules.neuron",
    "NirtorchError": "findings.errors",
    "NirtorchWarning": "findings.warnings",
    "OutputError": "findings.errors",
    "Pack": "conversion.packs",
    "Picture": "drawing.graphs.picture",
    "Primitive": "primitives.table",
    "ReadError": "findings.errors",
    "SaveError": "findings.errors",
    "ShapeError": "findings.errors",
    "Session": "running.session",
    "SpikingNeuron": "primitives.modules.neuron",
    "StateError": "findings.errors",
    "StructureError": "findings.errors",
    "UnmappedNodeError": "findings.errors",
    "UsageError": "findings.errors",
    "check": "batch.check",
    "compare_modules": "comparison.modules",
    "default_map": "conversion.defaults",
    "draw": "drawing.graphs.picture",
    "inspect": "graph.inspection",
    "load": "conversion.artefacts.pt",
    "load_weights": "conversion.artefacts.safetensors",
    "nir_to_torch": "conversion.interpreter",
    "read": "reading.graphs",
    "register": "primitives.table",
    "repair": "conversion.artefacts.nir",
    "run_sequence": "running.session",
    "save": "conversion.artefacts.pt",
    "to_nir": "conversion.source_graph",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> "Any":
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> "list[str]":
    return sorted({*globals(), *__all__})
