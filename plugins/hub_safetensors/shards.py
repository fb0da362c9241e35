"""The weight files of a Hugging Face folder: one file, or shards with an index."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hub.api import FileSource, Folder, FormatError, Tensor, printable
from hub_safetensors.header import Header, read_header

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_SHARDS = 100_000


def open_weights(
    folder: Folder, sources: list[FileSource], alone: Callable[[str], bool] = lambda _: False
) -> tuple[Mapping[str, Tensor], list[Header], list[str]]:
    """All tensors of the folder by name: shards in the order of their names, tensors sorted inside each.

    Args:
        sources: every opened file is appended, so that the caller closes it whatever happens.
        alone: whether a file of that name is all weights, where there is none of the usual name.

    Returns:
        The tensors, the headers, and the names of the files.

    Raises:
        FormatError: no weights, a missing shard, an index that disagrees with its files.
    """
    has_index, has_single = folder.exists(INDEX), folder.exists(SINGLE)
    if has_index:
        placed = _weight_map(folder)
        names = sorted(set(placed.values()))
    elif has_single:
        placed, names = None, [SINGLE]
    else:
        own = [name for name in folder.names() if alone(name)]
        placed, names = None, own if len(own) == 1 else _loose(folder)
    headers = []
    tensors: dict[str, Tensor] = {}
    where: dict[str, str] = {}
    for name in names:
        source = folder.open(name, named_in=str(folder.root / INDEX) if placed is not None else None)
        sources.append(source)
        header = read_header(source)
        headers.append(header)
        for tensor_name in sorted(header.tensors):
            if tensor_name in where:
                raise FormatError(f"stands in {where[tensor_name]} too", path=source.path, tensor=tensor_name)
            where[tensor_name] = name
            tensors[tensor_name] = header.tensors[tensor_name]
    if placed is not None:
        _check_index(folder, placed, where)
    return tensors, headers, names


def _weight_map(folder: Folder) -> dict[str, str]:
    index = folder.json(INDEX)
    path = folder.root / INDEX
    placed = index.get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(value, str) for value in placed.values()):
        raise FormatError("weight_map must be an object of file names", path=path)
    if not placed:
        raise FormatError("weight_map is empty", path=path)
    names = set(placed.values())
    if len(names) > MAX_SHARDS:
        raise FormatError(f"{len(names)} shards, at most {MAX_SHARDS} are allowed", path=path)
    for name in sorted(names):
        folder.path(name, named_in=str(path))
        if not name.endswith(".safetensors"):
            raise FormatError(f"shard {printable(name)!r} is not a .safetensors file", path=path)
    missing = [name for name in sorted(names) if not folder.exists(name)]
    if missing:
        raise FormatError(
            f"{len(missing)} of {len(names)} shards are missing, first {printable(missing[0])!r}",
            path=path, remedy="download the rest",
        )  # fmt: skip
    return placed


def _loose(folder: Folder) -> list[str]:
    """Shards without an index are read only when their names count them completely."""
    names = [n for n in folder.names() if n.startswith("model") and n.endswith(".safetensors")]
    if not names:
        others = [n for n in folder.names() if n.endswith((".bin", ".pt", ".pth"))]
        hint = f"; {printable(others[0])} is a pickle, which hub never opens" if others else ""
        raise FormatError(f"no {SINGLE} and no {INDEX} in the folder{hint}", path=folder.root)
    stem = f"-of-{len(names):05}.safetensors"
    wanted = [f"model-{i + 1:05}{stem}" for i in range(len(names))]
    if names != wanted:
        raise FormatError(f"{len(names)} weight files and no {INDEX} that says which belong together", path=folder.root)
    return names


def _check_index(folder: Folder, placed: Mapping[str, str], where: Mapping[str, str]) -> None:
    path = folder.root / INDEX
    for name, shard in placed.items():
        if name not in where:
            message = f"the index places it in {printable(shard)}, which does not have it"
            raise FormatError(message, path=path, tensor=name)
        if where[name] != shard:
            message = f"the index places it in {printable(shard)}, it is in {where[name]}"
            raise FormatError(message, path=path, tensor=name)
    for name in where:
        if name not in placed:
            raise FormatError(f"it is in {where[name]}, the index does not name it", path=path, tensor=name)
