"""The source itself, read as a tree: untrusted bytes come in through `hub.io` only, and the core names no format."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "hub").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])
NAMES = [path.relative_to(ROOT).as_posix() for path in SOURCES]
KIT = "hub/testing/"
"""The conformance kit writes and damages files of its own; it runs in tests only."""

MODULES = {
    *(
        "pickle",
        "cPickle",
        "dill",
        "marshal",
        "shelve",
        "copyreg",
        "torch",
        "transformers",
        "joblib",
    ),  # run code of a file
    *("struct", "mmap", "ctypes", "array"),  # sized by numbers of a file
    *("zipfile", "tarfile", "gzip", "bz2", "lzma", "zlib"),  # blow up
    *("socket", "ssl", "http", "urllib", "requests", "aiohttp", "huggingface_hub"),  # leave the machine
    *("subprocess", "multiprocessing", "tempfile", "fileinput", "codecs", "io"),
    *("yaml", "json", "tomllib", "xml", "csv", "configparser"),
    *("runpy", "code", "imp"),
}
"""Modules that no file imports unless it is listed."""
CALLS = {"open", "eval", "exec", "compile", "__import__", "input", "breakpoint"}
"""Builtins that no file calls unless it is listed."""
ATTRIBUTES = {
    "memmap", "fromfile", "tofile", "genfromtxt", "loadtxt", "open_memmap",
    "read_text", "read_bytes", "write_text", "write_bytes", "touch", "popen", "system", "fdopen",
    "import_module", "unsafe_load", "full_load", "load_all", "allow_pickle",
}  # fmt: skip
"""Attributes that no file uses unless it is listed, whatever they belong to."""
OPENERS = {"os", "io", "codecs", "Path", "gzip", "zipfile", "tarfile", "mmap"}
"""`open` of these is a door too; that of a Reader or a Folder is not."""

ALLOWED: dict[str, dict[str, str]] = {
    # The doors themselves.
    "hub/io/source.py": {"os.open": "the one open for reading"},
    "hub/io/atomic.py": {"os.open": "the one open for writing"},
    "hub/io/npz.py": {
        "zipfile": "one member of limited size of an archive of limited size",
        "zlib": "its error, and checksums",
        "io": "BytesIO over that member",
    },
    "hub/io/cursor.py": {"struct": "the one parser of binary numbers"},
    "hub/io/strict_json.py": {"json": "the one parser of JSON"},
    # What hub itself wrote or ships.
    "hub/architecture.py": {
        "tomllib": "architecture files, which ship with hub or with a plugin",
        "read_text": "the same, from inside a package",
    },
    "hub/verification/sample.py": {"read_text": "the sample that ships with hub"},
    "hub/tokens/pretokenizers.py": {"tomllib": "tables that ship with hub", "read_text": "the same"},
    "hub/tokens/encoder.py": {"tomllib": "a table that ships with hub", "read_text": "the same"},
    "hub/plugins.py": {
        "import_module": "plugins are code; which ones is the user's choice, never a model's",
        "read_text": "an architecture file from inside a plugin's package",
    },
    "hub/recipe.py": {"tomllib": "a recipe is the user's own file; it is opened by FileSource and limited"},
    "hub/report.py": {"json": "writes only", "write_text": "hub.io.atomic.write_text"},
    "hub/cli/show.py": {"json": "writes only"},
    "hub/memory.py": {"open": "/proc/self/status"},
    "hub/consumers/process.py": {
        "subprocess": "another program runs the model in a process of its own, with limits",
        "tempfile": "a folder for its answers, which is removed",
        "os.open": "a file that takes what it prints",
    },
    "hub/consumers/child.py": {"ctypes": "asks the kernel for a namespace without a network"},
    "hub/cli/__init__.py": {"os.open": "/dev/null in place of a closed standard output"},
    "plugins/hub_gguf/reader.py": {"array": "numbers of an array whose count was compared with the file's size"},
    "plugins/hub_safetensors/model_card.py": {"yaml": "front matter: SafeLoader, no aliases, limited length and depth"},
    "plugins/hub_mlx/detect.py": {"json": "strings of one flat object within 4096 bytes"},
    "plugins/hub_onnx/decode.py": {"struct": "a packed field of floats, of as many as there are bytes"},
    "plugins/hub_safetensors/pretokenizer.py": {
        "json": "to and from its own child process",
        "subprocess": "a regular expression of the model runs in a child that can be killed",
        "tomllib": "a table that ships with the plugin",
        "read_text": "the same",
    },
    "plugins/hub_safetensors/pretokenizer_child.py": {"json": "to and from its parent"},
    "plugins/hub_onnx/consumer_genai.py": {"json": "writes only"},
    "plugins/hub_safetensors/serialize.py": {"json": "writes only"},
    "plugins/hub_safetensors/vocabulary.py": {
        "tomllib": "a table that ships with the plugin",
        "read_text": "the same",
    },
}
"""File -> what it uses -> why that is no hole. An entry that is not used any more fails too."""

FORMATS = re.compile(r"gguf|ggml|safetensors|gptq|\bawq\b|\bmlx\b|onnx|compressed[-_]tensors|exl2", re.IGNORECASE)
EXAMPLES = {"hub/cli/commands.py": "the examples of --help"}
"""Files of the core whose strings may name a format."""


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def _doors(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """(what, line) of everything that the lists above name."""
    own = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((name.name.partition(".")[0], node.lineno) for name in names)
            case ast.ImportFrom(module=str() as module, level=0, names=names):
                yield module.partition(".")[0], node.lineno
                yield from ((name.name, node.lineno) for name in names if name.name in ATTRIBUTES)
            case ast.Call(func=ast.Name(id=name)) if name in CALLS and name not in own:
                yield name, node.lineno
            case ast.Attribute(value=ast.Name(id=owner), attr="open") if owner in OPENERS:
                yield f"{owner}.open", node.lineno
            case ast.Attribute(attr=name) if name in ATTRIBUTES:
                yield name, node.lineno
            case ast.keyword(arg=str() as name) if name in ATTRIBUTES:
                yield name, node.value.lineno


def _watched(what: str) -> bool:
    return what in MODULES | CALLS | ATTRIBUTES or what.endswith(".open")


@pytest.mark.parametrize("name", NAMES)
def test_doors(name: str) -> None:
    if name.startswith(KIT):
        pytest.skip("the kit's own files")
    found = {(what, line) for what, line in _doors(_parsed(ROOT / name)) if _watched(what)}
    allowed = ALLOWED.get(name, {})
    beyond = sorted(f"{name}:{line}: {what}" for what, line in found if what not in allowed)
    assert not beyond, f"not through hub.io: {beyond}"
    unused = sorted(set(allowed) - {what for what, _ in found})
    assert not unused, f"{name} is allowed what it does not use: {unused}"


def test_allowed_files_exist() -> None:
    assert set(ALLOWED) <= set(NAMES)
    assert set(EXAMPLES) <= set(NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "open('x')", "import pickle", "from pickle import loads", "import numpy as np\nnp.memmap('x')",
        "import os\nos.open('x', 0)", "import json\njson.loads('1')", "from json import loads", "eval('1')",
        "exec('1')",
        "from pathlib import Path\nPath('x').read_text()", "from pathlib import Path\nPath('x').open()\nPath.open('x')",
        "import struct", "import yaml", "np.load('x', allow_pickle=True)", "import urllib.request",
        "__import__('pickle')", "import io\nio.open('x')",
    ],
)  # fmt: skip
def test_the_lint_sees(text: str) -> None:
    """Each way that it is there to catch."""
    assert any(_watched(what) for what, _ in _doors(ast.parse(text)))


def _words(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Identifiers and strings of a module, but not its prose: docstrings and comments may say where knowledge is
    from."""
    # A string that is a statement of its own: a docstring, of a module, class, function or attribute.
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str() as value) if id(node) not in prose:
                yield value, node.lineno
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield getattr(node, "module", None) or "", node.lineno
                yield from ((alias.name, node.lineno) for alias in names)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("hub/") and not name.startswith(KIT)])
def test_core_names_no_format(name: str) -> None:
    found = [f"{name}:{line}: {word[:60]!r}" for word, line in _words(_parsed(ROOT / name)) if FORMATS.search(word)]
    if name in EXAMPLES:
        assert found, f"{name} needs no exception any more"
    else:
        assert not found, f"the core names a format: {found}"


def test_plugins_use_the_public_interface() -> None:
    """What plugins import of `hub`: `hub.api`, and what is behind it where that costs less to import."""
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("plugins/"):
            continue
        for node in ast.walk(_parsed(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "hub":
                assert node.module in ("hub", "hub.api") or str(node.module).startswith(
                    ("hub.errors", "hub.io", "hub.ir")
                ), f"{name}:{node.lineno} imports {node.module}"
