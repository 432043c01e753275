"""A service that marks pictures by a Gradio app: ``python service.py URL PORT``."""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse
from gradio_client import Client, handle_file

client = Client(sys.argv[1], verbose=False)
app = FastAPI()


@app.get("/info")
def info() -> Any:
    return client.view_api(print_info=False, return_format="dict")


@app.post("/mark")
def mark(path: str, text: str = "draft") -> FileResponse:
    try:
        picture, size = client.predict(handle_file(path), text, api_name="/mark")
    except ValueError as error:
        raise HTTPException(502, str(error)) from error
    headers = {"x-size": f"{size['width']}x{size['height']}", "x-text": size["text"]}
    return FileResponse(picture, media_type="image/png", headers=headers)


@app.post("/jobs")
async def jobs(paths: list[str]) -> list[dict[str, Any]]:
    """Mark pictures at the same time, and say how each went."""
    submitted = [client.submit(handle_file(path), api_name="/mark") for path in paths]
    finals = [
        [update async for update in job if update.type == "output" and update.final]
        for job in submitted
    ]
    return [
        {"size": job.result()[1], "finals": len(final)}
        for job, final in zip(submitted, finals, strict=True)
    ]


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
