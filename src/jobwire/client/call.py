"""One call of an endpoint, as it is sent: its arguments, and the files among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from jobwire.client.files import LocalFile
from jobwire.client.inline import with_contents
from jobwire.client.result import AsyncFileResult
from jobwire.client.tasks import all_of
from jobwire.client.transfer import FileTransfer
from jobwire.exceptions import ArgumentError
from jobwire.protocol.files import FILE_META, FileInput, file_name, is_file, is_url, replace_values
from jobwire.protocol.inline import is_inline
from jobwire.protocol.media import is_media_stream
from jobwire.protocol.old_files import fetches_addresses, to_old
from jobwire.protocol.payload import encode_body
from jobwire.protocol.schema import Component, Endpoint
from jobwire.types import ProgressUnit

__all__ = ("Call",)


class Call:
    """What one job sends.

    Attributes:
        names_server_files: There are files among the arguments that the server is to have.

    Args:
        endpoint: What is called.
        data: Its wire data, with `FileInput` and file results in it.
        headers: Sent with it, over those of the client.
        transfer: Sends its files.
        fields: Sent beside its data.
        max_file_size: Bytes that the app takes of each; None for any number.

    Raises:
        FileError: A file among the arguments cannot be sent.
        ArgumentError: Something else cannot be.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        data: Sequence[Any],
        headers: Mapping[str, str],
        transfer: FileTransfer,
        fields: Mapping[str, Any],
        max_file_size: int | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.headers = headers
        self._transfer = transfer
        self._fields = fields
        # Each once, by its path as it was given: what is uploaded, and what is sent in a value.
        self._files: dict[str, LocalFile] = {}
        self._contents: dict[str, LocalFile] = {}
        self._inline: list[int] = []  # the inputs whose files are sent in the value
        self._data: list[Any] = []

        def look(files: dict[str, LocalFile], file: FileInput) -> FileInput:
            path = file["path"]
            if path not in files:
                files[path] = LocalFile.at(path, max_file_size)
            return file

        for index, (component, value) in enumerate(zip(endpoint.inputs, data, strict=True)):
            value = replace_values(value, _is_file, partial(self._name, component))
            self._data.append(value)
            files = self._files
            if component.old_form == "image":
                self._inline.append(index)
                files = self._contents
            replace_values(value, _is_input, partial(look, files))
        self.names_server_files = False
        replace_values(self._data, is_file, self._note_server_file)
        # It is sent as it is now: the arguments are the caller's own, who may change them.
        self._body = self._encoded()
        if self.has_files:
            self._data = [_copied(value) for value in self._data]

    @property
    def has_files(self) -> bool:
        """Whether `send_files` must be done before the call can be sent."""
        return bool(self._files or self._inline)

    def encode(self) -> bytes:
        """Return the body of the call's submission, without its session."""
        return self._body

    def _encoded(self) -> bytes:
        data = [
            value if component.old_form is None else to_old(component.old_form, value)
            for component, value in zip(self.endpoint.inputs, self._data, strict=True)
        ]
        return encode_body(self.endpoint, data, **self._fields)

    async def send_files(self, note: Callable[[ProgressUnit], object]) -> None:
        """Send the files among the arguments, each once, several at a time.

        Args:
            note: Told how much was sent, all files together, whenever that changes.

        Raises:
            FileError: One cannot be read, or has changed meanwhile.
            JobwireError: Whatever `FileTransfer.upload` raises.
        """
        for index in self._inline:
            self._data[index] = await with_contents(
                self._data[index], self._contents, self._transfer
            )
        files = self._files
        sent = dict.fromkeys(files, 0)
        total = sum(file.size for file in files.values())
        name = next(iter(files.values())).name if len(files) == 1 else f"{len(files)} files"
        paths: dict[str, str] = {}

        async def send(path: str, file: LocalFile) -> None:
            def note_size(size: int) -> None:
                sent[path] = size
                done = sum(sent.values())
                note(ProgressUnit(done, total, "bytes", None, f"sending {name}"))

            paths[path] = await self._transfer.upload(file, note_size)

        await all_of(send(path, file) for path, file in files.items())

        def name_sent(file: FileInput) -> dict[str, Any]:
            return {**file, "path": paths[file["path"]], "meta": FILE_META}

        self._data = replace_values(self._data, _is_input, name_sent)
        self._files, self._inline = {}, []
        self._body = self._encoded()

    def _note_server_file(self, file: dict[str, Any]) -> dict[str, Any]:
        self.names_server_files |= not isinstance(file, FileInput)
        return file

    def _name(self, component: Component, file: Any) -> dict[str, Any]:
        """Return what names a file for the server, or what is still to be sent."""
        argument = component.label or component.type
        if isinstance(file, FileInput):
            path = file["path"]
            if not is_url(path):
                return file
            # The app's own files are there already, and it would not fetch them from itself.
            own = self._transfer.path(path)
            if own is None and component.old_form and not fetches_addresses(component.type):
                raise ArgumentError(
                    f"{self.endpoint.label}: this app's server fetches addresses for audio and "
                    f"video only; for {argument!r}, fetch {path} yourself, and pass "
                    "handle_file() of that",
                    endpoint=self.endpoint.label,
                    parameter=argument,
                )
            return dict(file) if own is None else {**file, "path": own, "url": None}
        result = file if isinstance(file, AsyncFileResult) else file.asynchronous
        if not result.belongs_to(self._transfer):
            raise ArgumentError(
                f"{self.endpoint.label}: the file {result.name!r} for {argument!r} is another "
                "client's; save() it, and pass handle_file() of that",
                endpoint=self.endpoint.label,
                parameter=argument,
            )
        data = result.data
        if is_media_stream(data):
            raise ArgumentError(
                f"{self.endpoint.label}: {result.name!r} for {argument!r} is a stream, which no "
                "app takes; save() it, and pass handle_file() of that",
                endpoint=self.endpoint.label,
                parameter=argument,
            )
        named = {"path": data["path"], "orig_name": file_name(data), "meta": FILE_META}
        return {**named, "url": data["url"]} if is_inline(data.get("url")) else named


def _copied(value: Any) -> Any:
    if isinstance(value, FileInput):
        return value
    if isinstance(value, (list, tuple)):
        return [_copied(item) for item in value]
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return value


def _is_input(value: Any) -> bool:
    return isinstance(value, FileInput)


def _is_file(value: Any) -> bool:
    # The plain face's results know what they are the face of.
    return isinstance(value, (FileInput, AsyncFileResult)) or isinstance(
        getattr(value, "asynchronous", None), AsyncFileResult
    )
