"""The heartbeat: how an app that keeps state knows that a session lives."""

import time
from collections.abc import Callable

from wire import CLOSE_STREAM, completed

from conftest import Eventually
from faults import LAST_CHUNK, RawServer, config, event_stream, raw_server, response
from jobwire import Client

STREAM = event_stream(completed("a", "x"), CLOSE_STREAM) + LAST_CHUNK
ALIVE = event_stream(b"data: ALIVE\n\n")


def routes(wanted: bool, heartbeat: bytes = ALIVE) -> dict[str, object]:
    return {
        "/config": response(config(connect_heartbeat=wanted)),
        "/gradio_api/queue/join": response({"event_id": "a"}),
        "/gradio_api/queue/data": STREAM,
        "/gradio_api/heartbeat/": heartbeat,
    }


def beats(server: RawServer) -> Callable[[], list[str]]:
    return lambda: [path for path in server.paths() if "heartbeat" in path]


def test_session_of_an_app_that_wants_it_is_held_from_its_first_job(eventually: Eventually) -> None:
    with raw_server(routes(True)) as server, Client(server.url) as client:
        seen = beats(server)
        assert seen() == []
        first = client.session_hash
        client.predict("x")
        client.predict("x")
        eventually(lambda: seen() == [f"/gradio_api/heartbeat/{first}"])
        client.reset_session()
        client.predict("x")
        eventually(lambda: seen()[1:] == [f"/gradio_api/heartbeat/{client.session_hash}"])
        assert client.session_hash != first


def test_app_that_does_not_want_it_has_none() -> None:
    with raw_server(routes(False)) as server, Client(server.url) as client:
        client.predict("x")
        time.sleep(0.1)
        assert beats(server)() == []


def test_lost_heartbeat_is_taken_up_again_after_a_while(eventually: Eventually) -> None:
    with raw_server(routes(True, ALIVE + LAST_CHUNK)) as server, Client(server.url) as client:
        client.predict("x")
        started = time.monotonic()
        eventually(lambda: len(beats(server)()) == 2)
        assert time.monotonic() - started > 0.8


def test_server_without_the_route_is_asked_once() -> None:
    with raw_server(routes(True, response("", 404))) as server, Client(server.url) as client:
        client.predict("x")
        time.sleep(1.3)
        assert len(beats(server)()) == 1
