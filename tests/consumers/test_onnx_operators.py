"""Every layout of codes as onnxruntime computes with it: products and rows, whole groups and short ones."""

from __future__ import annotations

import numpy as np
import pytest

from hub.plugins import registry
from hub.quantizer import Calibration
from hub_onnx.build import IR_VERSIONS, Build
from hub_onnx.encode import encode
from hub_onnx.model import Graph, Initializer, ModelProto, ValueInfo
from hub_onnx.proto import DataType
from hub_onnx.ways import weight_of

pytestmark = pytest.mark.consumers
onnx = pytest.importorskip("onnx", reason="needs the extra 'onnx'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")

RANDOM = np.random.default_rng(11)
PRODUCTS = [
    *(f"onnx.dq/{bits}bit-g{group}{kind}" for bits in (2, 4, 8) for group in (16, 32)
      for kind in ("-signed", "-zero", "-offset", "-zero-signed", "-zero-f16")),
    *(f"onnx.dq/{bits}bit-{group}{kind}" for bits in (4, 8) for group in ("channel", "tensor")
      for kind in ("-signed", "-zero", "-offset")),
    "onnx.dq/f8_e4m3-g32", "onnx.dq/f8_e4m3-channel", "onnx.dq/f8_e5m2-g16",
    *(f"ort.MatMulNBits/{bits}bit-g{group}{kind}" for bits in (2, 4, 8) for group in (16, 32)
      for kind in ("", "-zero", "-offset", "-f16")),
    "ort.MatMulNBits/4bit-g32-floatzero", "ort.MatMulNBits/2bit-g16-floatzero",
]  # fmt: skip
ROWS = [
    *(f"onnx.rows/8bit-g32{kind}" for kind in ("-signed", "-zero", "-offset", "-zero-f16")),
    *(f"ort.MatMulNBits/{bits}bit-g32{kind}" for bits in (2, 4, 8) for kind in ("", "-zero", "-offset")),
]  # fmt: skip


def parts(layout: str, shape):
    """Numbers in a layout, and what they mean; with groups of zeros, of one number, and of one sign."""
    rows = RANDOM.normal(0, 1, shape).astype(np.float32)
    rows[0], rows[1], rows[2], rows[3, :16] = 0, 0.7, np.abs(rows[2]), 0
    quantizer, packing = registry().quantizer(layout), registry().layout(layout)
    assert quantizer is not None
    made = quantizer.quantize(rows, Calibration())
    return made, packing.decode(made, shape)


def run(build: Build, weight, made, out: str, gives, dtype: int, dims, value, *, optimize: bool):
    held = weight.held()
    initializers = [
        Initializer(one.name, one.data_type, one.dims, inline=np.ascontiguousarray(made[part]).tobytes())
        for part, one in held.items()
    ]
    build.need(weight.opset)
    graph = Graph(
        "one", build.nodes, [ValueInfo("x", dtype, dims)], [ValueInfo(out, DataType.FLOAT, gives)],
        [*build.constants, *initializers],
    )  # fmt: skip
    data = encode(ModelProto(IR_VERSIONS[build.opsets[""]], build.opsets, graph))
    onnx.checker.check_model(onnx.load_from_string(data))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, {"x": value})[0]


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("layout", PRODUCTS)
def test_products(layout, optimize):
    for rows, width in ((8, 96), (12, 72)):  # whole groups, and a short last one
        made, meant = parts(layout, (rows, width))
        for lead in ((2, 3), (5,)):  # tokens of a batch, and those of an expert
            weight, build = weight_of("w", (rows, width), layout), Build()
            x = RANDOM.normal(0, 1, (*lead, width)).astype(np.float32)
            names = ("batch", "tokens")[: len(lead)]
            out = weight.multiply(build, "x")
            found = run(
                build, weight, made, out, (*names, rows), DataType.FLOAT, (*names, width), x, optimize=optimize
            )  # fmt: skip
            wanted = x.astype(np.float64) @ meant.T.astype(np.float64)
            assert found.shape == wanted.shape
            assert np.linalg.norm(found - wanted) <= 2e-6 * np.linalg.norm(wanted)


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("layout", ROWS)
def test_rows(layout, optimize):
    for shape in ((8, 96), (12, 72)):
        made, meant = parts(layout, shape)
        weight, build = weight_of("w", shape, layout), Build()
        ids = np.array([[0, 3, 7], [1, 2, 2]])
        out = weight.rows(build, "x")
        dims = ("batch", "tokens")
        found = run(build, weight, made, out, (*dims, shape[1]), DataType.INT64, dims, ids, optimize=optimize)
        np.testing.assert_allclose(found, meant[ids], rtol=2e-7, atol=1e-7)
