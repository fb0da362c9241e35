"""Recipe: what a user wants of single tensors, in a file (`--recipe`) or on the command line.

For example:

    # q8-head.toml
    pure = true                 # no mixture: every tensor as the variant says
    [[tensors]]
    match = '^output\\.weight$'   # regular expression, searched in the target's and the source's name
    layout = "q8_0"             # a layout by its name, or by the word the format has for it
    [set]
    "general.name" = "My model" # metadata, as --set
"""

from __future__ import annotations

import os
import re
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hub.errors import FormatError, UsageError, printable
from hub.io import strict_json
from hub.io.source import FileSource

BUILT_IN: Mapping[str, dict[str, Any]] = {"pure": {"pure": True}}
"""Recipes that need no file."""
MAX_RECIPE = 1 << 20
MAX_PATTERN = 1000
"""Longest regular expression; patterns are the user's own, this only catches accidents."""


@dataclass(frozen=True)
class Rule:
    """A layout for the tensors whose name matches."""

    match: str
    layout: str

    def matches(self, *names: str) -> bool:
        """Whether one of `names` contains a match."""
        return any(re.search(self.match, name) for name in names)


@dataclass(frozen=True)
class Recipe:
    """Rules in order, the first that matches wins; settings; and whether mixtures are off."""

    name: str = ""
    pure: bool = False
    rules: Sequence[Rule] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def layout_for(self, *names: str) -> str | None:
        """The layout that a rule gives to a tensor of one of these names, or None."""
        return next((rule.layout for rule in self.rules if rule.matches(*names)), None)

    def joined(self, rules: Sequence[Rule], settings: Mapping[str, Any]) -> Recipe:
        """This recipe after rules and settings of the command line, which come first."""
        return Recipe(self.name, self.pure, [*rules, *self.rules], {**self.settings, **settings})


def rule(text: str) -> Rule:
    """A rule from ``REGEX=LAYOUT``.

    Raises:
        UsageError: no ``=``, or not a regular expression.
    """
    pattern, found, layout = text.rpartition("=")
    if not found or not pattern or not layout:
        raise UsageError(f"{printable(text)!r} is not REGEX=LAYOUT")
    return _rule(pattern, layout)


def _rule(pattern: str, layout: str) -> Rule:
    if len(pattern) > MAX_PATTERN:
        raise UsageError(f"a regular expression of {len(pattern)} characters, at most {MAX_PATTERN} are allowed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a later Python may read otherwise; it would be a second line
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"{printable(pattern)!r} is not a regular expression: {printable(error)}") from None
    return Rule(pattern, layout)


def setting(text: str) -> tuple[str, str]:
    """Key and value from ``KEY=VALUE``.

    Raises:
        UsageError: no ``=`` or no key.
    """
    key, found, value = text.partition("=")
    if not found or not key:
        raise UsageError(f"{printable(text)!r} is not KEY=VALUE")
    return key, value


def load(name: str) -> Recipe:
    """A recipe by built-in name or from a TOML or JSON file.

    Raises:
        UsageError: neither.
        FormatError: the file is not a recipe.
    """
    if name in BUILT_IN:
        return from_data(BUILT_IN[name], name=name, path=name)
    if not os.path.exists(name):
        raise UsageError(f"no recipe {printable(name)!r}: neither a file nor one of {', '.join(sorted(BUILT_IN))}")
    with FileSource(name) as source:
        if source.size > MAX_RECIPE:
            raise FormatError(f"{source.size} bytes, at most {MAX_RECIPE} are allowed", path=name)
        data = source.read(0, source.size)
    if name.endswith(".json"):
        return from_data(strict_json.load_object(data, path=name), name=name, path=name)
    try:
        return from_data(tomllib.loads(data.decode("utf-8")), name=name, path=name)
    except (ValueError, RecursionError) as error:
        # ValueError: of TOML, of UTF-8, and of a number with thousands of digits.
        raise FormatError(f"not TOML: {error}", path=name) from None


def from_data(data: Mapping[str, Any], *, name: str, path: str) -> Recipe:
    """A recipe from parsed data; the form is `schemas/recipe.schema.json`.

    Raises:
        FormatError: an unknown member or a value of the wrong kind.
    """

    def refuse(message: str) -> FormatError:
        return FormatError(f"not a recipe: {message}", path=path)

    unknown = set(data) - {"pure", "tensors", "set"}
    if unknown:
        raise refuse(f"unknown member {printable(sorted(unknown)[0])!r}; known are pure, tensors, set")
    pure, rules, settings = data.get("pure", False), data.get("tensors", []), data.get("set", {})
    if not isinstance(pure, bool):
        raise refuse("pure must be true or false")
    if not isinstance(rules, list) or not isinstance(settings, dict):
        raise refuse("tensors must be a list of rules, set a table")
    made = []
    for item in rules:
        if (
            not isinstance(item, dict)
            or set(item) != {"match", "layout"}
            or not all(isinstance(value, str) for value in item.values())
        ):
            raise refuse("a rule has the members match and layout, both strings")
        made.append(_rule(item["match"], item["layout"]))
    if not all(isinstance(value, str | int | float | bool) for value in settings.values()):
        raise refuse("values in set must be strings, numbers or booleans")
    return Recipe(name, pure, made, settings)
