"""A real nginx in front of a real app."""

import time
from collections.abc import Iterator

import pytest

from conftest import Server, running
from faults import HANG, raw_server
from hosts.webserver import nginx
from jobwire import Client, ConnectionLostError, NotGradioError, ServerError


@pytest.fixture(scope="module")
def replicas(server: Server) -> Iterator[str]:
    """Two servers of the same app, as nginx calls them."""
    with running() as other:
        yield (
            f"upstream one {{ server 127.0.0.1:{server.port}; }}"
            f"upstream two {{ server 127.0.0.1:{other.port}; }}"
            f"upstream both {{ server 127.0.0.1:{server.port}; server 127.0.0.1:{other.port}; }}"
        )


def delays(client: Client) -> list[float]:
    """Return how long after the first of six outputs each came, 0.2 s apart on the server."""
    arrivals = [time.monotonic() for _ in client.submit(6, 0.2, api_name="/count")]
    return [arrival - arrivals[0] for arrival in arrivals]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param("", id="as it is"),
        pytest.param("proxy_buffering off;", id="without buffering"),
        pytest.param("proxy_buffering on; proxy_http_version 1.1;", id="HTTP/1.1"),
        pytest.param("gzip on; gzip_types *; gzip_proxied any;", id="compressing"),
    ],
)
def test_sub_path_and_another_port(url: str, options: str) -> None:
    location = f"location /apps/demo/ {{ proxy_pass {url}; {options} }}"
    with nginx(location) as front, Client(f"{front}apps/demo") as client:
        assert client.src == f"{front}apps/demo/"
        assert client.predict("x", api_name="/echo") == "x"
        assert "/count" in str(client)
        assert max(delays(client)) > 0.6  # they come one by one


def test_body_that_is_too_large(url: str) -> None:
    with nginx(f"location / {{ proxy_pass {url}; client_max_body_size 2k; }}") as front:
        with Client(front) as client:
            with pytest.raises(ServerError, match="larger than") as caught:
                client.predict("x" * 5000, api_name="/echo")
            assert caught.value.status == 413
            assert client.predict("x", api_name="/echo") == "x"


def test_stream_that_is_cut_for_its_silence(url: str) -> None:
    with nginx(f"location / {{ proxy_pass {url}; proxy_read_timeout 2s; }}") as front:
        with Client(front) as client:
            job = client.submit(4, "x", api_name="/slow_wide")
            started = time.monotonic()
            with pytest.raises(ConnectionLostError, match="broke") as caught:
                job.result(10)
            assert time.monotonic() - started < 4
            assert caught.value.event_id == job.event_id
            assert client.predict("y", api_name="/echo") == "y"


def test_answer_that_does_not_come(url: str) -> None:
    # The submission itself: 504, which is no job, nor tried again as if it were none.
    location = f"location / {{ proxy_pass {url}; }}"
    with raw_server({"/": HANG}) as hanging:
        slow = (
            "location /gradio_api/queue/join "
            f"{{ proxy_pass http://127.0.0.1:{hanging.port}; proxy_read_timeout 1s; }}"
        )
        with nginx(location + slow) as front, Client(front) as client:
            with pytest.raises(ServerError) as caught:
                client.predict("x", api_name="/echo")
            assert caught.value.status == 504


def test_server_that_is_down() -> None:
    with nginx("location / { proxy_pass http://127.0.0.1:1; }") as front:
        with pytest.raises(ServerError) as caught:
            Client(front)
        assert caught.value.status == 502


def test_replicas_with_a_cookie(replicas: str) -> None:
    sticky = """
        split_clients $request_id $fresh { 50% one; * two; }
        map $cookie_replica $replica { "" $fresh; default $cookie_replica; }
    """
    location = "location / { proxy_pass http://$replica; add_header Set-Cookie replica=$replica; }"
    with nginx(location, replicas + sticky) as front:
        for _ in range(6):
            with Client(front) as client:
                jobs = [client.submit(3, 0.01, api_name="/count") for _ in range(4)]
                assert [job.result(10) for job in jobs] == ["2"] * 4
                assert client.predict("a", api_name="/remember") == "a"
                assert client.predict("b", api_name="/remember") == "a b"


def test_replicas_without_a_cookie(replicas: str) -> None:
    # Submissions with this header go to the other server than all the rest.
    away = "map $http_x_replica $replica { default one; two two; }"
    location = "location / { proxy_pass http://$replica; }"
    with nginx(location, replicas + away) as front:
        with Client(front, idle_timeout=2) as client:
            job = client.submit("x", api_name="/echo", headers={"x-replica": "two"})
            with pytest.raises(ConnectionLostError, match=r"does not know .* load balancer"):
                job.result(10)
            assert client.predict("y", api_name="/echo") == "y"
            # Now the server with the stream knows the session, and waits with us.
            job = client.submit("z", api_name="/echo", headers={"x-replica": "two"})
            with pytest.raises(ConnectionLostError, match="load balancer"):
                job.result(10)
            assert client.predict("y", api_name="/echo") == "y"


def test_redirects_within_the_origin_are_followed(url: str) -> None:
    there = f"location /apps/demo/ {{ proxy_pass {url}; }}"
    with (
        nginx("location / { return 301 /apps/demo$uri; }" + there) as front,
        Client(front) as client,
    ):
        assert client.src == f"{front}apps/demo/"
        assert client.predict("x", api_name="/echo") == "x"


@pytest.mark.parametrize("target", ["http://localhost:1", "https://$host", "http://127.0.0.2"])
def test_redirects_to_elsewhere_are_not(target: str) -> None:
    with nginx(f"location / {{ return 302 {target}$uri; }}") as front:
        with pytest.raises(NotGradioError, match="give that address"):
            Client(front)
