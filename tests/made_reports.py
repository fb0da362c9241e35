"""Report data as hub would write it, of models that need not exist: plausible, hostile, huge."""

from __future__ import annotations

import math
import random
from typing import Any

HOSTILE = [
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "</title></style></script><svg onload=alert(1)>",
    "<!-- <meta http-equiv=refresh content='0;url=//example.org'> -->",
    "javascript:alert(1)//' onmouseover='x",
    "\u202egnp.exe\u2066 \x00\x1b[31m\n]]>&lt;&#60;script&#62;",
    "a" * 5000,
    "ünïcödé 模型 🤖 \udcff",
    "blk.99999999999999999999999.attn_q.weight",
    "blk.7.experts.<b>.9.weight",
    ".",
    "",
]
"""Names that a file can hold and that want to be more than text."""

KINDS = {
    "attn_norm": ("f32", 256), "attn_q": ("ggml.Q4_K", 1 << 16), "attn_k": ("ggml.Q4_K", 1 << 14),
    "attn_v": ("ggml.Q6_K", 1 << 14), "attn_output": ("ggml.Q4_K", 1 << 16), "ffn_norm": ("f32", 256),
    "ffn_gate": ("ggml.Q4_K", 3 << 16), "ffn_up": ("ggml.Q4_K", 3 << 16), "ffn_down": ("ggml.Q5_0", 3 << 16),
}  # fmt: skip
BITS = {"f32": 32.0, "ggml.Q4_K": 4.5, "ggml.Q5_0": 5.5, "ggml.Q6_K": 6.5625, "ggml.Q8_0": 8.5}


def error(rng: random.Random, layout: str, fault: str | None = None) -> dict[str, Any]:
    if layout == "f32":
        return {"max_abs": 0.0, "rmse": 0.0, "sqnr_db": None, "equal": True, "limit_db": None, "fault": fault}
    level = 6.02 * BITS[layout] - 5 + rng.gauss(0, 1.2)
    rmse = 0.05 * 10 ** (-level / 20)
    return {
        "max_abs": rmse * rng.uniform(4, 9), "rmse": rmse, "sqnr_db": round(level, 3), "equal": False,
        "limit_db": round(level - 9, 3), "fault": fault,
    }  # fmt: skip


def tensor(rng: random.Random, name: str, layout: str, weights: int, fault: str | None = None) -> dict[str, Any]:
    exact = layout == "f32"
    return {
        "name": name, "shape": [weights] if exact else [weights // 256, 256], "from": "bf16", "to": layout,
        "route": "cast" if exact else "quantize", "fidelity": "exact" if exact else "lossy",
        "quantizer": None if exact else f"{layout}/reference", "bytes": int(weights * BITS[layout] / 8),
        "why": "never quantized" if exact else "q4_k_m mixture", "fallback": layout == "ggml.Q5_0",
        "steps": ["permute_rows"] if name.endswith(("attn_q.weight", "attn_k.weight")) else [],
        "error": error(rng, layout, fault),
    }  # fmt: skip


def logits(rng: random.Random, layers: int = 12, positions: int = 256) -> dict[str, Any]:
    kl = [abs(rng.gauss(0.016, 0.006)) + 0.05 * math.exp(-i / 6) for i in range(positions)]
    mean = sum(kl) / len(kl)
    nmse = [3e-3, *(4e-3 * 1.25**i * rng.uniform(0.9, 1.1) for i in range(layers)), 1.1e-2]
    names = ["embedding", *(f"layer {i}" for i in range(layers)), "logits"]
    return {
        "mode": "exact", "sample": "built-in sample", "tokens": 8 * positions, "sequences": 8, "context": positions,
        "not_run": None, "identical": False,
        "kl": {"mean": mean, "max": 0.91, "p50": 0.009, "p90": 0.041, "p95": 0.066, "p99": 0.17, "p99_9": 0.55},
        "kl_by_position": kl, "top1_agreement": 0.9434,
        "perplexity": {"source": 12.312, "output": 12.508, "ratio": 12.508 / 12.312}, "nmse": 1.1e-2, "max_abs": 2.41,
        "layers": [{"name": n, "nmse": e, "max_abs": 40 * e} for n, e in zip(names, nmse, strict=True)],
        "first_divergent": {"name": "embedding", "nmse": 3e-3},
        "limits": {"kl_mean": 0.25, "why": "4.87 bits per weight: ten times what the worst of the reference files shows."},
        "fault": None, "cost": {"tokens": 16 * positions, "weight_passes": 16, "estimate_seconds": 21.0},
        "seconds": {"source": 9.6, "output": 11.2},
    }  # fmt: skip


def not_run(reason: str) -> dict[str, Any]:
    """What `logits` is where the model could not be run."""
    return {**dict.fromkeys(logits(random.Random(0))), "not_run": reason}


def consumers() -> list[dict[str, Any]]:
    """A program that agrees, run in two ways."""
    run = {
        "setting": "f32", "summary": "f32 throughout", "limit": 1e-5, "why": "rounding of f32", "tokens": 256,
        "relative_error": 3.1e-7, "max_abs": 2.4e-5, "top1_agreement": 1.0, "greedy": [5, 7, 11, 13], "greedy_agrees": True,
        "seconds": 0.21, "fault": None,
    }  # fmt: skip
    rounded = {
        "setting": "stored",
        "summary": "as stored",
        "limit": 3e-2,
        "relative_error": 8.2e-3,
        "top1_agreement": 0.96,
    }
    return [
        {
            "name": "example", "version": "1.2.3", "versions": {"example-runtime": "1.2.3", "numpy": "2.4"},
            "runs": [run, run | rounded], "fault": None,
        }
    ]  # fmt: skip


def report(
    *, layers: int = 12, experts: int = 0, seed: int = 1, run: bool = True, positions: int = 256
) -> dict[str, Any]:
    """A conversion to a mixed four-bit type, verified."""
    rng = random.Random(seed)
    tensors = [tensor(rng, "token_embd.weight", "ggml.Q4_K", 1 << 19), tensor(rng, "output_norm.weight", "f32", 256)]
    for layer in range(layers):
        for kind, (layout, weights) in KINDS.items():
            if experts and kind.startswith("ffn_") and kind != "ffn_norm":
                tensors += [
                    tensor(rng, f"blk.{layer}.experts.{i}.{kind}.weight", layout, weights // 8) for i in range(experts)
                ]
            else:
                tensors.append(tensor(rng, f"blk.{layer}.{kind}.weight", layout, weights))
    tensors.append(tensor(rng, "output.weight", "ggml.Q6_K", 1 << 19))
    size = sum(t["bytes"] for t in tensors)
    weights = sum(math.prod(t["shape"]) for t in tensors)
    exact = [t for t in tensors if t["fidelity"] == "exact"]
    return {
        "hub": "0.1.0", "output": "models/tiny-llama-Q4_K_M.gguf", "verified": "full" if run else "weights", "faults": [],
        "plan": {
            "source": {
                "path": "models/tiny-llama", "format": "safetensors", "architecture": "LlamaForCausalLM",
                "files": ["models/tiny-llama/model.safetensors"],
            },
            "target": {"format": "gguf", "variant": "q4_k_m"}, "family": "llama", "size": size + 60000,
            "weights": weights, "bits_per_weight": round(8 * size / weights, 4),
            "fidelity": {
                "exact": {"tensors": len(exact), "bytes": sum(t["bytes"] for t in exact)},
                "lossy": {
                    "tensors": len(tensors) - len(exact),
                    "bytes": sum(t["bytes"] for t in tensors if t["fidelity"] == "lossy"),
                },
            },
            "files": [{"name": "", "size": size + 60000}], "tensors": tensors,
            "metadata": {
                "general.name": "Tiny Llama", "llama.block_count": layers,
                "tokenizer.ggml.tokens": {"items": 32000, "first": ["<unk>", "<s>", "</s>"]},
            },
            "dropped": [{"name": "model.rotary.inv_freq", "why": "computed from the settings"}],
            "notes": ["ffn_down has rows of 768 weights, no multiple of 256: q5_0 takes its place"],
        },
        "versions": {"python": "3.11.2", "weighthub": "0.1.0"}, "isa": "avx512", "threads": 2, "max_memory": 1 << 30,
        "peak_private_memory": 57_300_000, "seconds": {"plan": 0.02, "scan": 0.4, "convert": 1.3, "verify": 0.5, "run": 20.8},
        "logits": logits(rng, layers, positions) if run else None, "diagnoses": [], "consumers": consumers() if run else [],
        "input": [{"path": "models/tiny-llama/model.safetensors", "size": 2 * weights, "sha256": "0f" * 32}],
    }  # fmt: skip


def rejected() -> dict[str, Any]:
    """A conversion whose q rows went astray."""
    data = report(seed=2)
    fault = "SQNR -2.9 dB, at least 12.1 dB is expected"
    for i, item in enumerate(data["plan"]["tensors"]):
        if item["name"].endswith("attn_q.weight") and i % 2:
            item["error"] |= {"sqnr_db": -2.9, "rmse": 0.07, "max_abs": 0.31, "fault": fault}
            data["faults"].append({"name": item["name"], "fault": fault})
    data |= {"verified": "rejected", "output": "models/tiny-llama-Q4_K_M.gguf.rejected"}
    data["logits"]["fault"] = "mean KL divergence 3.1 nats, at most 0.25 is expected"
    data["diagnoses"] = [
        {
            "mistake": "q/k rows permuted twice", "tensor": "blk.0.attn_q.weight",
            "evidence": "with the rows permuted back once, its SQNR is 22.4 dB and not -2.9 dB",
            "remedy": "convert from the original checkpoint, not from one that was made from a GGUF file",
        },
        {"mistake": "rope base", "tensor": None, "evidence": "divergence begins in layer 0", "remedy": None},
    ]  # fmt: skip
    return data


def equal() -> dict[str, Any]:
    """A conversion in which nothing was lost."""
    data = report(seed=3)
    for item in data["plan"]["tensors"]:
        item |= {"to": "f32", "route": "cast", "fidelity": "exact", "quantizer": None}
        item["error"] = error(random.Random(0), "f32")
    run = data["logits"]
    run |= {"identical": True, "top1_agreement": 1.0, "nmse": 0.0, "max_abs": 0.0, "first_divergent": None}
    run["kl"] = dict.fromkeys(run["kl"], 0.0)
    run["kl_by_position"] = [0.0] * len(run["kl_by_position"])
    run["layers"] = [{"name": layer["name"], "nmse": 0.0, "max_abs": 0.0} for layer in run["layers"]]
    run["perplexity"] = {"source": 12.312, "output": 12.312, "ratio": 1.0}
    return data


def hostile() -> dict[str, Any]:
    """Every text of it is out to do harm."""
    data = report(layers=2, seed=4)
    for i, name in enumerate(HOSTILE):
        data["plan"]["tensors"][i]["name"] = name
    bad = HOSTILE[0] + HOSTILE[1] + HOSTILE[2]
    data["plan"]["source"] |= {"path": f"x/{bad}", "architecture": bad}
    data["plan"]["notes"] = list(HOSTILE)
    data["plan"]["dropped"] = [{"name": name, "why": name} for name in HOSTILE]
    data["plan"]["metadata"] = {name: name for name in HOSTILE}
    data["plan"]["tensors"][3] |= {"from": bad, "to": bad, "why": bad, "steps": [bad]}
    data["plan"]["tensors"][4]["error"]["fault"] = bad
    data["input"][0]["path"] = bad
    data["output"] = bad
    data["verified"] = "rejected"
    data["faults"] = [{"name": name, "fault": name} for name in HOSTILE]
    data["versions"] |= {bad: bad}
    data["diagnoses"] = [{"mistake": name, "tensor": name, "evidence": name, "remedy": name} for name in HOSTILE]
    data["consumers"][0] |= {"name": bad, "version": bad, "versions": {bad: bad}, "fault": bad}
    data["consumers"][0]["runs"][0] |= {"setting": bad, "summary": bad, "why": bad, "fault": bad}
    data["logits"] |= {"sample": bad, "fault": bad, "first_divergent": {"name": bad, "nmse": 1.0}}
    data["logits"]["layers"][1]["name"] = bad
    data["logits"]["limits"]["why"] = bad
    return data


def difference(*, layers: int = 12, hostile: bool = False) -> dict[str, Any]:
    """Two models of one family."""
    rng = random.Random(5)
    tensors = []
    for entry in report(layers=layers)["plan"]["tensors"]:
        found = entry["error"]
        tensors.append({
            "name": entry["name"].replace("blk", "model.layers"), "shape": entry["shape"], "a_layout": "bf16",
            "b_layout": entry["to"], "equal": found["equal"], "max_abs": found["max_abs"], "rmse": found["rmse"],
            "sqnr_db": found["sqnr_db"], "note": rng.choice([None, "rows permuted"]),
        })  # fmt: skip
    bad = HOSTILE if hostile else []
    for name, item in zip(bad, tensors, strict=False):
        item |= {"name": name, "note": name}
    return {
        "hub": "0.1.0",
        "a": {"path": "".join(bad[:3]) or "models/tiny-llama", "format": "safetensors", "architecture": "LlamaForCausalLM"},
        "b": {"path": "models/tiny-llama-Q4_K_M.gguf", "format": "gguf", "architecture": "llama"},
        "settings": [
            {"key": "rope_theta", "a": 500000.0, "b": 10000.0}, {"key": "max_position_embeddings", "a": 2048, "b": None},
            *({"key": name, "a": name, "b": [name]} for name in bad),
        ],
        "tensors": tensors, "only_a": ["lm_head.weight", *bad], "only_b": [*bad],
        "tokenizer": ["token 17: 'a' in A, 'b' in B", *bad],
    }  # fmt: skip
