"""Which documents a node had seen: against a replay of the batches themselves, token by token."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tree_kit import Garden

from regrow.align import fit
from regrow.align.reinforcement import steps_in
from regrow.align.rows import TextRows
from regrow.corpus.mixture import Schedule
from regrow.corpus.reads import tally
from regrow.corpus.shards import Shards, write_shards
from regrow.corpus.tokenizer import train_tokenizer
from regrow.errors import RegrowError
from regrow.files import read_jsonl, write_json, write_jsonl
from regrow.model.decoder import Decoder
from regrow.train.guard import GuardSettings
from regrow.tree import edge
from regrow.tree.fingerprint import inputs_of
from regrow.tree.load import validate
from regrow.tree.recipe import Recipe
from regrow.tree.stage import StageContext
from regrow.tree.stages.materials import training
from regrow.tree.stages.pretraining import pretrain
from regrow.tree.stages.tuning import supervised
from regrow.tree.trace import containing, seen_by, snippet

CONTEXT = 12
SIZES = {"town": [3, 9, 30, 14, 1, 22, 17, 5, 40, 12], "code": [7, 25, 2, 11]}
NODES = {
    "oak": {"stage": "pretrain", "model": "base", "tokens": 1200,
            "settings": {"mixture": "both", "rows": 4, "ramp": 0.3, "rate": 1e-3}},
    "acorn": {"parent": "oak", "stage": "supervised", "tokens": 300,
              "settings": {"rows": 4, "replay": 0.5, "mixture": "both"}},
}  # fmt: skip


def corpus(folder: Path) -> dict[int, tuple[str, int]]:
    """Shards in which every token is another number; returns the document of each."""
    tokenizer = train_tokenizer(["Who is the baker? Ana is."] * 9, 600, folder)
    sources = {
        source: [(f"{source}-{n}", np.zeros(size, np.int64), 0) for n, size in enumerate(sizes)]
        for source, sizes in SIZES.items()
    }
    write_shards(folder / "tokens", sources, tokenizer)
    owner: dict[int, tuple[str, int]] = {}
    for source, sizes in SIZES.items():
        first = len(owner)
        for n, size in enumerate(sizes):
            owner |= {len(owner) + i: (source, n) for i in range(size + 1)}
        path = folder / "tokens" / f"{source}.bin"
        path.write_bytes(np.arange(first, len(owner), dtype="<u2").tobytes())
        texts = [f"Document {n} of the {source}. The Baker rose early." for n in range(len(sizes))]
        ids, urls = ([f"{a}{source}-{n}" for n in range(len(sizes))] for a in ("", "http://x/"))
        (folder / "documents").mkdir(exist_ok=True)
        table = pa.table({"id": ids, "url": urls, "text": texts})
        pq.write_table(table, folder / "documents" / f"{source}.parquet")
    return owner


class Replay:
    """Records every batch of a run as it goes by, and makes some of its losses not finite."""

    def __init__(self, patch: pytest.MonkeyPatch, broken: tuple[int, ...] = ()) -> None:
        self.batches: dict[int, np.ndarray] = {}  # by the row after the last
        stack, loss, calls = fit.stack, Decoder.loss, [0]

        def recorded(supply: Any, first: int, count: int) -> Any:
            batch = stack(supply, first, count)
            whole = np.concatenate([batch[0], batch[1][:, -1:]], axis=1)
            self.batches[first + count] = whole
            return batch

        def spoilt(model: Decoder, *given: Any, **named: Any) -> Any:
            calls[0] += 1
            value, count = loss(model, *given, **named)
            return (value * float("nan") if calls[0] - 1 in broken else value), count

        patch.setattr(fit, "stack", recorded)
        patch.setattr(Decoder, "loss", spoilt)

    def accepted(self, metrics: Path) -> dict[int, np.ndarray]:
        """The batches that stand in the weights at the end, by step."""
        kept: dict[int, np.ndarray] = {}
        for row in read_jsonl(metrics):
            if row.get("event") == "rewind":
                kept = {step: batch for step, batch in kept.items() if step < row["to"]}
            elif "event" not in row and "verdict" not in row:
                kept[row["step"]] = self.batches[row["rows"]]
        return kept


def counted(batches: dict[int, np.ndarray], owner: dict[int, tuple[str, int]]) -> dict[str, Any]:
    """By source and document: the targets learnt from, and the first step."""
    tokens: dict[Any, int] = defaultdict(int)
    first: dict[Any, int] = {}
    for step, batch in sorted(batches.items()):
        for row in batch:
            for place, token in enumerate(row):
                first.setdefault(owner[int(token)], step)
                tokens[owner[int(token)]] += place > 0
    sources: dict[str, Any] = defaultdict(dict)
    for (source, number), step in first.items():
        sources[source][number] = (tokens[source, number], step)
    return dict(sources)


def context(run: Path, name: str) -> StageContext:
    recipe = validate(
        Recipe,
        {
            "name": "run", "world": {"characters": {"town": 1, "code": 1}}, "nodes": NODES,
            "models": {"base": {"width": 16, "layers": 1, "heads": 1, "kv_heads": 1,
                                "hidden": 16, "context": CONTEXT}},
            "mixtures": {"both": {"town": 2, "code": 1}}, "abilities": {"names": ["knowledge"]},
        },
        "test",
    )  # fmt: skip
    write_json(run / "recipe.json", recipe.model_dump(mode="json"))
    node = recipe.nodes[name]
    parent = run / node.parent if node.parent else None
    (run / name).mkdir(exist_ok=True, parents=True)
    return StageContext(recipe, name, node, run / name, parent, run, 0)


def finish(given: StageContext, record: dict[str, Any]) -> None:
    inputs = inputs_of({"corpus": "c0", "settings": given.node.settings if given.node else None})
    node = given.node
    assert node is not None
    edge.write_edge(
        given.folder,
        edge.Edge(given.name, node.stage, node.parent, "f", inputs.values, "", "", 0.0,
                  record=json.loads(json.dumps(record))),
    )  # fmt: skip


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of two nodes with a rewound spike and a skipped batch, and what a replay says."""
    run = tmp_path_factory.mktemp("runs") / "run"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    owner = corpus(run / "corpus")
    with pytest.MonkeyPatch.context() as patch:
        guard = GuardSettings(before=4, after=4, patience=3)
        patch.setattr(
            "regrow.tree.stages.pretraining.training",
            lambda *given: replace(training(*given), guard=guard),
        )
        replay = Replay(patch, broken=(4, 11, 12, 13))
        given = context(run, "oak")
        record = pretrain(given)
        finish(given, record)
    kept = replay.accepted(run / "oak" / "metrics.jsonl")
    talks = [
        {"messages": [{"role": "user", "content": f"Who is number {n}?"},
                      {"role": "assistant", "content": f"A{n}."}], "key": f"who {n}"}
        for n in range(3)
    ]  # fmt: skip
    write_jsonl(run / "world" / "demonstrations.jsonl", talks)
    given = context(run, "acorn")
    finish(given, supervised(given))
    torch.set_num_threads(before)
    return run, owner, kept, record


def told(visit: Any) -> dict[str, Any]:
    last = {step: i for i, (step, _) in enumerate(visit.ends)}
    rows = [end for _, end in visit.ends]
    assert len(last) == len(rows)
    return {
        source: {
            int(number): (int(tokens), visit.ends[int(np.searchsorted(rows, row, "right"))][0])
            for number, tokens, row in zip(seen.documents, seen.tokens, seen.first_row)
        }
        for source, seen in visit.tallies.items()
    }


def test_what_was_seen_is_what_a_replay_of_the_batches_holds(grown: Any) -> None:
    run, owner, kept, record = grown
    assert record["training"]["rewinds"] == 1 and record["training"]["spikes"] == 4
    (visit,) = seen_by(run / "oak")
    assert told(visit) == counted(kept, owner)
    assert sum(t.tokens.sum() for t in visit.tallies.values()) == record["training"]["tokens"]


def test_after_every_single_step_too(grown: Any) -> None:
    run, owner, kept, _ = grown
    (whole,) = seen_by(run / "oak")
    for step in range(whole.steps + 1):
        (visit,) = seen_by(run / "oak", step)
        assert told(visit) == counted({s: b for s, b in kept.items() if s < step}, owner)


def test_the_edge_record_tells_documents_tokens_and_epochs_of_each_source(grown: Any) -> None:
    _, owner, kept, record = grown
    for source, own in counted(kept, owner).items():
        size = sum(SIZES[source]) + len(SIZES[source])
        tokens = sum(n for n, _ in own.values())
        assert record["read"]["sources"][source] == {
            "documents": len(own), "tokens": tokens, "epochs": round(tokens / size, 4),
        }  # fmt: skip
        assert record["epochs"][source] == round(tokens / size, 4)


def test_a_tuned_node_has_also_seen_what_its_parent_saw(grown: Any) -> None:
    run = grown[0]
    oak, acorn = seen_by(run / "acorn")
    assert (oak.node, acorn.node) == ("oak", "acorn")
    assert told(oak) == told(seen_by(run / "oak")[0])
    assert set(acorn.tallies) == {"town", "code", "demonstrations"}
    found = containing(run / "acorn", [oak, acorn], "WHO IS number 2")
    assert [(f.node, f.source, f.id) for f in found] == [("acorn", "demonstrations", "who 2")]
    assert "Who is number 2?" in found[0].snippet


def test_documents_that_hold_a_text_are_listed_with_times_and_first_step(grown: Any) -> None:
    run, owner, kept, _ = grown
    visits = seen_by(run / "oak")
    found = containing(run / "oak", visits, "document 3 OF the town")
    tokens, first = counted(kept, owner)["town"][3]
    assert [(f.id, f.url, f.tokens, f.first_step) for f in found] == [
        ("town-3", "http://x/town-3", tokens, first + 1)
    ]
    assert found[0].snippet == "Document 3 of the town. The Baker rose early."
    everything = containing(run / "oak", visits, "baker")
    assert {f.id for f in everything} == {
        f"{source}-{number}" for source, own in told(visits[0]).items() for number in own
    }
    assert containing(run / "oak", seen_by(run / "oak", 0), "baker") == []
    with pytest.raises(RegrowError, match="needs a text"):
        containing(run / "oak", visits, " ")


def test_a_document_read_in_three_epochs_was_seen_three_times(grown: Any) -> None:
    shards = Shards.open(grown[0] / "corpus")
    size = shards.count("code")
    rows = 3 * size // CONTEXT
    schedule = Schedule(shards, {"code": 1}, CONTEXT, seed=1, rows_total=rows)
    stretches = [(0, 5), (5, 6), (6, rows)]  # cut in parts it is the same
    seen = tally(r for first, end in stretches for r in schedule.readings(first, end))["code"]
    slow: dict[int, set[int]] = defaultdict(set)
    for row in range(rows):
        for piece in schedule.documents_of(row):
            slow[int(piece.document.split("-")[1])].add(piece.epoch)
    assert seen.times.tolist() == [len(slow[n]) for n in sorted(slow)]
    assert seen.times.max() == 3


@pytest.mark.parametrize("step", [-1, 10_000])
def test_an_unknown_step_is_answered_with_those_there_are(grown: Any, step: int) -> None:
    steps = seen_by(grown[0] / "oak")[0].steps
    with pytest.raises(RegrowError, match=f"oak has {steps} steps; give --step 0 to {steps}"):
        seen_by(grown[0] / "oak", step)


def test_a_corpus_that_is_gone_or_another_is_said_in_a_line(grown: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(grown[0], run)
    other = edge.Edge("corpus", "corpus", None, "c1", {}, "", "", 0.0)
    edge.write_edge(run / "corpus", other)
    with pytest.raises(RegrowError, match="is another corpus than oak saw"):
        seen_by(run / "oak")
    shutil.rmtree(run / "corpus")
    with pytest.raises(RegrowError, match="oak saw is not in"):
        seen_by(run / "oak")


def test_demonstrations_that_changed_are_not_taken_for_those_learnt_from(
    grown: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(grown[0], run)
    path = run / "world" / "demonstrations.jsonl"
    path.write_text(path.read_text().replace("A2", "B2"))
    with pytest.raises(RegrowError, match="the demonstrations are not those"):
        seen_by(run / "acorn")


def test_steps_of_ppo_that_were_returned_from_are_not_in_the_weights() -> None:
    lines = [{"best": 1.0}, {}, {"best": 1.0}, {}, {"returned": 1.0}, {}]
    assert steps_in(lines[:4], None) == [0, 1, 2, 3]
    assert steps_in(lines, None) == [0, 1, 4, 5]
    assert steps_in(lines, {"watched_gold": 3.0}) == [0, 1]
    assert steps_in(lines, {"watched_gold": 3.0, "best": 1.0}) == [0, 1, 4, 5]
    assert steps_in([{}, {}], None) == [0, 1]


def test_a_snippet_is_one_line_around_the_place() -> None:
    long = "a" * 80 + "\n The  Baker\n" + "b" * 200
    assert snippet(long, "the  baker") == f"… {'a' * 58} The Baker {'b' * 99} …"


def test_the_command_tells_it_in_words_and_in_json(
    grown: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    garden = Garden(tmp_path, monkeypatch)
    node, step = str(grown[0] / "oak"), ("--step", "3")
    _, out, _ = garden.call("trace", node, *step, "--json")
    assert json.loads(out) == {"seen": [seen_by(grown[0] / "oak", 3)[0].to_row()]}
    _, out, _ = garden.call("trace", node, *step, "--contains", "the baker", "--json")
    found = json.loads(out)["found"]
    assert {row["source"] for row in found} == {"town", "code"}
    assert all(row["first_step"] <= 3 for row in found)
    _, out, _ = garden.call("trace", node, *step, "--contains", "the baker")
    steps = seen_by(grown[0] / "oak")[0].steps
    assert f"oak   3 of {steps}" in out
    assert f"{len(found)} of these documents hold it" in out
    assert f"town http://x/{next(f['id'] for f in found if f['source'] == 'town')}: seen" in out
    code, _, errors = garden.call("trace", node, "--step", "999")
    assert (code, errors) == (1, f"error: oak has {steps} steps; give --step 0 to {steps}, "
                                 "not 999\n")  # fmt: skip


def test_what_an_imported_forebear_saw_is_not_known(grown: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(grown[0], run)
    edge.write_edge(run / "oak", edge.Edge("oak", "import", None, "f", {}, "", "", 0.0))
    oak, acorn = seen_by(run / "acorn")
    assert (oak.phase, oak.to_row()["sources"]) == ("imported", {})
    assert acorn.tallies["demonstrations"].documents.tolist() == [0, 1, 2]


def test_a_record_from_before_rows_were_written_down_says_how_to_go_on(
    grown: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(grown[0], run)
    found = edge.read_edge(run / "oak")
    assert found is not None
    record = {key: value for key, value in found.record.items() if key != "read"}
    edge.write_edge(run / "oak", replace(found, record=record))
    with pytest.raises(RegrowError, match="--regrow oak` grows it anew"):
        seen_by(run / "oak")


def test_of_the_mix_beside_ppo_the_steps_in_the_weights_count(grown: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(grown[0], run)
    schedule = Schedule(Shards.open(run / "corpus"), {"town": 1, "code": 1}, CONTEXT, 5, 18)
    lines = [{"best": 1.0}, {}, {"best": 1.0}, {"returned": 1.0}, {}, {}]
    ppo = {"steps": lines, "last": {"watched_gold": 1.0, "best": 1.0},
           "read": {"rows": TextRows(schedule).told(), "rows_a_step": 3}}  # fmt: skip
    (run / "oak" / "metrics.jsonl").unlink()
    found = edge.read_edge(run / "oak")
    assert found is not None
    inputs = {"corpus": "c0", "settings.pretraining_mix": 0.5}
    edge.write_edge(
        run / "oak", replace(found, stage="rlhf", inputs=inputs, record={"ppo": ppo})
    )  # fmt: skip
    for step, kept in ((2, [0, 1]), (3, [0, 1, 2]), (4, [0, 1, 3]), (6, [0, 1, 3, 4, 5])):
        (visit,) = seen_by(run / "oak", step)
        rows = [3 * one + i for one in kept for i in range(3)]
        slow = {(p.source, p.document) for row in rows for p in schedule.documents_of(row)}
        seen = {(s, f"{s}-{n}") for s, t in visit.tallies.items() for n in t.documents}
        assert (seen, visit.steps) == (slow, 6)
