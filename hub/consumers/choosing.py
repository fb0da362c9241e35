"""Which consumers were asked for: known, installed and able to open the format, before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from hub.consumer import Check, CheckEntry
from hub.errors import UsageError, printable
from hub.plugins import Registry, resolve


@dataclass(frozen=True)
class Chosen:
    """A consumer that will be asked."""

    entry: CheckEntry
    check: Check


def missing(entry: CheckEntry) -> tuple[str, str] | None:
    """The first package that a consumer needs and that is not installed, with its remedy; imports nothing."""
    for package, remedy in entry.needs.items():
        if find_spec(package) is None:
            return package, remedy
    return None


def choose(names: Sequence[str], format: str, registry: Registry) -> list[Chosen]:
    """The consumers that a user named, each once.

    Args:
        format: of what they shall open.

    Raises:
        UsageError: there is no such consumer, a package is missing, or it does not open that format.
    """
    out = []
    for name in dict.fromkeys(names):
        entry = registry.check(name)
        absent = missing(entry)
        if absent:
            raise UsageError(f"consumer {name} needs the package {absent[0]}", remedy=absent[1])
        if format not in entry.formats:
            able = sorted(item.name for item in registry.checks.values() if format in item.formats)
            raise UsageError(
                f"consumer {name} opens {', '.join(entry.formats)}, not {printable(format)}",
                remedy=f"for {printable(format)} there is {', '.join(able) or 'none'}",
            )
        check = resolve(entry.factory, dict(entry.needs))()
        assert isinstance(check, Check), entry.factory
        out.append(Chosen(entry, check))
    return out
