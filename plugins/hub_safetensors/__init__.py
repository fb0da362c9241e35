"""safetensors for hub: Hugging Face folders (config, shards, index, tokenizer) and single files.

This module only registers. The folder is a public component: formats that live in such folders
contribute layouts and rules about config.json to it.
"""

from __future__ import annotations

from hub.api import Format, hookimpl


@hookimpl
def hub_formats() -> list[Format]:
    return [
        Format(
            name="safetensors",
            summary="Hugging Face folder with config.json and safetensors files, or one such file",
            detect="hub_safetensors.detect:detect",
            reader="hub_safetensors.reader:SafetensorsReader",
            writer="hub_safetensors.writer:SafetensorsWriter",
            variants={
                "keep": "every tensor in its own number type; what is quantized in f32, which alone holds it exactly",
                "f32": "all float tensors in 32 bits",
                "f16": "all float tensors in 16 bits, IEEE",
                "bf16": "all float tensors in 16 bits, bfloat16",
            },
        )
    ]
