"""The files of a model: which of a folder's it is, and where its tensors lie.

Tensors outside the model's file are named by a location that is relative to its folder. Names out of a file are
hostile until shown otherwise, and `hub.api.Folder` has the rule for all of them: what they lead to must be a regular
file inside the folder, or in the blobs of the Hugging Face cache that the folder is a snapshot of. Symbolic and hard
links within that are fine; the checks of onnx and onnxruntime are stricter with some and laxer with others.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from hub.api import (
    DTYPES,
    U8,
    ArrayPart,
    DType,
    FilePart,
    FileSource,
    Folder,
    FormatError,
    HubError,
    Part,
    PartSpec,
    printable,
)
from hub_onnx.detect import MODEL
from hub_onnx.model import Initializer
from hub_onnx.proto import BITS, DataType

DTYPE: Final[Mapping[int, DType]] = {
    DataType.FLOAT: DTYPES["f32"],
    DataType.FLOAT16: DTYPES["f16"],
    DataType.BFLOAT16: DTYPES["bf16"],
    DataType.DOUBLE: DTYPES["f64"],
    DataType.UINT8: DTYPES["u8"],
    DataType.INT8: DTYPES["i8"],
    DataType.UINT16: DTYPES["u16"],
    DataType.INT16: DTYPES["i16"],
    DataType.INT32: DTYPES["i32"],
    DataType.INT64: DTYPES["i64"],
    DataType.UINT32: DTYPES["u32"],
    DataType.UINT64: DTYPES["u64"],
    DataType.BOOL: DTYPES["bool"],
    DataType.FLOAT8E4M3FN: DTYPES["f8_e4m3"],
    DataType.FLOAT8E5M2: DTYPES["f8_e5m2"],
    DataType.FLOAT8E8M0: DTYPES["f8_e8m0"],
}
"""hub's number type of those that have one; smaller ones are packed bytes."""
FLOATS: Final = {DataType.FLOAT, DataType.FLOAT16, DataType.BFLOAT16, DataType.DOUBLE}
_FIRST: Final = (MODEL, "decoder_model_merged.onnx", "decoder_with_past_model.onnx", "decoder_model.onnx")
"""Names of the file that has all weights, in order of preference where a folder has several."""
SUBFOLDER: Final = "onnx"
"""Where repositories of several formats keep theirs."""


def choose(folder: Folder, wanted: str | None = None) -> str:
    """The name of the model's file in a folder.

    Args:
        wanted: the name that genai_config.json gives it.

    Raises:
        FormatError: there is none, or several and none of them is the usual one.
    """
    names = [name for name in folder.names() if name.endswith(".onnx")]
    if wanted is not None:
        return wanted
    for name in _FIRST:
        if name in names:
            return name
    if len(names) == 1:
        return names[0]
    if names:
        raise FormatError(
            f"{len(names)} models in one folder ({', '.join(printable(name, 40) for name in names[:4])}, ...)",
            path=folder.root,
            remedy="give the path of the one that is meant",
        )
    raise FormatError("no file that ends in .onnx", path=folder.root)


class Files:
    """The model's file and those beside it that tensors lie in, each opened once.

    Attributes:
        opened: all of them, for `Model.sources`.
    """

    def __init__(self, folder: Folder, source: FileSource, name: str) -> None:
        self.folder, self.source, self.name = folder, source, name
        self.opened: list[FileSource] = [source]
        self._by_location: dict[str, FileSource] = {}

    def part(self, tensor: Initializer, spec: PartSpec) -> Part:
        """The numbers of a tensor, told with another type and other axes of as many bytes.

        Raises:
            FormatError: the file is not there or outside the folder, or the tensor leaves it.
        """
        import numpy as np

        wanted = nbytes(tensor)
        if spec.nbytes != wanted:
            raise self.fault(tensor, f"shape {list(tensor.dims)}, those beside it make it {list(spec.shape)}")
        if tensor.inline is not None:
            if len(tensor.inline) != wanted:
                raise self.fault(tensor, f"{len(tensor.inline)} bytes of data, its shape needs {wanted}")
            return ArrayPart(np.frombuffer(tensor.inline, np.uint8).view(spec.dtype.numpy()).reshape(spec.shape), spec)
        if tensor.at is not None:
            return FilePart(spec, self.source, tensor.at)
        source, offset = self._outside(tensor, wanted)
        return FilePart(spec, source, offset)

    def numbers(self, tensor: Initializer, limit: int = 1 << 20) -> Any:
        """A small tensor as an array; one of a type that NumPy lacks as its bytes.

        Raises:
            FormatError: as `part`, or it is larger than `limit` bytes.
        """
        size = nbytes(tensor)
        if size > limit:
            raise self.fault(tensor, f"{size} bytes, at most {limit} are looked at here")
        dtype = DTYPE.get(tensor.data_type)
        spec = PartSpec(dtype, tensor.dims, None) if dtype else PartSpec(U8, (size,), None)
        return self.part(tensor, spec).load(0, 0)

    def fault(self, tensor: Initializer, message: str) -> FormatError:
        """An error about a tensor, with its file and offset where they are known."""
        if tensor.external is not None:
            return FormatError(
                message,
                path=self.folder.root / tensor.external.location if self._plain(tensor) else self.source.path,
                tensor=tensor.name,
                offset=tensor.external.offset,
            )
        return FormatError(message, path=self.source.path, tensor=tensor.name, offset=tensor.at)

    def _plain(self, tensor: Initializer) -> bool:
        assert tensor.external is not None
        return tensor.external.location in self._by_location

    def _outside(self, tensor: Initializer, wanted: int) -> tuple[FileSource, int]:
        external = tensor.external
        if external is None:
            raise self.fault(tensor, "it has no data")
        source = self._by_location.get(external.location)
        if source is None:
            source = self._open(external.location, tensor)
        if external.length is not None and external.length != wanted:
            raise self.fault(
                tensor, f"external_data says {external.length} bytes, shape {list(tensor.dims)} needs {wanted}"
            )
        if external.offset + wanted > source.size:
            raise self.fault(
                tensor, f"truncated: its data ends at byte {external.offset + wanted}, the file has {source.size}"
            )
        return source, external.offset

    def _open(self, location: str, tensor: Initializer) -> FileSource:
        where = self.source.path
        # Some tools write ./model.onnx.data; nothing else that is not a plain name is let through.
        name = location.removeprefix("./")
        try:
            source = self.folder.open(name, named_in=where)
        except HubError as error:
            if not isinstance(error, FormatError) and not self.folder.exists(name):
                raise FormatError(
                    f"its data lies in {printable(location, 120)}, which is missing",
                    path=where,
                    tensor=tensor.name,
                    remedy="download it, too, and put it beside the model",
                ) from None
            raise error.at(tensor=tensor.name) from None
        self.opened.append(source)
        self._by_location[location] = source
        return source


def open_files(folder: Folder, name: str) -> Files:
    """Open a model's file.

    Raises:
        HubError: it is not there, or outside the folder.
    """
    return Files(folder, folder.open(name), name)


def folder_and_name(path: str) -> tuple[Folder, str | None]:
    """The folder of a path, and the file's name where the path is that of a file."""
    if os.path.isdir(path):
        return Folder(path), None
    return Folder(os.path.dirname(path) or "."), os.path.basename(path)


def nbytes(tensor: Initializer) -> int:
    """Bytes of a tensor, by type and shape; 0 for texts."""
    count = 1
    for dim in tensor.dims:
        count *= dim
    return -(-count * BITS.get(tensor.data_type, 0) // 8)
