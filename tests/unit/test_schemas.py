"""schemas/ against what hub really prints, writes and reads; and against examples with one thing wrong."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from made_models import ROOT, TINY, folder, llama_config
from referencing import Registry, Resource

import hub
from hub import recipe
from hub.cli import main
from hub.errors import HubError
from hub.hookspecs import hub_architectures

SCHEMAS = {path.name: json.loads(path.read_text()) for path in sorted((ROOT / "schemas").glob("*.schema.json"))}
REGISTRY = Registry().with_resources([(name, Resource.from_contents(schema)) for name, schema in SCHEMAS.items()])
ARCHITECTURES = {
    path.name: tomllib.loads(path.read_text("utf-8"))
    for path in resources.files("hub.architectures").iterdir()
    if path.name.endswith(".toml")
}


def validator(name):
    # Resolved by file name, as an editor does that has the folder.
    return Draft202012Validator(
        {"$ref": f"{name}.schema.json"}, registry=REGISTRY, format_checker=Draft202012Validator.FORMAT_CHECKER
    )


def faults(name, data):
    return [f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(data)]


def changed(data, path, value=None, *, drop=False):
    """A copy with the member at a dotted path set or dropped."""
    out = copy.deepcopy(data)
    *way, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    place = out
    for step in way:
        place = place[step]
    if drop:
        del place[last]
    else:
        place[last] = value
    return out


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    odd = folder(base / "odd", llama_config(hidden_size=96, num_attention_heads=2, num_key_value_heads=1), dtype="bf16")
    hub.convert(TINY, base / "tiny.gguf", to="gguf:q4_k_m")
    return {"tiny": TINY, "odd": odd, "gguf": base / "tiny.gguf"}


@pytest.fixture(scope="module")
def report(models, tmp_path_factory):
    base = tmp_path_factory.mktemp("report")
    hub.convert(models["odd"], base / "x.gguf", to="gguf:q4_k_m", report_to=base / "r.json")
    return json.loads((base / "r.json").read_text())


@pytest.fixture(scope="module")
def printed(models):
    """What `hub plan --json` prints."""
    from io import StringIO
    from unittest.mock import patch

    def run(*arguments):
        with patch("sys.stdout", StringIO()) as out:
            assert main([str(a) for a in arguments]) == 0
        return out.getvalue()

    return run


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_they_are_schemas(name):
    assert SCHEMAS[name]["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["title"]
    assert SCHEMAS[name]["description"]


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_object_is_closed_or_says_why_not(name):
    """A member that nobody described is a mistake on one side or the other. Open are only free-form tables."""
    open_ones = []

    def walk(node, path):
        if isinstance(node, dict):
            typed = node.get("type") == "object" or node.get("type") == ["object", "null"]
            if typed and "properties" in node and not {"additionalProperties", "unevaluatedProperties"} & set(node):
                open_ones.append(path)
            for key, value in node.items():
                walk(value, f"{path}/{key}")
        elif isinstance(node, list):
            for i, value in enumerate(node):
                walk(value, f"{path}/{i}")

    walk(SCHEMAS[name], "")
    # Closed where it is used, because a report adds the plan to it and an event does not.
    assert open_ones == (["/$defs/figures"] if name == "report.schema.json" else [])


# ------------------------------------------------------------------------------------------------ plans and reports


@pytest.mark.parametrize("source", ["tiny", "odd", "gguf"])
@pytest.mark.parametrize("to", ["gguf", "gguf:f32", "gguf:f16", "gguf:q4_k_m", "gguf:q5_k_s"])
def test_plans(models, printed, source, to):
    data = json.loads(printed("plan", "--json", "--to", to, models[source]))
    assert faults("plan", data) == []
    assert not any("error" in tensor for tensor in data["tensors"])


def test_events(models, printed, tmp_path):
    lines = printed("convert", "--json", "--to", "gguf:q8_0", models["odd"], tmp_path / "x.gguf").splitlines()
    assert len(lines) == 7
    for line in lines:
        assert faults("event", json.loads(line)) == []


@pytest.mark.parametrize("verify", ["full", "weights", "none"])
@pytest.mark.parametrize("source", ["tiny", "gguf"])
def test_reports(models, tmp_path, source, verify):
    returned = hub.convert(
        models[source], tmp_path / "x.gguf", to="gguf:q4_0", verify=verify, report_to=tmp_path / "r.json"
    )
    written = json.loads((tmp_path / "r.json").read_text())
    assert faults("report", written) == []
    assert faults("report", returned) == []
    assert written == returned
    assert all(item["sha256"] for item in written["input"])
    assert all((tensor["error"] is None) == (verify == "none") for tensor in written["plan"]["tensors"])


@pytest.mark.parametrize("level", ["full", "weights"])
@pytest.mark.parametrize("source", ["tiny", "odd", "gguf"])
def test_verifications_and_differences(models, tmp_path, source, level):
    hub.convert(models[source], tmp_path / "x.gguf", to="gguf:q4_0", verify="none")
    report = tmp_path / "r.json"
    assert faults("verify", hub.verify(models[source], tmp_path / "x.gguf", level=level, report_to=report)) == []
    assert faults("verify", json.loads(report.read_text())) == []
    assert faults("diff", hub.diff(models[source], tmp_path / "x.gguf", report_to=report)) == []
    assert faults("diff", json.loads(report.read_text())) == []


def test_the_verification_of_a_wrong_file(models, tmp_path):
    """What differs in everything: another model under the same names, so that every member is filled."""
    hub.convert(models["tiny"], tmp_path / "a.gguf", to="gguf:q8_0", verify="none")
    raw = bytearray((tmp_path / "a.gguf").read_bytes())
    raw[-2_000_000:] = bytes(2_000_000)
    (tmp_path / "a.gguf").write_bytes(raw)
    got = []
    with pytest.raises(hub.errors.VerifyError):
        hub.verify(models["tiny"], tmp_path / "a.gguf", on_report=got.append)
    assert faults("verify", got[0]) == []
    assert got[0]["diagnoses"]
    assert faults("diff", hub.diff(models["tiny"], tmp_path / "a.gguf")) == []


def test_the_report_of_a_rejected_output(models, tmp_path, monkeypatch):
    from hub_gguf.quantizers import GgmlQuantizer

    right = GgmlQuantizer.quantize
    monkeypatch.setattr(
        GgmlQuantizer, "quantize", lambda self, rows, c: {"blocks": right(self, rows, c)["blocks"] | 0xFF}
    )
    with pytest.raises(HubError):
        hub.convert(models["odd"], tmp_path / "x.gguf", to="gguf:q8_0", report_to=tmp_path / "r.json")
    data = json.loads((tmp_path / "r.json").read_text())
    assert faults("report", data) == []
    assert data["verified"] == "rejected"
    assert data["faults"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("surprise", 1), ("plan/surprise", 1), ("plan/tensors/0/surprise", 1), ("plan/tensors/0/error/surprise", 1),
        ("input/0/surprise", 1), ("plan/tensors/0/route", "magic"), ("plan/tensors/0/fidelity", "good"),
        ("plan/size", -1),
        ("plan/size", "3"), ("plan/fidelity/fine", {"tensors": 1, "bytes": 1}), ("plan/files", []), ("verified", "yes"),
        ("isa", "mmx"), ("threads", 0), ("seconds/later", 1.0), ("input/0/sha256", "abc"), ("input", []),
        ("plan/tensors/0/shape", [-1]), ("plan/tensors/0/error/rmse", "NaN"), ("plan/tensors/0/error/equal", None),
        ("versions", {}),
    ],
)  # fmt: skip
def test_wrong_reports_are_refused(report, path, value):
    assert faults("report", report) == []
    assert faults("report", changed(report, path, value))


@pytest.mark.parametrize(
    "path", ["hub", "plan", "plan/tensors/0/error", "plan/tensors/0/why", "plan/source/files", "faults", "input/0/size"]
)
def test_reports_that_lack_something_are_refused(report, path):
    assert faults("report", changed(report, path, drop=True))


def test_a_quantizer_belongs_to_quantizing_and_to_nothing_else(report):
    tensors = {tensor["route"]: i for i, tensor in enumerate(report["plan"]["tensors"])}
    assert faults("report", changed(report, f"plan/tensors/{tensors['quantize']}/quantizer", None))
    assert faults("report", changed(report, f"plan/tensors/{tensors['cast']}/quantizer", "x"))


def test_wrong_events_are_refused(report):
    done = {"event": "done", "report": {key: value for key, value in report.items() if key != "plan"}}
    assert faults("event", done) == []
    assert faults("event", {"event": "done", "report": report})
    assert faults("event", changed(done, "report/surprise", 1))
    for wrong in (
        {},
        {"event": "stage"},
        {"event": "stage", "stage": "rest", "bytes": 1},
        {"event": "odd"},
        {"event": "plan"},
    ):
        assert faults("event", wrong)


# ------------------------------------------------------------------------------------------------ recipes


RECIPES = {
    "empty": {},
    "pure": dict(recipe.BUILT_IN["pure"]),
    "all": {
        "pure": False, "tensors": [{"match": "^output", "layout": "q8_0"}], "set": {"a": "b", "c": 1, "d": 1.5,
        "e": True},
    },
}  # fmt: skip
NO_RECIPES = [
    {"odd": 1}, {"pure": 1}, {"tensors": {}}, {"tensors": [{"match": "x"}]}, {"tensors": [{"match": "x", "layout": 1}]},
    {"tensors": [{"match": "x", "layout": "y", "z": 1}]}, {"tensors": [{"match": "(", "layout": "y"}]},
    {"set": {"a": [1]}},
    {"set": {"a": None}}, {"set": []},
]  # fmt: skip


@pytest.mark.parametrize("data", RECIPES.values(), ids=RECIPES)
def test_recipes(data):
    assert faults("recipe", data) == []
    recipe.from_data(data, name="r", path="r")


@pytest.mark.parametrize("data", NO_RECIPES, ids=str)
def test_schema_and_program_refuse_the_same_recipes(data):
    assert faults("recipe", data)
    with pytest.raises(HubError):
        recipe.from_data(data, name="r", path="r")


def test_recipes_in_the_documentation():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for block in re.findall(r"^```toml\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
            data = tomllib.loads(block)
            if {"pure", "set"} & set(data) or "match" in block:
                assert faults("architecture" if "family" in data else "recipe", data) == [], page.name


def test_the_recipe_that_the_module_shows():
    lines = recipe.__doc__.splitlines()
    text = "\n".join(line[4:] for line in lines if line.startswith("    "))
    assert faults("recipe", tomllib.loads(text)) == []
    assert recipe.from_data(tomllib.loads(text), name="r", path="r").rules


# ------------------------------------------------------------------------------------------------ architectures


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_architectures(name):
    assert faults("architecture", ARCHITECTURES[name]) == []


def test_an_addition_to_a_family_needs_only_its_format():
    assert faults("architecture", {"family": "llama", "formats": {"toy": {"architecture": "llama"}}}) == []
    assert faults("architecture", {"family": "llama"})
    assert hub_architectures.__doc__


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("surprise", 1), ("family", ""), ("match/architectures", []), ("config/hidden_size/type", "integer"),
        ("config/hidden_size/maximum", 3), ("config/Odd", {"type": "int"}), ("rope/types", ["spiral"]),
        ("rope/theta", 0),
        ("requires", [{"that": "1"}]), ("tensors", {}), ("tensors/model.norm.weight/shape", []),
        ("tensors/model.norm.weight/shape", [256]), ("tensors/model.norm.weight/odd", 1),
        ("ignored", [{"pattern": "("}]),
        ("tokenizer/kinds", ["magic"]), ("tokenizer/odd", 1), ("formats/gguf/odd", 1),
        ("formats/gguf/tensors/output.weight", {}), ("formats/gguf/tensors/output.weight", {"from": "a", "make": "b"}),
        ("formats/gguf/tensors/output.weight/steps", [{"unknown": "1"}]),
        ("formats/gguf/tensors/output.weight/steps", [{}]), ("formats/gguf/metadata/list", [["a", "u32"]]),
        ("formats/gguf/metadata/list", [["a", "u31", "b"]]),
        ("formats/gguf/metadata/list", [["a", "u32", "b", "c", "d", "e"]]),
    ],
)  # fmt: skip
def test_wrong_architectures_are_refused(path, value):
    assert faults("architecture", changed(ARCHITECTURES["llama.toml"], path, value))


@pytest.mark.parametrize(
    "path", ["family", "match", "config", "tensors", "config/hidden_size/type", "formats/gguf/architecture"]
)
def test_architectures_that_lack_something_are_refused(path):
    assert faults("architecture", changed(ARCHITECTURES["llama.toml"], path, drop=True))


def test_the_schema_knows_every_step_maker_and_type():
    from hub.ir.tokenizer import KINDS
    from hub.makers import MAKERS
    from hub.steps import STEPS
    from hub_gguf.metadata import _TYPES

    parts = SCHEMAS["architecture.schema.json"]["$defs"]
    assert set(parts["mapped"]["properties"]["steps"]["items"]["properties"]) == set(STEPS)
    assert set(parts["made"]["properties"]["make"]["enum"]) == set(MAKERS)
    row = parts["rows"]["items"]["prefixItems"]
    assert set(row[1]["enum"]) == set(_TYPES)
    tokenizer = SCHEMAS["architecture.schema.json"]["properties"]["tokenizer"]["properties"]
    assert set(tokenizer["kinds"]["items"]["enum"]) == set(KINDS)


def test_the_schemas_know_every_route_fidelity_and_instruction_set():
    from typing import get_args

    import hub_native
    from hub.layout import FIDELITIES
    from hub.planner import Route

    plan, report = SCHEMAS["plan.schema.json"]["$defs"], SCHEMAS["report.schema.json"]["$defs"]
    assert plan["tensor"]["properties"]["route"]["enum"] == list(get_args(Route))
    assert plan["fidelity"]["enum"] == list(FIDELITIES)
    assert set(hub_native.available()) <= set(report["figures"]["properties"]["isa"]["enum"])


def test_the_folder_holds_nothing_else():
    assert set(SCHEMAS) == {p.name for p in (Path(ROOT) / "schemas").iterdir() if p.suffix == ".json"}
