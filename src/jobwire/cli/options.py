"""The options that every command has: how to reach the app."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from jobwire.client.spaces import space_name
from jobwire.exceptions import ArgumentError
from jobwire.sync.client import Client

__all__ = ("Auth", "Headers", "Insecure", "Token", "Url", "connect")

Url = Annotated[
    str,
    typer.Argument(metavar="URL", help="Where the app's page opens, or a Space's OWNER/NAME."),
]
Auth = Annotated[
    str | None,
    typer.Option(
        envvar="JOBWIRE_AUTH",
        metavar="USER:PASSWORD",
        help="Login of the app. Better in the environment, where others do not see it.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="JOBWIRE_TOKEN",
        help="Hugging Face token, for a private Space; sent to URL and, for a name, the Hub only.",
    ),
]
Headers = Annotated[
    list[str] | None,
    typer.Option("--header", metavar="NAME:VALUE", help="Send this header too. Repeatable."),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Accept any TLS certificate.")]


def connect(
    url: str,
    auth: str | None,
    token: str | None,
    headers: list[str] | None,
    insecure: bool,
    download_files: Literal["lazy", False] = False,
    verbose: bool = True,
    timeout: float | None = None,
) -> Client:
    """Make a client from the options. Says on standard error that a Space is waited for."""
    if "://" not in url and space_name(url) is None:
        url = f"http://{url}"  # as browsers do
    user, colon, password = (auth or "").partition(":")
    if auth and not colon:
        raise ArgumentError("--auth takes USER:PASSWORD", endpoint="", parameter="auth")
    pairs = {}
    for header in headers or ():
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise ArgumentError("--header takes NAME:VALUE", endpoint="", parameter="header")
        pairs[name.strip()] = value.strip()
    return Client(
        url,
        token,
        auth=(user, password) if auth else None,
        headers=pairs,
        download_files=download_files,
        ssl_verify=not insecure,
        verbose=verbose,
        timeout=timeout,
    )
