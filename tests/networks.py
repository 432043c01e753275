"""What may stand between a client and an app: proxies, and TLS with an authority of its own."""

import asyncio
import contextlib
import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import trustme

from faults import Reader, Writer, _Background


class Authority:
    """A certificate authority that nobody trusts yet."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self.file = str(folder / "authority.pem")
        self._ca.cert_pem.write_to_path(self.file)

    def server(self, *names: str, ask_clients: bool = False) -> ssl.SSLContext:
        """Return the TLS context of a server with these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names).configure_cert(context)
        if ask_clients:
            self._ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client(self, name: str) -> tuple[str, str]:
        """Return the files of a client's certificate and of its key."""
        issued = self._ca.issue_cert(name)
        files = str(self._folder / f"{name}.pem"), str(self._folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(files[0])
        issued.private_key_pem.write_to_path(files[1])
        return files


class HttpProxy:
    """A proxy that tunnels (CONNECT) and forwards.

    Args:
        ports: For names of hosts that are not real, the ports of this machine.
        credentials: ``user:password`` that it wants; None lets everybody through.
    """

    def __init__(self, ports: Mapping[str, int], credentials: str | None) -> None:
        self._ports = ports
        self._wanted = credentials and f"Basic {b64encode(credentials.encode()).decode()}"
        self._background = _Background(self._serve)
        self.url = f"http://127.0.0.1:{self._background.port}"
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        method, target, _ = (await reader.readline()).decode().split(" ", 2)
        headers = {}
        while (header := (await reader.readline()).decode().strip()) != "":
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip()
        self.requests.append((method, target, headers))
        if self._wanted and headers.pop("proxy-authorization", None) != self._wanted:
            writer.write(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            return
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        host = parts.hostname or ""
        port = self._ports.get(host, parts.port or 80)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            # One request for each connection, or the next would not be seen here.
            headers["connection"] = "close"
            path = parts._replace(scheme="", netloc="").geturl()
            lines = [f"{method} {path} HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items())]
            far_writer.write("\r\n".join([*lines, "", ""]).encode())
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            far_writer.close()

    def stop(self) -> None:
        self._background.stop()


async def _pump(reader: Reader, writer: Writer) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@contextlib.contextmanager
def http_proxy(
    ports: Mapping[str, int] | None = None, credentials: str | None = None
) -> Iterator[HttpProxy]:
    proxy = HttpProxy(ports or {}, credentials)
    try:
        yield proxy
    finally:
        proxy.stop()
