"""Tensors of a folder that belong together: `P.qweight`, `P.scales` and the like of one module P."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from hub.api import FormatError, Packed, Part, PartSpec, Shape, Tensor


def modules(tensors: Mapping[str, Tensor], leader: str) -> Iterator[tuple[str, Tensor]]:
    """The modules that have a tensor `leader`, and that tensor, in the order of the files."""
    for name, tensor in tensors.items():
        prefix, dot, last = name.rpartition(".")
        if dot and last == leader:
            yield prefix, tensor


def partner(tensors: Mapping[str, Tensor], prefix: str, role: str, *, beside: str) -> Tensor:
    """A tensor that a module cannot be without.

    Raises:
        FormatError: it is not there.
    """
    found = tensors.get(f"{prefix}.{role}")
    if found is None:
        raise fault(tensors[f"{prefix}.{beside}"], f"{prefix}.{role}, which belongs to it, is missing")
    return found


def fault(tensor: Tensor, message: str, *, remedy: str | None = None) -> FormatError:
    """An error about a stored tensor, with its file and offset."""
    span = next(iter(tensor.parts.values())).span
    return FormatError(
        message,
        path=span.source.path if span else None,
        tensor=tensor.stored_name,
        offset=span.offset if span else None,
        remedy=remedy,
    )


def told(tensor: Tensor, spec: PartSpec) -> Part:
    """The part of a stored tensor, told with the axes that a layout gives it.

    Raises:
        FormatError: another number type, or another number of bytes.
    """
    (part,) = tensor.parts.values()
    if part.spec.dtype != spec.dtype:
        raise fault(tensor, f"its numbers are {part.spec.dtype}, allowed is {spec.dtype}")
    if part.spec.nbytes != spec.nbytes:
        raise fault(tensor, f"shape {list(tensor.shape)}, the tensors beside it make it {list(spec.shape)}")
    made: Part = replace(part, spec=spec)  # type: ignore[type-var]
    return made


def packed(name: str, shape: Shape, layout: str, specs: Mapping[str, PartSpec], stored: Mapping[str, Tensor]) -> Tensor:
    """One weight of stored tensors.

    Args:
        specs: the layout's parts.
        stored: the tensor of each.

    Raises:
        FormatError: a stored tensor is not what the layout says.
    """
    parts = {part: told(stored[part], spec) for part, spec in specs.items()}
    return Tensor(name, shape, Packed(layout, shape, parts))


def dense_beside(tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Raises:
    FormatError: a module that is quantized has its weight as plain numbers, too.
    """
    double = tensors.get(f"{prefix}.weight")
    if double is not None:
        raise fault(double, "the same module is there quantized, too; which of the two is meant cannot be known")
