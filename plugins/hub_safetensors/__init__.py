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
        )
    ]
