"""Reads Hugging Face folders and single safetensors files."""

from __future__ import annotations

import os
from collections.abc import Sequence

from hub.api import FileSource, Folder, FormatError, Model, Reader, printable
from hub_safetensors.header import read_header
from hub_safetensors.hf_folder import open_folder
from hub_safetensors.quantization import quantization_of


class SafetensorsReader(Reader):
    """Opens a folder with config.json and weights, or one `.safetensors` file (tensors only)."""

    def open(self, path: str) -> Model:
        if not os.path.isdir(path):
            return _file(path)
        model = open_folder(path)
        model.incomplete = _codes_nobody_explains(model)
        return model

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


_CODES = (".weight_packed", ".qweight", ".weight_scale_inv", ".quant_map", ".SCB")
"""How names end that only quantized modules have."""


def _codes_nobody_explains(model: Model) -> str:
    name = next((name for name in model.tensors if name.endswith(_CODES)), "")
    if not name:
        return ""
    told = "no quantization_config in it says how they lie"
    if quantization_of(Folder(model.path), model.config)[0]:
        told = "format safetensors reads plain numbers only, its quantization_config names the format"
    return f"{printable(name, 80)} belongs to quantized weights, and {told}"


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
