"""Python functions behind the wire protocol of Gradio."""
