"""A plugin that is broken is listed with its reason, and stops nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

TINY = Path(__file__).parents[2] / "tests" / "data" / "tiny-llama"

FORMAT = """
from hub.api import Format, hookimpl

@hookimpl
def hub_formats():
    return [Format(name={name!r}, summary="x", detect="plugin_{module}:detect", reader="plugin_{module}:Reader"{more})]
"""

BROKEN = {
    "missing": ("import a_package_that_nobody_has", "a_package_that_nobody_has"),
    "raises": ("raise RuntimeError('not today')", "not today"),
    "leaves": ("import sys; sys.exit(3)", "SystemExit"),
    "syntax": ("def f(:", "SyntaxError"),
    "misspelt": ("from hub.api import hookimpl\n@hookimpl\ndef hub_fromats():\n    return []", "hub_fromats"),
    "future": (FORMAT.format(name="later", module="future", more=", api=(2, 0)"), "API 2"),
    "again": (FORMAT.format(name="gguf", module="again", more=""), "gguf"),
    "twice": ("from hub.api import LayoutEntry, hookimpl\n@hookimpl\ndef hub_layouts():\n"
              "    return [LayoutEntry('x.y', 'a:b'), LayoutEntry('x.y', 'a:c')]", "x.y"),
    "hook-raises": ("from hub.api import hookimpl\n@hookimpl\ndef hub_layouts():\n"
                    "    return 1 / 0", "division by zero"),
    "no-file": ("from hub.api import hookimpl\n@hookimpl\ndef hub_architectures():\n"
                "    return ['os:none.toml']", "none.toml"),
    "half": (FORMAT.format(name="half", module="half", more="")
             + "\n@hookimpl\ndef hub_architectures():\n    return ['json:none.toml']\n", "none.toml"),
}  # fmt: skip
"""Source of a plugin, and a word of the reason why it cannot be used."""


def test_each_is_listed_and_stops_nothing(hub_with) -> None:
    hub = hub_with({name: source for name, (source, _) in BROKEN.items()}, toy=True)
    listed = {plugin["name"]: plugin for plugin in hub.json("plugins")}
    text = hub.hub("plugins")
    for name, (_, reason) in BROKEN.items():
        assert reason in listed[name]["error"], name
        assert "\n" not in listed[name]["error"]
        assert name in text
    for name in ("gguf", "safetensors", "toy"):
        assert listed[name]["error"] is None
    own = {name for name, plugin in listed.items() if plugin["distribution"] == "weighthub"}
    assert {format["name"] for format in hub.json("formats")} == {*own, "toy"}
    hub.convert(TINY, "toy:int8", "tiny.toy")
    message = hub.hub("plan", TINY, "--to", "later", status=2)
    assert "API 2" in message, "an unknown format does not say that a plugin could not be loaded"


def test_a_built_in_format_cannot_be_taken(hub_with) -> None:
    """Whatever the names of plugins and however they sort."""
    hub = hub_with({"aaa": FORMAT.format(name="gguf", module="aaa", more="")})
    listed = {plugin["name"]: plugin["error"] for plugin in hub.json("plugins")}
    assert listed["gguf"] is None
    assert "gguf is registered already" in listed["aaa"]


def test_a_built_in_plugin_cannot_be_hidden(hub_with) -> None:
    hub = hub_with({"gguf": FORMAT.format(name="other", module="gguf", more="")})
    listed = [(plugin["name"], plugin["distribution"], plugin["error"]) for plugin in hub.json("plugins")]
    assert ("gguf", "weighthub", None) in listed
    assert ("gguf", "hub-gguf", "PluginError: plugin gguf is registered already by weighthub") in listed


def test_a_plugin_can_be_left_out(hub_with) -> None:
    hub = hub_with({"raises": BROKEN["raises"][0]}, toy=True)
    listed = hub.json("plugins", HUB_DISABLE_PLUGINS="raises,toy")
    assert {plugin["distribution"] for plugin in listed} == {"weighthub"}
    assert {"gguf", "safetensors"} <= {plugin["name"] for plugin in listed}


def test_a_broken_layout_is_a_line(hub_with) -> None:
    """What fails only when it is used is an error of that use, not a traceback."""
    source = FORMAT.format(name="hollow", module="hollow", more="") + "\ndef detect(path, head, names):\n    return 0\n"
    hub = hub_with({"hollow": source})
    message = hub.hub("inspect", TINY, "--from", "hollow", status=1)
    assert "plugin_hollow" in message and "Traceback" not in message


@pytest.mark.parametrize("detect", ["1 / 0", "no.module:detect"])
def test_a_broken_detection_stops_nothing(hub_with, detect) -> None:
    source = FORMAT.format(name="odd", module="odd", more="")
    if ":" in detect:
        source = source.replace("plugin_odd:detect", detect)
    else:
        source += f"\ndef detect(path, head, names):\n    return {detect}\n"
    assert hub_with({"odd": source}).json("inspect", TINY)["format"] == "safetensors"


def test_kit_refuses_in_one_line(hub_with) -> None:
    hub = hub_with({"raises": BROKEN["raises"][0]})
    assert "not today" in hub.hub("plugin", "test", "raises", status=1)
    assert "no plugin" in hub.hub("plugin", "test", "nobody", status=2)


def test_kit_needs_pytest(hub_with) -> None:
    hub = hub_with({}, toy=True)
    (hub.path[0] / "pytest.py").write_text("raise ModuleNotFoundError(\"No module named 'pytest'\", name='pytest')")
    message = hub.hub("plugin", "test", "toy", status=1)
    assert "pip install 'weighthub[test]'" in message
    assert len(message.splitlines()) == 1
