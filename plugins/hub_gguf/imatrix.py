"""Importance matrices: the GGUF files that llama-imatrix writes and llama-quantize reads.

Keys, names, types and order: tools/imatrix/imatrix.cpp and common/imatrix-loader.cpp of llama.cpp 0c1e570.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hub.api import CalibrationText, FormatError, Importance, ImportanceFile, padded
from hub_gguf import kv
from hub_gguf.kvtypes import KvType
from hub_gguf.reader import MAX_NAME
from hub_gguf.types import BY_LAYOUT
from hub_gguf.writer import ALIGNMENT


class Imatrix(ImportanceFile):
    """For each tensor N: ``N.in_sum2``, the sums, and ``N.counts``, the rows, both f32."""

    convention = "gguf"

    def covers(self, name: str, *, output: bool) -> bool:
        # What is multiplied inside blocks. Vectors are never met by a product, so they need no rule.
        return (name.startswith("blk.") and name.endswith(".weight")) or (output and name == "output.weight")

    def encode(self, found: Sequence[Importance], text: CalibrationText) -> Sequence[bytes]:
        kvs = [
            kv.text("general.type", "imatrix"),
            kv.texts("imatrix.datasets", [text.name]),
            kv.Kv("imatrix.chunk_count", KvType.U32, text.chunks),
            kv.Kv("imatrix.chunk_size", KvType.U32, text.context),
        ]
        arrays = list(_arrays(found))
        infos, position = bytearray(), 0
        for name, array in arrays:
            raw, dims = name.encode(), [array.shape[1], array.shape[0]][: 1 if len(array) == 1 else 2]
            if len(raw) > MAX_NAME:
                raise FormatError(f"a name of more than {MAX_NAME} bytes, which GGUF does not allow", tensor=name)
            infos += len(raw).to_bytes(8, "little") + raw + len(dims).to_bytes(4, "little")
            for dim in dims:
                infos += dim.to_bytes(8, "little")
            infos += BY_LAYOUT["f32"].id.to_bytes(4, "little") + position.to_bytes(8, "little")
            position = padded(position + array.nbytes, ALIGNMENT)
        head = b"GGUF" + (3).to_bytes(4, "little") + len(arrays).to_bytes(8, "little")
        head += len(kvs).to_bytes(8, "little") + kv.encode(kvs) + infos
        pieces = [head, bytes(-len(head) % ALIGNMENT)]
        for _, array in arrays:
            pieces += [array.tobytes(), bytes(-array.nbytes % ALIGNMENT)]
        return pieces


def _arrays(found: Sequence[Importance]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    for item in found:
        with np.errstate(over="ignore"):
            sums = item.sums.astype("<f4")
        if not np.isfinite(sums).all():
            raise FormatError("squared activations beyond the range of f32", tensor=item.name)
        yield f"{item.name}.in_sum2", sums
        yield f"{item.name}.counts", item.counts.astype("<f4")[:, None]
