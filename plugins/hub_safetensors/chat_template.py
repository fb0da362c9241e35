"""Chat templates of a Hugging Face folder: found and carried as text, never rendered."""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from typing import Any, Final

from hub.api import Folder, FormatError, printable
from hub_safetensors.members import Members
from hub_safetensors.tokenizer_files import load

JINJA: Final = "chat_template.jinja"
JSON: Final = "chat_template.json"
MORE: Final = "additional_chat_templates"
MAX_TEMPLATES: Final = 256

_NAME_LETTERS: Final = frozenset(string.ascii_letters + string.digits)


@dataclass(frozen=True)
class ChatTemplates:
    """The default template and the named ones."""

    default: str | None = None
    named: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_chat_templates(folder: Folder, config: Members | None) -> ChatTemplates:
    """The templates that llama.cpp's converter finds.

    A member of tokenizer_config.json comes first, even null; then chat_template.jinja with
    additional_chat_templates/NAME.jinja; then chat_template.json. Without a
    tokenizer_config.json there is no template (gguf-py, SpecialVocab).

    Raises:
        FormatError: a list of templates holds something else, or names too many.
    """
    if config is None:
        return ChatTemplates()
    if config.has("chat_template"):
        found = config.raw("chat_template")
        if isinstance(found, dict):
            return ChatTemplates(
                notes=("tokenizer_config.json: chat_template is an object, neither text nor a list; left out",)
            )
        return _templates(config)
    if folder.exists(JINJA):
        default = _text(folder, JINJA)
        more = _additional(folder)
        return _listed([("default", default), *more]) if more else ChatTemplates(default)
    beside = load(folder, JSON)
    return _templates(beside) if beside is not None else ChatTemplates()


def _templates(members: Members) -> ChatTemplates:
    found: Any = members.raw("chat_template")
    if found is None or isinstance(found, str):
        return ChatTemplates(found)
    if not isinstance(found, list):
        raise members.refuse("chat_template", "text or a list of objects")
    pairs = []
    for entry in members.members("chat_template"):
        template = entry.text("template")
        if template is not None:
            pairs.append((entry.text("name") or "", template))
    if len(pairs) > MAX_TEMPLATES:
        raise members.refuse("chat_template", f"a list of at most {MAX_TEMPLATES} templates")
    return _listed(pairs)


def _listed(pairs: list[tuple[str, str]]) -> ChatTemplates:
    default = None
    named: dict[str, str] = {}
    for name, template in pairs:
        # A name becomes part of a GGUF key, so whatever is no letter or digit becomes a "_" first.
        name = "".join(c if c in _NAME_LETTERS else "_" for c in name)
        if name == "default":
            default = template
        elif name:
            named[name] = template
    return ChatTemplates(default, named)


def _text(folder: Folder, name: str) -> str:
    # Text files are read with universal newlines by every other reader.
    return folder.text(name).replace("\r\n", "\n").replace("\r", "\n")


def _additional(folder: Folder) -> list[tuple[str, str]]:
    if not folder.exists(MORE):
        return []
    path = folder.path(MORE)
    names = [name for name in Folder(path).names() if name.endswith(".jinja")]
    if len(names) > MAX_TEMPLATES:
        raise FormatError(f"{len(names)} templates, at most {MAX_TEMPLATES} are allowed", path=printable(path, 200))
    return [(name.removesuffix(".jinja"), _text(folder, f"{MORE}/{name}")) for name in names]
