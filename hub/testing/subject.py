"""The plugin under test and what it registers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from hub import planner
from hub.consumer import CheckEntry
from hub.errors import HubError, PluginError, UsageError, printable
from hub.format import Format, LayoutEntry, QuantizerEntry
from hub.plugins import GROUP, Loaded, family, registry
from hub.recipe import Recipe
from hub.testing import models

Pair = tuple[str, str]


@dataclass(frozen=True)
class Subject:
    """A loaded plugin.

    Attributes:
        record: what the registry knows of it.
        module: its entry module.
        samples: paths of models that the author gave for formats, by format.
    """

    record: Loaded
    module: ModuleType
    samples: Mapping[str, Sequence[Path]]

    @classmethod
    def of(cls, name: str, samples: Mapping[str, Sequence[Path]] | None = None) -> Subject:
        """The plugin whose entry point has that name.

        Raises:
            UsageError: there is none.
            PluginError: it cannot be loaded.
        """
        loaded = {plugin.name: plugin for plugin in registry().plugins}
        if name not in loaded:
            raise UsageError(f"no plugin {printable(name)!r}; known: {', '.join(sorted(loaded))}")
        record = loaded[name]
        if record.error:
            raise PluginError(f"plugin {name} cannot be loaded: {record.error}")
        point = next(iter(metadata.entry_points(group=GROUP, name=name)))
        return cls(record, point.load(), samples or {})

    def _registered(self, hook: str) -> Sequence[Any]:
        function = getattr(self.module, hook, None)
        return () if function is None else list(function())

    @cached_property
    def formats(self) -> Mapping[str, Format]:
        """Its formats by name."""
        return {item.name: item for item in self._registered("hub_formats")}

    @cached_property
    def layouts(self) -> Mapping[str, LayoutEntry]:
        """Its layouts, and families of layouts, by name."""
        return {item.name: item for item in self._registered("hub_layouts")}

    @cached_property
    def quantizers(self) -> Sequence[QuantizerEntry]:
        """Its quantizers."""
        return self._registered("hub_quantizers")

    @cached_property
    def architecture_files(self) -> Sequence[str]:
        """Its architecture files."""
        return self._registered("hub_architectures")

    @cached_property
    def checks(self) -> Mapping[str, CheckEntry]:
        """Its consumers by name."""
        return {item.name: item for item in self._registered("hub_checks")}

    @cached_property
    def variants(self) -> Sequence[Pair]:
        """(format, variant) of everything it writes; the variant "" comes first where it is taken."""
        return [
            (name, variant) for name, item in self.formats.items() if item.writer for variant in ("", *item.variants)
        ]

    @cached_property
    def sample_names(self) -> Sequence[Pair]:
        """(format, path) of every model that its readers are tried with; without path it is written first."""
        out: list[Pair] = []
        for name, item in self.formats.items():
            if item.reader:
                out += [(name, str(path)) for path in self.samples.get(name, ())]
                out += [(name, "")] if item.writer else []
        return out

    @cached_property
    def layout_names(self) -> Sequence[str]:
        """Full names of its layouts: of a family its examples, and those that its variants and samples use."""
        used = list(dict.fromkeys([*self._used_by_variants(), *self._used_by_samples()]))
        out: list[str] = []
        for name, entry in self.layouts.items():
            members = [layout for layout in used if layout != name and family(layout) == name]
            members = list(dict.fromkeys([*members, *entry.examples]))
            out += members or [name]
        return out

    @cached_property
    def quantized_layouts(self) -> Sequence[Pair]:
        """(quantizer, full name of a layout) of every layout that its quantizers fill."""
        out = []
        for entry in self.quantizers:
            # A layout that is registered under its full name is no member of the family.
            members = [n for n in self.layout_names if entry.layout in (n, n if n in self.layouts else family(n))]
            out += [(entry.name, layout) for layout in members or [entry.layout]]
        return out

    def _used_by_variants(self) -> Iterable[str]:
        for name, variant in self.variants:
            for model in models.ladder():
                try:
                    made = planner.make(model, name, variant, Recipe(), registry())
                except HubError:
                    continue  # a test says so
                yield from (entry.layout for entry in made.entries)
                break

    def _used_by_samples(self) -> Iterable[str]:
        for name, paths in self.samples.items():
            for path in paths if name in self.formats else ():
                try:
                    with registry().reader(name).open(str(path)) as model:
                        yield from (tensor.layout for tensor in model.tensors.values())
                except HubError:
                    continue  # a test says so
