"""The toy format for hub. This module only registers: it holds names, not imports."""

from __future__ import annotations

from hub.api import CheckEntry, Format, LayoutEntry, QuantizerEntry, hookimpl


@hookimpl
def hub_formats() -> list[Format]:
    return [
        Format(
            name="toy",
            summary="one file: a header in JSON, then the weights",
            detect="hub_toy.detect:detect",
            reader="hub_toy.reader:ToyReader",
            writer="hub_toy.writer:ToyWriter",
            variants={"f32": "32-bit floats", "int8": "8.5 bits per weight, stored by columns"},
        )
    ]


@hookimpl
def hub_layouts() -> list[LayoutEntry]:
    return [LayoutEntry("toy.column8", "hub_toy.column8:Column8")]


@hookimpl
def hub_quantizers() -> list[QuantizerEntry]:
    return [QuantizerEntry("toy.column8/nearest", "toy.column8", "hub_toy.column8:Nearest")]


@hookimpl
def hub_architectures() -> list[str]:
    return ["hub_toy:bigram.toml"]


@hookimpl
def hub_checks() -> list[CheckEntry]:
    return [CheckEntry("toy", "the program that toy files are for", "hub_toy.consumer:Toy", formats=("toy",))]
