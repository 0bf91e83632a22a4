"""The loss plot and the share of the matrix rate."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from regrow.files import write_jsonl
from regrow.train.meter import Meter
from regrow.train.plot import draw, smoothed
from regrow.train.precision import Precision


def test_the_average_starts_at_the_first_value_and_passes_over_what_is_not_finite() -> None:
    assert smoothed([4.0, 2.0, float("nan"), 2.0], 0.5) == pytest.approx(
        [4.0, 8 / 3, 8 / 3, 16 / 7]
    )
    assert np.isnan(smoothed([float("nan")], 0.5)).all()


def test_the_plot_is_an_svg_that_marks_spikes_and_rewinds_and_repeats_to_the_byte(
    tmp_path: Path,
) -> None:
    rows: list[dict[str, object]] = [
        {"step": i, "loss": 5.0 / (i + 1), "norm": 1.0, "scale": 1.0} for i in range(4000)
    ]
    rows[7] |= {"verdict": "skip", "loss": None, "norm": None}
    rows.insert(9, {"step": 8, "event": "rewind", "to": 2})
    write_jsonl(tmp_path / "metrics.jsonl", rows)
    assert draw(tmp_path)
    first = (tmp_path / "loss.svg").read_bytes()
    ET.fromstring(first)
    assert "spikes: 1 (dots), rewinds: 1 (dashed)" in first.decode()
    assert len(first) < 200_000
    draw(tmp_path)
    assert (tmp_path / "loss.svg").read_bytes() == first


def test_without_losses_nothing_is_drawn(tmp_path: Path) -> None:
    assert not draw(tmp_path)
    write_jsonl(tmp_path / "metrics.jsonl", [{"step": 1, "reward": 0.5}])
    assert not draw(tmp_path)
    assert not (tmp_path / "loss.svg").exists()


def test_the_share_is_flops_a_second_over_the_measured_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def meter(dtype: torch.dtype, *rates: float) -> Meter:
        return Meter(model, Precision(dtype, "", *rates), torch.device("cpu"))

    model = SimpleNamespace(config=SimpleNamespace(flops_per_token=lambda: 1e6))
    assert meter(torch.bfloat16, 200.0, 50.0).share(50_000) == {"matrix_share": 0.25}
    assert meter(torch.float32, 200.0, 50.0).share(25_000) == {"matrix_share": 0.5}
    timed = Precision(torch.bfloat16, "", 100.0, 50.0)
    monkeypatch.setattr("regrow.train.meter.choose", lambda device: timed)
    assert meter(torch.bfloat16).share(50_000) == {"matrix_share": 0.5}  # asked for, timed now
    model = SimpleNamespace()
    assert meter(torch.bfloat16, 200.0, 50.0).share(25_000) == {}
