"""The tokens of turns begin as the words that stand in their place, once, and wherever they are
first learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import train_tiny
from test_tree_tuning import grow
from torch import Tensor

from regrow.align.turns import PLAIN, begin_as_words
from regrow.corpus.tokenizer import Tokenizer, train_tokenizer
from regrow.files import write_json
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.tree.stages.materials import holds_turns, parent_of, pupil_of

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("tied", [True, False])
def test_their_rows_are_the_means_of_their_words_and_no_other_row_changes(
    tmp_path: Path, tied: bool
) -> None:
    tokenizer = train_tokenizer(["Q: one\nA: two\n"] * 3, 270, tmp_path)
    model = Decoder(ModelConfig(tokenizer.vocabulary, 16, 1, 1, 1, 16, 16, tied=tied), seed=1)
    named = dict(model.named_parameters())
    before = {name: tensor.detach().clone() for name, tensor in named.items()}
    begin_as_words(named, tokenizer)
    turns = [tokenizer.user, tokenizer.assistant, tokenizer.end]
    for name in ("embedding",) if tied else ("embedding", "head"):
        for text, turn in zip(PLAIN.values(), turns, strict=True):
            rows = torch.stack([before[name][i] for i in tokenizer.encode(text)])
            assert torch.equal(named[name][turn], rows.mean(0))
    others = torch.ones(tokenizer.vocabulary, dtype=torch.bool)
    others[turns] = False
    for name, tensor in named.items():
        mask = others if name in ("embedding", "head") else ...
        assert torch.equal(tensor[mask], before[name][mask]), name


def test_a_tokenizer_of_another_model_keeps_its_own() -> None:
    class Other:
        assistant = -1

    rows = torch.ones(4, 2)
    begin_as_words({"embedding": rows}, Other())  # type: ignore[arg-type]
    assert torch.equal(rows, torch.ones(4, 2))


def test_a_base_learns_from_words_and_what_met_turns_goes_on_from_its_own(tmp_path: Path) -> None:
    given, _ = grow(tmp_path)
    assert given.parent is not None
    plain, pupil = parent_of(given)[0], pupil_of(given)[0]
    turns = list(range(3, 6))
    assert not torch.equal(plain.embedding[turns], pupil.embedding[turns])
    for edge in (
        {"stage": "supervised"},
        {"stage": "pretrain", "inputs": {"settings.finish.share": 0.3}},
    ):
        write_json(given.parent / "edge.json", edge)
        assert holds_turns(given.parent)
        assert torch.equal(plain.embedding, pupil_of(given)[0].embedding)
    write_json(given.parent / "edge.json", {"stage": "pretrain", "inputs": {}})
    assert not holds_turns(given.parent)
    tokenizer = Tokenizer.load(given.parent)
    assert [tokenizer.user, tokenizer.assistant, tokenizer.end] == turns


@pytest.mark.parametrize("stop", [0, 8], ids=["where it alters", "after that"])
def test_weights_altered_on_the_way_are_the_same_after_a_kill(tmp_path: Path, stop: int) -> None:
    def double(weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            weights["embedding"][0] = weights["embedding"][1] * 2

    whole = train_tiny.run(tmp_path / "whole", alters={100: double})[1]
    assert not torch.equal(
        train_tiny.weights(whole), train_tiny.weights(train_tiny.run(tmp_path / "plain")[1])
    )
    calls = 0

    def batches(step: int, row: int, rows: int) -> Any:
        nonlocal calls
        calls += row >= 100
        if calls == 1 + stop:
            calls = 10**6
            raise KeyboardInterrupt
        return train_tiny.batch_of(step, row, rows)

    model = train_tiny.Decoder(train_tiny.CONFIG, seed=1)
    args = (train_tiny.loss_of, batches, train_tiny.SETTINGS, tmp_path / "killed")
    torch.manual_seed(12345)
    with pytest.raises(KeyboardInterrupt):
        train_tiny.train(model, *args, alters={100: double})
    model = train_tiny.Decoder(train_tiny.CONFIG, seed=1)
    train_tiny.train(model, *args, alters={100: double})
    assert torch.equal(train_tiny.weights(model), train_tiny.weights(whole))
