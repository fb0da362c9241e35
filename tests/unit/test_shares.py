"""One canonical tensor as several of a format: rows and columns in turns, cut out, woven again, and where weights come from."""

from __future__ import annotations

import numpy as np
import pytest

from hub.dtypes import DTYPES, F32, U8
from hub.errors import ConfigError
from hub.io.source import FileSource
from hub.ir.derived import cut, turned
from hub.ir.part import ArrayPart, FilePart, PartSpec, rows_spec
from hub.ir.tensor import Packed, Tensor
from hub.ir.values import Dense
from hub.ir.woven import EveryPart, WovenPart, every, woven
from hub.shares import Every, EveryColumn, Rows
from hub.transforms import Transpose

WHOLE = np.arange(3 * 6 * 4, dtype=np.float32).reshape(3, 6, 4)


def dense(array: np.ndarray, name: str = "t") -> Tensor:
    spec = rows_spec(DTYPES["f32"], array.shape)
    return Tensor(name, array.shape, Dense(ArrayPart(array.reshape(spec.shape), spec)))


def loaded(tensor: Tensor) -> np.ndarray:
    (part,) = tensor.parts.values()
    return part.load(0, tensor.rows).reshape(tensor.shape)


def test_rows_in_turns_and_back() -> None:
    shares = [(Every([i, 2]), Every([i, 2]).forward(dense(WHOLE))) for i in range(2)]
    for (_, tensor), wanted in zip(shares, (WHOLE[:, ::2], WHOLE[:, 1::2]), strict=True):
        assert tensor.shape == (3, 3, 4)
        assert np.array_equal(loaded(tensor), wanted)
        assert np.array_equal(tensor.parts["data"].load(2, 7), wanted.reshape(-1, 4)[2:7])
    whole = Every.together(shares)
    assert whole.shape == WHOLE.shape
    for start in range(0, 18, 5):
        for stop in range(start, 19, 3):
            assert np.array_equal(whole.parts["data"].load(start, stop), WHOLE.reshape(-1, 4)[start:stop])


def test_what_was_woven_comes_apart_unread() -> None:
    parts = [dense(WHOLE[:, i::2]).parts["data"] for i in range(2)]
    whole = woven(parts, ("a", "b"))
    assert every(whole, 1, 2) is parts[1]
    assert isinstance(every(whole, 1, 3), EveryPart)
    one = cut(whole, 6, 12)
    assert isinstance(one, WovenPart)
    assert np.array_equal(one.load(0, 6), WHOLE[1])
    assert not isinstance(cut(whole, 5, 12), WovenPart)
    assert np.array_equal(cut(whole, 5, 12).load(0, 7), WHOLE.reshape(-1, 4)[5:12])


def test_packed_rows_stay_packed() -> None:
    codes, scale = np.arange(24, dtype=np.uint8).reshape(6, 4), np.arange(6, dtype=np.float32)[:, None]
    parts = {"codes": ArrayPart(codes, PartSpec(U8, (6, 4))), "scale": ArrayPart(scale, PartSpec(F32, (6, 1)))}
    tensor = Tensor("p", (6, 4), Packed("toy", (6, 4), parts))
    up = Every([1, 2]).forward(tensor)
    assert up.layout == "toy" and up.shape == (3, 4)
    assert np.array_equal(up.parts["codes"].load(1, 3), codes[3::2])
    assert np.array_equal(up.parts["scale"].load(0, 3), scale[1::2])


def test_columns_in_turns_and_back() -> None:
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    shares = [(EveryColumn([i, 3]), EveryColumn([i, 3]).forward(dense(array))) for i in range(3)]
    for i, (_, tensor) in enumerate(shares):
        assert tensor.shape == (4, 2)
        assert np.array_equal(loaded(tensor), array[:, i::3])
        assert tensor.parts["data"].place(2, 1, 2).number == 2 * 6 + 3 + i
    whole = EveryColumn.together(shares)
    assert np.array_equal(loaded(whole), array)
    again = EveryColumn([2, 3]).forward(whole)
    assert again.parts["data"] is shares[2][1].parts["data"]


def test_places_are_those_of_the_file() -> None:
    gate, up = dense(WHOLE[:, ::2], "gate"), dense(WHOLE[:, 1::2], "up")
    whole = Every.together([(Every([0, 2]), gate), (Every([1, 2]), up)])
    place = whole.parts["data"].place(5, 2, 4)
    assert (place.name, place.number) == ("up", 2 * 4 + 2)
    part = Every([1, 2]).forward(dense(WHOLE)).parts["data"]
    assert part.place(4, 3, 4).number == 9 * 4 + 3
    assert part.stored_row(4) == 9


@pytest.mark.parametrize("kind", ["array", "file"])
def test_each_matrix_of_a_stack_is_turned(kind: str, tmp_path) -> None:
    wanted = WHOLE.transpose(0, 2, 1)
    (tmp_path / "w").write_bytes(bytes(8) + WHOLE.tobytes())
    with FileSource(tmp_path / "w") as source:
        spec = rows_spec(DTYPES["f32"], WHOLE.shape)
        part = FilePart(spec, source, 8) if kind == "file" else ArrayPart(WHOLE.reshape(-1, 4), spec)
        tensor = Tensor("w", WHOLE.shape, Dense(part))
        made = Transpose(None).backward(tensor)
        assert made.shape == (3, 4, 6)
        for start, stop in ((0, 12), (1, 3), (3, 9), (7, 8), (5, 5)):
            assert np.array_equal(made.parts["data"].load(start, stop), wanted.reshape(-1, 6)[start:stop])
        assert made.parts["data"].place(6, 5, 6).number == 1 * 24 + 5 * 4 + 2
        back = Transpose(None).forward(made)
        assert back.parts["data"] is part


def test_a_large_matrix_is_turned_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.ir.derived.KEPT", 0)
    monkeypatch.setattr("hub.ir.derived.BLOCK", 40)
    tensor = dense(WHOLE)
    made = turned(tensor.parts["data"], tensor)
    assert np.array_equal(made.load(2, 11), WHOLE.transpose(0, 2, 1).reshape(-1, 6)[2:11])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="not 2 in turns"):
        Every([0, 2]).forward(dense(np.zeros((2, 5, 3), np.float32)))
    with pytest.raises(ConfigError, match="not 2 in turns"):
        EveryColumn([0, 2]).forward(dense(np.zeros((2, 5), np.float32)))
    with pytest.raises(ConfigError, match="every: 2 of 2"):
        Every([2, 2]).forward(dense(WHOLE))
    half = Every([1, 2]).forward(dense(WHOLE))
    for kind in (Every, EveryColumn):
        with pytest.raises(ConfigError, match="1 of 2 tensors that make it are there"):
            kind.together([(kind([1, 2]), half)])
        with pytest.raises(ConfigError, match="not of one type and shape"):
            kind.together([(kind([0, 2]), half), (kind([1, 2]), dense(WHOLE))])
    with pytest.raises(ConfigError, match="rows 2 to 3 are in no tensor"):
        Rows.together([(Rows([0, 2]), dense(WHOLE[0, :2])), (Rows([3, 6]), dense(WHOLE[0, 3:]))])
