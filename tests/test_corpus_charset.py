from __future__ import annotations

import json
from pathlib import Path

import pytest
from read_kit import SHARED, put, read_all

from regrow.corpus.extract import extract
from regrow.corpus.read import Page
from regrow.files import read_jsonl

GERMAN = "Der Zürcher Markt liegt neben der Schule, und die Brücke über den Fluß ist größer.\n"
RUSSIAN = "Рядом с нашим домом находится старый рынок, ему уже больше ста лет.\n"
JAPANESE = "これは本です。とても古い本ですが、まだ読むことができます。東京の図書館にあります。\n"
CHINESE = "这个市场离学校很近，已经有三年了。老师和学生都喜欢在那里吃午饭。\n"
KOREAN = "이 시장은 학교에서 가깝고 벌써 삼 년이 되었습니다. 선생님과 학생들이 좋아합니다.\n"
HEBREW = "השוק קרוב לבית הספר וכבר קיים שלוש שנים. המורים והתלמידים אוהבים אותו.\n"
COMBINING = "e\u0301a\u0308 \u05e9\u05b8\u05dc\u05d5\u05b9\u05dd \u200fabc\u200e\n"


@pytest.mark.parametrize(
    ("text", "charset"),
    [
        (GERMAN, "latin-1"), (GERMAN, "utf-16"), (GERMAN, "utf-16-le"), (GERMAN, "utf-8-sig"),
        (GERMAN, "utf-32"), ("“Zürich” costs 5 € – now\n", "cp1252"), ("Zürich", "latin-1"),
        (RUSSIAN, "cp1251"), (RUSSIAN, "koi8-r"), (JAPANESE, "shift_jis"), (JAPANESE, "euc_jp"),
        (JAPANESE, "iso2022_jp"), (CHINESE, "gb2312"), (CHINESE, "utf-8"), (KOREAN, "euc_kr"),
        (HEBREW, "cp1255"), (HEBREW, "utf-16-be"), (COMBINING, "utf-8"),
    ],
)  # fmt: skip
def test_plain_text_in_any_character_set_is_read(tmp_path: Path, text: str, charset: str) -> None:
    pages, problems = read_all(put(tmp_path / "a.txt", text.encode(charset)))
    assert [page.text for page in pages] == [text]
    assert problems.rows == []


@pytest.mark.parametrize(
    ("head", "charset", "body"),
    [
        ("", "iso-8859-1", "<p>“it’s”</p>".encode("cp1252")),  # as browsers read the label
        ("", "gb2312", "<p>朱镕基</p>".encode("gb18030")),  # 镕 is in GBK only
        ("", "iso-8859-1", "<p>“it’s”</p>".encode()),  # a lie: it is UTF-8
        ("", "'UTF-8'", "<p>Zürich, größer</p>".encode("latin-1")),  # a lie the other way
        ("", "utf-16", b"<p>plain</p>"),
        ("", "no-such-name", "<p>Zürich</p>".encode()),
        ("<meta charset=windows-1251>", "", "<p>да</p>".encode("cp1251")),
        ('<meta http-equiv=x content="text/html; charset=shift_jis">', "",
         "<p>本</p>".encode("cp932")),
        ("<meta charset=utf-16>", "", "<p>Zürich</p>".encode()),
        ("", "utf-8", "<p>CafÃ© and ZÃ¼rich</p>".encode()),  # mojibake
    ],
)  # fmt: skip
def test_declared_character_sets_are_read_as_browsers_do(
    head: str, charset: str, body: bytes
) -> None:
    wanted = {
        "“it’s”",
        "朱镕基",
        "Zürich, größer",
        "plain",
        "Zürich",
        "да",
        "本",
        "Café and Zürich",
    }
    html = b"<html><head>" + head.encode() + b"</head><body>" + body + b"</body></html>"
    page = Page("s", "1", body=html, content_type="text/html", charset=charset)
    extract(page)
    assert page.text in wanted


def test_a_cut_character_or_a_few_bad_bytes_do_not_change_the_character_set(tmp_path: Path) -> None:
    cut = (GERMAN * 20).encode()[:-4] + "ß".encode()[:1]
    bad = (CHINESE * 20).encode() + b"\xff\xfe" + CHINESE.encode()
    put(tmp_path / "a.txt", cut), put(tmp_path / "b.txt", bad)
    first, second = (page.text for page in read_all(tmp_path)[0])
    assert first.startswith(GERMAN * 19) and "\ufffd" not in first
    assert second.startswith(CHINESE * 20) and second.count("\ufffd") == 2


def test_mojibake_is_undone_in_prose_and_left_in_code(tmp_path: Path) -> None:
    put(tmp_path / "a.txt", "CafÃ© “quoted”\nﬁne ½ Ａ &amp; ’\n")
    put(tmp_path / "b.jsonl", json.dumps({"text": "ZÃ¼rich"}))
    put(tmp_path / "c.py", "BAD = 'CafÃ©'\n")
    texts = [page.text for page in read_all(tmp_path)[0]]
    assert texts == ["Café “quoted”\nﬁne ½ Ａ &amp; ’\n", "Zürich", "BAD = 'CafÃ©'\n"]


@pytest.mark.skipif(not (SHARED / "messy_crawl").is_dir(), reason="no shared/data/messy_crawl")
def test_all_encodings_of_a_real_crawl_come_out_right() -> None:
    crawl = SHARED / "messy_crawl"
    pages, problems = read_all(crawl / "crawl.warc.gz")
    truth = {row["record_id"]: row for row in read_jsonl(crawl / "truth.jsonl.gz")}
    assert (len(pages), problems.rows) == (len(truth), [])
    odd = [page for page in pages if truth[page.location].get("encoding_kind")]
    assert len(odd) == 12
    for page in odd:
        extract(page)
        assert "Café naïve résumé Zürich façade coöperate señor jalapeño." in page.text
    cut, problems = read_all(crawl / "truncated.warc.gz")
    assert len(cut) == 18 and len(problems.rows) == 1
    assert "cut inside" in problems.rows[0]["reason"]
