"""The plain request on a bare FastAPI route: ``uvicorn fastapi_app:app``."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Text(BaseModel):
    text: str


@app.post("/plain")
def plain(given: Text) -> Text:
    """FastAPI runs a plain function in a thread."""
    return given


@app.post("/plain_async")
async def plain_async(given: Text) -> Text:
    return given
