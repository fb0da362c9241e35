"""Model: what a Reader makes of a path, and the start of every data flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hub.ir.tensor import Tensor

if TYPE_CHECKING:
    from hub.architecture import Architecture
    from hub.io.source import FileSource
    from hub.ir.tokenizer import Tokenizer


@dataclass(frozen=True)
class About:
    """What is said about a model beside its weights.

    Attributes:
        readme: the model card, Markdown with YAML front matter; None when there is none.
        generation: generation settings under Hugging Face's keys.
        notes: what could not be read.
    """

    readme: str | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass
class Model:
    """An opened model. Headers have been read and checked, tensor data has not.

    Attributes:
        format: the name of the format that read it.
        path: what was opened.
        convention: whose names and transforms the tensors follow: a key of `formats` in the
            architecture files, or "" for the canonical ones.
        tensors: by stored name, in stored order.
        architecture: what the files call the model's architecture (`LlamaForCausalLM`, `llama`), or
            None when they do not say.
        config: the configuration as the format stores it, parsed but not interpreted: config.json
            of a Hugging Face folder, the key-values of a GGUF file.
        config_path: the file that `config` stands in, for messages; empty when it is `path` itself.
        metadata: further facts about the file for `hub inspect` (version, counts, header members).
        hyperparameters: the configuration under canonical (Hugging Face's) keys, for the architecture
            whose file is given; where `config` has those keys already it is the same mapping.
        load_tokenizer: reads the tokenizer; separate because it is costly and not every use needs it.
        load_about: reads the model card and generation settings.
        sources: every open file, so that a change while reading is noticed and all can be closed.
        beside: tensors that are no weights of the model, whatever its architecture, with what they are: they stay in
            a file of the same convention and do not go into another.
        companions: names of further files of the model (templates, licences, generation settings).
        notes: what the reader tolerated and the user should know.
        incomplete: what keeps it from being more than looked at; empty where nothing does.
    """

    format: str
    path: str
    convention: str
    tensors: Mapping[str, Tensor]
    architecture: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    config_path: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    hyperparameters: Callable[[Architecture], Mapping[str, Any]] = lambda _: {}
    load_tokenizer: Callable[[Architecture | None], Tokenizer | None] = lambda _: None
    load_about: Callable[[], About] = About
    sources: Sequence[FileSource] = ()
    beside: Mapping[str, str] = field(default_factory=dict)
    companions: Sequence[str] = ()
    notes: Sequence[str] = ()
    incomplete: str = ""

    def check_unchanged(self) -> None:
        """Raises:
        ChangedError: a file is not what it was when it was opened.
        """
        for source in self.sources:
            source.check_unchanged()

    def close(self) -> None:
        """Close all files."""
        for source in self.sources:
            source.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
