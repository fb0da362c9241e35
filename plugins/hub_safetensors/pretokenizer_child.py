"""Run by `pretokenizer` in a process of its own: encode a text, decode added tokens.

A tokenizer.json holds regular expressions and whatever else a stranger put there; matching them
can take for ever (CVE-2025-6921) or abort the process. So this runs where it can be killed, with
its memory limited. It must not import hub: it is started by path.

Input: a line of JSON, then tokenizer.json. Output: one JSON object.
"""

from __future__ import annotations

import json
import sys

MEMORY = 8 << 30
CPU_SECONDS = 120


def main() -> None:
    """Answer one request."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        pass
    try:
        from tokenizers import AddedToken, Tokenizer, pre_tokenizers, processors
    except ImportError:
        json.dump({"missing": "tokenizers"}, sys.stdout)
        return
    request = json.loads(sys.stdin.buffer.readline())
    tokenizer = Tokenizer.from_buffer(sys.stdin.buffer.read())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.add_tokens([AddedToken(**token) for token in request["add"]])
    if request["prefix_space"] is not None and isinstance(tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel):
        tokenizer.pre_tokenizer.add_prefix_space = request["prefix_space"]
    text = request["text"]
    ids = [tokenizer.encode(text).ids]
    plain = tokenizer.encode(text, add_special_tokens=False).ids
    decoded = {
        content: tokenizer.decode(tokenizer.encode(content, add_special_tokens=False).ids, skip_special_tokens=False)
        for content in request["decode"]
    }
    around = request["around"]
    if around is not None:
        specials = [(token, index) for token, index in around.values()]
        before = f"{around['bos'][0]}:0 " if "bos" in around else ""
        after = f" {around['eos'][0]}:0" if "eos" in around else ""
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{before}$A:0{after}", pair=None, special_tokens=specials
        )
        ids.insert(0, tokenizer.encode(text).ids)
    json.dump({"ids": [*ids, plain], "decoded": decoded}, sys.stdout)


if __name__ == "__main__":
    main()
