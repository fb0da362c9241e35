"""Reads Hugging Face folders and single safetensors files."""

from __future__ import annotations

import os
from collections.abc import Sequence

from hub.api import FileSource, Folder, FormatError, Model, Reader
from hub_safetensors.header import read_header
from hub_safetensors.hf_folder import open_folder


class SafetensorsReader(Reader):
    """Opens a folder with config.json and weights, or one `.safetensors` file (tensors only)."""

    def open(self, path: str) -> Model:
        return open_folder(path) if os.path.isdir(path) else _file(path)

    def check(self, model: Model) -> Sequence[str]:
        if not os.path.isdir(model.path):
            return ()
        folder = Folder(model.path)
        faults = []
        for name in ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json"):
            if folder.exists(name):
                try:
                    folder.json(name)
                except FormatError as error:
                    faults.append(str(error))
        return faults


def _file(path: str) -> Model:
    source = FileSource(path)
    try:
        header = read_header(source)
    except BaseException:
        source.close()
        raise
    return Model(
        format="safetensors",
        path=path,
        convention="",
        tensors=header.tensors,
        metadata={"files": 1, "metadata": dict(header.metadata)},
        sources=[source],
        notes=["one file without config.json: give its folder to convert it"],
    )
