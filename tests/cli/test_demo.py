"""The demonstration: what people run first."""

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from jobwire import Client
from jobwire.cli.relay import Relay

COMMAND = [sys.executable, "-m", "jobwire", "demo"]


def test_it_shows_what_it_says() -> None:
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    for line in (
        "3 loaves, still warm",
        "jobwire: the app failed: Arithmetic: nobody can divide by zero (exit code 1)",
        "# all 6 outputs arrived, each once",
        "# begun again, since the function allows that",
        "# the job that waited behind it arrived, too",
    ):
        assert line in said
    assert said.count("once upon a time a job") == 3


def test_it_keeps_the_server_until_ctrl_c() -> None:
    with subprocess.Popen([*COMMAND, "--keep"], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        url = demo.stdout.readline().split()[-1]
        assert any("gradio_client import Client" in line for line in demo.stdout)
        with Client(url) as client:
            assert client.predict(7, 2, api_name="/divide") == 3.5
        demo.send_signal(signal.SIGINT)
        assert demo.wait(10) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0


def test_its_server_ends_with_it_however_it_ends() -> None:
    with subprocess.Popen([*COMMAND, "--keep"], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        url = demo.stdout.readline().split()[-1]
        with Client(url) as client:
            assert client.predict(7, 2, api_name="/divide") == 3.5
        demo.kill()
    deadline = time.monotonic() + 10
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0:
                break
        assert time.monotonic() < deadline
        time.sleep(0.05)


# -- the relay -------------------------------------------------------------------------


@contextlib.contextmanager
def shouting() -> Iterator[int]:
    """A server that sends back in capitals what it gets; its port."""

    def serve(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=answer, args=(connection,)).start()

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1000):
                connection.sendall(data.upper())

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def connect(relay: Relay) -> socket.socket:
    port = int(relay.url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def test_a_relay_passes_on_and_cuts() -> None:
    with shouting() as port, Relay(port) as relay:
        with connect(relay) as first:
            first.sendall(b"hello")
            assert first.recv(100) == b"HELLO"
            relay.cut()
            with contextlib.suppress(ConnectionResetError):
                assert first.recv(100) == b""
        with connect(relay) as second:
            second.sendall(b"again")
            assert second.recv(100) == b"AGAIN"
            second.shutdown(socket.SHUT_WR)
            assert second.recv(100) == b""


def test_a_relay_to_nobody_ends_its_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with Relay(port) as relay, connect(relay) as connection:
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""
