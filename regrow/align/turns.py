"""How the tokens of turns begin: as the words that stand in their place in plain text.

Pretraining never meets these tokens, and the softmax drives all rows that it never meets into one
direction: the first tuning would have to learn from nothing what ends a question and what calls for
an answer, and what a base can do in plain text would hardly carry over into turns. (New tokens are
usually begun at the mean of all rows, as in Hewitt 2021; here at that of the words in their place.)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from regrow.corpus.tokenizer import Tokenizer

#: The tokens of turns, and what a text of questions and answers has in their places.
PLAIN = {"user": "Q:", "assistant": "A:", "end": "\n"}


def begin_as_words(weights: Mapping[str, Tensor], tokenizer: Tokenizer) -> None:
    """Set the rows of turn tokens, in place, to the mean rows of their words.

    `weights` are a decoder's by name. A tokenizer without our turns leaves them as they are.
    """
    if tokenizer.assistant < 0:
        return
    with torch.no_grad():
        for rows_vd in (weights[name] for name in ("embedding", "head") if name in weights):
            for name, text in PLAIN.items():
                rows_vd[getattr(tokenizer, name)] = rows_vd[tokenizer.encode(text)].mean(0)
