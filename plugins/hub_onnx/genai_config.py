"""genai_config.json: what onnxruntime-genai must know of a model beside its graph.

Source: its builder, version 0.18, and what its loader accepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hub.api import Configured
from hub_onnx.decoder import Decoder
from hub_onnx.detect import MODEL

NAME: Final = "genai_config.json"
TYPES: Final = frozenset(
    {
        "chatglm", "ernie4_5", "gemma", "gemma2", "gemma3_text", "granite", "internlm2", "llama", "mistral", "nemotron",
        "olmo", "phi", "phi3", "phimoe", "qwen2", "qwen3", "smollm3",
    }
)  # fmt: skip
"""Decoders that it has a name for. Any other is a `decoder`, which it runs by the graph's inputs and outputs alike; the
names matter for what it does besides, as with Phi-3's two sets of rotary factors."""
_SEARCH: Final[Mapping[str, type]] = {
    "do_sample": bool,
    "temperature": float,
    "top_k": int,
    "top_p": float,
    "repetition_penalty": float,
}
"""Settings of generation that both know, by the same names."""
_BUFFER: Final = 4096
"""Tokens that a buffer for all steps has room for unless the program is told otherwise: it is made whole at the start,
and for the context of today's models it would be many GB."""
ACCURACY: Final = "session.qdq_matmulnbits_accuracy_level"
"""The session's option for what onnxruntime makes of DequantizeLinear before a MatMul."""


def genai_config(
    decoder: Decoder, configured: Configured, config: Mapping[str, Any], generation: Mapping[str, Any], *, shared: bool
) -> dict[str, Any]:
    """The file's content.

    Args:
        decoder: the graph, built.
        config: the model's config.json.
        generation: the model's generation_config.json, or nothing.
        shared: whether one buffer holds a cache in all steps, which the graph must allow.
    """
    graph = configured.architecture.graph
    assert graph is not None
    attention = next(node for node in graph.nodes(configured.evaluate, configured.layers) if node.op == "attention")
    cache = next(value for value in decoder.inputs if value.name.startswith("past_key_values."))
    assert cache.dims is not None
    context = int(configured.evaluate(graph.context))
    vocabulary = int(configured.values["vocab_size"])
    bos, ends, pad = (_ids(generation, config, role, vocabulary) for role in ("bos", "eos", "pad"))
    level = decoder.build.accuracy_level
    return {
        "model": {
            "type": config["model_type"] if config.get("model_type") in TYPES else "decoder",
            **({"bos_token_id": bos[0]} if bos else {}),
            # It wants an end; with none in the list nothing but the length ends a text.
            "eos_token_id": ends[0] if len(ends) == 1 else ends,
            "pad_token_id": (pad or ends or [0])[0],
            "vocab_size": vocabulary,
            "context_length": context,
            "decoder": {
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": [], ACCURACY: str(level or 1)},
                "filename": MODEL,
                "head_size": cache.dims[3],
                "hidden_size": int(configured.values["hidden_size"]),
                "num_attention_heads": int(attention.arguments["heads"]),
                "num_key_value_heads": cache.dims[1],
                "num_hidden_layers": sum(value.name.startswith("present.") for value in decoder.outputs) // 2,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "position_ids": "position_ids",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {
            "max_length": min(context, _BUFFER) if shared else context,
            "past_present_share_buffer": shared,
            "do_sample": False,
            **{
                key: kind(generation[key])
                for key, kind in _SEARCH.items()
                if isinstance(generation.get(key), kind | int)
            },
        },
    }


def _ids(generation: Mapping[str, Any], config: Mapping[str, Any], role: str, vocabulary: int) -> list[int]:
    """Special tokens: what generation goes by comes before what the model says. Those that the vocabulary does not
    have, which the program refuses, are left out."""
    for source in (generation, config):
        value = source.get(f"{role}_token_id")
        found = [one for one in (value if isinstance(value, list) else [value]) if type(one) is int]
        if found:
            return [one for one in found if 0 <= one < vocabulary]
    return []
