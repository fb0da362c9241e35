"""MLX for hub: the folders that mlx-lm reads and writes. This module only registers."""

from __future__ import annotations

from hub.api import Format, LayoutEntry, hookimpl


@hookimpl
def hub_formats() -> list[Format]:
    return []


FLOATS = ("mlx.mxfp4", "mlx.mxfp8", "mlx.nvfp4", "mlx.nvfp4/scaled")
AFFINES = ("1bit-g64", "2bit-g32", "3bit-g64", "4bit-g64-bf16", "4bit-g32", "5bit-g32-f32", "6bit-g128", "8bit-g64-f32")
"""Parameters that stand for all of `mlx.affine`."""


@hookimpl
def hub_layouts() -> list[LayoutEntry]:
    examples = tuple(f"mlx.affine/{told}" for told in AFFINES)
    factory = "hub_mlx.layouts:make"
    return [LayoutEntry("mlx.affine", factory, examples), *(LayoutEntry(name, factory) for name in FLOATS)]
