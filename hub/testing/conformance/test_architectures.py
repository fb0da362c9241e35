"""Architecture files: they parse, build, and name every tensor of their family."""

from __future__ import annotations

import ast
import json
from importlib import resources, util
from pathlib import Path
from typing import Any

import pytest

import hub
from hub.architecture import Architecture, known, parse
from hub.makers import MAKERS
from hub.steps import STEPS


def _data(architecture_file: str) -> dict[str, Any]:
    package, _, name = architecture_file.partition(":")
    return parse((resources.files(package) / name).read_text("utf-8"), name=name)


@pytest.fixture
def architecture(architecture_file: str) -> Architecture:
    """The family, with what this file adds."""
    family = _data(architecture_file)["family"]
    return next(architecture for architecture in known() if architecture.family == family)


def test_follows_the_schema(architecture_file: str) -> None:
    schema = Path(hub.__file__).parent.parent / "schemas" / "architecture.schema.json"
    if not schema.exists() or util.find_spec("jsonschema") is None:
        pytest.skip("the schema is in hub's repository, and its test needs jsonschema")
    data = _data(architecture_file)
    if set(data) <= {"family", "formats"}:
        pytest.skip("it only adds formats to a family")
    import jsonschema

    jsonschema.validate(data, json.loads(schema.read_text("utf-8")))


def test_replaces_nothing(architecture_file: str, architecture: Architecture) -> None:
    """A file adds a family, or formats to a family; what another file says stays."""
    data = _data(architecture_file)
    for name, convention in data.get("formats", {}).items():
        kept = architecture.formats[name]
        same = kept.architecture == convention.get("architecture", "")
        same &= set(kept.tensors) == set(convention.get("tensors", ()))
        assert same, f"formats.{name} is another file's"


def test_expressions_are_expressions(architecture: Architecture) -> None:
    conditions = [condition.that for condition in architecture.requires]
    shapes = [axis for rule in architecture.tensors.values() for axis in rule.shape]
    optional = [rule.optional for rule in architecture.tensors.values() if isinstance(rule.optional, str)]
    defaults = [rule.default for rule in architecture.settings.values() if isinstance(rule.default, str)]
    for text in [*conditions, *shapes, *optional, *defaults]:
        names = {ast.unparse(node) for node in ast.walk(ast.parse(text, mode="eval")) if isinstance(node, ast.Name)}
        unknown = names - set(architecture.settings) - {"rope", "layer"}
        assert not unknown, f"{text!r} uses {', '.join(sorted(unknown))}, which [config] does not have"


def test_formats_name_every_tensor(architecture_file: str, architecture: Architecture) -> None:
    for name in _data(architecture_file).get("formats", {}):
        convention = architecture.formats[name]
        table = convention.tensors
        whole = [s for rule in table.values() for s in rule.sources if "rows" not in dict(rule.steps)]
        sources = [source for rule in table.values() for source in rule.sources]
        assert len(whole) == len(set(whole)), "a canonical tensor has two names"
        assert set(sources) <= set(architecture.tensors), "names from tensors that the family does not have"
        named = convention.canonical or set(architecture.tensors) <= {*sources, *convention.left_out}
        assert named, "has no name for some tensors"
        for local, rule in {**table, **convention.also}.items():
            assert bool(rule.sources) != (rule.make is not None), f"{local}: either from or make"
            assert rule.make is None or rule.make in MAKERS, f"{local}: unknown maker {rule.make}"
            layered = {"{layer}" in source for source in rule.sources or (local,)}
            assert layered == {"{layer}" in local}, f"{local}: {{layer}} on one side only"
            for step, _ in rule.steps:
                assert step in STEPS, f"{local}: unknown step {step}"
