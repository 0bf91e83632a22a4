from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from regrow.corpus.mixture import Schedule, exact_counts, shares_of
from regrow.corpus.shards import Shards, encoded, write_shards
from regrow.corpus.tokenizer import Tokenizer, train_tokenizer
from regrow.errors import RegrowError

TOWN = [(f"t{i}", f"Document {i} of the town says word{i}.") for i in range(30)]
CODE = [(f"c{i}", f"def f{i}(x):\n    return x + {i}\n") for i in range(10)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    texts = [text for _, text in TOWN + CODE]
    return train_tokenizer(texts, 300, tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture()
def folder(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    write_shards(
        tmp_path / "tokens",
        {"town": encoded(TOWN, tokenizer), "code": encoded(CODE, tokenizer)},
        tokenizer,
    )
    return tmp_path / "tokens"


def test_shards_hold_every_document_in_order_with_its_end(
    folder: Path, tokenizer: Tokenizer
) -> None:
    shards = Shards.open(folder, verify=True)
    assert shards.sources == ("town", "code")
    offsets = shards.offsets("code")
    assert offsets.dtype == np.int64 and len(offsets) == len(CODE) + 1
    for (id_, text), found, start, stop in zip(
        CODE, shards.document_ids("code"), offsets[:-1], offsets[1:], strict=True
    ):
        tokens = shards.tokens("code")[start:stop]
        assert found == id_
        assert tokenizer.decode(tokens[:-1]) == text
        assert tokens[-1] == tokenizer.eos


def test_every_token_leads_to_its_document(folder: Path) -> None:
    shards = Shards.open(folder)
    offsets = shards.offsets("town")
    owners = [id_ for (id_, _), n in zip(TOWN, np.diff(offsets), strict=True) for _ in range(n)]
    assert [shards.document_at("town", i) for i in range(shards.count("town"))] == owners
    for outside in (-1, shards.count("town")):
        with pytest.raises(IndexError):
            shards.document_at("town", outside)


@pytest.mark.parametrize("documents", [0, 9, 120])
def test_offsets_written_one_by_one_are_the_file_that_numpy_writes(
    documents: int, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    rows = [(str(i), np.zeros(i, np.int64), 2 * i) for i in range(documents)]
    entry = write_shards(tmp_path, {"web": rows}, tokenizer)["sources"]["web"]
    np.save(tmp_path / "whole.npy", np.cumsum([0, *(i + 1 for i in range(documents))]))
    assert (tmp_path / "web.offsets.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert entry["documents"] == documents
    assert entry["tokens"] == sum(range(1, documents + 1))


def test_tokens_are_little_endian_16_bit(folder: Path) -> None:
    shards = Shards.open(folder)
    assert shards.tokens("town").dtype == np.dtype("<u2")
    assert (folder / "town.bin").stat().st_size == 2 * shards.count("town")


def test_a_changed_byte_is_found_by_its_checksum(folder: Path) -> None:
    data = bytearray((folder / "town.bin").read_bytes())
    data[7] ^= 1
    (folder / "town.bin").write_bytes(data)
    Shards.open(folder)
    with pytest.raises(RegrowError, match=r"town\.bin does not match its checksum"):
        Shards.open(folder, verify=True)


def test_a_cut_file_a_missing_file_and_an_unknown_source_are_named(folder: Path) -> None:
    with pytest.raises(RegrowError, match=r"no source 'books'.*town, code"):
        Shards.open(folder).tokens("books")
    (folder / "town.bin").write_bytes((folder / "town.bin").read_bytes()[:-1])
    with pytest.raises(RegrowError, match=r"town\.bin is cut"):
        Shards.open(folder)
    (folder / "town.bin").unlink()
    with pytest.raises(RegrowError, match=r"town\.bin is missing"):
        Shards.open(folder)


def test_a_source_name_that_is_no_file_name_is_refused(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    with pytest.raises(RegrowError, match="no source name"):
        write_shards(tmp_path, {"../town": []}, tokenizer)


def test_rows_of_a_source_read_each_epoch_once_without_gaps(folder: Path) -> None:
    shards = Shards.open(folder)
    size, context = shards.count("code"), 16
    rows = 3 * size // context + 1
    schedule = Schedule(shards, {"code": 1.0}, context, seed=5, rows_total=rows)
    data = schedule.rows(0, rows)
    assert data.shape == (rows, context + 1)
    assert (data[1:, 0] == data[:-1, -1]).all()
    stream = np.concatenate([data[:, :-1].ravel(), data[-1, -1:]])
    once = np.sort(shards.tokens("code"))
    for epoch in range(3):
        assert (np.sort(stream[epoch * size : (epoch + 1) * size]) == once).all()
    assert (stream[:size] != stream[size : 2 * size]).any()


def test_shares_are_exact_and_even_along_the_way(folder: Path) -> None:
    schedule = Schedule(Shards.open(folder), {"town": 3, "code": 1}, 8, seed=1, rows_total=1000)
    sources = [schedule.source_of(i) for i in range(1000)]
    assert sources.count("town") == 750
    for n in (40, 200, 600):
        assert abs(sources[:n].count("town") - 0.75 * n) <= 2


def test_a_row_depends_on_seed_and_number_only(folder: Path) -> None:
    def schedule(seed: int) -> Schedule:
        return Schedule(Shards.open(folder), {"town": 1, "code": 1}, 8, seed, 200)

    one = schedule(1)
    assert (one.row(137) == schedule(1).rows(130, 10)[7]).all()
    assert (one.rows(0, 50) != schedule(2).rows(0, 50)).any()


def test_documents_of_a_row_account_for_all_its_tokens(folder: Path) -> None:
    shards = Shards.open(folder)
    schedule = Schedule(shards, {"town": 1, "code": 1}, 40, seed=3, rows_total=60)
    for i in range(60):
        parts = []
        for piece in schedule.documents_of(i):
            number = list(shards.document_ids(piece.source)).index(piece.document)
            base = shards.offsets(piece.source)[number]
            parts.append(shards.tokens(piece.source)[base + piece.start : base + piece.stop])
        assert (np.concatenate(parts) == schedule.row(i)).all()


def test_a_row_outside_the_schedule_is_an_index_error(folder: Path) -> None:
    schedule = Schedule(Shards.open(folder), {"town": 1}, 8, seed=1, rows_total=5)
    with pytest.raises(IndexError):
        schedule.row(5)


def test_counts_are_whole_and_sum_to_the_total() -> None:
    assert exact_counts({"a": 1, "b": 1, "c": 1}, 10) == {"a": 4, "b": 3, "c": 3}
    assert exact_counts({"a": 0.6, "b": 0.22, "c": 0.18}, 50) == {"a": 30, "b": 11, "c": 9}


def test_a_small_source_is_capped_and_gives_its_share_to_the_others() -> None:
    tokens = {"web": 1000, "wiki": 10, "books": 100}
    shares = shares_of({"web": 2, "wiki": 1, "books": 1}, tokens, total=200, max_epochs=2)
    assert shares == pytest.approx({"wiki": 0.1, "web": 0.6, "books": 0.3})


def test_impossible_mixtures_are_refused() -> None:
    with pytest.raises(RegrowError, match="'novels', which the corpus lacks"):
        shares_of({"novels": 1}, {"town": 5}, 10)
    with pytest.raises(RegrowError, match="more than 1 epochs of every source"):
        shares_of({"town": 1}, {"town": 5}, 10, max_epochs=1)
    with pytest.raises(RegrowError, match="no tokens left"):
        shares_of({"town": 1}, {"town": 0}, 10)
    with pytest.raises(RegrowError, match="weight above 0"):
        shares_of({"town": 0}, {"town": 5}, 10)
    with pytest.raises(RegrowError, match="is -1"):
        shares_of({"town": -1}, {"town": 5}, 10)
