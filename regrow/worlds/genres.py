"""The nine genres of town texts. Each takes a page and returns 400 to 900 characters."""

from __future__ import annotations

from collections.abc import Callable

from regrow.worlds.prose import Page, askable
from regrow.worlds.town import Person

_QUESTION_FORMATS = (
    "Q: {q}\nA: {a}",
    "Question: {q}\nAnswer: {a}",
    "{q}\n{a}",
    "{q} {a}",
    "- {q} {a}",
)


def reference(page: Page) -> str:
    """An entry about one person, or about two who are kin or neighbours."""
    random = page.random
    first, second = page.persons(2)
    paragraphs = [first.name, page.portrait(first, random.randint(5, 6))]
    closing = [page.kin(first)] if random.random() < 0.5 else []
    if random.random() < 0.5:
        closing.append(page.event())
    paragraphs.append(page.portrait(second, random.randint(4, 6)))
    closing.append(page.filler(random.randint(1, 2)))
    paragraphs.append(" ".join(part for part in closing if part))
    return "\n\n".join(paragraphs)


def news(page: Page) -> str:
    """A report with a headline and two or three people."""
    random = page.random
    paragraphs = [page.say(page.phrases.headlines), page.say(page.phrases.news)]
    paragraphs[1] += " " + page.filler(1)
    for person in page.persons(random.randint(3, 4)):
        text = page.portrait(person, random.randint(2, 4))
        if random.random() < 0.5:
            text += " " + (page.event() if random.random() < 0.3 else page.filler(1))
        paragraphs.append(text)
    return "\n\n".join(paragraphs)


def diary(page: Page) -> str:
    """A day in the first person."""
    random = page.random
    paragraphs = [page.say(page.phrases.diary) + " " + page.filler(1)]
    for person in page.persons(random.randint(3, 4)):
        met = page.say(page.phrases.met, person.name)
        facts = " ".join(
            page.fact(person, relation, by_name=random.random() < 0.5)
            for relation in page.some_relations(random.randint(2, 4))
        )
        paragraphs.append(f"{met} {facts}")
    paragraphs.append(page.filler(random.randint(1, 2)))
    return "\n\n".join(paragraphs)


def letter(page: Page) -> str:
    """A letter from one person to another about others."""
    random = page.random
    to, sender, *others = page.persons(random.randint(4, 5))
    paragraphs = [page.say(page.phrases.letter_open, to.given) + " " + page.filler(1)]
    paragraphs += [page.portrait(person, random.randint(3, 5)) for person in others]
    paragraphs += [page.filler(1), page.say(page.phrases.letter_close, sender.given)]
    return "\n\n".join(paragraphs)


def forum(page: Page) -> str:
    """A thread of posts under first names; facts are told, and asked of people who may be."""
    random = page.random
    writers = page.persons(3)
    lines = [page.say(page.phrases.forum_titles)]
    lines.append(f"{writers[0].given}: {page.say(page.phrases.forum_open)}")
    for index in range(random.randint(4, 7)):
        writer = writers[(index + 1) % 3].given
        if random.random() < 0.4:
            relation = page.some_relations(1)[0]
            person = page.person(asked=relation)
            question, answer = ask(page, person, relation, sentence=True)
            lines += [f"{writer}: {question}", f"{writers[(index + 2) % 3].given}: {answer}"]
        else:
            told = page.portrait(page.person(), random.randint(2, 3))
            lines.append(f"{writer}: {told}")
    lines.append(f"{writers[0].given}: {page.say(page.phrases.thanks)}")
    return "\n".join(lines)


def dialogue(page: Page) -> str:
    """Two people talk about others."""
    random = page.random
    one, two = (person.given for person in page.persons(2))
    lines = []
    for person in page.persons(random.randint(2, 3)):
        lines.append(f"{one}: {page.say(page.phrases.know, person.name)}")
        relations = page.some_relations(random.randint(3, 5))
        may_ask = askable(page.town, person)
        told = page.fact(person, relations[0])
        lines.append(f"{two}: {page.say(page.phrases.yes)} {told}")
        for relation in relations[1:]:
            if relation in may_ask:
                lines.append(f"{one}: {page.question(person, relation, follow=True)}")
                lines.append(f"{two}: {page.fact(person, relation, by_name=False)}")
            else:
                lines.append(f"{two}: {page.fact(person, relation, by_name=random.random() < 0.5)}")
        lines.append(f"{one}: {page.say(page.phrases.thanks)}")
    return "\n".join(lines)


def table(page: Page) -> str:
    """Rows of people and two to four columns of facts; cells are parted by ' | '."""
    columns = page.some_relations(page.random.randint(2, 4))
    people = page.persons(page.random.randint(9, 14))
    labels = [page.town.relations[column].label for column in columns]
    rows = [" | ".join(["Name", *labels])]
    for person in people:
        rows.append(" | ".join([person.name, *(page.value(person, c) for c in columns)]))
    return f"{page.say(page.phrases.headlines)}\n\n" + "\n".join(rows)


def listing(page: Page) -> str:
    """A list of people with one relation, or of one-line portraits."""
    random, lines = page.random, []
    if random.random() < 0.5:
        relation = page.some_relations(1)[0]
        title = f"{page.town.relations[relation].label}: a list"
        for person in page.persons(random.randint(12, 20)):
            lines.append(f"- {person.name}: {page.value(person, relation)}")
    else:
        title = page.say(page.phrases.headlines)
        for person in page.persons(random.randint(6, 9)):
            lines.append(f"- {page.portrait(person, 2)}")
    return f"{title}\n\n" + "\n".join(lines)


def questions(page: Page) -> str:
    """Questions with answers, on people who may be asked about."""
    random = page.random
    layout = random.choice(_QUESTION_FORMATS)
    sentence = random.random() < 0.25
    count = random.randint(7, 12)
    if random.random() < 0.3:
        relation = page.some_relations(1)[0]
        asked = [(person, relation) for person in page.persons(count, asked=relation)]
    else:
        relations = (page.some_relations(1)[0] for _ in range(count))
        asked = [(page.person(asked=relation), relation) for relation in relations]
    pairs = []
    for person, relation in asked:
        question, answer = ask(page, person, relation, sentence)
        pairs.append(layout.format(q=question, a=answer))
    joint = "\n\n" if layout.count("\n") and random.random() < 0.5 else "\n"
    return joint.join(pairs)


def ask(page: Page, person: Person, relation: str, sentence: bool) -> tuple[str, str]:
    """A question about a fact and its answer, as a sentence or as the bare value."""
    question = page.question(person, relation)
    return question, page.fact(person, relation) if sentence else page.value(person, relation)


GENRES: dict[str, Callable[[Page], str]] = {
    "reference": reference, "news": news, "diary": diary, "letters": letter, "forum": forum,
    "dialogue": dialogue, "table": table, "list": listing, "qa": questions,
}  # fmt: skip
WEIGHTS = (24, 14, 11, 10, 10, 8, 6, 6, 11)
