"""A Python function's parameters and outputs, as they are on the wire."""

from __future__ import annotations

import copy
import difflib
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import CoroutineType, NoneType
from typing import Any, get_args, get_origin

from jobwire.exceptions import shown
from jobwire.server.annotations import Kind, bare, choices_of, kind_of, not_none, said, type_hints
from jobwire.server.docstrings import Docstring, parse_docstring
from jobwire.server.errors import DeclarationError, InputError, OutputError
from jobwire.server.schemas import UnsupportedError, check, component_of, schema_of, words_of
from jobwire.server.values import (
    Decoder,
    FileReader,
    FileWriter,
    MismatchError,
    encode_value,
    well_formed,
)

__all__ = ("FileReader", "FileWriter", "Kind", "Signature", "Slot", "inspect_function")

_RESERVED = {"api_name", "fn_index", "result_callbacks", "headers"}
"""Names that ``submit`` of ``gradio_client`` keeps for itself."""

_SUPPORTED = (
    "str, int, float, bool, bytes, None, Any, Literal, Enum, date, datetime, time, timedelta, "
    "Decimal, UUID, pathlib.Path for a file, and lists, tuples, sets, dicts, TypedDicts, "
    "NamedTuples, dataclasses, msgspec Structs and pydantic models of them"
)


@dataclass(frozen=True, slots=True)
class Slot:
    """One input or output, as callers see it.

    Attributes:
        name: What it is called on the wire: an input's parameter, or ``value`` for the only
            output, ``value_1`` and so on for several.
        label: The name for people: the ``title`` of a ``msgspec.Meta``, else ``name``.
        component: The kind of Gradio component that shows such a value: ``textbox``,
            ``number``, ``checkbox``, ``dropdown``, ``file`` or ``json``.
        schema: The JSON schema of the wire value. It stands alone.
        python_type: The type of the wire value in words, such as ``"int | None"``.
        description: From the docstring or the annotation; may be empty.
        has_default: Callers can leave it out.
        default: What is used then, as a wire value. None, too, where JSON cannot express
            the default: sent as null, it still is what the function gets.
        choices: The wire values of a Literal or Enum, else None.
        multiple: It is a list of files or choices.
    """

    name: str
    label: str
    component: str
    schema: dict[str, Any]
    python_type: str
    description: str
    has_default: bool
    default: Any
    choices: tuple[Any, ...] | None
    multiple: bool


@dataclass(frozen=True, slots=True)
class _Input:
    slot: Slot
    decode: Decoder
    default: Any  # as the function has it
    null_is_default: bool


@dataclass(frozen=True, slots=True, eq=False)
class Signature:
    """What a function takes and gives; made by `inspect_function`.

    Attributes:
        name: The function's name.
        description: What its docstring says before its sections.
        inputs: What callers send, in order.
        outputs: What they get, in order.
        injected: The parameters that the server fills, and the types that they ask for.
        kind: How it has to be called.
        batch: It takes lists, one item for each of several calls.
    """

    name: str
    description: str
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    injected: Mapping[str, type]
    kind: Kind
    batch: bool
    _inputs: tuple[_Input, ...]
    _parameters: tuple[inspect.Parameter, ...]
    _gives_tuple: bool  # of the outputs
    _is_direct: bool  # the arguments are the inputs, by position

    @property
    def may_give_files(self) -> bool:
        """Whether files may be in what it gives, which are copied, which takes time."""
        return any(not slot.schema or "FileData" in repr(slot.schema) for slot in self.outputs)

    def decode(self, values: Sequence[Any], *, files: FileReader) -> list[Any]:
        """Convert wire values, given by position, to what the function takes.

        What is left out at the end gets its default; so does null, where the type does not
        allow None: the JavaScript client fills up with it.

        Raises:
            InputError: They do not fit.
        """
        given = len(values)
        if given > len(self._inputs):
            raise self._wrong_count(given)
        args = []
        for position, input in enumerate(self._inputs):
            value = values[position] if position < given else None
            if position >= given or (value is None and input.null_is_default):
                if not input.slot.has_default:
                    raise self._missing(slot.name for slot in self.inputs[given:])
                args.append(input.default)
                continue
            try:
                args.append(input.decode(value, files))
            except MismatchError as error:
                raise self._mismatch(input.slot, error) from error
        return args

    def decode_named(self, values: Mapping[str, Any]) -> list[Any]:
        """Put wire values, given by name, in order; defaults fill what is left out.

        Raises:
            InputError: A name is unknown, or one without a default is missing.
        """
        names = [slot.name for slot in self.inputs]
        for name in values:
            if name not in names:
                name = _quoted(name)
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"did you mean {near[0]!r}?" if near else self._takes()
                raise InputError(
                    f"{self.name} has no parameter {name!r}; {hint}",
                    endpoint=self.name,
                    parameter=name,
                )
        missing = [
            slot.name for slot in self.inputs if slot.name not in values and not slot.has_default
        ]
        if missing:
            raise self._missing(missing)
        return [
            values[slot.name] if slot.name in values else copy.deepcopy(slot.default)
            for slot in self.inputs
        ]

    def bind(
        self, args: list[Any], injected: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return what to call the function with.

        Args:
            args: What `decode` made.
            injected: Values for the parameters in ``injected``, by name. One that is left out
                gets its default, or None.
        """
        if self._is_direct:
            return args, {}
        values = iter(args)
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for parameter in self._parameters:
            name = parameter.name
            if name not in self.injected:
                value = next(values)
            elif name in injected:
                value = injected[name]
            else:
                value = None if parameter.default is parameter.empty else parameter.default
            if parameter.kind is parameter.KEYWORD_ONLY:
                named[name] = value
            else:
                positional.append(value)
        return positional, named

    def encode(self, result: Any, *, files: FileWriter) -> list[Any]:
        """Convert what the function returned or yielded to wire values, one for each output.

        They are built of new objects: the function may go on to change its own.

        Raises:
            OutputError: It cannot be sent, or is not what the function declares.
        """
        if isinstance(result, CoroutineType):
            result.close()
            raise OutputError(
                f"{self.name}: it gave a coroutine: declare it `async def`, or annotate it as "
                "returning Awaitable[...]; in an `async def`, await the coroutine"
            )
        outputs = self.outputs
        if not outputs:
            return []
        if not self._gives_tuple:
            return [self._encode(outputs[0], result, files)]
        if not isinstance(result, (tuple, list)) or len(result) != len(outputs):
            got = f"{len(result)} of them" if isinstance(result, (tuple, list)) else _a(result)
            raise OutputError(
                f"{self.name} has to give a tuple of {len(outputs)}, as it declares; it gave {got}"
            )
        return [
            self._encode(slot, value, files) for slot, value in zip(outputs, result, strict=True)
        ]

    def _encode(self, slot: Slot, value: Any, files: FileWriter) -> Any:
        if slot.component == "file":
            value = _as_paths(value)
        try:
            return encode_value(value, files)
        except OutputError as error:
            raise OutputError(f"{self.name}: output {slot.name!r}: {error}") from error.__cause__

    def _mismatch(self, slot: Slot, error: MismatchError) -> InputError:
        where = f" at {_quoted(slot.name + error.path)}" if error.path else ""
        reason = _quoted(error.reason)
        if slot.choices is not None and reason.startswith("invalid enum value"):
            reason += f"; choose from {', '.join(map(repr, slot.choices))}"
        return InputError(
            f"{self.name}: parameter {slot.name!r}: {reason}{where}",
            endpoint=self.name,
            parameter=slot.name,
        )

    def _missing(self, names: Iterable[str]) -> InputError:
        required = {slot.name for slot in self.inputs if not slot.has_default}
        missing = [name for name in names if name in required]
        return InputError(
            f"{self.name}: no value for {', '.join(map(repr, missing))}; {self._takes()}",
            endpoint=self.name,
            parameter=missing[0],
        )

    def _wrong_count(self, given: int) -> InputError:
        return InputError(
            f"{self.name}: {given} values were sent, but {self._takes()}", endpoint=self.name
        )

    def _takes(self) -> str:
        names = ", ".join(
            slot.name + (" (optional)" if slot.has_default else "") for slot in self.inputs
        )
        return f"it takes {len(self.inputs)}: {names}" if names else "it takes none"


def _quoted(text: str) -> str:
    """What a caller sent, fit for an answer."""
    return shown(well_formed(text))


def _as_paths(value: Any) -> Any:
    """Where a file is declared, text is its path."""
    if isinstance(value, str):
        return Path(value)
    if isinstance(value, (list, tuple)):
        return [_as_paths(item) for item in value]
    return value


def _a(value: Any) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"


# -- making one ------------------------------------------------------------------


def inspect_function(
    fn: Callable[..., Any],
    *,
    injectable: Collection[type],
    batch: bool = False,
    name: str | None = None,
) -> Signature:
    """Find out what a function takes and gives.

    Args:
        fn: A function, method, ``functools.partial``, or an object that can be called.
        injectable: Types whose values the server provides. A parameter with one of them, or
            one of them or None, as its annotation, or with an instance as its default, is no
            input.
        batch: Every parameter and output is a list, with an item for each of several calls.
        name: What to call it; by default, its own name.

    Raises:
        DeclarationError: It cannot be an endpoint; the text says what to change.
    """
    return _Inspector(fn, injectable, batch, name).signature()


class _Inspector:
    def __init__(
        self,
        fn: Callable[..., Any],
        injectable: Collection[type],
        batch: bool,
        name: str | None,
    ) -> None:
        self.fn = fn
        self.injectable = injectable
        self.batch = batch
        # What carries the annotations and the docstring.
        target: Any = fn
        while isinstance(target, functools.partial):
            target = target.func
        if not inspect.isroutine(target):
            if isinstance(target, type) or not callable(target):
                raise DeclarationError(f"{target!r} is no function")
            name = name or type(target).__name__
            target = type(target).__call__
        self.target: Any = target
        self.name: str = name or getattr(target, "__name__", "function").strip("<>")

    def signature(self) -> Signature:
        try:
            return self._signature()
        except DeclarationError as error:
            raise DeclarationError(f"{self.name}: {error}") from error.__cause__

    def _signature(self) -> Signature:
        hints = type_hints(self.target)
        try:
            parameters = tuple(inspect.signature(self.fn).parameters.values())
        except ValueError:
            raise DeclarationError("Python cannot tell its parameters") from None
        docs = parse_docstring(inspect.getdoc(self.target))
        names = {parameter.name for parameter in parameters}
        injected: dict[str, type] = {}
        inputs: list[_Input] = []
        for parameter in parameters:
            annotation = hints.get(parameter.name, parameter.empty)
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise DeclarationError(
                    f"{parameter} cannot be: callers have to know what to send; name the "
                    "parameters, or take one list or dict"
                )
            marker = self._marker(annotation, parameter.default)
            if marker is not None:
                injected[parameter.name] = marker
                continue
            name = parameter.name
            if name in _RESERVED:
                name = f"param_{len(inputs)}"
                while name in names:
                    name += "_"
            inputs.append(self._input(parameter, annotation, name, docs))
        kind, given = kind_of(self.target, hints.get("return", Any))
        if self.batch and kind.endswith("generator"):
            raise DeclarationError("a generator cannot be a batch endpoint")
        return Signature(
            name=self.name,
            description=docs.description,
            inputs=tuple(input.slot for input in inputs),
            outputs=tuple(self._outputs(given, docs)),
            injected=injected,
            kind=kind,
            batch=self.batch,
            _inputs=tuple(inputs),
            _parameters=parameters,
            _gives_tuple=_is_tuple(given),
            _is_direct=not injected
            and all(parameter.kind is not parameter.KEYWORD_ONLY for parameter in parameters),
        )

    def _marker(self, annotation: Any, default: Any) -> type | None:
        """The type that a parameter wants from the server; None if it is an input."""
        annotation = not_none(annotation)
        for type in self.injectable:
            if annotation is type or isinstance(default, type):
                return type
        return None

    def _input(
        self, parameter: inspect.Parameter, annotation: Any, name: str, docs: Docstring
    ) -> _Input:
        default = parameter.default
        has_default = default is not parameter.empty
        where = f"parameter {parameter.name!r}"
        if self.batch:
            annotation = _item(annotation, where)
            if has_default:
                raise DeclarationError(
                    f"{where} has a default; what a batch endpoint takes are lists with one item "
                    "for each call, and always given"
                )
        elif annotation is parameter.empty:
            known = has_default and type(default) in (str, int, float, bool)
            annotation = type(default) if known else Any
        slot = _slot(annotation, where, name, docs.parameters.get(parameter.name, ""))
        decode = Decoder(annotation)
        if not has_default:
            return _Input(slot, decode, None, null_is_default=False)
        wire, is_exact = _wire_default(default, decode)
        null_is_default = not is_exact or not _accepts_none(decode)
        slot = replace(slot, has_default=True, default=wire)
        return _Input(slot, decode, default, null_is_default)

    def _outputs(self, annotation: Any, docs: Docstring) -> Iterator[Slot]:
        inner = bare(annotation)
        if inner in (None, NoneType):
            return
        annotations = get_args(inner) if _is_tuple(inner) else (annotation,)
        for number, each in enumerate(annotations, start=1):
            name, where, described = f"value_{number}", f"output {number}", ""
            if len(annotations) == 1:
                name, where, described = "value", "the return annotation", docs.returns
            if self.batch and inner is not Any:
                each = _item(each, where)
            yield _slot(each, where, name, described, output=True)


def _is_tuple(annotation: Any) -> bool:
    """Whether each item is an output of its own."""
    inner = bare(annotation)
    return get_origin(inner) is tuple and Ellipsis not in get_args(inner)


def _item(annotation: Any, where: str) -> Any:
    """What a list of a batch endpoint is a list of."""
    inner = bare(annotation)
    if inner is list:
        return Any
    if get_origin(inner) in (list, Sequence):
        return get_args(inner)[0]
    got = "nothing" if inner is inspect.Parameter.empty else inspect.formatannotation(inner)
    raise DeclarationError(
        f"{where}: a batch endpoint takes and returns lists, with an item for each call; annotate "
        f"list[...], not {got}"
    )


def _slot(
    annotation: Any, where: str, name: str, description: str, *, output: bool = False
) -> Slot:
    try:
        check(annotation, output=output)
        schema = schema_of(annotation, output=output)
    except UnsupportedError as error:
        raise DeclarationError(
            f"{where}: {inspect.formatannotation(annotation)} is not supported: "
            f"{' '.join(str(error).split())}; use {_SUPPORTED}"
        ) from error
    component, multiple = component_of(schema)
    choices = choices_of(annotation) if component == "dropdown" else None
    if component == "dropdown" and choices is None:
        component, multiple = "json", False
    title, text = said(annotation)
    return Slot(
        name=name,
        label=title or name,
        component=component,
        schema=schema,
        python_type=words_of(schema, choices),
        description=description or text,
        has_default=False,
        default=None,
        choices=choices,
        multiple=multiple,
    )


class _NoFiles:
    """No file is at hand when a function is declared."""

    def open(self, path: str) -> Path:
        raise ValueError(path)

    def publish(self, path: Path) -> dict[str, Any]:
        raise OutputError(str(path))


def _wire_default(default: Any, decode: Decoder) -> tuple[Any, bool]:
    """Return a default's wire form, and whether the default can be told from it."""
    files = _NoFiles()
    try:
        wire = encode_value(default, files)
        is_exact = bool(decode(wire, files) == default)
    except Exception:  # a default may be anything, with an == of its own
        return None, False
    return (wire, True) if is_exact else (None, False)


def _accepts_none(decode: Decoder) -> bool:
    try:
        decode(None, _NoFiles())
    except MismatchError:
        return False
    return True
