"""What reader and writer share: where everything lies.

8 bytes   magic
8 bytes   length of the header, little-endian
header    JSON: architecture, config, tensors: name -> {shape, layout}
data      the parts of the tensors in the order of the header, each at the next multiple of 64
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from hub.api import DTYPES, PartSpec, Shape, padded, rows_spec

PREFIX = 16
ALIGNMENT = 64
DENSE = ("f32", "f16", "bf16")
LAYOUTS = (*DENSE, "toy.column8")


def specs(layout: str, shape: Shape) -> Mapping[str, PartSpec]:
    """The parts of a tensor.

    Raises:
        HubError: the layout cannot have that shape.
    """
    if layout in DENSE:
        return {"data": rows_spec(DTYPES[layout], shape)}
    from hub_toy.column8 import Column8

    return Column8(layout).parts(shape)


def placed(sizes: Iterable[int], header: int) -> Iterator[int]:
    """Offsets of parts of these sizes behind a header of that length, and last the size of the file."""
    position = padded(PREFIX + header, ALIGNMENT)
    for size in sizes:
        yield position
        position = padded(position + size, ALIGNMENT)
    yield position
