"""MLX for hub: the folders that mlx-lm reads and writes. This module only registers."""

from __future__ import annotations

from hub.api import CheckEntry, Format, LayoutEntry, QuantizerEntry, hookimpl


@hookimpl
def hub_formats() -> list[Format]:
    return [
        Format(
            name="mlx",
            summary="folder of mlx-lm: affine codes of 1 to 8 bits, MXFP4, MXFP8, NVFP4, floats",
            detect="hub_mlx.detect:detect",
            reader="hub_mlx.reader:MlxReader",
            writer="hub_mlx.writer:MlxWriter",
            variants={
                "4bit-g64": "4 bits, 64 weights to a scale; 1 to 6 and 8 bits, g32 and g128 are spelled alike",
                "8bit-g64": "8 bits, nearly lossless",
                "mxfp4": "E2M1 with a power of two for each 32 weights",
                "mxfp8": "E4M3 with a power of two for each 32 weights",
                "nvfp4": "E2M1 with an E4M3 scale for each 16 weights",
                "mixed_2_6": "mlx-lm's mixture of 2 and 6 bits; mixed_3_4, mixed_3_6 and mixed_4_6 are spelled alike",
                "bf16": "no codes, all numbers in 16 bits, bfloat16",
                "f16": "the same, IEEE",
                "f32": "the same in 32 bits",
            },
        )
    ]


FLOATS = ("mlx.mxfp4", "mlx.mxfp8", "mlx.nvfp4", "mlx.nvfp4/scaled")
AFFINES = ("1bit-g64", "2bit-g32", "3bit-g64", "4bit-g64-bf16", "4bit-g32", "5bit-g32-f32", "6bit-g128", "8bit-g64-f32")
"""Parameters that stand for all of `mlx.affine`."""


@hookimpl
def hub_layouts() -> list[LayoutEntry]:
    examples = tuple(f"mlx.affine/{told}" for told in AFFINES)
    factory = "hub_mlx.layouts:make"
    return [LayoutEntry("mlx.affine", factory, examples), *(LayoutEntry(name, factory) for name in FLOATS)]


@hookimpl
def hub_quantizers() -> list[QuantizerEntry]:
    # Codes with a global scale are only carried over.
    names = ("mlx.affine", *FLOATS[:3])
    return [QuantizerEntry(f"{name}/mlx", name, "hub_mlx.quantizers:make") for name in names]


@hookimpl
def hub_checks() -> list[CheckEntry]:
    return [
        CheckEntry(
            name="mlx",
            summary="mlx-lm on the CPU",
            factory="hub_mlx.consumer:MlxLm",
            formats=("mlx",),
            needs={"mlx": "pip install 'weighthub[mlx]'", "mlx_lm": "pip install 'weighthub[mlx]'"},
            environment={"MLX_DISABLE_COMPILE": "1"},
        )
    ]
