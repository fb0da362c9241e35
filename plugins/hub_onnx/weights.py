"""How a graph uses a tensor: the initializers that hold it, and the nodes that multiply with it or look up its rows.

One class for each way that weights lie; `hub_onnx.ways` finds it by the tensor's layout. What is written by the
pipeline are the layout's parts, so each of them is an initializer, and of each only name, type and shape are known.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

from hub.api import PluginError, Shape
from hub_onnx.build import OPSET, Build
from hub_onnx.proto import DataType

FLOATS: Mapping[str, DataType] = {
    "f32": DataType.FLOAT,
    "f16": DataType.FLOAT16,
    "bf16": DataType.BFLOAT16,
    "f64": DataType.DOUBLE,
}
"""hub's names of floats -> ONNX's types."""


class Held(NamedTuple):
    """An initializer of one part of a tensor.

    Attributes:
        name: of the value.
        data_type: code of its number type.
        dims: its shape.
    """

    name: str
    data_type: int
    dims: tuple[int, ...]


class Weight(ABC):
    """A tensor of a certain layout, in a graph.

    Args:
        name: the tensor's canonical name, as ``model.layers.0.mlp.up_proj.weight``.
        shape: its logical shape.
        layout: name of the layout that tells how it lies.
    """

    def __init__(self, name: str, shape: Shape, layout: str) -> None:
        self.name, self.shape, self.layout = name, shape, layout

    upright = True
    """Whether it is (out, in), though the canonical tensor is (in, out), as GPT-2's are: codes always are."""
    opset = OPSET
    """The version of ONNX's operators that its number types came with."""

    @abstractmethod
    def held(self) -> Mapping[str, Held]:
        """The initializer of every part of the layout, by the part's name."""

    def multiply(self, build: Build, x: str, *, transposed: bool = False) -> str:
        """``x @ W.T`` for x (..., in) f32 and W (out, in); (..., out) f32.

        Args:
            transposed: W is (in, out), and ``x @ W`` is wanted.
        """
        raise PluginError(f"{self.layout} cannot be multiplied with", tensor=self.name)

    def multiply_one(self, build: Build, x: str, one: int, *, transposed: bool = False) -> str:
        """``x @ W[one].T`` for W (matrices, out, in).

        Args:
            transposed: W is (matrices, in, out), and ``x @ W[one]`` is wanted.
        """
        raise PluginError(f"{self.layout} cannot be multiplied with by matrices", tensor=self.name)

    def rows(self, build: Build, ids: str) -> str:
        """Rows by number, in f32: for ids of any shape (...), (..., in)."""
        raise PluginError(f"rows of {self.layout} cannot be looked up", tensor=self.name)

    def numbers(self, build: Build) -> str:
        """All of its numbers, in f32 and its own shape."""
        raise PluginError(f"{self.layout} cannot be used as it is", tensor=self.name)

    @property
    def out(self) -> int:
        """Rows of a matrix."""
        return self.shape[0]


class DenseWeight(Weight):
    """Plain floats, row-major as they are: vectors, tables, and matrices that are (in, out) already.

    Floats of 16 bits are widened where they are used, so that the numbers are those of a computation in f32.
    """

    upright = False
    part = "data"

    @property
    def data_type(self) -> DataType:
        """ONNX's code of the number type."""
        return FLOATS[self.layout.rpartition("/")[2]]

    def held(self) -> Mapping[str, Held]:
        return {self.part: Held(self.name, self.data_type, self.shape)}

    def numbers(self, build: Build) -> str:
        return build.once(("widened", self.name), lambda: self._wide(build, self.name))

    def rows(self, build: Build, ids: str) -> str:
        return self._wide(build, build.emit("Gather", self.name, ids, axis=0))

    def multiply(self, build: Build, x: str, *, transposed: bool = False) -> str:
        if transposed:
            return build.emit("MatMul", x, self._wide(build, self.name))
        # A table that is an output matrix as well: Gemm takes it as it lies, but only multiplies matrices.
        out, width = self.shape
        flat = build.emit("Reshape", x, build.ints(-1, width))
        made = build.emit("Gemm", flat, self.numbers(build), transB=1)
        lead = build.emit("Shape", x, end=-1)
        return build.emit("Reshape", made, build.emit("Concat", lead, build.ints(out), axis=0))

    def multiply_one(self, build: Build, x: str, one: int, *, transposed: bool = False) -> str:
        matrix = self._wide(build, build.emit("Gather", self.name, build.number(one), axis=0))
        if not transposed:
            matrix = build.emit("Transpose", matrix, perm=(1, 0))
        return build.emit("MatMul", x, matrix)

    def _wide(self, build: Build, value: str) -> str:
        return value if self.data_type == DataType.FLOAT else build.emit("Cast", value, to=int(DataType.FLOAT))


class ColumnsWeight(DenseWeight):
    """Plain floats of a matrix (out, in), stored (in, out) as MatMul wants them."""

    def held(self) -> Mapping[str, Held]:
        return {self.part: Held(self.name, self.data_type, self.shape[::-1])}

    def multiply(self, build: Build, x: str, *, transposed: bool = False) -> str:
        if transposed:
            raise PluginError(f"{self.layout} holds no matrix (in, out)", tensor=self.name)
        return build.emit("MatMul", x, self._wide(build, self.name))

    def rows(self, build: Build, ids: str) -> str:
        return self._wide(build, build.emit("Transpose", build.emit("Gather", self.name, ids, axis=1), perm=(1, 2, 0)))
