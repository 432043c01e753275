"""The plain request on LitServe: ``python litserve_app.py PORT``."""

import sys
from typing import Any

import fastapi
import litserve  # type: ignore[import-not-found,unused-ignore]


class Plain(litserve.LitAPI):  # type: ignore[misc,unused-ignore]
    def setup(self, device: str) -> None:
        pass

    def decode_request(self, request: fastapi.Request) -> Any:
        # LitServe reads the annotation, which therefore is no string, and gives the JSON.
        return request["text"]

    def predict(self, text: Any) -> Any:
        return text

    def encode_response(self, output: Any) -> Any:
        return {"text": output}


if __name__ == "__main__":
    server = litserve.LitServer(Plain(api_path="/plain"), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
