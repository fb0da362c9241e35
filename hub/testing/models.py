"""Small synthetic models: every number made by plain code, the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import numpy as np

from hub.architecture import Architecture, known
from hub.dtypes import DTYPES
from hub.ir.model import Model
from hub.ir.part import ArrayPart, Shape, rows_spec
from hub.ir.tensor import Tensor
from hub.ir.tokenizer import Tokenizer, TokenType
from hub.ir.values import Dense

NAME: Final = "tiny-llama"
_LETTERS: Final = "etaoinshrdlucmfwypvbgkjqxz.,!"


def config(hidden: int = 64, layers: int = 2, intermediate: int = 256) -> dict[str, Any]:
    """The settings of a Llama of that size, under canonical keys."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": hidden // 4,
        "intermediate_size": intermediate,
        "vocab_size": 288,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


@cache
def llama(dtype: str = "f32", *, hidden: int = 64, layers: int = 2, intermediate: int = 256) -> Model:
    """A Llama that exists in memory only.

    Args:
        dtype: number type of its weights; vectors have it too.
        intermediate: 256 by default, so that rows of 64 and rows of 256 both occur.
    """
    settings = config(hidden, layers, intermediate)
    tensors = {
        name: Tensor(name, array.shape, Dense(ArrayPart(array, rows_spec(DTYPES[dtype], array.shape))))
        for name, array in arrays(settings, dtype).items()
    }
    return Model(
        format="memory",
        path=NAME,
        convention="",
        tensors=tensors,
        architecture="LlamaForCausalLM",
        config=settings,
        hyperparameters=lambda _: settings,
        load_tokenizer=lambda _: tokenizer(settings["vocab_size"]),
    )


def ladder(dtype: str = "f32") -> Iterator[Model]:
    """Models from small to wider: a format may refuse rows of 64 weights, not all of them."""
    yield llama(dtype)
    yield llama(dtype, hidden=512, layers=1, intermediate=512)


def arrays(settings: Mapping[str, Any], dtype: str = "f32") -> dict[str, np.ndarray[Any, Any]]:
    """The weights of a Llama under canonical names, in the order of its architecture file."""
    rng = np.random.default_rng(20261121)
    configured = _architecture().configure(settings, path=NAME)
    out = {}
    for name, (shape, optional) in configured.expected().items():
        if not optional:
            out[name] = weights(rng, shape).astype(DTYPES[dtype].numpy())
    return out


def weights(rng: np.random.Generator, shape: Shape) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Numbers as trained weights have them: near normal, with a few large ones; norms near 1."""
    if len(shape) == 1:
        return rng.normal(1, 0.1, shape).astype(np.float32)
    made = rng.standard_t(5, shape) * 0.02
    return made.astype(np.float32)


def tokenizer(vocab_size: int) -> Tokenizer:
    """A vocabulary of pieces: three special ones, 256 bytes, and letters."""
    special = ["<unk>", "<s>", "</s>"]
    pieces = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *_LETTERS][:vocab_size]
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, *[TokenType.BYTE] * 256]
    kinds += [TokenType.NORMAL] * (len(pieces) - len(kinds))
    return Tokenizer(
        model=Tokenizer.SENTENCEPIECE_BPE,
        tokens=[piece.encode() for piece in pieces],
        types=kinds,
        scores=[0.0] * 259 + [-float(rank) for rank in range(len(pieces) - 259)],
        special_ids={"bos": 1, "eos": 2, "unk": 0},
        add={"bos": True, "eos": False},
        add_space_prefix=True,
    )


def _architecture() -> Architecture:
    return next(architecture for architecture in known() if "LlamaForCausalLM" in architecture.architectures)
