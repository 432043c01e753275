"""What ``/openapi.json`` promises, held against the running server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    positive_data_acceptance,
    response_schema_conformance,
)

from jobwire.server import documents
from server.conftest import Serving, serving_app
from server.http_app import API, Http
from server.types_app import app

EXAMPLES = 4
"""Of each operation, valid and invalid ones; more find no more, and take their time."""

DOCUMENT = documents.openapi(app.facts, app.endpoints.values(), prefix=API)
OPERATIONS = [
    result.ok()
    for result in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()
    if isinstance(result, Ok)
]

EXCLUDED: dict[str, list[Any]] = {
    # It takes the schema of the body for that of each event.
    "{event_id}": [response_schema_conformance],
    # Nobody knows the path of a file that was uploaded.
    "/files": [positive_data_acceptance],
    # The function fails, and 500 is how that is told.
    "/run/fails": [not_a_server_error],
    # See below.
    "/upload": [negative_data_rejection],
}


def cases() -> Iterator[Any]:
    for operation in OPERATIONS:
        for mode in GenerationMode:
            if operation.method == "get" and mode is GenerationMode.NEGATIVE:
                continue  # any text is an id
            if re.fullmatch(r"/gradio_api/call/\w+", operation.path):
                continue  # as /run, which also tells how it ends
            yield pytest.param(operation, mode, id=f"{operation.label}-{mode.value}")


@pytest.fixture(scope="module")
def types() -> Iterator[Serving]:
    with serving_app("server.types_app:app", "--no-access-log") as serving:
        yield serving


def test_the_document(types: Serving) -> None:
    served = Http(types.url).get(f"{API}/openapi.json").json
    assert served.pop("servers") == [{"url": types.url}]
    assert served == DOCUMENT
    assert not [path for path in served["paths"] if "hidden" in path or "held" in path]
    assert len(OPERATIONS) > 50


@pytest.mark.parametrize(("operation", "mode"), list(cases()))
def test_the_server_does_what_it_says(
    types: Serving, operation: schemathesis.APIOperation[Any, Any, Any, Any], mode: GenerationMode
) -> None:
    excluded = [
        check
        for end, checks in EXCLUDED.items()
        if operation.path.endswith(end)
        for check in checks
    ]

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(base_url=types.url, timeout=10, excluded_checks=excluded)

    check()


def test_a_form_without_files(types: Serving) -> None:
    form = DOCUMENT["components"]["schemas"]["Files"]
    assert Http(types.url).upload().status == 200
    assert "files" not in form.get("required", ())
