"""llama.cpp as a peer: its quantizer, its logits and its perplexity, through the library inside the `llama_cpp` package.

Each call runs in a child process: llama.cpp answers a bad file or a missing importance matrix with abort(), which no test run
would survive. (The module is not called llama_cpp, which would hide the package.)
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

WHY_ABSENT = (
    None if importlib.util.find_spec("llama_cpp") else "the peer llama.cpp is absent: pip install llama-cpp-python"
)

# llama_ftype of llama.h for what `llama_model_quantize` makes without an importance matrix
FTYPES = {
    "f32": 0, "f16": 1, "bf16": 32,
    "q4_0": 2, "q4_1": 3, "q5_0": 8, "q5_1": 9, "q8_0": 7,
    "q2_k": 10, "q3_k_s": 11, "q3_k_m": 12, "q3_k_l": 13, "q4_k_s": 14, "q4_k_m": 15, "q5_k_s": 16, "q5_k_m": 17, "q6_k": 18,
    "mxfp4_moe": 38,
}  # fmt: skip
FLOATS = ("f32", "f16", "bf16")

_F32 = 0  # ggml_type


class PeerError(RuntimeError):
    """llama.cpp refused, failed or aborted; carries the end of what it printed."""


def quantize(source: Path, targets: Mapping[str, Path], *, threads: int = 2, importance: str | None = None) -> None:
    """Writes `source` again in every type of `targets` (FTYPES name -> path), as `llama-quantize` does without options, or
    with `--imatrix` and the GGUF file `importance`."""
    command, stdin = quantize_command(source, targets, threads, importance)
    _run("quantize", command, stdin)


def quantize_command(
    source: Path, targets: Mapping[str, Path], threads: int, importance: str | None = None
) -> tuple[list[str], str]:
    """The process that `quantize` starts and what it reads, for one who wants to measure it."""
    task = {"source": str(source), "targets": {k: str(v) for k, v in targets.items()}, "threads": threads}
    task["importance"] = importance
    return [sys.executable, __file__, "quantize"], json.dumps(task)


def logits(path: Path, ids: np.ndarray, *, exact: bool = True, threads: int = 2) -> np.ndarray:
    """Logits [T, vocab] of every position. `exact` keeps the KV cache in f32 and flash attention off."""
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        np.save(where / "ids.npy", np.asarray(ids, np.int32))
        _call(
            "logits",
            path=str(path),
            ids=str(where / "ids.npy"),
            out=str(where / "out.npy"),
            exact=exact,
            threads=threads,
        )
        found: np.ndarray = np.load(where / "out.npy")
        return found


def perplexity(
    path: Path,
    text: str | None = None,
    ids: np.ndarray | None = None,
    *,
    n_ctx: int = 512,
    exact: bool = False,
    threads: int = 2,
) -> tuple[float, float, int]:
    """(perplexity, its standard error, chunks) as `llama-perplexity -c n_ctx` computes and prints them; `exact` as in `logits`.

    Whole chunks only; the first token of each becomes BOS where the vocabulary asks for it; the second half is scored.
    """
    if (text is None) == (ids is None):
        raise ValueError("give text or ids")
    listed = None if ids is None else [int(i) for i in ids]
    answer = _call("perplexity", path=str(path), text=text, ids=listed, n_ctx=n_ctx, exact=exact, threads=threads)
    return answer["ppl"], answer["error"], answer["chunks"]


def tokenize(path: Path, text: str, *, special: bool = True) -> list[int]:
    """llama.cpp's ids for a text; `special` adds what the vocabulary adds (BOS)."""
    ids: list[int] = _call("tokenize", path=str(path), text=text, special=special)["ids"]
    return ids


def ids(path: Path, asked: Sequence[tuple[str, bool, bool]]) -> list[list[int]]:
    """The ids of many (text, add_special, parse_special), from the vocabulary alone."""
    found: list[list[int]] = _call("ids", path=str(path), asked=list(asked))["ids"]
    return found


def _call(verb: str, **task: Any) -> dict[str, Any]:
    return _run(verb, [sys.executable, __file__, verb], json.dumps(task))


def _run(verb: str, command: list[str], stdin: str) -> dict[str, Any]:
    # The task goes in by stdin and the answer comes back on the last line of stdout; stderr is llama.cpp's log.
    child = subprocess.run(command, input=stdin, capture_output=True, text=True, errors="replace")
    if child.returncode:
        tail = "\n".join(child.stderr.splitlines()[-12:])
        raise PeerError(f"llama.cpp {verb} ended with {child.returncode}\n{tail}")
    answer: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return answer


# ---- in the child ----


def _quantize(source: str, targets: dict[str, str], threads: int, importance: str | None) -> dict[str, Any]:
    import llama_cpp

    weights, overrides = (None, None) if importance is None else _importance(importance)
    for name, target in targets.items():
        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype, params.nthread = FTYPES[name], threads
        if weights is not None:
            params.imatrix, params.kv_overrides = weights, overrides
        if status := llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)):
            raise SystemExit(f"llama_model_quantize to {name}: status {status}")
    return {}


def _importance(path: str) -> tuple[Any, Any]:
    """What tools/quantize/quantize.cpp makes of an importance matrix: means, 1 where nothing was met, and four keys."""
    import gguf
    import llama_cpp

    reader = gguf.GGUFReader(path)
    arrays = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    names = sorted(name.removesuffix(".in_sum2") for name in arrays if name.endswith(".in_sum2"))
    items = (llama_cpp.llama_model_imatrix_data * (len(names) + 1))()
    for item, name in zip(items, names, strict=False):
        sums, counts = arrays[f"{name}.in_sum2"], arrays[f"{name}.counts"].reshape(-1, 1)
        sums = sums.reshape(len(counts), -1)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), np.float32(1)).astype(np.float32)
        item.name, item.size = name.encode(), means.size
        item.data = (ctypes.c_float * means.size)(*means.reshape(-1).tolist())
    told = {
        "quantize.imatrix.file": path,
        "quantize.imatrix.dataset": reader.fields["imatrix.datasets"].contents(0),
        "quantize.imatrix.entries_count": len(names),
        "quantize.imatrix.chunks_count": int(reader.fields["imatrix.chunk_count"].contents()),
    }
    overrides = (llama_cpp.llama_model_kv_override * (len(told) + 1))()
    for override, (key, value) in zip(overrides, told.items(), strict=False):
        override.key = key.encode()
        if isinstance(value, str):
            override.tag, override.value.val_str = 3, value.encode()[:127]
        else:
            override.tag, override.value.val_i64 = 0, value
    return items, overrides


class _Session:
    """A model and a context for one sequence of up to `n_ctx` tokens, decoded in one batch."""

    def __init__(self, path: str, n_ctx: int, exact: bool, threads: int) -> None:
        import llama_cpp as api

        self.api, self.n_ctx = api, n_ctx
        api.llama_backend_init()
        self.model = api.llama_model_load_from_file(path.encode(), api.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        self.vocab = api.llama_model_get_vocab(self.model)
        self.width = api.llama_vocab_n_tokens(self.vocab)
        params = api.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = n_ctx
        params.n_threads = params.n_threads_batch = threads
        if exact:
            params.type_k = params.type_v = _F32
            params.flash_attn_type = 0
        self.context = api.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit(f"llama.cpp makes no context of {n_ctx} tokens for {path}")
        self.batch = api.llama_batch_init(n_ctx, 0, 1)

    def decode(self, ids: list[int], first: int = 0) -> np.ndarray:
        """Logits of positions `first`.. of a fresh sequence."""
        api, batch = self.api, self.batch
        api.llama_memory_clear(api.llama_get_memory(self.context), True)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, i >= first
            batch.seq_id[i][0] = 0
        if status := api.llama_decode(self.context, batch):
            raise SystemExit(f"llama_decode: status {status}")
        rows = len(ids) - first
        found = api.llama_get_logits(self.context)
        return np.ctypeslib.as_array(found, shape=(rows, self.width)).copy()

    def tokenize(self, text: str, special: bool) -> list[int]:
        data = text.encode()
        room = len(data) + 8
        ids = (self.api.llama_token * room)()
        count = self.api.llama_tokenize(self.vocab, data, len(data), ids, room, special, False)
        if count < 0:
            raise SystemExit(f"llama_tokenize wants room for {-count} tokens")
        return list(ids[:count])


def _logits(path: str, ids: str, out: str, exact: bool, threads: int) -> dict[str, Any]:
    tokens = np.load(ids).tolist()
    # A context is rounded up to a multiple of 256 inside llama.cpp; asking for the exact length is enough.
    np.save(out, _Session(path, len(tokens), exact, threads).decode(tokens))
    return {}


def _perplexity(
    path: str, text: str | None, ids: list[int] | None, n_ctx: int, exact: bool, threads: int
) -> dict[str, Any]:
    session = _Session(path, n_ctx, exact, threads)
    tokens = session.tokenize(text, True) if ids is None and text is not None else list(ids or [])
    if len(tokens) < 2 * n_ctx:
        raise SystemExit(f"perplexity over {n_ctx} needs {2 * n_ctx} tokens, found {len(tokens)}")
    bos = session.api.llama_vocab_bos(session.vocab) if session.api.llama_vocab_get_add_bos(session.vocab) else None
    first, losses = n_ctx // 2, []
    for start in range(0, len(tokens) // n_ctx * n_ctx, n_ctx):
        chunk = tokens[start : start + n_ctx]
        if bos is not None:
            chunk = [bos, *chunk[1:]]
        scores = session.decode(chunk, first)[:-1]
        highest = scores.max(axis=1)
        total = np.exp(scores - highest[:, None]).sum(axis=1, dtype=np.float64)
        chosen = scores[np.arange(len(scores)), chunk[first + 1 :]] - highest
        losses.append(np.log(total) - chosen.astype(np.float64))
    nll = np.concatenate(losses)
    mean = float(nll.mean())
    spread = float(np.sqrt(((nll * nll).mean() - mean * mean) / (len(nll) - 1)))
    return {"ppl": float(np.exp(mean)), "error": spread * float(np.exp(mean)), "chunks": len(losses)}


def _ids(path: str, asked: list[list[Any]]) -> dict[str, Any]:
    import llama_cpp as api

    params = api.llama_model_default_params()
    params.vocab_only = True
    model = api.llama_model_load_from_file(path.encode(), params)
    if not model:
        raise SystemExit(f"llama.cpp cannot load {path}")
    vocab = api.llama_model_get_vocab(model)
    found = []
    for text, add_special, parse_special in asked:
        data = text.encode()
        room = len(data) + 8
        ids = (api.llama_token * room)()
        count = api.llama_tokenize(vocab, data, len(data), ids, room, add_special, parse_special)
        found.append(list(ids[:count]))
    return {"ids": found}


def _tokenize(path: str, text: str, special: bool) -> dict[str, Any]:
    return {"ids": _Session(path, 256, True, 1).tokenize(text, special)}


if __name__ == "__main__":
    verbs: dict[str, Callable[..., dict[str, Any]]] = {
        "quantize": _quantize,
        "logits": _logits,
        "perplexity": _perplexity,
        "tokenize": _tokenize,
        "ids": _ids,
    }
    print(json.dumps(verbs[sys.argv[1]](**json.load(sys.stdin))))
