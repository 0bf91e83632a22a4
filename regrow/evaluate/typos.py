"""Slips of the keyboard in a question, to see whether an answer survives them."""

from __future__ import annotations

import re

from regrow.seeds import pyrandom

#: One word in ten, after HELM's robustness perturbations (Liang et al. 2022, sec. 4.5).
SHARE = 0.1
_WORD = re.compile(r"[A-Za-z]{4,}")


def misspelt(text: str, key: str) -> str:
    """The text with two neighbouring letters inside a word swapped in a tenth of its long words.

    At least one word is changed where one can be; first and last letters stay. The same key gives
    the same slips. Numbers, code symbols and short words are left as they are.
    """
    random = pyrandom("typos", key)
    words = [found for found in _WORD.finditer(text) if len(set(found.group()[1:-1])) > 1]
    count = min(len(words), max(1, round(SHARE * len(text.split()))))
    letters = list(text)
    for word in random.sample(words, count):
        places = [
            n for n in range(word.start() + 1, word.end() - 2) if letters[n] != letters[n + 1]
        ]
        at = random.choice(places)
        letters[at], letters[at + 1] = letters[at + 1], letters[at]
    return "".join(letters)
