"""What callers do wrong, or what goes wrong for them: the same code for either client.

``python raising.py URLS`` does it with ``gradio_client``, and prints as JSON what it raised.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

Make = Callable[..., Any]
Urls = dict[str, str]


def predict(*args: Any, at: str = "gradio", **kwargs: Any) -> Callable[[Make, Urls], Any]:
    def act(make: Make, urls: Urls) -> Any:
        return make(urls[at]).predict(*args, **kwargs)

    return act


def connect(at: str, **kwargs: Any) -> Callable[[Make, Urls], Any]:
    return lambda make, urls: make(urls[at], **kwargs)


SITUATIONS: dict[str, Callable[[Make, Urls], Any]] = {
    "no such name": predict("x", api_name="/nothing"),
    "no such index": predict("x", fn_index=9999),
    "private endpoint": predict("x", api_name="/false"),
    "no name where there are several": predict("x"),
    "argument missing": predict(api_name="/plain"),
    "argument unknown": predict("x", what=1, api_name="/plain"),
    "argument twice": predict("x", a="y", api_name="/plain"),
    "app raises gr.Error": predict("titled", api_name="/fail"),
    "app raises something else": predict("value", api_name="/fail"),
    "app hides what it raises": predict("value", api_name="/fail", at="hiding"),
    "validator says no": predict(3, api_name="/even_only"),
    "queue is full": predict("x", api_name="/echo", at="full"),
    "login is missing": connect("locked"),
    "login is wrong": connect("locked", auth=("user", "wrong")),
    "too many requests": connect("busy"),
    "no app": connect("page"),
    "Space has crashed": connect("crashed"),
    "no Space to duplicate": lambda make, urls: make.duplicate("user/none"),  # type: ignore[attr-defined]
}


def raised(situation: str, make: Make, urls: Urls) -> BaseException:
    """Return what a situation raises."""
    try:
        SITUATIONS[situation](make, urls)
    except Exception as error:
        return error
    raise AssertionError(f"{situation}: nothing was raised")


if __name__ == "__main__":
    from gradio_client import Client

    urls = json.loads(sys.argv[1])

    class Quiet(Client):  # type: ignore[misc]
        def __init__(self, src: str, *args: Any, **kwargs: Any) -> None:
            kwargs |= {"verbose": False, "analytics_enabled": False}
            super().__init__(src, *args, **kwargs)

    found = {
        situation: [
            (kind.__module__, kind.__name__)
            for kind in type(raised(situation, Quiet, urls)).__mro__
        ]
        for situation in SITUATIONS
    }
    print(json.dumps(found), flush=True)
    os._exit(0)  # its threads may wait for long
