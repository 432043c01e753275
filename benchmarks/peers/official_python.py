"""``gradio_client.Client``."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from gradio_client import Client
from measuring import run_blocking


def open_client(url: str) -> closing[Any]:
    return closing(Client(url, verbose=False, analytics_enabled=False))


if __name__ == "__main__":
    run_blocking(open_client, is_accepted=lambda job: job.communicator.event_id is not None)
