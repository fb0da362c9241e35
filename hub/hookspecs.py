"""The hooks of hub: all they do is register. pluggy collects what every plugin returns."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from hub.consumer import CheckEntry
from hub.format import Format, LayoutEntry, QuantizerEntry

hookspec = pluggy.HookspecMarker("hub")
hookimpl = pluggy.HookimplMarker("hub")


@hookspec
def hub_formats() -> Iterable[Format]:
    """Formats that can be read or written."""
    return ()


@hookspec
def hub_layouts() -> Iterable[LayoutEntry]:
    """Layouts, by the names that tensors carry."""
    return ()


@hookspec
def hub_quantizers() -> Iterable[QuantizerEntry]:
    """Ways to fill layouts from floats."""
    return ()


@hookspec
def hub_architectures() -> Iterable[str]:
    """Architecture files, as ``package:file.toml``; one of a known family adds to its `formats`."""
    return ()


@hookspec
def hub_checks() -> Iterable[CheckEntry]:
    """Consumers: programs that a written model is run in."""
    return ()
