"""Canonical names of a graph's tensors.

Producers keep the names of the original model's tensors, put marks of their own behind them, rename some, or lose them
and keep them only in the names of nodes (`/model/layers.0/self_attn/q_proj/MatMul`). Rules are in docs/onnx.md; here
they are applied, and what comes out counts only if the architecture has a tensor of that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from hub.api import Configured, Shape
from hub_onnx.model import Node

_MARKS: Final = re.compile(
    r"(?:_DQ)?_[QU]\d+(?:G\d+)?$|_quantized$|_transposed$|_dequantized$|_fp16$|_scales?$|_zero_points?$|_zp$"
)
"""What quantizers and optimizers put behind the name of a tensor."""
_OPERATORS: Final = re.compile(r"\.(?:MatMul(?:NBits)?|Gemm|Add|Gather|LayerNorm|layernorm)(?=\.|$)")
"""Parts of names that say what a node does, not where it stands."""
_SCOPES: Final = "pkg.torch.onnx.name_scopes"
"""Where PyTorch's exporter names the modules around a node, from outside to inside, and the node last."""
_QUOTED: Final = re.compile("'([^']*)'")
_FINAL_NORM: Final = re.compile(r"(?:^|\.)layers\.\d+\.final_norm_layernorm(?=\.)")
FUSED: Final[Mapping[str, tuple[str, ...]]] = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}
"""Modules whose matrices some models have as one, rows after rows, and some apart."""


@dataclass(frozen=True)
class Names:
    """The canonical tensors of a model, and how names lead to them.

    Attributes:
        shapes: of every canonical tensor; empty where the architecture is not known.
        turned: modules whose weight is (in, out).
        kept_turned: tensors (..., out, in) that are (..., in, out) where they are floats.
        plus: what norms add to the weight of a module.
        tied: output matrices that may be left out -> the table that is then in their place.
        renamed: the architecture's patterns of names that occur in place of canonical ones.
        optional: canonical tensors that may be absent.
    """

    shapes: Mapping[str, Shape] = field(default_factory=dict)
    turned: frozenset[str] = frozenset()
    plus: Mapping[str, float] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    renamed: tuple[tuple[re.Pattern[str], str], ...] = ()
    optional: frozenset[str] = frozenset()
    kept_turned: frozenset[str] = frozenset()

    def canonical(self, name: str) -> str | None:
        """The canonical name that a name means; one of a fused module where the architecture has its pieces.

        Without an architecture every name that looks like that of a tensor is taken.
        """
        if not self.shapes:
            *_, last = spellings(name)
            return last if last.endswith((".weight", ".bias")) else None
        for spelled in spellings(name):
            for whole in _shorter(spelled):
                if whole in self.shapes or self.pieces(whole) or self.is_piece(whole):
                    return whole
                for pattern, to in self.renamed:
                    if (other := pattern.sub(to, whole)) in self.shapes:
                        return other
        return None

    def pieces(self, name: str) -> list[str]:
        """The canonical tensors that a fused one has, rows after rows; none if it is not fused."""
        parts = name.split(".")
        for i, part in enumerate(parts):
            names = [".".join([*parts[:i], piece, *parts[i + 1 :]]) for piece in FUSED.get(part, ())]
            if names and all(one in self.shapes for one in names):
                return names
        return []

    def is_piece(self, name: str) -> bool:
        """Whether a canonical tensor has this one as some of its rows."""
        return any(name in pieces for _, pieces in self._fused(name))

    def fused(self) -> Iterator[tuple[str, list[str]]]:
        """Canonical tensors that a file may have in pieces, with the names of these."""
        for name in self.shapes:
            parts = name.split(".")
            for i, part in enumerate(parts):
                if part in FUSED:
                    yield name, [".".join([*parts[:i], piece, *parts[i + 1 :]]) for piece in FUSED[part]]

    def _fused(self, name: str) -> Iterator[tuple[str, list[str]]]:
        parts = name.split(".")
        for i, part in enumerate(parts):
            for fused, pieces in FUSED.items():
                whole = ".".join([*parts[:i], fused, *parts[i + 1 :]])
                if part in pieces and whole in self.shapes:
                    yield whole, [".".join([*parts[:i], piece, *parts[i + 1 :]]) for piece in pieces]


def names_of(configured: Configured | None) -> Names:
    """The names of a model's architecture; with empty tables where that is not known."""
    if configured is None:
        return Names()
    turned: set[str] = set()
    plus: dict[str, float] = {}
    tied: dict[str, str] = {}
    graph = configured.architecture.graph
    for node in graph.nodes(configured.evaluate, configured.layers) if graph else ():
        if node.op == "linear":
            if node.arguments["transposed"]:
                turned.add(node.weights[0])
            if node.arguments["tied"]:
                tied[f"{node.weights[0]}.weight"] = f"{node.arguments['tied']}.weight"
        elif node.op == "rms_norm" and node.arguments["plus"]:
            plus[node.weights[0]] = float(node.arguments["plus"])
    expected = configured.expected()
    return Names(
        {name: shape for name, (shape, _) in expected.items()},
        frozenset(turned),
        plus,
        tied,
        configured.architecture.renamed,
        frozenset(name for name, (_, optional) in expected.items() if optional),
        configured.turned,
    )


def spellings(name: str) -> Iterator[str]:
    """What a tensor's name may mean, the likeliest first."""
    name = _MARKS.sub("", name)
    for old, new in ((".qweight", ".weight"), (".qzeros", ".weight"), (".scales", ".weight")):
        if name.endswith(old):
            name = name.removesuffix(old) + new
    yield name
    name = _FINAL_NORM.sub(lambda match: ".norm" if match[0].startswith(".") else "norm", _OPERATORS.sub("", name))
    yield name
    yield name.replace(".attn.", ".self_attn.")


def scope_of(node: Node) -> str:
    """The module that a node stands in: ``model.layers.0.mlp.up_proj`` of ``/model/layers.0/mlp/up_proj/MatMul``, or
    what PyTorch's exporter says of it."""
    told = _QUOTED.findall(node.metadata.get(_SCOPES, "")[:4096])
    if len(told) > 1:
        return str(told[-2])
    path = [part for part in node.name.split("/") if part]
    return ".".join(path[:-1])


def _shorter(name: str) -> Iterator[str]:
    """The name, and the name without what stands before it: wrappers put their own names there."""
    while name:
        yield name
        name = name.partition(".")[2]
