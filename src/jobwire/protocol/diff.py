"""Edits between two outputs of a generator, as servers since gradio 4.17 send them.

An edit is ``[operation, path, value]``. A path is a list of keys: an integer where
it enters a list, a string where it enters a dict.

=========== ======================== =================================================
operation   at the empty path        elsewhere
=========== ======================== =================================================
``replace`` the whole value          the element
``append``  to the string            to the string that is the element
``add``                              a list: insert there; a dict: set the key
``delete``                           a list: drop its last element; a dict: the key
=========== ======================== =================================================

Why ``delete`` drops the last element, whatever index it names: gradio compares lists
position by position, so what it deletes is always the tail. The indices that it sends
for it are wrong when a list shrinks by two or more (4.17 to 5.29.0) or when lists
inside lists shrink (5.29.1 to 6.31, where they even turn negative), while the *number*
of deletes is right in all of them. Read this way, every version gives the right value.
The edits made here delete from the end, so every reader gets the right value from them.
"""

from __future__ import annotations

import reprlib
from typing import Any

from jobwire.exceptions import RemoteProtocolError

__all__ = ("apply_edits", "make_edits")

_MAX_EDITS = 100
"""Edits beyond which an output is sent whole: by then they are hardly shorter, and a client
has to make each of them."""


def apply_edits(value: Any, edits: Any) -> Any:
    """Return ``value`` with ``edits`` made to it, one after the other.

    ``value`` stays as it was. Of the new value, only the containers on the paths of
    the edits are copied; everything else is shared with the old one.

    Args:
        value: Any JSON value.
        edits: A list of edits, as a server sends for one output; empty changes
            nothing and returns ``value`` itself.

    Raises:
        RemoteProtocolError: An edit is malformed or does not fit the value.
    """
    if not isinstance(edits, list):
        raise _impossible(edits, "edits are a list")
    copied: dict[int, Any] = {}  # containers made here, by id, so that none is copied twice
    for edit in edits:
        try:
            operation, path, operand = edit
        except (TypeError, ValueError):
            raise _impossible(edit, "an edit has three parts") from None
        if not isinstance(path, list):
            raise _impossible(edit, "a path is a list")
        if not path:
            value = _edit_whole(value, operation, operand, edit)
            continue
        value = _own(value, copied, edit)
        parent = value
        for key in path[:-1]:
            child = _own(_child(parent, key, edit), copied, edit)
            parent[key] = child
            parent = child
        _edit_child(parent, path[-1], operation, operand, edit)
    return value


def make_edits(old: Any, new: Any) -> list[list[Any]]:
    """Return the edits that make ``new`` of ``old``; empty if they are the same.

    Unlike gradio's, they tell ``1`` from ``1.0`` and ``True``.

    Args:
        old: Any JSON value.
        new: Likewise. The edits hold parts of it.
    """
    edits: list[list[Any]] = []
    if _compare(old, new, [], edits):
        return edits
    return [["replace", [], new]]


def _compare(old: Any, new: Any, path: list[Any], edits: list[list[Any]]) -> bool:
    """Add the edits for one place; False if there are too many."""
    if old is new:
        return True
    kind = type(new)
    if type(old) is not kind:
        edits.append(["replace", path, new])
    elif kind is str:
        if new.startswith(old):
            if len(new) > len(old):
                edits.append(["append", path, new[len(old) :]])
        else:
            edits.append(["replace", path, new])
    elif kind is list:
        for index, (before, after) in enumerate(zip(old, new, strict=False)):
            if before is not after and not _compare(before, after, [*path, index], edits):
                return False
        if len(new) - len(old) > _MAX_EDITS or len(old) - len(new) > _MAX_EDITS:
            return False
        edits.extend(["add", [*path, index], new[index]] for index in range(len(old), len(new)))
        edits.extend(
            ["delete", [*path, index], None] for index in range(len(old) - 1, len(new) - 1, -1)
        )
    elif kind is dict:
        edits.extend(["delete", [*path, key], None] for key in old if key not in new)
        for key, after in new.items():
            if key not in old:
                edits.append(["add", [*path, key], after])
            elif not _compare(old[key], after, [*path, key], edits):
                return False
    elif old != new:
        edits.append(["replace", path, new])
    return len(edits) <= _MAX_EDITS


def _own(container: Any, copied: dict[int, Any], edit: Any) -> Any:
    if id(container) in copied:
        return container
    if not isinstance(container, (list, dict)):
        raise _impossible(edit, f"the path enters {_kind(container)}")
    container = container.copy()
    copied[id(container)] = container
    return container


def _child(container: Any, key: Any, edit: Any) -> Any:
    if isinstance(container, list):
        # A negative index never means anything but a server's mistake.
        if type(key) is not int or not 0 <= key < len(container):
            raise _impossible(edit, f"{key!r} is no index of a list of {len(container)}")
        return container[key]
    if not isinstance(key, str) or key not in container:
        raise _impossible(edit, f"no key {key!r}")
    return container[key]


def _edit_whole(value: Any, operation: Any, operand: Any, edit: Any) -> Any:
    if operation == "replace":
        return operand
    if operation == "append":
        return _append(value, operand, edit)
    raise _impossible(edit, "no such operation on a whole value")


def _edit_child(container: Any, key: Any, operation: Any, operand: Any, edit: Any) -> None:
    if operation == "delete" and isinstance(container, list):
        if not container:
            raise _impossible(edit, "the list is empty")
        container.pop()
    elif operation == "delete":
        _child(container, key, edit)
        del container[key]
    elif operation == "add" and isinstance(container, list):
        if type(key) is not int or not 0 <= key <= len(container):
            raise _impossible(edit, f"{key!r} is no place in a list of {len(container)}")
        container.insert(key, operand)
    elif operation == "add":
        if not isinstance(key, str):
            raise _impossible(edit, "a key of a dict is a string")
        container[key] = operand
    elif operation == "replace":
        _child(container, key, edit)
        container[key] = operand
    elif operation == "append":
        container[key] = _append(_child(container, key, edit), operand, edit)
    else:
        raise _impossible(edit, "no such operation")


def _append(value: Any, suffix: Any, edit: Any) -> str:
    if not isinstance(value, str) or not isinstance(suffix, str):
        raise _impossible(edit, f"cannot append {_kind(suffix)} to {_kind(value)}")
    return value + suffix


def _kind(value: Any) -> str:
    return {str: "a string", list: "a list", dict: "an object", type(None): "null"}.get(
        type(value), "a number or boolean"
    )


def _impossible(edit: Any, why: str) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"the server sent an edit that cannot be made: {reprlib.repr(edit)}: {why}"
    )
