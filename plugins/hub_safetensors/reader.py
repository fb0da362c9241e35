"""Reads Hugging Face folders and single safetensors files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hub.api import (
    About,
    Architecture,
    ConfigError,
    FileSource,
    Folder,
    FormatError,
    HubError,
    Model,
    Reader,
    Tokenizer,
    TokenizerRule,
)
from hub_safetensors.header import read_header
from hub_safetensors.shards import INDEX, open_weights

CONFIG = "config.json"
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".msgpack")


class SafetensorsReader(Reader):
    """Opens a folder with config.json and weights, or one `.safetensors` file (tensors only)."""

    def open(self, path: str) -> Model:
        sources: list[FileSource] = []
        try:
            return _folder(path, sources) if os.path.isdir(path) else _file(path, sources)
        except BaseException:
            for source in sources:
                source.close()
            raise

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


def _file(path: str, sources: list[FileSource]) -> Model:
    source = FileSource(path)
    sources.append(source)
    header = read_header(source)
    return Model(
        format="safetensors",
        path=path,
        convention="",
        tensors=header.tensors,
        metadata={"files": 1, "metadata": dict(header.metadata)},
        sources=sources,
        notes=["one file without config.json: give its folder to convert it"],
    )


def _folder(path: str, sources: list[FileSource]) -> Model:
    folder = Folder(path)
    tensors, headers, names = open_weights(folder, sources)
    notes = []
    config: Mapping[str, Any] = {}
    if folder.exists(CONFIG):
        config = folder.json(CONFIG)
    else:
        notes.append("no config.json")
    metadata = {key: value for header in headers for key, value in header.metadata.items()}
    weights = {*names, INDEX, CONFIG}
    return Model(
        format="safetensors",
        path=path,
        convention="",
        tensors=tensors,
        architecture=_architecture(config, Path(path) / CONFIG),
        config=config,
        metadata={"files": len(names), "metadata": metadata},
        hyperparameters=lambda _: config,
        load_about=lambda: _about(folder),
        load_tokenizer=lambda architecture: _tokenizer(folder, architecture, config),
        sources=sources,
        companions=[n for n in folder.names() if n not in weights and not n.endswith(_WEIGHT_SUFFIXES)],
        notes=notes,
    )


def _architecture(config: Mapping[str, Any], path: Path) -> str | None:
    named = config.get("architectures")
    if named is None:
        return None
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        raise ConfigError("architectures must be a list of class names", path=path)
    return named[0]


def _about(folder: Folder) -> About:
    """The model card and generation settings; nothing in them changes what the model is, so that broken
    ones, which are common, are told and passed over."""
    readme: str | None = None
    generation: Mapping[str, Any] = {}
    notes: list[str] = []
    try:
        if folder.exists("README.md"):
            readme = folder.text("README.md")
    except HubError as error:
        notes.append(f"README.md was not read: {error.message}")
    try:
        if folder.exists("generation_config.json"):
            generation = folder.json("generation_config.json")
    except HubError as error:
        notes.append(f"generation_config.json was not read: {error.message}")
    return About(readme, generation, notes)


def _tokenizer(folder: Folder, architecture: Architecture | None, config: Mapping[str, Any]) -> Tokenizer | None:
    from hub_safetensors.tokenizer import read_tokenizer

    vocab_size = config.get("vocab_size")
    return read_tokenizer(
        folder,
        rule=architecture.tokenizer if architecture else TokenizerRule(),
        vocab_size=vocab_size if isinstance(vocab_size, int) else None,
        config=dict(config),
    )
