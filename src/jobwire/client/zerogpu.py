"""Whose quota a call uses when a Gradio app calls a Space for one of its users."""

from __future__ import annotations

import sys

__all__ = ("caller_headers",)


def caller_headers() -> dict[str, str]:
    """Return what tells a Space on ZeroGPU who is behind a call.

    Inside an event listener of a Gradio app on Hugging Face, that is the token which
    came with the request of the app's own user; anywhere else there is none. To be sent
    with this one call: the next may be for somebody else.
    """
    # Without gradio there is no listener, and so no need to import it.
    context = getattr(sys.modules.get("gradio.context"), "LocalContext", None)
    if context is None:
        return {}
    headers = getattr(context.request.get(None), "headers", None) or {}
    token = headers.get("x-ip-token")
    return {"x-ip-token": token} if isinstance(token, str) and token.isprintable() else {}
