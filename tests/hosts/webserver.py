"""A real nginx, in a process and a directory of its own."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ports import free_port

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_set_header Host $http_host;
    {outside}
    server {{
        listen 127.0.0.1:{port};
        {inside}
    }}
}}
"""


@contextlib.contextmanager
def nginx(inside: str, outside: str = "") -> Iterator[str]:
    """Run nginx and give its address, with a trailing slash.

    Args:
        inside: What its configuration has within ``server``.
        outside: And beside it.
    """
    if NGINX is None:
        if os.environ.get("CI"):
            pytest.fail("nginx is not installed, and CI counts on these tests")
        pytest.skip("nginx is not installed")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="nginx-") as folder:
        file = Path(folder, "nginx.conf")
        file.write_text(CONFIG.format(folder=folder, port=port, inside=inside, outside=outside))
        log = Path(folder, "log")
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [NGINX, "-p", folder, "-c", str(file), "-e", "stderr"],
                stdout=errors,
                stderr=errors,
            )
        try:
            _wait_for(port, process, log)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()
            process.wait()


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise RuntimeError(f"nginx did not start:\n{log.read_text()}")
