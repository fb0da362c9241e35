"""Scheme: the meaning of a layout's numbers without the numbers, which is what planning needs."""

from __future__ import annotations

from dataclasses import dataclass

from hub.dtypes import DType, widens
from hub.ir.groups import Blocks, Groups
from hub.ir.values import Affine, Codebook, Const


@dataclass(frozen=True)
class Stored:
    """A number per group, stored in this type."""

    dtype: DType


@dataclass(frozen=True)
class Scheme:
    """`hub.ir.values.Quantized` with types in the place of data; see there for the fields."""

    values: Affine | Codebook
    groups: Groups
    scale: Field
    zero: Field = Const(0.0)
    offset: Field = Const(0.0)
    signs: bool = False


Field = Const | Stored | Scheme


def misfit(source: Scheme, target: Scheme) -> str | None:
    """Why codes and fields of `source` cannot always be carried into `target` unchanged.

    The answer holds for every possible value: None means that unpack -> pack keeps every weight
    bit-equal in f32. A layout whose answer depends on the numbers says so in its own `can_hold`.
    """
    if not _values_fit(source.values, target.values):
        return f"codes {_name(source.values)} do not fit {_name(target.values)}"
    if not _groups_fit(source.groups, target.groups):
        return f"groups {source.groups} cannot be told as {target.groups}"
    if source.signs != target.signs:
        return "one keeps signs apart from codes, the other does not"
    for name in ("scale", "zero", "offset"):
        reason = _field_misfit(getattr(source, name), getattr(target, name))
        if reason:
            return f"{name}: {reason}"
    return None


def always_fits(scheme: Scheme, dtype: DType) -> bool:
    """Whether every weight that codes of `scheme` can mean is a number of `dtype`, infinities and NaN included.

    Answered where the weights can be listed (table times table, as in 4-bit floats) or are a stored number and its
    negative (ternary weights); False otherwise.
    """
    import numpy as np

    scales = [scheme.scale.value] if isinstance(scheme.scale, Const) else _scales(scheme.scale)
    if scheme.offset != Const(0.0) or (scales is None and not isinstance(scheme.scale, Stored)):
        return False
    table = _table(scheme)
    if table is None:
        return False
    if isinstance(scheme.scale, Stored):
        return set(table) <= {-1.0, 0.0, 1.0} and widens(scheme.scale.dtype, dtype)
    with np.errstate(all="ignore"):
        weights = np.multiply.outer(np.array(scales, np.float32), np.array(table, np.float32))
        narrow = weights.astype(dtype.numpy()).astype(np.float32)
    same = (weights.view(np.uint32) == narrow.view(np.uint32)) | (np.isnan(weights) & np.isnan(narrow))
    return bool(same.all())


def _table(scheme: Scheme) -> list[float] | None:
    """All values of a code less the zero, where they are few."""
    values = scheme.values
    if not isinstance(scheme.zero, Const) or (isinstance(values, Affine) and (values.dtype or values.bits > 8)):
        return None
    if isinstance(values, Codebook):
        return [value - scheme.zero.value for value in values.table]
    low = -(1 << (values.bits - 1)) if values.signed else 0
    return [code - scheme.zero.value for code in range(low, low + (1 << values.bits))]


def _scales(scale: Scheme | Stored) -> list[float] | None:
    """All values of a scale that is looked up and not scaled itself."""
    if isinstance(scale, Stored) or scale.scale != Const(1.0) or scale.offset != Const(0.0):
        return None
    return _table(scale)


def _name(values: Affine | Codebook) -> str:
    if isinstance(values, Codebook):
        vectors = f" vectors of {values.width}" if values.width > 1 else ""
        return f"codebook of {len(values.table) // values.width}{vectors}"
    if values.dtype is not None:
        return values.dtype.name
    return f"{'i' if values.signed else 'u'}{values.bits}"


def _values_fit(source: Affine | Codebook, target: Affine | Codebook) -> bool:
    if isinstance(source, Affine) and isinstance(target, Affine):
        same_kind = source.signed == target.signed and source.dtype == target.dtype
        return same_kind and source.bits <= target.bits
    # Zeros of either sign are equal as numbers, and not the same weight.
    return source == target and (isinstance(source, Affine) or _same_signs(source, target))


def _same_signs(source: Codebook, target: Affine | Codebook) -> bool:
    from math import copysign

    assert isinstance(target, Codebook)
    return all(copysign(1, a) == copysign(1, b) for a, b in zip(source.table, target.table, strict=True) if a == 0)


def _groups_fit(source: Groups, target: Groups) -> bool:
    if source == target:
        return True
    if not isinstance(source, Blocks) or not isinstance(target, Blocks):
        return False
    # A larger group is told by smaller ones that repeat its scale.
    return all(t == s or (t > 0 and (s == 0 or s % t == 0)) for s, t in zip(source.shape, target.shape, strict=True))


def _stores(dtype: DType, value: float) -> bool:
    import numpy as np

    with np.errstate(all="ignore"):
        return bool(np.float64(value).astype(dtype.numpy()) == value)


def _field_misfit(source: Field, target: Field) -> str | None:
    if isinstance(source, Const) and isinstance(target, Const):
        return None if source == target else f"{source.value} is not {target.value}"
    if isinstance(target, Const):
        return f"the target has none beside {target.value}"
    if isinstance(source, Stored) and isinstance(target, Stored):
        if widens(source.dtype, target.dtype):
            return None
        return f"{source.dtype} values need not fit {target.dtype}"
    if isinstance(source, Scheme) and isinstance(target, Scheme):
        return misfit(source, target)
    if isinstance(source, Const) and isinstance(target, Stored):
        return None if _stores(target.dtype, source.value) else f"{source.value} is no {target.dtype}"
    if isinstance(source, Scheme) and isinstance(target, Stored) and target.dtype.name == "f32":
        # One f32 product of a stored scale and a small code is what decoding computes anyway.
        return None
    return "the target stores it in another way"
