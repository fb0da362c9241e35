"""GGUF for hub: llama.cpp's file format and all its tensor types.

This module only registers. Facts come from llama.cpp 0c1e570 (October 2026); PROVENANCE.md says which.
"""

from __future__ import annotations

from hub.api import CheckEntry, Format, LayoutEntry, QuantizerEntry, hookimpl
from hub_gguf.filetypes import FILE_TYPES
from hub_gguf.types import BY_NAME, DECODED, QUANTIZED, SCALED


@hookimpl
def hub_formats() -> list[Format]:
    return [
        Format(
            name="gguf",
            summary="GGUF v3, what llama.cpp and its relatives run; v2 and split files are read too",
            detect="hub_gguf.detect:detect",
            reader="hub_gguf.reader:GgufReader",
            writer="hub_gguf.writer:GgufWriter",
            importance="hub_gguf.imatrix:Imatrix",
            variants={name: file_type.summary for name, file_type in FILE_TYPES.items()},
        )
    ]


@hookimpl
def hub_layouts() -> list[LayoutEntry]:
    names = [*(t.layout for t in (*QUANTIZED, *DECODED)), *(t.scaled_layout for t in SCALED)]
    return [LayoutEntry(name, "hub_gguf.layouts:make") for name in names]


@hookimpl
def hub_quantizers() -> list[QuantizerEntry]:
    return [
        QuantizerEntry(f"{t.layout}/reference", t.layout, "hub_gguf.quantizers:make")
        for t in (*QUANTIZED, BY_NAME["MXFP4"])
    ]


@hookimpl
def hub_checks() -> list[CheckEntry]:
    return [
        CheckEntry(
            name="llama.cpp",
            summary="libllama on the CPU, through llama-cpp-python",
            factory="hub_gguf.consumer:LlamaCpp",
            formats=("gguf",),
            needs={"llama_cpp": "pip install 'weighthub[peers]'"},
        )
    ]
