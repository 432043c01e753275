"""``/config`` and ``/info``: what stock clients read before their first call."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import TYPE_CHECKING, Any

from jobwire import __version__
from jobwire.protocol.files import holds_files
from jobwire.server.documents.facts import Facts, example

if TYPE_CHECKING:
    from jobwire.server.endpoint import Endpoint
    from jobwire.server.signature import Slot

__all__ = ("API_PREFIX", "config", "info")

API_PREFIX = "/gradio_api"
"""Where the API lies below the root, as clients learn it from the config."""

# Clients choose how to speak by this number: below 4.29 they cancel through a second
# endpoint, below 4.0 gr.load refuses, and a version they cannot parse ends them. It is the
# one whose wire this server speaks, which is no claim to be that server: see "jobwire".
_GRADIO_VERSION = "6.31.0"

# What gradio's own components say of themselves. Older clients read these schemas with
# parsers that stop at anything else, so types are told in full by /info alone, which they
# hand through.
_SIMPLE_SCHEMAS: dict[str, dict[str, Any]] = {
    "textbox": {"type": "string"},
    "number": {"type": "number"},
    "checkbox": {"type": "boolean"},
    "json": {"type": {}, "description": "any valid json"},
}
_OPTIONAL_STRING = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
_FILE_SCHEMA: dict[str, Any] = {
    "title": "FileData",
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "url": _OPTIONAL_STRING,
        "size": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        "orig_name": _OPTIONAL_STRING,
        "mime_type": _OPTIONAL_STRING,
        "is_stream": {"type": "boolean", "default": False},
        "meta": {
            "type": "object",
            "properties": {"_type": {"const": "gradio.FileData", "type": "string"}},
            "required": ["_type"],
        },
    },
    "required": ["path"],
}


def config(
    facts: Facts, endpoints: Iterable[Endpoint], *, root: str, username: str | None
) -> dict[str, Any]:
    """Return what ``GET /config`` says.

    Args:
        facts: What the app says about itself.
        endpoints: In the order of declaration. Private ones are left out.
        root: The address at which this caller reaches the app, without a trailing slash.
            The JavaScript client sends every request there.
        username: Who asks; None if nobody logged in.
    """
    endpoints = [endpoint for endpoint in endpoints if endpoint.visibility != "private"]
    ids = count(1)
    components: list[dict[str, Any]] = []
    dependencies: list[dict[str, Any]] = []
    children: list[dict[str, Any]] = []

    def add(component: dict[str, Any]) -> int:
        id = next(ids)
        components.append({"id": id, **component})
        return id

    for endpoint in endpoints:
        section = add(_layout("accordion", label=f"/{endpoint.api_name}", open=True))
        inputs = [add(_component(slot, input=True)) for slot in endpoint.signature.inputs]
        button = add(_layout("button", value=endpoint.api_name))
        outputs = [add(_component(slot, input=False)) for slot in endpoint.signature.outputs]
        shown = [{"id": id} for id in (*inputs, button, *outputs)]
        children.append({"id": section, "children": shown})
        dependencies.append(_dependency(endpoint, button, inputs, outputs))

    layout = {"id": 0, "children": children}
    return {
        "version": _GRADIO_VERSION,
        "jobwire": __version__,
        "api_prefix": API_PREFIX,
        "protocol": "sse_v3",
        "mode": "blocks",
        "app_id": facts.app_id,
        "title": facts.title,
        "description": facts.description,
        "root": root,
        "username": username,
        "space_id": None,
        "enable_queue": True,
        "show_error": facts.show_errors,
        "max_file_size": facts.max_file_size,
        "connect_heartbeat": any(endpoint.uses_session for endpoint in endpoints),
        "is_colab": False,
        "dev_mode": False,
        "vibe_mode": False,
        "analytics_enabled": False,
        "run_history": False,
        "mcp_server": False,
        "pwa": False,
        "theme": None,
        "theme_hash": None,
        "css": None,
        "js": None,
        "head": None,
        "body_css": None,
        "stylesheets": [],
        "footer_links": [],
        "i18n_translations": None,
        "fill_height": False,
        "fill_width": False,
        "pages": [["", "Home", True]],
        "page": {
            "": {
                "layout": layout,
                "components": [component["id"] for component in components],
                "dependencies": [dependency["id"] for dependency in dependencies],
            }
        },
        "layout": layout,
        "components": components,
        "dependencies": dependencies,
    }


def info(endpoints: Iterable[Endpoint], all_endpoints: bool = False) -> dict[str, Any]:
    """Return what ``GET /gradio_api/info`` says.

    Args:
        endpoints: In the order of declaration.
        all_endpoints: Tell of the undocumented ones too; never of private ones.
    """
    told = ("public", "undocumented") if all_endpoints else ("public",)
    return {
        "named_endpoints": {
            f"/{endpoint.api_name}": {
                "parameters": [
                    {
                        "label": slot.label,
                        "parameter_name": slot.name,
                        "parameter_has_default": slot.has_default,
                        "parameter_default": slot.default if slot.has_default else None,
                        **_types(slot),
                        "example_input": example(slot),
                    }
                    for slot in endpoint.signature.inputs
                ],
                "returns": [
                    {"label": slot.label, **_types(slot)} for slot in endpoint.signature.outputs
                ],
                "api_visibility": endpoint.visibility,
                "description": endpoint.description,
            }
            for endpoint in endpoints
            if endpoint.visibility in told
        },
        "unnamed_endpoints": {},
    }


def _types(slot: Slot) -> dict[str, Any]:
    return {
        "type": slot.schema,
        "python_type": {"type": slot.python_type, "description": slot.description},
        "component": slot.component.capitalize(),
    }


def _layout(kind: str, **props: Any) -> dict[str, Any]:
    """A block that carries no value for callers."""
    return {
        "type": kind,
        "props": {"name": kind, "visible": True, **props},
        "skip_api": True,
        "component_class_id": kind,
        "key": None,
    }


def _component(slot: Slot, *, input: bool) -> dict[str, Any]:
    props: dict[str, Any] = {"name": slot.component, "label": slot.label, "visible": True}
    match slot.component:
        case "file":
            props |= {"file_count": "multiple" if slot.multiple else "single", "type": "filepath"}
        case "dropdown":
            choices = slot.choices or ()
            props |= {
                "choices": [[str(choice), choice] for choice in choices],
                "multiselect": slot.multiple,
                "type": "value",
                "allow_custom_value": not choices,
            }
        case "number" if slot.schema.get("type") == "integer":
            props["precision"] = 0
        case _:
            pass
    if input:
        props["interactive"] = True
        if slot.description:
            props["info"] = slot.description
        # gr.load would fetch a file's value into its own cache.
        if slot.has_default and slot.default is not None and slot.component != "file":
            props["value"] = slot.default
    component = {
        "type": slot.component,
        "props": props,
        "skip_api": False,
        "component_class_id": slot.component,
        "key": None,
        "api_info": _simple_schema(slot),
        "example_inputs": example(slot),
    }
    if slot.component == "json" and not input and holds_files(slot.schema):
        # Since 5.0, and read by those clients alone to whom it matters.
        component["api_info_as_output"] = slot.schema
    return component


def _simple_schema(slot: Slot) -> dict[str, Any]:
    if slot.component == "file":
        schema = _FILE_SCHEMA
    elif slot.component == "dropdown":
        schema = {"type": "string", "enum": list(slot.choices or ())}
    else:
        return _SIMPLE_SCHEMAS[slot.component]
    return {"type": "array", "items": schema} if slot.multiple else schema


def _dependency(
    endpoint: Endpoint, button: int, inputs: list[int], outputs: list[int]
) -> dict[str, Any]:
    # gr.load hands all of it to gradio's own constructor of listeners: no key may be new.
    return {
        "id": endpoint.id,
        "targets": [[button, "click"]],
        "inputs": inputs,
        "outputs": outputs,
        "backend_fn": True,
        "js": None,
        "queue": endpoint.queue,
        "api_name": endpoint.api_name,
        "api_description": endpoint.description or None,
        "api_visibility": endpoint.visibility,
        "scroll_to_output": False,
        "show_progress": "full",
        "show_progress_on": None,
        # Batches are the server's affair. An app that loads this one would make batches of
        # its own and send columns where single values belong.
        "batch": False,
        "max_batch_size": 4,
        "cancels": [],
        "types": {
            "generator": endpoint.signature.kind in ("generator", "async_generator"),
            "cancel": False,
        },
        "collects_event_data": False,
        "trigger_after": None,
        "trigger_only_on_success": False,
        "trigger_only_on_failure": False,
        "trigger_mode": "once",
        "rendered_in": None,
        "render_id": None,
        "connection": "sse",
        # Theirs is for input streams only.
        "time_limit": None,
        "stream_every": 0.5,
        "event_specific_args": None,
        "component_prop_inputs": [],
        "js_implementation": None,
    }
