"""What the real gradio_client makes of the same server."""

import json
import subprocess
import sys
from typing import Any

# In a process of its own: it leaves threads, and warns.
VIEW_API = """
import json, sys
from gradio_client import Client
client = Client(sys.argv[1], verbose=False)
print(json.dumps(client.view_api(print_info=False, return_format="dict")))
"""


def view_api(url: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", VIEW_API, url], capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
