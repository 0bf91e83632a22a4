from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from regrow.corpus.extract import extract
from regrow.corpus.pii import mask_pii
from regrow.corpus.read import Problems, read

SHARED = Path(os.environ.get("REGROW_SHARED", Path(__file__).parents[2] / "shared")) / "data"
CRAWL = SHARED / "messy_crawl"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Write to ann.lee+x@mail.example.co.uk.", "Write to <EMAIL>."),
        ("Seen from 203.0.113.77, twice", "Seen from <IP_ADDRESS>, twice"),
        ("Gateway 2001:db8:85a3::8a2e:370:7334 is up", "Gateway <IP_ADDRESS> is up"),
        ("Call +49 30 901820 today", "Call <PHONE> today"),
        ("Call (415) 555-0132 or 415-555-0133.", "Call <PHONE> or <PHONE>."),
        ("Tel. 020 7946 0958", "Tel. <PHONE>"),
        ("Téléphone : see below. Tél: 01 23 45 67 89", "Téléphone : see below. Tél: <PHONE>"),
        ("Card 4111 1111 1111 1111 expired", "Card <CARD> expired"),
        ("Card 3782 822463 10005 expired", "Card <CARD> expired"),
        ("Card 378282246310005 expired", "Card <CARD> expired"),
        ("SSN 900-12-3456.", "SSN <SSN>."),
        ("Ask Ann Lee, ann@example.com, 900-12-3456.", "Ask <NAME>, <EMAIL>, <SSN>."),
        ("By Ann Lee <ann@example.com>", "By <NAME> <<EMAIL>>"),
    ],
)
def test_personal_data_is_masked(text: str, masked: str) -> None:
    assert mask_pii(text)[0] == masked


@pytest.mark.parametrize(
    "text",
    [
        "Version 4.10.2.1 and release 192.168.3.14 came in 2019-10-11.",
        "6.4.1.2. The Upgrade\n38.40.41.50. Notes",
        "ISBN 978-3-16-148410-0, 0-306-40615-2",
        "At 12:30:45 on 2024-01-31, 10:15",
        "Hash 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "Listen on 127.0.0.1, 0.0.0.0, ::1, 192.168.0.1 with mask 255.255.255.0",
        "std::vector<int> a::b::c; x[1:2:3]; 08:00:2b:01:02:03:04:05",
        "Pages 869-872 (1970), 1234567890123456, 3.14159265358979, 100 200 300",
        "@decorator\ndef f(): return user@host",
        "Ann Lee met Bo Kim in New York.",
    ],
)
def test_what_only_looks_like_personal_data_stays(text: str) -> None:
    assert mask_pii(text) == (text, {})


def test_masking_counts_by_kind_and_is_done_once() -> None:
    text, counts = mask_pii("a@example.com, b@example.org, 198.51.100.7")
    assert counts == {"email": 2, "ip_address": 1}
    assert mask_pii(text) == (text, {})


@pytest.mark.skipif(not CRAWL.exists(), reason="messy_crawl is not there; set REGROW_SHARED")
def test_planted_personal_data_of_a_crawl_is_masked() -> None:
    with gzip.open(CRAWL / "truth.jsonl.gz", "rt", encoding="utf-8") as file:
        planted = {row["record_id"]: row["pii"] for row in map(json.loads, file) if "pii" in row}
    total = left = 0
    for page in read({"web": [CRAWL / "crawl.warc.gz"]}, Problems()):
        if page.location in planted:
            extract(page)
            masked = mask_pii(page.text)[0]
            total += len(planted[page.location])
            left += sum(value in masked for value in planted[page.location].values())
    assert left <= 0.05 * total
