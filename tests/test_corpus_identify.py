from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from regrow.corpus import languages
from regrow.corpus.identify import identify, languages_of, wrong_language
from regrow.corpus.languages import most_likely
from regrow.corpus.read import Page


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The mill stands near the old school.", "en"),
        ("Where can I buy bread in this town?", "en"),
        ("Wo kann ich in dieser Stadt Brot kaufen?", "de"),
        ("Où puis-je acheter du pain dans cette ville ?", "fr"),
        ("¿Dónde puedo comprar pan en esta ciudad?", "es"),
        ("Dove posso comprare il pane in questa città?", "it"),
        ("Onde posso comprar pão nesta cidade?", "pt"),
        ("Waar kan ik brood kopen in deze stad?", "nl"),
        ("Gdzie mogę kupić chleb w tym mieście?", "pl"),
        ("Var kan jag köpa bröd i den här staden?", "sv"),
        ("Bu şehirde nereden ekmek alabilirim?", "tr"),
        ("Где я могу купить хлеб в этом городе?", "ru"),
        ("أين يمكنني شراء الخبز في هذه المدينة؟", "ar"),
        ("इस शहर में मैं रोटी कहाँ से खरीद सकता हूँ?", "hi"),
        ("我在这个城市哪里可以买到面包？", "zh"),
        ("この町のどこでパンが買えますか。", "ja"),
        ("이 도시에서 어디에서 빵을 살 수 있나요?", "ko"),
        ("ฉันจะซื้อขนมปังในเมืองนี้ได้ที่ไหน", "th"),
        ("", "und"),
        ("42 + 7 = 49", "und"),
    ],
)
def test_one_sentence_tells_the_language(text: str, language: str) -> None:
    assert languages_of([text])[0] == language


def test_an_english_menu_does_not_hide_a_foreign_page() -> None:
    german = "Der Bäcker steht jeden Morgen um vier Uhr auf und backt Brot für die Schule. " * 12
    assert languages_of(["Home About Contact Download the ebook\n" + german]) == ["de"]


@pytest.mark.parametrize(
    "text",
    [
        "git clone --depth 1 <url>\n\nClones a repository into a newly created directory.",
        "ALTER TABLE users ADD COLUMN age integer;\n\nAdds a column. Existing rows hold NULL.",
        "sqlite3_step(sqlite3_stmt*)\n\nMust be called one or more times to evaluate a statement.",
    ],
)
def test_technical_english_is_not_taken_for_another_language(text: str) -> None:
    page = Page("web", "r1", text=text)
    identify([page])
    assert wrong_language(page, ("en",)) == ""


def test_a_wrong_language_is_named_and_the_wanted_ones_stay() -> None:
    page = Page("web", "r1", text="我在这个城市哪里可以买到面包？")
    identify([page])
    assert wrong_language(page, ("en",)) == "language: zh"
    assert wrong_language(page, ("en", "zh")) == ""
    assert wrong_language(page, ()) == ""


def test_simple_lists_of_english_words_are_not_pidgin() -> None:
    sheet = "\n".join(f"{a} dog -> {a} cat" for a in ("big", "old", "red", "wet", "hot", "new"))
    assert languages_of([sheet])[0] in ("en", "und")


def test_a_page_is_in_the_language_that_a_third_of_its_blocks_are_in() -> None:
    english = "The town has a market and a school, and the people of the town like them a lot. " * 5
    german = "Der Markt liegt neben der Schule und ist nicht sehr alt, aber die Brücke auch. " * 5
    pages = [english * 6, (german + english + english) * 2, english * 5 + german]
    assert languages_of(pages) == ["en", "de", "en"]


def test_many_texts_at_once_have_the_languages_that_py3langid_finds_for_each() -> None:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    texts = [
        "ça va très bien, merci", "HET IS VANDAAG MOOI WEER", "Привет, как дела?", "ciao a tutti",
        "The cat sleeps.", "日本語のテキスト", "Сёння добрае надвор'е", "Данас је леп дан.",
    ]  # fmt: skip
    known = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    known.set_languages([name for name in known.nb_classes if name != "pcm"])
    expected = [known.rank(text)[0] for text in texts]
    found = most_likely(texts)
    assert [language for language, _ in found] == [language for language, _ in expected]
    assert np.allclose([p for _, p in found], [p for _, p in expected], atol=1e-5)
    assert found == [most_likely([text])[0] for text in texts]
    assert most_likely(["", "\x01"])[0] == ("und", 0.0)


def test_the_model_is_unpacked_once_for_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = languages._arrays()
    [folder] = (tmp_path / "regrow").iterdir()
    assert {path.stem for path in folder.iterdir()} == set(first)
    monkeypatch.setattr(languages.lzma, "open", None)  # not unpacked again
    again = languages._arrays()
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert isinstance(again["nextmove"].base, np.memmap)


@pytest.mark.parametrize("trouble", ["cut short", "a file in the way", "an array is missing"])
def test_a_cache_that_cannot_be_used_is_done_without(
    trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = languages._arrays()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if trouble == "a file in the way":
        (tmp_path / "regrow").write_text("")
    else:
        languages._arrays()
        [array] = (tmp_path / "regrow").glob("*/nextmove.npy")
        array.unlink() if trouble == "an array is missing" else array.write_bytes(b"short")
    found = languages._arrays()
    assert all(np.array_equal(whole[name], found[name]) for name in whole)
