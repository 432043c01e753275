"""Serve a real Gradio app that has loaded another: ``python loading.py URL PORT``."""

import os
import sys

os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}

from gradio.external import from_spaces_blocks

if __name__ == "__main__":
    url, port = sys.argv[1:]
    # What gr.load does after it has asked huggingface.co where a Space is.
    demo = from_spaces_blocks(space=url, token=None)
    demo.launch(server_name="127.0.0.1", server_port=int(port), show_error=True, quiet=True)
