"""Values on their way: from the wire to what a function takes, and back from what it gives."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any, Protocol, get_args

import msgspec

from jobwire.exceptions import JobwireError
from jobwire.server.errors import OutputError

__all__ = (
    "Decoder",
    "FileReader",
    "FileWriter",
    "MismatchError",
    "encode_value",
    "is_pydantic",
    "pydantic_adapter",
    "well_formed",
)


class FileReader(Protocol):
    """Finds the files that callers name."""

    def open(self, path: str) -> Path:
        """Return where the file lies; raises an error that says why it may not be read."""
        ...


class FileWriter(Protocol):
    """Makes files available to callers."""

    def publish(self, path: Path) -> dict[str, Any]:
        """Return the ``FileData`` by which a caller can fetch the file."""
        ...


class MismatchError(ValueError):
    """A wire value does not fit the type.

    Attributes:
        reason: What was expected and what came.
        path: Where inside the value, such as ``[0].name``; empty for the value itself.
    """

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path


# -- pydantic, if the app uses it ------------------------------------------------


def is_pydantic(annotation: Any) -> bool:
    """Whether pydantic has to read the annotation: it names a model or a constraint of its."""
    if hasattr(annotation, "__pydantic_validator__"):
        return True
    metadata = getattr(annotation, "__metadata__", ())
    if any(_package(type(item)) in ("pydantic", "annotated_types") for item in metadata):
        return "pydantic" in sys.modules
    return any(map(is_pydantic, get_args(annotation)))


def pydantic_adapter(annotation: Any) -> Any:
    """Return pydantic's ``TypeAdapter`` of an annotation."""
    return sys.modules["pydantic"].TypeAdapter(annotation)


def _package(type: type) -> str:
    return type.__module__.partition(".")[0]


def _validated(validate: Callable[[Any], Any], value: Any) -> Any:
    """Call one of pydantic's validators."""
    try:
        return validate(value)
    except ValueError as error:
        # Duck-typed: pydantic is only imported by apps that use it.
        errors = getattr(error, "errors", None)
        if errors is None:
            raise MismatchError(str(error)) from error
        first = errors(include_url=False)[0]
        path = "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"]
        )
        reason = first["msg"][:1].lower() + first["msg"][1:]
        raise MismatchError(f"{reason}, got {_kind(first['input'])}", path) from None


# -- from the wire ---------------------------------------------------------------

_AS_IS: tuple[Any, ...] = (str, int, float, bool)


class Decoder:
    """Makes values of one type out of wire values.

    What msgspec does not know it hands to ``_custom``. Where JSON has only one kind of number,
    ours has two: 3.0 is an int where one is expected.

    Args:
        annotation: The type, which `schemas.check` accepts.
    """

    __slots__ = ("_as_is", "_box", "_validate")

    def __init__(self, annotation: Any) -> None:
        self._as_is = annotation if annotation in _AS_IS else None
        self._validate: Callable[[Any], Any] | None = None
        if is_pydantic(annotation):
            self._validate = pydantic_adapter(annotation).validate_python
            annotation = Any
        # msgspec keeps what it found out about a struct's fields, but not about other types:
        # without the box a conversion takes up to twenty times as long.
        self._box = msgspec.defstruct("Box", [("value", annotation)], array_like=True)

    def __call__(self, value: Any, files: FileReader) -> Any:
        """Convert a value.

        Raises:
            MismatchError: It does not fit.
        """
        if type(value) is self._as_is:
            return value
        if self._validate is not None:
            return _validated(self._validate, value)
        try:
            try:
                return self._convert(value, files)
            except msgspec.ValidationError as error:
                expected, found, _ = str(error).partition(", got `float`")
                if not found or "int" not in expected:
                    raise
                return self._convert(_with_integers(value), files)
        except msgspec.ValidationError as error:
            raise _mismatch(error) from None
        except RecursionError:
            raise MismatchError("it is nested too deeply") from None
        except UnicodeEncodeError:
            raise MismatchError("the text has half of a surrogate pair") from None
        except (TypeError, ArithmeticError) as error:  # such as a set's item without a hash
            raise MismatchError(str(error)) from error

    def _convert(self, value: Any, files: FileReader) -> Any:
        box: Any = msgspec.convert(
            (value,), self._box, dec_hook=partial(_custom, files), str_keys=True
        )
        return box.value


def _custom(files: FileReader, type: Any, value: Any) -> Any:
    if type is not Path:
        return _validated(type.model_validate, value)
    if not isinstance(value, dict):
        raise MismatchError(f"expected a file, as an object with its path, got {_kind(value)}")
    path = value.get("path")
    if not isinstance(path, str):
        raise MismatchError("the file has no path; upload it first")
    try:
        return files.open(path)
    except (JobwireError, ValueError, OSError) as error:
        raise MismatchError(str(error)) from error


def _with_integers(value: Any) -> Any:
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is list:
        return [_with_integers(item) for item in value]
    if type(value) is dict:
        return {key: _with_integers(item) for key, item in value.items()}
    return value


def _mismatch(error: msgspec.ValidationError) -> MismatchError:
    # "Expected `int`, got `str` - at `$[0].x`", or "... - at `key` in `$[0].x`"
    reason, _, where = str(error).partition(" - at `")
    path = where.partition("$")[2].removesuffix("`").removeprefix("[0]")  # of the box
    if where.startswith("key"):
        path += " (a key)"
    cause = error.__cause__
    if isinstance(cause, MismatchError):
        return MismatchError(cause.reason, path + cause.path)
    reason = reason.replace("`", "" if reason.startswith("Expected") else "'")
    return MismatchError(reason[:1].lower() + reason[1:], path)


def _kind(value: Any) -> str:
    """Return what a wire value is, in msgspec's words."""
    kinds = {dict: "object", list: "array", type(None): "null"}
    return kinds.get(type(value)) or type(value).__name__


# -- to the wire -----------------------------------------------------------------


def encode_value(value: Any, files: FileWriter) -> Any:
    """Return a value as JSON has it, built of new objects.

    NaN and the infinities become None, since JSON has none of them; halves of surrogate
    pairs become U+FFFD, since UTF-8 has none of them.

    Raises:
        OutputError: There is something in it that cannot be sent.
    """
    kind = type(value)
    if kind is str:
        return value if value.isascii() else well_formed(value)
    if value is None or kind is int or kind is bool:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    try:
        # There and back is the quickest way to a copy that has nothing but JSON's types.
        hook = _Hook(files)
        try:
            return msgspec.json.decode(msgspec.json.encode(value, enc_hook=hook))
        except UnicodeEncodeError:
            plain = _clean(msgspec.to_builtins(value, str_keys=True, enc_hook=hook))
            return msgspec.json.decode(msgspec.json.encode(plain))
    except RecursionError:
        raise OutputError("it is nested too deeply, or contains itself") from None
    except TypeError as error:
        if isinstance(error, JobwireError):
            raise
        raise OutputError(f"it cannot be sent as JSON: {error}") from error


_EXACT: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
)


class _Hook:
    """Converts what msgspec does not know; a file that occurs twice is published once."""

    __slots__ = ("_files", "_published")

    def __init__(self, files: FileWriter) -> None:
        self._files = files
        self._published: dict[str, dict[str, Any]] = {}

    def __call__(self, value: Any) -> Any:
        if isinstance(value, os.PathLike):
            path = os.fspath(value)
            if path not in self._published:
                self._published[path] = self._files.publish(Path(path))
            return self._published[path]
        for base, exact in _EXACT:
            if isinstance(value, base):  # a subclass
                return exact(value)
        if hasattr(value, "__pydantic_validator__"):
            return value.model_dump(mode="json", by_alias=True)
        if value is None or isinstance(value, (list, tuple, dict)):
            # Those msgspec knows, except as keys.
            raise OutputError(
                f"it has a dict with a key of type {type(value).__name__}; JSON has only text "
                "as keys"
            )
        for name in ("tolist", "item"):  # of arrays and their scalars
            if callable(method := getattr(value, name, None)):
                return method()
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, (Sequence, Set)):
            return list(value)
        raise OutputError(
            f"it holds a {type(value).__module__}.{type(value).__qualname__}, which cannot be "
            "sent; return numbers, text, lists, dicts, dataclasses, or the pathlib.Path of a file"
        )


def well_formed(value: str) -> str:
    """Return a text that UTF-8 can hold: halves of surrogate pairs become U+FFFD."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value
