"""What torch.onnx made of a step to the model that is written: NIR's names, no traces, a Scan.

In: an ONNX model of one step, whose inputs and outputs are in the order of its `Description`. Out:
a model of the step, or of a sequence of steps:

    input (time, batch, ...) ----- a step at a time ----> +------+ -----> output (time, batch, ...)
                                                          | Scan |
    lif.v (batch, ...) --- before the first step -------> +------+ -----> lif.v.next (batch, ...)

whose body is the step; the weights stay outside of it. Always holds: nothing in it depends on the
machine or the moment. Cost: linear in the nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import onnx
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper

from nirtorch_cli.conversion.artefacts.description import (
    BATCH,
    Description,
    Port,
    Variable,
    following,
)

TIME = "time"
"""The axis of time, in shapes."""

End = Port | Variable
"""What is an input or an output of a model."""

OF_A_STEP = ".step"
"""What the names of a step end in, inside of a Scan."""


def model_of(step: ModelProto, description: Description) -> ModelProto:
    """The model to write, from what torch.onnx made of one step.

    Raises:
        ValueError: it has other inputs or outputs than are described.
    """
    graph = GraphProto()
    graph.CopyFrom(step.graph)
    _strip(graph)
    _separate_ends(graph)
    ports: list[End] = [*description.inputs, *description.state]
    taken = [one.name for one in ports]
    given = [one.name for one in description.outputs]
    given += [following(one.name) for one in description.state]
    ending = OF_A_STEP if description.sequence else ""
    ends = [f"{name}{ending}" for name in (*taken, *given)]
    own = [one.name for one in (*graph.input, *graph.output)]
    if len(own) != len(ends) or len(set(own)) != len(own):
        raise ValueError(f"{len(own)} inputs and outputs, not {len(ends)}")
    _rename(graph, _new_names(graph, dict(zip(own, ends)), {*ends, *taken, *given}))
    results: list[End] = [*description.outputs, *description.state]
    _set_ends(graph, ports, results, ends)
    if description.sequence:
        graph = _over_time(graph, description, [*taken, *given])
    return helper.make_model(
        graph,
        ir_version=step.ir_version,
        opset_imports=list(step.opset_import),
        functions=list(step.functions),
        producer_name=step.producer_name,
        producer_version=step.producer_version,
    )


def checked_bytes(model: ModelProto) -> bytes:
    """A model as it is written, after onnx.checker has checked it; the same for equal models."""
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _over_time(body: GraphProto, description: Description, ends: Sequence[str]) -> GraphProto:
    """A graph that runs a step by a Scan, from inputs over time and a first state."""
    inputs, state = len(description.inputs), len(description.state)
    outputs = len(description.outputs)
    taken, given = ends[: inputs + state], ends[inputs + state :]
    weights = list(body.initializer)
    del body.initializer[:]
    of_inputs, of_state = list(body.input[:inputs]), list(body.input[inputs:])
    of_outputs, of_next = list(body.output[:outputs]), list(body.output[outputs:])
    for field, values in ((body.input, of_state + of_inputs), (body.output, of_next + of_outputs)):
        del field[:]
        field.extend(values)
    scan = helper.make_node(
        "Scan",
        [*taken[inputs:], *taken[:inputs]],
        [*given[outputs:], *given[:outputs]],
        name="over_time",
        body=body,
        num_scan_inputs=inputs,
    )
    whole = GraphProto(name="sequence", node=[scan], initializer=weights)
    ports: list[End] = [*description.inputs, *description.state]
    results: list[End] = [*description.outputs, *description.state]
    _set_ends(whole, ports, results, ends, timed=True)
    return whole


def _set_ends(
    graph: GraphProto,
    taken: Sequence[End],
    given: Sequence[End],
    names: Sequence[str],
    *,
    timed: bool = False,
) -> None:
    """Set the inputs and outputs of a graph: names, types and shapes."""
    values = [_value(one, name, timed) for one, name in zip((*taken, *given), names, strict=True)]
    for field, some in ((graph.input, values[: len(taken)]), (graph.output, values[len(taken) :])):
        del field[:]
        field.extend(some)


def _value(one: End, name: str, timed: bool) -> ValueInfoProto:
    shape: list[int | str] = list(one.shape) if isinstance(one, Variable) else [BATCH, *one.shape]
    if timed and isinstance(one, Port):
        shape = [TIME, *shape]
    kind = getattr(onnx.TensorProto, _TYPES[one.dtype])
    return helper.make_tensor_value_info(name, kind, shape)


_TYPES = {
    "float64": "DOUBLE",
    "float32": "FLOAT",
    "float16": "FLOAT16",
    "bfloat16": "BFLOAT16",
    "int64": "INT64",
    "int32": "INT32",
    "int16": "INT16",
    "int8": "INT8",
    "uint8": "UINT8",
    "bool": "BOOL",
}
"""ONNX's types by torch's names."""


def _strip(graph: GraphProto) -> None:
    """Remove what torch says of its own code, with paths, and what can be inferred."""
    for part in _graphs(graph):
        part.doc_string = ""
        for field in (part.metadata_props, part.value_info, part.quantization_annotation):
            del field[:]
        for one in (*part.node, *part.input, *part.output, *part.initializer):
            one.doc_string = ""
            del one.metadata_props[:]


def _separate_ends(graph: GraphProto) -> None:
    """Give every output a value of its own: none is an input, a weight, or another output."""
    seen = {one.name for one in (*graph.input, *graph.initializer)}
    names = set(_names(graph))
    for output in graph.output:
        if output.name in seen:
            name = _free(f"{output.name}_copy", names)
            names.add(name)
            graph.node.append(NodeProto(op_type="Identity", input=[output.name], output=[name]))
            output.name = name
        seen.add(output.name)


def _new_names(graph: GraphProto, ends: Mapping[str, str], taken: set[str]) -> dict[str, str]:
    """New names for all values: those of the ends, and others that are taken by none of these."""
    found, used = dict(ends), taken | set(_names(graph))
    for name in _names(graph):
        if name and name not in found:
            found[name] = _free(name, used) if name in taken else name
            used.add(found[name])
    return found


def _free(name: str, used: set[str]) -> str:
    while name in used:
        name += "_"
    return name


def _rename(graph: GraphProto, new: Mapping[str, str]) -> None:
    for part in _graphs(graph):
        for one in (*part.input, *part.output, *part.initializer):
            one.name = new[one.name]
        for node in part.node:
            for field in (node.input, node.output):
                field[:] = [new.get(name, name) for name in field]


def _names(graph: GraphProto) -> Iterator[str]:
    """The names of all values, those inside of nodes too, in order."""
    for part in _graphs(graph):
        yield from (one.name for one in (*part.input, *part.output, *part.initializer))
        for node in part.node:
            yield from (*node.input, *node.output)


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph, and those inside of its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
            for inner in attribute.graphs:
                yield from _graphs(inner)
