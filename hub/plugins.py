"""Finds plugins, checks them, and gives out what they register, by name and on first use."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from hub.consumer import CheckEntry
from hub.errors import MissingDependency, PluginError, UsageError, printable
from hub.format import API_VERSION, Format, ImportanceFile, LayoutEntry, QuantizerEntry, Reader, Writer

if TYPE_CHECKING:
    from hub.layout import Layout
    from hub.quantizer import Quantizer

GROUP = "hub"
"""The entry-point group."""
OPENED = "codes:"
"""Stands before the name of a layout whose bytes are opened; see `hub.opened`."""
REGROUPED = "regrouped:"
"""Stands before the name of a layout whose columns are brought together by group; see `hub.regrouped`."""
STACKED = "stacked:"
"""What stands before a layout's name where several tensors, each with numbers for all of its rows, became one."""
OWN = "weighthub"
"""The distribution of the built-in plugins; they come first, so that no other can take their names."""
DISABLE = "HUB_DISABLE_PLUGINS"
"""Environment variable: comma-separated entry-point names that are not loaded."""

Entry = TypeVar("Entry", Format, LayoutEntry, QuantizerEntry, CheckEntry)


@dataclass
class Loaded:
    """A plugin and what became of it.

    Attributes:
        error: why it could not be used; None when all is well.
    """

    name: str
    distribution: str
    version: str
    error: str | None = None
    formats: list[str] = field(default_factory=list)
    layouts: list[str] = field(default_factory=list)
    quantizers: list[str] = field(default_factory=list)
    architectures: list[str] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)


def resolve(reference: str, needs: dict[str, str] | None = None) -> Any:
    """The object that ``module:name`` names.

    Raises:
        MissingDependency: the module needs a package that is not installed.
        PluginError: the module or the name does not exist.
    """
    module_name, _, attribute = reference.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        remedy = (needs or {}).get(missing)
        if remedy:
            raise MissingDependency(f"{reference} needs package {missing}", remedy=remedy) from None
        raise PluginError(f"{reference}: {error}") from error
    except (ImportError, AttributeError) as error:
        raise PluginError(f"{reference}: {error}") from error


class Registry:
    """Everything that plugins registered.

    A plugin that fails to load, registers a name twice or was written for another major version
    of the API is kept with its reason, and stops nothing else.
    """

    def __init__(self) -> None:
        import pluggy

        from hub import hookspecs

        self.plugins: list[Loaded] = []
        self.formats: dict[str, Format] = {}
        self._layouts: dict[str, LayoutEntry] = {}
        self._quantizers: dict[str, QuantizerEntry] = {}
        self.checks: dict[str, CheckEntry] = {}
        self.architecture_files: list[str] = []
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._made: dict[str, Any] = {}
        for name, distribution, version, load in _entry_points():
            self._add(name, distribution, version, load)

    def _add(self, name: str, distribution: str, version: str, load: Any) -> None:
        record = Loaded(name, distribution, version)
        self.plugins.append(record)
        module = None
        try:
            module = load()
            self._manager.register(module, name)
            self._manager.check_pending()
            self._collect(record, module)
        except (Exception, SystemExit) as error:  # any fault of a stranger's code is that plugin's, not hub's
            record.error = printable(f"{type(error).__name__}: {error}", 300)
            if module is not None and self._manager.is_registered(module):
                self._manager.unregister(module)

    def _collect(self, record: Loaded, module: Any) -> None:
        def of(hook: str) -> Iterable[Any]:
            function = getattr(module, hook, None)
            return () if function is None else function()

        formats = list(of("hub_formats"))
        layouts, quantizers = list(of("hub_layouts")), list(of("hub_quantizers"))
        checks = list(of("hub_checks"))
        for kind, item in [*(("format", item) for item in formats), *(("check", item) for item in checks)]:
            if item.api[0] != API_VERSION[0]:
                raise PluginError(f"{kind} {item.name} was written for API {item.api[0]}, this is {API_VERSION[0]}")
        architectures = list(of("hub_architectures"))
        _check_free(self.formats, formats, "format")
        _check_free(self._layouts, layouts, "layout")
        _check_free(self._quantizers, quantizers, "quantizer")
        _check_free(self.checks, checks, "check")
        for reference in architectures:
            _check_architecture(reference)
        # Nothing is taken before everything was checked: half a plugin is worse than none.
        self.formats.update({item.name: item for item in formats})
        self._layouts.update({item.name: item for item in layouts})
        self._quantizers.update({item.name: item for item in quantizers})
        self.checks.update({item.name: item for item in checks})
        record.formats = [item.name for item in formats]
        record.layouts = [item.name for item in layouts]
        record.quantizers = [item.name for item in quantizers]
        record.architectures = architectures
        record.checks = [item.name for item in checks]
        self.architecture_files += record.architectures

    def format(self, name: str) -> Format:
        """The format a user named.

        Raises:
            UsageError: there is none; names those there are, and plugins that failed.
        """
        if name in self.formats:
            return self.formats[name]
        broken = [f"{p.name} ({p.error})" for p in self.plugins if p.error]
        hint = f"; not loaded: {', '.join(broken)}" if broken else ""
        raise UsageError(f"no format {printable(name)!r}; known: {', '.join(sorted(self.formats))}{hint}")

    def reader(self, name: str) -> Reader:
        """A Reader of the format `name`.

        Raises:
            UsageError: there is no such format, or hub cannot read it.
        """
        found = self.format(name)
        if found.reader is None:
            raise UsageError(f"format {name} can be written, not read")
        made: Reader = resolve(found.reader, dict(found.needs))()
        return made

    def writer(self, name: str) -> Writer:
        """A Writer of the format `name`.

        Raises:
            UsageError: there is no such format, or hub cannot write it.
        """
        found = self.format(name)
        if found.writer is None:
            raise UsageError(f"format {name} can be read, not written")
        made: Writer = resolve(found.writer, dict(found.needs))()
        return made

    def importance(self, name: str | None = None) -> ImportanceFile:
        """The importance files of the format `name`, or of the only one that has such files.

        Raises:
            UsageError: there is no such format, it has none, or several have and none was named.
        """
        having = sorted(format.name for format in self.formats.values() if format.importance)
        if name is None and len(having) != 1:
            raise UsageError(
                f"formats with importance files: {', '.join(having) or 'none'}", remedy="name one with --to"
            )
        found = self.format(name or having[0])
        if found.importance is None:
            raise UsageError(f"format {found.name} has no importance files; {', '.join(having) or 'none'} has")
        made: ImportanceFile = resolve(found.importance, dict(found.needs))()
        return made

    def check(self, name: str) -> CheckEntry:
        """The consumer that a user named.

        Raises:
            UsageError: there is none; names those there are.
        """
        if name not in self.checks:
            raise UsageError(f"no consumer {printable(name)!r}; known: {', '.join(sorted(self.checks)) or 'none'}")
        return self.checks[name]

    @cached_property
    def layout_names(self) -> list[str]:
        """Names of all layouts, those of the core included."""
        from hub.layout import DENSE

        return [*DENSE, *self._layouts]

    def knows_layout(self, name: str) -> bool:
        """Whether `layout` gives one for `name`, parameters after a slash included."""
        name = name.removeprefix(OPENED).removeprefix(REGROUPED).removeprefix(STACKED)
        return name in self.layout_names or family(name) in self._layouts

    def layout(self, name: str) -> Layout:
        """The layout called `name`.

        Raises:
            UsageError: there is none.
        """
        from hub.layout import DENSE
        from hub.opened import OpenedLayout, StackedLayout

        if name in DENSE:
            return DENSE[name]
        if name.startswith(OPENED):
            return OpenedLayout(self.layout(name.removeprefix(OPENED)))
        if name.startswith(STACKED):
            return StackedLayout(self.layout(name.removeprefix(STACKED)))
        if name.startswith(REGROUPED):
            from hub.regrouped import RegroupedLayout

            return RegroupedLayout(self.layout(name.removeprefix(REGROUPED)))
        entry = self._layouts.get(name) or self._layouts.get(family(name))
        if entry is None:
            raise UsageError(f"no layout {printable(name)!r}; known: {', '.join(self.layout_names)}")
        key = f"layout {name}"
        if key not in self._made:
            self._made[key] = resolve(entry.factory)(name)
        made: Layout = self._made[key]
        return made

    def quantizer(self, layout: str) -> Quantizer | None:
        """The default quantizer of a layout, or None. A layout that is registered under its full name is no member
        of the family."""
        names = (layout,) if layout in self._layouts else (layout, family(layout))
        for entry in self._quantizers.values():
            if entry.layout in names:
                key = f"quantizer {entry.name} {layout}"
                if key not in self._made:
                    self._made[key] = resolve(entry.factory)(layout)
                made: Quantizer = self._made[key]
                return made
        return None

    def detect(self, path: str) -> Format:
        """The format of what lies at `path`.

        Raises:
            HubError: nothing knows it, or two formats claim it alike; or it cannot be read.
        """
        from hub.detection import detect

        return detect(self.formats.values(), path)


def family(layout: str) -> str:
    """A layout's name without its parameters: ``mlx.affine`` of ``mlx.affine/4bit-g64``."""
    return layout.partition("/")[0]


def _check_free(table: Mapping[str, Entry], items: Sequence[Entry], kind: str) -> None:
    names = [item.name for item in items]
    for name in names:
        if name in table:
            raise PluginError(f"{kind} {name} is registered already by another plugin")
        if names.count(name) > 1:
            raise PluginError(f"{kind} {name} is registered twice")


def _check_architecture(reference: str) -> None:
    """A file that cannot be read would stop every conversion, not only those of its family."""
    from importlib import resources

    from hub.architecture import build, parse

    package, _, name = reference.partition(":")
    try:
        text = (resources.files(package) / name).read_text("utf-8")
    except (ImportError, OSError, TypeError, ValueError) as error:
        raise PluginError(f"architecture file {reference}: {error}") from None
    data = parse(text, name=reference)
    # One that adds formats to a known family has nothing else.
    build(
        {
            "family": "?",
            "summary": "",
            "match": {"architectures": (), "model_type": ""},
            "config": {},
            "tensors": {},
            **data,
        }
    )


def _entry_points() -> Iterable[tuple[str, str, str, Any]]:
    from importlib import metadata

    disabled = {name.strip() for name in os.environ.get(DISABLE, "").split(",")}
    found = [(p.dist.name if p.dist else "?", p) for p in metadata.entry_points(group=GROUP)]
    seen: dict[str, tuple[str, str]] = {}
    for dist, point in sorted(found, key=lambda item: (item[0] != OWN, item[1].name, item[0])):
        if point.name in disabled:
            continue
        version = point.dist.version if point.dist else "?"
        first = seen.get(point.name)
        if first is None:
            seen[point.name] = dist, point.value
            yield point.name, dist, version, point.load
        elif first != (dist, point.value):  # an editable install beside a wheel can list one plugin twice
            yield point.name, dist, version, partial(_shadowed, point.name, first[0])


def _shadowed(name: str, dist: str) -> NoReturn:
    raise PluginError(f"plugin {name} is registered already by {dist}")


_registry: Registry | None = None


def registry() -> Registry:
    """The registry of this process, made on first use."""
    global _registry
    if _registry is None:
        _registry = Registry()
    return _registry
