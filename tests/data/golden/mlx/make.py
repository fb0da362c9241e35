"""Makes the folders beside this file anew: `MLX_DISABLE_COMPILE=1 python tests/data/golden/mlx/make.py` at the root of
the repository, with mlx-lm 0.32.2 and mlx 0.32.4."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[2] / "consumers")]
from made_models import family_shapes, folder, weights  # noqa: E402
from mlx_peer import ask  # noqa: E402

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 259,
    "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 20000.0,
    "rope_scaling": {"rope_type": "linear", "factor": 2.0}, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "hidden_act": "silu", "bos_token_id": 256, "eos_token_id": 257,
}  # fmt: skip
MOE = {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 64, "intermediate_size": 128,
    "moe_intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 32, "vocab_size": 259, "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "num_experts": 4,
    "num_experts_per_tok": 2, "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [],
    "rope_theta": 10000.0, "tie_word_embeddings": True, "torch_dtype": "float16", "hidden_act": "silu",
    "bos_token_id": 256, "eos_token_id": 257,
}  # fmt: skip
CASES = {
    "llama-mixed": (LLAMA, "bf16", {"quant_predicate": "mixed_3_6"}),
    "qwen3-moe-mxfp4": (MOE, "f16", {"q_mode": "mxfp4"}),
}


def tokenizer(path: Path) -> None:
    """One of bytes alone, with three special tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens(["<s>", "</s>", "<pad>"])
    made.save(str(path / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **config}))


def main() -> None:
    ids = np.random.default_rng(5).integers(0, 256, 12)
    with tempfile.TemporaryDirectory() as work:
        for name, (config, dtype, told) in CASES.items():
            source = folder(Path(work) / name, config, weights(family_shapes(config), dtype))
            tokenizer(source)
            out, logits = HERE / name, Path(work) / "logits.npy"
            shutil.rmtree(out, ignore_errors=True)
            convert = {"hf_path": str(source), "mlx_path": str(out), "quantize": True, **told}
            run = {"logits": str(out), "ids": ids.tolist(), "out": str(logits)}
            assert ask([{"convert": convert}, run]) == [None, None]
            np.savez_compressed(out / "golden.npz", input_ids=ids, logits=np.load(logits))


main()
