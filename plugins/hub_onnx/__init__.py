"""ONNX for hub: decoders that onnxruntime and onnxruntime-genai run. This module only registers."""

from __future__ import annotations

from hub.api import CheckEntry, Format, LayoutEntry, QuantizerEntry, hookimpl

FAMILIES = {
    "onnx.dq": (
        "2bit-g16-offset", "2bit-g64-signed", "4bit-g32-zero", "4bit-g32-zero-f16", "4bit-g32-signed",
        "4bit-g128-offset", "4bit-channel-zero", "8bit-g32-signed", "8bit-channel-zero-signed", "f8_e4m3-g32",
        "f8_e4m3-channel",
    ),
    "onnx.rows": (
        "8bit-g32-zero", "8bit-g32-offset", "8bit-g16-signed", "4bit-g16-signed", "2bit-g32-signed",
        "4bit-channel-zero", "8bit-channel-signed",
    ),
    "ort.MatMulNBits": (
        "2bit-g16-offset", "2bit-g64", "4bit-g32", "4bit-g32-offset", "4bit-g128-floatzero", "8bit-g32",
        "8bit-g16-zero", "8bit-g32-f16",
    ),
}  # fmt: skip
"""Families of layouts, with parameters that stand for all."""


@hookimpl
def hub_formats() -> list[Format]:
    return [
        Format(
            name="onnx",
            summary="folders with a decoder that onnxruntime runs",
            detect="hub_onnx.detect:detect",
            reader="hub_onnx.reader:OnnxReader",
            writer="hub_onnx.writer:OnnxWriter",
            variants={
                "f32": "plain operators and 32-bit floats, computed in 32 bits",
                "f16": "16-bit floats, computed in 32 bits",
                "bf16": "the same, bfloat16",
                "4bit-g32": "4-bit codes, 32 weights to a scale; groups of 16, 64 and 128 are spelled alike",
                "8bit-g32": "8-bit codes; -sym or -asym behind any says whether groups have zero points",
                "genai": "onnxruntime's own operators, for onnxruntime-genai; codes as the source has them",
                "genai-f16": "the same with 16-bit floats; genai-bf16 and genai-f32 are spelled alike",
                "genai-4bit-g32": "the same with 4-bit codes, and so on",
                "weights": "weights without a graph, as the source has them, for families that have none",
            },
        )
    ]


@hookimpl
def hub_layouts() -> list[LayoutEntry]:
    floats = LayoutEntry("onnx.columns", "hub_onnx.columns:make", ("onnx.columns/f32", "onnx.columns/bf16"))
    return [floats] + [
        LayoutEntry(name, "hub_onnx.layouts:make", tuple(f"{name}/{told}" for told in examples))
        for name, examples in FAMILIES.items()
    ]


@hookimpl
def hub_quantizers() -> list[QuantizerEntry]:
    return [QuantizerEntry(f"{name}/nearest", name, "hub_onnx.quantizers:make") for name in FAMILIES]


@hookimpl
def hub_checks() -> list[CheckEntry]:
    remedy = "pip install 'weighthub[onnx]'"
    return [
        CheckEntry(
            name="onnxruntime",
            summary="onnxruntime on the CPU, prompt and cached steps, with and without its optimizations",
            factory="hub_onnx.consumer_ort:Onnxruntime",
            formats=("onnx",),
            needs={"onnxruntime": remedy, "onnx": remedy},
        ),
        CheckEntry(
            name="onnxruntime-genai",
            summary="onnxruntime-genai on the CPU, with its own generation",
            factory="hub_onnx.consumer_genai:Genai",
            formats=("onnx",),
            needs={"onnxruntime_genai": remedy, "onnxruntime": remedy, "onnx": remedy},
        ),
    ]
