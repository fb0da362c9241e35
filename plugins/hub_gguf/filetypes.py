"""llama.cpp's file types: which tensor gets which type. Rules of `src/llama-quant.cpp`, see PROVENANCE.md.

A file type is a default tensor type plus a mixture: some tensors get more bits, by category, layer and
the model's shape. Rows that are not whole blocks fall back to a type with smaller blocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hub_gguf.types import BY_NAME, GgmlType


@dataclass(frozen=True)
class FileType:
    """A file type.

    Attributes:
        number: `general.file_type`.
        default: name of the tensor type that most tensors get.
        summary: one line for `hub formats`; bits per weight are of Llama-3.1-8B (llama.cpp's README).
    """

    number: int
    default: str
    summary: str


FILE_TYPES: Mapping[str, FileType] = {
    "f32": FileType(0, "F32", "32-bit floats"),
    "f16": FileType(1, "F16", "16-bit floats"),
    "bf16": FileType(32, "BF16", "16-bit brain floats"),
    "q8_0": FileType(7, "Q8_0", "8.50 bits per weight, nearly lossless"),
    "q6_k": FileType(18, "Q6_K", "6.56 bits per weight"),
    "q5_k_m": FileType(17, "Q5_K", "5.70 bits per weight"),
    "q5_k_s": FileType(16, "Q5_K", "5.57 bits per weight"),
    "q5_1": FileType(9, "Q5_1", "6 bits per weight, blocks of 32 with offset"),
    "q5_0": FileType(8, "Q5_0", "5.5 bits per weight, blocks of 32"),
    "q4_k_m": FileType(15, "Q4_K", "4.89 bits per weight, the usual choice"),
    "q4_k_s": FileType(14, "Q4_K", "4.67 bits per weight"),
    "q4_1": FileType(3, "Q4_1", "5 bits per weight, blocks of 32 with offset"),
    "q4_0": FileType(2, "Q4_0", "4.5 bits per weight, blocks of 32"),
    "q3_k_l": FileType(13, "Q3_K", "4.30 bits per weight"),
    "q3_k_m": FileType(12, "Q3_K", "4.00 bits per weight"),
    "q3_k_s": FileType(11, "Q3_K", "3.64 bits per weight"),
    "q2_k": FileType(10, "Q2_K", "3.16 bits per weight, a visible loss"),
    "mxfp4_moe": FileType(38, "MXFP4", "4-bit floats for experts, as gpt-oss was trained with, Q8_0 for the others"),
}
"""The file types hub writes, by the word a user types."""

_NEVER = (
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
    "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight", "attn_rel_b.weight",
    ".position_embd", "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight",
    "time_mix_v0.weight", "time_mix_v1.weight", "time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight",
    "time_mix_a2.weight", "time_mix_g1.weight", "time_mix_g2.weight", "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos",
    ".patch_embd", ".patch_merger", "a.rvq.codebook", "mm.a.code_embd",
)  # fmt: skip
"""Substrings of names that llama.cpp never quantizes."""

_FALLBACK = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
"""What takes the place of a type of blocks of 256 when rows are not whole blocks."""


@dataclass(frozen=True)
class Facts:
    """What the mixtures depend on.

    Attributes:
        architecture: GGUF's word for it.
        layers, heads, kv_heads, experts: of the model.
        importance: whether errors are weighted with an importance matrix.
    """

    architecture: str
    layers: int
    heads: int
    kv_heads: int
    experts: int = 0
    importance: bool = False

    @property
    def gqa(self) -> int:
        """Query heads per key head."""
        return self.heads // self.kv_heads if self.kv_heads else 0

    @property
    def is_70b(self) -> bool:
        """Whether llama.cpp calls the model's size 70B, which earns attn_v more bits."""
        if self.architecture in ("llama", "deci", "olmo"):
            return self.layers == 80 and (self.architecture != "llama" or self.heads != self.kv_heads)
        return self.architecture == "qwen2" and self.layers == 80


@dataclass(frozen=True)
class Choice:
    """A tensor's type.

    Attributes:
        wanted: what the file type's rules say.
        type: what it gets; differs from `wanted` when the shape forced it.
        why: the rule that decided, empty for the default.
    """

    wanted: GgmlType
    type: GgmlType
    why: str


def quantizes(file_type: str) -> bool:
    """Whether a file type (or "" for keeping what is there) goes through llama.cpp's quantizer."""
    return file_type != "" and BY_NAME[FILE_TYPES[file_type].default].dense is None


def order(name: str) -> tuple[int, str]:
    """The key by which llama.cpp's quantizer sorts tensors: layer, then name."""
    layer = re.match(r"blk\.(\d+)\.", name)
    return (int(layer[1]) if layer else -1), name


def quantizable(name: str, shape: Sequence[int]) -> bool:
    """Whether llama.cpp would quantize a tensor of this name and logical shape."""
    effective = list(shape)
    while len(effective) > 1 and effective[0] == 1:
        effective.pop(0)
    if len(effective) < 2 or not name.endswith("weight"):
        return False
    if name in ("position_embd.weight", "token_types.weight"):
        return False
    return not any(part in name for part in _NEVER)


def fallback(wanted: GgmlType, width: int) -> GgmlType:
    """The type for rows of `width` weights when `wanted` is asked for."""
    if width % wanted.block == 0:
        return wanted
    smaller = BY_NAME[_FALLBACK.get(wanted.name, wanted.name)]
    return smaller if width % smaller.block == 0 else BY_NAME["F16"]


def choose(
    tensors: Sequence[tuple[str, Sequence[int]]],
    file_type: str,
    facts: Facts,
    *,
    pure: bool = False,
    manual: Callable[[str], GgmlType | None] = lambda _: None,
) -> list[Choice | None]:
    """The type of every tensor.

    Args:
        tensors: (name, logical shape) in the order of the file; the rules count as they go.
        manual: a type that the user gave for a name; such tensors do not advance the counters.

    Returns:
        A choice per tensor; None where the tensor is not quantized and keeps a float type.
    """
    mixture = _Mixture(file_type, facts, [name for name, _ in tensors])
    default = BY_NAME[FILE_TYPES[file_type].default]
    out: list[Choice | None] = []
    for name, shape in tensors:
        given = manual(name)
        if given is None and not quantizable(name, shape):
            out.append(None)
            continue
        if given is not None:
            wanted, why = given, "as the user asked"
        elif default.dense or pure:
            wanted, why = default, ""
        else:
            wanted, why = mixture.next(name, shape)
        final = fallback(wanted, shape[-1])
        if final != wanted:
            why = f"rows of {shape[-1]} are not whole blocks of {wanted.name} ({wanted.block})"
        out.append(Choice(wanted, final, why))
    return out


def _category(name: str) -> str:
    if name == "output.weight":
        return "output"
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return "embedding"
    for part, category in (
        ("attn_qkv.weight", "attn_v"),
        ("attn_kv_b.weight", "attn_v"),
        ("attn_v.weight", "attn_v"),
        ("attn_k.weight", "attn_k"),
        ("attn_q.weight", "attn_q"),
        ("attn_output.weight", "attn_output"),
        ("ffn_up", "ffn_up"),
        ("ffn_gate", "ffn_gate"),
        ("ffn_down", "ffn_down"),
    ):
        if part in name:
            return category
    return "other"


def _more_bits(i: int, n: int) -> bool:
    """The layers that _M mixtures favour: the first and last eighth, and every third between."""
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


class _Mixture:
    """The rules with their counters; ask it for tensors in file order."""

    def __init__(self, file_type: str, facts: Facts, names: Sequence[str]) -> None:
        self.file_type = file_type
        self.facts = facts
        self.default = FILE_TYPES[file_type].default
        self.tied = "output.weight" not in names
        self.n_attn_v = sum(_category(name) == "attn_v" for name in names)
        self.i_attn_v = 0
        self.i_ffn_down = 0

    def next(self, name: str, shape: Sequence[int]) -> tuple[GgmlType, str]:
        """The type of the next tensor and the reason."""
        category = _category(name)
        if self.file_type == "mxfp4_moe":
            stacked = len(shape) > 2 and shape[-3] > 1 and category != "output"
            return BY_NAME["MXFP4" if stacked else "Q8_0"], "" if stacked else "mxfp4_moe: no experts"
        if category == "output" or (category == "embedding" and self.tied):
            chosen = self._output(shape[-1])
        elif category == "attn_v":
            chosen = self._attn_v()
        elif category == "attn_k":
            chosen = "Q8_0" if self.facts.experts == 8 else self.default
        elif category == "ffn_down":
            chosen = self._ffn_down(name)
        elif category == "attn_output":
            chosen = self._attn_output()
        else:
            chosen = self.default
        why = "" if chosen == self.default else f"{self.file_type} mixture: {category}"
        return BY_NAME[chosen], why

    def _output(self, width: int) -> str:
        if self.facts.architecture == "falcon" or width % BY_NAME[self.default].block:
            return "Q8_0"
        return "Q8_0" if self.default == "Q8_0" else "Q6_K"

    def _attn_v(self) -> str:
        i, chosen = self.i_attn_v, self.default
        self.i_attn_v += 1
        match self.file_type:
            case "q2_k":
                chosen = "Q4_K" if self.facts.gqa >= 4 else "Q3_K"
            case "q3_k_m":
                chosen = "Q5_K" if i < 2 else "Q4_K"
            case "q3_k_l":
                chosen = "Q5_K"
            case "q4_k_m" | "q5_k_m" if _more_bits(i, self.n_attn_v):
                chosen = "Q6_K"
            case "q4_k_s" if i < 4:
                chosen = "Q5_K"
        if self.facts.is_70b and chosen in ("Q3_K", "Q4_K"):
            chosen = "Q5_K"
        return "Q8_0" if self.facts.experts == 8 else chosen

    def _ffn_down(self, name: str) -> str:
        i, n = self.i_ffn_down, self.facts.layers
        self.i_ffn_down += 1
        if self.facts.experts > 1:
            i = order(name)[0]
        falcon = self.facts.architecture == "falcon"
        match self.file_type:
            case "q2_k":
                return "Q3_K"
            case "q3_k_m":
                if i < n // 16:
                    return "Q5_K"
                return "Q4_K" if not falcon or _more_bits(i, n) else "Q3_K"
            case "q3_k_l":
                return "Q4_K" if falcon else "Q5_K"
            case "q4_k_m" if falcon:
                return "Q6_K" if i < n // 16 else "Q5_K" if _more_bits(i, n) else "Q4_K"
            case "q4_k_m" | "q5_k_m" if _more_bits(i, n):
                return "Q6_K"
            case "q4_k_s" if not falcon and i < n // 8:
                return "Q5_K"
            case "q4_0" | "q5_0" if self.facts.importance and i < n // 8:
                return "Q4_1" if self.file_type == "q4_0" else "Q5_1"
        return self.default

    def _attn_output(self) -> str:
        if self.facts.architecture == "falcon":
            return "Q4_K" if self.file_type == "q3_k_l" else self.default
        if self.facts.experts == 8 and self.file_type in ("q2_k", "q3_k_s", "q3_k_m", "q4_k_s", "q4_k_m"):
            return "Q5_K"
        if self.facts.experts != 8:
            return {"q2_k": "Q3_K", "q3_k_m": "Q4_K", "q3_k_l": "Q5_K"}.get(self.file_type, self.default)
        return self.default
