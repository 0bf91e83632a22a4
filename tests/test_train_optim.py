"""Optimizers and precision: against torch's own, and as PPO uses them, alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_model_decoder import ids, random_model
from torch import nn
from train_tiny import SETTINGS, run, weights

from regrow.errors import RegrowError
from regrow.train import rules
from regrow.train.checkpoint import Checkpoints
from regrow.train.gradients import Gradients
from regrow.train.optim import Optimizer, OptimSettings, build
from regrow.train.precision import Precision, Trainable, choose
from regrow.train.rules import orthogonalise

FP32, BF16 = choose("fp32"), choose("bf16")


def one_step(optimizer: Optimizer, model: nn.Module, step: int) -> float:
    optimizer.zero_grad()
    loss, _ = model.loss(ids(2, 12, step), ids(2, 12, step + 100))  # type: ignore[operator]
    optimizer.backward(loss)
    optimizer.step()
    return float(loss.detach())


def test_muon_and_adam_follow_torch() -> None:
    ours, theirs = random_model(), random_model()
    settings = OptimSettings(rate=0.02, adam_rate=4e-3, decay=0.05)
    optimizer = build(ours, settings, FP32)
    matrices = [p for n, p in theirs.named_parameters() if n.startswith("blocks.") and p.ndim == 2]
    rest = [
        p for n, p in theirs.named_parameters() if not (n.startswith("blocks.") and p.ndim == 2)
    ]
    muon = torch.optim.Muon(
        matrices, lr=0.02, weight_decay=0.05, momentum=0.95, nesterov=True, ns_steps=5
    )
    adam = torch.optim.Adam(rest, lr=4e-3, betas=(0.9, 0.98), eps=1e-8)
    for step in range(3):
        one_step(optimizer, ours, step)
        loss, _ = theirs.loss(ids(2, 12, step), ids(2, 12, step + 100))
        muon.zero_grad(), adam.zero_grad()
        loss.backward()
        muon.step(), adam.step()
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters()):
        # torch's Newton-Schulz runs in bf16, ours in fp32 here.
        torch.testing.assert_close(a, b, atol=3e-3, rtol=0, msg=name)
    torch.testing.assert_close(ours.embedding, theirs.embedding, atol=2e-3, rtol=0)


@pytest.mark.parametrize("shape", [(16, 16), (40, 16), (16, 40)])  # square, tall, wide
def test_muon_of_one_matrix_is_torch_muon_but_for_bf16_rounding(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(2, *shape, generator=generator)
    theirs = [nn.Parameter(w.clone()) for w in ours]
    torchs = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.95)
    first = torch.zeros_like(ours)
    for _ in range(3):
        grad = torch.randn(2, *shape, generator=generator)
        rules.muon(
            ours, grad, first,
            rate=0.02, decay=0.1, momentum=0.95, steps=5, dtype=torch.bfloat16,
        )  # fmt: skip
        for weight, g in zip(theirs, grad):
            weight.grad = g.clone()
        torchs.step()
    # three updates of 0.02 * stretch, whose entries are below 1 and lie within bf16's 2^-8
    stretch = max(1.0, shape[0] / shape[1]) ** 0.5
    torch.testing.assert_close(
        ours, torch.stack([w.detach() for w in theirs]), atol=3 * 0.02 * stretch * 2**-8, rtol=0
    )


def test_adam_of_one_tensor_is_torch_fused_adamw_to_the_last_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(1001, generator=generator)
    theirs = nn.Parameter(ours.clone())
    torchs = torch.optim.AdamW([theirs], lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    first, second = torch.zeros_like(ours), torch.zeros_like(ours)
    for count in range(1, 6):
        grad = torch.randn(1001, generator=generator)
        rules.adam(
            ours, grad, first, second, count=count, rate=1e-2, decay=0.1, betas=(0.9, 0.95),
            eps=1e-8,
        )  # fmt: skip
        theirs.grad = grad.clone()
        torchs.step()
    assert torch.equal(ours, theirs.detach())


def test_adafactor_without_momentum_is_torch_adafactor_unfactored() -> None:
    # torch does not factor what has one dimension, and its own clipping is far off at d = 1e9
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(300, generator=generator) * 0.02
    theirs = nn.Parameter(ours.clone())
    torchs = torch.optim.Adafactor([theirs], lr=1e-2, beta2_decay=-0.8, d=1e9, weight_decay=0.0)
    first, second = torch.zeros_like(ours), torch.zeros_like(ours)
    for count in range(1, 7):
        grad = torch.randn(300, generator=generator)
        rules.adafactor(ours, grad, first, second, count=count, rate=1e-2, decay=0.0, momentum=0.0)
        theirs.grad = grad.clone()
        torchs.step()
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-7)


def test_adafactor_by_hand() -> None:
    weight, first, second = torch.tensor([3.0, 4.0]), torch.zeros(2), torch.zeros(2)
    # step 1: beta2 = 0, so the normalised gradient is its sign; momentum 0.9 leaves a tenth
    rules.adafactor(
        weight, torch.tensor([2.0, -5.0]), first, second, count=1, rate=0.1, decay=1.0, momentum=0.9
    )
    size = 12.5**0.5  # root mean square of 3 and 4
    expected = torch.tensor([3 * 0.99 - 0.1 * 0.1 * size, 4 * 0.99 + 0.1 * 0.1 * size])
    torch.testing.assert_close(weight, expected)
    # step 2: beta2 = 1 - 2^-0.8 = 0.42565; second = 0.42565 * 4 + 0.57435 * 1 = 2.27695
    rules.adafactor(
        weight, torch.tensor([1.0, 0.0]), first, second, count=2, rate=0.1, decay=0.0, momentum=0.9
    )
    assert second[0].item() == pytest.approx(2.27695, abs=1e-5)
    assert first[0].item() == pytest.approx(0.9 * 0.1 + 0.1 / 2.27695**0.5, abs=1e-6)
    assert first[1].item() == pytest.approx(-0.9 * 0.1, abs=1e-6)


def test_adafactor_moves_even_what_starts_at_zero_and_bears_no_gradient() -> None:
    weight, first, second = torch.zeros(2), torch.zeros(2), torch.zeros(2)
    rules.adafactor(
        weight, torch.tensor([1.0, 0.0]), first, second, count=1, rate=0.1, decay=1.0, momentum=0.0
    )
    torch.testing.assert_close(weight, torch.tensor([-1e-4, 0.0]))  # the least size is 1e-3


def decayed_names(name: str, decays: str) -> set[str]:
    """The parameters that weight decay shrinks where there is no gradient."""
    model = random_model()
    optimizer = build(model, OptimSettings(name, rate=0.1, decay=0.5, decays=decays), FP32)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer.zero_grad()
    optimizer.step()
    return {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}


@pytest.mark.parametrize("name", ["muon", "adamw", "adafactor"])
def test_weight_decay_touches_what_it_is_told_to(name: str) -> None:
    shapes = {n: p.ndim for n, p in random_model().named_parameters()}
    matrices = {n for n, ndim in shapes.items() if ndim == 2}
    blocks = {n for n in matrices if n.startswith("blocks.")}
    assert matrices > blocks
    assert decayed_names(name, "blocks") == blocks
    assert decayed_names(name, "matrices") == matrices
    assert decayed_names(name, "all") == set(shapes)
    assert decayed_names(name, "usual") == (blocks if name == "muon" else matrices)


def test_the_average_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = build(model, OptimSettings("adamw", decay=0.0, average=0.25), FP32)
    masters = []
    for value in (8.0, 16.0, 32.0):
        optimizer.zero_grad()
        optimizer.trainable.master.fill_(value)
        optimizer.step()  # without a gradient
        masters.append(optimizer.trainable.master.item())
    # decays 2/11, 3/12 and then 0.25 itself, below 4/13
    average = 0.0
    for master, decay in zip(masters, (2 / 11, 0.25, 0.25)):
        average = decay * average + (1 - decay) * master
    assert optimizer.tensors()["average"].item() == pytest.approx(average)
    optimizer.release()
    assert model.weight.item() == pytest.approx(average)


def test_adamw_follows_torch_to_the_last_digits() -> None:
    ours, theirs = random_model(), random_model()
    optimizer = build(ours, OptimSettings("adamw", rate=1e-2, decay=0.1, betas=(0.9, 0.95)), FP32)
    decayed = [p for p in theirs.parameters() if p.ndim == 2]
    plain = [p for p in theirs.parameters() if p.ndim == 1]
    adamw = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}],
        lr=1e-2,
        betas=(0.9, 0.95),
        eps=1e-8,
    )
    for step in range(4):
        one_step(optimizer, ours, step)
        adamw.zero_grad()
        theirs.loss(ids(2, 12, step), ids(2, 12, step + 100))[0].backward()
        adamw.step()
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters()):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4, msg=name)


def test_muon_in_small_parts_is_muon_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [random_model(), random_model()]
    for model, together in zip(models, (1 << 21, 300)):
        monkeypatch.setattr("regrow.train.optim.TOGETHER", together)
        optimizer = build(model, OptimSettings(rate=0.02), FP32)
        one_step(optimizer, model, 0)
    for (name, a), (_, b) in zip(*(model.named_parameters() for model in models)):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=0, msg=name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_orthogonalise_brings_all_singular_values_near_one(dtype: torch.dtype) -> None:
    x = torch.randn(3, 24, 16, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(x, 5, dtype).float())
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_orthogonalising_side_by_side_is_orthogonalising_alone() -> None:
    x = torch.randn(4, 8, 20, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([orthogonalise(m[None], 5, torch.bfloat16) for m in x])
    torch.testing.assert_close(orthogonalise(x, 5, torch.bfloat16), alone, atol=2e-2, rtol=0)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("bf16", torch.bfloat16), ("fp32", torch.float32), ("fp16", torch.float32)],
)
def test_muon_multiplies_in_bf16_only_where_the_training_does(
    precision: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()

    def told(matrices: torch.Tensor, steps: int, dtype: torch.dtype) -> torch.Tensor:
        seen.add(dtype)
        return orthogonalise(matrices, steps, dtype)

    monkeypatch.setattr(rules, "orthogonalise", told)
    model = random_model()
    optimizer = build(model, OptimSettings(), choose(precision))
    while not optimizer.count:  # in fp16 the loss scale has to come down first
        one_step(optimizer, model, 0)
    assert seen == {dtype}


@pytest.mark.parametrize("precision", [FP32, BF16, choose("fp16")], ids=["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("name", ["muon", "adamw", "adafactor"])
def test_a_restored_optimizer_goes_on_bit_for_bit(precision: Precision, name: str) -> None:
    settings = OptimSettings(name, rate=0.01, clip=1.0, average=0.9)
    a, b = random_model(), random_model()
    first = build(a, settings, precision)
    for step in range(3):
        one_step(first, a, step)
    saved = {k: v.clone() for k, v in first.tensors().items()}
    second = build(b, settings, precision)
    second.load(saved, first.count)
    for step in range(3, 6):
        assert one_step(first, a, step) == one_step(second, b, step)
    assert saved.keys() == first.tensors().keys()
    for key, tensor in first.tensors().items():
        assert torch.equal(tensor, second.tensors()[key]), key


def test_bf16_masters_keep_updates_too_small_for_bf16() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = build(model, OptimSettings("adamw", rate=1e-4, decay=0.0), BF16)
    for _ in range(50):
        optimizer.zero_grad()
        model(torch.ones(1, 1, dtype=torch.bfloat16)).sum().backward()
        optimizer.trainable.gather()
        optimizer.step()
    # 50 steps of 1e-4; next to 1 bf16 has steps of 0.0039, so no single one would show
    assert optimizer.trainable.master.item() == pytest.approx(1 - 50e-4, abs=1e-6)
    assert model.weight.item() == 0.99609375


def test_gathering_twice_adds_in_fp32() -> None:
    model = random_model()
    trainable = Trainable(model, BF16)
    for seed in (1, 2):
        model.loss(ids(2, 12, seed), ids(2, 12, seed))[0].backward()
        trainable.gather()
    size = len(trainable.master)
    both = trainable.gradients.part(0, size).clone()
    parts = []
    for seed in (1, 2):
        trainable.zero_grad()
        model.loss(ids(2, 12, seed), ids(2, 12, seed))[0].backward()
        trainable.gather()
        parts.append(trainable.gradients.part(0, size).clone())
    assert torch.equal(both, parts[0] + parts[1])


def test_a_part_of_the_gradients_may_span_parameters_and_lack_some() -> None:
    weights = {name: nn.Parameter(torch.zeros(2, dtype=torch.bfloat16)) for name in "abc"}
    gradients = Gradients(weights)
    (weights["a"] * torch.tensor([1.0, 2.0])).sum().backward()
    (weights["c"] * torch.tensor([3.0, 4.0])).sum().backward()
    gradients.gather()
    assert gradients.part(1, 5).tolist() == [2.0, 0.0, 0.0, 3.0]
    assert gradients.part(1, 5).dtype == torch.float32
    assert gradients.norm(["c"]) == 5.0
    gradients.scale(0.5)
    assert gradients.norm(["c"]) == 2.5
    (weights["b"] * 8.0).sum().backward()
    gradients.gather(0.25)  # a second pass
    assert gradients.part(0, 6).tolist() == [0.5, 1.0, 2.0, 2.0, 1.5, 2.0]
    assert gradients.norm(["c"]) == 2.5


def test_clipping_scales_the_gradient_to_the_limit() -> None:
    model = nn.Linear(2, 1, bias=False)
    optimizer = build(model, OptimSettings("adamw", clip=1.0), FP32)
    optimizer.zero_grad()
    (model.weight * torch.tensor([[3.0, 4.0]])).sum().backward()
    optimizer.trainable.gather()
    assert optimizer.gradient_norm() == 5.0
    optimizer.step()
    torch.testing.assert_close(optimizer.trainable.gradients.part(0, 2), torch.tensor([0.6, 0.8]))


def test_releasing_leaves_fp32_masters_in_the_model() -> None:
    model = random_model()
    optimizer = build(model, OptimSettings(), BF16)
    one_step(optimizer, model, 0)
    optimizer.trainable.release()
    assert model.embedding.dtype == torch.float32
    assert torch.equal(model.embedding, optimizer.trainable.masters()["embedding"])
    assert model.embedding.grad is None


def test_a_reset_of_the_moments_leaves_the_average_alone() -> None:
    model = random_model()
    optimizer = build(model, OptimSettings("adamw", rate=0.01, average=0.75), FP32)
    for step in range(30):  # (1 + 30) / (10 + 30) is above 0.75
        one_step(optimizer, model, step)
    optimizer.reset()
    assert not optimizer.first.any()
    assert optimizer.average is not None
    before = optimizer.average.clone()
    one_step(optimizer, model, 30)
    wanted = 0.75 * before + 0.25 * optimizer.trainable.master
    torch.testing.assert_close(optimizer.average, wanted)


def test_the_state_of_another_model_is_refused() -> None:
    optimizer = build(random_model(), OptimSettings(), FP32)
    with pytest.raises(RegrowError, match="'first' is of another model"):
        optimizer.load({**optimizer.tensors(), "first": torch.zeros(3)}, 0)


def test_precision_says_what_it_chose_and_why() -> None:
    found = choose()
    assert found.name in ("bf16", "fp32")
    assert found.reason.startswith(found.name)
    assert found.fp32_gflops > 0
    assert choose() is found


def test_an_unknown_optimizer_is_refused() -> None:
    with pytest.raises(RegrowError, match="muon, adamw or adafactor"):
        OptimSettings("sgd")
    with pytest.raises(RegrowError, match="usual, blocks, matrices, all"):
        OptimSettings(decays="gains")
    with pytest.raises(RegrowError, match="from 0 to below 1"):
        OptimSettings(average=1.0)


def test_a_run_leaves_the_average_in_the_model(tmp_path: Path) -> None:
    settings = replace(SETTINGS, total=40, optim=OptimSettings(average=0.9))
    _, model = run(tmp_path, settings)
    saved = Checkpoints(tmp_path / "checkpoints").load()
    assert saved is not None
    average, master = (saved.tensors[name].sort().values for name in ("average", "master"))
    assert torch.equal(weights(model).sort().values, average)  # the buffers have another order
    assert not torch.equal(average, master)
