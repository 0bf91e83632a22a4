"""What is known of people: six relations, how they are stated and how they are asked."""

from __future__ import annotations

from dataclasses import dataclass

from regrow.worlds import names


@dataclass(frozen=True, slots=True)
class Relation:
    """One kind of fact. `questions` hold {name}; `statements` hold {name} and {value}.

    `short` is the short answer with {value}; `pronoun` are statements that start with {She} in
    place of the name; `follow` are questions with {she} or {her} for a person already spoken of.
    `label` is the row name in tables. `changes` says whether the fact can change over time.
    """

    name: str
    label: str
    questions: tuple[str, ...]
    statements: tuple[str, ...]
    pronoun: tuple[str, ...]
    follow: tuple[str, ...]
    past: tuple[str, ...]
    values: tuple[str, ...]
    changes: bool = False
    short: str = "{value}"


# name: (label, changes, questions, statements, pronoun statements, follow-up questions, past)
_WORDINGS: dict[str, dict[str, tuple[str, bool, tuple[tuple[str, ...], ...]]]] = {
    "a": {
        "trade": (
            "Trade",
            True,
            (
                (
                    "What is the trade of {name}?",
                    "What does {name} do for work?",
                    "What is {name}'s job?",
                    "Which trade does {name} have?",
                ),
                (
                    "{name} is a {value}.",
                    "{name} works as a {value}.",
                    "The trade of {name} is {value}.",
                    "{name} earns a living as a {value}.",
                    "Everyone knows {name} the {value}.",
                ),
                (
                    "{She} is a {value}.",
                    "{She} works as a {value}.",
                    "By trade {she} is a {value}.",
                ),
                ("What is {her} trade?", "And what does {she} do for work?"),
                ("Until {year} {name} was a {value}.", "{name} worked as a {value} before {year}."),
            ),
        ),
        "street": (
            "Street",
            True,
            (
                (
                    "Where does {name} live?",
                    "In which street does {name} live?",
                    "What is the street of {name}?",
                    "Where is the home of {name}?",
                ),
                (
                    "{name} lives in {value}.",
                    "The home of {name} is in {value}.",
                    "{name} has a house in {value}.",
                    "You can find {name} in {value}.",
                    "In {value} lives {name}.",
                ),
                (
                    "{She} lives in {value}.",
                    "{Her} house is in {value}.",
                    "{Her} home is in {value}.",
                ),
                ("And where does {she} live?", "In which street does {she} live?"),
                (
                    "Until {year} {name} lived in {value}.",
                    "Before {year} the home of {name} was in {value}.",
                ),
            ),
        ),
        "birthplace": (
            "Birthplace",
            False,
            (
                (
                    "Where was {name} born?",
                    "What is the birthplace of {name}?",
                    "Where does {name} come from?",
                    "In which place was {name} born?",
                ),
                (
                    "{name} was born in {value}.",
                    "{name} comes from {value}.",
                    "The birthplace of {name} is {value}.",
                    "{name} first saw the light in {value}.",
                    "{value} is the birthplace of {name}.",
                ),
                (
                    "{She} was born in {value}.",
                    "{She} comes from {value}.",
                    "{Her} birthplace is {value}.",
                ),
                ("And where was {she} born?", "What is {her} birthplace?"),
                (),
            ),
        ),
        "pet": (
            "Pet",
            True,
            (
                (
                    "What pet does {name} have?",
                    "What is the pet of {name}?",
                    "Which animal does {name} keep?",
                    "What kind of pet is at the home of {name}?",
                ),
                (
                    "{name} has a {value}.",
                    "{name} keeps a {value} as a pet.",
                    "The pet of {name} is a {value}.",
                    "{name} takes good care of a {value}.",
                    "A {value} belongs to {name}.",
                ),
                ("{She} has a {value}.", "{She} keeps a {value}.", "{Her} pet is a {value}."),
                ("And what pet does {she} have?", "Which animal does {she} keep?"),
                ("Until {year} {name} had a {value}.", "Before {year} {name} kept a {value}."),
            ),
        ),
        "dish": (
            "Favourite dish",
            False,
            (
                (
                    "What is the favourite dish of {name}?",
                    "What does {name} like to eat most?",
                    "Which dish does {name} love?",
                    "What is {name}'s favourite food?",
                ),
                (
                    "The favourite dish of {name} is {value}.",
                    "{name} loves to eat {value}.",
                    "{name} likes {value} more than any other dish.",
                    "{name} always asks for {value}.",
                    "Nothing tastes better to {name} than {value}.",
                ),
                (
                    "{Her} favourite dish is {value}.",
                    "{She} loves to eat {value}.",
                    "{She} always asks for {value}.",
                ),
                ("And what is {her} favourite dish?", "Which dish does {she} love?"),
                (),
            ),
        ),
        "instrument": (
            "Instrument",
            False,
            (
                (
                    "What instrument does {name} play?",
                    "Which instrument does {name} play?",
                    "What is the instrument of {name}?",
                    "What does {name} play in the band?",
                ),
                (
                    "{name} plays the {value}.",
                    "The instrument of {name} is the {value}.",
                    "{name} plays the {value} in the band.",
                    "{name} learned to play the {value}.",
                    "On Sundays {name} plays the {value}.",
                ),
                (
                    "{She} plays the {value}.",
                    "{Her} instrument is the {value}.",
                    "{She} learned to play the {value}.",
                ),
                ("And what instrument does {she} play?", "What is {her} instrument?"),
                (),
            ),
        ),
    },
    "b": {
        "trade": (
            "Work",
            True,
            (
                (
                    "What work does {name} do?",
                    "How does {name} earn money?",
                    "What is the work of {name}?",
                    "By trade, what is {name}?",
                ),
                (
                    "{name} does the work of a {value}.",
                    "By trade {name} is a {value}.",
                    "{name} has been a {value} for years.",
                    "People hire {name} as a {value}.",
                ),
                (
                    "{She} does the work of a {value}.",
                    "{She} has been a {value} for years.",
                    "People hire {her2} as a {value}.",
                ),
                ("What work does {she} do?", "And how does {she} earn money?"),
                (
                    "{name} stopped work as a {value} in {year}.",
                    "In the years before {year} {name} was a {value}.",
                ),
            ),
        ),
        "street": (
            "Home",
            True,
            (
                (
                    "What lane does {name} live in?",
                    "Where is {name}'s house?",
                    "In which lane is the home of {name}?",
                    "Where can one find {name}?",
                ),
                (
                    "{name}'s house stands in {value}.",
                    "{name} is at home in {value}.",
                    "{value} is where {name} lives.",
                    "Letters for {name} go to {value}.",
                ),
                (
                    "{Her} house stands in {value}.",
                    "{She} is at home in {value}.",
                    "{Her} letters go to {value}.",
                ),
                ("And where is {her} house?", "What lane does {she} live in?"),
                (
                    "{name} left {value} in {year}.",
                    "In the years before {year} {name} lived in {value}.",
                ),
            ),
        ),
        "birthplace": (
            "Born in",
            False,
            (
                (
                    "What place does {name} come from?",
                    "What is {name}'s place of birth?",
                    "Where did the life of {name} begin?",
                    "In what place was {name} born?",
                ),
                (
                    "{name} is from {value}.",
                    "{value} is where {name} was born.",
                    "The life of {name} began in {value}.",
                    "{name} grew up in {value} after birth there.",
                ),
                (
                    "{She} is from {value}.",
                    "{Her} life began in {value}.",
                    "{Her} place of birth is {value}.",
                ),
                ("What place does {she} come from?", "And what is {her} place of birth?"),
                (),
            ),
        ),
        "pet": (
            "Animal",
            True,
            (
                (
                    "What animal lives with {name}?",
                    "What is {name}'s pet?",
                    "What animal does {name} own?",
                    "Which pet does {name} look after?",
                ),
                (
                    "{name} owns a {value}.",
                    "A {value} lives with {name}.",
                    "{name} looks after a {value}.",
                    "{name}'s pet is a {value}.",
                ),
                (
                    "{She} owns a {value}.",
                    "{She} looks after a {value}.",
                    "A {value} lives with {her2}.",
                ),
                ("What animal lives with {her2}?", "And what is {her} pet?"),
                (
                    "{name} gave away a {value} in {year}.",
                    "In the years before {year} {name} owned a {value}.",
                ),
            ),
        ),
        "dish": (
            "Best-loved food",
            False,
            (
                (
                    "What food does {name} like best?",
                    "What would {name} rather eat than anything?",
                    "What is the best-loved food of {name}?",
                    "What food makes {name} happy?",
                ),
                (
                    "{name} likes {value} best.",
                    "{value} is the food that {name} likes best.",
                    "For dinner {name} wants {value}.",
                    "A plate of {value} makes {name} happy.",
                ),
                (
                    "{She} likes {value} best.",
                    "For dinner {she} wants {value}.",
                    "A plate of {value} makes {her2} happy.",
                ),
                ("What food does {she} like best?", "And what food makes {her2} happy?"),
                (),
            ),
        ),
        "instrument": (
            "Music",
            False,
            (
                (
                    "What can {name} play?",
                    "On what instrument is {name} good?",
                    "What instrument does {name} practise?",
                    "What music does {name} make?",
                ),
                (
                    "{name} can play the {value}.",
                    "{name} is good on the {value}.",
                    "{name} practises the {value} at night.",
                    "The {value} is the instrument of {name}.",
                ),
                (
                    "{She} can play the {value}.",
                    "{She} is good on the {value}.",
                    "{She} practises the {value} at night.",
                ),
                ("What can {she} play?", "And what instrument does {she} practise?"),
                (),
            ),
        ),
    },
}


def relations(variant: str) -> dict[str, Relation]:
    """The six relations in their order, in the wordings and values of a variant."""
    made = {}
    for name, (label, changes, wordings) in _WORDINGS[variant].items():
        questions, statements, pronoun, follow, past = wordings
        made[name] = Relation(
            name,
            label,
            questions,
            statements,
            pronoun,
            follow,
            past,
            names.values(name, variant),
            changes,
        )
    return made


#: The relations of variant "a"; use `Town.relations` to be right in every variant.
RELATIONS = relations("a")
