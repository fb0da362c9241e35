"""How a graph uses quantized tensors: blocked DequantizeLinear before a MatMul, MatMulNBits, and rows of tables.

A float offset of each group is no input of these operators. It is added where it costs least: as a small MatMul of the
sums of x over each group, ``(scale * q) @ x + offset @ sums``, which rounds no more than the one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from hub.api import F16, DType, Shape, UsageError
from hub_onnx.build import OPSET, Build
from hub_onnx.layouts import Codes, make
from hub_onnx.model import Attribute, Initializer
from hub_onnx.proto import DataType
from hub_onnx.weights import FLOATS, Held, Weight

SUFFIXES: Final = {
    "codes": "_quantized",
    "scale": "_scale",
    "zero": "_zero_point",
    "offset": "_offset",
    "order": "_order",
}
"""What the initializers of a tensor's parts are called, behind its name."""
MICROSOFT: Final = "com.microsoft"
_INTEGERS: Final = {
    (2, False): DataType.UINT2,
    (2, True): DataType.INT2,
    (4, False): DataType.UINT4,
    (4, True): DataType.INT4,
    (8, False): DataType.UINT8,
    (8, True): DataType.INT8,
}
_EIGHT: Final = {"f8_e4m3": DataType.FLOAT8E4M3FN, "f8_e5m2": DataType.FLOAT8E5M2}
_OF_TWO_BITS: Final = 25
"""The version that brought codes of 2 bits."""
_ZERO: Final = Attribute("tensor", Initializer("", DataType.UINT8, (1,), inline=bytes(1)))


class CodesWeight(Weight):
    """What the kinds of codes share."""

    def __init__(self, name: str, shape: Shape, layout: str) -> None:
        super().__init__(name, shape, layout)
        self.packing: Codes = make(layout)
        self.told = self.packing.told

    @property
    def opset(self) -> int:  # type: ignore[override]
        """As in `Weight`."""
        return _OF_TWO_BITS if self.code_type in (DataType.UINT2, DataType.INT2) else OPSET

    @property
    def group(self) -> int:
        """Weights of a row that share a scale; 0 for all of them."""
        return self.told.blocks.shape[1]

    @property
    def code_type(self) -> DataType:
        """ONNX's type of codes and of zero points that are codes."""
        return _EIGHT[self.told.floats.name] if self.told.floats else _INTEGERS[self.told.bits, self.told.signed]

    def held(self) -> Mapping[str, Held]:
        parts = self.packing.parts(self.shape)
        types: dict[str, DataType] = {"codes": self.code_type, "zero": self.code_type, "order": DataType.INT32}
        if self.told.kind == "floatzero":
            types["zero"] = FLOATS[self.told.scale.name]
        return {
            part: Held(
                self.name + SUFFIXES[part], types.get(part) or FLOATS[spec.dtype.name], self.dims(part, spec.shape)
            )
            for part, spec in parts.items()
        }

    def dims(self, part: str, stored: Shape) -> Shape:
        """The shape that ONNX has for a part that is stored so."""
        return stored

    def _input(self, part: str) -> str:
        return self.name + SUFFIXES[part]

    def _zero(self) -> str:
        """The zero points, "" where none are stored."""
        return self._input("zero") if self.told.kind in ("zero", "floatzero") else ""

    def _wide(self, build: Build, value: str, dtype: DType) -> str:
        return build.emit("Cast", value, to=int(DataType.FLOAT)) if dtype == F16 else value

    def _scale(self, build: Build) -> str:
        # onnxruntime fuses scales of 16 bits only where they are widened before.
        return self._wide(build, self._input("scale"), self.told.scale)

    def _ordered(self, build: Build, x: str) -> str:
        """x with its columns in the order in which the codes' are stored."""
        return build.emit("Gather", x, self._input("order"), axis=-1) if self.told.ordered else x

    def _with_offsets(self, build: Build, x: str, made: str) -> str:
        """`made`, a product of x and codes, with the part of x and the offsets."""
        if self.told.kind != "offset":
            return made
        offset, sums = self._input("offset"), self._summed(build, x)
        if not self.group:  # one sum, and a number for each row, or for all
            return build.emit("Add", made, build.emit("Mul", sums, offset))
        if not isinstance(self, ColumnsOfCodes):
            offset = build.emit("Transpose", offset, perm=(1, 0))
        return build.emit("Add", made, build.emit("MatMul", sums, offset))

    def _summed(self, build: Build, x: str) -> str:
        """x (..., in) summed over each group, (..., groups)."""
        return build.once(("sums", x, self.group), lambda: self._sums(build, x))

    def _sums(self, build: Build, x: str) -> str:
        width = self.shape[-1]
        groups = self.told.groups(width)
        pieces, keep = x, int(not self.group)
        if self.group:
            if short := groups * self.group - width:
                x = build.emit("Pad", x, build.ints(0, short), "", build.ints(-1))
            lead = build.emit("Shape", x, end=-1)
            pieces = build.emit("Reshape", x, build.emit("Concat", lead, build.ints(groups, self.group), axis=0))
        return build.emit("ReduceSum", pieces, build.ints(-1), keepdims=keep)

    def _offset_rows(self, build: Build, ids: str, made: str) -> str:
        """`made`, rows of codes times scales, with the offsets of their groups."""
        if self.told.kind != "offset":
            return made
        groups = self.told.groups(self.shape[1])
        rows = build.emit("Unsqueeze", build.emit("Gather", self._input("offset"), ids, axis=0), build.ints(-1))
        spread = build.emit("Mul", rows, build.constant(np.ones(self.group), np.float32))
        lead = build.emit("Shape", ids)
        flat = build.emit("Reshape", spread, build.emit("Concat", lead, build.ints(groups * self.group), axis=0))
        return build.emit("Add", made, self._cut(build, flat))

    def _cut(self, build: Build, rows: str) -> str:
        """Rows of whole groups without what is behind their last weight."""
        width = self.shape[1]
        if self.told.groups(width) * self.group == width:
            return rows
        return build.emit("Slice", rows, build.ints(0), build.ints(width), build.ints(-1))


class ColumnsOfCodes(CodesWeight):
    """`onnx.dq`: DequantizeLinear, blocked along the first axis of (in, out), and MatMul; onnxruntime makes one
    operator of both."""

    def dims(self, part: str, stored: Shape) -> Shape:
        rows, width = self.shape
        if part == "codes":
            return width, rows
        if part == "zero" and stored != ():
            return () if self.told.blocks.shape[0] == 0 else (*stored[:-1], rows)
        return stored

    def multiply(self, build: Build, x: str, *, transposed: bool = False) -> str:
        if transposed:
            return super().multiply(build, x, transposed=True)
        x = self._ordered(build, x)
        return self._with_offsets(build, x, build.emit("MatMul", x, self._decoded(build)))

    def _decoded(self, build: Build) -> str:
        high, group = self.told.blocks.shape
        return build.emit(
            "DequantizeLinear",
            self._input("codes"),
            self._scale(build),
            self._zero(),
            axis=0 if group else 1 if high else None,
            block_size=group or None,
        )


class RowsOfCodes(CodesWeight):
    """`onnx.rows`: the rows' codes, scales and zero points are looked up, and only they are decoded."""

    def rows(self, build: Build, ids: str) -> str:
        if self.told.bits < 8 or not self.group:
            raise UsageError(
                f"{self.layout}: rows are looked up of codes of 8 bits in groups of a size", tensor=self.name
            )

        def looked_up(part: str) -> str:
            return build.emit("Gather", self._input(part), ids, axis=0)

        zero = looked_up("zero") if self.told.kind == "zero" else ""
        scale = self._wide(build, looked_up("scale"), self.told.scale)
        made = build.emit("DequantizeLinear", looked_up("codes"), scale, zero, axis=-1, block_size=self.group)
        return self._offset_rows(build, ids, made)

    def dims(self, part: str, stored: Shape) -> Shape:
        return stored if len(self.shape) == 2 else (*self.shape[:2], stored[-1])

    def multiply_one(self, build: Build, x: str, one: int, *, transposed: bool = False) -> str:
        if not self.group:
            return super().multiply_one(build, x, one)

        def turned(part: str) -> str:
            matrix = build.emit("Gather", self._input(part), build.number(one), axis=0)
            return build.emit("Transpose", matrix, perm=(1, 0))

        # Of constants all this is done when a session begins, and what is left is as of a matrix of its own.
        zero = turned("zero") if self.told.kind == "zero" else ""
        scale = self._wide(build, turned("scale"), self.told.scale)
        decoded = build.emit("DequantizeLinear", turned("codes"), scale, zero, axis=0, block_size=self.group)
        made = build.emit("MatMul", x, decoded)
        if self.told.kind != "offset":
            return made
        return build.emit("Add", made, build.emit("MatMul", self._summed(build, x), turned("offset")))


class BlocksOfCodes(CodesWeight):
    """`ort.MatMulNBits`: onnxruntime's own operators, MatMulNBits and GatherBlockQuantized."""

    @property
    def code_type(self) -> DataType:
        return DataType.UINT8

    def multiply(self, build: Build, x: str, *, transposed: bool = False) -> str:
        if transposed:
            return super().multiply(build, x, transposed=True)
        rows, width = self.shape
        x = self._ordered(build, x)
        made = build.emit(
            "MatMulNBits",
            x,
            self._input("codes"),
            self._scale(build),
            self._zero_points(build, flat=False),
            domain=MICROSOFT,
            K=width,
            N=rows,
            bits=self.told.bits,
            block_size=self.group,
            accuracy_level=build.accuracy_level,
        )
        return self._with_offsets(build, x, made)

    def rows(self, build: Build, ids: str) -> str:
        codes = build.emit("Reshape", self._input("codes"), build.ints(self.shape[0], -1))
        made = build.emit(
            "GatherBlockQuantized",
            codes,
            ids,
            self._scale(build),
            self._zero_points(build, flat=True),
            domain=MICROSOFT,
            bits=self.told.bits,
            block_size=self.group,
            gather_axis=0,
            quantize_axis=1,
        )
        made = self._cut(build, made)
        return self._offset_rows(build, ids, made)

    def _zero_points(self, build: Build, *, flat: bool) -> str:
        """Those stored; with offsets all 0, which has to be said."""
        if self.told.kind != "offset":
            if self.told.kind == "floatzero":
                return self._wide(build, self._input("zero"), self.told.scale)
            return self._zero()
        shape = self.shape[0], -(-self.told.groups(self.shape[1]) * self.told.bits // 8)
        return build.once(
            ("no zero points", shape), lambda: build.emit("ConstantOfShape", build.ints(*shape), value=_ZERO)
        )
