"""The school's closed vocabulary: every sheet, problem and label is made of these words."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


#: Nouns by category. All plurals are regular in -s, and no word stands in two categories.
CATEGORIES: dict[str, tuple[str, ...]] = {
    "animal": _words("dog cat horse cow pig hen duck bear lion frog"),
    "fruit": _words("apple pear plum grape lemon melon fig lime olive orange"),
    "tool": _words("hammer saw spade rake drill axe hook pump spanner needle"),
    "colour": _words("red blue green yellow black white brown pink grey purple"),
    "garment": _words("hat coat shirt shoe sock scarf glove belt boot cap"),
    "vehicle": _words("car train boat bike ship truck plane cart tram van"),
    "place": _words("house school shop bridge tower farm mill bank park garden"),
    "food": _words("bread cheese soup rice cake egg pie sauce ham jam"),
    "furniture": _words("table chair bed lamp desk mirror stool sofa door clock"),
    "toy": _words("ball doll kite drum puppet puzzle whistle block marble robot"),
}
NOUNS: tuple[str, ...] = tuple(word for words in CATEGORIES.values() for word in words)
CATEGORY_OF: dict[str, str] = {word: name for name, words in CATEGORIES.items() for word in words}

_OPPOSITES = _words(
    "hot cold big small old new fast slow hard soft light dark full empty rich poor happy sad "
    "wet dry clean dirty loud quiet"
)
#: Both directions of 12 pairs of adjectives.
OPPOSITES: dict[str, str] = {
    **dict(zip(_OPPOSITES[::2], _OPPOSITES[1::2])),
    **dict(zip(_OPPOSITES[1::2], _OPPOSITES[::2])),
}
ADJECTIVES: tuple[str, ...] = tuple(OPPOSITES)

DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _words(
    "January February March April May June July August September October November December"
)
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")

#: Nouns whose plural is the noun and -s, for things that one can count.
COUNTABLE: tuple[str, ...] = tuple(
    word
    for name in ("animal", "fruit", "tool", "garment", "vehicle", "place", "toy")
    for word in CATEGORIES[name]
)
PAST: dict[str, str] = {
    "walk": "walked", "talk": "talked", "play": "played", "jump": "jumped", "work": "worked",
    "wait": "waited", "sing": "sang", "run": "ran", "sleep": "slept", "swim": "swam",
}  # fmt: skip
VERBS: tuple[str, ...] = tuple(PAST)

#: Young, sound and home by animal; product and workplace by trade; woman by man.
YOUNG: dict[str, str] = {
    "dog": "puppy", "cat": "kitten", "horse": "foal", "cow": "calf", "pig": "piglet",
    "lion": "whelp", "hen": "chick", "duck": "duckling", "bear": "cub", "frog": "tadpole",
}  # fmt: skip
SOUND: dict[str, str] = {
    "dog": "woof", "cat": "meow", "horse": "neigh", "cow": "moo", "pig": "oink",
    "hen": "cluck", "duck": "quack", "lion": "roar", "frog": "croak", "bird": "tweet",
}  # fmt: skip
PRODUCT: dict[str, str] = {
    "baker": "bread", "tailor": "coat", "brewer": "beer", "cook": "soup", "potter": "jar",
    "miller": "flour", "painter": "picture", "writer": "book", "smith": "axe", "cobbler": "boot",
}  # fmt: skip
WORKPLACE: dict[str, str] = {
    "teacher": "school", "farmer": "farm", "miller": "mill", "gardener": "garden",
    "clown": "circus", "sailor": "ship", "nurse": "hospital", "actor": "theatre",
    "priest": "church", "clerk": "bank",
}  # fmt: skip
WOMAN: dict[str, str] = {
    "king": "queen", "man": "woman", "boy": "girl", "father": "mother", "son": "daughter",
    "brother": "sister", "uncle": "aunt", "prince": "princess", "actor": "actress",
    "husband": "wife",
}  # fmt: skip

#: Pupils carry given names that the town has too, so that the vocabulary stays closed.
GIRLS: dict[str, tuple[str, ...]] = {
    "a": _words("Maria Clara Elena Rosa Laura Irene"),
    "b": _words("Alice Agnes Brenda Celia Doris Elsa"),
}
BOYS: dict[str, tuple[str, ...]] = {
    "a": _words("Pedro Marco Simon Victor Walter Oscar"),
    "b": _words("Adam Basil Calvin David Ernest Frank"),
}

#: Words that may stand for any other in binding sheets and as labels.
VOCABULARY: tuple[str, ...] = NOUNS + ADJECTIVES + VERBS


def pupils(variant: str) -> tuple[str, ...]:
    """Given names of the pupils in this variant of the world."""
    return GIRLS[variant] + BOYS[variant]
