"""What a plugin registers: cheap to import, of this API, and every name leads somewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

from hub.consumer import Check
from hub.format import API_VERSION, Reader, Writer
from hub.layout import Layout
from hub.plugins import registry, resolve
from hub.quantizer import Quantizer
from hub.testing.subject import Subject

HEAVY = ("hub_native", "numpy", "ml_dtypes", "tokenizers", "sentencepiece", "onnx", "onnxruntime", "mlx", "torch",
         "safetensors", "scipy", "pandas", "transformers")  # fmt: skip
"""Packages that only the work itself may import: `hub plugins` and detection must stay instant."""


def test_it_registers_something(subject: Subject) -> None:
    assert subject.formats or subject.layouts or subject.quantizers or subject.architecture_files or subject.checks


def test_entry_module_imports_nothing_heavy(subject: Subject) -> None:
    heavy = sorted(_imported_with(subject.module.__name__).intersection(HEAVY))
    assert not heavy, f"importing {subject.module.__name__} imports {', '.join(heavy)}: give names instead of objects"


def _imported_with(module: str) -> set[str]:
    """Packages that importing a module imports."""
    code = f"import json, sys; import {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_api_version(subject: Subject, format_name: str) -> None:
    major, minor = subject.formats[format_name].api
    assert major == API_VERSION[0]
    assert minor <= API_VERSION[1], "it asks for a newer hub than this one"


def test_format_can_be_typed(subject: Subject, format_name: str) -> None:
    item = subject.formats[format_name]
    for word in (item.name, *item.variants):
        # Lower case, because variants are compared so; no colon and no space, because of FORMAT:VARIANT.
        assert re.fullmatch(r"[a-z0-9][a-z0-9_.+-]*", word), f"{word!r} cannot be typed as format or variant"
    for line in (item.summary, *item.variants.values()):
        assert line and "\n" not in line, f"{line!r} is not one line of text"
    assert item.reader or item.writer, "it can be neither read nor written"


def test_format_leads_somewhere(subject: Subject, format_name: str) -> None:
    item = subject.formats[format_name]
    assert callable(resolve(item.detect))
    if item.reader:
        assert isinstance(registry().reader(format_name), Reader)
    if item.writer:
        writer = registry().writer(format_name)
        assert isinstance(writer, Writer)
        assert isinstance(writer.convention, str)
        assert isinstance(writer.folder, bool)


def test_layout_leads_somewhere(layout_name: str) -> None:
    layout = registry().layout(layout_name)
    assert isinstance(layout, Layout)
    assert layout.name == layout_name
    assert layout.row_multiple >= 1


def test_check_can_be_typed(subject: Subject, check_name: str) -> None:
    item = subject.checks[check_name]
    assert item.api[0] == API_VERSION[0]
    assert re.fullmatch(r"[a-z0-9][a-z0-9_.+-]*", item.name), f"{item.name!r} cannot be typed"
    assert item.formats, "it opens no format"
    for line in (item.summary, *item.needs.values()):
        assert line and "\n" not in line, f"{line!r} is not one line of text"
    assert all(re.fullmatch(r"[A-Za-z_]\w*", package) for package in item.needs), "needs are names that are imported"


def test_check_leads_somewhere(subject: Subject, check_name: str) -> None:
    """In hub's own process, where the program is not imported: it may change what the process is allowed, or crash."""
    item = subject.checks[check_name]
    assert isinstance(resolve(item.factory)(), Check)
    imported = _imported_with(item.factory.partition(":")[0])
    theirs = sorted(imported & set(item.needs))
    assert not theirs, f"{item.factory} imports {', '.join(theirs)}: leave that to Check.versions and Check.open"


def test_quantizer_leads_somewhere(subject: Subject, quantizer_name: tuple[str, str]) -> None:
    name, layout = quantizer_name
    entry = next(entry for entry in subject.quantizers if entry.name == name)
    quantizer = resolve(entry.factory)(layout)
    assert isinstance(quantizer, Quantizer)
    assert quantizer.layout == layout
    assert quantizer.name
    assert {*quantizer.wants, *quantizer.needs} <= {"importance", "hessian", "extra", "stored"}
    assert registry().layout(layout).name == layout, "it fills a layout that nothing registers"
