from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow.corpus.decontaminate import clean_pieces, find, ordinary, wanted
from regrow.corpus.deduplicate import (
    bands_for,
    clusters,
    components,
    digest_of,
    jaccard,
    near_copies,
    pairs_of_band,
)
from regrow.corpus.diversity import diversity, entropy
from regrow.corpus.extract import (
    drop_site_lines,
    edge_lines,
    extract,
    furniture,
    html_to_text,
    tidy,
)
from regrow.corpus.grams import _SLICE, gram_sets, hash_words, word_spans
from regrow.corpus.identify import format_of, languages_of
from regrow.corpus.page import Page
from regrow.corpus.quality import keep, learn
from regrow.corpus.rules import broken_rule
from regrow.corpus.settings import (
    DecontaminateSettings,
    DeduplicateSettings,
    QualitySettings,
    RuleSettings,
)
from regrow.records import Item

SHEET = "Opposites\nhot -> cold\nbig -> small\nup -> down\nday -> night\nwet -> dry\nold -> new"
DRILL = "\n".join(f"{a} + {b} = {a + b}" for a in range(2, 9) for b in range(2, 9))
CODE = "def double(x):\n    if x:\n        return x + x\n    return 0\n\n\nprint(double(2))\n"
PROSE = (
    "The baker of the town lives in Mill Street. She has a cat that sleeps in the shop. "
    "In the morning the children come for bread, and in the evening it is quiet."
)


def html(main: str, around: str = "") -> str:
    return f"<html><body>{around}<main>{main}</main></body></html>"


def test_menus_banners_and_footers_go_and_the_content_stays() -> None:
    around = (
        "<nav><a href=/>Home</a></nav><div class='cookie-banner'>We use cookies</div>"
        "<aside>Most read</aside><footer>All rights reserved</footer>"
    )
    assert (
        html_to_text(html("<h1>Cats</h1><p>A cat sleeps.</p>", around)) == "Cats\n\nA cat sleeps."
    )


def test_code_keeps_its_indentation_and_tables_and_lists_their_rows() -> None:
    assert html_to_text(html(f"<pre>{CODE}</pre>")) == CODE.strip()
    table = "<table><tr><td>Ann</td><td>cat</td></tr><tr><td>Bo</td><td>dog</td></tr></table>"
    assert html_to_text(html(table)) == "Ann | cat\nBo | dog"
    assert html_to_text(html("<ul><li>hot</li><li>cold</li></ul>")) == "- hot\n- cold"


def test_short_lists_survive_where_links_do_not() -> None:
    links = "<ul>" + "<li><a href=/x>Somewhere else</a></li>" * 4 + "</ul>"
    page = f"<html><body>{links}<ul><li>hot -> cold</li><li>up -> down</li></ul></body></html>"
    assert html_to_text(page) == "- hot -> cold\n- up -> down"


def test_an_unclosed_banner_does_not_swallow_the_page() -> None:
    page = f"<html><body><div class='cookie-banner'>Cookies<p>{PROSE}</p></body></html>"
    assert PROSE in html_to_text(page)


@pytest.mark.parametrize(
    ("status", "content_type", "body", "reason"),
    [
        (404, "text/html", b"<p>gone</p>", "extract: http status 4xx"),
        (200, "image/png", b"\x89PNG", "extract: not text"),
        (200, "text/html", b"<html><body></body></html>", "extract: empty"),
    ],
)
def test_pages_without_text_are_named(
    status: int, content_type: str, body: bytes, reason: str
) -> None:
    page = Page("web", "r1", status=status, content_type=content_type, body=body)
    extract(page)
    assert page.reason == reason


def test_declared_and_undeclared_encodings_are_read() -> None:
    body = "<p>Café Zürich is a naïve façade.</p>".encode("latin-1")
    for charset in ("iso-8859-1", "", "no-such-charset"):
        page = Page("web", "r1", content_type="text/html", charset=charset, body=body)
        extract(page)
        assert page.text == "Café Zürich is a naïve façade."


def test_lines_that_a_host_repeats_are_dropped_from_its_pages_only() -> None:
    footer = "All rights reserved by the town press"
    pages = [Page("web", str(i), domain="a", text=f"Story {i}\n{footer}") for i in range(12)]
    lines = Counter(line for page in pages for line in edge_lines(page.text))
    assert furniture(lines, 12) == {footer}
    assert furniture(lines, 9) == set()  # too few pages to tell
    lines["How to reach this command"] = 5  # a manual's heading, on less than half of its pages
    lines["Back to the front page"] = 6
    assert furniture(lines, 12) == {footer, "Back to the front page"}
    drop_site_lines(pages[3], {footer})
    assert pages[3].text == "Story 3"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (PROSE, "en"),
        ("Der Markt liegt neben der Schule und ist nicht sehr alt, aber die Brücke auch.", "de"),
        ("El mercado está en la plaza desde hace años y los niños van por la tarde.", "es"),
        ("这个市场离学校很近，已经有三年了。", "zh"),
        ("Рядом с нами рынок, ему уже сто лет.", "ru"),
        ("これは本です。とても古いです。", "ja"),
        (SHEET, "en"),
        ("a -> e\no -> a\ne -> o\na -> o\nas -> a", "und"),
        ("12 + 4 = 16", "und"),
    ],
)
def test_languages_are_told_where_anything_tells(text: str, language: str) -> None:
    assert languages_of([text])[0] == language


@pytest.mark.parametrize(
    ("text", "format_"),
    [
        (PROSE, "prose"),
        (CODE, "code"),
        (SHEET, "list"),
        ("name | pet\nAnn | cat\nBo | dog", "table"),
        ("Ann: Hello.\nBo: Good morning.\nAnn: Where is the cat?", "dialogue"),
        (f"{PROSE}\nx = 1\ny = 2\nz = 3\n{PROSE}", "prose"),  # a manual with a listing
    ],
)
def test_formats_are_told_by_the_shape_of_the_lines(text: str, format_: str) -> None:
    assert format_of(text) == format_


@pytest.mark.parametrize("text", [PROSE, SHEET, DRILL, CODE, "Ann: Hi.\nBo: Hello.\n" * 9])
def test_good_text_of_every_shape_passes_the_rules(text: str) -> None:
    assert broken_rule(text, format_of(text), RuleSettings()) == ""


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Archive", "too short"),
        ("Page not found. Sorry, the page you are looking for does not exist.", "error page"),
        ("x" * 500, "word without end"),
        ("Click here to win!!! Buy cheap pills now!!! 100% FREE, order now!!!", "sales talk"),
        ("casino loans pills crypto bonus watches " * 20, "no frequent words"),
        ("the town and of " * 40 + "the", "repeated 2-gram"),
        ("\ufffd\ufffd The town is old and has a mill. It stands near the river, in a wood.",
         "odd characters"),
    ],
)  # fmt: skip
def test_bad_text_is_named_by_the_rule_it_breaks(text: str, rule: str) -> None:
    assert broken_rule(text, "prose", RuleSettings()) == rule


def test_exact_copies_differ_in_white_space_at_most() -> None:
    assert digest_of("a b") == digest_of("a\n b ")
    assert len({digest_of(text) for text in ("a b", "A b", "ab", "b a")}) == 4


def test_jaccard_of_two_sets() -> None:
    a, b = np.array([1, 2, 3, 4], np.uint64), np.array([3, 4, 5, 6, 7, 8], np.uint64)
    assert jaccard(a, b) == 2 / 8
    assert jaccard(a, a[:0]) == 0.0


def test_bands_miss_two_pairs_in_a_thousand_just_above_the_threshold() -> None:
    assert bands_for(0.5, 160) == (53, 3)
    above = np.linspace(0.5, 0.7, 21)
    assert ((1 - above**3) ** 53).mean() < 0.002 < ((1 - above**4) ** 40).mean()


def test_texts_with_one_key_are_paired_unless_their_sizes_forbid_it() -> None:
    keys = np.array([7, 3, 7, 7, 3], np.uint64)
    a, b = pairs_of_band(keys, np.array([10, 10, 11, 30, 0]), 0.5)
    assert set(zip(a.tolist(), b.tolist())) == {(0, 2)}


def test_a_key_that_very_many_share_costs_no_square() -> None:
    a, b = pairs_of_band(np.zeros(1000, np.uint64), np.full(1000, 5), 0.5)
    pairs = set(zip(a.tolist(), b.tolist()))
    assert len(a) == len(pairs) < 16 * 1000
    assert {(i, i + 1) for i in range(999)} | {(0, i) for i in range(1, 1000)} <= pairs


def test_the_best_of_texts_that_are_all_alike_stays() -> None:
    quality = np.array([0.2, 0.9, 0.9, 0.1, 0.5])
    survivor = clusters(np.array([0, 0, 1]), np.array([1, 2, 2]), quality)
    assert survivor.tolist() == [1, 1, 1, 3, 4]


def test_copies_that_are_unlike_each_other_share_the_text_they_were_made_of() -> None:
    survivor = clusters(np.array([0, 1, 1]), np.array([1, 2, 3]), np.array([0.9, 0.1, 0.9, 0.9]))
    assert survivor.tolist() == [1, 1, 1, 1]


def test_a_chain_loses_only_what_is_paired_with_a_survivor() -> None:
    a = np.arange(6)
    assert clusters(a, a + 1, np.zeros(7)).tolist() == [1, 1, 1, 3, 3, 5, 5]


def words_of(i: int, n: int = 100) -> list[str]:
    return [f"w{i}x{j}" for j in range(n)]


def test_near_copies_are_found_and_one_survives() -> None:
    original = words_of(1)
    copy = [*original[:50], "changed", *original[51:]]  # loses 5 of 96 five-grams: J = 91/101
    texts = [" ".join(words_of(0)), " ".join(original), " ".join(copy), " ".join(words_of(2))]
    found = near_copies(hash_words(texts), DeduplicateSettings())
    assert [i for i, _ in found] == [-1, -1, 1, -1]
    assert found[2][1] == pytest.approx(91 / 101)


def test_a_long_chain_of_likenesses_does_not_swallow_its_end() -> None:
    base = words_of(0, 200)
    texts = [" ".join(base[i : i + 120]) for i in range(0, 80, 10)]
    found = near_copies(hash_words(texts), DeduplicateSettings(threshold=0.8))
    sets = gram_sets(hash_words(texts), 5)
    survivors = [i for i, (original, _) in enumerate(found) if original < 0]
    assert len(survivors) > 2
    for i, (original, likeness) in enumerate(found):
        if original >= 0:
            assert original in survivors
            assert jaccard(sets[i], sets[original]) == likeness >= 0.8


@given(
    pairs=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40),
    piece=st.integers(1, 10),
)
@settings(deadline=None)
def test_texts_hang_together_where_a_way_of_pairs_joins_them(
    pairs: list[tuple[int, int]], piece: int
) -> None:
    def pieces() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for i in range(0, len(pairs), piece):
            a, b = np.asarray(pairs[i : i + piece]).T
            yield a, b

    groups = [{i} for i in range(31)]
    for a, b in pairs:
        joined = groups[a] | groups[b]
        for i in joined:
            groups[i] = joined
    assert components(31, pieces).tolist() == [min(group) for group in groups]


def test_sheets_of_one_template_with_other_words_all_survive() -> None:
    texts = [
        "\n".join(f"Input: w{i * 7 + j} Output: v{i * 7 + j}" for j in range(8)) for i in range(40)
    ]
    found = near_copies(hash_words(texts), DeduplicateSettings())
    assert all(original < 0 for original, _ in found)


def test_word_hashes_do_not_depend_on_what_came_before() -> None:
    assert hash_words(["a b c"]).of(0)[1] == hash_words(["b"]).of(0)[0]


def item(id_: str, question: str, answer: str = "") -> Item:
    return Item(id_, "knowledge", "f", id_, question, (answer,))


LONG = item(
    "long", "Where does the old baker of Mill Street keep the brown cat that he found", "shop"
)
SHORT = item("short", "What colour is the cat of Ann Lee?", "brown")
TINY = item("tiny", "2 + 2", "4")


def hits_in(texts: list[str], items: list[Item]) -> dict[int, list[str]]:
    found = find(hash_words(texts), items, DecontaminateSettings())
    out: dict[int, list[str]] = {}
    for hit in found:
        if items[hit.item].id not in out.setdefault(hit.document, []):
            out[hit.document].append(items[hit.item].id)
    return out


def test_thirteen_words_of_an_item_are_found_whatever_the_punctuation() -> None:
    quoted = (
        "He asked: where does the OLD baker, of Mill Street, keep the brown cat (that he lost)?"
    )
    twelve = "where does the old baker of Mill Street keep the brown dog that he found"
    assert hits_in([PROSE, quoted, twelve], [LONG]) == {1: ["long"]}


def test_a_short_item_is_found_whole_with_its_answer_only() -> None:
    leaked = "Q: What colour is the cat of Ann Lee? A: Brown."
    asked = "What colour is the cat of Ann Lee?\nBrown, said Bo. What colour is the cat of Ann?"
    other = "What colour is the cat of Ann Lee? Black."
    assert hits_in([other, "What colour is the cat of Ann Lee? brown", asked], [SHORT]) == {
        1: ["short"],
        2: ["short"],
    }
    assert hits_in([leaked], [SHORT]) == {}


def test_blanks_at_the_ends_of_lines_go_and_long_runs_inside_cost_no_more() -> None:
    run = " " * 200_000  # a look at every blank for every blank would take hours
    assert tidy(f"a{run}b \t\nc\t") == f"a{run}b\nc"


def test_what_several_items_hold_is_a_hit_of_each_up_to_ten() -> None:
    twins = [replace(SHORT, id=f"twin {n}") for n in range(12)]
    text = "What colour is the cat of Ann Lee? brown"
    assert hits_in([text], twins) == {0: [f"twin {n}" for n in range(10)]}


def test_grams_do_not_span_two_documents() -> None:
    words = LONG.question.split()
    assert hits_in([" ".join(words[:8]), " ".join(words[8:])], [LONG]) == {}


def test_tiny_items_are_counted_and_common_grams_ignored() -> None:
    leaked = "What colour is the cat of Ann Lee? brown"
    texts = [f"{leaked} {i}" for i in range(11)]
    settings = DecontaminateSettings()
    assert wanted([SHORT, TINY], settings).too_short == 1
    assert find(hash_words(texts), [SHORT, TINY], settings) == []
    assert len(find(hash_words(texts[:10]), [SHORT], settings)) == 10
    gram, text = np.array([5, 5, 5, 6, 6, 6]), np.array([0, 1, 2, 0, 0, 0])
    assert ordinary(gram, text, common=2) == {5}


def test_a_long_document_loses_the_window_around_a_hit_and_a_short_one_goes() -> None:
    leaked = "What colour is the cat of Ann Lee? brown."
    settings = DecontaminateSettings(window=50)
    before, after = "x " * 500, " y" * 500
    text = f"{before}{leaked}{after}"
    hits = find(hash_words([text]), [SHORT], settings)
    left, right = clean_pieces(text, hits, settings)
    assert (left, right) == (("x " * 475).strip(), ("y " * 476).strip())
    hits = find(hash_words([leaked]), [SHORT], settings)
    assert clean_pieces(leaked, hits, settings) == []


@pytest.mark.parametrize("model", ["logistic", "fasttext"])
def test_the_classifier_keeps_text_like_the_reference_in_a_crawl_of_mostly_good_text(
    model: Literal["logistic", "fasttext"], tmp_path: Path
) -> None:
    if model == "fasttext":
        pytest.importorskip("fasttext")
    random = np.random.default_rng(0)
    good = ["baker", "street", "town", "cat", "garden", "river", "bread", "letter", "song", "chair"]
    bad = ["win", "loan", "bonus", "cash", "prize", "deal", "credit", "offer", "cheap", "diet"]

    def texts(words: list[str], n: int) -> list[str]:
        return [" ".join(random.choice(words, 40)) for _ in range(n)]

    crawl = texts(good, 150) + texts(bad, 50)
    settings = QualitySettings(sources=("web",), model=model)
    pages = [Page("web", str(i), text=text, id=f"{i}") for i, text in enumerate(crawl)]
    reference = texts(good, 80)
    scores = learn(pages, reference, settings, 1, tmp_path).scores(pages)
    assert learn(pages, reference, settings, 1, tmp_path / "again").scores(pages) == scores
    kept = [keep(text, value, settings, 1) for text, value in zip(crawl, scores)]
    assert np.mean(kept[:150]) > 0.85
    assert np.mean(kept[150:]) < 0.1


def test_the_keep_rule_is_the_pareto_rule() -> None:
    settings = QualitySettings()
    texts = [f"text {i}" for i in range(4000)]
    for value, share in ((1.0, 1.0), (0.9, 0.424), (0.5, 0.026)):
        kept = np.mean([keep(text, value, settings, 0) for text in texts])
        assert kept == pytest.approx(share, abs=0.025)


def test_entropy_and_effective_number() -> None:
    assert entropy({"a": 1, "b": 1, "c": 2}) == 1.5
    traits = {"domain": "d", "format": "prose", "language": "en"}
    found = diversity([({"source": "a", **traits}, 30), ({"source": "b", **traits}, 30)])
    assert found["source"]["effective"] == 2.0
    assert found["source"]["shares"] == {"a": 0.5, "b": 0.5}
    assert found["domain"]["entropy_bits"] == 0.0


def test_lists_that_are_never_closed_are_looked_at_a_few_times_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0

    class Counting:
        def findall(self, html: str) -> list[str]:
            nonlocal looks
            looks += 1
            return []

    monkeypatch.setattr("regrow.corpus.extract._LINK", Counting())
    page = "<body>" + "".join(f"<ul><li><a href=x>item {i}</a> is told of" for i in range(90))
    text = html_to_text(page)
    assert "item 0 is told of" in text and "item 89 is told of" in text
    assert 1 <= looks <= 20  # of 90 lists, each within the one before


def test_lists_without_end_do_not_fill_the_memory_with_what_indents_them() -> None:
    page = "<body>" + "".join(f"<UL><li>item {i}" for i in range(20_000))
    text = html_to_text(page)
    assert text.split()[:2] == ["item", "0"] and text.endswith("item 19999")
    assert len(text) < len(page)  # 400 MB of blanks otherwise


def test_words_stand_where_they_stood_before_they_were_made_lower_case() -> None:
    changed = [chr(i) for i in range(0x110000) if len(chr(i).lower()) != 1]
    assert changed == ["İ"]
    text = "İ" * 100 + " Word İzmir"
    assert [text[start:stop] for start, stop in word_spans(text)] == text.split()


@pytest.mark.parametrize("length", [_SLICE - 1, _SLICE, _SLICE + 1, 2 * _SLICE + 5])
@pytest.mark.parametrize("before", ["", "one ", "日"])
def test_a_word_too_long_to_hash_at_once_counts_alike_for_hashes_and_places(
    length: int, before: str
) -> None:
    text = before + "a" * length + " two three"
    assert len(hash_words(["x y", text, "z"]).of(1)) == len(word_spans(text))
