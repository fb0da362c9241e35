"""Executes an architecture's graph on a model, for a sequence of token ids.

`exact` computes in f32 in one fixed order: the same bits on every instruction set and any number of threads. `fast`
multiplies with activations rounded to int8 blocks. Reductions and transcendental functions are native, in either
mode; what is left to NumPy is single additions and multiplications, which IEEE 754 defines to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import hub_native
from hub.architecture import Configured, configure, find
from hub.errors import ConfigError, HubError, UsageError, WeightError
from hub.graph import OUTPUT, Node, expert_name
from hub.ir.model import Model
from hub.ir.tensor import Tensor
from hub.makers import MAKERS
from hub.mapping import canonical
from hub.plugins import registry
from hub.runner.positions import frequencies
from hub.runner.threads import Threads
from hub.runner.weights import Activation, Matrix, matrix, vector
from hub.transforms import Transpose, cut_rows

if TYPE_CHECKING:
    F32Array = np.ndarray[Any, np.dtype[np.float32]]
    Ids = np.ndarray[Any, np.dtype[np.int32]]

Mode = Literal["exact", "fast"]
Observer = Callable[[str, "F32Array"], None]


def why_not(model: Model) -> str | None:
    """Why a model cannot be run, or None.

    Raises:
        HubError: the model itself is at fault: settings, or tensors that are missing.
    """
    architecture = find(model)
    if architecture.graph is None:
        return f"architecture {architecture.family} has no graph"
    plugins = registry()
    for tensor in model.tensors.values():
        if not plugins.knows_layout(tensor.layout):
            return f"weights of type {tensor.layout} cannot be decoded"
    return None


class Runner:
    """A model, ready to run; a context manager, as it holds threads.

    Args:
        model: an opened model; it must stay open.
        mode: how matrices are multiplied.
        threads: number of threads.
        inputs: called with the full module name and the input of every `linear`, (tokens, width) f32, for
            statistics of activations; for a matrix of a tensor of all experts with what `expert_name` gives.

    Attributes:
        context: tokens that the model can see.
        vocab_size: number of token ids.
        layers: number of layers.
        weight_bytes: bytes of weights that one sequence runs over.

    Raises:
        HubError: it cannot be run; says why.
    """

    def __init__(self, model: Model, *, mode: Mode = "exact", threads: int = 1, inputs: Observer | None = None) -> None:
        reason = why_not(model)
        if reason is not None:
            raise UsageError(f"it cannot be run: {reason}")
        architecture = find(model)
        assert architecture.graph is not None
        configured = configure(model)
        found = canonical(model, configured)
        self.configured: Configured = configured
        self.mode: Mode = mode
        self.path = model.path
        self._model = model
        self.layers = configured.layers
        self.vocab_size = int(configured.values["vocab_size"])
        self.context = int(configured.evaluate(architecture.graph.context))
        self.weight_bytes = sum(tensor.nbytes for tensor in found.tensors.values())
        self._tensors: Mapping[str, Tensor] = found.tensors
        self._made: Mapping[str, Tensor] = found.made
        self._nodes = list(architecture.graph.nodes(configured.evaluate, self.layers))
        self._head = max(i for i, node in enumerate(self._nodes) if node.op == "linear")
        self._threads = Threads(threads)
        self._inputs = inputs
        self._matrices: dict[str, Matrix] = {}
        self._vectors: dict[str, F32Array | None] = {}
        self._turns: dict[tuple[Any, ...], tuple[F32Array, F32Array]] = {}
        self._length = 0

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *exc: object) -> None:
        self._threads.close()

    # ------------------------------------------------------------------------------------------ a sequence of tokens

    def logits(self, ids: Sequence[int] | Ids) -> F32Array:
        """Scores of every next token, (tokens, vocab_size) f32.

        Raises:
            UsageError: an id outside the vocabulary, no ids, or more than the model can see.
            WeightError: the results are not finite.
        """
        return self.head(self.hidden(ids))

    def hidden(self, ids: Sequence[int] | Ids, observe: Observer | None = None) -> F32Array:
        """What the output matrix is multiplied with, (tokens, hidden_size) f32.

        Args:
            ids: token ids, (tokens,).
            observe: called with "embedding", "layer 0", ... and the residual stream behind each, (tokens, hidden_size).

        Raises:
            UsageError, WeightError: as `logits`.
        """
        checked = self._checked(ids)
        self._length = len(checked)
        self._turns.clear()
        values: dict[str, Any] = {"ids": checked, "positions": np.arange(len(checked), dtype=np.int32)}
        self._run(self._nodes[: self._head], values, observe)
        out: F32Array = values[self._nodes[self._head].inputs[0]].array
        if not np.isfinite(out).all():
            self._model.check_unchanged()  # else a file that changed would look like a damaged one
            raise WeightError("running it gives numbers that are not finite", path=self.path)
        return out

    def head(self, hidden: F32Array) -> F32Array:
        """Logits of some rows of `hidden`, (rows, vocab_size) f32."""
        values = {self._nodes[self._head].inputs[0]: Activation(np.ascontiguousarray(hidden))}
        self._run(self._nodes[self._head :], values, None)
        out: F32Array = values[OUTPUT].array
        return out

    def _checked(self, ids: Sequence[int] | Ids) -> Ids:
        array = np.asarray(ids)
        if array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
            raise UsageError(
                f"token ids of shape {list(array.shape)} and type {array.dtype}, a row of integers is needed"
            )
        if len(array) > self.context:
            raise UsageError(f"{len(array)} tokens, the model can see {self.context}", path=self.path)
        wrong = np.flatnonzero((array < 0) | (array >= self.vocab_size))
        if wrong.size:
            first = int(wrong[0])
            raise UsageError(
                f"token {first} has id {int(array[first])}, the vocabulary has ids 0 to {self.vocab_size - 1}",
                path=self.path,
            )
        return np.ascontiguousarray(array, np.int32)

    @np.errstate(all="ignore")  # results are looked at as a whole
    def _run(self, nodes: Sequence[Node], values: dict[str, Any], observe: Observer | None) -> None:
        unused = _unused_after(nodes)
        layer = nodes[0].layer
        for node, gone in zip(nodes, unused, strict=True):
            if observe and node.layer != layer:
                observe("embedding" if layer < 0 else f"layer {layer}", values["x"].array)
            layer = node.layer
            results = getattr(self, f"_{node.op}")(node, *(values[name] for name in node.inputs))
            for name, result in zip(node.outputs, results if isinstance(results, tuple) else (results,), strict=True):
                values[name] = Activation(result)
            for name in gone:
                del values[name]

    # -------------------------------------------------------------------------------------------------- the operators

    def _embed(self, node: Node, ids: Any) -> F32Array:
        rows = ids if isinstance(ids, np.ndarray) else ids.array
        return self._matrix(node.weights[0]).take(rows)

    def _linear(self, node: Node, x: Activation) -> F32Array:
        name = node.weights[0]
        if node.arguments["tied"] and f"{name}.weight" not in self._tensors:
            name = node.arguments["tied"]
        return self._project(name, x, bool(node.arguments["transposed"]))

    def _project(self, name: str, x: Activation, transposed: bool = False) -> F32Array:
        if self._inputs:
            self._inputs(name, x.array)
        out = self._matrix(name, transposed).product(x, self.mode, self._threads)
        bias = self._vector(f"{name}.bias", optional=True)
        return out if bias is None else out + bias

    def _rms_norm(self, node: Node, x: Activation) -> F32Array:
        weight = self._vector(f"{node.weights[0]}.weight")
        plus = node.arguments["plus"]
        scale = weight + np.float32(plus) if plus else weight
        eps, heads = float(node.arguments["eps"]), int(node.arguments["heads"])
        return self._by_token(x.array, lambda a, out: hub_native.rms_norm(a, scale, eps, out, heads))

    def _layer_norm(self, node: Node, x: Activation) -> F32Array:
        weight = self._vector(f"{node.weights[0]}.weight")
        bias = self._vector(f"{node.weights[0]}.bias", optional=True)
        eps = float(node.arguments["eps"])
        return self._by_token(x.array, lambda a, out: hub_native.layer_norm(a, weight, bias, eps, out))

    def _rope(self, node: Node, x: Activation) -> F32Array:
        kind, dim, theta = node.arguments["type"], int(node.arguments["dim"]), float(node.arguments["theta"])
        cosine, sine = self._turning(kind, dim, theta)
        out = x.array.copy()
        heads = int(node.arguments["heads"])
        self._threads.each(
            len(out), 16, lambda a, b: hub_native.rope(out[a:b], cosine[a:b], sine[a:b], heads, "halves")
        )
        return out

    def _turning(self, kind: str, dim: int, theta: float) -> tuple[F32Array, F32Array]:
        """Cosine and sine of every position, (tokens, dim / 2) each."""
        key = kind, dim, theta
        if key not in self._turns:
            divisors = self._divisors(kind)
            try:
                frequency, scale = frequencies(kind, dim, theta, self.configured.values, divisors, self._length)
            except ConfigError as error:
                raise error.at(path=self.path) from None
            cosine, sine = (np.empty((self._length, dim // 2), np.float32) for _ in range(2))
            positions = np.arange(self._length, dtype=np.int32)
            hub_native.rope_tables(frequency, positions, scale, cosine, sine)
            self._turns[key] = cosine, sine
        return self._turns[key]

    def _divisors(self, kind: str) -> F32Array | None:
        """What the file, or else the settings, divide rotary frequencies by."""
        if kind == "llama3":
            maker = "llama3_rope_factors"
        elif kind == "longrope":
            long = self._length > self.configured.values["rope.original_max_position_embeddings"]
            maker = "longrope_long_factors" if long else "longrope_short_factors"
        else:
            return None
        tensor = self._made.get(maker) or MAKERS[maker](maker, self.configured)
        return vector(tensor, registry().layout(tensor.layout))

    def _attention(self, node: Node, q: Activation, k: Activation, v: Activation) -> F32Array:
        given = node.arguments
        heads, kv_heads = int(given["heads"]), int(given["kv_heads"])
        tokens = len(q.array)
        out = np.empty((tokens, v.array.shape[1] // kv_heads * heads), np.float32)
        scale, window, cap = float(given["scale"]), int(given["window"] or 0), float(given["softcap"] or 0)
        sinks = self._vector(node.weights[0]) if node.weights else None
        self._threads.each(
            heads, 1,
            lambda a, b: hub_native.attention(
                q.array, k.array, v.array, out, heads, kv_heads, scale, window, cap, a, b, sinks
            ),
        )  # fmt: skip
        return out

    def _split(self, node: Node, x: Activation) -> tuple[F32Array, ...]:
        sizes = [int(size) for size in node.arguments["sizes"]]
        ends = np.cumsum(sizes)
        if ends[-1] != x.array.shape[1]:
            raise ConfigError(f"{x.array.shape[1]} columns cannot be split into {sizes}")
        return tuple(np.ascontiguousarray(x.array[:, end - size : end]) for size, end in zip(sizes, ends, strict=True))

    def _experts(self, node: Node, x: Activation) -> F32Array:
        router, gate, up, down = node.weights
        given = node.arguments
        scores = self._project(router, x)
        chances = self._by_token(scores, hub_native.softmax_rows)
        top = int(given["top"])
        ids, shares = np.empty((len(scores), top), np.int32), np.empty((len(scores), top), np.float32)
        hub_native.top_k(chances, top, ids, shares)
        if given["normalize"]:
            total = shares[:, 0].copy()
            for column in range(1, top):
                total += shares[:, column]
            shares /= total[:, None]
        out = np.zeros((len(scores), x.array.shape[1]), np.float32)
        act = getattr(self, f"_{given['activation']}")
        for expert in range(int(given["count"])):
            tokens, place = np.nonzero(ids == expert)
            if not tokens.size:
                continue
            part = Activation(np.ascontiguousarray(x.array[tokens]))
            names = [name.replace("{expert}", str(expert)) for name in (gate, up, down)]
            inner = act(node, Activation(self._project(names[0], part))) * self._project(names[1], part)
            out[tokens] += self._project(names[2], Activation(inner)) * shares[tokens, place][:, None]
        return out

    def _fused_experts(self, node: Node, x: Activation) -> F32Array:
        router, gate_up, down = node.weights
        given = node.arguments
        scores = self._project(router, x)
        top, alpha, limit = int(given["top"]), float(given["alpha"]), float(given["limit"])
        ids, best = np.empty((len(scores), top), np.int32), np.empty((len(scores), top), np.float32)
        hub_native.top_k(scores, top, ids, best)
        shares = self._by_token(best, hub_native.softmax_rows)
        out = np.zeros((len(scores), x.array.shape[1]), np.float32)
        for expert in range(int(given["count"])):
            tokens, place = np.nonzero(ids == expert)
            if not tokens.size:
                continue
            both = self._project_with(gate_up, expert, Activation(np.ascontiguousarray(x.array[tokens])))
            inner = np.empty((len(both), both.shape[1] // 2), np.float32)
            hub_native.swiglu_pairs(both, alpha, limit, inner)
            out[tokens] += self._project_with(down, expert, Activation(inner)) * shares[tokens, place][:, None]
        return out

    def _project_with(self, name: str, expert: int, x: Activation) -> F32Array:
        """`x` by one of the matrices of a tensor of all experts."""
        if self._inputs:
            self._inputs(expert_name(name, expert), x.array)
        out = self._expert(name, expert).product(x, self.mode, self._threads)
        bias = self._vector(f"{name}_bias", optional=True)
        return out if bias is None else out + bias.reshape(-1, out.shape[1])[expert]

    def _silu(self, node: Node, x: Activation) -> F32Array:
        return self._by_token(x.array, hub_native.silu)

    def _gelu_tanh(self, node: Node, x: Activation) -> F32Array:
        return self._by_token(x.array, hub_native.gelu_tanh)

    def _gelu(self, node: Node, x: Activation) -> F32Array:
        return self._by_token(x.array, hub_native.gelu_erf)

    def _softcap(self, node: Node, x: Activation) -> F32Array:
        cap = float(node.arguments["cap"] or 0)
        return self._by_token(x.array, lambda a, out: hub_native.softcap(a, cap, out)) if cap else x.array

    def _scale(self, node: Node, x: Activation) -> F32Array:
        return x.array * np.float32(node.arguments["by"])

    def _add(self, node: Node, a: Activation, b: Activation) -> F32Array:
        return self._by_token(a.array, np.add, b.array)

    def _multiply(self, node: Node, a: Activation, b: Activation) -> F32Array:
        return self._by_token(a.array, np.multiply, b.array)

    def _by_token(self, x: F32Array, kernel: Callable[..., Any], *more: F32Array) -> F32Array:
        """A kernel on some tokens at a time, by threads; `more` are arrays of the same shape that it reads, too."""
        out = np.empty_like(x)
        self._threads.each(len(x), 16, lambda a, b: kernel(x[a:b], *(other[a:b] for other in more), out[a:b]))
        return out

    # ---------------------------------------------------------------------------------------------------- the weights

    def _matrix(self, name: str, transposed: bool = False) -> Matrix:
        if name not in self._matrices:
            tensor = self._tensors[f"{name}.weight"]
            if transposed:
                tensor = Transpose(None).forward(tensor)
            self._matrices[name] = self._of(tensor, matrix)
        return self._matrices[name]

    def _expert(self, name: str, expert: int) -> Matrix:
        key = expert_name(name, expert)
        if key not in self._matrices:
            tensor = self._tensors[name]
            rows, width = tensor.shape[-2:]
            one = cut_rows(tensor, expert * rows, (expert + 1) * rows, (rows, width), "expert")
            self._matrices[key] = self._of(one, matrix)
        return self._matrices[key]

    def _vector(self, name: str, *, optional: bool = False) -> Any:
        if name not in self._vectors:
            tensor = self._tensors.get(name) if optional else self._tensors[name]
            self._vectors[name] = None if tensor is None else self._of(tensor, vector)
        return self._vectors[name]

    def _of(self, tensor: Tensor, make: Any) -> Any:
        try:
            return make(tensor, registry().layout(tensor.layout))
        except HubError as error:
            raise error.at(path=self.path, tensor=tensor.stored_name) from None


def _unused_after(nodes: Sequence[Node]) -> list[set[str]]:
    """Values that no node behind this one reads, for every node; `x` stays, as it is observed."""
    wanted = {"x", nodes[-1].outputs[0]}
    out: list[set[str]] = []
    for node in reversed(nodes):
        out.append({*node.inputs, *node.outputs} - wanted)
        wanted = (wanted - set(node.outputs)) | set(node.inputs) | {"x"}
    return out[::-1]
