"""tiktoken: the ids of a byte-level BPE, from the same tokenizer.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common


def byte_of() -> dict[str, int]:
    """GPT-2's letters for bytes, backwards."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(byte): byte for byte in plain}
    rest = [byte for byte in range(256) if byte not in plain]
    return letters | {chr(256 + i): byte for i, byte in enumerate(rest)}


def pattern_of(value: Any) -> str:
    """The first regular expression in the pre-tokenizer's settings."""
    if isinstance(value, dict):
        if isinstance(value.get("Regex"), str):
            return value["Regex"]
        value = list(value.values())
    found = map(pattern_of, value) if isinstance(value, list) else ()
    return next(filter(None, found), "")


def encode(source: Path, tokenizer: str) -> Callable[[], list[list[int]]]:
    import tiktoken

    file = json.loads(Path(tokenizer).read_text())
    special = {token["content"]: token["id"] for token in file["added_tokens"]}
    letters = byte_of()
    ranks = {
        bytes(letters[c] for c in token): id_
        for token, id_ in file["model"]["vocab"].items()
        if token not in special
    }
    encoding = tiktoken.Encoding(
        "regrow",
        pat_str=pattern_of(file["pre_tokenizer"]),
        mergeable_ranks=ranks,
        special_tokens={},
    )
    texts = common.texts_of(source)
    return lambda: [encoding.encode_ordinary(text) for text in texts]


if __name__ == "__main__":
    common.answer({"encode": encode})
