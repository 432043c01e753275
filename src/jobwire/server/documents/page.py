"""The page at the app's address: what can be called, and how. It loads nothing else."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import msgspec

from jobwire.server.documents.facts import Facts, example

if TYPE_CHECKING:
    from jobwire.server.endpoint import Endpoint
    from jobwire.server.signature import Slot

__all__ = ("index_page", "login_page")

_STYLE = """
:root { color-scheme: light dark; --line: light-dark(#d8d8de, #3a3a42);
  --code: light-dark(#f4f4f6, #1d1d22); --quiet: light-dark(#5f5f6b, #a0a0ac); }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 0 auto; padding: 1.5rem 1rem;
  background: light-dark(#fff, #131316); color: light-dark(#1b1b1f, #ececf1);
  overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font: 600 1.1rem/1.3 ui-monospace, monospace; margin: 0; }
section { border-top: 1px solid var(--line); padding: 1.25rem 0; }
p { margin: .5rem 0; white-space: pre-line; }
code, pre { font: .875rem/1.5 ui-monospace, monospace; }
pre { background: var(--code); border-radius: .4rem; padding: .75rem; overflow-x: auto;
  overflow-wrap: normal; margin: .5rem 0; }
dl { margin: .75rem 0; } dd { margin: 0 0 .5rem 1rem; }
summary { cursor: pointer; } small, summary { color: var(--quiet); }
label { display: block; margin: .75rem 0; } input, button { font: inherit; padding: .4rem .6rem; }
input { display: block; width: 100%; max-width: 20rem; }
"""

_LOGIN = """
document.forms[0].onsubmit = async event => {
  event.preventDefault();
  const body = new URLSearchParams(new FormData(event.target));
  const answer = await fetch(event.target.action, { method: "POST", body });
  if (answer.ok) return location.reload();
  const said = await answer.json().catch(() => ({}));
  document.querySelector("output").textContent = said.detail ?? `Error ${answer.status}`;
};
"""


def index_page(config: Mapping[str, Any], endpoints: Iterable[Endpoint]) -> str:
    """Return the page of an app.

    Args:
        config: What ``/config`` says to the same caller.
        endpoints: Only the public ones are shown.
    """
    shown = [endpoint for endpoint in endpoints if endpoint.visibility == "public"]
    sections = "".join(_section(endpoint, config) for endpoint in shown)
    body = sections or "<section><p>It has no public endpoints.</p></section>"
    return _page(config["title"], config["description"], config, body)


def login_page(facts: Facts, message: str | None) -> str:
    """Return the page for who has to log in first.

    Args:
        facts: What the app says about itself.
        message: What it says to who logs in; None for nothing.
    """
    # What gradio says in its place, so that nobody takes it for a whole config.
    config = {"auth_required": True, "auth_message": message, "space_id": None, "root": ""}
    said = f"<p>{escape(message)}</p>" if message else ""
    form = f"""<section><form method="post" action="login">{said}
<label>User name <input name="username" autocomplete="username" required></label>
<label>Password <input name="password" type="password" autocomplete="current-password"></label>
<button>Log in</button> <output></output></form></section><script>{_LOGIN}</script>"""
    return _page(facts.title, facts.description, config, form)


def _page(title: str, description: str, config: Mapping[str, Any], body: str) -> str:
    title = escape(title)
    said = f"<p>{escape(description)}</p>" if description else ""
    # Clients that find no /config look for this very assignment, on one line.
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><link rel="icon" href="data:,"><style>{_STYLE}</style>
<script>window.gradio_config = {_script_json(config)};</script>
</head><body><main><header><h1>{title}</h1>{said}</header>
{body}</main></body></html>
"""


def _script_json(value: Any) -> str:
    """JSON that ends no script element and opens none, whatever is in it."""
    text = msgspec.json.encode(value).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _section(endpoint: Endpoint, config: Mapping[str, Any]) -> str:
    signature = endpoint.signature
    rows = [_row(slot) for slot in signature.inputs]
    given = f"<dl>{''.join(rows)}</dl>" if rows else "<p><small>No parameters.</small></p>"
    returned = ", ".join(_code(slot.python_type) for slot in signature.outputs) or "nothing"
    many = "one after the other, " if signature.kind.endswith("generator") else ""
    said = f"<p>{escape(endpoint.description)}</p>" if endpoint.description else ""
    return f"""<section><h2>/{escape(endpoint.api_name)}</h2>{said}{given}
<p><small>Returns</small> {many}{returned}</p>
<details><summary>Call it with curl</summary><pre>{escape(_curl(endpoint, config))}</pre></details>
<details><summary>Call it with gradio_client</summary>
<pre>{escape(_python(endpoint, config))}</pre></details></section>
"""


def _row(slot: Slot) -> str:
    default = f" = {_json(slot.default)}" if slot.has_default else ""
    said = f"<dd>{escape(slot.description)}</dd>" if slot.description else ""
    return f"<dt>{_code(f'{slot.name}: {slot.python_type}{default}')}</dt>{said}"


def _curl(endpoint: Endpoint, config: Mapping[str, Any]) -> str:
    url = config["root"] + config["api_prefix"]
    values = {slot.name: example(slot) for slot in _asked(endpoint)}
    login = " -u USER:PASSWORD" if config["username"] else ""
    upload = (
        f"curl{login} {shlex.quote(f'{url}/upload')} -F files=@/path/to/file\n"
        "# ... and put the path that it answers below\n"
        if any(slot.component == "file" for slot in _asked(endpoint))
        else ""
    )
    call = shlex.quote(f"{url}/call/v2/{endpoint.api_name}")
    return (
        f"{upload}curl{login} {call} \\\n"
        f"  -H 'Content-Type: application/json' -d {shlex.quote(_json(values))}\n"
        "# ... which answers with an event_id\n"
        f"curl{login} -N {shlex.quote(f'{url}/call/{endpoint.api_name}/EVENT_ID')}"
    )


def _python(endpoint: Endpoint, config: Mapping[str, Any]) -> str:
    files = any(slot.component == "file" for slot in _asked(endpoint))
    login = ', auth=("USER", "PASSWORD")' if config["username"] else ""
    arguments = [f"{slot.name}={_literal(slot)}" for slot in _asked(endpoint)]
    arguments.append(f'api_name="/{endpoint.api_name}"')
    return (
        f"from gradio_client import Client{', handle_file' if files else ''}\n\n"
        f"client = Client({config['root']!r}{login})\n"
        f"print(client.predict({', '.join(arguments)}))"
    )


def _asked(endpoint: Endpoint) -> list[Slot]:
    """The parameters of an example: what is required, or the first few of what is not."""
    inputs = endpoint.signature.inputs
    return [slot for slot in inputs if not slot.has_default] or list(inputs[:2])


def _literal(slot: Slot) -> str:
    if slot.component != "file":
        return repr(example(slot))
    one = "handle_file('/path/to/file')"
    return f"[{one}]" if slot.multiple else one


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
