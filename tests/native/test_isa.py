"""Which instruction set runs, and what HUB_ISA may ask for."""

import os
import subprocess
import sys

import pytest

import hub_native

PROGRAM = "import hub_native as h; print(h.available()); print(h.isa())"


def run(isa, program=PROGRAM):
    env = {name: value for name, value in os.environ.items() if name != "HUB_ISA"}
    if isa is not None:
        env["HUB_ISA"] = isa
    return subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60)


def test_available_ends_with_scalar():
    assert hub_native.available()[-1] == "scalar"
    assert hub_native.isa() in hub_native.available()


def test_the_best_is_chosen():
    result = run(None)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[1] == hub_native.available()[0]


@pytest.mark.parametrize("isa", hub_native.available())
def test_each_can_be_forced(isa):
    result = run(isa)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[1] == isa


@pytest.mark.parametrize("isa", ["avx3", "", "SCALAR", "scalar ", "x" * 5000, "n\u00e9on"])
def test_unknown_is_an_error(isa):
    result = run(isa)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"hub_native.IsaError: HUB_ISA={isa[:32].split(chr(233))[0]}")
    assert "no such instruction set" in last
    assert last.endswith("available: " + " ".join(hub_native.available()))


@pytest.mark.parametrize("isa", sorted({"avx512", "avx2", "neon"} - set(hub_native.available())))
def test_missing_is_an_error(isa):
    result = run(isa)
    assert result.returncode == 1
    assert "this build does not contain it" in result.stderr or "this CPU does not support it" in result.stderr
    assert result.stderr.splitlines()[-1].endswith("available: " + " ".join(hub_native.available()))


@pytest.mark.parametrize(
    "call",
    [
        "h.isa()",
        "h.quantize('f32', memoryview(bytearray(8)).cast('B').cast('f', (1, 2)), bytearray(8))",
        "h.scan('f32', bytes(8))",
        "h.to_f32('f32', bytes(4), memoryview(bytearray(4)).cast('f'))",
    ],
)
def test_every_kernel_refuses_and_goes_on_refusing(call):
    program = f"""
import hub_native as h
for _ in range(2):
    try:
        {call}
    except h.IsaError as error:
        assert isinstance(error, ValueError) and len(str(error).splitlines()) == 1
    else:
        raise SystemExit("no error")
print(h.available(), h.types(), h.block("q4_k"), "what needs no kernel still works")
"""
    result = run("none-such", program)
    assert result.returncode == 0, result.stdout + result.stderr


def test_import_is_light():
    result = run(None, "import sys, hub_native; assert 'numpy' not in sys.modules; print('ok')")
    assert result.stdout == "ok\n", result.stderr
