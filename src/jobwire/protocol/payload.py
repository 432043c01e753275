"""Arguments to wire data, and wire data to what callers get."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jobwire.exceptions import ArgumentError
from jobwire.protocol.files import is_file, replace_values
from jobwire.protocol.outputs import Present
from jobwire.protocol.schema import Component, Endpoint, Parameter

__all__ = (
    "batch_body",
    "bind_arguments",
    "encode_body",
    "extend_body",
    "needs_info",
    "presenter",
)

_MISSING: Any = object()


def needs_info(endpoint: Endpoint, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether binding these arguments takes the names and defaults of ``/info``."""
    return bool(kwargs) or len(args) != len(_given(endpoint))


def bind_arguments(endpoint: Endpoint, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """Return the wire data of a call: one value for each of the endpoint's inputs.

    Inputs that callers do not give get what a page would send for them: state a null, for
    the server puts in the value that it keeps; a button its text. Callers who give a value
    by position for every input but state decide on those, too, as ``gradio_client`` has it.

    Raises:
        ArgumentError: A required argument is missing, one is unknown, or there are
            too many, or one is given twice.
    """
    given = _given(endpoint)
    every = [component for component in endpoint.inputs if component.type != "state"]
    if not kwargs and len(args) == len(every) > len(given):
        rest = iter(args)
        return [None if component.type == "state" else next(rest) for component in endpoint.inputs]
    parameters = endpoint.parameters
    if parameters is None or len(parameters) != len(given):
        values = _bind_positions(endpoint, given, args, kwargs)
    else:
        values = _bind_names(endpoint, parameters, args, kwargs)
    rest = iter(values)
    return [component.value if component.skipped else next(rest) for component in endpoint.inputs]


def _given(endpoint: Endpoint) -> list[Component]:
    return [component for component in endpoint.inputs if not component.skipped]


def _bind_positions(
    endpoint: Endpoint,
    given: Sequence[Component],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> list[Any]:
    labels = [component.label or component.type or "value" for component in given]
    if kwargs:
        raise ArgumentError(
            f"{endpoint.label} takes its {len(labels)} arguments by position only; the app "
            f"names none. In order: {', '.join(labels) or 'none'}",
            endpoint=endpoint.label,
            parameter=next(iter(kwargs)),
        )
    if len(args) != len(labels):
        raise ArgumentError(
            f"{endpoint.label} takes {len(labels)} arguments, not {len(args)}; in order: "
            f"{', '.join(labels) or 'none'}",
            endpoint=endpoint.label,
        )
    return list(args)


def _bind_names(
    endpoint: Endpoint,
    parameters: Sequence[Parameter],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> list[Any]:
    signature = f"{endpoint.label}({', '.join(map(_declare, parameters))})"
    if len(args) > len(parameters):
        raise ArgumentError(
            f"too many arguments: {len(args)} given, {signature} takes {len(parameters)}",
            endpoint=endpoint.label,
        )
    values = [*args, *[_MISSING] * (len(parameters) - len(args))]
    positions = {parameter.name: position for position, parameter in enumerate(parameters)}
    for name, value in kwargs.items():
        position = positions.get(name)
        if position is None:
            near = difflib.get_close_matches(name, positions, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ArgumentError(
                f"unknown argument {name!r}: the signature is {signature}{hint}",
                endpoint=endpoint.label,
                parameter=name,
            )
        if position < len(args):
            raise ArgumentError(
                f"argument {name!r} is given twice, by position and by name; "
                f"the signature is {signature}",
                endpoint=endpoint.label,
                parameter=name,
            )
        values[position] = value
    for position, parameter in enumerate(parameters):
        if values[position] is _MISSING:
            if not parameter.has_default:
                raise ArgumentError(
                    f"missing argument {parameter.name!r}: the signature is {signature}",
                    endpoint=endpoint.label,
                    parameter=parameter.name,
                )
            values[position] = parameter.default
    return values


def _declare(parameter: Parameter) -> str:
    return f"{parameter.name}={parameter.default!r}" if parameter.has_default else parameter.name


def encode_body(endpoint: Endpoint, data: Sequence[Any], **fields: Any) -> bytes:
    """Encode the body of a submission; `extend_body` adds the session, and more.

    ``json`` rather than something faster: it sends NaN, infinities and lone surrogates
    as Gradio, which is Python too, reads them, where others send null or refuse.

    Raises:
        ArgumentError: A value cannot be written as JSON.
    """
    body = {"data": data, "fn_index": endpoint.id, **fields}
    try:
        return json.dumps(body).encode()
    except (TypeError, ValueError, RecursionError) as error:
        for component, value in zip(endpoint.inputs, data, strict=False):
            try:
                json.dumps(value)
            except (TypeError, ValueError, RecursionError) as reason:
                name = component.label or component.type
                hint = "; to send a file, pass handle_file(path)" if "Path " in str(reason) else ""
                raise ArgumentError(
                    f"{endpoint.label}: the value for {name!r} ({type(value).__name__}) cannot "
                    f"be sent as JSON: {reason}{hint}",
                    endpoint=endpoint.label,
                    parameter=name,
                ) from None
        raise ArgumentError(str(error), endpoint=endpoint.label) from None


def extend_body(body: bytes, **fields: Any) -> bytes:
    """Return the body of a submission with more fields, its values encoded but once.

    Args:
        body: What `encode_body` returned.
        **fields: What to add; at least one.
    """
    return body[:-1] + b", " + json.dumps(fields)[1:].encode()


def batch_body(body: bytes) -> bytes:
    """Return the body of a submission as a batch of one: a list of values for each input."""
    fields = json.loads(body)
    fields["data"] = [[value] for value in fields["data"]]
    return json.dumps(fields | {"batched": True}).encode()


def presenter(endpoint: Endpoint, file: Callable[[dict[str, Any]], Any] | None = None) -> Present:
    """Return what makes a caller's value of one value for each of the outputs.

    As in ``gradio_client``: skipped outputs are left out; of the others, one alone is
    given bare, and none or several as a tuple.

    Args:
        endpoint: Whose outputs.
        file: Makes what callers see of a FileData; None leaves it as it is.
    """
    kept = [
        (index, component.holds_files and file is not None)
        for index, component in enumerate(endpoint.outputs)
        if not component.skipped
    ]

    def value_of(values: list[Any], index: int, files: bool) -> Any:
        value = values[index] if index < len(values) else None
        return replace_values(value, is_file, file) if files and file is not None else value

    if len(kept) == 1:
        only, files = kept[0]
        return lambda values: value_of(values, only, files)
    return lambda values: tuple(value_of(values, index, files) for index, files in kept)
