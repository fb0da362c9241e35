"""A program that runs toy files: Llama in NumPy, f64, with nothing of hub in it. It stands for a real one."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

VERSION = "0.1"


class Llama:
    """A model of `LlamaForCausalLM`, weights in f64."""

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            data = file.read()
        length = int.from_bytes(data[8:16], "little")
        header = json.loads(data[16 : 16 + length])
        self.config: dict[str, Any] = header["config"]
        self.weights: dict[str, np.ndarray[Any, Any]] = {}
        at = 16 + length
        for name, info in header["tensors"].items():
            self.weights[name], at = _decoded(data, info, at)

    def logits(self, ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """(tokens, vocabulary) f64 for token ids (tokens,)."""
        weight, config = self.weights, self.config
        heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
        x = weight["model.embed_tokens.weight"][ids]
        dim = x.shape[1] // heads
        angle = np.outer(np.arange(len(ids)), config.get("rope_theta", 1e4) ** (-np.arange(0, dim, 2) / dim))
        turn = np.concatenate([np.exp(1j * angle)] * 2, axis=1)[:, None]
        unseen = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
        for layer in range(config["num_hidden_layers"]):
            part = {name: weight[f"model.layers.{layer}.{name}.weight"] for name in NAMES}
            y = self._norm(x, part["input_layernorm"])
            q, k, v = (y @ part[f"self_attn.{name}_proj"].T for name in "qkv")
            q, k = (_turned(z.reshape(len(ids), -1, dim), turn) for z in (q, k))
            k, v = (np.repeat(z.reshape(len(ids), kv_heads, dim), heads // kv_heads, axis=1) for z in (k, v))
            score = np.einsum("thd,shd->hts", q, k) / np.sqrt(dim) + unseen
            share = np.exp(score - score.max(axis=-1, keepdims=True))
            share /= share.sum(axis=-1, keepdims=True)
            x = x + np.einsum("hts,shd->thd", share, v).reshape(len(ids), -1) @ part["self_attn.o_proj"].T
            y = self._norm(x, part["post_attention_layernorm"])
            gate = y @ part["mlp.gate_proj"].T
            x = x + (gate / (1 + np.exp(-gate)) * (y @ part["mlp.up_proj"].T)) @ part["mlp.down_proj"].T
        head = weight.get("lm_head.weight", weight["model.embed_tokens.weight"])
        out: np.ndarray[Any, Any] = self._norm(x, weight["model.norm.weight"]) @ head.T
        return out

    def _norm(self, x: np.ndarray[Any, Any], weight: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        eps = self.config["rms_norm_eps"]
        out: np.ndarray[Any, Any] = x / np.sqrt((x * x).mean(axis=1, keepdims=True) + eps) * weight
        return out


NAMES = (
    "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip


def _turned(x: np.ndarray[Any, Any], turn: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    low, high = np.split(x, 2, axis=-1)
    out: np.ndarray[Any, Any] = x * turn.real + np.concatenate([-high, low], axis=-1) * turn.imag
    return out


def _decoded(data: bytes, info: dict[str, Any], at: int) -> tuple[np.ndarray[Any, Any], int]:
    """The weights of a tensor whose parts begin at `at` or behind it, and where they end."""

    def part(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
        nonlocal at
        at = -(-at // 64) * 64
        found = np.frombuffer(data, dtype, int(np.prod(shape)), at).reshape(shape)
        at += found.nbytes
        return found

    shape = tuple(info["shape"])
    match info["layout"]:
        case "toy.column8":
            codes = part(shape[::-1], "i1").astype(np.float64)
            scales = part((shape[1] // 32, shape[0]), "<f2").astype(np.float64)
            weights = (codes * np.repeat(scales, 32, axis=0)).T
        case "bf16":
            weights = (part(shape, "<u2").astype("<u4") << 16).view("<f4").astype(np.float64)
        case dense:
            weights = part(shape, {"f32": "<f4", "f16": "<f2"}[dense]).astype(np.float64)
    return weights, at
