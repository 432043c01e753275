"""What becomes of the files in outputs: they are fetched, offered, or left where they are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from jobwire.client.fetch import Fetch
from jobwire.client.result import AsyncFileResult
from jobwire.client.transfer import FileTransfer
from jobwire.exceptions import FileError
from jobwire.protocol.old_files import reader
from jobwire.protocol.outputs import OutputLog
from jobwire.protocol.payload import presenter
from jobwire.protocol.schema import AppSchema, Endpoint

__all__ = ("OutputFiles",)


class OutputFiles:
    """A client's choice of what to do with the files in outputs.

    Attributes:
        make_file: Turns each that is offered into what callers see. Replaced by the plain
            face, which has a file for plain code.

    Args:
        download_files: As for the client.

    Raises:
        FileError: It names a directory, and there is something else.
    """

    def __init__(self, download_files: str | os.PathLike[str] | Literal[False] | None) -> None:
        self.make_file: Callable[[AsyncFileResult], Any] = lambda file: file
        self._lazy = download_files == "lazy"
        # None if files are left where they are.
        self._directory = (
            None if download_files is False or self._lazy else _directory(download_files)
        )

    def log(
        self, schema: AppSchema, endpoint: Endpoint, transfer: FileTransfer
    ) -> tuple[OutputLog, Fetch | None]:
        """Make the log of a job's outputs.

        Args:
            schema: The app.
            endpoint: The job's.
            transfer: Fetches files.

        Returns:
            The log, and what is to fetch the files in it; None if nothing is.
        """
        fetch, present_file = self._present(endpoint, transfer)
        log = OutputLog(
            diffs=schema.dialect.diffs,
            present=presenter(endpoint, present_file),
            held=fetch is not None,
            read=reader([component.old_form for component in endpoint.outputs]),
        )
        return log, fetch

    def _present(
        self, endpoint: Endpoint, transfer: FileTransfer
    ) -> tuple[Fetch | None, Callable[[dict[str, Any]], Any] | None]:
        """Return what fetches the files of an endpoint's outputs, and what shows them."""
        if self._lazy:
            return None, lambda data: self.make_file(AsyncFileResult(transfer, data))
        if self._directory is None or not any(
            component.holds_files and not component.skipped for component in endpoint.outputs
        ):
            return None, None
        fetch = Fetch(transfer, endpoint, self._directory)
        return fetch, fetch.path


def _directory(given: str | os.PathLike[str] | None) -> Path:
    """Return where fetched files go.

    Raises:
        FileError: It is there, but no directory.
    """
    if given is None:
        default = os.path.join(tempfile.gettempdir(), "gradio")
        return Path(os.environ.get("GRADIO_TEMP_DIR") or default)
    directory = Path(given)
    if directory.exists() and not directory.is_dir():
        raise FileError(f"download_files={str(given)!r} is no directory", path=str(given))
    return directory
