"""Typed access to the members of a JSON object, for files that anybody may have written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from hub.api import FormatError, printable


class Members:
    """A JSON object whose members are asked for by the type they must have.

    Every getter returns None for a member that is absent or null, and raises `FormatError` naming
    file, member and the type found for one of another type.

    Args:
        values: the object.
        path: the file it comes from.
        where: the object's own place in the file, for messages.
    """

    def __init__(self, values: Mapping[str, Any], path: str | os.PathLike[str], where: str = "") -> None:
        self.values = values
        self.path = os.fspath(path)
        self.where = where

    def name(self, key: str) -> str:
        """The full name of a member, for messages."""
        return f"{self.where}.{key}" if self.where else key

    def refuse(self, key: str, wanted: str) -> FormatError:
        """The error for a member that is not what is `wanted`."""
        found = self.values.get(key)
        shown = printable(ascii(found), 60) if isinstance(found, (str, int, float)) else type(found).__name__
        return FormatError(f"member {printable(self.name(key))} must be {wanted}, found {shown}", path=self.path)

    def has(self, key: str) -> bool:
        """Whether the member is there, even as null."""
        return key in self.values

    def raw(self, key: str) -> Any:
        """The member as it stands."""
        return self.values.get(key)

    def text(self, key: str) -> str | None:
        """A string."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self.refuse(key, "text")
        return value

    def flag(self, key: str) -> bool | None:
        """A boolean."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.refuse(key, "true or false")
        return value

    def whole(self, key: str) -> int | None:
        """An integer; a boolean is none."""
        value = self.values.get(key)
        if value is not None and type(value) is not int:
            raise self.refuse(key, "an integer")
        return value

    def items(self, key: str) -> list[Any]:
        """A list, empty when absent."""
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.refuse(key, "a list")
        return value

    def member(self, key: str) -> Members | None:
        """An object."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.refuse(key, "an object")
        return Members(value, self.path, self.name(key))

    def members(self, key: str) -> list[Members]:
        """A list of objects, empty when absent."""
        made = []
        for index, value in enumerate(self.items(key)):
            name = f"{self.name(key)}[{index}]"
            if not isinstance(value, dict):
                raise FormatError(
                    f"member {printable(name)} must be an object, found {type(value).__name__}",
                    path=self.path,
                )
            made.append(Members(value, self.path, name))
        return made
