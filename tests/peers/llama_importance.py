"""llama.cpp's own sums of squared inputs, taken where llama-imatrix takes them, and its quantizer with such a file.

A process of its own does each, as in `llama_peer`. The sums are read in the callback that llama.cpp makes for every
operation of its graph: of each MUL_MAT and MUL_MAT_ID the second operand.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import llama_peer
import numpy as np

_MAX_SOURCES = 10


def sums(
    model: Path, text: str, out: Path, *, n_ctx: int, threads: int = 1
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For every weight of blocks: sums [matrices, in] and counts [matrices], over all whole chunks of `text`."""
    task = {"model": str(model), "text": text, "out": str(out), "n_ctx": n_ctx, "threads": threads}
    llama_peer._run("sums", [sys.executable, __file__, "sums"], json.dumps(task))
    with np.load(out) as found:
        names = {name.rpartition("/")[0] for name in found}
        return {name: (found[f"{name}/sums"], found[f"{name}/counts"]) for name in names}


def quantize(source: Path, target: Path, ftype: str, imatrix: Path, *, threads: int = 2) -> None:
    """`llama-quantize --imatrix` without its own keys."""
    task = {"source": str(source), "target": str(target), "ftype": ftype, "imatrix": str(imatrix), "threads": threads}
    llama_peer._run("quantize", [sys.executable, __file__, "quantize"], json.dumps(task))


# ---- in the child ----


class _Tensor(ctypes.Structure):
    """struct ggml_tensor of ggml.h."""


_Tensor._fields_ = [
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(_Tensor) * _MAX_SOURCES),
    ("view_src", ctypes.c_void_p),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * 64),
]


def _array(tensor: _Tensor, dtype: Any) -> np.ndarray:
    """A view of a tensor in host memory, numpy's order of axes."""
    shape, strides = tuple(tensor.ne)[::-1], tuple(tensor.nb)[::-1]
    span = sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + np.dtype(dtype).itemsize
    raw = np.ctypeslib.as_array((ctypes.c_uint8 * span).from_address(tensor.data))
    return np.lib.stride_tricks.as_strided(raw[: np.dtype(dtype).itemsize].view(dtype), shape, strides)


class _Collector:
    def __init__(self) -> None:
        self.sums: dict[str, np.ndarray] = {}
        self.counts: dict[str, np.ndarray] = {}

    def __call__(self, tensor: _Tensor, name_of_op: str) -> None:
        weight, inputs = tensor.src[0].contents, tensor.src[1].contents
        name = weight.name.decode()
        if not name.startswith("blk."):
            return
        x = _array(inputs, np.float32)
        if name_of_op == "MUL_MAT":
            rows, matrices = x.reshape(-1, x.shape[-1]), 1
            where = np.zeros(len(rows), int)
        else:
            chosen = _array(tensor.src[2].contents, np.int32)[0, 0]  # [tokens, used]
            rows = np.broadcast_to(x[0], (*chosen.shape, x.shape[-1])).reshape(-1, x.shape[-1])
            where, matrices = chosen.reshape(-1), weight.ne[2]
        total = self.sums.setdefault(name, np.zeros((matrices, x.shape[-1])))
        count = self.counts.setdefault(name, np.zeros(matrices, np.int64))
        np.add.at(total, where, np.square(rows, dtype=np.float64))
        np.add.at(count, where, 1)


def _sums(model: str, text: str, out: str, n_ctx: int, threads: int) -> dict[str, Any]:
    import llama_cpp as api

    base = ctypes.CDLL(str(Path(api.__file__).parent / "lib" / "libggml-base.so"))
    base.ggml_op_name.restype, base.ggml_op_name.argtypes = ctypes.c_char_p, [ctypes.c_int]
    collector, failed = _Collector(), []

    @api.ggml_backend_sched_eval_callback
    def each(pointer: int, ask: bool, _: Any) -> bool:
        tensor = ctypes.cast(pointer, ctypes.POINTER(_Tensor)).contents
        op = base.ggml_op_name(tensor.op).decode()
        if op in ("MUL_MAT", "MUL_MAT_ID") and not ask:
            try:
                collector(tensor, op)
            except Exception as error:  # an exception does not get through C
                failed.append(repr(error))
        return not ask or op in ("MUL_MAT", "MUL_MAT_ID")

    params = api.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = n_ctx
    params.n_threads = params.n_threads_batch = threads
    params.cb_eval, params.type_k, params.type_v, params.flash_attn_type = each, 0, 0, 0
    loaded = api.llama_model_load_from_file(model.encode(), api.llama_model_default_params())
    context = api.llama_init_from_model(loaded, params)
    vocab = api.llama_model_get_vocab(loaded)
    data = text.encode()
    ids = (api.llama_token * (len(data) + 8))()
    count = api.llama_tokenize(vocab, data, len(data), ids, len(ids), True, False)
    batch = api.llama_batch_init(n_ctx, 0, 1)
    for start in range(0, count // n_ctx * n_ctx, n_ctx):
        chunk = list(ids[start : start + n_ctx])
        if api.llama_vocab_get_add_bos(vocab):
            chunk[0] = api.llama_vocab_bos(vocab)
        api.llama_memory_clear(api.llama_get_memory(context), True)
        batch.n_tokens = n_ctx
        for i, token in enumerate(chunk):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, True
            batch.seq_id[i][0] = 0
        if status := api.llama_decode(context, batch):
            raise SystemExit(f"llama_decode: status {status}")
    if failed:
        raise SystemExit(failed[0])
    found = {f"{name}/sums": value for name, value in collector.sums.items()}
    np.savez(out, **found, **{f"{name}/counts": value for name, value in collector.counts.items()})
    return {}


def _quantize(source: str, target: str, ftype: str, imatrix: str, threads: int) -> dict[str, Any]:
    import gguf
    import llama_cpp as api

    arrays = {tensor.name: tensor.data for tensor in gguf.GGUFReader(imatrix).tensors}
    names = [name.removesuffix(".in_sum2") for name in arrays if name.endswith(".in_sum2")]
    kept = []
    entries = (api.llama_model_imatrix_data * (len(names) + 1))()
    for entry, name in zip(entries, names, strict=False):
        counts = arrays[f"{name}.counts"].reshape(-1, 1)
        total = arrays[f"{name}.in_sum2"].reshape(len(counts), -1)
        # float division, as load_imatrix of llama-quantize does it; 1 where nothing was met
        mean = np.ascontiguousarray(np.where(counts > 0, total / np.maximum(counts, 1), 1), np.float32)
        kept.append(mean)
        entry.name, entry.size = name.encode(), mean.size
        entry.data = mean.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    params = api.llama_model_quantize_default_params()
    params.ftype, params.nthread, params.imatrix = llama_peer.FTYPES[ftype], threads, entries
    if status := api.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)):
        raise SystemExit(f"llama_model_quantize: status {status}")
    return {}


if __name__ == "__main__":
    print(json.dumps({"sums": _sums, "quantize": _quantize}[sys.argv[1]](**json.load(sys.stdin))))
