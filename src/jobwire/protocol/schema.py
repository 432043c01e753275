"""What an app offers, from its ``/config`` and ``/info``.

Components and endpoints are looked up by id: both lists have gaps.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from jobwire.exceptions import EndpointNotFoundError, NotGradioError, shown
from jobwire.protocol.dialects import Carrier, Dialect, select_dialect
from jobwire.protocol.files import holds_files
from jobwire.protocol.old_files import Form, find_form

__all__ = ("AppSchema", "Component", "Endpoint", "Parameter", "Visibility", "parse_config")

Visibility = Literal["public", "undocumented", "private"]

# Components that carry no value for callers, for servers before 4.0, whose config does
# not mark them.
_SKIPPED = frozenset(
    [
        "state",
        "row",
        "column",
        "tabs",
        "tab",
        "tabitem",
        "box",
        "form",
        "accordion",
        "group",
        "interpretation",
        "dataset",
        "sidebar",
    ]
)


class Component(NamedTuple):
    """An input or output of an endpoint.

    Attributes:
        id: Its id in the app.
        type: Its kind, such as ``"textbox"``.
        label: What people see on it; may be empty.
        skipped: Callers neither give nor get its value: state, buttons, layout.
        holds_files: Its values may hold files.
        old_form: How they hold them, if that is as before 4.0; else None.
        value: What a page would send for it before anybody changed it, if it is skipped;
            None for state, whose value the server keeps.
    """

    id: int
    type: str
    label: str
    skipped: bool
    holds_files: bool = False
    old_form: Form | None = None
    value: Any = None


class Parameter(NamedTuple):
    """One argument that callers give, or one value that they get.

    Attributes:
        name: The name by which it can be given; for a returned value, its label.
        component: The kind of component, such as ``"Textbox"``.
        type: Its Python type, in words, such as ``"str"``; ``"Any"`` if the app does
            not say.
        description: More about it; may be empty.
        has_default: It can be left out, and ``default`` is sent then.
        default: See ``has_default``.
    """

    name: str
    component: str
    type: str
    description: str
    has_default: bool = False
    default: Any = None


class Endpoint(NamedTuple):
    """A function of an app that can be called.

    Attributes:
        id: ``fn_index`` on the wire.
        api_name: Its name with a leading slash; None if it has none.
        visibility: ``public``; ``undocumented``, which can be called but is not
            listed; ``private``, which its author does not want to be called.
        runs: False if there is only JavaScript behind it, which no server runs.
        inputs: Every input, skipped ones included, in the order of the wire.
        outputs: Likewise.
        generator: Whether it may give many outputs.
        batch: Whether the server runs several calls at once.
        description: The app's words on it; may be empty. Known after ``/info``.
        parameters: What callers give, in order. Known after ``/info``; None before,
            and for endpoints that it does not list.
        returns: What callers get, in order; None as for ``parameters``.
        oauth_token: ``required`` or ``optional`` if it acts with the caller's Hugging
            Face token, else None. Known after ``/info``.
        rendered_in: The number of the rendering function that made it in this session;
            None for the app's own.
        queued: It waits for its turn in the app's queue; False if its author wants it
            called directly.
    """

    id: int
    api_name: str | None
    visibility: Visibility
    runs: bool
    inputs: tuple[Component, ...]
    outputs: tuple[Component, ...]
    generator: bool
    batch: bool
    description: str = ""
    parameters: tuple[Parameter, ...] | None = None
    returns: tuple[Parameter, ...] | None = None
    oauth_token: str | None = None
    rendered_in: int | None = None
    queued: bool = True

    @property
    def stateful(self) -> bool:
        """Whether it reads or writes what the app keeps for each session."""
        return any(component.type == "state" for component in (*self.inputs, *self.outputs))

    @property
    def label(self) -> str:
        """How to name it to a person: ``/predict`` or ``fn_index=3``."""
        return self.api_name or f"fn_index={self.id}"


class AppSchema(NamedTuple):
    """An app and its endpoints.

    Attributes:
        url: The app's root, with a trailing slash.
        title: Its title.
        version: The version of Gradio that serves it.
        dialect: How its server speaks.
        prefix: Where the API lies below the root, such as ``"gradio_api/"``; empty, or
            ending in a slash.
        endpoints: By id, in the app's order.
        components: By id.
        stateful: It keeps values for each session (``gr.State``).
        wants_heartbeat: It wants to know when a session ends.
        max_file_size: Bytes of a file that it takes; None for any number.
        complete: ``/info`` has been read.
        info: What it said, without the code snippets, which are most of it; None
            before.
    """

    url: str
    title: str
    version: str
    dialect: Dialect
    prefix: str
    endpoints: Mapping[int, Endpoint]
    components: Mapping[int, Component]
    stateful: bool
    wants_heartbeat: bool
    max_file_size: int | None = None
    complete: bool = False
    info: Mapping[str, Any] | None = None

    @property
    def callable_endpoints(self) -> list[Endpoint]:
        """What may be called, in the app's order."""
        return [
            endpoint
            for endpoint in self.endpoints.values()
            if endpoint.runs and endpoint.visibility != "private"
        ]

    def carrier(self, endpoint: Endpoint) -> Carrier | Literal["request"]:
        """Return what a job of an endpoint travels on: a plain ``request`` past the queue, too.

        That is what an endpoint's author may want, though it gives one output only. Servers
        since 4.9 queue its jobs all the same, and nothing is lost by it. It is also the way
        to call what would stop the server's queue for good.
        """
        queue = self.dialect.carrier
        if endpoint.batch and not self.dialect.batches:
            return "request"
        return queue if endpoint.queued or queue == "session stream" else "request"

    def find(self, api_name: str | None = None, fn_index: int | None = None) -> Endpoint:
        """Return the endpoint that a caller means.

        Args:
            api_name: Its name; the leading slash may be left out. Wins over
                ``fn_index``.
            fn_index: Its id. Without either, the only public endpoint is meant.

        Raises:
            EndpointNotFoundError: There is none, or it may not be called, or neither
                was given and there are several.
        """
        offered = self.callable_endpoints
        public = [endpoint for endpoint in offered if endpoint.visibility == "public"]
        names = [endpoint.label for endpoint in public]
        if api_name is not None:
            wanted = "/" + str(api_name).lstrip("/")
            for endpoint in offered:
                if endpoint.api_name == wanted:
                    return endpoint
            raise EndpointNotFoundError(
                f"{self.url} has no endpoint {wanted!r}; {_offer(wanted, names)}",
                endpoint=api_name,
                available=names,
            )
        if fn_index is not None:
            found = self.endpoints.get(fn_index)
            if found is not None and found in offered:
                return found
            why = (
                "there is none with that index"
                if found is None
                else "its author made it private"
                if found.runs
                else "it only runs in the browser"
            )
            raise EndpointNotFoundError(
                f"{self.url}: fn_index={fn_index} cannot be called: {why}; {_offer('', names)}",
                endpoint=fn_index,
                available=names,
            )
        if len(public) == 1:
            return public[0]
        raise EndpointNotFoundError(
            f"{self.url} has {len(names)} public endpoints, so say which: {_offer('', names)}",
            endpoint=None,
            available=names,
        )

    def with_info(self, info: Any) -> AppSchema:
        """Return the schema with what ``/info`` adds: parameters, types, descriptions.

        What makes no sense in it is left out: a call must not fail for the sake of a
        description.
        """
        named, unnamed = (_dict(_dict(info).get(key)) for key in _INFO_KEYS)
        endpoints = {}
        for id, endpoint in self.endpoints.items():
            entry = named.get(endpoint.api_name) or unnamed.get(str(id))
            if isinstance(entry, dict):
                endpoint = endpoint._replace(
                    description=str(entry.get("description") or ""),
                    parameters=_parameters(entry.get("parameters")),
                    returns=_parameters(entry.get("returns")),
                    oauth_token=_text(entry.get("oauth_token")),
                )
            endpoints[id] = endpoint
        kept = _dict(info) | {
            key: _without_snippets(entries)
            for key, entries in zip(_INFO_KEYS, (named, unnamed), strict=True)
        }
        return self._replace(endpoints=endpoints, complete=True, info=kept)

    def with_rendered(self, config: Any) -> AppSchema:
        """Return the schema with what a function has rendered anew (``gr.render``).

        The endpoints in it can be called in the session that rendered them, and replace
        those of the same function's last time there.

        Args:
            config: The decoded ``render_config`` of an output. What makes no sense in it is
                left out.
        """
        config = _dict(config)
        owner = config.get("render_id")
        components = {
            **self.components,
            **dict(_components(config.get("components"), self.dialect)),
        }
        endpoints = {
            id: endpoint
            for id, endpoint in self.endpoints.items()
            if owner is None or endpoint.rendered_in != owner
        }
        dependencies = config.get("dependencies")
        for endpoint in _endpoints(
            dependencies if isinstance(dependencies, list) else (), components
        ):
            endpoints[endpoint.id] = endpoint._replace(rendered_in=owner)
        return self._replace(endpoints=endpoints, components=components)

    def without_rendered(self) -> AppSchema:
        """Return the schema with the app's own endpoints alone."""
        own = {id: e for id, e in self.endpoints.items() if e.rendered_in is None}
        return self if len(own) == len(self.endpoints) else self._replace(endpoints=own)


_VISIBILITIES: tuple[Visibility, ...] = ("public", "undocumented", "private")
_INFO_KEYS = ("named_endpoints", "unnamed_endpoints")


def parse_config(config: Any, *, url: str) -> AppSchema:
    """Read a decoded ``/config``.

    Args:
        config: The decoded JSON.
        url: The app's root, with a trailing slash. What the config says about it is
            not used: behind proxies it is often wrong.

    Raises:
        NotGradioError: It is no Gradio config.
        UnsupportedProtocolError: We do not speak the server's protocol.
    """
    if (
        not isinstance(config, dict)
        or not isinstance(config.get("components"), list)
        or not isinstance(config.get("dependencies"), list)
    ):
        raise NotGradioError(
            f"{url}config is JSON, but no Gradio app's: {shown(reprlib.repr(config))}; give the "
            "address at which the app's page opens",
            url=f"{url}config",
            status=200,
        )
    version = str(config.get("version") or "").strip()
    protocol = config.get("protocol")
    dialect = select_dialect(
        protocol if isinstance(protocol, str) else None,
        version,
        durable=isinstance(config.get("jobwire"), str),
    )
    components = dict(_components(config["components"], dialect))
    prefix = str(config.get("api_prefix") or "").strip("/")
    limit = config.get("max_file_size")
    return AppSchema(
        url=url,
        title=str(config.get("title") or ""),
        version=version,
        dialect=dialect,
        prefix=f"{prefix}/" if prefix else "",
        endpoints={
            endpoint.id: endpoint
            for endpoint in _endpoints(
                config["dependencies"], components, config.get("enable_queue") is not False
            )
        },
        components=components,
        stateful=any(component.type == "state" for component in components.values()),
        wants_heartbeat=config.get("connect_heartbeat") is True,
        max_file_size=limit if isinstance(limit, int) and limit > 0 else None,
    )


def _components(raw: Any, dialect: Dialect) -> Iterable[tuple[int, Component]]:
    for entry in raw if isinstance(raw, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("id"), int):
            yield entry["id"], _component(entry, dialect)


def _component(raw: Mapping[str, Any], dialect: Dialect) -> Component:
    kind = str(raw.get("type") or "")
    skipped = raw.get("skip_api")
    if not isinstance(skipped, bool):
        skipped = kind in _SKIPPED
    props = _dict(raw.get("props"))
    old_form = find_form(raw) if dialect.old_files else None
    return Component(
        id=raw["id"],
        type=kind,
        label=str(props.get("label") or ""),
        skipped=skipped,
        holds_files=old_form is not None
        or holds_files(raw.get("api_info_as_output") or raw.get("api_info")),
        old_form=old_form,
        value=props.get("value") if skipped and kind != "state" else None,
    )


def _endpoints(
    dependencies: Iterable[Any], components: Mapping[int, Component], has_queue: bool = True
) -> Iterable[Endpoint]:
    for index, raw in enumerate(dependencies):
        if not isinstance(raw, dict):
            continue
        name = raw.get("api_name")
        types = _dict(raw.get("types"))
        id = raw.get("id")
        yield Endpoint(
            id=id if isinstance(id, int) else index,
            api_name=f"/{name}" if isinstance(name, str) else None,
            visibility=_visibility(raw),
            runs=bool(raw.get("backend_fn", True)),
            inputs=tuple(_used(raw.get("inputs"), components)),
            outputs=tuple(_used(raw.get("outputs"), components)),
            generator=bool(types.get("generator")),
            batch=bool(raw.get("batch")),
            # Null means as the app has it; of a generator, a direct call gives one output.
            queued=has_queue and (raw.get("queue") is not False or bool(types.get("generator"))),
        )


def _visibility(raw: Mapping[str, Any]) -> Visibility:
    for visibility in _VISIBILITIES:
        if raw.get("api_visibility") == visibility:  # since 6.0
            return visibility
    if raw.get("api_name") is False:
        return "private"
    return "undocumented" if raw.get("show_api") is False else "public"


def _used(ids: Any, components: Mapping[int, Component]) -> Iterable[Component]:
    for id in ids if isinstance(ids, list) else ():
        id = id if isinstance(id, int) else -1
        yield components.get(id) or Component(id, "", "", skipped=False)


def _parameters(raw: Any) -> tuple[Parameter, ...] | None:
    if not isinstance(raw, list):
        return None
    parameters: list[Parameter] = []
    taken: set[str] = set()
    for index, entry in enumerate(map(_dict, raw)):
        # Servers before 4.23 name no parameters; a label will do if it is the only one.
        name = str(entry.get("parameter_name") or entry.get("label") or "")
        if not name or name in taken:
            name = f"param_{index}"
            while name in taken:
                name += "_"
        taken.add(name)
        python_type = _dict(entry.get("python_type"))
        parameters.append(
            Parameter(
                name=name,
                component=str(entry.get("component") or ""),
                type=str(python_type.get("type") or "Any"),
                description=str(python_type.get("description") or ""),
                has_default=bool(entry.get("parameter_has_default")),
                default=entry.get("parameter_default"),
            )
        )
    return tuple(parameters)


def _without_snippets(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {key: value for key, value in entry.items() if key != "code_snippets"}
        for name, entry in entries.items()
        if isinstance(entry, dict)
    }


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _dict(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _offer(wanted: str, names: list[str]) -> str:
    if not names:
        return "it offers none to callers"
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.6)
    rest = [name for name in names if name not in near]
    text = f"did you mean {' or '.join(near)}? " if near else ""
    if rest:
        more = f" and {len(rest) - 12} more" if len(rest) > 12 else ""
        text += f"{'others' if near else 'it has'}: {', '.join(rest[:12])}{more}"
    return text.strip()
