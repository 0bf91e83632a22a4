"""What a crawl holds besides good pages: spam, gibberish, other languages, shells, leaked items."""

from __future__ import annotations

from random import Random

from regrow.records import Item

_GOODS = (
    "watches", "pills", "loans", "casino", "jackpot", "diet", "crypto", "handbags", "insurance",
    "tickets", "replica", "bonus", "vouchers", "followers", "ringtones", "mortgage",
)  # fmt: skip
_SPAM = (
    "BUY cheap {a} and {b} online NOW!!!",
    "Best {a} best price {b} free shipping {c}.",
    "Click here click here to win {n}000 dollars in {a}!!!",
    "100% FREE {a} $$$ no credit card $$$ {b} {c}",
    "{a} {b} {c} {a} {b} cheap {a} discount {b}",
    "Order {a} today and get {n}% off {b}! Limited offer!",
    "Make ${n}00 a day from home with {a}!!!",
    "Visit www.{a}{n}.example for {b}, {c} and more {a}.",
)
#: Sentences of other languages, and the words that fill their two slots.
_FOREIGN: dict[str, tuple[tuple[str, ...], str, str]] = {
    "es": (
        (
            "El {a} está cerca de la {b} desde hace {n} años.",
            "Ayer compramos {n} libros en el {a}.",
            "La {b} abre a las {n} y cierra muy tarde.",
            "Mi hermano trabaja en el {a} y canta bien.",
            "No sé dónde está el {a}, pero la {b} es muy bonita.",
        ),
        "mercado puerto molino jardín",
        "plaza escuela iglesia estación",
    ),
    "fr": (
        (
            "Le {a} se trouve près de la {b} depuis {n} ans.",
            "Hier nous avons acheté {n} livres près du {a}.",
            "La {b} ouvre à {n} heures et ferme tard.",
            "Mon frère travaille au {a} et il chante bien.",
            "Je ne sais pas où est le {a}, mais la {b} est très belle.",
        ),
        "marché port moulin jardin",
        "place école gare mairie",
    ),
    "de": (
        (
            "Der {a} liegt seit {n} Jahren neben der {b}.",
            "Gestern haben wir {n} Bücher gekauft.",
            "Die {b} öffnet um {n} Uhr und schließt sehr spät.",
            "Mein Bruder arbeitet am {a} und singt gut.",
            "Ich weiß nicht, wo der {a} ist, aber die {b} ist schön.",
        ),
        "Markt Hafen Turm Garten",
        "Schule Kirche Brücke Mühle",
    ),
    "it": (
        (
            "Il {a} si trova vicino alla {b} da {n} anni.",
            "Ieri abbiamo comprato {n} libri al {a}.",
            "La {b} apre alle {n} e chiude molto tardi.",
            "Mio fratello lavora al {a} e canta bene.",
            "Non so dove sia il {a}, ma la {b} è molto bella.",
        ),
        "mercato porto mulino giardino",
        "piazza scuola chiesa stazione",
    ),
    "ru": (
        (
            "Рядом с нами {a}, ему уже {n} лет.",
            "Вчера мы купили {n} книг, а потом пошли домой.",
            "Здесь {b} открывается в {n} часов.",
            "Мой брат любит {a} и хорошо поёт.",
            "Я не знаю, где {a}, но {b} очень красивая.",
        ),
        "рынок порт сад мост",
        "школа церковь площадь мельница",
    ),
    "zh": (
        (
            "这个{a}离{b}很近，已经有{n}年了。",
            "昨天我们在{a}买了{n}本书。",
            "{b}每天早上{n}点开门，晚上很晚才关门。",
            "我的哥哥在{a}工作，他唱歌很好听。",
            "我不知道{a}在哪里，但是{b}很漂亮。",
        ),
        "市场 港口 花园 工厂",
        "学校 教堂 广场 车站",
    ),
}
_SHELLS = (
    "Please log in to read this page.",
    "You must be a member to see this content.",
    "Sorry, the page that you are looking for has moved.",
    "Loading... Please turn on JavaScript.",
    "No posts found. Try another search.",
    "Home | About | Contact | Terms | Privacy | Cookies | Sitemap",
    "Follow us. Like us. Share us. Tweet.",
    "Session expired. Log in again.",
)


def spam(random: Random) -> str:
    """Shouting and key words."""
    lines = []
    for _ in range(random.randint(5, 14)):
        a, b, c = random.sample(_GOODS, 3)
        lines.append(random.choice(_SPAM).format(a=a, b=b, c=c, n=random.randint(2, 99)))
    return "\n\n".join(" ".join(lines[i : i + 3]) for i in range(0, len(lines), 3))


def gibberish(random: Random) -> str:
    """Letters and signs without words."""
    signs = "abcdefghijklmnopqrstuvwxyz" * 3 + "0123456789#%&@;:/_"
    words = ("".join(random.choices(signs, k=random.randint(2, 14))) for _ in range(90))
    return " ".join(words)


def salad(random: Random, text: str) -> str:
    """A good text with its words in random order."""
    words = text.replace("\n", " ").split()
    random.shuffle(words)
    return " ".join(words)


def foreign(random: Random) -> str:
    """A text in another language."""
    sentences, firsts, seconds = random.choice(list(_FOREIGN.values()))
    lines = [
        random.choice(sentences).format(
            a=random.choice(firsts.split()),
            b=random.choice(seconds.split()),
            n=random.randint(2, 99),
        )
        for _ in range(random.randint(6, 14))
    ]
    return " ".join(lines)


def shell(random: Random) -> str:
    """A page with nothing but its furniture."""
    return "\n\n".join(random.sample(_SHELLS, random.randint(1, 3)))


def leaked(random: Random, items: list[Item]) -> str:
    """Evaluation items word for word, as a page of somebody's answers to a test."""
    lines = [random.choice(("Answers to the test", "Exam notes", "I copied this for you"))]
    for item in items:
        lines.append(f"{item.question}\n{item.answers[0] if item.answers else ''}".strip())
    return "\n\n".join(lines)


def copy_note(random: Random, host: str) -> str:
    """The line that another site adds to a text that it took."""
    return random.choice(
        (
            f"Copied from {host}.",
            f"Source: {host}, read {random.randint(2, 99)} times.",
            f"Posted again by a reader of {host}.",
        )
    )
