"""A decoder for onnxruntime-genai: as of plain operators, but for attention, which is onnxruntime's own.

GroupQueryAttention appends to a cache that may be longer than what is in it, so that the program can keep one buffer
for all steps. It takes padding on the right only. Source: onnxruntime, docs/ContribOperators.md.
"""

from __future__ import annotations

from typing import Any

from hub.api import GraphNode
from hub_onnx.codes import MICROSOFT
from hub_onnx.decoder import Decoder
from hub_onnx.proto import DataType


class GenaiDecoder(Decoder):
    """Attention by GroupQueryAttention; the rotation of positions stays outside of it, which tells every kind."""

    def _attention(self, node: GraphNode, q: str, k: str, v: str) -> str:
        given = node.arguments
        heads, kv_heads = int(given["heads"]), int(given["kv_heads"])
        past, present = self._cache(kv_heads, self._widths[k] // kv_heads, self._widths[v] // kv_heads)
        sinks = self.weights[node.weights[0]].numbers(self.build) if node.weights else ""
        more: dict[str, Any] = {"local_window_size": int(given["window"])} if given["window"] else {}
        if given["softcap"]:
            more["softcap"] = float(given["softcap"])
        (made, *_) = self.build.emit_many(
            "GroupQueryAttention",
            (q, k, v, *past, self._last(), self._total(), "", "", "", "", sinks),
            ("", *present),
            domain=MICROSOFT,
            num_heads=heads,
            kv_num_heads=kv_heads,
            scale=float(given["scale"]),
            **more,
        )
        return self._of(self._widths[v] // kv_heads * heads, made)

    def _last(self) -> str:
        """The number of every sequence's last token, int32 (batch,)."""
        build = self.build

        def make() -> str:
            count = build.emit("ReduceSum", "attention_mask", build.ints(-1), keepdims=0)
            return build.emit("Cast", build.emit("Sub", count, build.number(1)), to=int(DataType.INT32))

        return build.once(("last",), make)

    def _total(self) -> str:
        """Tokens of the longest sequence, earlier calls included, int32."""
        build = self.build

        def make() -> str:
            length = build.emit("Gather", build.emit("Shape", "attention_mask"), build.number(1), axis=0)
            return build.emit("Cast", length, to=int(DataType.INT32))

        return build.once(("total",), make)
