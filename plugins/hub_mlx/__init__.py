"""MLX for hub: the folders that mlx-lm reads and writes. This module only registers."""

from __future__ import annotations

from hub.api import Format, LayoutEntry, hookimpl


@hookimpl
def hub_formats() -> list[Format]:
    return []


@hookimpl
def hub_layouts() -> list[LayoutEntry]:
    return []
