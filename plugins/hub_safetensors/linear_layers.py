"""Which tensors a quantized checkpoint quantizes: the matrices that the model's own graph multiplies with inside its
layers. Embeddings, norms, routers of experts and the output matrix are not among them."""

from __future__ import annotations

from collections.abc import Collection

from hub.api import Configured


def linear_layers(configured: Configured | None) -> frozenset[str]:
    """Canonical names of these tensors, each (out, in); empty for a family whose graph is not known."""
    if configured is None or configured.architecture.graph is None:
        return frozenset()
    found = set()
    for node in configured.architecture.graph.nodes(configured.evaluate, configured.layers):
        if not 0 <= node.layer < configured.layers:
            continue
        if node.op == "linear" and not node.arguments.get("transposed"):
            found.add(f"{node.weights[0]}.weight")
        elif node.op == "experts":
            for name in node.weights[1:]:  # the first one is the router
                found |= {f"{name.replace('{expert}', str(expert))}.weight" for expert in range(configured.experts)}
    return frozenset(found)


def is_linear(name: str, layers: frozenset[str], configured: Configured | None) -> bool:
    """Whether a stored tensor is one of `layers`, by its name or a spelling that the family has besides."""
    if name in layers or configured is None:
        return name in layers
    return any(pattern.sub(to, name) in layers for pattern, to in configured.architecture.renamed)


def other_linears(configured: Configured | None, quantized: Collection[str]) -> list[str]:
    """Modules with a matrix that the graph multiplies with and that are not among `quantized`, in order: what lists of
    exceptions name."""
    if configured is None or configured.architecture.graph is None:
        return []
    found: dict[str, None] = {}
    for node in configured.architecture.graph.nodes(configured.evaluate, configured.layers):
        if node.op == "linear":
            found[node.weights[0]] = None
        elif node.op == "experts":
            found[node.weights[0]] = None
            for name in node.weights[1:]:
                found |= {name.replace("{expert}", str(expert)): None for expert in range(configured.experts)}
    return [name for name in found if name not in quantized]
