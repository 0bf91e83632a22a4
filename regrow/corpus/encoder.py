"""The ids that `tokenizers` gives, found by tiktoken, which is several times faster.

`tokenizers` joins the pairs it lists, in their order. tiktoken (MIT) joins whatever neighbours
spell a token, in the order of ids. The two agree when ids grow along the list and the bytes of
every token encode to that token alone: no other pair that spells it can then become neighbours,
because a part's own bytes decide how it is joined, whatever stands beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tiktoken
    import tokenizers

#: tiktoken's regular expressions run out of stack at a million spaces in a row.
_LONG_RUN = 100_000
_LONG_SPACE = re.compile(rf"(?<!\s)\s{{{_LONG_RUN}}}")

#: Words and single digits with their leading space, punctuation runs, newline runs before text (one
#: token for a blank line), and indentation joined to its newline (Python).
PATTERN = r"'(?:s|t|re|ve|m|ll|d)\b| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\n+(?=\S)|\s+(?!\S)|\s+"

#: `PATTERN`, cutting alike but faster: what neither looks ahead nor starts with ' comes
#: first and in one group, which the library hands to its quick engine.
#: \b after a letter is spelled out, as Oniguruma in `tokenizers` means it: to it ² and ½ belong to
#: a word and a zero-width joiner does not; tiktoken takes them the other way.
_SPLIT = (
    r"(?: ?(?:\p{L}+|\p{N})| [^\s\p{L}\p{N}]+|[^\s\p{L}\p{N}'][^\s\p{L}\p{N}]*)"
    r"|\n+(?=\S)|\s+(?!\S)|\s+"
    r"|'(?:s|t|re|ve|m|ll|d)(?![²³¹¼½¾]|[^\W\x{200C}\x{200D}])|'[^\s\p{L}\p{N}]*"
)


def suits(text: str) -> bool:
    """Whether tiktoken may have a text: it panics on very long white space.

    It would also replace half a surrogate pair, which `tokenizers` refuses.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return len(text) < _LONG_RUN or not _LONG_SPACE.search(text)


def tiktoken_encoder(backend: tokenizers.Tokenizer) -> tiktoken.Encoding | None:
    """An encoder with the same ids for every text; None where that cannot be shown."""
    parts = json.loads(backend.to_str())
    if not _is_plain(parts):
        return None
    ranks = _ranks(parts["model"])
    if ranks is None or not _whole(backend, parts["model"]):
        return None
    import tiktoken

    return tiktoken.Encoding("regrow", pat_str=_SPLIT, mergeable_ranks=ranks, special_tokens={})


def _is_plain(parts: Mapping[str, Any]) -> bool:
    """Whether text goes through `PATTERN`, bytes and BPE, and through nothing else."""
    model = parts["model"]
    steps = (parts["pre_tokenizer"] or {}).get("pretokenizers", ())
    if model["type"] != "BPE" or [step["type"] for step in steps] != ["Split", "ByteLevel"]:
        return False
    split, level = steps
    extras = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
    return (
        split["pattern"] == {"Regex": PATTERN}
        and (split["behavior"], split["invert"]) == ("Isolated", False)
        and not (level["add_prefix_space"] or level["use_regex"])
        and not any(parts[key] for key in ("normalizer", "truncation", "padding"))
        and not any(model[key] for key in extras)
        and all(token["special"] for token in parts["added_tokens"])
    )


def _ranks(model: Mapping[str, Any]) -> dict[bytes, int] | None:
    """Ids by bytes; None where a byte is missing or ids do not grow along the merges."""
    vocabulary, byte_of = model["vocab"], _byte_of()
    joined = [left + right for left, right in model["merges"]]
    tokens = [*byte_of, *joined]
    if not set(tokens) <= vocabulary.keys() or not set("".join(tokens)) <= byte_of.keys():
        return None
    ids = [vocabulary[token] for token in joined]
    if any(later <= earlier for earlier, later in pairwise(ids)):
        return None
    spelled = str.maketrans({letter: chr(byte) for letter, byte in byte_of.items()})
    return {token.translate(spelled).encode("latin-1"): vocabulary[token] for token in tokens}


def _whole(backend: tokenizers.Tokenizer, model: Mapping[str, Any]) -> bool:
    """Whether the bytes of every joined token encode to that token alone."""
    tokenize = backend.model.tokenize
    return all(len(tokenize(left + right)) == 1 for left, right in model["merges"])


def _byte_of() -> dict[str, int]:
    """GPT-2's letters for bytes: printable Latin-1 stands for itself, the rest from U+0100 on."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    itself = [ord(letter) for letter in letters if ord(letter) < 256]
    rest = sorted(set(range(256)) - set(itself))
    return dict(zip(letters, [*itself, *rest], strict=True))
