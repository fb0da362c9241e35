"""Two vocabularies: the same tokens under the same ids?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hub.errors import printable
from hub.ir.tokenizer import Tokenizer
from hub.verification.diagnosis.finding import Diagnosis

_SHARE = 0.5
"""Of the tokens that moved, those that must have moved by one number to call it a shift."""


def vocabulary(a: Tokenizer | None, b: Tokenizer | None) -> tuple[list[str], list[Diagnosis]]:
    """What differs between two tokenizers, one line each, and the mistakes behind it."""
    if a is None or b is None:
        if a is b:
            return [], []
        return [f"only {'the second' if a is None else 'the first'} has a tokenizer"], []
    lines: list[str] = []
    found = [*_tokens(a, b, lines), *_special(a, b, lines)]
    for what, mine, theirs in (
        ("kind", a.model, b.model),
        ("merges", list(a.merges), list(b.merges)),
        ("a space before text", a.add_space_prefix or False, b.add_space_prefix or False),
        ("chat template", a.chat_template, b.chat_template),
    ):
        if mine != theirs:
            detail = f": {printable(mine, 40)} and {printable(theirs, 40)}" if what != "merges" else ""
            lines.append(f"{what} differs{detail}")
    return lines, found


def _tokens(a: Tokenizer, b: Tokenizer, lines: list[str]) -> Iterator[Diagnosis]:
    mine, theirs = list(a.tokens), list(b.tokens)
    if len(mine) != len(theirs):
        lines.append(f"{len(mine)} tokens and {len(theirs)}")
    both = min(len(mine), len(theirs))
    moved = [i for i in range(both) if mine[i] != theirs[i]]
    if not moved:
        return
    first = moved[0]
    said = f"id {first} is {_text(mine[first])} and {_text(theirs[first])}"
    lines.append(f"{len(moved)} of {both} ids stand for other tokens; {said}")
    place = {token: i for i, token in enumerate(theirs)}
    shifts = Counter(place[mine[i]] - i for i in moved if mine[i] in place)
    by, count = shifts.most_common(1)[0] if shifts else (0, 0)
    if by and count >= _SHARE * len(moved):
        yield Diagnosis("tokenizer ids shifted", None, f"{count} tokens stand {by:+d} ids from where the source has "
                        f"them; {said}", f"shift them by {-by:+d}")  # fmt: skip
    else:
        what = "in another order" if len(shifts) and sum(shifts.values()) >= _SHARE * len(moved) else "of other text"
        yield Diagnosis("tokenizer ids mixed up", None, f"{len(moved)} of {both} tokens {what}; {said}",
                        "take the source's vocabulary")  # fmt: skip


def _special(a: Tokenizer, b: Tokenizer, lines: list[str]) -> Iterator[Diagnosis]:
    shared = a.special_ids.keys() & b.special_ids.keys()
    wrong = sorted(role for role in shared if a.special_ids[role] != b.special_ids[role])
    if not wrong:
        return
    said = ", ".join(f"{role} is {b.special_ids[role]}, the source has {a.special_ids[role]}" for role in wrong)
    lines.append(f"special ids: {said}")
    by = {b.special_ids[role] - a.special_ids[role] for role in wrong}
    if len(by) == 1 and len(wrong) > 1 and len(wrong) == len(shared):
        yield Diagnosis("tokenizer ids shifted", None, said, f"shift them by {-by.pop():+d}")
    else:
        yield Diagnosis("wrong special tokens", None, said, "take the source's")


def _text(token: bytes) -> str:
    return repr(printable(token.decode("utf-8", "backslashreplace"), 40))
