"""llama.cpp's own tables of which tensor gets which type (tests/data/golden/mixtures.md) against hub's rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hub_gguf.filetypes import FILE_TYPES, Facts, choose, order
from hub_gguf.types import BY_NAME

GOLDEN = json.loads((Path(__file__).parent.parent / "data" / "golden" / "mixtures.json").read_text())


def tensors_of(model):
    """Names and shapes as a GGUF file of that model has them, in the quantizer's order."""
    h, f = model["hidden"], model["ffn"]
    q, kv = model["heads"] * model["head_dim"], model["kv_heads"] * model["head_dim"]
    experts, architecture = model.get("experts", 0), model["architecture"]
    shapes = {"token_embd.weight": (1000, h), "output_norm.weight": (h,)}
    if not model.get("tied"):
        shapes["output.weight"] = (1000, h)
    if architecture == "llama":
        shapes["rope_freqs.weight"] = (model["head_dim"] // 2,)
    for i in range(model["layers"]):
        layer = {
            "attn_norm.weight": (h,), "attn_q.weight": (q, h), "attn_k.weight": (kv, h), "attn_v.weight": (kv, h),
            "attn_output.weight": (h, q), "ffn_norm.weight": (h,),
        }  # fmt: skip
        if architecture in ("qwen3", "gemma3"):
            layer |= {"attn_q_norm.weight": (model["head_dim"],), "attn_k_norm.weight": (model["head_dim"],)}
        if architecture == "gemma3":
            layer |= {"post_attention_norm.weight": (h,), "post_ffw_norm.weight": (h,)}
        dense = model.get("dense_ffn", f)
        if i < model.get("dense_layers", 0) or not experts:
            layer |= {"ffn_gate.weight": (dense, h), "ffn_up.weight": (dense, h), "ffn_down.weight": (h, dense)}
        else:
            layer |= {
                "ffn_gate_inp.weight": (experts, h), "ffn_gate_inp.bias": (experts,), "attn_sinks.weight": (64,),
                "attn_q.bias": (q,), "ffn_gate_exps.weight": (experts, f, h), "ffn_up_exps.weight": (experts, f, h),
                "ffn_down_exps.weight": (experts, h, f), "ffn_down_exps.bias": (experts, h),
            }  # fmt: skip
            if model.get("shared"):
                layer |= {f"ffn_{kind}_shexp.weight": (f, h) for kind in ("gate", "up")} | {
                    "ffn_down_shexp.weight": (h, f)
                }
        shapes |= {f"blk.{i}.{name}": shape for name, shape in layer.items()}
    return sorted(shapes.items(), key=lambda item: order(item[0]))


def wanted(table, names):
    """Name -> type for tensors that do not get the default."""
    out = {}
    for kind, members in table.items():
        if kind == "default":
            continue
        for name, layers in members.items():
            if "*" not in name:
                out[name] = kind
            for piece in layers.split():
                first, _, last = piece.partition("-")
                for layer in range(int(first), int(last or first) + 1):
                    out[name.replace("*", str(layer))] = kind
    assert set(out) <= set(names)
    return out


@pytest.mark.parametrize(
    "file_type", sorted(set(FILE_TYPES) - {"mxfp4_moe"})
)  # whose files test_llama_cpp_files compares
@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_every_tensor_gets_the_type_that_llama_cpp_gives_it(name, file_type):
    model, table = GOLDEN[name]["model"], GOLDEN[name]["types"][file_type]
    facts = Facts(model["architecture"], model["layers"], model["heads"], model["kv_heads"], model.get("experts", 0))
    tensors = tensors_of(model)
    choices = choose(tensors, file_type, facts)
    deviating = wanted(table, [tensor for tensor, _ in tensors])
    ours = {
        tensor: choice.type.name
        for (tensor, _), choice in zip(tensors, choices, strict=True)
        if choice is not None and choice.type.name != table["default"]
    }
    assert ours == deviating
    assert FILE_TYPES[file_type].default == table["default"]
    kept = {tensor for (tensor, _), choice in zip(tensors, choices, strict=True) if choice is None}
    assert all(
        len(shape) < 2 or tensor.endswith(("bias", "ffn_gate_inp.weight"))
        for tensor, shape in tensors
        if tensor in kept
    )


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_reasons_tell_mixtures_and_fallbacks(name):
    model = GOLDEN[name]["model"]
    facts = Facts(model["architecture"], model["layers"], model["heads"], model["kv_heads"], model.get("experts", 0))
    for choice in choose(tensors_of(model), "q4_k_m", facts):
        if choice is None:
            continue
        assert bool(choice.why) == (choice.type != BY_NAME["Q4_K"])
        assert ("whole blocks" in choice.why) == (choice.type != choice.wanted)


def test_pure_and_manual_types_win_over_the_mixture():
    model = GOLDEN["qwen3-14b"]["model"]
    facts = Facts("qwen3", model["layers"], model["heads"], model["kv_heads"])
    tensors = tensors_of(model)
    pure = {choice.type.name for choice in choose(tensors, "q4_k_m", facts, pure=True) if choice}
    assert pure == {"Q4_K"}
    mixed = dict(zip([name for name, _ in tensors], choose(tensors, "q4_k_m", facts), strict=True))
    manual = dict(
        zip(
            [name for name, _ in tensors],
            choose(tensors, "q4_k_m", facts, manual=lambda name: BY_NAME["Q8_0"] if "ffn_up" in name else None),
            strict=True,
        )
    )
    for name, choice in manual.items():
        assert choice == mixed[name] or ("ffn_up" in name and choice.type.name == "Q8_0")


def test_manual_types_do_not_advance_the_counters():
    """llama.cpp counts only tensors that reach the rules: with attn_v of layer 0 set by hand, the next four still
    count as the
    first four of Q4_K_S."""
    facts = Facts("llama", 32, 32, 8)
    tensors = [(f"blk.{i}.attn_v.weight", (1024, 4096)) for i in range(32)]
    manual = {"blk.0.attn_v.weight": BY_NAME["Q8_0"]}
    plain = [choice.type.name for choice in choose(tensors, "q4_k_s", facts)]
    given = [choice.type.name for choice in choose(tensors, "q4_k_s", facts, manual=manual.get)]
    assert plain[:5] == ["Q5_K"] * 4 + ["Q4_K"]
    assert given[:6] == ["Q8_0"] + ["Q5_K"] * 4 + ["Q4_K"]
