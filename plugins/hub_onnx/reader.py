"""Reads ONNX models: hub's own, onnxruntime-genai's, Olive's, optimum's, and what quantizers make of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hub.api import (
    Architecture,
    ArchitectureError,
    ConfigError,
    Configured,
    FileSource,
    Folder,
    FormatError,
    HubError,
    Model,
    Reader,
    Tensor,
    Tokenizer,
    TokenizerRule,
    configure,
    printable,
)
from hub_onnx.check import check
from hub_onnx.collect import Collector
from hub_onnx.decode import decode
from hub_onnx.files import SUBFOLDER, Files, choose, folder_and_name, nbytes, open_files
from hub_onnx.model import Initializer, ModelProto
from hub_onnx.names import Names, names_of
from hub_onnx.own import own_tensors
from hub_onnx.settings import CONFIG as GENAI
from hub_onnx.settings import settings
from hub_onnx.trace import scopes
from hub_safetensors.hf_folder import CONFIG, read_about

_OTHERS: Final = (GENAI, "ort_config.json", "quantize_config.json")
"""Files that tell of the ONNX files beside them, and of nothing else."""


class OnnxReader(Reader):
    """Opens a folder with an ONNX model, or the model's file. Reads of weights nothing but a few scalars."""

    def open(self, path: str) -> Model:
        sources: list[FileSource] = []
        try:
            return _opened(path, sources)
        except BaseException:
            for source in sources:
                source.close()
            raise


def _opened(path: str, sources: list[FileSource]) -> Model:
    home, folder, name, genai = _places(path)
    files = open_files(folder, name)
    files.opened = sources
    sources.append(files.source)
    model = decode(files.source)
    check(model, files.source.path)
    _refuse_overlaps(model, files)
    notes: list[str] = []
    config, config_path = _config(home, genai, model, files)
    known_by = Model("onnx", path, "", {}, _architecture(config, config_path), config, config_path)
    known_by.hyperparameters = lambda _: config
    configured = _configured(known_by) if config else None
    tensors = _tensors(model, files, configured, notes)
    if not config:
        notes.append("no config.json")
    folder_name = os.fspath(home.root)
    return Model(
        format="onnx",
        path=folder_name,
        convention="",
        tensors=tensors,
        architecture=known_by.architecture,
        config=config,
        config_path=config_path,
        metadata=_metadata(model, name),
        hyperparameters=lambda _: config,
        load_about=lambda: read_about(home),
        load_tokenizer=lambda architecture: _tokenizer(home, architecture, config),
        sources=sources,
        companions=_companions(home, files),
        notes=notes,
    )


def _places(path: str) -> tuple[Folder, Folder, str, Mapping[str, Any]]:
    """The folder of config.json and tokenizer, that of the model's file, the file's name, and genai_config.json."""
    folder, name = folder_and_name(path)
    if name is None and not any(one.endswith(".onnx") for one in folder.names()) and folder.exists(SUBFOLDER):
        inner = Folder(folder.path(SUBFOLDER))
        return folder, inner, choose(inner), {}
    genai = folder.json(GENAI) if folder.exists(GENAI) else {}
    if name is None:
        name = choose(folder, _filename(genai, folder))
    home = folder
    if not folder.exists(CONFIG) and Path(os.path.abspath(folder.root)).name == SUBFOLDER:
        outer = Folder(os.path.dirname(os.path.abspath(folder.root)))
        home = outer if outer.exists(CONFIG) else folder
    return home, folder, name, genai


def _filename(genai: Mapping[str, Any], folder: Folder) -> str | None:
    if not genai:
        return None
    told = genai.get("model")
    decoder = told.get("decoder") if isinstance(told, dict) else None
    name = decoder.get("filename") if isinstance(decoder, dict) else None
    if name is None:
        return None
    if not isinstance(name, str) or not name.endswith(".onnx"):
        raise ConfigError(f"filename {printable(repr(name), 60)} is no .onnx file", path=folder.root / GENAI)
    return name


def _config(home: Folder, genai: Mapping[str, Any], model: ModelProto, files: Files) -> tuple[Mapping[str, Any], str]:
    """The settings, and the file they come from."""
    if home.exists(CONFIG):
        return home.json(CONFIG), os.fspath(home.root / CONFIG)
    if not genai:
        return {}, os.fspath(home.root / CONFIG)
    weights = Collector(model, files, Names()).tensors()
    return settings(genai, model, files, weights), os.fspath(home.root / GENAI)


def _architecture(config: Mapping[str, Any], path: str) -> str | None:
    named = config.get("architectures")
    if named is None:
        return None
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        raise ConfigError("architectures must be a list of class names", path=path)
    return named[0]


def _configured(model: Model) -> Configured | None:
    try:
        return configure(model)
    except ArchitectureError:
        return None


def _tensors(model: ModelProto, files: Files, configured: Configured | None, notes: list[str]) -> Mapping[str, Tensor]:
    try:
        if configured is not None:
            _refuse_sizes(configured, model, files)
        names = names_of(configured)
    except ConfigError as error:
        raise error.at(path=files.source.path) from None
    try:
        tensors = own_tensors(model, files, names)
    except HubError as error:
        notes.append(f"what hub once wrote of its tensors does not hold any more ({error.message})")
        tensors = {}
    if tensors:
        return tensors
    collector = Collector(model, files, names)
    tensors = collector.tensors()
    notes += collector.notes
    if not tensors:
        raise FormatError("its graph uses no weights", path=files.source.path)
    return tensors


def _refuse_sizes(configured: Configured, model: ModelProto, files: Files) -> None:
    """Settings that ask for more tensors than the file can have are not spelled out."""
    graph = model.graph
    most = len(graph.nodes) + len(graph.initializers) + 1000
    if configured.layers > most or configured.experts > most * 64:
        raise ConfigError(
            f"the settings say {configured.layers} layers, the graph has {len(graph.nodes)} nodes",
            path=files.source.path,
        )


def _refuse_overlaps(model: ModelProto, files: Files) -> None:
    """Two tensors may be the same bytes; they may not share some of them."""
    places: dict[str, list[tuple[int, int, Initializer]]] = {}
    for tensor in (tensor for scope in scopes(model.graph) for tensor in scope.graph.initializers):
        if tensor.external is not None:
            begin = tensor.external.offset
            places.setdefault(tensor.external.location, []).append((begin, begin + nbytes(tensor), tensor))
    for found in places.values():
        found.sort(key=lambda place: place[:2])
        last = (0, 0)
        for begin, end, tensor in found:
            if begin < last[1] and (begin, end) != last:
                raise files.fault(
                    tensor, f"its data overlaps another tensor's: it begins at {begin}, that ends at {last[1]}"
                )
            last = (begin, max(end, last[1])) if (begin, end) != last else last


def _metadata(model: ModelProto, name: str) -> dict[str, Any]:
    shown = {key: value for key, value in model.metadata.items() if len(value) <= 200}
    producer = " ".join(word for word in (model.producer, model.producer_version) if word)
    opsets = {domain or "ai.onnx": version for domain, version in model.opsets.items()}
    return {
        **shown,
        "file": name,
        "ir_version": model.ir_version,
        "opsets": opsets,
        "producer": producer,
        "nodes": len(model.graph.nodes),
    }


def _companions(home: Folder, files: Files) -> Sequence[str]:
    """Small files that go along: neither models nor what lies beside them."""
    data = {os.path.basename(source.path) for source in files.opened}
    return [
        name
        for name in home.names()
        if name not in data
        and name not in (*_OTHERS, CONFIG)
        and ".onnx" not in name
        and not os.path.isdir(home.root / name)
    ]


def _tokenizer(home: Folder, architecture: Architecture | None, config: Mapping[str, Any]) -> Tokenizer | None:
    from hub_safetensors.tokenizer import read_tokenizer

    vocab_size = config.get("vocab_size")
    return read_tokenizer(
        home,
        rule=architecture.tokenizer if architecture else TokenizerRule(),
        vocab_size=vocab_size if isinstance(vocab_size, int) else None,
        config=dict(config),
    )
