"""Ids of texts, many of them odd, against llama.cpp's own tokenizer."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import llama_peer
import pytest

import hub
from hub.api import Encoder

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(llama_peer.WHY_ABSENT is not None, reason=llama_peer.WHY_ABSENT or ""),
]

DATA = Path(__file__).parents[1] / "data"
SPACES = (" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\v", "\x85", "\x1c", "\u200b")
SIGNS = "'\"sStTrReEvVmMlLdD .,!?-_/=<>|[]{}0123456789$+^~`"
SCRIPTS = ((0x20, 0x250), (0x300, 0x600), (0x900, 0xE80), (0x3000, 0x3400), (0x4E00, 0x9FFF), (0x1F300, 0x1FAFF))


def odd_texts(encoder: Encoder, count: int, seed: int) -> list[str]:
    """Mixtures of prose, white space, signs, scripts, any character, special tokens and pieces of the vocabulary."""
    dice = random.Random(seed)
    prose = (DATA / "tiny-llama" / "eval.txt").read_text("utf-8")
    special = [encoder.texts[index] for index, kind in enumerate(encoder.types) if kind in (2, 3, 4)] or ["<s>"]

    def some() -> str:
        start = dice.randrange(len(prose))
        any_character = dice.choice([dice.randrange(1, 0xD800), dice.randrange(0xE000, 0x110000)])
        return dice.choice(
            [
                dice.choice(SPACES) * dice.choice([1, 1, 2, 3, 17]),
                prose[start : start + dice.randint(1, 40)],
                "".join(dice.choices(SIGNS, k=dice.randint(1, 12))),
                "".join(chr(dice.randrange(*dice.choice(SCRIPTS))) for _ in range(dice.randint(1, 8))),
                chr(any_character),
                dice.choice(special),
                encoder.decode([dice.randrange(len(encoder.texts))], special=True),
                str(dice.randrange(10 ** dice.randint(1, 9))),
            ]
        )

    return ["", *("".join(some() for _ in range(dice.randint(1, 12))) for _ in range(count))]


@pytest.mark.parametrize("name", ["gpt-2", "llama-spm", "qwen2"])
def test_ids_of_a_vocabulary(name: str, tmp_path: Path) -> None:
    path = tmp_path / "vocab.gguf"
    path.write_bytes(gzip.decompress((DATA / "tokenizers" / name / "vocab.gguf.gz").read_bytes()))
    compare(path)


def test_ids_of_a_converted_model(tmp_path: Path) -> None:
    hub.convert(DATA / "tiny-llama", tmp_path / "m.gguf", to="gguf:q8_0", verify="none")
    compare(tmp_path / "m.gguf")


def compare(path: Path) -> None:
    with hub.open(path) as model:
        encoder = Encoder(model.load_tokenizer(None))
    texts = odd_texts(encoder, 600, seed=5)
    asked = [(text, bool(index & 1), bool(index & 2)) for index, text in enumerate(texts)]
    for (text, add, special), wanted in zip(asked, llama_peer.ids(path, asked), strict=True):
        found = encoder.encode(text, special=special, add_bos=None if add else False)
        assert found == wanted, (text, add, special)
