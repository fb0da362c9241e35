"""A version is that of the distribution that it belongs to."""

from __future__ import annotations

import pytest

from hub.consumers.titles import title


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ({"name": "onnxruntime", "version": "1.2", "versions": {"onnxruntime": "1.2", "onnx": "3"}}, "onnxruntime 1.2"),
        ({"name": "mlx", "version": "0.3", "versions": {"mlx-lm": "0.3", "mlx": "0.4"}}, "mlx (mlx-lm 0.3)"),
        ({"name": "mlx", "version": None, "versions": {}}, "mlx"),
        ({"name": "mlx", "version": "1"}, "mlx 1"),
        ({}, ""),
    ],
)
def test_titles(item: dict[str, object], told: str) -> None:
    assert title(item) == told
