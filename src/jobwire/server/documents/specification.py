"""``/openapi.json``: the plain HTTP side of the API, one set of paths for each endpoint."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from jobwire import __version__
from jobwire.server.documents.facts import Facts, example

if TYPE_CHECKING:
    from jobwire.server.endpoint import Endpoint
    from jobwire.server.signature import Slot

__all__ = ("openapi",)

_Json = dict[str, Any]

_REFS = "#/components/schemas/"
_STRING: _Json = {"type": "string"}
_SESSION: _Json = {"type": ["string", "null"], "maxLength": 256}
_EVENT_ID: _Json = {
    "name": "event_id",
    "in": "path",
    "required": True,
    "description": "The job's id.",
    "schema": _STRING,
}
_UPLOAD_ID: _Json = {
    "name": "upload_id",
    "in": "query",
    "description": "A name of your choice, under which the progress can be read.",
    "schema": _STRING,
}
_SCHEMAS: _Json = {
    "Accepted": {"type": "object", "properties": {"event_id": _STRING}, "required": ["event_id"]},
    "AppError": {
        "type": "object",
        "properties": {
            "error": {"type": ["string", "null"], "description": "Null if the app hides it."},
            "title": {"type": ["string", "null"]},
            "duration": {"type": ["number", "null"], "description": "For how many seconds to show"},
            "visible": {"type": ["boolean", "null"]},
        },
        "required": ["error"],
    },
    "Cancel": {
        "type": "object",
        "properties": {
            "session_hash": _STRING,
            "fn_index": {"type": "integer"},
            "event_id": _STRING,
        },
        "required": ["session_hash", "fn_index", "event_id"],
    },
    "Cancelled": {
        "type": "object",
        "properties": {"success": {"type": "boolean"}},
        "required": ["success"],
    },
    "Event": {  # tools take the schema of a stream for that of each event
        "type": "object",
        "properties": {
            "event": {"enum": ["generating", "complete", "error", "heartbeat"]},
            "data": {"type": "string", "contentMediaType": "application/json"},
        },
        "required": ["event", "data"],
    },
    "Files": {
        "type": "object",
        "properties": {
            "files": {
                "description": "A file; the field may be repeated.",
                "contentMediaType": "application/octet-stream",
            }
        },
    },
    "Refusal": {
        "type": "object",
        "properties": {"detail": {"description": "A sentence, or a list with one per fault."}},
        "required": ["detail"],
    },
}
_SECURITY: _Json = {
    "basic": {"type": "http", "scheme": "basic"},
    "token": {"type": "http", "scheme": "bearer"},
}
_REFUSALS = {
    400: "The request makes no sense.",
    401: "Log in first, or send credentials.",
    403: "Not from this origin.",
    404: "There is nothing of that name.",
    408: "The body came too slowly.",
    413: "The body, or a file in it, is too large.",
    422: "A value does not fit; the parameter is named.",
    503: "The queue is full, or the server is about to stop.",
}
_POST = (400, 403, 408, 413, 422)
_EVENTS = (
    "Server-sent events. `generating` carries an output that more may follow, `complete` the "
    "last one, both as an array with one value for each output; `error` carries what the app "
    "said; `heartbeat` carries null."
)


def openapi(
    facts: Facts, endpoints: Iterable[Endpoint], *, prefix: str, root: str = ""
) -> dict[str, Any]:
    """Return an OpenAPI 3.1 description of the app.

    Args:
        facts: What the app says about itself.
        endpoints: Those that are not public are left out.
        prefix: What every path but ``/health`` begins with, such as ``"/gradio_api"``.
        root: The address of the app, without a trailing slash; empty if the document lies
            directly below it.
    """
    writer = _Writer(auth=facts.auth)
    paths = writer.common(prefix)
    for endpoint in endpoints:
        if endpoint.visibility == "public":
            paths |= writer.endpoint(endpoint, prefix)
    document: _Json = {
        "openapi": "3.1.0",
        "info": {
            "title": facts.title,
            "version": __version__,
            "description": facts.description,
        },
        "paths": paths,
        "components": {"schemas": writer.schemas},
    }
    if root:
        document["servers"] = [{"url": root}]
    if facts.auth:
        document["components"]["securitySchemes"] = _SECURITY
        document["security"] = [{name: []} for name in _SECURITY]
    return document


class _Writer:
    """Paths, and the schemas that they share."""

    def __init__(self, *, auth: bool) -> None:
        self.schemas = dict(_SCHEMAS)
        self._auth = auth
        # What was found under a name, in order; ours come first.
        self._contents: dict[str, list[str]] = {name: [""] for name in _SCHEMAS}

    def common(self, prefix: str) -> _Json:
        health = {
            "200": {"description": "It is well.", **_json({"type": "object"})},
            "503": {"description": "It is about to stop.", **_json({"type": "object"})},
        }
        uploaded = {"type": "array", "items": _STRING}
        return {
            "/health": {
                "get": {
                    "operationId": "server.health",
                    "summary": "Ask how the server is",
                    "responses": health,
                    "security": [],
                }
            },
            f"{prefix}/upload": {
                "post": {
                    "operationId": "server.upload",
                    "summary": "Upload files",
                    "description": 'Each answered path is given to an endpoint as `{"path": ...}`.',
                    "parameters": [_UPLOAD_ID],
                    "requestBody": {
                        "required": True,
                        "content": {"multipart/form-data": {"schema": _ref("Files")}},
                    },
                    "responses": self._answers("Where they are, in order.", uploaded, *_POST),
                }
            },
            f"{prefix}/cancel": {
                "post": {
                    "operationId": "server.cancel",
                    "summary": "Cancel a job",
                    "requestBody": {"required": True, **_json(_ref("Cancel"))},
                    "responses": self._answers("It was heard.", _ref("Cancelled"), *_POST),
                }
            },
        }

    def endpoint(self, endpoint: Endpoint, prefix: str) -> _Json:
        name = endpoint.api_name
        path = quote(name, safe="/")
        inputs, outputs = endpoint.signature.inputs, endpoint.signature.outputs
        call = {
            "summary": endpoint.description.partition("\n")[0] or f"Call {name}",
            "description": endpoint.description,
        }
        named: _Json = {
            "type": "object",
            "properties": {slot.name: self._input(slot) for slot in inputs},
            "required": [slot.name for slot in inputs if not slot.has_default],
            "additionalProperties": False,
        }
        listed = {
            "type": "object",
            "properties": {"data": self._list(inputs), "session_hash": _SESSION},
            "required": ["data"],
        }
        ran = {
            "type": "object",
            "properties": {
                "data": {"type": "array", "minItems": len(outputs), "maxItems": len(outputs)}
            },
            "required": ["data"],
        }
        examples = [example(slot) for slot in inputs]
        by_name = {slot.name: value for slot, value in zip(inputs, examples, strict=True)}
        by_place: _Json = {"data": examples}
        # Paths of files cannot be made up.
        if any(slot.component == "file" for slot in inputs):
            by_name, by_place = {}, {}
        accepted = self._answers("It is queued.", _ref("Accepted"), *_POST, 503)
        failed = {"description": "The app's function failed.", **_json(_ref("AppError"))}
        stream = {
            "200": {
                "description": _EVENTS,
                "content": {"text/event-stream": {"schema": _ref("Event")}},
            },
            **self._refusals(400, 404),
        }
        returned = ", ".join(f"{slot.label}: {slot.python_type}" for slot in outputs)
        return {
            f"{prefix}/call/v2/{path}": {
                "post": {
                    **call,
                    "operationId": name,
                    "requestBody": {"required": True, **_json(named, by_name)},
                    "responses": accepted,
                }
            },
            f"{prefix}/call/{path}": {
                "post": {
                    **call,
                    "operationId": f"{name}.list",
                    "requestBody": {"required": True, **_json(listed, by_place)},
                    "responses": accepted,
                }
            },
            f"{prefix}/call/{path}/{{event_id}}": {
                "get": {
                    "operationId": f"{name}.events",
                    "summary": f"Follow a call of {name}",
                    "description": f"Outputs: {returned or 'none'}.",
                    "parameters": [_EVENT_ID],
                    "responses": stream,
                }
            },
            f"{prefix}/run/{path}": {
                "post": {
                    **call,
                    "operationId": f"{name}.run",
                    "requestBody": {"required": True, **_json(listed, by_place)},
                    "responses": {
                        **self._answers("Its outputs.", ran, *_POST, 404, 503),
                        "500": failed,
                    },
                }
            },
        }

    def _answers(self, description: str, schema: _Json, *refusals: int) -> _Json:
        return {"200": {"description": description, **_json(schema)}, **self._refusals(*refusals)}

    def _refusals(self, *codes: int) -> _Json:
        return {
            str(code): {"description": _REFUSALS[code], **_json(_ref("Refusal"))}
            for code in sorted({*codes, 401} if self._auth else codes)
        }

    def _input(self, slot: Slot) -> _Json:
        schema = self._shared(slot.schema)
        if slot.has_default:  # null asks for the default
            schema = {"anyOf": [schema, {"type": "null"}]}
        return schema | {"description": slot.description} if slot.description else schema

    def _list(self, slots: Sequence[Slot]) -> _Json:
        required = [place for place, slot in enumerate(slots, 1) if not slot.has_default]
        schema: _Json = {
            "type": "array",
            "minItems": max(required, default=0),
            "maxItems": len(slots),
        }
        if slots:  # an empty prefix is not allowed
            schema["prefixItems"] = [self._input(slot) for slot in slots]
        return schema

    def _shared(self, schema: _Json) -> _Json:
        """Move a schema's own definitions to the document's, where its references then lead."""
        definitions: _Json = schema.get("$defs", {})
        content = repr(definitions)
        places: dict[str, str] = {}
        for name in definitions:
            # Types of one name that are not the same type get numbers.
            place = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
            known = self._contents.setdefault(place, [content])
            if content not in known:
                known.append(content)
            number = known.index(content)
            places[f"#/$defs/{name}"] = _REFS + (f"{place}_{number}" if number else place)
        for ref, place in places.items():
            definition = definitions[ref.removeprefix("#/$defs/")]
            self.schemas[place.removeprefix(_REFS)] = _redirected(definition, places)
        rest = {key: value for key, value in schema.items() if key != "$defs"}
        return cast("_Json", _redirected(rest, places))


def _redirected(value: Any, places: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _redirected(item, places) for key, item in value.items()}
    if isinstance(value, list):
        return [_redirected(item, places) for item in value]
    return places.get(value, value) if isinstance(value, str) else value


def _ref(name: str) -> _Json:
    return {"$ref": _REFS + name}


def _json(schema: _Json, example: _Json | None = None) -> _Json:
    media = {"schema": schema, "example": example} if example else {"schema": schema}
    return {"content": {"application/json": media}}
