"""Rows of conversations: what counts in the loss, what is packed, and that rows repeat."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from regrow.align.fit import fit_rows, fit_text
from regrow.align.rows import ConversationRows, MixedRows, TextRows, stack, stack_parts
from regrow.corpus.mixture import Schedule
from regrow.corpus.shards import Shards, encoded, write_shards
from regrow.corpus.tokenizer import Tokenizer, train_tokenizer
from regrow.errors import RegrowError
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.records import Conversation, Message
from regrow.train.loop import TrainSettings


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    return train_tokenizer(["Who is the baker? Ana is the baker."] * 20, 300, folder)


def talk(question: str, answer: str, key: str = "") -> Conversation:
    return Conversation((Message("user", question), Message("assistant", answer)), key=key)


def test_only_the_answer_and_its_end_count(tokenizer: Tokenizer) -> None:
    supply = ConversationRows([talk("Who is the baker?", "Ana.")], tokenizer, 48, seed=0)
    ids, weights = supply.row(0)
    counted = [int(id_) for id_, weight in zip(ids[1:], weights) if weight]
    assert counted == [*tokenizer.encode(" Ana."), tokenizer.end]


def test_every_conversation_stands_whole_in_each_epoch(tokenizer: Tokenizer) -> None:
    talks = [talk(f"Who is {n}?", f"The baker {n}.") for n in range(20)]
    supply = ConversationRows(talks, tokenizer, 64, seed=3)
    rows = len(supply._pack(0))
    text = "".join(tokenizer.decode(supply.row(i)[0]) for i in range(rows))
    for n in range(20):
        assert text.count(f" Who is {n}? The baker {n}.") == 1


def test_rows_are_the_same_whatever_was_asked_before(tokenizer: Tokenizer) -> None:
    talks = [talk(f"Who is {n}?", f"The baker {n}.") for n in range(20)]
    one = ConversationRows(talks, tokenizer, 64, seed=3)
    far = one.row(40)
    fresh = ConversationRows(talks, tokenizer, 64, seed=3)
    for i in range(41):
        near = fresh.row(i)
    assert np.array_equal(far[0], near[0])
    assert np.array_equal(far[1], near[1])


def test_conversations_without_an_answer_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(RegrowError, match="no demonstration"):
        ConversationRows([Conversation((Message("user", "Who?"),))], tokenizer, 32, seed=0)


class Constant:
    def __init__(self, value: int) -> None:
        self.value = value
        self.asked: list[int] = []

    def row(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append(i)
        return np.full(3, self.value), np.ones(2, dtype=np.float32)


def test_shares_are_exact_and_each_supply_is_read_in_order() -> None:
    supplies = [Constant(0), Constant(1)]
    mixed = MixedRows(supplies, [0.75, 0.25], total=100, seed=1)
    inputs, _, _ = stack(mixed, 0, 100)
    assert inputs[:, 0].sum() == 25
    assert supplies[0].asked == list(range(75))
    assert supplies[1].asked == list(range(25))


def test_before_the_start_only_the_first_supply_is_read() -> None:
    supplies = [Constant(0), Constant(1)]
    mixed = MixedRows(supplies, [0.5, 0.5], total=40, seed=1, start=20)
    inputs, _, _ = stack(mixed, 0, 40)
    assert inputs[:20, 0].sum() == 0
    assert inputs[20:, 0].sum() == 10


def test_each_token_of_a_text_row_knows_its_document(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = [(f"t{n}", f"The baker {n}. " * (n % 4 + 1)) for n in range(9)]
    write_shards(tmp_path, {"town": encoded(texts, tokenizer)}, tokenizer)
    supply = TextRows(Schedule(Shards.open(tmp_path), {"town": 1}, 24, seed=1, rows_total=30))
    for i in range(30):
        ids, parts = supply.row(i)[0][:-1], supply.parts(i)
        assert parts[0] == 0
        ends = ids[:-1] == tokenizer.eos  # a document ends with its end-of-text
        assert np.array_equal(np.diff(parts), ends.astype(int))


def test_each_token_of_a_row_of_conversations_knows_its_own(tokenizer: Tokenizer) -> None:
    supply = ConversationRows([talk("Who?", "Ana."), talk("Who is?", "Bo.")], tokenizer, 64, seed=0)
    ids, parts = supply.row(0)[0][:-1], supply.parts(0)
    assert parts.tolist() == sorted(parts) and set(parts) == {0, 1, 2, 3}
    assert ids[parts == 0].tolist() == [tokenizer.eos]
    assert set(ids[parts == 3]) == {tokenizer.pad}
    said = {tokenizer.decode(ids[parts == n]) for n in (1, 2)}
    assert {text.split("Who")[1].split("?")[0] for text in said} == {"", " is"}


def test_packed_within_documents_each_is_learnt_as_if_it_stood_alone(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    texts = [(f"t{n}", "The baker is Ana." * (n + 1)) for n in range(4)]
    write_shards(tmp_path, {"town": encoded(texts, tokenizer)}, tokenizer)
    supply = TextRows(Schedule(Shards.open(tmp_path), {"town": 1}, 48, seed=1, rows_total=3))
    model = Decoder(ModelConfig(tokenizer.vocabulary, 16, 1, 2, 2, 16, 48, init="gpt2"), seed=1)
    inputs, targets, _ = map(torch.from_numpy, stack(supply, 0, 3))
    parts = torch.from_numpy(stack_parts(supply, 0, 3))
    losses = {}
    for packing in ("across", "within"):
        once = TrainSettings(3, rows=3, precision="fp32")
        copied = copy.deepcopy(model)
        losses[packing] = fit_rows(copied, supply, once, tmp_path / packing, packing=packing).loss
    alone = []
    for row in range(3):
        for part in parts[row].unique():
            here = parts[row] == part
            loss, count = model.loss(inputs[row, here][None], targets[row, here][None])
            alone += [loss.item()] * count
    assert losses["within"] == pytest.approx(np.mean(alone), rel=1e-5)
    assert losses["across"] != pytest.approx(np.mean(alone), rel=1e-5)


def test_a_folder_goes_on_with_its_own_text_and_packing_only(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    texts = [(f"t{n}", f"The baker is {n}.") for n in range(9)]
    write_shards(tmp_path / "a", {"town": encoded(texts, tokenizer)}, tokenizer)
    write_shards(tmp_path / "b", {"town": encoded(texts[::-1], tokenizer)}, tokenizer)

    def fit(corpus: str, packing: str = "across") -> None:
        model = Decoder(ModelConfig(tokenizer.vocabulary, 8, 1, 1, 1, 8, 16), seed=1)
        fit_text(model, tmp_path / corpus, tmp_path / "run", tokens=48, packing=packing)

    fit("a")
    fit("a")
    for other in (("b", "across"), ("a", "within")):
        with pytest.raises(RegrowError, match=r"differs in data.*delete that folder"):
            fit(*other)


def test_a_folder_goes_on_with_its_own_tokenizer_only(tmp_path: Path, tokenizer: Tokenizer) -> None:
    other = train_tokenizer(["Ana sells bread and cake."] * 20, 300, tmp_path / "other")
    once = TrainSettings(2, rows=2, precision="fp32")
    model = Decoder(ModelConfig(512, 8, 1, 1, 1, 8, 48), seed=1)

    def fit(own: Tokenizer) -> None:
        supply = ConversationRows([talk("Who is the baker?", "Ana.")], own, 48, seed=0)
        fit_rows(copy.deepcopy(model), supply, once, tmp_path / "run")

    fit(tokenizer)
    with pytest.raises(RegrowError, match="differs in data"):
        fit(other)
