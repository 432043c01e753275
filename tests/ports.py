"""Ports for servers in processes of their own, which bind them a little later."""

import os
import secrets
import socket

_FIRST, _LAST = 20_000, 32_000
"""Below those that systems give to whoever asks for any."""


def free_port() -> int:
    """Return a port on which nobody listens, and which no other worker of the tests takes."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while True:
        port = _FIRST + secrets.randbelow((_LAST - _FIRST) // workers) * workers + worker
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
