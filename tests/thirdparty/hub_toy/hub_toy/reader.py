"""Reads toy files. Whatever stands in one, the answer is a model or a HubError that names the file."""

from __future__ import annotations

from typing import Any

from hub.api import (
    Cursor,
    Dense,
    FilePart,
    FileSource,
    FormatError,
    HubError,
    Model,
    Packed,
    Reader,
    Tensor,
    strict_json,
)
from hub_toy.detect import MAGIC
from hub_toy.header import DENSE, LAYOUTS, placed, specs

MAX_HEADER = 16 << 20


class ToyReader(Reader):
    """Opens `.toy` files."""

    def open(self, path: str) -> Model:
        source = FileSource(path)
        try:
            return _model(path, source)
        except BaseException:
            source.close()
            raise


def _model(path: str, source: FileSource) -> Model:
    cursor = Cursor(source)
    if cursor.take(len(MAGIC), "the magic") != MAGIC:
        raise FormatError("not a toy file", path=path, offset=0)
    length = cursor.count("Q", "bytes of header", item_bytes=1, limit=MAX_HEADER)
    header = strict_json.load_object(cursor.take(length, "the header"), path=path, offset=cursor.offset - length)
    architecture, config = header.get("architecture"), header.get("config")
    if not isinstance(architecture, str) or not isinstance(config, dict):
        raise FormatError("the header must have architecture and config", path=path)
    return Model(
        format="toy",
        path=path,
        convention="",
        tensors=_tensors(header.get("tensors"), source, length),
        architecture=architecture,
        config=config,
        hyperparameters=lambda _: config,
        sources=[source],
    )


def _tensors(found: Any, source: FileSource, header: int) -> dict[str, Tensor]:
    if not isinstance(found, dict):
        raise FormatError("the header must have tensors", path=source.path)
    parts = [(name, key, spec) for name, info in found.items() for key, spec in _specs(name, info, source).items()]
    *offsets, size = placed((spec.nbytes for _, _, spec in parts), header)
    if size != source.size:
        raise FormatError(f"{source.size} bytes, its header makes them {size}", path=source.path)
    stored: dict[str, dict[str, FilePart]] = {name: {} for name in found}
    for (name, key, spec), offset in zip(parts, offsets, strict=True):
        stored[name][key] = FilePart(spec, source, offset)
    tensors = {}
    for name, info in found.items():
        shape, layout = tuple(info["shape"]), info["layout"]
        body = Dense(stored[name]["data"]) if layout in DENSE else Packed(layout, shape, stored[name])
        tensors[name] = Tensor(name, shape, body)
    return tensors


def _specs(name: str, info: Any, source: FileSource) -> Any:
    shape = info.get("shape") if isinstance(info, dict) else None
    if not isinstance(shape, list) or len(shape) > 4 or any(type(n) is not int or not 0 < n < 1 << 48 for n in shape):
        raise FormatError("the shape must be a list of at most four sizes", path=source.path, tensor=name)
    if info.get("layout") not in LAYOUTS:
        raise FormatError(f"the layout must be one of {', '.join(LAYOUTS)}", path=source.path, tensor=name)
    try:
        return specs(info["layout"], tuple(shape))
    except HubError as error:
        raise FormatError(error.message, path=source.path, tensor=name) from None
