"""The real stages on a pocket-sized world: grown whole, killed and gone on with, exported."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

RECIPE = """
name: pocket
world: {people: 40, items: 4, characters: {town: 120k, sheets: 60k, textbook: 40k, code: 60k}}
corpus: {tokenizer: {vocabulary: 600}, decontaminate: {sources: [town]}}
models:
  base: {width: 32, layers: 2, heads: 2, kv_heads: 2, hidden: 32, context: 192, init: induction}
mixtures:
  text: {town: 0.4, sheets: 0.3, textbook: 0.3}
  all: {town: 0.3, sheets: 0.2, textbook: 0.2, code: 0.3}
nodes:
  davinci: {stage: pretrain, model: base, tokens: 30k, settings: {mixture: text, rows: 4}}
  code-davinci-002:
    stage: pretrain
    model: base
    tokens: 40k
    settings: {mixture: all, rows: 4, finish: {portion: 0.5, share: 0.5}}
  davinci-instruct-beta:
    parent: davinci
    stage: supervised
    tokens: 20k
    settings: {rows: 4, replay: 0.2, mixture: text}
  text-davinci-002:
    parent: code-davinci-002
    stage: feedme
    tokens: 30k
    settings: {demonstrations: true, rows: 4, prompts: 24, samples: 2, length: 12}
  text-davinci-003:
    parent: text-davinci-002
    stage: rlhf
    tokens: 600
    settings:
      {rows: 8, length: 12, mixture: all, mix_rows: 1, reward: {prompts: 60, samples: 3, rows: 4}}
  text-davinci-003-no-mix:  # shares its reward model, where that is ready
    parent: text-davinci-002
    stage: rlhf
    tokens: 600
    settings:
      {rows: 8, length: 12, pretraining_mix: 0, reward: {prompts: 60, samples: 3, rows: 4}}
    arm: true
  chatgpt:
    parent: text-davinci-002
    stage: rlhf
    tokens: 600
    settings:
      rows: 8
      length: 12
      mixture: all
      mix_rows: 1
      dialogue: true
      tuning_tokens: 20k
      tuning: {rows: 4, dialogues: 0.5}
      reward: {prompts: 60, samples: 3, rows: 4}
  sums:
    parent: text-davinci-002
    stage: grpo
    tokens: 600
    settings: {rows: 4, samples: 4, length: 12, minibatches: 2}
    arm: true
  preferred:
    parent: text-davinci-002
    stage: dpo
    tokens: 6k
    settings: {prompts: 60, samples: 3, length: 12, rows: 4}
    arm: true
abilities: {names: [knowledge, refusal, language_modelling, dialogue_history], items: 4}
"""


def start(folder: Path) -> subprocess.Popen[str]:
    (folder / "pocket.yaml").write_text(RECIPE)
    command = [sys.executable, "-m", "regrow.cli", "run", "pocket.yaml", "--jobs", "2"]
    return subprocess.Popen(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True,
    )  # fmt: skip


def finish(folder: Path) -> str:
    process = start(folder)
    out = process.communicate()[0]
    assert process.returncode == 0, out
    return out


def weights(folder: Path) -> dict[str, str]:
    edges = (json.loads(p.read_text()) for p in (folder / "runs/pocket").glob("*/edge.json"))
    return {edge["name"]: edge["weights"] for edge in edges if edge["weights"]}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pocket")
    finish(folder)
    return folder


@pytest.mark.slow
def test_every_stage_grows_measures_and_reports(grown: Path) -> None:
    run = grown / "runs/pocket"
    assert len(weights(grown)) == 9
    edge = json.loads((run / "chatgpt/edge.json").read_text())
    assert edge["record"]["ppo"]["steps"][-1]["step"] == 3
    assert 0 <= edge["record"]["reward_model"]["accuracy"] <= 1
    rows = json.loads((run / "report/abilities.json").read_text())
    assert {"davinci", "chatgpt"} <= {row["node"] for row in rows}
    keys = {"node", "ability", "variant", "n", "score", "low", "high", "chance", "seed"}
    assert keys <= set(rows[0])
    page = (run / "report/index.html").read_text()
    assert "What reinforcement learning gained" in page
    assert "<html" in page


@pytest.mark.slow
def test_a_second_run_finds_nothing_to_do(grown: Path) -> None:
    before = weights(grown)
    assert "nothing to do" in finish(grown)
    assert weights(grown) == before


@pytest.mark.slow
def test_a_grown_node_is_a_llama_for_transformers(grown: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from regrow.corpus.tokenizer import Tokenizer
    from regrow.model.folder import load_model
    from regrow.records import Message

    folder = grown / "runs/pocket/chatgpt"
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ours, tokenizer = load_model(folder), Tokenizer.load(folder)
    ids, _ = tokenizer.chat((Message("user", "Who is the baker?"),), answer=True)
    with torch.no_grad():
        mine = ours.logits(ours(torch.tensor([ids])))
        other = theirs(torch.tensor([ids])).logits
    assert torch.allclose(mine, other, atol=1e-4)
    assert theirs.generation_config.eos_token_id == [tokenizer.eos, tokenizer.end]
    talk = [{"role": "user", "content": "Who is the baker?"}]
    same = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        talk, add_generation_prompt=True, return_dict=False
    )
    assert same == ids


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_weights(
    grown: Path, tmp_path: Path
) -> None:
    moments = random.Random(7)
    for _ in range(8):
        process = start(tmp_path)
        time.sleep(moments.uniform(3.0, 14.0))
        os.killpg(process.pid, 9)
        process.communicate()
    finish(tmp_path)
    assert weights(tmp_path) == weights(grown)
