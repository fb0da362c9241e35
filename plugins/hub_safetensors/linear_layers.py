"""Which tensors a quantized checkpoint quantizes: the matrices that the model's own graph multiplies with inside its
layers. Embeddings, norms, routers of experts and the output matrix are not among them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from hub.api import Configured, HubError, Model, Packed, Tensor, UsageError, configure, transposed


def linear_layers(configured: Configured | None, *, turned: bool = False) -> frozenset[str]:
    """Canonical names of these tensors, each (out, in); empty for a family whose graph is not known.

    Args:
        turned: those that are (in, out) instead, which transformers' `Conv1D` multiplies with.
    """
    if configured is None or configured.architecture.graph is None:
        return frozenset()
    found = set()
    for node in configured.architecture.graph.nodes(configured.evaluate, configured.layers):
        if not 0 <= node.layer < configured.layers:
            continue
        if node.op == "linear" and bool(node.arguments.get("transposed")) == turned:
            found.add(f"{node.weights[0]}.weight")
        elif node.op == "experts" and not turned:
            for name in node.weights[1:]:  # the first one is the router
                found |= {f"{name.replace('{expert}', str(expert))}.weight" for expert in range(configured.experts)}
    return frozenset(found)


def fused_experts(configured: Configured | None) -> frozenset[str]:
    """Canonical names of tensors with the matrices of all experts of a layer, (experts, out, in)."""
    if configured is None or configured.architecture.graph is None:
        return frozenset()
    nodes = configured.architecture.graph.nodes(configured.evaluate, configured.layers)
    return frozenset(name for node in nodes if node.op == "fused_experts" for name in node.weights[1:])


def is_linear(name: str, layers: frozenset[str], configured: Configured | None) -> bool:
    """Whether a stored tensor is one of `layers`, by its name or a spelling that the family has besides."""
    if name in layers or configured is None:
        return name in layers
    return any(pattern.sub(to, name) in layers for pattern, to in configured.architecture.renamed)


def refuse_conv1d(configured: Configured | None, format: str) -> None:
    """Refuse a model that has matrices of `Conv1D` and no others.

    Raises:
        UsageError: it has; who loads `format` replaces modules of class Linear only.
    """
    if not linear_layers(configured) and linear_layers(configured, turned=True):
        raise UsageError(
            f"the model's layers are Conv1D, and loaders of {format} take quantized ones of Linear only",
            remedy="--to gptq has a form for them",
        )


def canonical_way(model: Model) -> Mapping[str, Tensor]:
    """The tensors of a folder, quantized ones of `Conv1D` turned to (in, out): stored codes are always (out, in)."""
    if not any(isinstance(tensor.body, Packed) for tensor in model.tensors.values()):
        return model.tensors
    try:
        configured = configure(model)
        if configured.layers > len(model.tensors):
            return model.tensors  # the same; so many are not spelled out
        layers = linear_layers(configured, turned=True)
    except HubError:
        return model.tensors  # who converts it will say so
    if not layers:
        return model.tensors
    return {
        name: transposed(t) if isinstance(t.body, Packed) and is_linear(name, layers, configured) else t
        for name, t in model.tensors.items()
    }


def other_linears(configured: Configured | None, quantized: Collection[str]) -> list[str]:
    """Modules with a matrix that the graph multiplies with and that are not among `quantized`, in order: what lists of
    exceptions name."""
    if configured is None or configured.architecture.graph is None:
        return []
    found: dict[str, None] = {}
    for node in configured.architecture.graph.nodes(configured.evaluate, configured.layers):
        if node.op in ("linear", "fused_experts"):  # of which the first is the router
            found[node.weights[0]] = None
        elif node.op == "experts":
            found[node.weights[0]] = None
            for name in node.weights[1:]:
                found |= {name.replace("{expert}", str(expert)): None for expert in range(configured.experts)}
    return [name for name in found if name not in quantized]
