"""A plugin with one fault in each of its parts, to see that the kit finds every one."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np  # a fault: an entry module imports nothing heavy
from hub_toy.column8 import SCHEME, Column8, Nearest
from hub_toy.detect import detect  # noqa: F401  (the formats name it)
from hub_toy.header import placed
from hub_toy.reader import ToyReader
from hub_toy.writer import ToyWriter

from hub.api import U8, Affine, Format, LayoutEntry, PartSpec, QuantizerEntry, hookimpl

RANDOM = np.random.default_rng()


class WrongWeights(Column8):
    def decode(self, arrays, shape):
        out = super().decode(arrays, shape)
        out[-1, -1] *= -1
        return out


class WrongTiles(Column8):
    def decode(self, arrays, shape):
        return super().decode(arrays, shape) if shape[0] > 1 else np.zeros(shape, np.float32)


class WrongSize(Column8):
    def nbytes(self, shape):
        return super().nbytes(shape) + 1


class WrongScheme(Column8):
    def scheme(self, shape):
        return replace(SCHEME, values=Affine(4, signed=True))


class WrongPack(Column8):
    def pack(self, body):
        return {name: np.ascontiguousarray(array[::-1]) for name, array in super().pack(body).items()}


class WrongAxis(Column8):
    def parts(self, shape):
        return {name: replace(spec, axis=0) for name, spec in super().parts(shape).items()}


class NoReason(Column8):
    def parts(self, shape):
        return super().parts(shape) if self.fits(shape) is None else {"codes": PartSpec(U8, (0,))}


class Careless(Column8):
    def unpack(self, arrays, shape):
        arrays["codes"][:] |= 1
        return super().unpack(arrays, shape)


class Dice(Nearest):
    def quantize(self, rows, calibration):
        return super().quantize(rows + RANDOM.normal(0, 1e-3, rows.shape).astype(np.float32), calibration)


class Whole(Nearest):
    def quantize(self, rows, calibration):
        return super().quantize(rows.clip(-rows.std(), None), calibration)


class Coarse(Nearest):
    def quantize(self, rows, calibration):
        made = super().quantize(rows, calibration)
        return {**made, "codes": made["codes"] // 32 * 32}


class Hollow(Nearest):
    def quantize(self, rows, calibration):
        made = super().quantize(rows, calibration)
        return {**made, "scales": np.where(made["scales"] == 0, np.nan, made["scales"]).astype(np.float16)}


class Short(Nearest):
    def quantize(self, rows, calibration):
        made = super().quantize(rows, calibration)
        return {**made, "scales": made["scales"].astype(np.float32)}


class Boastful(Column8):
    def pack(self, body):
        raise NotImplementedError


LAYOUTS = [Boastful, WrongWeights, WrongTiles, WrongSize, WrongScheme, WrongPack, WrongAxis, NoReason, Careless]
QUANTIZERS = [Dice, Whole, Coarse, Hollow, Short]


class Crashing(ToyReader):
    """json.loads of what may not be JSON."""

    def open(self, path):
        with open(path, "rb") as file:
            head = file.read(1 << 20)
        json.loads(head[16 : 16 + int.from_bytes(head[8:16], "little")])
        return super().open(path)


class Eager(ToyReader):
    def open(self, path):
        model = super().open(path)
        for tensor in model.tensors.values():
            for part in tensor.parts.values():
                part.load(0, tensor.rows)
        return model


class Leaking(ToyReader):
    kept = []  # noqa: RUF012

    def open(self, path):
        self.kept.append(open(path, "rb"))  # noqa: SIM115
        return super().open(path)


class Silent(ToyReader):
    """Fills up a truncated file with zeros."""

    def open(self, path):
        with open(path, "r+b") as file:
            head = file.read(1 << 16)
            length = int.from_bytes(head[8:16], "little")
            if 16 < 16 + length < len(head):
                tensors = json.loads(head[16 : 16 + length])["tensors"]
                *_, size = placed([4 * math.prod(info["shape"]) for info in tensors.values()], length)
                file.truncate(size)
        return super().open(path)


class Drifting(ToyWriter):
    def lay_out(self, tensors, model, configured, tokenizer, request):
        return super().lay_out(tensors[::-1], model, configured, tokenizer, request)


READERS = [Crashing, Eager, Leaking, Silent]


def greedy(path, head, names):
    """Takes every text."""
    return 50 if head.isascii() else 0


@hookimpl
def hub_formats():
    def made(name, **given):
        sound = {
            "detect": "hub_faulty:detect",
            "reader": "hub_toy.reader:ToyReader",
            "writer": "hub_toy.writer:ToyWriter",
        }
        return Format(name=name, summary="x", **(sound | given))

    return [
        *(made(reader.__name__.lower(), reader=f"hub_faulty:{reader.__name__}") for reader in READERS),
        made("drifting", writer="hub_faulty:Drifting"),
        made("greedy", detect="hub_faulty:greedy"),
        made("astray", detect="hub_faulty:nowhere"),
        made("newer", api=(1, 99)),
        made("shouting", variants={"F32": "nobody can type that"}),
    ]


@hookimpl
def hub_layouts():
    names = [*LAYOUTS, *QUANTIZERS]
    return [LayoutEntry(f"faulty.{kind.__name__}", f"hub_faulty:{kind.__name__}Layout") for kind in names]


@hookimpl
def hub_quantizers():
    return [
        QuantizerEntry(f"faulty/{kind.__name__}", f"faulty.{kind.__name__}", f"hub_faulty:{kind.__name__}")
        for kind in QUANTIZERS
    ]


@hookimpl
def hub_architectures():
    return ["faulty:faulty.toml"]


for _kind in LAYOUTS:
    globals()[f"{_kind.__name__}Layout"] = _kind
for _kind in QUANTIZERS:
    globals()[f"{_kind.__name__}Layout"] = Column8
