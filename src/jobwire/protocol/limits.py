"""The defaults of every limit, with the reasons for each number.

Apart from what they limit, so that the public signatures can show them without loading it.
"""

from __future__ import annotations

__all__ = (
    "END_TIMEOUT",
    "IDLE_TIMEOUT",
    "MAX_DOWNLOAD_SIZE",
    "MAX_EVENT_SIZE",
    "MAX_UNCLAIMED_SIZE",
    "SPACE_TIMEOUT",
)

MAX_EVENT_SIZE = 64 * 1024 * 1024
"""Bytes of one event of a stream. Gradio sends a job's whole result as one event; files
travel beside it, so what is larger than this is a server gone wrong, or somebody who wants
our memory."""

MAX_UNCLAIMED_SIZE = 64 * 1024 * 1024
"""Bytes kept of messages whose job is still being confirmed; as for one event. The reply is
already on its way then, so reaching this takes a server gone wrong."""

IDLE_TIMEOUT = 90.0
"""Seconds of silence after which a stream with jobs counts as dead. Servers send a
heartbeat every 15 s; a function that holds the interpreter lock can delay some."""

END_TIMEOUT = 5.0
"""Seconds that a server has to end a stream after it said that it is about to."""

MAX_DOWNLOAD_SIZE = 16 * 1024**3
"""Bytes of one downloaded file. Models and films are smaller; a server that never ends would
fill the disk."""

SPACE_TIMEOUT = 600.0
"""Seconds that a Space which is not ready is waited for. Most start within a minute or
two; one that loads a large model, or has to be built first, takes several."""
