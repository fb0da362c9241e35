"""Everything a plugin may use, and the only module of hub that plugins import.

Names here keep their meaning within one major version of `API_VERSION`.
"""

from __future__ import annotations

from hub._version import __version__ as HUB_VERSION  # noqa: N812
from hub.architecture import Architecture, Configured, Convention, Metadatum, configure
from hub.architecture import known as known_architectures
from hub.consumer import Check, CheckEntry, Room, Session, Setting
from hub.dtypes import BF16, DTYPES, F16, F32, F64, I8, I32, U8, U32, DType
from hub.errors import (
    ArchitectureError,
    ConfigError,
    FormatError,
    HubError,
    MissingDependency,
    PluginError,
    UsageError,
    printable,
)
from hub.format import (
    API_VERSION,
    Assignment,
    CalibrationText,
    Format,
    GivenImportance,
    Importance,
    ImportanceFile,
    Laid,
    LayoutEntry,
    PlannedFile,
    QuantizerEntry,
    Reader,
    Request,
    Writer,
)
from hub.graph import Node as GraphNode
from hub.holding import keeper
from hub.hookspecs import hookimpl
from hub.io import strict_json
from hub.io.cursor import Cursor, checked_product, padded
from hub.io.folder import Folder
from hub.io.source import FileSource
from hub.io.strangers import refuse_strangers
from hub.ir.groups import Blocks, Index
from hub.ir.model import About, Model
from hub.ir.part import ArrayPart, FilePart, Part, PartSpec, Shape, row_count, row_length, rows_spec
from hub.ir.scheme import Scheme, Stored, misfit
from hub.ir.tensor import Packed, Tensor
from hub.ir.tokenizer import Tokenizer, TokenizerRule, TokenType
from hub.ir.values import Affine, Codebook, Const, Dense, Quantized
from hub.layout import DenseLayout, Holding, Layout
from hub.microscaling import E4M3_END, E8M0, HALF_E8M0, HALF_UE4M3, TWICE_E2M1
from hub.quantizer import Calibration, Quantizer
from hub.recipe import Recipe, Rule
from hub.rotary import rotary_frequencies
from hub.schemes import plain_layout, scheme_of
from hub.tokens.encoder import Encoder
from hub.tokens.tokenizer_json import added_tokens, named_tokens, tokenizer_json, unique_texts
from hub.transforms import cast, concatenated, cut_rows, gather_rows, shifted, transposed

__all__ = [
    "API_VERSION",
    "BF16",
    "DTYPES",
    "E4M3_END",
    "E8M0",
    "F16",
    "F32",
    "F64",
    "HALF_E8M0",
    "HALF_UE4M3",
    "HUB_VERSION",
    "I8",
    "I32",
    "TWICE_E2M1",
    "U8",
    "U32",
    "About",
    "Affine",
    "Architecture",
    "ArchitectureError",
    "ArrayPart",
    "Assignment",
    "Blocks",
    "Calibration",
    "CalibrationText",
    "Check",
    "CheckEntry",
    "Codebook",
    "ConfigError",
    "Configured",
    "Const",
    "Convention",
    "Cursor",
    "DType",
    "Dense",
    "DenseLayout",
    "Encoder",
    "FilePart",
    "FileSource",
    "Folder",
    "Format",
    "FormatError",
    "GivenImportance",
    "GraphNode",
    "Holding",
    "HubError",
    "Importance",
    "ImportanceFile",
    "Index",
    "Laid",
    "Layout",
    "LayoutEntry",
    "Metadatum",
    "MissingDependency",
    "Model",
    "Packed",
    "Part",
    "PartSpec",
    "PlannedFile",
    "PluginError",
    "Quantized",
    "Quantizer",
    "QuantizerEntry",
    "Reader",
    "Recipe",
    "Request",
    "Room",
    "Rule",
    "Scheme",
    "Session",
    "Setting",
    "Shape",
    "Stored",
    "Tensor",
    "TokenType",
    "Tokenizer",
    "TokenizerRule",
    "UsageError",
    "Writer",
    "added_tokens",
    "cast",
    "checked_product",
    "concatenated",
    "configure",
    "cut_rows",
    "gather_rows",
    "hookimpl",
    "keeper",
    "known_architectures",
    "misfit",
    "named_tokens",
    "padded",
    "plain_layout",
    "printable",
    "refuse_strangers",
    "rotary_frequencies",
    "row_count",
    "row_length",
    "rows_spec",
    "scheme_of",
    "shifted",
    "strict_json",
    "tokenizer_json",
    "transposed",
    "unique_texts",
]
