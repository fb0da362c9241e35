"""Small Hugging Face checkpoints whose shapes reach rules that no bundled model reaches, written without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

VOCAB = 320

_LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}  # fmt: skip
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}

# Changes to the configuration in `write`, None removes a key.
CASES: dict[str, dict[str, Any]] = {
    # rows not a multiple of 256: every K-quant falls back
    "rows-288": {"hidden_size": 288, "intermediate_size": 800, "num_attention_heads": 9, "num_key_value_heads": 3},
    # rows not a multiple of 32: F16 instead
    "rows-80": {"hidden_size": 80, "intermediate_size": 96, "num_attention_heads": 5, "num_key_value_heads": 1},
    # layers enough for each more-bits rule, tied embeddings, four heads to a key-value head
    "tied-36": {"num_hidden_layers": 36, "num_key_value_heads": 2, "tie_word_embeddings": True},
    # the rule for 70B models: 80 layers, fewer key-value heads than heads
    "layers-80": {"num_hidden_layers": 80, "num_key_value_heads": 1, "intermediate_size": 256},
    # heads wider than hidden / heads
    "head-dim": {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 96},
    # biases, permuted like their weights
    "biases": {"attention_bias": True, "mlp_bias": True},
    # a generated tensor of RoPE factors
    "rope-llama3": {"rope_parameters": _LLAMA3},
    # the configuration's older keys
    "rope-yarn": {"rope_parameters": None, "rope_theta": 20000.0, "rope_scaling": _YARN},
}


def write(name: str, folder: Path) -> Path:
    """The checkpoint `CASES[name]` as bf16 safetensors with config.json and no tokenizer."""
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", "hidden_act": "silu",
        "vocab_size": VOCAB, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 8,
        "num_key_value_heads": 4, "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
        "attention_bias": False, "mlp_bias": False, "bos_token_id": 1, "eos_token_id": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, **CASES[name],
    }  # fmt: skip
    config = {k: v for k, v in config.items() if v is not None}
    out = folder / name
    out.mkdir(parents=True)
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(_weights(config, seed=list(CASES).index(name)), out / "model.safetensors", metadata={"format": "pt"})
    return out


def _weights(config: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    wide, ffn, heads, kv = (
        config[k] for k in ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    )
    head = config.get("head_dim", wide // heads)

    def matrix(rows: int, columns: int) -> np.ndarray:
        # Rows of unlike size, as trained weights have.
        scale = np.exp(0.5 * random.standard_normal((rows, 1))) / columns**0.5
        out: np.ndarray = (random.standard_normal((rows, columns)) * scale).astype(ml_dtypes.bfloat16)
        return out

    def vector(size: int, around: float) -> np.ndarray:
        return (around + 0.1 * random.standard_normal(size)).astype(ml_dtypes.bfloat16)

    out = {"model.embed_tokens.weight": matrix(config["vocab_size"], wide), "model.norm.weight": vector(wide, 1.0)}
    if not config["tie_word_embeddings"]:
        out["lm_head.weight"] = matrix(config["vocab_size"], wide)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        linear = {
            "self_attn.q_proj": (heads * head, wide), "self_attn.k_proj": (kv * head, wide),
            "self_attn.v_proj": (kv * head, wide), "self_attn.o_proj": (wide, heads * head),
            "mlp.gate_proj": (ffn, wide), "mlp.up_proj": (ffn, wide), "mlp.down_proj": (wide, ffn),
        }  # fmt: skip
        for name, shape in linear.items():
            out[f"{layer}{name}.weight"] = matrix(*shape)
            if config["attention_bias" if "attn" in name else "mlp_bias"]:
                out[f"{layer}{name}.bias"] = vector(shape[0], 0.0)
        for name in ("input_layernorm", "post_attention_layernorm"):
            out[f"{layer}{name}.weight"] = vector(wide, 1.0)
    return out
