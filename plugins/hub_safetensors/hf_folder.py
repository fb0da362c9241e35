"""The Hugging Face folder: config.json, safetensors files, tokenizer, model card, generation settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hub.api import (
    About,
    Architecture,
    ConfigError,
    FileSource,
    Folder,
    HubError,
    Model,
    Tensor,
    Tokenizer,
    TokenizerRule,
)
from hub_safetensors.linear_layers import canonical_way
from hub_safetensors.shards import open_weights

CONFIG = "config.json"
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".msgpack")


Collect = Callable[[Mapping[str, Tensor], Mapping[str, Any]], Mapping[str, Tensor]]
"""A format's rule about stored tensors, by config.json: those that together are one weight (`P.qweight`, `P.scales`)
become one packed tensor `P.weight`; all others are passed on."""


def open_folder(
    path: str,
    *,
    format: str = "safetensors",
    collect: Collect | None = None,
    alone: Callable[[str], bool] = lambda _: False,
) -> Model:
    """Open a Hugging Face folder: weights, config.json, and on demand tokenizer, model card and generation settings.

    The component for every format that lives in such folders: its reader calls this with a rule that makes of the
    stored tensors what its own layouts mean.

    Args:
        format: the name of the format that asks.
        collect: the rule; it gets dense tensors as the files have them, and may read their data.
        alone: tells a weight file by the name that the format's own tools give it, for folders without the usual one.

    Raises:
        HubError: no weights, or damaged ones; names file, tensor and offset.
    """
    sources: list[FileSource] = []
    try:
        return _opened(path, format, collect, alone, sources)
    except BaseException:
        for source in sources:
            source.close()
        raise


def _opened(
    path: str, format: str, collect: Collect | None, alone: Callable[[str], bool], sources: list[FileSource]
) -> Model:
    folder = Folder(path)
    tensors, headers, names = open_weights(folder, sources, alone)
    notes = []
    config: Mapping[str, Any] = {}
    if folder.exists(CONFIG):
        config = folder.json(CONFIG)
    else:
        notes.append("no config.json")
    if collect is not None:
        try:
            tensors = collect(tensors, config)
        except HubError as error:
            raise error.at(path=path) from None
    metadata = {key: value for header in headers for key, value in header.metadata.items()}
    weights = {*names, CONFIG}
    model = Model(
        format=format,
        path=path,
        convention="",
        tensors=tensors,
        architecture=_architecture(config, Path(path) / CONFIG),
        config=config,
        config_path=str(Path(path) / CONFIG),
        metadata={"files": len(names), "metadata": metadata},
        hyperparameters=lambda _: config,
        load_about=lambda: read_about(folder),
        load_tokenizer=lambda architecture: _tokenizer(folder, architecture, config),
        sources=sources,
        companions=[n for n in folder.names() if n not in weights and not n.endswith(_WEIGHT_SUFFIXES)],
        notes=notes,
    )
    model.tensors = canonical_way(model)
    return model


def _architecture(config: Mapping[str, Any], path: Path) -> str | None:
    named = config.get("architectures")
    if named is None:
        return None
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        raise ConfigError("architectures must be a list of class names", path=path)
    return named[0]


def read_about(folder: Folder) -> About:
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
