"""Convert NIR files of spiking neural networks to `torch.fx.GraphModule`s.

    >>> import nirtorch_cli
    >>> module = nirtorch_cli.nir_to_torch("model.nir", {})
    >>> output, state = module(x)

The public names are resolved when they are first used: importing this package loads
neither torch nor nir. It loads nothing at all, since `python -m nirtorch_cli` does it with the
current folder, which may be a stranger's, first on the path: see `__main__`.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nirtorch_cli.comparing.comparison import Comparison as Comparison
    from nirtorch_cli.comparing.modules import compare_modules as compare_modules
    from nirtorch_cli.defaults import DEFAULT_MAP as DEFAULT_MAP
    from nirtorch_cli.defaults import default_map as default_map
    from nirtorch_cli.errors import ContractError as ContractError
    from nirtorch_cli.errors import ConversionError as ConversionError
    from nirtorch_cli.errors import MapError as MapError
    from nirtorch_cli.errors import MapperError as MapperError
    from nirtorch_cli.errors import MissingFrameworkError as MissingFrameworkError
    from nirtorch_cli.errors import NirtorchError as NirtorchError
    from nirtorch_cli.errors import OutputError as OutputError
    from nirtorch_cli.errors import ReadError as ReadError
    from nirtorch_cli.errors import SaveError as SaveError
    from nirtorch_cli.errors import ShapeError as ShapeError
    from nirtorch_cli.errors import StateError as StateError
    from nirtorch_cli.errors import StructureError as StructureError
    from nirtorch_cli.errors import UnmappedNodeError as UnmappedNodeError
    from nirtorch_cli.errors import UsageError as UsageError
    from nirtorch_cli.findings import Finding as Finding
    from nirtorch_cli.interpreter import nir_to_torch as nir_to_torch
    from nirtorch_cli.running import run_sequence as run_sequence
    from nirtorch_cli.saving import load as load
    from nirtorch_cli.saving import save as save
    from nirtorch_cli.sequences.compiling import Compiler as Compiler

_HOME = {
    "DEFAULT_MAP": "defaults",
    "Comparison": "comparing.comparison",
    "Compiler": "sequences.compiling",
    "ContractError": "errors",
    "ConversionError": "errors",
    "Finding": "findings",
    "MapError": "errors",
    "MapperError": "errors",
    "MissingFrameworkError": "errors",
    "NirtorchError": "errors",
    "OutputError": "errors",
    "ReadError": "errors",
    "SaveError": "errors",
    "ShapeError": "errors",
    "StateError": "errors",
    "StructureError": "errors",
    "UnmappedNodeError": "errors",
    "UsageError": "errors",
    "compare_modules": "comparing.modules",
    "default_map": "defaults",
    "load": "saving",
    "nir_to_torch": "interpreter",
    "run_sequence": "running",
    "save": "saving",
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
