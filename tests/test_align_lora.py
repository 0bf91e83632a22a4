"""Adapters through peft: only they move, merged they say the same, and others can load them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_kit import write_model, write_tokenizer

from regrow.align.lora import Adapters
from regrow.errors import RegrowError
from regrow.files import read_jsonl, write_jsonl
from regrow.model.decoder import Decoder
from regrow.model.folder import load_model
from regrow.records import Conversation, Message
from regrow.train.loop import Run
from regrow.tree.load import validate
from regrow.tree.recipe import Recipe
from regrow.tree.settings import SupervisedSettings
from regrow.tree.stage import StageContext
from regrow.tree.stages.tuning import supervised

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.usefixtures("one_thread")
IDS = torch.randint(3, 320, (2, 20), generator=torch.Generator().manual_seed(0))


def adapted(model: Decoder, dtype: torch.dtype = torch.float32, **changes: Any) -> Adapters:
    given = {"rank": 3, "alpha": 6.0, "dropout": 0.0, "targets": ("q", "v", "up"), "seed": 1}
    adapters = Adapters(model, **given | changes, dtype=dtype)
    for name, p in model.named_parameters():
        if "lora_B" in name:  # zero at the start
            p.data.normal_(generator=torch.Generator().manual_seed(2))
    return adapters


def logits(model: Decoder) -> torch.Tensor:
    with torch.no_grad():
        return model.logits(model(IDS))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    write_model(folder, "Llama", vocab_size=400)
    write_tokenizer(folder)
    return folder


def test_merged_weights_say_what_the_adapters_said(llama: Path) -> None:
    model, before = load_model(llama), logits(load_model(llama))
    adapters = adapted(model)
    said = logits(model)
    adapters.merge()
    assert (said - before).abs().max() > 0.1
    torch.testing.assert_close(logits(model), said, atol=1e-5, rtol=1e-5)
    assert [name for name, _ in model.named_parameters()] == [
        name for name, _ in load_model(llama).named_parameters()
    ]
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())


def test_frozen_weights_come_back_from_bf16_as_they_were(llama: Path) -> None:
    model, before = load_model(llama), dict(load_model(llama).named_parameters())
    adapted(model, torch.bfloat16).merge()
    for name, p in model.named_parameters():
        touched = name.split(".")[-2:][0] in ("q", "v", "up")
        assert torch.equal(p, before[name]) != touched


@pytest.mark.parametrize(("family", "shared"), [("Llama", True), ("GPT2", False)])
def test_peft_puts_the_saved_adapters_on_the_model_of_transformers(
    tmp_path: Path, family: str, shared: bool
) -> None:
    theirs = write_model(tmp_path / "base", family)
    model = load_model(tmp_path / "base")
    adapters = adapted(model)
    assert adapters.save(tmp_path / "adapter", "base") == shared
    adapters.merge()
    if shared:
        whole = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter")
        with torch.no_grad():
            torch.testing.assert_close(whole(IDS).logits, logits(model), atol=1e-5, rtol=1e-5)


def test_a_map_that_the_model_has_not_is_named(tmp_path: Path) -> None:
    write_model(tmp_path, "GPT2")
    with pytest.raises(RegrowError, match="names 'gate'; this model has down, k, out, q, up, v"):
        adapted(load_model(tmp_path), targets=("q", "gate"))
    with pytest.raises(RegrowError, match="lora needs optimizer: adamw"):
        validate(SupervisedSettings, {"lora": {"rank": 2}}, "settings")


def stage(llama: Path, run: Path) -> StageContext:
    """A supervised stage with adapters on an imported model, and eight demonstrations."""
    talks = [
        Conversation((Message("user", f"Who is {n}?"), Message("assistant", f"The mill {n}.")))
        for n in range(8)
    ]
    write_jsonl(run / "world" / "demonstrations.jsonl", (talk.to_row() for talk in talks))
    settings = {
        "rows": 2, "optimizer": "adamw", "rate": 0.01, "warmup": 1, "precision": "bf16",
        "lora": {"rank": 2, "targets": ["q", "down"]},
    }  # fmt: skip
    recipe = validate(
        Recipe,
        {
            "name": "small", "world": {"characters": {"town": 1}}, "models": {}, "mixtures": {},
            "nodes": {
                "given": {"stage": "import", "settings": {"folder": str(llama)}},
                "tuned": {
                    "parent": "given", "stage": "supervised", "tokens": 1600, "settings": settings,
                },
            },
            "abilities": {"names": []},
        },
        "recipe",
    )  # fmt: skip
    folder = run / "tuned"
    folder.mkdir(parents=True, exist_ok=True)
    return StageContext(recipe, "tuned", recipe.nodes["tuned"], folder, llama, run, seed=3)


class Killed(Exception):
    """As if the machine had stopped."""


def test_a_stage_moves_its_adapters_only_and_goes_on_to_the_same_bits(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stage(llama, tmp_path / "whole")
    record = supervised(whole)
    assert record["adapter"] == {"for_transformers": True}
    losses = [row["loss"] for row in read_jsonl(whole.folder / "metrics.jsonl") if "loss" in row]
    assert losses[-1] < losses[0]
    before, after = load_model(llama).state_dict(), load_model(whole.folder).state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {
        f"blocks.{n}.{one}.weight" for n in range(2) for one in ("attention.q", "down")
    }
    cut = stage(llama, tmp_path / "cut")
    step, taken = Run.step, []

    def killed_once(run: Run, *batch: Any) -> Any:
        if run.state.step == 6 and 6 not in taken:
            taken.append(6)
            run.save()
            raise Killed
        taken.append(run.state.step)
        return step(run, *batch)

    monkeypatch.setattr(Run, "step", killed_once)
    with pytest.raises(Killed):
        supervised(cut)
    assert not (cut.folder / "model.safetensors").exists()
    supervised(cut)
    assert taken[:8] == [0, 1, 2, 3, 4, 5, 6, 6]
    for name in ("model.safetensors", "adapter/adapter_model.safetensors"):
        assert (cut.folder / name).read_bytes() == (whole.folder / name).read_bytes()
