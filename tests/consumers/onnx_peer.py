"""Written decoders in onnxruntime, and in the reference implementation of ONNX's operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

EXACT = "session.qdq_matmulnbits_accuracy_level"
"""With 1, products with codes are computed in f32; the default rounds activations to 8 bits."""


class Session:
    """A folder in onnxruntime, which has to pass the full checker first.

    Args:
        optimize: whether nodes are fused.
        exact: whether products with codes are computed in f32.
        save: where the graph goes that is left after optimization.
    """

    def __init__(self, folder: Path, *, optimize: bool = True, exact: bool = True, save: Path | None = None) -> None:
        path = str(folder / "model.onnx")
        onnx.checker.check_model(path, full_check=True)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        if exact:
            options.add_session_config_entry(EXACT, "1")
        if not optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if save:
            options.optimized_model_filepath = str(save)
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.outputs = [item.name for item in self.session.get_outputs()]

    def logits(self, ids, steps=(), *, mask=None, positions=None):
        """Logits of sequences, (batch, tokens, vocabulary), cut before each of `steps`: what is behind runs on the cache."""
        batch, tokens = ids.shape
        mask = np.ones((batch, tokens), np.int64) if mask is None else mask
        positions = np.broadcast_to(np.arange(tokens), (batch, tokens)) if positions is None else positions
        made, cache = [], empty(self.session.get_inputs(), batch)
        for start, stop in zip((0, *steps), (*steps, tokens), strict=True):
            feed = {
                "input_ids": ids[:, start:stop], "attention_mask": mask[:, :stop],
                "position_ids": positions[:, start:stop], **cache,
            }  # fmt: skip
            feed = {item.name: feed[item.name] for item in self.session.get_inputs()}
            found = dict(zip(self.outputs, self.session.run(None, feed), strict=True))
            made.append(found["logits"])
            cache = {name.replace("present", "past_key_values"): found[name] for name in found if name != "logits"}
        return np.concatenate(made, axis=1)


def empty(inputs, batch):
    """Caches of no tokens."""
    return {
        item.name: np.zeros((batch, item.shape[1], 0, item.shape[3]), np.float32)
        for item in inputs
        if item.name.startswith("past_key_values")
    }


def by_reference(folder: Path, ids):
    """Logits of one sequence, by the operators' own definition."""
    evaluator = ReferenceEvaluator(onnx.load(folder / "model.onnx"))
    shapes = {item.name: item.type.tensor_type.shape.dim for item in evaluator.proto_.graph.input}
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.arange(ids.shape[1])[None]}
    for name in evaluator.input_names:
        if name not in feed:
            feed[name] = np.zeros((1, shapes[name][1].dim_value, 0, shapes[name][3].dim_value), np.float32)
    return evaluator.run(["logits"], {name: feed[name] for name in evaluator.input_names})[0]


def error(found, wanted):
    """Relative error, |found - wanted| / |wanted|."""
    return float(np.linalg.norm(found.astype(np.float64) - wanted) / np.linalg.norm(wanted.astype(np.float64)))
