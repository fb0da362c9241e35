"""The graph language of architecture files."""

from __future__ import annotations

import pytest

from hub.errors import PluginError
from hub.expression import evaluate
from hub.graph import parse

BASE = {
    "context": "n",
    "prefix": "h.{layer}.",
    "start": ["x = embed(ids, 'wte')"],
    "layer": ["q, k = split(linear(x, 'qk'), sizes=[n, n])", "x = x + silu(q) * k"],
    "end": ["logits = linear(x, 'head', tied='wte')"],
}


def nodes(layers=2, **changes):
    graph = parse({**BASE, **changes}, "toy")
    return list(graph.nodes(lambda text, **more: evaluate(text, {"n": 4, **more}), layers))


def test_a_graph_becomes_a_flat_list():
    found = [(node.op, node.inputs, node.outputs, node.weights, node.layer) for node in nodes()]
    assert found[0] == ("embed", ("ids",), ("x",), ("wte",), -1)
    linear, split, silu, product, total = found[1:6]
    assert linear[0] == "linear" and linear[3] == ("h.0.qk",) and linear[4] == 0
    assert split == ("split", linear[2], ("q", "k"), (), 0)
    assert silu[1] == ("q",) and product == ("multiply", (*silu[2], "k"), product[2], (), 0)
    assert total == ("add", ("x", *product[2]), ("x",), (), 0)
    assert found[6][3] == ("h.1.qk",) and found[-1][4] == 2 and found[-1][2] == ("logits",)


def test_arguments_are_evaluated_for_their_layer():
    found = nodes(layer=["x = scale(x, by=10 if layer == 1 else n)"])
    assert [node.arguments["by"] for node in found if node.op == "scale"] == [4, 10]
    assert nodes()[-1].arguments == {"tied": "wte", "transposed": False}


@pytest.mark.parametrize(
    "line",
    [
        "x = nothing(x)", "x = y", "x = silu(y)", "x = x - x", "x", "x = linear(x)", "x = silu(x, 'w')", "x += x", "x = 3",
        "x = rms_norm(x, 'norm')", "x = silu(x, by=2)", "x = __import__('os')", "a, b = silu(x)", "import os", "x =", "",
        "x = silu(x); y = x", "x = linear(x, 3)",
    ],
)  # fmt: skip
def test_other_lines_are_refused(line):
    with pytest.raises(PluginError, match="graph line"):
        parse({**BASE, "layer": [line]}, "toy")


def test_it_must_end_with_logits():
    with pytest.raises(PluginError, match="logits"):
        parse({**BASE, "end": ["y = silu(x)"]}, "toy")
