"""Settings of a model that comes without config.json: what genai_config.json says, and what the graph shows.

onnxruntime-genai needs neither the sizes of feed-forward layers nor the base of rotary positions, since both are in
the graph. Sizes come from the weights, the rest from the attributes of nodes and from the tables of cosines and sines.
What cannot be known for certain is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from hub.api import Architecture, ConfigError, Tensor, known_architectures, printable
from hub_onnx.files import Files
from hub_onnx.model import ModelProto, Node
from hub_onnx.names import spellings
from hub_onnx.rope_table import REMEDY, rope_settings
from hub_onnx.trace import Scope

CONFIG: Final = "genai_config.json"
_SIZES: Final = {
    "hidden_size": "hidden_size",
    "num_attention_heads": "num_attention_heads",
    "num_key_value_heads": "num_key_value_heads",
    "num_hidden_layers": "num_hidden_layers",
    "head_dim": "head_size",
}
"""Keys of config.json, and those of genai_config.json's decoder."""
_NORMS: Final = ("SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization", "RMSNormalization",
                 "LayerNormalization", "SkipLayerNormalization")  # fmt: skip


def settings(
    genai: Mapping[str, Any], model: ModelProto, files: Files, tensors: Mapping[str, Tensor]
) -> dict[str, Any]:
    """The settings under the keys of config.json.

    Args:
        genai: genai_config.json.
        tensors: the weights under the names that the file gives them.

    Raises:
        ConfigError: the family is not known, or something cannot be found out.
    """
    path = str(files.folder.root / CONFIG)
    told = genai.get("model")
    decoder = told.get("decoder") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not isinstance(decoder, dict):
        raise ConfigError("it has no model.decoder", path=path)
    architecture = _family(str(told.get("type", "")), path)
    out: dict[str, Any] = {"architectures": [architecture.architectures[0]], "model_type": architecture.model_type}
    out |= {key: decoder[name] for key, name in _SIZES.items() if name in decoder}
    out |= {key: told[key] for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id") if key in told}
    if "context_length" in told:
        out["max_position_embeddings"] = told["context_length"]
    scope = Scope(model.graph)
    out |= _sizes(tensors) | _attention(model.graph.nodes, path) | _windows(model.graph.nodes, architecture, path)
    out |= _ends(scope, files)
    _refuse_strange(out, architecture, path)
    eps = {round_to_f32(node.get("epsilon", 1e-5)) for node in model.graph.nodes if node.op in _NORMS}
    if len(eps) != 1:
        raise ConfigError(f"its norms have {len(eps)} values of epsilon", path=files.source.path, remedy=REMEDY)
    out["rms_norm_eps"] = eps.pop()
    rope = rope_settings(scope, model.graph.nodes, files)
    turned, head = rope.pop("rotary_dim"), out.get("head_dim")
    if head and turned != head:
        lines = architecture.graph.layer if architecture.graph else ()
        if not any("rope.dim" in text for line in lines for text in line.arguments.values()):
            raise ConfigError(
                f"its rotary positions turn {turned} numbers of a head of {head}", path=path, remedy=REMEDY
            )
        out["partial_rotary_factor"] = turned / head
    out |= rope
    return out


def _family(word: str, path: str) -> Architecture:
    """The architecture of what genai_config.json calls a model."""
    for architecture in known_architectures():
        names = {architecture.model_type, *(name.partition("For")[0].lower() for name in architecture.architectures)}
        if word.lower() in names:
            return architecture
    raise ConfigError(
        f"model type {printable(word, 40)!r} has no architecture file, and there is no config.json",
        path=path,
        remedy=REMEDY,
    )


def _refuse_strange(settings: dict[str, Any], architecture: Architecture, path: str) -> None:
    """What most families leave to their sizes, and have no setting for, must be what sizes make it."""
    usual = {"query_pre_attn_scalar": settings.get("head_dim"), "attn_logit_softcapping": None,
             "final_logit_softcapping": None}  # fmt: skip
    for name, value in usual.items():
        if name in architecture.settings or name not in settings:
            continue
        if settings.pop(name) != value:
            raise ConfigError(
                f"the graph has another {name} than models of {architecture.family} have", path=path, remedy=REMEDY
            )


def _sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    by_name = {spelled: tensor for name, tensor in tensors.items() for spelled in spellings(name)}
    out: dict[str, Any] = {}
    for name, share in (("mlp.gate_proj", 1), ("mlp.up_proj", 1), ("mlp.gate_up_proj", 2)):
        found = by_name.get(f"model.layers.0.{name}.weight")
        if found is not None:
            out["intermediate_size"] = found.shape[0] // share
            break
    projections = ("q_proj", "qkv_proj", "o_proj")
    biases = [f"model.layers.0.self_attn.{one}.bias" in by_name for one in projections]
    out["attention_bias"] = biases[0] or biases[1]
    head, table = by_name.get("lm_head.weight"), by_name.get("model.embed_tokens.weight")
    out["tie_word_embeddings"] = head is None or (table is not None and head.stored_name == table.stored_name)
    return out


def _windows(nodes: Sequence[Node], architecture: Architecture, path: str) -> dict[str, Any]:
    """Windows of attention, layer by layer; that there is none is said, too, since families have windows by default."""
    windows = [max(0, node.get("local_window_size", -1)) for node in nodes if node.op == "GroupQueryAttention"]
    if not windows:
        if {"sliding_window", "layer_types"} & set(architecture.settings):
            raise ConfigError("its graph does not say which layers have a window", path=path, remedy=REMEDY)
        return {}
    told = {
        "sliding_window": max(windows) or None,
        "use_sliding_window": any(windows),
        "layer_types": ["sliding_attention" if window else "full_attention" for window in windows],
    }
    if len({window for window in windows if window}) > 1 or (
        0 in windows and any(windows) and "layer_types" not in architecture.settings
    ):
        raise ConfigError("its layers have windows of several sizes", path=path, remedy=REMEDY)
    return {key: value for key, value in told.items() if key in architecture.settings}


def _attention(nodes: Sequence[Node], path: str) -> dict[str, Any]:
    """Caps and scale of attention."""
    out: dict[str, Any] = {}
    nodes = [node for node in nodes if node.op in ("GroupQueryAttention", "MultiHeadAttention")]
    scales = {node.get("scale", 0.0) for node in nodes if node.get("scale", 0.0)}
    caps = {round_to_f32(node.get("softcap", 0.0)) for node in nodes}
    if len(scales) > 1 or len(caps) > 1:
        raise ConfigError("its layers differ in scale or cap of attention", path=path, remedy=REMEDY)
    out["attn_logit_softcapping"] = caps.pop() or None if caps else None
    if scales:
        # 1 / sqrt(n), with n a whole number in the models of the field.
        scalar = scales.pop() ** -2
        out["query_pre_attn_scalar"] = round(scalar) if abs(scalar - round(scalar)) < 1e-3 else scalar
    return out


def _ends(scope: Scope, files: Files) -> dict[str, Any]:
    """The cap of logits: cap * tanh(logits / cap)."""
    node = scope.maker(scope.graph.outputs[0].name) if scope.graph.outputs else None
    if node is None or node.op != "Mul":
        return {"final_logit_softcapping": None}
    makers = [scope.maker(name) for name in node.inputs]
    numbers = [found for name in node.inputs if (found := scope.constant(name)) is not None]
    if len(numbers) != 1 or not any(maker is not None and maker.op == "Tanh" for maker in makers):
        raise ConfigError("its logits are multiplied with something", path=files.source.path, remedy=REMEDY)
    return {"final_logit_softcapping": round_to_f32(float(np.ravel(files.numbers(numbers[0]))[0]))}


def round_to_f32(value: float) -> float:
    """The shortest decimal number that is this f32."""
    return float(str(np.float32(value)))
