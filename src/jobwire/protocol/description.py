"""What an app offers, in words, and as the dictionary that ``gradio_client`` makes of it."""

from __future__ import annotations

import copy
import json
import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobwire.protocol.schema import AppSchema, Component, Endpoint, Parameter

__all__ = ("describe", "gives", "listed_info", "literal", "takes")

_MAX_DEFAULT = 200
"""Characters of a default that are shown: an image can be one, or a table."""
_MAX_DEPTH = 20
"""Lists within lists that are shown of one; more are no value, but an attack."""

_BY_VISIBILITY = ("api_visibility", "show_api")


def describe(schema: AppSchema, all_endpoints: bool | None = None) -> str:
    """Return how the endpoints of an app are called, for people.

    Args:
        schema: The app, with its ``/info``.
        all_endpoints: Show, besides the named ones, those without a name and those that
            the app does not list. None shows these only if there are no others.
    """
    listed: list[Endpoint] = []
    others: list[Endpoint] = []
    for endpoint in schema.callable_endpoints:
        named = endpoint.api_name is not None and endpoint.visibility == "public"
        (listed if named else others).append(endpoint)
    title = f" · {schema.title}" if schema.title else ""
    lines = [f"{schema.url}{title} · gradio {schema.version or 'of unknown version'}"]
    if not listed and not others:
        return f"{lines[0]}\n\nIt offers no endpoints to callers.\n"
    for endpoint in listed:
        lines += ["", *_describe(endpoint)]
    if others and (all_endpoints or (all_endpoints is None and not listed)):
        lines += ["", "Without a name, or not listed by the app:"]
        for endpoint in others:
            lines += ["", *_describe(endpoint)]
    elif others:
        lines += ["", f"{len(others)} more, shown by view_api(all_endpoints=True)"]
    return "\n".join(lines) + "\n"


def _describe(endpoint: Endpoint) -> Iterator[str]:
    parameters, returns = takes(endpoint), gives(endpoint)
    arguments = [
        *(_argument(parameter, index) for index, parameter in enumerate(parameters)),
        f'api_name="{endpoint.api_name}"' if endpoint.api_name else endpoint.label,
    ]
    values = [_identifier(value.name) or f"value_{i}" for i, value in enumerate(returns)]
    result = f"({', '.join(values)})" if len(values) != 1 else values[0]
    yield f"client.predict({', '.join(arguments)}) -> {result}"
    yield from (f"    {line.strip()}" for line in endpoint.description.strip().splitlines())
    if endpoint.generator:
        yield "    Gives many outputs: iterate over client.submit(...)."
    if endpoint.oauth_token:
        yield (
            "    Acts on your behalf: it takes your Hugging Face token "
            f"({_flat(endpoint.oauth_token)})."
        )
    yield "    Takes:" if parameters else "    Takes nothing."
    for parameter in parameters:
        yield _entry(parameter, "" if parameter.has_default else " (required)")
    yield "    Gives:" if returns else "    Gives nothing."
    yield from map(_entry, returns)


def _entry(value: Parameter, mark: str = "") -> str:
    kind = value.type
    if value.has_default:
        kind += " | None" if value.default is None and "None" not in kind else ""
        kind += f" = {literal(value.default)}"
    description = f"  {_flat(value.description)}" if value.description else ""
    return (
        f"      {_flat(value.name)}: {_flat(kind)}{mark}  [{_flat(value.component)}]{description}"
    )


def _argument(parameter: Parameter, index: int) -> str:
    name = _identifier(parameter.name) or f"param_{index}"
    return f"{name}={literal(parameter.default)}" if parameter.has_default else name


def _identifier(text: str) -> str:
    """Return a label as a name in Python; empty if it has no letters."""
    name = re.sub(r"\W+", "_", text).strip("_")
    if name[:1].isdigit() or keyword.iskeyword(name):
        name = f"_{name}"
    return name if name.isidentifier() else ""


def takes(endpoint: Endpoint) -> Sequence[Parameter]:
    """Return what callers give; if the app does not say, what its components tell."""
    return _known(endpoint.parameters, endpoint.inputs)


def gives(endpoint: Endpoint) -> Sequence[Parameter]:
    """Return what callers get; if the app does not say, what its components tell."""
    return _known(endpoint.returns, endpoint.outputs)


def _known(
    known: Sequence[Parameter] | None, components: Sequence[Component]
) -> Sequence[Parameter]:
    if known is not None:
        return known
    return [
        Parameter(component.label or component.type, component.type, "Any", "")
        for component in components
        if not component.skipped
    ]


def literal(value: Any) -> str:
    """Return a default on one line, as it is written in Python; cut if it is long.

    A file is shown as the call of ``handle_file`` that gives it.
    """
    text = _flat(_literal(value))
    return text if len(text) <= _MAX_DEFAULT else f"{text[: _MAX_DEFAULT - 3]}..."


def _literal(value: Any, depth: int = 0) -> str:
    if isinstance(value, dict | list) and depth == _MAX_DEPTH:
        return "..."
    if isinstance(value, dict):
        meta = value.get("meta")
        if isinstance(meta, dict) and meta.get("_type") == "gradio.FileData":
            # The path is the server's own; callers can only use the address.
            return f"handle_file({_quoted(value.get('url') or value.get('path'))})"
        items = (f"{key!r}: {_literal(item, depth + 1)}" for key, item in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_literal(item, depth + 1) for item in value)}]"
    return repr(value)


def _quoted(value: Any) -> str:
    return json.dumps(str(value), ensure_ascii=False)


def _flat(text: str) -> str:
    return " ".join(text.split())


def listed_info(schema: AppSchema) -> dict[str, Any]:
    """Return the app's ``/info`` as ``gradio_client`` gives it; the caller may change it.

    That is without the endpoints that the app does not list, and without what tells
    them apart. Empty, but with both keys, if the app does not describe itself.
    """
    info: dict[str, Any] = {"named_endpoints": {}, "unnamed_endpoints": {}}
    info |= copy.deepcopy(dict(schema.info or {}))
    for key in ("named_endpoints", "unnamed_endpoints"):
        entries = info[key] if isinstance(info[key], dict) else {}
        info[key] = {
            name: _without_visibility(entry) for name, entry in entries.items() if _listed(entry)
        }
    return info


def _listed(entry: Any) -> bool:
    if not isinstance(entry, Mapping):
        return False
    visibility = entry.get("api_visibility", "public")
    return visibility == "public" and entry.get("show_api") is not False


def _without_visibility(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in _BY_VISIBILITY}
