"""How many bits a mixture counts as, which is what its answers may be off by."""

from __future__ import annotations

import math

import pytest

from hub.dtypes import BF16
from hub.ir.groups import Blocks
from hub.ir.scheme import Scheme
from hub.ir.values import Affine, Const
from hub.verification.limits import effective_bits
from hub.verification.verifier import precision


def test_noise_is_averaged_not_bits():
    assert effective_bits([((8, 64), 4.0), ((8, 64), 6.0)]) == pytest.approx(-math.log((4**-4 + 4**-6) / 2, 4))


def test_a_large_vocabulary_in_floats_hides_no_layer():
    layers = [((64, 64), 4.5)] * 14
    assert effective_bits([((32000, 64), math.inf), *layers]) < 4.6
    assert effective_bits([((32000, 64), 4.5), *[((64, 64), math.inf)] * 14]) < 4.6


def test_vectors_that_lose_nothing_make_no_difference():
    layers = [((64, 64), 4.5)] * 14
    assert effective_bits([*layers, *[((64,), math.inf)] * 100]) == pytest.approx(4.5)


def test_nothing_lost_is_infinitely_fine():
    assert effective_bits([((8, 8), math.inf)]) == effective_bits([]) == math.inf


def test_wide_scales_and_padding_make_no_code_finer():
    codes = Scheme(Affine(4), Blocks((1, 16)), Const(1.0))
    assert precision(codes, 8.0) == 4.5
    assert precision(codes, 4.25) == 4.25
    assert precision(BF16, 16.0) == 8
