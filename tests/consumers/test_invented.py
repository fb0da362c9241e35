"""What hub does with consumers, tried with an invented one: comparison, every way to fail, and what users are told."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path

import invented
import jsonschema
import pytest
from made_models import DATA, ROOT, TINY
from referencing import Registry, Resource

import hub
from hub.cli import main
from hub.consumer import CheckEntry
from hub.consumers import judging, process
from hub.errors import VerifyError
from hub.plugins import registry

MODEL = DATA / "arch" / "llama3"
ENVIRONMENT = {"INVENTED": "yes"}


def entry(faults=("none",), name="invented", **more):
    """A consumer with these settings, each with its fault."""
    kind = "_".join(faults).replace(" ", "_")
    made = type(f"Invented_{kind}", (invented.Invented,), {"faults": faults, "__module__": "invented"})
    setattr(invented, made.__name__, made)
    # In the child the class is made by name, and needs no settings any more.
    told = {"factory": "invented:Invented", "formats": ("safetensors", "gguf"), "environment": ENVIRONMENT, **more}
    return CheckEntry(name, "an invented program", **told), made


@pytest.fixture
def known(monkeypatch):
    """A function that makes consumers known."""

    def add(*faults, name="invented", **more):
        item, made = entry(faults or ("none",), name, **more)
        monkeypatch.setitem(registry().checks, name, item)
        monkeypatch.setattr(invented.Invented, "faults", made.faults)
        return item

    return add


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    """One run with every fault: the report, and the error."""
    patch = pytest.MonkeyPatch()
    patch.setitem(registry().checks, "invented", entry()[0])
    patch.setattr(invented.Invented, "faults", tuple(invented.FAULTS))
    folder = tmp_path_factory.mktemp("tried")
    source, path = folder / "source.gguf", folder / "report.json"
    hub.convert(MODEL, source, to="gguf:q8_0", verify="none", threads=1)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        with pytest.raises(VerifyError) as caught:
            hub.verify(source, source, consumers=["invented"], threads=1, report_to=path)
    finally:
        patch.undo()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    return json.loads(path.read_text()), str(caught.value), caught.value.exit_status


def test_report_is_as_its_schema_says(tried):
    report, _, status = tried
    assert status == 3 and report["verified"] == "rejected"
    schemas = [json.loads(path.read_text()) for path in sorted((ROOT / "schemas").glob("*.json"))]
    names = [path.name for path in sorted((ROOT / "schemas").glob("*.json"))]
    found = Registry().with_resources(
        (name, Resource.from_contents(schema)) for name, schema in zip(names, schemas, strict=True)
    )
    jsonschema.Draft202012Validator({"$ref": "verify.schema.json"}, registry=found).validate(report)
    (item,) = report["consumers"]
    assert (item["name"], item["version"], item["versions"]) == ("invented", "1.2", {"invented": "1.2", "stone": "3"})
    assert item["fault"] is None and report["seconds"]["consumers"] > 0


@pytest.mark.parametrize("fault", invented.FAULTS)
def test_every_fault_is_told(tried, fault):
    report, message, _ = tried
    run = next(run for run in report["consumers"][0]["runs"] if run["setting"] == fault)
    said = invented.FAULTS[fault]
    if said is None:
        short = fault == "short"  # a program of which no more is known to be right, and which generates nothing then
        assert run["fault"] is None and run["top1_agreement"] > 0.9
        assert run["tokens"] == (4 * invented.SHORT if short else 256)
        assert run["greedy_agrees"] is (None if short else True)
        assert run["relative_error"] <= run["limit"]
    else:
        assert said in run["fault"]
        if fault == "refuses":  # a line of an error has room for the first ones only
            assert f"invented 1.2, {fault}: it {said}" in message
    if fault == "rounds":
        assert run["relative_error"] > invented.LIMIT, "this model makes nothing of rounding, so it shows nothing"
        assert run["limit"] == pytest.approx(judging.ROUNDING * run["relative_error"], rel=0.3)
        assert "hub's own runner" in run["why"]
    if fault == "none":
        assert run["relative_error"] < 1e-7 and run["why"] == "because" and len(run["greedy"]) == process.GREEDY


def test_one_that_never_ends_is_ended_with_what_it_started(known, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(process, "SECONDS", 4.0)
    known("hangs", environment={**ENVIRONMENT, "INVENTED_PID": str(tmp_path / "pid")})
    assert main(["verify", str(MODEL), str(MODEL), "--consumer", "invented"]) == 3
    assert "s and was ended" in capsys.readouterr().err
    state = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_a_single_wrong_step_on_the_cache_is_seen(tried):
    """Two of the 64 tokens of each sequence are wrong."""
    report, _, _ = tried
    run = next(run for run in report["consumers"][0]["runs"] if run["setting"] == "cache")
    assert run["relative_error"] > 1e-3


# ---------------------------------------------------------------------------------------------------- command line


def refused(capsys, *arguments):
    """The line of a command that ends with status 2, before any work."""
    capsys.readouterr()
    assert main([str(item) for item in arguments]) == 2
    found = capsys.readouterr()
    assert found.out == "" and len(found.err.splitlines()) == 1, found
    return found.err


def test_what_cannot_be_asked_is_refused_before_any_work(capsys, known, tmp_path):
    known(name="absent", needs={"no_such_package": "pip install 'weighthub[absent]'"})
    known(name="other", formats=("toy",))
    known()
    target = tmp_path / "out"
    convert = ("convert", MODEL, target, "--to", "safetensors:f32", "--consumer")
    verify = ("verify", MODEL, MODEL, "--consumer")
    plan = ("plan", MODEL, "--to", "safetensors:f32", "--consumer")
    for command in (convert, plan, verify):
        assert "no consumer 'nobody'; known: absent, invented" in refused(capsys, *command, "nobody")
        said = refused(capsys, *command, "absent")
        assert "consumer absent needs the package no_such_package; pip install 'weighthub[absent]'" in said
        assert "consumer other opens toy, not safetensors; for safetensors there is" in refused(
            capsys, *command, "other"
        )
        # One that is there does not help another that is not.
        refused(capsys, *command, "invented", "--consumer", "absent")
        assert "leaves out" in refused(capsys, *command, "invented", "--verify", "weights")
    assert not target.exists()


def test_a_model_that_hub_cannot_run_is_refused(capsys, known, tmp_path):
    shutil.copytree(TINY, tmp_path / "m")
    config = json.loads((TINY / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1}))
    known()
    said = refused(capsys, "verify", tmp_path / "m", tmp_path / "m", "--consumer", "invented")
    assert "consumers cannot be compared with hub's own answers" in said


def test_convert_asks_before_it_gives_the_output_its_name(capsys, known, tmp_path):
    known("none")
    good, bad = tmp_path / "good.gguf", tmp_path / "bad.gguf"
    assert (
        main(["convert", str(MODEL), str(good), "--to", "gguf:q8_0", "--consumer", "invented", "--threads", "1"]) == 0
    )
    said = capsys.readouterr().out
    assert "invented 1.2, none: logits of 256 tokens within" in said and "the same generated tokens" in said
    known("none", "noisy")
    page = tmp_path / "r.html"
    command = ["convert", str(MODEL), str(bad), "--to", "gguf:q8_0", "--consumer", "invented", "--threads", "1"]
    assert main([*command, "--report", str(page)]) == 3
    assert "invented 1.2, noisy: its logits differ from hub's by" in capsys.readouterr().err
    assert not bad.exists() and Path(f"{bad}.rejected").exists()
    text = page.read_text()
    assert "In other programs" in text and "invented 1.2" in text and "stone 3" in text
    assert "invented 1.2, noisy: its logits differ" in text[: text.index("In other programs")]  # in the verdict


def test_events_are_as_their_schema_says(capsys, known, tmp_path):
    known()
    command = ["convert", str(MODEL), str(tmp_path / "x.gguf"), "--to", "gguf:f32", "--consumer", "invented", "--json"]
    assert main(command) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "consumers" in [event.get("stage") for event in events]
    assert events[-1]["report"]["consumers"][0]["name"] == "invented"


def test_several_are_asked_each_once(capsys, known):
    known(name="first")
    known(name="second")
    command = ["verify", str(MODEL), str(MODEL), "--consumer", "second", "--consumer", "first", "--consumer", "second"]
    assert main([*command, "--json"]) == 0
    out = capsys.readouterr().out
    report = json.loads(out[out.index("{\n") :])
    assert [item["name"] for item in report["consumers"]] == ["second", "first"]


def test_a_consumer_may_refuse_a_file_of_its_format(capsys, known, monkeypatch):
    known()
    monkeypatch.setattr(invented.Invented, "refused", "it is of another flavour")
    assert main(["verify", str(MODEL), str(MODEL), "--consumer", "invented"]) == 3
    found = capsys.readouterr()
    assert "invented: it is of another flavour" in found.err and "invented: it is of another flavour" in found.out


def test_they_are_listed(capsys, known):
    known(name="absent", needs={"no_such_package": "pip install it"})
    known()
    assert main(["consumers"]) == 0
    out = capsys.readouterr().out
    assert "absent: an invented program (opens safetensors, gguf; not installed, pip install it)" in out
    assert "invented: an invented program (opens safetensors, gguf; installed)" in out
    assert main(["consumers", "--json"]) == 0
    listed = {item["name"]: item for item in json.loads(capsys.readouterr().out)}
    assert listed["absent"]["missing"] == "no_such_package" and listed["invented"]["missing"] is None
