"""From a graph to tensors: every constant that the graph multiplies with, looks up or adds, under its canonical name.

What operators do with a constant tells how it lies: MatMul wants (in, out), Gather (out, in), DequantizeLinear says
which numbers share a scale. Names come from `hub_onnx.names`. What is given to such an operator and has no name is
refused, and so is what has two: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from hub.api import (
    F32,
    U8,
    Dense,
    FormatError,
    Packed,
    Part,
    PartSpec,
    Shape,
    Tensor,
    concatenated,
    cut_rows,
    printable,
    rows_spec,
    shifted,
    transposed,
)
from hub_onnx import columns, layouts
from hub_onnx.check import named
from hub_onnx.files import DTYPE, FLOATS, Files, nbytes
from hub_onnx.model import Initializer, ModelProto, Node
from hub_onnx.names import Names, scope_of
from hub_onnx.proto import BITS, DataType
from hub_onnx.trace import Scaled, Scope, Traced, follow, matrix, scopes, single
from hub_onnx.vectors import AlignedRows, DecodedVector, FilledRows

CONTRIB: Final = "com.microsoft"
CODES: Final[Mapping[int, tuple[str, bool]]] = {
    DataType.UINT2: ("2bit", False),
    DataType.INT2: ("2bit", True),
    DataType.UINT4: ("4bit", False),
    DataType.INT4: ("4bit", True),
    DataType.UINT8: ("8bit", False),
    DataType.INT8: ("8bit", True),
    DataType.FLOAT8E4M3FN: ("f8_e4m3", False),
    DataType.FLOAT8E5M2: ("f8_e5m2", False),
}
"""Types of codes: how layouts spell them, and whether they are signed."""
_WHOLE: Final = {DataType.UINT8, DataType.INT8, DataType.UINT16, DataType.INT16, DataType.INT32}
"""Types of codes of vectors."""
_SCALES: Final[Mapping[int, str]] = {DataType.FLOAT: "", DataType.FLOAT16: "-f16"}


@dataclass(frozen=True)
class Use:
    """A matrix that a node is given.

    Attributes:
        node: the node.
        tensor: numbers or codes.
        shape: (out, in) of the weight.
        layout: the layout's name; "" for plain numbers that lie as (out, in).
        stored: the tensor of each part of the layout.
        by_columns: whether plain numbers or codes lie as (in, out).
        short: bytes of a row of codes whose last block is not filled up; 0 where all are.
    """

    node: Node
    tensor: Initializer
    shape: Shape
    layout: str
    stored: Mapping[str, Initializer]
    by_columns: bool
    short: int = 0


@dataclass(frozen=True)
class Vector:
    """A row of numbers that a node multiplies with or adds: the weight of a norm, a bias."""

    node: Node
    traced: Traced
    role: str


class Collector:
    """Finds the weights of one model.

    Attributes:
        notes: what was found about activations, for the plan.
    """

    def __init__(self, model: ModelProto, files: Files, names: Names) -> None:
        self.model, self.files, self.names = model, files, names
        self.uses: list[Use] = []
        self.vectors: list[Vector] = []
        self.multiplied: set[str] = set()
        """Outputs of nodes with a weight."""
        self.taken: set[str] = set()
        """Scales and zero points of weights, which are no vectors of their own."""
        self.policies: dict[str, int] = {}
        self.notes: list[str] = []

    def tensors(self) -> dict[str, Tensor]:
        """All weights by name, in the order in which the graph uses them.

        Raises:
            FormatError: a weight that cannot be told, or named; names the node.
        """
        for scope in scopes(self.model.graph):
            for node in scope.graph.nodes:
                how = OPERATORS.get((node.domain, node.op))
                if how is not None:
                    how(self, scope, node)
        self.notes += [f"{text} ({count} nodes); weights do not depend on it" for text, count in self.policies.items()]
        return self._named()

    def policy(self, text: str) -> None:
        """Count a way in which activations are computed."""
        self.policies[text] = self.policies.get(text, 0) + 1

    def fault(self, node: Node, message: str, tensor: Initializer | None = None) -> FormatError:
        """An error about a node."""
        return FormatError(
            f"{named(node)}: {message}", path=self.files.source.path, tensor=tensor.name if tensor else None
        )

    # Operators

    def matmul(self, scope: Scope, node: Node) -> None:
        """x @ W, with W (in, out)."""
        if self.matrix(scope, node, node.inputs[1], rows=bool(node.get("transB", 0))):
            self._in_order(scope, node)
        if node.get("alpha", 1.0) != 1.0 and self.uses and self.uses[-1].node is node:
            raise self.fault(node, f"alpha is {node.get('alpha', 1.0)}, a weight is multiplied with 1 only")

    def gemm(self, scope: Scope, node: Node) -> None:
        """x @ W + b, with W (in, out), or (out, in) where transB is 1."""
        found = self.matrix(scope, node, node.inputs[1], rows=bool(node.get("transB", 0)))
        if found and (node.get("alpha", 1.0) != 1.0 or (len(node.inputs) > 2 and node.get("beta", 1.0) != 1.0)):
            raise self.fault(node, "alpha or beta is not 1")
        if found and len(node.inputs) > 2:
            self.vector(scope, node, 2, "bias")

    def gather(self, scope: Scope, node: Node) -> None:
        """Rows of a table; codes of rows are looked at where they are turned into numbers."""
        table = follow(scope, node.inputs[0])
        if table is None or len(table.dims) != 2 or node.get("axis", 0) != 0:
            return
        if self._scales_rows(scope, node.outputs[0]):
            return
        if scope.constant(node.inputs[1]) and self.names.canonical(table.tensor.name) is None:
            return  # some rows of a table of the exporter's own
        if table.scaled is not None or table.tensor.data_type in FLOATS:
            self.matrix(scope, node, node.inputs[0], rows=True)

    def _scales_rows(self, scope: Scope, name: str) -> bool:
        """Whether a value is the scales of rows that are looked up in codes."""
        for _ in range(4):
            users = scope.users(name)
            if len(users) != 1:
                return False
            (user,) = users
            if user.op == "DequantizeLinear":
                return name in user.inputs[1:]
            if user.op not in ("Cast", "Identity"):
                return False
            name = user.outputs[0]
        return False

    def dequantize(self, scope: Scope, node: Node) -> None:
        """Codes of rows of a table that become numbers behind the Gather, with scales of these rows or of all."""
        codes, scale, zero = (self._gathered(scope, name) for name in (*node.inputs[:3], "")[:3])
        if codes is None or codes[1] is None or scale is None:
            return
        if len(node.inputs) > 2 and node.inputs[2] and zero is None:
            raise self.fault(node, "its zero points are no constants")
        table = codes[0]
        by_row = scale[1] is not None
        block = node.get("block_size", 0) if by_row else 0
        axis = 1 if block else 0
        scaled = Scaled(scale[0], zero[0] if zero and node.inputs[2] else None, axis, block)
        self.quantized(node, Traced(table, matrix(table.dims), scaled=scaled), rows=True)

    def _gathered(self, scope: Scope, name: str) -> tuple[Initializer, Node | None] | None:
        """The table behind a value, and the Gather that looks rows up in it, if there is one."""
        node = scope.maker(name) if name else None
        if node is not None and node.op == "Gather" and node.get("axis", 0) == 0:
            table = follow(scope, node.inputs[0])
            return (table.tensor, node) if table and not table.turned and not table.scaled else None
        found = follow(scope, name) if name else None
        return (found.tensor, None) if found and not found.turned and not found.scaled else None

    def matmul_nbits(self, scope: Scope, node: Node) -> None:
        """com.microsoft's MatMulNBits; ContribOperators.md of onnxruntime."""
        b, scale, zero, index, bias = self.constants(scope, node, (1, 2, 3, 4, 5))
        if b is None or scale is None:
            raise self.fault(node, "its weight is no constant")
        if node.get("weight_prepacked", 0):
            raise self.fault(node, "weight_prepacked: its weight lies in the order of one kind of GPU", b)
        told = {key: node.get(key, 0) for key in ("K", "N", "block_size")} | {"bits": node.get("bits", 4)}
        self._blocks(node, (told["N"], told["K"]), told["bits"], told["block_size"], b, scale, zero)
        self._trivial_index(node, index, told["block_size"])
        self._in_order(scope, node)
        if bias is not None:
            self.vector(scope, node, 5, "bias")
        if node.get("accuracy_level", 0) == 4:
            self.policy("the graph asks for int8 activations in MatMulNBits")

    def _in_order(self, scope: Scope, node: Node) -> None:
        """Refuse a product whose input has its columns in another order first."""
        maker = scope.maker(node.inputs[0])
        if maker and maker.op == "Gather" and maker.get("axis", 0) != 0 and scope.constant(maker.inputs[1]) is not None:
            raise self.fault(node, "its input is put in another order of columns before (act-order)")

    def gather_block_quantized(self, scope: Scope, node: Node) -> None:
        """com.microsoft's GatherBlockQuantized: rows of a table of codes."""
        data, scale, zero = self.constants(scope, node, (0, 2, 3))
        if data is None or scale is None:
            raise self.fault(node, "its table is no constant")
        block = node.get("block_size", 128)
        if node.get("gather_axis", 0) != 0 or node.get("quantize_axis", 1) not in (1, -1):
            raise self.fault(node, "it gathers along another axis than rows, or has blocks across them", data)
        if data.data_type == DataType.UINT8:
            bits = node.get("bits", 4)
            width = nbytes(data) * 8 // bits // max(1, data.dims[0]) if data.dims else 0
            self._blocks(node, (data.dims[0] if data.dims else 0, width), bits, block, data, scale, zero)
        else:
            scaled = Scaled(scale, zero, 1, block)
            self.quantized(node, Traced(data, matrix(data.dims), scaled=scaled), rows=True)

    def matmul_integer(self, scope: Scope, node: Node) -> None:
        """MatMulInteger: int8 activations; the weight's scale is multiplied with the result."""
        (codes,) = self.constants(scope, node, (1,))
        if codes is None:
            return
        (zero,) = self.constants(scope, node, (3,))
        scale = self._scale_behind(scope, node)
        if scale is None:
            raise self.fault(node, "nothing behind it multiplies with a constant scale", codes)
        traced = follow(scope, node.inputs[1])
        assert traced is not None
        self.quantized(node, replace(traced, scaled=Scaled(scale, zero, int(not traced.turned))), rows=False)
        self.policy("the graph quantizes activations to int8 at run time")

    def _scale_behind(self, scope: Scope, node: Node) -> Initializer | None:
        """The constant factor among those that the result of an integer product is multiplied with."""
        name = node.outputs[0]
        for _ in range(8):
            users = scope.users(name)
            if len(users) != 1:
                return None
            user = users[0]
            if user.op == "Mul":
                return self._factor(scope, next((one for one in user.inputs if one != name), ""))
            if user.op not in ("Cast", "Identity", "Reshape") or not user.outputs:
                return None
            name = user.outputs[0]
        return None

    def _factor(self, scope: Scope, name: str) -> Initializer | None:
        maker = scope.maker(name)
        found = follow(scope, name)
        if found is not None:
            return found.tensor
        if maker is None or maker.op != "Mul":
            return None
        constants = [one for one in maker.inputs if (known := follow(scope, one)) and known.scaled is None]
        traced = follow(scope, constants[0]) if len(constants) == 1 else None
        return traced.tensor if traced else None

    def multiply(self, scope: Scope, node: Node) -> None:
        """Mul: the weight of a norm, where its input is one."""
        if single(scope, node) is not None:
            return
        for i in range(len(node.inputs)):
            self.vector(scope, node, i, "weight", sure=False)

    def quantize(self, scope: Scope, node: Node) -> None:
        """QuantizeLinear of what is computed: scales of activations that are known beforehand."""
        if scope.constant(node.inputs[0]) is None:
            self.policy("the graph quantizes activations by scales of its own")

    def add(self, scope: Scope, node: Node) -> None:
        """Add: a bias; a number that is added to a weight is seen where the sum is used."""
        if single(scope, node) is not None:
            return
        for i, name in enumerate(node.inputs):
            other = node.inputs[1 - i] if len(node.inputs) == 2 else ""
            self.vector(scope, node, i, "bias", sure=other in self.multiplied and name not in self.multiplied)

    # What operators are given

    def constants(self, scope: Scope, node: Node, which: Sequence[int]) -> Iterator[Initializer | None]:
        """The constants behind some inputs, None for those that are left out or are none."""
        for i in which:
            name = node.inputs[i] if i < len(node.inputs) else ""
            found = _raw(scope, name) if name else None
            yield found

    def matrix(self, scope: Scope, node: Node, name: str, *, rows: bool) -> bool:
        traced = follow(scope, name)
        if traced is None or len(traced.dims) != 2 or traced.added:
            return False
        if traced.scaled is not None:
            self.quantized(node, traced, rows=rows)
            return True
        dtype = DTYPE.get(traced.tensor.data_type)
        if traced.tensor.data_type not in FLOATS or dtype is None:
            return False
        if 1 in traced.dims and scope_of(node) and not self.names.canonical(traced.tensor.name):
            return False  # an outer product, as of positions and frequencies
        by_columns = rows == traced.turned
        shape = traced.dims[::-1] if by_columns else traced.dims
        layout = f"onnx.columns/{dtype}" if by_columns else ""
        self._use(Use(node, traced.tensor, shape, layout, {"data": traced.tensor}, by_columns))
        if traced.narrowed:
            self.policy("the graph rounds weights to 16 bits before it uses them")
        return True

    def quantized(self, node: Node, traced: Traced, *, rows: bool) -> None:
        """Codes with scales along rows or columns."""
        tensor, scaled = traced.tensor, traced.scaled
        assert scaled is not None
        codes = CODES.get(tensor.data_type)
        if codes is None or len(traced.dims) != 2:
            raise self.fault(
                node, f"codes of type {tensor.data_type} and shape {list(tensor.dims)} are not read", tensor
            )
        by_columns = rows == traced.turned
        spelled, signed = codes
        group = self._group(node, traced, 0 if by_columns else 1)
        zero = scaled.zero
        if zero is not None and zero.data_type != tensor.data_type:
            raise self.fault(node, f"zero points of type {zero.data_type}, codes of {tensor.data_type}", zero)
        if zero is not None and spelled.startswith("f8"):
            if np.any(self.files.numbers(zero)):
                raise self.fault(node, "zero points of floats", zero)
            zero = None
        half = _SCALES.get(scaled.scale.data_type)
        if half is None:
            raise self.fault(node, f"scales of number type {scaled.scale.data_type} are not read", scaled.scale)
        family = "onnx.dq" if by_columns else "onnx.rows"
        layout = f"{family}/{spelled}-{group}{'-zero' * (zero is not None)}{'-signed' * signed}{half}"
        shape = traced.dims[::-1] if by_columns else traced.dims
        stored = {"codes": tensor, "scale": scaled.scale} | ({"zero": zero} if zero is not None else {})
        self._use(Use(node, tensor, shape, layout, stored, by_columns))

    def _group(self, node: Node, traced: Traced, along: int) -> str:
        """Who shares a scale, as layouts spell it; `along` is the stored axis that a weight's row runs along."""
        tensor, scaled = traced.tensor, traced.scaled
        assert scaled is not None
        dims, sizes = traced.dims, matrix(scaled.scale.dims)
        axis = scaled.axis if scaled.axis >= 0 else scaled.axis + len(dims)
        count = 1
        for size in sizes:
            count *= size
        if scaled.block:
            wanted = tuple(-(-dim // scaled.block) if i == axis else dim for i, dim in enumerate(dims))
            if scaled.block < 0 or sizes != wanted:
                raise self.fault(node, f"scales {list(sizes)}, blocks of {scaled.block} make it {list(wanted)}", tensor)
            if axis != along:
                raise self.fault(node, "blocks run across the rows of the weight, which no format tells", tensor)
            return f"g{scaled.block}"
        if count == 1:
            return "tensor"
        if count == dims[1 - along] and (len(sizes) == 2 or axis == 1 - along):
            return "channel"
        raise self.fault(
            node, f"scales {list(sizes)} for codes {list(dims)} are not one for each row of the weight", tensor
        )

    def _blocks(
        self,
        node: Node,
        shape: Shape,
        bits: int,
        block: int,
        b: Initializer,
        scale: Initializer,
        zero: Initializer | None,
    ) -> None:
        """Codes in blocks of rows, as MatMulNBits has them."""
        rows, width = shape
        if b.data_type != DataType.UINT8 or not 0 < rows < 1 << 40 or not 0 < width < 1 << 40:
            raise self.fault(node, f"codes of type {b.data_type} for a matrix of {rows} times {width}", b)
        if bits not in (2, 4, 8) or block not in layouts.BLOCKS:
            raise self.fault(node, f"{bits} bits in blocks of {block}; hub reads 2, 4, 8 in {layouts.BLOCKS}", b)
        half = _SCALES.get(scale.data_type)
        if half is None:
            raise self.fault(node, f"scales of number type {scale.data_type} are not read", scale)
        kind, stored = "", {"codes": b, "scale": scale}
        if zero is not None:
            kind, stored = "-zero" if zero.data_type == DataType.UINT8 else "-floatzero", {**stored, "zero": zero}
            if zero.data_type not in (DataType.UINT8, scale.data_type) or (kind == "-floatzero" and bits == 8):
                raise self.fault(node, f"zero points of number type {zero.data_type} are not read", zero)
        layout = f"{layouts.NBITS}/{bits}bit-g{block}{kind}{half}"
        short = width * bits // 8 if node.op == "GatherBlockQuantized" and width % block else 0
        if nbytes(b) != rows * (short or -(-width // block) * block * bits // 8):
            raise self.fault(node, f"codes {list(b.dims)} are not {rows} rows of {width} in blocks of {block}", b)
        self._use(Use(node, b, shape, layout, stored, False, short))

    def _trivial_index(self, node: Node, index: Initializer | None, block: int) -> None:
        if index is None:
            return
        g_idx = self.files.numbers(index)
        if not np.array_equal(np.ravel(g_idx), np.arange(g_idx.size) // block):
            raise self.fault(
                node, "g_idx: columns of a block do not stand together (act-order), for which kernels differ", index
            )

    def _use(self, use: Use) -> None:
        self.uses.append(use)
        self.taken.update(tensor.name for part, tensor in use.stored.items() if part in ("scale", "zero"))
        self.multiplied.update(name for name in use.node.outputs if name)

    def vector(self, scope: Scope, node: Node, which: int, role: str, *, sure: bool = True) -> None:
        name = node.inputs[which] if which < len(node.inputs) else ""
        traced = follow(scope, name) if name else None
        allowed = FLOATS if traced is None or traced.scaled is None else _WHOLE
        if traced is None or traced.turned or traced.tensor.data_type not in allowed:
            return
        sizes = [dim for dim in traced.dims if dim != 1]
        if len(sizes) != 1 or traced.dims[-1] == 1 or traced.tensor.name in self.taken:
            return
        vector = Vector(node, traced, role)
        if self._vector_name(vector) is not None:
            self.vectors.append(vector)
        elif sure:
            raise self.fault(node, "what it is given has no name that the architecture knows", traced.tensor)

    # Names

    def _vector_name(self, vector: Vector) -> str | None:
        scope = scope_of(vector.node)
        for spelled in (vector.traced.tensor.name, f"{scope}.{vector.role}" if scope else ""):
            name = self.names.canonical(spelled) if spelled else None
            shape = self._wanted(name) if name else None
            if name is not None and name.endswith(f".{vector.role}") and (shape is None or len(shape) == 1):
                return name
        return None

    def _wanted(self, name: str) -> Shape | None:
        """The shape that the configuration gives a tensor, or all of those that it is cut into."""
        pieces = [self.names.shapes[piece] for piece in self.names.pieces(name)]
        if name in self.names.shapes or not pieces:
            return self.names.shapes.get(name)
        return (sum(shape[0] for shape in pieces), *pieces[0][1:])

    def _named(self) -> dict[str, Tensor]:
        groups: dict[str, list[Use]] = {}
        for use in self.uses:
            groups.setdefault(use.tensor.name, []).append(use)
        out: dict[str, Tensor] = {}
        owner: dict[str, Initializer] = {}

        def keep(name: str, tensor: Tensor, source: Initializer, node: Node) -> None:
            before = owner.get(name)
            if before is not None and before.name != source.name and not self._same(before, source):
                raise self.fault(node, f"its weight would be {name}, and so is {printable(before.name, 80)}", source)
            if before is None:
                out[name], owner[name] = tensor, source

        for group in groups.values():
            for name, use in self._names(group).items():
                keep(name, self._tensor(name, use), use.tensor, use.node)
        for vector in self.vectors:
            found = self._vector_name(vector)
            assert found is not None
            keep(found, self._vector_tensor(found, vector), vector.traced.tensor, vector.node)
        return self._whole(out)

    def _names(self, group: list[Use]) -> dict[str, Use]:
        """The canonical names of a matrix, by the ways in which it is used: one, or two where the output is tied."""
        own = self.names.canonical(group[0].tensor.name)
        places: dict[str, Use] = {}
        for use in group:
            scope = scope_of(use.node)
            place = self.names.canonical(f"{scope}.weight") if scope else None
            if place is not None:
                places.setdefault(place, use)
        if len(places) > 1:
            for head, table in self.names.tied.items():
                if head in places and table in places and head in self.names.optional:
                    del places[head]
            return places
        name = own or next(iter(places), None)
        if name is None:
            raise self.fault(
                group[0].node,
                "neither its own name nor that of its weight tells which tensor of the model it is",
                group[0].tensor,
            )
        place = next(iter(places), None)
        if own is not None and place is not None and own != place:
            if self.names.tied.get(place) == own:
                return {place: group[0]}  # a table that has become another tensor where rows are looked up
            raise self.fault(
                group[0].node, f"it stands where {place} belongs, its weight is called {own}", group[0].tensor
            )
        return {name: group[0]}

    def _same(self, a: Initializer, b: Initializer) -> bool:
        """Whether two constants are the same numbers; branches of a merged decoder hold small ones twice."""
        if (a.data_type, a.dims) != (b.data_type, b.dims) or nbytes(a) > 1 << 20:
            return False
        return bool(np.array_equal(np.asarray(self.files.numbers(a)), np.asarray(self.files.numbers(b))))

    # Tensors

    def _tensor(self, name: str, use: Use) -> Tensor:
        self._check_shape(name, use)
        turned = name.rpartition(".")[0] in self.names.turned
        if not use.layout or (turned and use.layout.startswith("onnx.columns/")):
            dtype = DTYPE[use.tensor.data_type]
            dims = matrix(use.tensor.dims)
            tensor = Tensor(name, dims, Dense(self.files.part(use.tensor, rows_spec(dtype, dims))), (), use.tensor.name)
            return transposed(tensor) if turned and not use.layout else tensor
        layout = columns.make(use.layout) if use.layout.startswith("onnx.columns/") else layouts.make(use.layout)
        reason = layout.fits(use.shape)
        if reason:
            raise self.fault(use.node, reason, use.tensor)
        parts: dict[str, Part] = {}
        for part, spec in layout.parts(use.shape).items():
            stored = use.stored[part]
            self._check_type(stored, spec)
            shared = nbytes(stored) != spec.nbytes and part == "zero" and use.layout.startswith("onnx.rows/")
            if shared and stored.dims == use.stored["scale"].dims:
                flat = self.files.part(stored, PartSpec(U8, (nbytes(stored),)))
                parts[part] = AlignedRows(spec, flat, BITS[stored.data_type], stored.dims[-1])
            elif part == "codes" and use.short:
                rows = self.files.part(stored, PartSpec(spec.dtype, (use.shape[0], use.short)))
                parts[part] = FilledRows(spec, rows)
            else:
                parts[part] = self.files.part(stored, spec)
        tensor = Tensor(name, use.shape, Packed(use.layout, use.shape, parts), (), use.tensor.name)
        return transposed(tensor) if turned else tensor

    def _check_type(self, tensor: Initializer, spec: PartSpec) -> None:
        dtype = DTYPE.get(tensor.data_type)
        if dtype is not None and dtype != spec.dtype:
            raise self.files.fault(tensor, f"its numbers are {dtype}, those beside it make it {spec.dtype}")

    def _check_shape(self, name: str, use: Use) -> None:
        wanted = self._wanted(name)
        shape = use.shape[::-1] if name.rpartition(".")[0] in self.names.turned else use.shape
        if wanted is not None and shape != wanted:
            raise self.fault(
                use.node, f"{name} is {list(shape)}, the configuration makes it {list(wanted)}", use.tensor
            )

    def _vector_tensor(self, name: str, vector: Vector) -> Tensor:
        tensor = vector.traced.tensor
        dtype = DTYPE[tensor.data_type]
        dims = (max(tensor.dims),)
        wanted = self._wanted(name)
        if wanted is not None and wanted != dims:
            raise self.fault(vector.node, f"{name} is {list(dims)}, the configuration makes it {list(wanted)}", tensor)
        part = self.files.part(tensor, rows_spec(dtype, dims))
        if vector.traced.scaled is not None:
            part = self._decoded(vector.node, part, vector.traced.scaled, dims)
        made = Tensor(name, dims, Dense(part), (), tensor.name)
        module, _, role = name.rpartition(".")
        extra = sum(float(np.ravel(self.files.numbers(one))[0]) for one in vector.traced.added)
        extra -= self.names.plus.get(module, 0.0) if role == "weight" else 0.0
        return shifted(made, extra) if extra else made

    def _decoded(self, node: Node, codes: Part, scaled: Scaled, dims: Shape) -> Part:
        """A vector's numbers out of its codes."""
        parts: list[Part | None] = []
        for tensor in (scaled.scale, scaled.zero):
            dtype = DTYPE.get(tensor.data_type) if tensor else None
            if tensor is None:
                parts.append(None)
            elif dtype is not None and matrix(tensor.dims) in ((), (1,), dims):
                spec = PartSpec(dtype, dims, 0) if tensor.dims == dims else PartSpec(dtype, (1,), None)
                parts.append(self.files.part(tensor, spec))
            else:
                raise self.fault(node, f"scales {list(tensor.dims)} for codes {list(dims)}", tensor)
        scale, zero = parts
        assert scale is not None
        return DecodedVector(rows_spec(F32, dims), codes, scale, zero)

    def _whole(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tensors as the architecture has them: fused ones cut up, pieces put together."""
        out: dict[str, Tensor] = {}
        for name, tensor in found.items():
            pieces = [] if name in self.names.shapes else self.names.pieces(name)
            begin = 0
            for piece in pieces:
                shape = self.names.shapes[piece]
                out[piece] = cut_rows(tensor, begin, begin + shape[0], shape, "rows").renamed(piece)
                begin += shape[0]
            if not pieces:
                out[name] = tensor
            elif begin != tensor.shape[0]:
                raise FormatError(
                    f"{tensor.shape[0]} rows, the configuration makes it {begin}",
                    path=self.files.source.path, tensor=tensor.stored_name,
                )  # fmt: skip
        for name, pieces in self.names.fused():
            if name not in out and all(piece in out for piece in pieces):
                out[name] = concatenated([out.pop(piece) for piece in pieces]).renamed(name)
        return out


def _raw(scope: Scope, name: str) -> Initializer | None:
    """The constant behind an input whose bytes are taken as they lie, whatever shape they are given on the way."""
    for _ in range(64):
        tensor = scope.constant(name)
        if tensor is not None:
            return tensor
        node = scope.maker(name)
        if node is None or node.op not in ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten"):
            return None
        name = node.inputs[0]
    return None


Operator = Callable[[Collector, Scope, Node], None]


def _norm(weight: int, *biases: int) -> Operator:
    """Norms: which inputs are their weight, and their biases."""

    def found(collector: Collector, scope: Scope, node: Node) -> None:
        collector.vector(scope, node, weight, "weight")
        for bias in biases:
            collector.vector(scope, node, bias, "bias")

    return found


def _bias(collector: Collector, scope: Scope, node: Node) -> None:
    """Activations that add a bias themselves."""
    collector.vector(scope, node, 1, "bias")


def _integers(b: int, scale: int, zero: int, bias: int | None = None) -> Operator:
    """Integer products that are given the weight's scale and zero point: which inputs they are."""

    def found(collector: Collector, scope: Scope, node: Node) -> None:
        codes, scales, zeros = collector.constants(scope, node, (b, scale, zero))
        traced = follow(scope, node.inputs[b])
        if codes is None or scales is None or traced is None:
            return
        rows = bool(node.get("transB", 0))
        collector.quantized(node, replace(traced, scaled=Scaled(scales, zeros, int(rows == traced.turned))), rows=rows)
        if bias is not None:
            collector.vector(scope, node, bias, "bias")
        collector.policy("the graph computes with int8 activations")

    return found


def _unread(collector: Collector, scope: Scope, node: Node) -> None:
    """Operators whose weights hub does not take apart."""
    if any(_raw(scope, name) is not None for name in node.inputs if name):
        raise collector.fault(node, f"weights of {node.op} are not read")


def _attention(collector: Collector, scope: Scope, node: Node) -> None:
    """com.microsoft's Attention, which multiplies with q, k and v in one matrix (in, out) itself."""
    if collector.matrix(scope, node, node.inputs[1], rows=False):
        collector.vector(scope, node, 2, "bias")


OPERATORS: Final[Mapping[tuple[str, str], Operator]] = {
    ("", "MatMul"): Collector.matmul,
    (CONTRIB, "FusedMatMul"): Collector.matmul,
    ("", "Gemm"): Collector.gemm,
    ("", "Gather"): Collector.gather,
    ("", "DequantizeLinear"): Collector.dequantize,
    (CONTRIB, "DequantizeLinear"): Collector.dequantize,
    ("", "QuantizeLinear"): Collector.quantize,
    (CONTRIB, "QuantizeLinear"): Collector.quantize,
    ("", "MatMulInteger"): Collector.matmul_integer,
    (CONTRIB, "MatMulNBits"): Collector.matmul_nbits,
    (CONTRIB, "GatherBlockQuantized"): Collector.gather_block_quantized,
    (CONTRIB, "DynamicQuantizeMatMul"): _integers(1, 2, 3, 4),
    (CONTRIB, "MatMulIntegerToFloat"): _integers(1, 3, 5, 6),
    ("", "QLinearMatMul"): _integers(3, 4, 5),
    (CONTRIB, "Attention"): _attention,
    **{(CONTRIB, op): _unread for op in ("QAttention", "QMoE", "MoE", "MatMulBnb4", "MatMulFpQ4", "QGemm")},
    **{(CONTRIB, op): _bias for op in ("FastGelu", "BiasGelu", "BiasAdd", "BiasSplitGelu")},
    ("", "LayerNormalization"): _norm(1, 2),
    ("", "RMSNormalization"): _norm(1),
    ("", "SimplifiedLayerNormalization"): _norm(1),
    (CONTRIB, "SimplifiedLayerNormalization"): _norm(1),
    (CONTRIB, "SkipSimplifiedLayerNormalization"): _norm(2, 3),
    (CONTRIB, "SkipLayerNormalization"): _norm(2, 3, 4),
    ("", "Mul"): Collector.multiply,
    ("", "Add"): Collector.add,
}
"""Operators that take weights, by domain and type."""
