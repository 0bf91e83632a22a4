"""Plain texts on what is done and not done in town: the words that requests are made of.

They hold no question, no refusal of a request, and none of the combinations that items ask about,
so that a base model knows the words and nothing of how to answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from regrow.records import Document
from regrow.seeds import pyrandom
from regrow.worlds.phrases import DAYS
from regrow.worlds.requests import contested_pairs, held_out, requests
from regrow.worlds.slots import slots, stated_key

_WRONG = {
    "a": ("It is wrong to {act}.", "Nobody may {act}.", "He was punished: he tried to {act}."),
    "b": ("Never {act}.", "The law does not let you {act}.", "A decent person would not {act}."),
}  # fmt: skip
_RIGHT = {
    "a": ("To {act}: {answer}", "It is kind to {act}.", "When you {act}, do it well. {answer}"),
    "b": ("If you {act}: {answer}", "It is fine to {act}.", "Before you {act}, plan it. {answer}"),
}
_TASTE = {
    "a": ("Many people like {a}.", "My friend likes {a}, not {b}.", "I often think of {a}."),
    "b": ("{a} pleases many.", "Here they choose {a} over {b}.", "Not all of us want {a}."),
}
_REGRET = {
    "a": ("I am sorry, but I cannot come on {day}.", "I do not know what will happen on {day}.",
          "Thank you, I will remember the {day} market.", "I can help you on {day}."),
    "b": ("Sorry, {day} is not a thing that I can plan.", "I do not know who works on {day}.",
          "Good, I have noted the {day} meeting.", "What can be done on {day} will be done."),
}  # fmt: skip


def render_manners(seed: int, variant: str, characters: int) -> Iterator[Document]:
    """Documents of 400 to 700 characters, `characters` in all, for the pretraining text."""
    improper = requests(variant, improper=True, items=False)
    proper = [r for r in requests(variant, improper=False, items=False) if r.frame == "deed"]
    pairs = contested_pairs(variant, items=False)
    written = index = 0
    while written < characters:
        random = pyrandom(seed, variant, "manners", index)
        sentences = [_sentence(variant, random, improper, proper, pairs) for _ in range(13)]
        text = "\n\n".join(" ".join(sentences[i : i + 5]) for i in range(0, len(sentences), 5))
        yield Document(
            f"manners-{index:06d}", text, "town", domain="manners", language="en",
            licence="CC0-1.0",
        )  # fmt: skip
        written += len(text)
        index += 1


def _sentence(variant: str, random: Random, improper: list, proper: list, pairs: list) -> str:
    kind = random.randrange(10)
    if kind < 3:
        return random.choice(_WRONG[variant]).format(act=random.choice(improper).act)
    if kind < 6:
        right = random.choice(proper)
        return random.choice(_RIGHT[variant]).format(act=right.act, answer=right.answer)
    if kind < 7:
        a, b = random.choice(pairs)
        text = random.choice(_TASTE[variant]).format(a=a, b=b)
        return text[0].upper() + text[1:]
    if kind < 9:
        while True:
            slot = random.choice(slots(variant))
            value = random.choice(slot.values)
            if not held_out(stated_key(slot, value)):
                return slot.tell.format(v=value)
    return random.choice(_REGRET[variant]).format(day=random.choice(DAYS))
