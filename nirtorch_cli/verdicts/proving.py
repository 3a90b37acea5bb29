"""Does a converted module run, and is it the same when it was saved and loaded?

In: a module and a seed. Out: findings, none if all is well: NIR508 it cannot be stored or
loaded, NIR610 it raised, NIR611 it gave NaN or infinity, NIR612 the loaded one gives other
numbers, NIR615 it could not be run. Nothing that could not be tried is passed over.

The module is stored before it is first run, as `nirtorch convert -o` does. Loading runs the
code that the pickle names, which is the code that just made it. Cost: three times the module's
memory, and twice its run.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from nirtorch_cli.errors import NirtorchError, ReadError, SaveError
from nirtorch_cli.findings import Finding, listed, quoted
from nirtorch_cli.finiteness import is_finite, nodes_not_finite, tensors
from nirtorch_cli.graph_module import ConvertedModule
from nirtorch_cli.running import Run, run_steps
from nirtorch_cli.sampling import inputs_without_shape, random_inputs
from nirtorch_cli.saving import load, save


def proved(module: ConvertedModule, steps: int, batch: int, seed: int) -> list[Finding]:
    """Store a module, run it, load what was stored, run that, and compare every bit.

    Arguments:
        steps, batch, seed: of the random input in [0, 1).
    """
    findings: list[Finding] = []
    image = _stored(module, findings)
    reason = _why_not_run(module)
    if reason is not None:
        hint = "nothing is known of what it computes"
        findings.append(Finding("NIR615", "warning", f"was not run: {reason}", hint=hint))
        _loaded(module, image, findings)
        return findings
    inputs = random_inputs(module, steps, batch, seed)
    run = _ran(module, inputs, findings)
    if run is not None:
        findings += _not_finite(module, run)
    again = _loaded(module, image, findings)
    if run is not None and again is not None:
        findings += _differences(module, again, inputs, run)
    return findings


def _stored(module: ConvertedModule, findings: list[Finding]) -> io.BytesIO | None:
    image = io.BytesIO()
    try:
        save(module, image)
    except SaveError as error:
        findings += error.findings
        return None
    image.seek(0)
    return image


def _loaded(
    module: ConvertedModule, image: io.BytesIO | None, findings: list[Finding]
) -> ConvertedModule | None:
    if image is None:
        return None
    try:
        again = load(image)
    except (ReadError, SystemExit) as error:
        reason = error.findings[0].message if isinstance(error, ReadError) else repr(error)
        text = f"what was saved cannot be loaded: it {reason}"
        hint = "a mapped module's pickle is not complete"
        findings.append(Finding("NIR508", "error", text, hint=hint))
        return None
    assert isinstance(again, ConvertedModule)
    return again


def _why_not_run(module: ConvertedModule) -> str | None:
    unknown = inputs_without_shape(module)
    if unknown:
        names = [module.meta["names"].get(name, name) for name in unknown]
        return f"the shape of the Input {listed(names)} is not known"
    if any(tensor.device.type == "meta" for tensor in module.state_dict().values()):
        return "on the device 'meta' nothing has values"
    return None


def _ran(
    module: ConvertedModule, inputs: Mapping[str, Tensor], findings: list[Finding]
) -> Run | None:
    with _following(module) as entered:
        try:
            with torch.no_grad():
                return run_steps(module, inputs)
        except NirtorchError as error:
            findings += error.findings
        except (Exception, SystemExit) as error:
            text = " ".join(f"raised {type(error).__name__} when it was run: {error}".split())
            findings.append(Finding("NIR610", "error", text, entered[0] if entered else None))
    return None


@contextlib.contextmanager
def _following(module: ConvertedModule) -> Iterator[list[str]]:
    """While open, the list holds the NIR path of the node whose module is running, if any."""
    entered: list[str] = []

    def enter(path: str) -> Any:
        return lambda *arguments: entered.__setitem__(slice(None), [path])

    def leave(*arguments: Any) -> None:
        entered.clear()

    hooks = []
    for path, child in _leaves(module, ""):
        hooks += [child.register_forward_pre_hook(enter(path)), child.register_forward_hook(leave)]
    try:
        yield entered
    finally:
        for hook in hooks:
            hook.remove()


def _leaves(module: ConvertedModule, prefix: str) -> Iterator[tuple[str, torch.nn.Module]]:
    for name, child in module.named_children():
        path = prefix + module.meta["names"].get(name, name)
        if isinstance(child, ConvertedModule):
            yield from _leaves(child, f"{path}/")
        else:
            yield path, child


def _not_finite(module: ConvertedModule, run: Run) -> Iterator[Finding]:
    """NIR611 for each output and for the nodes whose state is not finite."""
    for name, values in _named_outputs(module, run):
        if not is_finite(values):
            step = next(step for step, value in enumerate(values) if not is_finite(value))
            text = f"gives NaN or infinity on random input, at step {step} first"
            yield Finding("NIR611", "error", text, module.meta["names"].get(name, name))
    nodes = nodes_not_finite(module, run.state)
    if nodes:
        text = f"NaN or infinity in the state of {listed(nodes)} after a run on random input"
        yield Finding("NIR611", "error", text, nodes[0] if len(nodes) == 1 else None)


def _named_outputs(module: ConvertedModule, run: Run) -> Iterable[tuple[str, Tensor]]:
    if isinstance(run.outputs, dict):
        return list(run.outputs.items())
    return [(module.meta["outputs"][0], run.outputs)]


def _differences(
    module: ConvertedModule, again: ConvertedModule, inputs: Mapping[str, Tensor], run: Run
) -> Iterator[Finding]:
    """NIR612 if the loaded module gives another bit than the one that was saved."""
    findings: list[Finding] = []
    other = _ran(again, inputs, findings)
    if other is None:
        reason = findings[0].message
        text = f"when it was saved and loaded, it {reason}"
        yield Finding("NIR612", "error", text, findings[0].node)
        return
    where = _first_difference(module, run, other)
    if where is None:
        return
    repeated = _ran(module, inputs, findings)
    if repeated is None or _first_difference(module, run, repeated) is not None:
        hint = "so does the one that was saved: it draws random numbers, or keeps what it heard"
    else:
        hint = "a mapped module keeps something that its pickle does not hold"
    text = f"when it was saved and loaded, it gives other numbers at {where}"
    yield Finding("NIR612", "error", text, hint=hint)


def _first_difference(module: ConvertedModule, one: Run, other: Run) -> str | None:
    """Where two runs differ in a bit; None if nowhere."""
    others = dict(_named_outputs(module, other))
    for name, values in _named_outputs(module, one):
        if not _is_same(values, others.get(name)):
            return f"the Output {quoted(module.meta['names'].get(name, name))}"
    for name, part in (one.state or {}).items():
        if not _is_same(part, (other.state or {}).get(name)):
            return f"the state of {quoted(module.meta['names'].get(name, name))}"
    return None


def _is_same(one: Any, other: Any) -> bool:
    ones, others = list(tensors(one)), list(tensors(other))
    return len(ones) == len(others) and all(map(_has_same_bits, ones, others))


def _has_same_bits(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(_bits(one), _bits(other))


def _bits(values: Tensor) -> Tensor:
    """The bytes of a tensor: unlike its numbers, they equal themselves where they are NaN."""
    return values.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
