"""The parts that programs of the world are made of, and how three wordings speak of each.

A program's meaning is a choice of parts (keep some, change each, gather); its body, its name and
its docstring are put together from them. Variant "b" has other names, other wordings and partly
other parts, so that results can be shown to carry over.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One step of a program.

    `word` stands in the function's name, `code` in its body ({x}: the single value, {s}: the
    sequence), `noun` and `verb` in its docstring. `result` tells where a part may stand: the type
    that a change gives or that a gathering needs ("" means any).
    """

    word: str
    code: str
    noun: str
    verb: str = ""
    result: str = ""


@dataclass(frozen=True, slots=True)
class Style:
    """How a variant of the world writes programs: parts, names of arguments and wordings.

    Each wording is a pattern over {gather} {gather_verb} {keep} {change} {change_verb}; the
    `without` forms of the same index stand where a program keeps everything or changes nothing.
    """

    number: str  # the name of a single number
    numbers: str  # ... of a list of numbers
    word: str
    words: str
    table: str  # ... of a dictionary of counts
    pair: tuple[str, str]
    number_filters: tuple[Part, ...]
    number_maps: tuple[Part, ...]
    number_folds: tuple[Part, ...]
    word_filters: tuple[Part, ...]
    word_maps: tuple[Part, ...]
    word_folds: tuple[Part, ...]
    table_folds: tuple[Part, ...]
    combines: tuple[Part, ...]


def _number_filters(*extra: Part) -> tuple[Part, ...]:
    return (
        Part("even", "{x} % 2 == 0", "even"),
        Part("odd", "{x} % 2 == 1", "odd"),
        Part("positive", "{x} > 0", "positive"),
        Part("negative", "{x} < 0", "negative"),
        *extra,
    )


_A = Style(
    number="n",
    numbers="numbers",
    word="w",
    words="words",
    table="stock",
    pair=("a", "b"),
    number_filters=_number_filters(
        Part("large", "{x} > 9", "large"),
        Part("small", "{x} < 5", "small"),
        Part("nonzero", "{x} != 0", "nonzero"),
        Part("round", "{x} % 5 == 0", "round"),
    ),
    number_maps=(
        Part("doubled", "{x} * 2", "doubled", "double"),
        Part("tripled", "{x} * 3", "tripled", "triple"),
        Part("squared", "{x} * {x}", "squared", "square"),
        Part("halved", "{x} // 2", "halved", "halve"),
        Part("raised", "{x} + 1", "raised", "raise"),
        Part("lowered", "{x} - 1", "lowered", "lower"),
        Part("negated", "-{x}", "negated", "negate"),
        Part("lifted", "{x} + 10", "lifted", "lift"),
        Part("dropped", "{x} - 10", "dropped", "drop"),
        Part("clipped", "{x} % 10", "clipped", "clip"),
    ),
    number_folds=(
        Part("sum", "sum({s})", "sum", "add them"),
        Part("count", "len({s})", "count", "count them"),
        Part("largest", "max({s}, default=0)", "largest", "find the largest"),
        Part("smallest", "min({s}, default=0)", "smallest", "find the smallest"),
        Part("list", "{s}", "list", "list them"),
        Part("sorted", "sorted({s})", "sorted list", "sort them"),
        Part("reversed", "{s}[::-1]", "reversed list", "reverse them"),
        Part("distinct", "sorted(set({s}))", "distinct list", "drop the repeats"),
        Part("first", "{s}[:2]", "first two", "take the first two"),
        Part("last", "{s}[-2:]", "last two", "take the last two"),
    ),
    word_filters=(
        Part("long", "len({x}) > 4", "longer than four"),
        Part("short", "len({x}) < 4", "shorter than four"),
        Part("with_a", '"a" in {x}', "with an a"),
        Part("with_e", '"e" in {x}', "with an e"),
        Part("early", '{x} < "m"', "before m"),
        Part("late", '{x} > "m"', "after m"),
    ),
    word_maps=(
        Part("uppercased", "{x}.upper()", "uppercased", "uppercase", "text"),
        Part("flipped", "{x}[::-1]", "flipped", "flip", "text"),
        Part("shortened", "{x}[:2]", "shortened", "shorten", "text"),
        Part("repeated", "{x} + {x}", "repeated", "repeat", "text"),
        Part("marked", '{x} + "!"', "marked", "mark", "text"),
        Part("measured", "len({x})", "measured", "measure", "number"),
    ),
    word_folds=(
        Part("list", "{s}", "list", "list them"),
        Part("count", "len({s})", "count", "count them"),
        Part("joined", '" ".join({s})', "joined line", "join them", "text"),
        Part("sorted", "sorted({s})", "sorted list", "sort them"),
        Part("reversed", "{s}[::-1]", "reversed list", "reverse them"),
        Part("distinct", "sorted(set({s}))", "distinct list", "drop the repeats"),
        Part("first", "{s}[:2]", "first two", "take the first two"),
        Part("last", "{s}[-2:]", "last two", "take the last two"),
    ),
    table_folds=(
        Part("sum", "sum({s}.values())", "sum", "add them"),
        Part("names", "sorted({s})", "names", "sort the names"),
        Part("table", "{s}", "table", "give the table"),
        Part("largest", "max({s}.values(), default=0)", "largest", "find the largest"),
        Part("size", "len({s})", "size", "count them"),
    ),
    combines=(
        Part("sum", "a + b", "sum"),
        Part("difference", "a - b", "difference"),
        Part("product", "a * b", "product"),
        Part("larger", "max(a, b)", "larger"),
        Part("smaller", "min(a, b)", "smaller"),
    ),
)

_B = Style(
    number="x",
    numbers="values",
    word="name",
    words="names",
    table="prices",
    pair=("p", "q"),
    number_filters=_number_filters(
        Part("high", "{x} >= 8", "high"),
        Part("low", "{x} <= 3", "low"),
        Part("threefold", "{x} % 3 == 0", "threefold"),
        Part("other", "{x} != 1", "other"),
    ),
    number_maps=(
        Part("twinned", "{x} * 2", "twinned", "twin"),
        Part("trebled", "{x} * 3", "trebled", "treble"),
        Part("quadrupled", "{x} * 4", "quadrupled", "quadruple"),
        Part("split", "{x} // 2", "split", "split"),
        Part("grown", "{x} + 1", "grown", "grow"),
        Part("shrunk", "{x} - 1", "shrunk", "shrink"),
        Part("turned", "-{x}", "turned", "turn"),
        Part("boosted", "{x} + 5", "boosted", "boost"),
        Part("reduced", "{x} - 5", "reduced", "reduce"),
        Part("bared", "abs({x})", "bared", "bare"),
    ),
    number_folds=(
        Part("total", "sum({s})", "total", "total them"),
        Part("amount", "len({s})", "amount", "see how many"),
        Part("top", "max({s}, default=0)", "top", "keep the top"),
        Part("bottom", "min({s}, default=0)", "bottom", "keep the bottom"),
        Part("row", "{s}", "row", "give the row"),
        Part("ordered", "sorted({s})", "ordered row", "order them"),
        Part("falling", "sorted({s})[::-1]", "falling row", "order them downwards"),
        Part("single", "sorted(set({s}))", "single row", "keep each once"),
        Part("head", "{s}[:3]", "head", "keep three in front"),
        Part("tail", "{s}[1:]", "tail", "skip one"),
    ),
    word_filters=(
        Part("wide", "len({x}) > 4", "wider than four"),
        Part("narrow", "len({x}) < 4", "narrower than four"),
        Part("has_i", '"i" in {x}', "having an i"),
        Part("has_r", '"r" in {x}', "having an r"),
        Part("front", '{x} < "k"', "ahead of k"),
        Part("back", '{x} > "k"', "behind k"),
    ),
    word_maps=(
        Part("shouted", "{x}.upper()", "shouted", "shout", "text"),
        Part("mirrored", "{x}[::-1]", "mirrored", "mirror", "text"),
        Part("trimmed", "{x}[-2:]", "trimmed", "trim", "text"),
        Part("asked", '{x} + "?"', "asked", "ask", "text"),
        Part("spelled", '"-".join({x})', "spelled", "spell", "text"),
        Part("sized", "len({x})", "sized", "size", "number"),
    ),
    word_folds=(
        Part("row", "{s}", "row", "give the row"),
        Part("amount", "len({s})", "amount", "see how many"),
        Part("line", '", ".join({s})', "line", "put them in a line", "text"),
        Part("ordered", "sorted({s})", "ordered row", "order them"),
        Part("falling", "sorted({s})[::-1]", "falling row", "order them downwards"),
        Part("single", "sorted(set({s}))", "single row", "keep each once"),
        Part("head", "{s}[:3]", "head", "keep three in front"),
        Part("tail", "{s}[1:]", "tail", "skip one"),
    ),
    table_folds=(
        Part("total", "sum({s}.values())", "total", "total them"),
        Part("goods", "sorted({s})", "goods", "order the goods"),
        Part("table", "{s}", "table", "give the table"),
        Part("bottom", "min({s}.values(), default=0)", "bottom", "keep the bottom"),
        Part("amount", "len({s})", "amount", "see how many"),
    ),
    combines=(
        Part("total", "p + q", "total", "total"),
        Part("gap", "abs(p - q)", "gap", "see the gap of"),
        Part("area", "p * q", "area", "multiply"),
        Part("top", "max(p, q)", "top", "keep the top of"),
        Part("bottom", "min(p, q)", "bottom", "keep the bottom of"),
    ),
)

STYLES = {"a": _A, "b": _B}

#: Words that programs work on; all lower case, different first letters and lengths.
WORDS = (
    "apple", "bread", "cat", "dog", "egg", "fish", "garden", "hat", "ink", "jar", "kite", "lamp",
    "market", "nut", "orange", "pear", "queen", "river", "stone", "tree", "umbrella", "van",
    "water", "yard", "bird", "cup", "door", "fox", "goat", "house", "moon", "owl", "road", "sun",
)  # fmt: skip
