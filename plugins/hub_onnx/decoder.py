"""A decoder of plain ONNX operators, from the compute graph of an architecture.

One method for each operator of `hub.graph.OPERATORS`, as the runner has them. Values are (batch, tokens, width) f32.
What layers share - masks, cosines and sines - is computed once, from the positions and the mask that come in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hub.api import ConfigError, Configured, GraphNode, UsageError
from hub_onnx.build import Build
from hub_onnx.masks import mask
from hub_onnx.model import Attribute, Initializer, ValueInfo
from hub_onnx.proto import DataType
from hub_onnx.rotary import cosine_and_sine
from hub_onnx.weights import Weight

BATCH, TOKENS, PAST, TOTAL = "batch_size", "sequence_length", "past_sequence_length", "total_sequence_length"
"""Names of dimensions: sequences, tokens of this call, tokens of earlier calls, and both."""
_ROWS = "batch_size*sequence_length"
"""The dimension of tokens of all sequences in a row."""
_LOWEST = float(np.finfo(np.float32).min)
"""The score of what is not seen."""
_ZERO = Attribute("tensor", Initializer("", DataType.FLOAT, (1,), inline=bytes(4)))


class Decoder:
    """Builds the nodes of a model.

    Args:
        configured: the architecture, with a graph.
        weights: the model's tensors by canonical name.

    Attributes:
        build: nodes and constants.
        inputs, outputs: what goes in and out, when `run` is through.

    Raises:
        UsageError: the graph uses an operator that has no method here.
    """

    def __init__(self, configured: Configured, weights: Mapping[str, Weight]) -> None:
        self.configured, self.weights = configured, weights
        self.build = Build()
        self.inputs = [
            ValueInfo("input_ids", DataType.INT64, (BATCH, TOKENS)),
            ValueInfo("attention_mask", DataType.INT64, (BATCH, TOTAL)),
            ValueInfo("position_ids", DataType.INT64, (BATCH, TOKENS)),
        ]
        self.outputs: list[ValueInfo] = []
        self._widths: dict[str, int] = {}
        """Last dimension of the values that are (batch, tokens, width)."""
        self._layer = 0
        """How many attentions there have been, each of which has a cache of its own."""

    def run(self) -> None:
        """Make all nodes."""
        graph = self.configured.architecture.graph
        assert graph is not None
        values = {"ids": "input_ids", "positions": "position_ids"}
        for node in graph.nodes(self.configured.evaluate, self.configured.layers):
            method: Callable[..., Any] | None = getattr(self, f"_{node.op}", None)
            if method is None:
                raise UsageError(
                    f"architecture {self.configured.architecture.family} uses operator {node.op}, which has no graph "
                    "in ONNX yet",
                    remedy="the variant weights stores the tensors without a graph",
                )
            self.build.scope = node.weights[0] if node.weights else self._place(node)
            made = method(node, *(values[name] for name in node.inputs))
            made = made if isinstance(made, tuple) else (made,)
            values |= dict(zip(node.outputs, made, strict=True))
        (logits,) = [values[name] for name in node.outputs]
        width = self._widths[logits]
        self.build.scope = ""
        self.build.emit_many("Identity", [logits], ["logits"])
        self.outputs.insert(0, ValueInfo("logits", DataType.FLOAT, (BATCH, TOKENS, width)))

    def _place(self, node: GraphNode) -> str:
        return f"layers.{node.layer}" if 0 <= node.layer < self.configured.layers else ""

    # --------------------------------------------------------------------------------------------------- weights

    def _embed(self, node: GraphNode, ids: str) -> str:
        weight = self.weights[f"{node.weights[0]}.weight"]
        return self._of(weight.shape[1], weight.rows(self.build, ids))

    def _linear(self, node: GraphNode, x: str) -> str:
        name = node.weights[0]
        tied = node.arguments["tied"]
        if tied and f"{name}.weight" not in self.weights:
            name = tied
        return self._project(name, x, transposed=bool(node.arguments["transposed"]))

    def _project(self, name: str, x: str, *, transposed: bool = False) -> str:
        weight = self.weights[f"{name}.weight"]
        transposed = transposed and not weight.upright
        made = weight.multiply(self.build, x, transposed=transposed)
        bias = self.weights.get(f"{name}.bias")
        if bias is not None:
            made = self.build.emit("Add", made, bias.numbers(self.build))
        return self._of(weight.shape[1] if transposed else weight.shape[0], made)

    # ----------------------------------------------------------------------------------------------------- norms

    def _rms_norm(self, node: GraphNode, x: str) -> str:
        weight = self.weights[f"{node.weights[0]}.weight"]
        scale, plus = weight.numbers(self.build), float(node.arguments["plus"])
        if plus:
            scale = self.build.emit("Add", scale, self.build.scalar(plus))
        return self._by_heads(x, int(node.arguments["heads"]), lambda value: self.build.emit(
            "RMSNormalization", value, scale, axis=-1, epsilon=float(node.arguments["eps"])
        ))  # fmt: skip

    def _by_heads(self, x: str, heads: int, make: Callable[[str], str]) -> str:
        """What `make` gives of each of so many pieces of a row."""
        if heads == 1:
            return self._like(x, make(x))
        width = self._widths[x]
        pieces = self.build.emit("Reshape", x, self.build.ints(0, 0, heads, width // heads))
        return self._like(x, self.build.emit("Reshape", make(pieces), self.build.ints(0, 0, width)))

    def _layer_norm(self, node: GraphNode, x: str) -> str:
        numbers = [self.weights[f"{node.weights[0]}.weight"].numbers(self.build)]
        if f"{node.weights[0]}.bias" in self.weights:
            numbers.append(self.weights[f"{node.weights[0]}.bias"].numbers(self.build))
        return self._like(
            x, self.build.emit("LayerNormalization", x, *numbers, axis=-1, epsilon=float(node.arguments["eps"]))
        )

    # ------------------------------------------------------------------------------------------------- attention

    def _rope(self, node: GraphNode, x: str) -> str:
        dim, heads = int(node.arguments["dim"]), int(node.arguments["heads"])
        turns = cosine_and_sine(
            self.build, self.configured, node.arguments["type"], dim, float(node.arguments["theta"])
        )
        part = dim if dim != self._widths[x] // heads else None
        made = self.build.emit("RotaryEmbedding", x, *turns, num_heads=heads, rotary_embedding_dim=part)
        return self._like(x, made)

    def _attention(self, node: GraphNode, q: str, k: str, v: str) -> str:
        given = node.arguments
        heads, kv_heads = int(given["heads"]), int(given["kv_heads"])
        window, cap = int(given["window"] or 0), float(given["softcap"] or 0)
        past, present = self._cache(kv_heads, self._widths[k] // kv_heads, self._widths[v] // kv_heads)
        seen = mask(self.build, window)
        if cap or node.weights:
            sinks = self.weights[node.weights[0]] if node.weights else None
            made = self._spelled_out((q, k, v), past, present, seen, given, sinks)
        else:
            (made, *_) = self.build.emit_many(
                "Attention",
                (q, k, v, seen, *past),
                ("", *present),
                q_num_heads=heads,
                kv_num_heads=kv_heads,
                scale=float(given["scale"]),
            )
        return self._of(self._widths[v] // kv_heads * heads, made)

    def _cache(self, kv_heads: int, *sizes: int) -> tuple[list[str], list[str]]:
        """Names of the keys and values of earlier tokens, and of those that go out, of the next layer."""
        past, present = [], []
        for role, size in zip(("key", "value"), sizes, strict=True):
            past.append(f"past_key_values.{self._layer}.{role}")
            present.append(f"present.{self._layer}.{role}")
            self.inputs.append(ValueInfo(past[-1], DataType.FLOAT, (BATCH, kv_heads, PAST, size)))
            self.outputs.append(ValueInfo(present[-1], DataType.FLOAT, (BATCH, kv_heads, TOTAL, size)))
        self._layer += 1
        return past, present

    def _spelled_out(
        self,
        qkv: Sequence[str],
        past: Sequence[str],
        present: Sequence[str],
        seen: str,
        given: Mapping[str, Any],
        sinks: Weight | None,
    ) -> str:
        """Attention of small operators, for what the one operator does not do: a cap before the mask, sinks."""
        build, heads, kv_heads = self.build, int(given["heads"]), int(given["kv_heads"])
        group = heads // kv_heads
        split = []
        for value, count in zip(qkv, (heads, kv_heads, kv_heads), strict=True):
            pieces = build.emit("Reshape", value, build.ints(0, 0, count, self._widths[value] // count))
            split.append(build.emit("Transpose", pieces, perm=(0, 2, 1, 3)))
        q, *new = split
        keys, values = (
            build.emit_many("Concat", (old, one), (out,), axis=2)[0]
            for old, one, out in zip(past, new, present, strict=True)
        )
        # Heads of a group share keys: (batch, kv_heads, group, tokens, size) against (batch, kv_heads, 1, ...).
        sizes = [self._widths[value] // count for value, count in zip(qkv, (heads, kv_heads, kv_heads), strict=True)]
        q = build.emit("Reshape", q, build.ints(0, kv_heads, group, -1, sizes[0]))
        q = build.emit("Mul", q, build.scalar(float(given["scale"])))
        two = build.ints(2)
        turned = build.emit("Transpose", keys, perm=(0, 1, 3, 2))
        scores = build.emit("MatMul", q, build.emit("Unsqueeze", turned, two))
        scores = self._capped(scores, float(given["softcap"] or 0))
        scores = build.emit("Where", build.emit("Unsqueeze", seen, two), scores, build.scalar(_LOWEST))
        chances = self._softmax(scores, sinks, kv_heads, group)
        made = build.emit("MatMul", chances, build.emit("Unsqueeze", values, two))
        made = build.emit("Reshape", made, build.ints(0, heads, -1, sizes[2]))
        made = build.emit("Transpose", made, perm=(0, 2, 1, 3))
        return build.emit("Reshape", made, build.ints(0, 0, heads * sizes[2]))

    def _softmax(self, scores: str, sinks: Weight | None, kv_heads: int, group: int) -> str:
        if sinks is None:
            return self.build.emit("Softmax", scores, axis=-1)
        build = self.build
        sink = build.emit("Reshape", sinks.numbers(build), build.ints(1, kv_heads, group, 1, 1))
        lead = build.emit("Shape", scores, end=-1)
        sink = build.emit("Expand", sink, build.emit("Concat", lead, build.ints(1), axis=0))
        chances = build.emit("Softmax", build.emit("Concat", scores, sink, axis=-1), axis=-1)
        return build.emit("Slice", chances, build.ints(0), build.ints(-1), build.ints(-1))

    # --------------------------------------------------------------------------------------------------- experts

    def _experts(self, node: GraphNode, x: str) -> str:
        router, gate, up, down = node.weights
        given, build = node.arguments, self.build
        scores = self._project(router, self._flat(x))
        best, chosen = self._top(build.emit("Softmax", scores, axis=-1), int(given["top"]))
        if given["normalize"]:
            best = build.emit("Div", best, build.emit("ReduceSum", best, build.ints(-1), keepdims=1))

        def one(expert: int, part: str) -> str:
            names = [name.replace("{expert}", str(expert)) for name in (gate, up, down)]
            build.scope = names[0].rpartition(".")[0]
            act = getattr(self, f"_{given['activation']}")(node, self._project(names[0], part))
            return self._project(names[2], self._like(act, build.emit("Mul", act, self._project(names[1], part))))

        return self._mixed(x, best, chosen, int(given["count"]), one)

    def _fused_experts(self, node: GraphNode, x: str) -> str:
        router, gate_up, down = node.weights
        given, build = node.arguments, self.build
        best, chosen = self._top(self._project(router, self._flat(x)), int(given["top"]))
        alpha, limit = build.scalar(float(given["alpha"])), float(given["limit"])

        def one(expert: int, part: str) -> str:
            both = self._project_one(gate_up, expert, part)
            width = self._widths[both] // 2
            pairs = build.emit("Reshape", both, build.ints(0, width, 2))
            gate, linear = (build.emit("Gather", pairs, build.number(turn), axis=-1) for turn in range(2))
            gate = build.emit("Min", gate, build.scalar(limit))
            linear = build.emit("Clip", linear, build.scalar(-limit), build.scalar(limit))
            gate = build.emit("Mul", gate, build.emit("Sigmoid", build.emit("Mul", gate, alpha)))
            act = build.emit("Mul", gate, build.emit("Add", linear, build.scalar(1.0)))
            return self._project_one(down, expert, self._of(width, act))

        return self._mixed(x, build.emit("Softmax", best, axis=-1), chosen, int(given["count"]), one)

    def _project_one(self, name: str, expert: int, x: str) -> str:
        """`x` by one of the matrices of a tensor of all experts, plus its bias."""
        self.build.scope = f"{name}.{expert}"
        weight = self.weights[name]
        # Floats lie as Hugging Face's folders have them.
        transposed = name in self.configured.turned and not weight.upright
        made = weight.multiply_one(self.build, x, expert, transposed=transposed)
        bias = self.weights.get(f"{name}_bias")
        if bias is not None:
            row = self.build.emit("Gather", bias.numbers(self.build), self.build.number(expert), axis=0)
            made = self.build.emit("Add", made, row)
        return self._of(weight.shape[2] if transposed else weight.shape[1], made)

    def _flat(self, x: str) -> str:
        """Tokens of all sequences in a row, (tokens, width)."""
        width = self._widths[x]
        return self._of(width, self.build.emit("Reshape", x, self.build.ints(-1, width)))

    def _top(self, scores: str, top: int) -> tuple[str, str]:
        """The highest scores of every token and whose they are, (tokens, top) each."""
        best, chosen = self.build.emit_many("TopK", (scores, self.build.ints(top)), 2, axis=-1, largest=1, sorted=1)
        return best, chosen

    def _mixed(self, x: str, shares: str, chosen: str, count: int, one: Callable[[int, str], str]) -> str:
        """The sum of what experts make of the tokens that chose them, weighted; an expert that none chose sees none.

        Args:
            shares, chosen: (tokens, top): weights, and numbers of experts.
            one: what an expert makes of some tokens, (n, width).
        """
        build, flat, width = self.build, self._flat(x), self._widths[x]
        scope = build.scope
        total = build.emit("ConstantOfShape", build.emit("Shape", flat), value=_ZERO)
        wanted = self._wanted(chosen, count)

        def added(expert: int, total: str) -> str:
            places = build.emit("NonZero", build.emit("Equal", chosen, build.number(expert)))
            tokens = build.emit("Gather", places, build.number(0), axis=0)
            made = one(expert, self._of(width, build.emit("Gather", flat, tokens, axis=0)))
            build.scope = scope
            share = build.emit("GatherND", shares, build.emit("Transpose", places, perm=(1, 0)))
            made = build.emit("Mul", made, build.emit("Unsqueeze", share, build.ints(-1)))
            return build.emit(
                "ScatterND", total, build.emit("Unsqueeze", tokens, build.ints(-1)), made, reduction="add"
            )

        for expert in range(count):
            build.scope = scope
            # Numbers of tokens that only a run tells stay inside: onnxruntime compares all of them that a graph has.
            total = build.choose(
                build.emit("Gather", wanted, build.number(expert), axis=0),
                lambda e=expert, t=total: added(e, t),  # type: ignore[misc]
                lambda t=total: build.emit("Identity", t),  # type: ignore[misc]
                (_ROWS, width),
            )
        build.scope = scope
        return self._of(width, build.emit("Reshape", total, build.emit("Shape", x)))

    def _wanted(self, chosen: str, count: int) -> str:
        """Whether any token chose it, for each of `count` experts, bool (experts,)."""
        build = self.build
        experts = build.constant(np.arange(count)[:, None], np.int64)
        same = build.emit("Equal", build.emit("Reshape", chosen, build.ints(1, -1)), experts)
        most = build.emit("ReduceMax", build.emit("Cast", same, to=int(DataType.FLOAT)), build.ints(-1), keepdims=0)
        return build.emit("Cast", most, to=int(DataType.BOOL))

    # --------------------------------------------------------------------------------------------- single numbers

    def _split(self, node: GraphNode, x: str) -> tuple[str, ...]:
        sizes = [int(size) for size in node.arguments["sizes"]]
        if sum(sizes) != self._widths[x]:
            raise ConfigError(f"{self._widths[x]} columns cannot be split into {sizes}")
        made = self.build.emit_many("Split", (x, self.build.ints(*sizes)), len(sizes), axis=-1)
        return tuple(self._of(size, value) for size, value in zip(sizes, made, strict=True))

    def _silu(self, node: GraphNode, x: str) -> str:
        return self._like(x, self.build.emit("Mul", x, self.build.emit("Sigmoid", x)))

    def _gelu_tanh(self, node: GraphNode, x: str) -> str:
        return self._like(x, self.build.emit("Gelu", x, approximate="tanh"))

    def _gelu(self, node: GraphNode, x: str) -> str:
        return self._like(x, self.build.emit("Gelu", x))

    def _softcap(self, node: GraphNode, x: str) -> str:
        return self._like(x, self._capped(x, float(node.arguments["cap"] or 0)))

    def _capped(self, x: str, cap: float) -> str:
        if not cap:
            return x
        limit = self.build.scalar(cap)
        return self.build.emit("Mul", self.build.emit("Tanh", self.build.emit("Div", x, limit)), limit)

    def _scale(self, node: GraphNode, x: str) -> str:
        return self._like(x, self.build.emit("Mul", x, self.build.scalar(float(node.arguments["by"]))))

    def _add(self, node: GraphNode, a: str, b: str) -> str:
        return self._like(a, self.build.emit("Add", a, b))

    def _multiply(self, node: GraphNode, a: str, b: str) -> str:
        return self._like(a, self.build.emit("Mul", a, b))

    def _of(self, width: int, value: str) -> str:
        self._widths[value] = width
        return value

    def _like(self, x: str, value: str) -> str:
        return self._of(self._widths[x], value)
