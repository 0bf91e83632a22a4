"""Every preset is the model that was published: totals to the unit, choices and settings."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from regrow.cli import app
from regrow.errors import RegrowError
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.presets import Preset, _families, names, preset, shape

SHARED = Path(os.environ.get("REGROW_SHARED", Path(__file__).parents[2] / "shared"))
FACTS = SHARED / "facts" / "presets.csv"
_LEFT_OUT = {"gopher-280b", "chinchilla-70b", "lamda-137b", "olmo-7b"}  # no switch expresses them

every_preset = pytest.mark.parametrize("name", names())


def built(config: ModelConfig) -> Decoder:
    with torch.device("meta"):
        return Decoder(config)


@every_preset
def test_the_total_is_the_published_one_to_the_unit(name: str) -> None:
    found = preset(name)
    parameters = dict(built(found.config).named_parameters())
    assert sum(p.numel() for p in parameters.values()) == found.config.parameters
    counted = [
        p.numel()
        for label, p in parameters.items()
        if not any(label.endswith(ending) for ending in found.uncounted)
    ]
    assert sum(counted) == found.published
    assert bool(found.uncounted) == (found.family in ("PaLM", "GLM"))


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("gpt2-124m", 124_439_808),
        ("bloom-176b", 176_247_271_424),
        ("llama2-7b", 6_738_415_616),
        ("llama2-70b", 68_976_648_192),
        ("llama3-405b", 405_853_388_800),
        ("pythia-70m", 70_426_624),
        ("gpt-neox-20b", 20_554_567_680),
        ("opt-350m", 331_196_416),
    ],
)
def test_well_known_totals(name: str, total: int) -> None:
    assert preset(name).config.parameters == total


def test_what_tells_the_families_apart() -> None:
    c = {name: preset(name).config for name in names()}
    assert (c["palm-540b"].kv_heads, c["palm-540b"].head_dim, c["palm-540b"].rotary) == (
        1,
        256,
        256,
    )
    assert c["palm-8b"].logit_scale == 1 / 64
    assert c["glm-130b"].residual_scale == pytest.approx(140**0.5)
    assert (c["opt-350m"].embedding_width, c["opt-350m"].norm_place) == (512, "post")
    assert (c["opt-125m"].embedding_width, c["opt-125m"].norm_place) == (0, "pre")
    assert (c["pythia-70m"].rotary, c["gpt-j-6b"].rotary) == (16, 64)
    assert (c["gpt3-175b"].window(0), c["gpt3-175b"].window(1)) == (0, 256)
    assert c["llama3-8b"].rope_theta == 500_000
    assert {name for name in c if c[name].llama_shaped} == {
        name for name in c if name.startswith(("llama", "regrow"))
    }


def test_a_rule_follows_the_changed_sizes_and_heads_bring_their_keys() -> None:
    small = shape("palm-540b", {"width": 100, "heads": 5, "head_dim": 20})
    assert (small["logit_scale"], small["kv_heads"]) == (0.1, 1)
    assert shape("glm-130b", {"layers": 8})["residual_scale"] == 4.0
    assert shape("gpt2-124m", {"heads": 6})["kv_heads"] == 6


@pytest.mark.parametrize("family", _families())
def test_a_family_learns_at_the_size_of_this_machine(family: str) -> None:
    name = next(name for name in names() if preset(name).family == family)
    sizes = {"vocabulary": 40, "context": 24, "width": 32, "layers": 2, "heads": 8, "hidden": 48}
    model = Decoder(ModelConfig(**shape(name, {**sizes, "head_dim": 8})))
    x = torch.arange(20)[None] + torch.arange(8)[:, None]
    model.eval()
    before, _ = model.loss(x[:, :-1], x[:, 1:])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(12):
        loss, _ = model.loss(x[:, :-1], x[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after, _ = model.loss(x[:, :-1], x[:, 1:])
    assert after.item() < 0.9 * before.item()


@pytest.mark.skipif(not FACTS.is_file(), reason="shared/facts/presets.csv is not here")
def test_the_table_of_facts_says_the_same_of_every_decoder_with_a_shape() -> None:
    with FACTS.open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if "encoder" not in row["arch"]]
    rows = [row for row in rows if row["vocab"] and row["name"] not in _LEFT_OUT]
    assert {row["name"] for row in rows} == {n for n in names() if not n.startswith("regrow")}
    for row in rows:
        assert _said(preset(row["name"])) == _facts(row), row["name"]


def _said(found: Preset) -> dict[str, object]:
    c, t = found.config, found.training
    return {
        "layers": c.layers, "width": c.width, "heads": c.heads, "kv_heads": c.kv_heads,
        "head_dim": c.head_dim, "hidden": c.hidden, "matrices": 2 + c.gated,
        "vocabulary": c.vocabulary, "context": c.context,
        "activation": c.activation.removesuffix("-tanh"), "norm": c.norm,
        "norm_place": c.norm_place, "parallel": c.parallel, "shared_norm": c.shared_norm,
        "embedding_norm": c.embedding_norm and c.norm_place == "pre", "positions": c.positions,
        "bias": c.mlp_bias, "tied": c.tied, "total": found.published, "rate": t.rate,
        "beta1": t.beta1, "beta2": t.beta2, "eps": t.eps, "decay": t.weight_decay,
        "batch_tokens": t.batch_tokens, "tokens": t.tokens, "optimizer": t.optimizer,
        "schedule": t.schedule, "warmup": t.warmup, "final_rate": t.final_rate,
        "clip": t.clip, "dropout": c.dropout,
        "ramp": t.ramp,
    }  # fmt: skip


def _facts(row: dict[str, str]) -> dict[str, object]:
    ramp, dropout = row["batch_ramp"], row["dropout"].split(" ")[0]
    return {
        "layers": int(row["n_layers"]), "width": int(row["d_model"]),
        "heads": int(row["n_heads"]), "kv_heads": int(row["n_kv_heads"]),
        "head_dim": int(row["d_head"]), "hidden": int(row["d_ff"]),
        "matrices": int(row["ffn_mats"]), "vocabulary": int(row["vocab"]),
        "context": int(row["context"]), "activation": row["activation"].split(" ")[0],
        "norm": "rms" if row["norm"] == "rmsnorm" else "layer",
        "norm_place": row["norm_placement"].split(" ")[0].rstrip(","),
        "parallel": row["parallel_block"] == "yes",
        "shared_norm": "one norm" in row["norm_placement"],
        "embedding_norm": "after embedding" in row["norm_placement"],
        "positions": row["position"].split(" ")[0], "bias": row["bias"] != "no",
        "tied": row["tied"] in ("yes", "not stated; likely yes"),
        "total": int(row["n_params_computed"]), "rate": _number(row["lr_peak"]),
        "beta1": _number(row["beta1"]), "beta2": _number(row["beta2"]), "eps": _number(row["eps"]),
        "decay": _number(row["weight_decay"]), "batch_tokens": _number(row["batch_tokens"]),
        "tokens": _number(row["tokens_seen"]), "optimizer": row["optimizer"],
        "schedule": row["lr_schedule"], "warmup": row["warmup"], "final_rate": row["lr_final"],
        "clip": _number(row["clip"].split(" ")[0]),
        "dropout": _number(dropout) if dropout[:1].isdigit() else 0.0,
        "ramp": "" if ramp == "not recorded here" else ramp,
    }  # fmt: skip


def _number(text: str) -> float | str | None:
    """A number where the cell holds one, else its words; None for an empty cell."""
    try:
        return float(text) if text else None
    except ValueError:
        return text


def test_the_command_lists_all_and_shows_one_in_full() -> None:
    listed = CliRunner().invoke(app, ["presets"]).output
    assert all(name in listed for name in names())
    assert "176,247,271,424" in listed
    shown = CliRunner().invoke(app, ["presets", "opt-350m"]).output
    assert "embedding_width: 512" in shown
    assert "rate: 0.0003" in shown
    assert "Zhang et al. 2022" in shown


def test_a_program_reads_names_parameters_and_shapes() -> None:
    rows = json.loads(CliRunner().invoke(app, ["presets", "--json"]).output)
    assert [row["name"] for row in rows] == names()
    assert rows[0]["parameters"] == 124_439_808
    assert set(rows[0]["shape"]) == {field.name for field in fields(ModelConfig)}
    one = json.loads(CliRunner().invoke(app, ["presets", "opt-13b", "--json"]).output)
    assert one["training"]["rate"] == 1e-4


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(RegrowError, match="no preset 'lama2-7b'; did you mean 'llama2-7b'"):
        preset("lama2-7b")
