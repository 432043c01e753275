"""``jobwire api``: what an app offers, as a person wants to read it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobwire.cli.exits import exit_code
from jobwire.cli.options import Auth, Headers, Insecure, Token, Url, connect
from jobwire.exceptions import JobwireError
from jobwire.protocol.description import gives, literal, takes
from jobwire.protocol.schema import AppSchema, Endpoint, Parameter

__all__ = ("api",)


def api(
    url: Url,
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Show endpoints, too, that the app does not list.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    auth: Auth = None,
    token: Token = None,
    headers: Headers = None,
    insecure: Insecure = False,
) -> None:
    """Show what an app offers: its endpoints, what they take and what they give."""
    try:
        with connect(url, auth, token, headers, insecure, verbose=not as_json) as client:
            schema = client.schema()
    except JobwireError as error:
        print(f"jobwire: {error}", file=sys.stderr)
        raise typer.Exit(exit_code(error)) from None
    endpoints = [e for e in schema.callable_endpoints if every or e.visibility == "public"]
    if as_json:
        print(json.dumps(_as_data(schema, endpoints), ensure_ascii=False, indent=2))
        return
    console = Console(highlight=False, soft_wrap=False)
    title = f" · {schema.title}" if schema.title else ""
    console.print(f"[bold]{schema.url}[/]{title} · gradio {schema.version}", soft_wrap=True)
    if not endpoints:
        console.print("It offers no endpoints to callers.")
    for endpoint in endpoints:
        _show(console, endpoint, schema.url)


def _show(console: Console, endpoint: Endpoint, url: str) -> None:
    parameters = takes(endpoint)
    returns = gives(endpoint)
    head = Text("\n")
    head.append(endpoint.label, style="bold cyan")
    head.append(f"({', '.join(_declare(p, url) for p in parameters)})")
    head.append(" -> " + (", ".join(p.name for p in returns) or "nothing"), style="dim")
    if endpoint.generator:
        head.append("  many outputs", style="magenta")
    if endpoint.visibility != "public":
        head.append(f"  {endpoint.visibility}", style="yellow")
    console.print(head, soft_wrap=True)
    if endpoint.description:
        console.print(Text(f"  {endpoint.description}"), soft_wrap=True)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for mark, values in (("takes", parameters), ("gives", returns)):
        for index, value in enumerate(values):
            table.add_row(
                Text(f"  {mark if index == 0 else ''}", style="dim"),
                Text(value.name, style="bold"),
                Text(
                    f"{value.type} = {literal(value.default, url)}"
                    if value.has_default
                    else value.type
                ),
                Text(value.component, style="dim"),
                Text(value.description, style="dim"),
            )
    if table.row_count:
        console.print(table)


def _declare(parameter: Parameter, url: str) -> str:
    return (
        f"{parameter.name}={literal(parameter.default, url)}"
        if parameter.has_default
        else parameter.name
    )


def _as_data(schema: AppSchema, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    return {
        "url": schema.url,
        "title": schema.title,
        "version": schema.version,
        "endpoints": [
            {
                "api_name": endpoint.api_name,
                "fn_index": endpoint.id,
                "visibility": endpoint.visibility,
                "generator": endpoint.generator,
                "description": endpoint.description,
                "parameters": [p._asdict() for p in takes(endpoint)],
                "returns": [
                    {
                        "name": value.name,
                        "component": value.component,
                        "type": value.type,
                        "description": value.description,
                    }
                    for value in gives(endpoint)
                ],
            }
            for endpoint in endpoints
        ],
    }
