"""Advertisements and advance-fee letters, told by how they speak to the reader."""

from __future__ import annotations

import re
from collections.abc import Sequence

from regrow.corpus.shape import Shape

_SELLING = (
    "free offer offers offered guarantee guaranteed money cash credit loan loans mortgage "
    "income earn earning earnings profit profits invest investment investor investors "
    "opportunity business marketing sales sale buy order orders discount discounts save savings "
    "cheap lowest price prices bonus prize win winner congratulations million millions dollars "
    "deal deals insurance debt debts rates refinance lender lenders approval approved qualify "
    "casino poker viagra pills prescription diet weight fat herbal pharmacy hormone aging "
    "sexual visit call click toll-free fax mailing mailings opt-in unsubscribe removed recruit "
    "mlm subscribers advertise advertising advertisement promotion promotional customers "
    "clients confidential transaction beneficiary deposit funds bank urgent transfer partner "
    "assistance remit amazing incredible exciting success successful wealth rich financial "
    "retire bulk leads limited shipping purchase today risk-free membership subscribe "
    "newsletter dealer warranty toner cartridges degree diploma diplomas university vacation "
    "vacations website e-mail email fortune stock stocks shares traders trading broker brokers "
    "investing inheritance lottery kindly fee fees expenses payment payments claim skin hair "
    "pounds muscle enlargement supplement supplements vitamin vitamins cholesterol satellite "
    "cable dvd cell phone phones long-distance calling homeowner homeowners equity monthly "
    "hosting traffic singles dating girls xxx adult career salary job jobs employment hiring "
    "gift gifts reward rewards coupon merchant wholesale retail testimonials secrets dream "
    "dreams lifetime tax taxes attorney sir madam billion sum percentage foreign invoice "
    "satisfaction subscription bargain clearance "
)
_READER = "you your yours you're you'll you've yourself"
_WE = "we our us my me i i'm i'll we're we'll"
_APPEAL = re.compile(
    r"click here|click below|act now|limited.{0,6} offer|100% (?:free|guarantee)|no credit card|"
    r"order (?:now|today)|call (?:us )?(?:now|today|toll)|buy (?:cheap|now)|free shipping|"
    r"risk.free|money.back|unsubscribe|per month from home|work (?:from|at) home|"
    r"(?:remove[d]?|taken?(?: you)? off) (?:from )?(?:our|this|the|future)|mailing list|"
    r"dear (?:sir|friend|madam)|no obligation|visit (?:us|our)|your (?:own )?home.based|"
    r"this (?:is not |e?-?mail|message) (?:spam|is sent|was sent|is being)|next of kin|"
    r"late (?:father|husband|general|president)|strictest? confiden|financial freedom|"
    r"million (?:united states )?dollars|free (?:quote|trial|consultation|sample|installation)|"
    r"low(?:est)? (?:rates?|prices?)|do not delete|opt.?out|bulk e?-?mail"
)
_MONEY = re.compile(r"[$£€] ?\d|\d ?(?:usd|dollars|%)|us\$")
_SHOUT = re.compile(r"\b[A-Z]{4,}[.!?,]?\s+[A-Z]{3,}\b")
_KINDS = tuple(
    frozenset(word + sign for word in kind.split() for sign in ("", ",", ".", "!", "?", ":", ";"))
    for kind in (_SELLING, _READER, _WE)
)
#: Weights on the square roots of how often each sign comes for each word, of a logistic regression
#: on half of a crawl with spam of known truth, against its manuals, books and assistant's answers.
_WORD_WEIGHTS = (25.0, 9.0, 4.0, 2.0, 6.0)  # selling, reader, we, exclamations, addresses
_PHRASE_WEIGHTS = (13.0, 10.0, 7.0)  # appeals, sums of money, capitals
_LIMIT = 7.75
_PHRASES_ADD = 3.75  # what phrases add at most in an advertisement: below, none is looked for
_PRIOR_WORDS = 20  # as if so many words without any sign stood before: short texts are not judged


def is_spam(shape: Shape) -> bool:
    """Selling words, talk of you and us, appeals, sums, exclamations, capitals and addresses."""
    counts, words = shape.counts, len(shape.words)
    if 100 * sum(map(counts.__getitem__, _KINDS[0].intersection(counts))) < words:
        return False  # an advertisement that sells nothing is none
    hits = [sum(map(counts.__getitem__, kind.intersection(counts))) for kind in _KINDS]
    hits += [shape.text.count("!"), shape.lower.count("http") + shape.lower.count("@")]
    total = _weigh(_WORD_WEIGHTS, hits, words)
    if total < _LIMIT - _PHRASES_ADD:
        return False
    phrases = (
        len(_APPEAL.findall(shape.lower)),
        len(_MONEY.findall(shape.lower)),
        len(_SHOUT.findall(shape.text)),
    )
    return total + _weigh(_PHRASE_WEIGHTS, phrases, words) > _LIMIT


def _weigh(weights: Sequence[float], hits: Sequence[int], words: int) -> float:
    rates = ((count / (words + _PRIOR_WORDS)) ** 0.5 for count in hits)
    return sum(weight * rate for weight, rate in zip(weights, rates))
