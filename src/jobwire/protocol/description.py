"""What an app offers, in words, and as the dictionary that ``gradio_client`` makes of it."""

from __future__ import annotations

import copy
import json
import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobwire.protocol.schema import AppSchema, Component, Endpoint, Parameter
from jobwire.protocol.text import one_line

__all__ = ("describe", "gives", "listed_info", "literal", "takes")

_MAX_TEXT = 200
"""Characters of a default, or of the words on a value, that are shown. A default can be a
table; the words can be those of Gradio's own classes on themselves."""
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
    title = f" · {one_line(schema.title)}" if schema.title else ""
    version = one_line(schema.version) or "of unknown version"
    lines = [f"{schema.url}{title} · gradio {version}"]
    if not listed and not others:
        return f"{lines[0]}\n\nIt offers no endpoints to callers.\n"
    for endpoint in listed:
        lines += ["", *_describe(endpoint, schema.url)]
    if others and (all_endpoints or (all_endpoints is None and not listed)):
        lines += ["", "Without a name, or not listed by the app:"]
        for endpoint in others:
            lines += ["", *_describe(endpoint, schema.url)]
    elif others:
        lines += ["", f"{len(others)} more, shown by view_api(all_endpoints=True)"]
    return "\n".join(lines) + "\n"


def _describe(endpoint: Endpoint, url: str) -> Iterator[str]:
    parameters, returns = takes(endpoint), gives(endpoint)
    arguments = [_argument(parameter, i, url) for i, parameter in enumerate(parameters)]
    name = one_line(json.dumps(endpoint.api_name, ensure_ascii=False))
    arguments.append(f"api_name={name}" if endpoint.api_name else endpoint.label)
    values = [_identifier(value.name) or f"value_{i}" for i, value in enumerate(returns)]
    result = f"({', '.join(values)})" if len(values) != 1 else values[0]
    yield f"client.predict({', '.join(arguments)}) -> {result}"
    yield from (f"    {one_line(line)}" for line in endpoint.description.strip().splitlines())
    if endpoint.generator:
        yield "    Gives many outputs: iterate over client.submit(...)."
    if endpoint.oauth_token:
        yield (
            "    Acts on your behalf: it takes your Hugging Face token "
            f"({one_line(endpoint.oauth_token)})."
        )
    yield "    Takes:" if parameters else "    Takes nothing."
    for parameter in parameters:
        yield _entry(parameter, _default(parameter, url))
    yield "    Gives:" if returns else "    Gives nothing."
    yield from map(_entry, returns)


def _entry(value: Parameter, default: str = "") -> str:
    description = f"  {_short(value.description)}" if value.description else ""
    kind = f"{one_line(value.type)}{default}"
    return f"      {one_line(value.name)}: {kind}  [{one_line(value.component)}]{description}"


def _default(parameter: Parameter, url: str) -> str:
    if not parameter.has_default:
        return " (required)"
    empty = parameter.default is None and "None" not in parameter.type
    return f"{' | None' if empty else ''} = {literal(parameter.default, url)}"


def _argument(parameter: Parameter, index: int, url: str) -> str:
    name = _identifier(parameter.name) or f"param_{index}"
    return f"{name}={literal(parameter.default, url)}" if parameter.has_default else name


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


def literal(value: Any, url: str) -> str:
    """Return a default on one line, as it is written in Python; cut if it is long.

    A file is shown as the call of ``handle_file`` that gives it.

    Args:
        value: The default.
        url: The app's root, with a trailing slash.
    """
    return _short(_literal(value, url))


def _literal(value: Any, url: str, depth: int = 0) -> str:
    if isinstance(value, dict | list) and depth == _MAX_DEPTH:
        return "..."
    if isinstance(value, dict):
        meta = value.get("meta")
        if isinstance(meta, dict) and meta.get("_type") == "gradio.FileData":
            return f"handle_file({json.dumps(_address(value, url), ensure_ascii=False)})"
        items = (f"{key!r}: {_literal(item, url, depth + 1)}" for key, item in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_literal(item, url, depth + 1) for item in value)}]"
    return repr(value)


def _address(file: Mapping[str, Any], url: str) -> str:
    # The path is the server's own. Some servers leave their address away.
    address = str(file.get("url") or file.get("path") or "")
    return f"{url}{address[1:]}" if file.get("url") and address.startswith("/") else address


def _short(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 3]}..."


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
