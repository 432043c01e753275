"""The documents in which a server tells about itself; pure functions."""

from __future__ import annotations

from jobwire.server.documents.discovery import API_PREFIX, config, info
from jobwire.server.documents.facts import Facts
from jobwire.server.documents.page import index_page, login_page
from jobwire.server.documents.specification import openapi

__all__ = (
    "API_PREFIX",
    "Facts",
    "config",
    "index_page",
    "info",
    "login_page",
    "openapi",
)
