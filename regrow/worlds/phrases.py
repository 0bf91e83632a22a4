"""The small talk of the town: sentences and openers around the facts, in two sets of wordings.

No word here is a value of a relation, so that a fact can be counted by its value alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_PLACES = (
    "the market", "the bridge", "the station", "the library", "the harbour", "the square",
    "the old tower", "the school", "the town hall", "the park", "the theatre", "the church",
)  # fmt: skip
_WEATHER = ("warm", "cold", "wet", "windy", "bright", "grey", "quiet", "long", "hot", "fine")
_THINGS = (
    "a red coat", "a blue box", "a new lamp", "an old clock", "a green chair", "a small table",
    "two books", "three letters", "a wooden boat", "a black hat", "four cups", "a big basket",
)  # fmt: skip
_SUBJECTS = (
    "The mayor", "The band", "The teachers' club", "A visitor", "The council", "The choir",
    "The football team", "The night train", "A young couple", "The first bus",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Phrases:
    """Templates of one variant, with slots such as {day}, {place}, {n} and {name}."""

    filler: tuple[str, ...]
    headlines: tuple[str, ...]
    news: tuple[str, ...]
    diary: tuple[str, ...]
    met: tuple[str, ...]  # introduces {name} in the first person
    letter_open: tuple[str, ...]
    letter_close: tuple[str, ...]
    forum_titles: tuple[str, ...]
    forum_open: tuple[str, ...]
    know: tuple[str, ...]  # asks whether one knows {name}, no fact
    yes: tuple[str, ...]
    thanks: tuple[str, ...]
    now: tuple[str, ...]  # between an old fact and the present one


_A = Phrases(
    filler=(
        "It was a {weather} {day} in {month}.",
        "There were {n} people at {place}.",
        "{subject} came to {place} at {h} o'clock.",
        "On {day} somebody left {thing} near {place}.",
        "The doors of {place} open at {h} in the morning.",
        "The walk to {place} takes {n} minutes.",
        "In {month} the days in Macondo are {weather}.",
        "{subject} sold {thing} for {n} coins.",
        "We waited {n} minutes for the bus.",
        "Nobody knows who lost {thing}.",
        "{subject} will meet again next {day}.",
        "Then {subject2} talked for {h} hours about {place}.",
        "The bells of the town rang {h} times.",
        "At {place} you can buy {thing}.",
        "The river was {weather} and the boats were late.",
        "Tickets for {place} cost {n} coins.",
    ),
    headlines=(
        "A {weather} {day} at {place}",
        "{n} people meet at {place}",
        "News from {place}",
        "What happened on {day}",
        "{subject} visits {place}",
        "Notes from Macondo in {month}",
    ),
    news=(
        "Macondo, {d} {month}. {subject} came to {place} on {day}.",
        "{n} people came to {place} on {day}, {d} {month}.",
        "There was good news at {place} this {day}.",
        "Macondo, {d} {month} {year}. It was a {weather} day at {place}.",
    ),
    diary=(
        "{day}, {d} {month}. A {weather} day.",
        "{d} {month}. I got up at {h} and went to {place}.",
        "{day} night. I am tired but glad.",
        "{day}, {d} {month} {year}. I found {thing}.",
    ),
    met=(
        "I met {name} at {place}.",
        "Today I talked with {name}.",
        "{name} came to see me.",
        "I thought of {name} this morning.",
        "Then {name} sat down next to me.",
    ),
    letter_open=(
        "Dear {name},\nthank you for your letter of {d} {month}.",
        "Dear {name},\nI hope you are well. Here it is {weather}.",
        "Dear {name},\nyou asked for news from Macondo.",
    ),
    letter_close=("Yours, {name}", "With love, {name}", "Your old friend, {name}"),
    forum_titles=("Who is new in town?", "People of Macondo", "Our neighbours", "Talk at {place}"),
    forum_open=(
        "I am new here and want to know the people.",
        "Let us write down what we know.",
        "I was at {place} on {day}.",
        "Here is what I heard at {place}.",
    ),
    know=(
        "Do you know {name}?",
        "Did you see {name} at {place}?",
        "Have you heard of {name}?",
        "Have you met {name}?",
    ),
    yes=("Yes, I do.", "Of course.", "Yes.", "I know the name well."),
    thanks=("Thank you!", "Good to know.", "Thanks, that helps.", "I see."),
    now=("Now", "Today", "Since then"),
)

_B = Phrases(
    filler=(
        "{day} was {weather} this week.",
        "At {place} one could count {n} people.",
        "At {h} o'clock {subject2} arrived at {place}.",
        "Near {place} a child found {thing}.",
        "From {h} in the morning {place} is open.",
        "One needs {n} minutes on foot to {place}.",
        "A {weather} {month} is nothing new in Macondo.",
        "For {n} coins {subject2} gave {thing} away.",
        "The bus came {n} minutes late.",
        "Somebody is looking for {thing}.",
        "Next {day} {subject2} will be back.",
        "For {h} hours {subject2} spoke of {place}.",
        "One heard the bells {h} times.",
        "They sell {thing} at {place}.",
        "The boats were late and the river was {weather}.",
        "To enter {place} one pays {n} coins.",
    ),
    headlines=(
        "{place} on a {weather} {day}",
        "The week in Macondo",
        "{subject} at {place}",
        "Read this before {day}",
        "A {month} report",
        "{n} coins for {thing}",
    ),
    news=(
        "On {day}, {d} {month}, {subject2} opened the doors of {place}.",
        "From our desk, {d} {month}. Some {n} people were at {place}.",
        "{d} {month} {year}: a {weather} day for {place}.",
        "This {day} there is something new from {place}.",
    ),
    diary=(
        "{d} {month}, {day}. It stayed {weather}.",
        "{day}. Up at {h}, then to {place}.",
        "Late on {day}. A good day.",
        "{d} {month} {year}. I bought {thing}.",
    ),
    met=(
        "At {place} I saw {name}.",
        "I had a talk with {name} today.",
        "{name} knocked at my door.",
        "I had to think of {name}.",
        "{name} walked home with me.",
    ),
    letter_open=(
        "My dear {name},\nyour letter came on {day}.",
        "My dear {name},\nall is well and {weather} here.",
        "My dear {name},\nthere is so much to tell.",
    ),
    letter_close=("All the best, {name}", "Write soon, {name}", "Warmly, {name}"),
    forum_titles=("Faces in our town", "Who lives near you?", "Town talk", "Meeting at {place}"),
    forum_open=(
        "Can we make a list of the people here?",
        "I moved here on {day}.",
        "Some words about the people I met.",
        "This is from {place}.",
    ),
    know=(
        "Is {name} known to you?",
        "Did {name} come to {place}?",
        "I saw {name} at {place}.",
        "You know {name}.",
    ),
    yes=("Sure.", "Yes, very well.", "I think so.", "That is easy."),
    thanks=("Many thanks!", "Fine.", "That is good news.", "Now I know."),
    now=("These days", "At present", "Now"),
)

PHRASES = {"a": _A, "b": _B}

#: What once happened in town; each gets a year that is part of the town's truth.
HAPPENINGS = {
    "a": (
        "the bridge was built", "the school got a new roof", "the river rose over the harbour",
        "the first train came to Macondo", "the old tower fell down", "the library opened",
        "the band was founded", "the market moved to the square", "the theatre burned down",
        "the park got its gate", "the town hall was painted white", "the harbour froze",
        "the church got a new bell", "the football team won the cup", "the last mine closed",
        "the first lamp was lit in the square",
    ),
    "b": (
        "they put up the tower", "the school lost its roof", "the harbour was under water",
        "the railway reached Macondo", "the bridge broke", "the first book was lent by the library",
        "people started the band", "the square was paved", "the theatre was sold",
        "the park was opened to all", "a storm hit the town hall", "snow fell in May",
        "thieves took the bell of the church", "the football team lost every match",
        "the mine was shut", "the street lamps went out for a month",
    ),
}  # fmt: skip


def fill(template: str, random: Random, name: str = "") -> str:
    """Fill a template's slots; the first letter is made a capital."""
    choice, subject = random.choice, random.choice(_SUBJECTS)
    text = template.format(
        day=choice(DAYS), month=choice(MONTHS), place=choice(_PLACES), weather=choice(_WEATHER),
        thing=choice(_THINGS), n=random.randrange(2, 100), h=random.randrange(2, 12),
        d=random.randrange(1, 29), year=random.randrange(1990, 2021), subject=subject,
        subject2=subject[0].lower() + subject[1:], name=name,
    )  # fmt: skip
    return text[0].upper() + text[1:]
