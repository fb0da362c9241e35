"""The classic silent mistakes of converters, planted in files that are right."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from planted import BLOCKS, F32, Folder, Gguf, Stored, halved, paired

Plant = Callable[[Gguf], None]
CODES = {2: (2, 18), 3: (4, 20), 6: (6, 22), 7: (8, 24), 10: (16, 80), 12: (16, 144), 13: (48, 176), 14: (0, 128)}
"""Which bytes of a block hold nibbles (of two-bit types: codes), by ggml type."""
SCALES = {2: 1, 3: 1, 6: 1, 7: 1, 8: 1, 10: 81, 12: 1, 13: 1, 14: 209}
"""Which byte of a block has the sign of its scale."""


def layers(file: Gguf, what: str) -> list[str]:
    """Names of a tensor in all layers."""
    return [name for name in file.tensors if name.startswith("blk.") and name.split(".", 2)[2] == what]


def heads(file: Gguf) -> tuple[int, int]:
    return tuple(int(file.key(f"{file.word}.attention.head_count{end}")) for end in ("", "_kv"))  # type: ignore[return-value]


def _permuted(how: Callable[[int, int], np.ndarray]) -> Plant:
    def plant(file: Gguf) -> None:
        for name, count in zip(("attn_q.weight", "attn_k.weight"), heads(file), strict=True):
            for full in layers(file, name):
                file.rows(full, how(file.tensors[full].shape[0], count))

    return plant


twice = _permuted(paired)
"""q and k go through the change of order once more."""
not_at_all = _permuted(halved)
"""Their change of order is undone."""


def keys_by_query_heads(file: Gguf) -> None:
    queries, keys = heads(file)
    for name in layers(file, "attn_k.weight"):
        rows = file.tensors[name].shape[0]
        file.rows(name, halved(rows, keys))
        file.rows(name, paired(rows, queries))


def one_head_twice(file: Gguf) -> None:
    name = layers(file, "attn_q.weight")[0]
    rows, count = file.tensors[name].shape[0], heads(file)[0]
    size = rows // count
    order = np.arange(rows)
    order[size : 2 * size] = size + paired(size, 1)
    file.rows(name, order)


def _norms(by: float) -> Plant:
    def plant(file: Gguf) -> None:
        for name, tensor in file.tensors.items():
            if name.endswith("norm.weight"):
                tensor.f32[...] += np.float32(by)

    return plant


with_one, without_one = _norms(1), _norms(-1)


def gate_for_up(file: Gguf) -> None:
    for name in [*layers(file, "ffn_gate.weight"), *layers(file, "ffn_gate_exps.weight")]:
        file.swap(name, name.replace("gate", "up"))


def fused_halves(file: Gguf) -> None:
    for name in layers(file, "ffn_up.weight"):
        tensor = file.tensors[name]
        tensor.raw = np.roll(tensor.raw, len(tensor.raw) // 2, axis=0)


def experts_rolled(file: Gguf) -> None:
    for name, tensor in file.tensors.items():
        if name.endswith("_exps.weight"):
            tensor.raw = np.roll(tensor.raw.reshape(tensor.shape[0], -1), 1, axis=0).reshape(tensor.raw.shape)


def routers_rolled(file: Gguf) -> None:
    for name in layers(file, "ffn_gate_inp.weight"):
        file.tensors[name].raw = np.roll(file.tensors[name].raw, 1, axis=0)


def layers_swapped(file: Gguf) -> None:
    for name in [name for name in file.tensors if name.startswith("blk.0.")]:
        file.swap(name, name.replace("blk.0.", "blk.1."))


def _scaled(key: str, by: float) -> Plant:
    def plant(file: Gguf) -> None:
        old = file.key(f"{file.word}.{key}")
        file.set(f"{file.word}.{key}", type(old)(old * by))

    return plant


rope_base = _scaled("rope.freq_base", 2)
half_the_heads = _scaled("attention.head_count", 0.5)
no_such_heads = _scaled("attention.head_count", 0.75)
twice_the_kv_heads = _scaled("attention.head_count_kv", 2)
epsilon = _scaled("attention.layer_norm_rms_epsilon", 10)


def rope_factors_lost(file: Gguf) -> None:
    del file.tensors["rope_freqs.weight"]


def rope_factors_changed(file: Gguf) -> None:
    factors = file.tensors["rope_freqs.weight"].f32
    factors[...] = np.where(factors > 1, 4, 1)


def linear_scaling(file: Gguf) -> None:
    file.kvs += [(f"{file.word}.rope.scaling.type", "str", b"linear"), (f"{file.word}.rope.scaling.factor", "f32", 4.0)]


def output_lost(file: Gguf) -> None:
    del file.tensors["output.weight"]


def output_of_its_own(file: Gguf) -> None:
    table = file.tensors["token_embd.weight"]
    file.tensors["output.weight"] = Stored(table.kind, table.shape, table.raw[::-1].copy())


def tokens_shifted(file: Gguf) -> None:
    tokens = list(file.key("tokenizer.ggml.tokens"))
    file.set("tokenizer.ggml.tokens", tokens[1:] + tokens[:1])


def embedding_shifted(file: Gguf) -> None:
    table = file.tensors["token_embd.weight"]
    table.raw = np.roll(table.raw, 1, axis=0)


def bos_shifted(file: Gguf) -> None:
    file.set("tokenizer.ggml.bos_token_id", file.key("tokenizer.ggml.bos_token_id") + 1)


def _blocks(file: Gguf, table: dict[int, object]) -> Iterator[tuple[int, np.ndarray]]:
    for tensor in file.tensors.values():
        if tensor.kind in table:
            yield tensor.kind, tensor.raw.reshape(-1, BLOCKS[tensor.kind][1])


def nibbles_swapped(file: Gguf) -> None:
    for kind, blocks in _blocks(file, CODES):  # type: ignore[arg-type]
        begin, end = CODES[kind]
        blocks[:, begin:end] = (blocks[:, begin:end] >> 4) | (blocks[:, begin:end] << 4)


def scales_negated(file: Gguf) -> None:
    for kind, blocks in _blocks(file, SCALES):  # type: ignore[arg-type]
        blocks[:, SCALES[kind]] ^= 0x80


def some_scales_negated(file: Gguf) -> None:
    for kind, blocks in _blocks(file, SCALES):  # type: ignore[arg-type]
        blocks[::5, SCALES[kind]] ^= 0x80


def one_scale_negated(file: Gguf) -> None:
    for kind, blocks in _blocks(file, SCALES):  # type: ignore[arg-type]
        blocks[len(blocks) // 2, SCALES[kind]] ^= 0x80


def signs_flipped(file: Gguf) -> None:
    for tensor in file.tensors.values():
        if tensor.kind == F32 and len(tensor.shape) > 1:
            tensor.f32[...] *= -1


def transposed_data(file: Gguf) -> None:
    for name in layers(file, "attn_output.weight"):
        tensor = file.tensors[name]
        turned = np.ascontiguousarray(tensor.f32.T)
        tensor.raw = turned.reshape(tensor.shape).view(np.uint8)


def transposed_shape(file: Gguf) -> None:
    for name in layers(file, "ffn_down.weight"):
        tensor = file.tensors[name]
        turned = np.ascontiguousarray(tensor.f32.T)
        tensor.shape, tensor.raw = tensor.shape[::-1], turned.view(np.uint8)


def zeroed(file: Gguf) -> None:
    file.tensors["blk.1.attn_output.weight"].raw[...] = 0


def doubled(file: Gguf) -> None:
    file.tensors["blk.1.attn_output.weight"].f32[...] *= 2


# --------------------------------------------------------------------------------------------- safetensors folders


def folder_pairs(folder: Folder) -> None:
    """q and k as GGUF has them, not put back."""
    for name, array in folder.arrays.items():
        for what, key in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
            if what in name:
                folder.arrays[name] = array[paired(len(array), folder.config[key])]


def folder_norms(folder: Folder) -> None:
    """The norms of Gemma as GGUF has them: with 1 added."""
    for name, array in folder.arrays.items():
        if "norm" in name:
            folder.arrays[name] = (array.astype(np.float32) + 1).astype(array.dtype)


def folder_theta(folder: Folder) -> None:
    folder.config.get("rope_parameters", folder.config)["rope_theta"] = 1234.0
    folder.config.pop("rope_theta", None)
    folder.config.setdefault("rope_parameters", {"rope_type": "default"})["rope_theta"] = 1234.0


def folder_heads(folder: Folder) -> None:
    folder.config["num_key_value_heads"] *= 2
    folder.config["head_dim"] = folder.config.get("head_dim") or 16


def folder_untied(folder: Folder) -> None:
    folder.config["tie_word_embeddings"] = False


def folder_transposed(folder: Folder) -> None:
    for name, array in folder.arrays.items():
        if "down_proj" in name:
            folder.arrays[name] = np.ascontiguousarray(array.T)


def folder_experts(folder: Folder) -> None:
    name = "model.layers.0.block_sparse_moe.experts.{}.w1.weight"
    arrays = folder.arrays
    arrays[name.format(0)], arrays[name.format(1)] = arrays[name.format(1)], arrays[name.format(0)]
