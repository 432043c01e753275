"""An App below a path of a FastAPI application: uvicorn fastapi_app:site"""

from fastapi import FastAPI

from jobwire import App

tools = App(title="Tools")


@tools.endpoint
def greet(name: str) -> str:
    """Say hello."""
    return f"Hello, {name}!"


site = FastAPI()


@site.get("/status")
def status() -> dict[str, str]:
    """A route of the site's own."""
    return {"status": "open"}


site.mount("/tools", tools)
