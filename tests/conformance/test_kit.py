"""The kit finds faults: a plugin full of them, each of which one test must meet."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TOY = HERE.parent / "thirdparty" / "hub_toy"

FOUND = [
    "test_entry.py::test_entry_module_imports_nothing_heavy",
    "test_entry.py::test_api_version[newer]",
    "test_entry.py::test_format_can_be_typed[shouting]",
    "test_entry.py::test_format_leads_somewhere[astray]",
    "test_detection.py::test_claims_no_stranger[greedy-text]",
    "test_detection.py::test_claims_no_stranger[greedy-JSON]",
    "test_reading.py::test_open_reads_no_tensor_data[eager]",
    "test_reading.py::test_nothing_stays_open[leaking]",
    "test_reading.py::test_refuses_what_is_no_model[crashing-text]",
    "test_damage.py::test_truncated[silent]",
    "test_damage.py::test_flipped_bits[crashing]",
    "test_writing.py::test_second_generation_is_identical[drifting]",
    "test_layouts.py::test_decodes_as_its_meaning_says[faulty.WrongWeights-0]",
    "test_layouts.py::test_tiles_decode_as_the_whole[faulty.WrongTiles-0]",
    "test_layouts.py::test_size_is_known_without_data[faulty.WrongSize]",
    "test_layouts.py::test_size_is_known_without_data[faulty.WrongAxis]",
    "test_layouts.py::test_scheme_says_what_unpacking_gives[faulty.WrongScheme]",
    "test_layouts.py::test_packing_undoes_unpacking[faulty.WrongPack-0]",
    "test_layouts.py::test_holds_what_it_can_pack[faulty.Boastful]",
    "test_layouts.py::test_odd_shapes_have_a_reason[faulty.NoReason]",
    "test_layouts.py::test_decodes_as_its_meaning_says[faulty.Careless-0]",
    "test_quantizers.py::test_is_deterministic[faulty/Dice:faulty.Dice]",
    "test_quantizers.py::test_tiles_are_independent[faulty/Whole:faulty.Whole]",
    "test_quantizers.py::test_error_is_small[faulty/Coarse:faulty.Coarse]",
    "test_quantizers.py::test_flat_rows_stay_finite[faulty/Hollow:faulty.Hollow]",
    "test_quantizers.py::test_fills_the_parts[faulty/Short:faulty.Short]",
    "test_architectures.py::test_expressions_are_expressions[faulty:faulty.toml]",
    "test_architectures.py::test_formats_name_every_tensor[faulty:faulty.toml]",
]
"""What must fail."""

SOUND = [
    "test_entry.py::test_api_version[drifting]",
    "test_reading.py::test_nothing_stays_open[eager]",
    "test_writing.py::test_written_equals_source[eager]",
    "test_layouts.py::test_decodes_as_its_meaning_says[faulty.WrongSize-0]",
    "test_layouts.py::test_packing_undoes_unpacking[faulty.WrongSize-0]",
]
"""What must pass beside them: a test that always fails finds everything."""


def kit(tmp_path: Path, *options: str) -> str:
    """The output of the kit, run on the faulty plugin."""
    info = tmp_path / "hub_faulty-0.1.dist-info"
    if not info.exists():
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hub-faulty\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text("[hub]\nfaulty = hub_faulty\n")
    path = os.pathsep.join(map(str, (tmp_path, HERE / "faulty", TOY)))
    done = subprocess.run(
        [sys.executable, "-m", "hub", "plugin", "test", "faulty", "--", "-q", "-rA", "--tb=no", *options],
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def outcomes(output: str) -> dict[str, str]:
    """Outcome by test."""
    found = re.findall(r"^(PASSED|FAILED|ERROR|XFAIL|SKIPPED) \S*?(test_\w+\.py::.+?)(?: - .*)?$", output, re.M)
    return {name: outcome for outcome, name in found}


def test_every_fault_is_found(tmp_path: Path) -> None:
    output = kit(tmp_path, "-k", " or ".join(_chosen(name) for name in [*FOUND, *SOUND]))
    found = outcomes(output)
    assert {name: found.get(name) for name in FOUND} == dict.fromkeys(FOUND, "FAILED"), output
    assert {name: found.get(name) for name in SOUND} == dict.fromkeys(SOUND, "PASSED"), output


def _chosen(name: str) -> str:
    """What -k calls a test: its words must all occur, which some others' do too."""
    words = re.findall(r"[A-Za-z_0-9]+", name.partition("::")[2].replace("faulty", ""))
    return f"({' and '.join(words)})"


def test_known_faults_can_be_listed(tmp_path: Path) -> None:
    """And have to leave the list once they are mended."""
    known = tmp_path / "xfails"
    name = "conformance/test_entry.py::test_api_version"
    known.write_text(f"# what we know\n{name}[newer]  # asks for a newer hub\n{name}[eager]  # mended\n")
    output = kit(tmp_path, "-k", "test_api_version", f"--hub-xfails={known}")
    assert outcomes(output)["test_entry.py::test_api_version[newer]"] == "XFAIL", output
    assert "[XPASS(strict)] mended" in output
    known.write_text(f"{name}[nothing]\n")
    assert "there is no test" in kit(tmp_path, f"--hub-xfails={known}")
