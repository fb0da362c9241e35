"""Format, Reader, Writer: what a plugin brings so that hub can read and write its files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hub.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from hub.architecture import Configured
    from hub.ir.model import Model
    from hub.ir.part import Shape
    from hub.ir.tensor import Tensor
    from hub.ir.tokenizer import Tokenizer
    from hub.recipe import Recipe

API_VERSION = (1, 0)
"""Major and minor version of everything in `hub.api`. A plugin of another major is not loaded."""


@dataclass(frozen=True)
class Format:
    """What a plugin registers for one format: names only, nothing is imported before it is used.

    Attributes:
        name: the word a user types.
        summary: one line for `hub formats`.
        detect: ``module:function`` of ``(path: str, head: bytes, names: Sequence[str]) -> int``: how sure
            it is, 0 to 100, that `path` is of this format; `head` are its first 512 bytes (empty for a
            folder), `names` the files in it (empty for a file).
        reader: ``module:class`` of a `Reader`, or None for formats that are only written.
        writer: ``module:class`` of a `Writer`, or None for formats that are only read.
        importance: ``module:class`` of an `ImportanceFile`, or None for formats that have no such files.
        variants: what may follow the name after a colon, with a line about each.
        needs: packages that are not part of hub, as ``{"onnx": "pip install weighthub[onnx]"}``.
        api: the API version that the plugin was written for.
    """

    name: str
    summary: str
    detect: str
    reader: str | None = None
    writer: str | None = None
    importance: str | None = None
    variants: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    api: tuple[int, int] = API_VERSION


@dataclass(frozen=True)
class LayoutEntry:
    """Registers a layout, or a family of layouts.

    `factory` is ``module:callable`` and gives a `Layout` for a name: `name` itself, or `name` with parameters after
    a slash, as ``mlx.affine/4bit-g64``, where one class serves many widths and group sizes.

    Attributes:
        examples: full names of members of a family that the conformance kit shall try, beside those that the
            plugin's variants give.
    """

    name: str
    factory: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class QuantizerEntry:
    """Registers a quantizer for a layout or a family of layouts; the first one registered is the default.

    `factory` is ``module:callable`` and gives a `Quantizer` for the layout's full name.
    """

    name: str
    layout: str
    factory: str


class Reader(ABC):
    """Opens paths of one format."""

    @abstractmethod
    def open(self, path: str) -> Model:
        """Read and check headers; read no tensor data.

        Raises:
            HubError: with file, tensor and offset, for everything that the format does not allow.
        """

    def check(self, model: Model) -> Sequence[str]:
        """Further faults of an opened model that only `hub check` looks for: companion files, values of
        metadata. One line each."""
        return ()


@dataclass(frozen=True)
class Request:
    """What the user asked of a conversion, beside source and target.

    Attributes:
        variant: the word after the colon, or "" for none.
        recipe: per-tensor rules and settings.
        source_name: file or folder name of the source, which some metadata derive from.
        importance: figures that quantizers weight errors with, if the user gives any.
    """

    variant: str
    recipe: Recipe
    source_name: str
    importance: GivenImportance | None = None


@dataclass(frozen=True)
class Assignment:
    """A Writer's decision about one tensor.

    Attributes:
        tensor: the tensor, already under the target's name and transforms.
        layout: the name of the layout that it shall have.
        reason: why not what the variant says at first: a mixture, a fallback, a user's rule.
        fallback: whether the shape forced another layout than the one wanted.
    """

    tensor: Tensor
    layout: str
    reason: str = ""
    fallback: bool = False


@dataclass(frozen=True)
class Laid:
    """What a Writer needs to know of a tensor to place it: names and sizes, no data.

    Attributes:
        parts: bytes of each part of its layout.
    """

    name: str
    shape: Shape
    layout: str
    parts: Mapping[str, int]


@dataclass(frozen=True)
class PlannedFile:
    """A file of the output, complete but for tensor data.

    Attributes:
        name: relative to the output folder; ignored when the output is one file.
        size: bytes in all.
        literals: (offset, bytes) known now: headers, padding that is not zero, small files. What
            stands at offset 0 is written last.
        placed: (tensor name, part name) -> offset.
    """

    name: str
    size: int
    literals: Sequence[tuple[int, bytes]] = ()
    placed: Mapping[tuple[str, str], int] = field(default_factory=dict)


class Writer(ABC):
    """Decides everything about an output before its first byte. It never touches a disk: the pipeline
    fills the files that `lay_out` describes, tensors in any order, and does the rest (temporary
    name, fsync, verification, rename).

    Attributes:
        convention: whose names and transforms its tensors follow; see `Model.convention`.
        folder: whether the output is a folder.
    """

    convention: str = ""
    folder: bool = False

    @abstractmethod
    def default_name(self, source_name: str, request: Request) -> str:
        """The name, in the ecosystem's habit, of an output for which the user gave none."""

    @abstractmethod
    def assign(
        self, tensors: Sequence[Tensor], configured: Configured | None, request: Request
    ) -> tuple[Sequence[Assignment], Sequence[str]]:
        """Order the tensors and choose a layout for each.

        Args:
            tensors: under the target's names, with its transforms applied.
            configured: architecture and configuration; None when the model has no known one and the
                user asked to carry it over unchanged.

        Returns:
            The tensors in the order of the output, and notes for the plan.

        Raises:
            HubError: an unknown variant or layout, a tensor that the format cannot hold.
        """

    @abstractmethod
    def lay_out(
        self,
        tensors: Sequence[Laid],
        model: Model,
        configured: Configured | None,
        tokenizer: Tokenizer | None,
        request: Request,
    ) -> tuple[Sequence[PlannedFile], Mapping[str, Any], Sequence[str]]:
        """Place every part in files and make all headers.

        Returns:
            The files, the metadata that they carry (for `hub plan`), and notes for the plan.
        """


@dataclass(frozen=True)
class Importance:
    """How much the inputs of one tensor weigh, from running the model on a text.

    Attributes:
        name: the format's name of the tensor.
        sums: (matrices, in) f64, sum of the squares of every input column; one matrix, or one for each expert.
        counts: (matrices,) int64, rows that each met.
    """

    name: str
    sums: np.ndarray[Any, np.dtype[np.float64]]
    counts: np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class CalibrationText:
    """The text behind figures of importance: its name, and how many chunks of how many tokens were run."""

    name: str
    chunks: int
    context: int


@dataclass(frozen=True)
class GivenImportance:
    """Figures of importance that the user gives for a conversion.

    Attributes:
        path: of their file, as the user spelled it.
        convention: whose tensor names they go by.
        found: by these names.
        text: what they were made from; None where the file does not say.
    """

    path: str
    convention: str
    found: Mapping[str, Importance]
    text: CalibrationText | None = None


class ImportanceFile(ABC):
    """A format's file of figures of importance, which its quantizers weight errors with.

    Attributes:
        convention: whose tensor names it uses; see `Model.convention`.
    """

    convention: str = ""

    @abstractmethod
    def covers(self, name: str, *, output: bool) -> bool:
        """Whether such files tell of a tensor, by the format's name.

        Args:
            output: whether the user asked for the output matrix, too.
        """

    @abstractmethod
    def encode(self, found: Sequence[Importance], text: CalibrationText) -> Sequence[bytes]:
        """The bytes of a file, in pieces.

        Args:
            found: sorted by name.

        Raises:
            HubError: something that the format cannot hold.
        """

    def decode(self, path: str) -> tuple[Sequence[Importance], CalibrationText | None]:
        """The figures of a file, and the text behind them; the inverse of `encode`.

        Raises:
            HubError: it is no such file, or a damaged one.
        """
        raise UsageError("importance files of this format are written, not read", path=path)
