"""Which device and which precision, without having the device."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from regrow.errors import RegrowError
from regrow.train import precision
from regrow.train.device import VARIABLE, fork_random_state, move, pick, random_state
from regrow.train.device import set_random_state as restore
from regrow.train.precision import choose


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretends that the machine has these devices."""

    def has(*names: str) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in names)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in names)

    monkeypatch.delenv(VARIABLE, raising=False)
    return has


def test_cuda_comes_before_the_cpu_and_mps_only_when_asked_for(machine: Any) -> None:
    machine("cuda", "mps")
    assert pick().type == "cuda"
    machine("mps")
    assert pick().type == "cpu"
    assert pick("mps").type == "mps"
    machine()
    assert pick().type == "cpu"


def test_the_setting_goes_before_the_environment_before_the_machine(
    machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("cuda", "mps")
    monkeypatch.setenv(VARIABLE, "mps")
    assert pick().type == "mps"
    assert pick("cpu").type == "cpu"
    assert pick("cuda:1") == torch.device("cuda", 1)


def test_a_device_that_is_not_there_is_refused(machine: Any) -> None:
    machine()
    with pytest.raises(RegrowError, match="no device 'cuda' here; use auto or cpu"):
        pick("cuda")
    with pytest.raises(RegrowError, match="no device 'gpu' here"):
        pick("gpu")


def test_a_batch_moves_with_all_its_tensors() -> None:
    batch = (torch.ones(2), {"a": [torch.ones(3)], "b": "word"}, 5)
    moved = move(batch, torch.device("meta"))
    assert moved[0].device.type == moved[1]["a"][0].device.type == "meta"
    assert (moved[1]["b"], moved[2]) == ("word", 5)
    assert move(batch, torch.device("cpu")) is batch


def test_random_states_return_and_the_callers_are_left_alone() -> None:
    cpu = torch.device("cpu")
    state = random_state(cpu)
    with fork_random_state(cpu):
        first = torch.rand(3)
        restore(cpu, state)
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), state["rng"])


@pytest.mark.parametrize(
    ("device", "rates", "chosen"),
    [
        ("cpu", {"bf16": 850.0, "fp32": 180.0}, "bf16"),
        ("cpu", {"bf16": 200.0, "fp32": 180.0}, "fp32"),
        ("cuda", {"bf16": 300e3, "fp16": 300e3, "fp32": 20e3}, "bf16"),
        ("cuda", {"bf16": 5e3, "fp16": 60e3, "fp32": 8e3}, "fp16"),  # as before Ampere
        ("mps", {"bf16": 2.5e3, "fp16": 2.6e3, "fp32": 2.4e3}, "fp32"),
    ],
)
def test_the_precision_is_what_the_device_does_fast(
    monkeypatch: pytest.MonkeyPatch, device: str, rates: dict[str, float], chosen: str
) -> None:
    by_dtype = {precision.DTYPES[name]: rate for name, rate in rates.items()}
    monkeypatch.setattr(precision, "gemm_rate", lambda dtype, *_, **__: by_dtype[dtype])
    found = precision._measured.__wrapped__(torch.device(device), 1)
    assert found.name == chosen
    assert found.reason.startswith(chosen)
    assert f"{rates['fp32']:.0f} GFLOP/s" in found.reason


def test_a_precision_by_name_is_not_timed_and_a_wrong_name_is_refused() -> None:
    assert choose("fp16").dtype == torch.float16
    assert choose("fp16").reason == "fp16: asked for"
    with pytest.raises(RegrowError, match="unknown precision 'int8'; use auto, bf16, fp16, fp32"):
        choose("int8")
