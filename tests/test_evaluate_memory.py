"""Training text given back word for word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from regrow.corpus.shards import write_shards
from regrow.corpus.tokenizer import Tokenizer, train_tokenizer
from regrow.errors import RegrowError
from regrow.evaluate.answering import Subject
from regrow.evaluate.memory import SHOWN, WANTED, memorisation
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder

SIZE = SHOWN + WANTED


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, Path, Tokenizer]:
    """A node that learnt one document by heart, in a corpus of it, of its copy and of others."""
    folder = Path(tmp_path_factory.mktemp("run"))
    tokenizer = train_tokenizer(["a b c d e f g h " * 20], 320, folder)
    draws = np.random.default_rng(0)
    by_heart, *others = (
        draws.permutation(200)[: SIZE + 2].tolist() for _ in range(4)
    )  # fmt: skip
    texts = {
        "heart": by_heart,
        "copy": by_heart,
        "other": others[0],
        "short": others[1][: SIZE - 1],
    }
    rows = [(name, np.asarray(ids), len(ids)) for name, ids in texts.items()]
    write_shards(folder / "tokens", {"town": rows}, tokenizer)
    torch.manual_seed(0)
    model = Decoder(ModelConfig(tokenizer.vocabulary, 32, 2, 2, 2, 64, 128))
    ids = torch.tensor([[tokenizer.start, *by_heart]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(100):
        loss, _ = model.loss(ids[:, :-1], ids[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Subject("node", model, tokenizer, 8), folder, tokenizer


def test_a_text_learnt_by_heart_is_found_and_others_are_not(
    learnt: tuple[Subject, Path, Tokenizer],
) -> None:
    node, corpus, _ = learnt
    held_out = [{"id": "new", "text": " ".join("abcdefgh"[n % 8] for n in range(300))}]
    found = memorisation(node, corpus, held_out, 10)
    rows = {(o.variant["seen"], o.variant["copies"]): o.value for o in found}
    assert rows == {("yes", "2 and more"): 1.0, ("yes", "1"): 0.0, ("no", "0"): 0.0}
    by_copies = {o.variant["copies"]: o.twin for o in found}
    assert (by_copies["2 and more"] or -9) > (by_copies["1"] or 0)


def test_documents_too_short_to_tell_are_not_asked_and_copies_once(
    learnt: tuple[Subject, Path, Tokenizer],
) -> None:
    node, corpus, _ = learnt
    names = {o.item for o in memorisation(node, corpus, [], 10)}
    assert "short" not in names
    assert len(names & {"heart", "copy"}) == 1
    assert len(memorisation(node, corpus, [], 0)) == 0


def test_a_node_outside_its_run_is_refused(
    learnt: tuple[Subject, Path, Tokenizer], tmp_path: Path
) -> None:
    with pytest.raises(RegrowError, match="holds no tokens"):
        memorisation(learnt[0], tmp_path, [], 10)
