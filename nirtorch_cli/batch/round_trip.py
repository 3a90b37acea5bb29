"""Does a converted module run, and is it the same when it was saved and loaded?

In: a module and a seed. Out: a `Proof`: findings, none if all is well, and how many steps were run.
NIR508 it cannot be stored or loaded, NIR610 it raised, NIR611 it gave NaN or infinity, NIR612 the
loaded one gives other numbers, NIR615 it could not be run, NIR63x a module of a map does not keep
what a map promises. Nothing that could not be tried is passed over.

It is run until every delay and loop was used, and `MORE_STEPS` longer where a user's map made a
module, which may be sound for a while; but not for long, which NIR635 then says.

The module is stored before it is first run, as `nirtorch convert -o` does. Loading runs the
code that the pickle names, which is the code that just made it. Outputs are kept as digests, so
that memory does not grow with the steps. Cost: three times the module's memory, and twice its
run; where there are modules of a map, three times and what `trial` costs.
"""

from __future__ import annotations

import functools
import io
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nirtorch_cli.batch.digests import digest, seeded
from nirtorch_cli.batch.duration import steps_used
from nirtorch_cli.batch.observation import Observation, observed
from nirtorch_cli.batch.trial import tried
from nirtorch_cli.conversion.artefacts.pt import load, save
from nirtorch_cli.conversion.attribution import Leaf, failure, leaves, user_errors
from nirtorch_cli.conversion.graph_module import ConvertedModule, first_floating, stored_tensors
from nirtorch_cli.findings.errors import NirtorchError, ReadError, SaveError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import counted, listed, quoted
from nirtorch_cli.findings.tracebacks import is_interrupt, lacks_memory
from nirtorch_cli.running.finite import is_finite, nodes_not_finite
from nirtorch_cli.running.sampling import inputs_without_shape

FEWEST_STEPS = 5
MORE_STEPS = 100
"""How much longer it is run where there are modules of a user's map."""
MOST_SECONDS = 5.0
"""How long a run may take, where the number of steps was not asked for."""
CLOSE_STEPS = 25
"""How many steps of a mapped module are looked at closely."""


class Proof(NamedTuple):
    """What was found out about a module, and over how many steps."""

    findings: list[Finding]
    steps: int


@dataclass
class _Run:
    """A run from state=None: digests of its outputs at each step, and of its last state.

    not_finite: by output, the first step at which it gave NaN or infinity. nodes: the paths of
    nodes in whose last state there is any. seconds: how long it took.
    """

    outputs: dict[str, list[bytes]] = field(default_factory=dict)
    state: dict[str, bytes] = field(default_factory=dict)
    not_finite: dict[str, int] = field(default_factory=dict)
    nodes: list[str] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0


def proved(module: ConvertedModule, steps: int | None, batch: int, seed: int) -> Proof:
    """Store a module, run it, try its mapped modules, load what was stored, compare every bit.

    Arguments:
        steps: how many; None for as many as are needed.
        batch, seed: of the random input in [0, 1).
    """
    findings: list[Finding] = []
    image = _stored(module, findings)
    reason = _why_not_run(module)
    if reason is not None:
        hint = "nothing is known of what it computes"
        findings.append(Finding("NIR615", "warning", f"was not run: {reason}", hint=hint))
        _loaded(module, image, findings)
        return Proof(findings, 0)
    try:
        with user_errors(module, "when it was set to evaluation", "NIR530"):
            module.eval()
    except NirtorchError as error:
        return Proof([*findings, *error.findings], 0)
    used = steps_used(module)
    is_mapped = any(leaf.is_mapped for leaf in leaves(module))
    wanted = steps or max(FEWEST_STEPS, used) + (MORE_STEPS if is_mapped else 0)
    seconds = MOST_SECONDS if steps is None else None
    with observed(module, CLOSE_STEPS) as observations:
        run = _ran(module, wanted, batch, seed, findings, seconds=seconds)
    if run is None:
        _loaded(module, image, findings)
        return Proof(findings, 0)
    findings += _not_finite(module, run, observations)
    findings += _contract(observations, used, seed, run, functools.partial(_copy, module, image))
    again = _loaded(module, image, findings)
    if not {"NIR630", "NIR632"} & {finding.code for finding in findings}:
        if is_mapped:
            findings += _not_repeated(module, batch, seed, run)
        if again is not None:
            findings += _differences(module, again, batch, seed, run)
    if run.steps < min(wanted, used):
        text = f"was run for {counted(run.steps, 'step')}, and its delays and loops need {used:,}"
        hint = "its steps take long; --steps says how many to run"
        findings.append(Finding("NIR635", "warning", text, hint=hint))
    return Proof(findings, run.steps)


def _stored(module: ConvertedModule, findings: list[Finding]) -> bytes | None:
    image = io.BytesIO()
    try:
        save(module, image)
    except SaveError as error:
        findings += error.findings
        return None
    return image.getvalue()


def _loaded(
    module: ConvertedModule, image: bytes | None, findings: list[Finding]
) -> ConvertedModule | None:
    if image is None:
        return None
    try:
        again = load(io.BytesIO(image))
    except ReadError as error:
        leaf = next((leaf for leaf in leaves(module) if not _is_restored(leaf)), None)
        what = "what was saved" if leaf is None else f"its module {leaf.name}, once saved,"
        text = f"{what} cannot be loaded: it {error.findings[0].message}"
        hint = "a mapped module's pickle is not complete"
        path = None if leaf is None else leaf.path
        findings.append(Finding("NIR508", "error", text, path, hint=hint))
        return None
    assert isinstance(again, ConvertedModule)
    return again


def _is_restored(leaf: Leaf) -> bool:
    try:
        pickle.loads(pickle.dumps(leaf.module))
    except BaseException as error:  # a user's class may raise any error
        if is_interrupt(error) or lacks_memory(error):
            raise
        return False
    return True


def _copy(module: ConvertedModule, image: bytes | None, leaf: Leaf) -> torch.nn.Module | None:
    """A node's module as it was stored; None if it cannot be loaded."""
    again = _loaded(module, image, [])
    if again is None:
        return None
    again.eval()
    return next((other.module for other in leaves(again) if other.path == leaf.path), None)


def _why_not_run(module: ConvertedModule) -> str | None:
    unknown = inputs_without_shape(module)
    if unknown:
        names = [module.meta["names"].get(name, name) for name in unknown]
        return f"the shape of the Input {listed(names)} is not known"
    if any(tensor.device.type == "meta" for tensor in stored_tensors(module)):
        return "on the device 'meta' nothing has values"
    return None


def _inputs(module: ConvertedModule, batch: int, seed: int) -> Iterator[dict[str, Tensor]]:
    """Uniform random numbers in [0, 1) for each step, (batch, *shape), by argument name."""
    first = first_floating(module)
    like = torch.empty(0) if first is None else first.detach()
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: module.meta["shapes"][name][1] for name in module.meta["inputs"]}
    while True:
        yield {
            name: torch.rand((batch, *shape), generator=generator).to(like)
            for name, shape in shapes.items()
        }


def _ran(
    module: ConvertedModule,
    steps: int,
    batch: int,
    seed: int,
    findings: list[Finding],
    *,
    seconds: float | None = None,
) -> _Run | None:
    """A run of so many steps, or of as many as can be done in so many seconds."""
    run = _Run()
    state: Any = None
    started = time.monotonic()
    try:
        with seeded(seed), torch.no_grad():
            for step, fed in zip(range(steps), _inputs(module, batch, seed)):
                if seconds is not None and step >= FEWEST_STEPS and run.seconds > seconds:
                    break
                output, state = module(**fed, state=state)
                for name, values in _named(module, output).items():
                    run.outputs.setdefault(name, []).append(digest(values))
                    if not is_finite(values):
                        run.not_finite.setdefault(name, step)
                run.steps, run.seconds = step + 1, time.monotonic() - started
        run.state = {name: digest(part) for name, part in state.items()}
        run.nodes = nodes_not_finite(module, state)
    except NirtorchError as error:
        findings += error.findings
        return None
    except MemoryError:
        raise
    except BaseException as error:  # a user's module may raise any error
        if is_interrupt(error) or lacks_memory(error):
            raise
        findings.append(failure(module, error))
        return None
    return run


def _named(module: ConvertedModule, output: Any) -> Mapping[str, Tensor]:
    return output if isinstance(output, dict) else {module.meta["outputs"][0]: output}


def _not_finite(
    module: ConvertedModule, run: _Run, observations: list[Observation]
) -> Iterator[Finding]:
    """NIR611 for the mapped modules that gave NaN; else for each output and state with any."""
    by_themselves = False
    for one in observations:
        if one.not_finite is not None:
            where = f"at step {one.not_finite} of {run.steps} first"
            text = f"its module {one.leaf.name} gives NaN or infinity on random input, {where}"
            yield Finding("NIR611", "error", text, one.leaf.path)
            by_themselves = True
    if by_themselves:
        return
    for name, step in run.not_finite.items():
        text = f"gives NaN or infinity on random input, at step {step} of {run.steps} first"
        yield Finding("NIR611", "error", text, module.meta["names"].get(name, name))
    if run.nodes:
        where = f"after a run of {counted(run.steps, 'step')} on random input"
        text = f"NaN or infinity in the state of {listed(run.nodes)} {where}"
        yield Finding("NIR611", "error", text, run.nodes[0] if len(run.nodes) == 1 else None)


def _contract(
    observations: list[Observation],
    used: int,
    seed: int,
    run: _Run,
    copy: Callable[[Leaf], torch.nn.Module | None],
) -> Iterator[Finding]:
    """What the mapped modules did, and do by themselves, that a map must not."""
    tried_already: set[int] = set()
    affordable = max(2, int(MOST_SECONDS / 2 * run.steps / max(run.seconds, 1e-9)))
    for one in observations:
        yield from one.faults.values()
        if one.grows(used):
            text = f"the state of its module {one.leaf.name} grows with every step"
            sizes = f"from {one.sizes[0]:,} to {one.sizes[-1]:,} values in {run.steps:,} steps"
            hint = "a state of a fixed size can be run for any time"
            yield Finding("NIR634", "warning", f"{text}: {sizes}", one.leaf.path, hint=hint)
        if not one.faults and id(one.leaf.module) not in tried_already:
            tried_already.add(id(one.leaf.module))
            del one.inputs[affordable:]
            yield from tried(one, seed, functools.partial(copy, one.leaf))


def _not_repeated(module: ConvertedModule, batch: int, seed: int, run: _Run) -> Iterator[Finding]:
    """NIR630 if the module as a whole gives other numbers when it starts again."""
    findings: list[Finding] = []
    again = _ran(module, run.steps, batch, seed, findings)
    yield from findings
    where = None if again is None else _first_difference(module, run, again)
    if where is not None:
        text = f"two runs from state=None on one input give different numbers at {where}"
        hint = "a mapped module keeps something from call to call"
        yield Finding("NIR630", "error", text, hint=hint)


def _differences(
    module: ConvertedModule, again: ConvertedModule, batch: int, seed: int, run: _Run
) -> Iterator[Finding]:
    """NIR612 if the loaded module gives another bit than the one that was saved."""
    findings: list[Finding] = []
    again.eval()
    other = _ran(again, run.steps, batch, seed, findings)
    if other is None:
        text = f"when it was saved and loaded, it failed: {findings[0].message}"
        yield Finding("NIR612", "error", text, findings[0].node)
        return
    where = _first_difference(module, run, other)
    if where is not None:
        hint = "a mapped module keeps something that its pickle does not hold"
        text = f"when it was saved and loaded, it gives different numbers at {where}"
        yield Finding("NIR612", "error", text, hint=hint)


def _first_difference(module: ConvertedModule, one: _Run, other: _Run) -> str | None:
    """Where two runs differ in a bit; None if nowhere."""
    names = module.meta["names"]
    for name, values in one.outputs.items():
        if values != other.outputs.get(name):
            return f"the Output {quoted(names.get(name, name))}"
    for name, part in one.state.items():
        if part != other.state.get(name):
            return f"the state of {quoted(names.get(name, name))}"
    return None
