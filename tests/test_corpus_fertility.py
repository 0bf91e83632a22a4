from __future__ import annotations

from regrow.corpus.fertility import fertility


def test_ratios_are_over_all_text_of_a_language_and_format() -> None:
    rows = [
        ("en", "prose", 100, 20, 25),
        ("de", "prose", 90, 10, 30),
        ("en", "prose", 20, 4, 11),
        ("en", "code", 60, 0, 40),
    ]
    assert fertility(rows) == {
        "de": {
            "prose": {"documents": 1, "tokens": 30, "tokens_per_word": 3.0, "bytes_per_token": 3.0}
        },
        "en": {
            "code": {"documents": 1, "tokens": 40, "tokens_per_word": None, "bytes_per_token": 1.5},
            "prose": {
                "documents": 2,
                "tokens": 36,
                "tokens_per_word": 1.5,  # 36 / 24
                "bytes_per_token": 3.333,  # 120 / 36
            },
        },
    }


def test_no_documents_and_no_tokens_give_no_ratio() -> None:
    assert fertility([]) == {}
    assert fertility([("en", "prose", 0, 0, 0)])["en"]["prose"]["bytes_per_token"] is None
