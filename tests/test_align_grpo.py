"""GRPO's pieces against hand-computed values, and what counts as a right answer."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

import pytest
import torch
from read_kit import SHARED
from rl_tiny import GRPO, asked, grpo

from regrow.align.grpo import group_advantages, kl_estimate
from regrow.align.readers import read_demonstrations
from regrow.align.verify import final_number, right_number, verifiable
from regrow.files import read_jsonl
from regrow.records import Conversation, Message
from regrow.tree.stages.verified import verify

pytestmark = pytest.mark.usefixtures("one_thread")


def test_an_advantage_is_the_reward_held_against_the_other_answers_of_its_prompt() -> None:
    scores = torch.tensor([1.0, 0.0, 0.0, 0.0, 5.0, 7.0])
    found = group_advantages(scores, ["a", "a", "a", "a", "b", "b"])
    # Mean 1/4, sample deviation 1/2; mean 6, sample deviation sqrt(2).
    wanted = [1.5, -0.5, -0.5, -0.5, -1 / math.sqrt(2), 1 / math.sqrt(2)]
    assert torch.allclose(found, torch.tensor(wanted))


def test_a_group_of_equal_rewards_says_nothing() -> None:
    assert group_advantages(torch.full((4,), 0.3), ["a"] * 4).tolist() == [0.0] * 4


def test_the_kl_estimate_by_hand() -> None:
    new, ref = torch.log(torch.tensor([0.5, 0.2])), torch.log(torch.tensor([0.25, 0.2]))
    assert torch.allclose(kl_estimate(new, ref), torch.tensor([0.5 - math.log(0.5) - 1, 0.0]))


def test_the_kl_estimate_is_the_kl_in_the_mean() -> None:
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.2, 0.3, 0.5])
    assert float((p * kl_estimate(p.log(), q.log())).sum()) == pytest.approx(
        float((p * (p / q).log()).sum())
    )


def test_the_loss_of_the_first_minibatch_by_hand() -> None:
    run = grpo(replace(GRPO, minibatches=1))
    rollouts, groups, _ = run.roll_out(0)
    advantage = group_advantages(rollouts.scores, groups)
    # Ratio 1 and no distance yet: what is left is the mean advantage of a token.
    wanted = -float((advantage[:, None] * rollouts.answer).sum() / rollouts.answer.sum())
    assert run.update(rollouts, groups, 0)["policy_loss"] == pytest.approx(wanted, abs=1e-5)


def test_answers_to_one_prompt_are_one_group() -> None:
    run = grpo()
    rollouts, groups, _ = run.roll_out(0)
    prompts = [tuple(ids[: int(a.argmax()) + 1].tolist())
               for ids, a in zip(rollouts.ids, rollouts.answer)]  # fmt: skip
    assert groups == [str(n // 8) for n in range(64)]
    assert all(prompts[8 * n] == prompts[8 * n + 7] for n in range(8))


def test_an_answer_without_its_end_is_not_right() -> None:
    run = grpo(verify=lambda prompts, answers: [1.0] * len(answers))
    drawn = run.draw(asked()[:2], seed=2, samples=50)
    assert run.worth(drawn).tolist() == [float(one.answer.finished) for one in drawn]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("She has 3 + 4 = 7. The answer is 7.", "7"),
        ("The answer is 5. No: the answer is: $1,250.50.", "1250.50"),
        ("48/2 = 24 clips\n#### 72", "72"),
        ("It falls from 8-5 to -3", "-3"),
        ("so \\boxed{18} eggs", "18"),
        ("about .5 of it", ".5"),
    ],
)
def test_the_final_number_of_an_answer(text: str, number: str) -> None:
    assert final_number(text) == Decimal(number)


def test_an_answer_without_a_number_has_none() -> None:
    assert final_number("I do not know.") is None


def test_demonstrations_become_prompts_that_hold_their_number_or_their_tests() -> None:
    def shown(answer: str, **check: object) -> Conversation:
        return Conversation((Message("user", "Q"), Message("assistant", answer)), check=check)

    tests = [[[2], 4]]
    found = verifiable(
        [
            shown("3 + 4 = 7.\nThe answer is 1,007."),
            shown("The colour is blue."),
            shown("def double(n):\n    return n * 2", entry="double", tests=tests),
            shown("The answer is unknown."),
        ]
    )
    assert [one.check["kind"] for one in found] == ["number", "program"]
    assert found[0].messages == (Message("user", "Q"),)
    assert right_number(found[0], "The answer is 1007.0.")
    assert not right_number(found[0], "The answer is 1.")
    assert found[1].check["tests"] == tests


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3 + 4 = 7. The answer is 7.", "7"),
        ("The answer is: $1,250.50", "1250.50"),
        ("so\n#### -18", "-18"),
        ("The answer is 12 miles per hour.", "12"),
        ("The answer is 40 %.", "40"),
        ("The answer is 16oz.", "16"),
        ("The answer is 1007!\n", "1007"),
        ("The answer is 3/4.", None),
        ("The answer is 10:30 am.", None),
        ("The answer is 5^2.", None),
        ("The answer is 2x + 1.", None),
        ("The answer is 2 + x.", None),
        ("The answer is 1.5e3.", None),
        ("The answer is 1,2 and 3.", None),
        ("The answer is 1,2.", None),
        ("The answer is 3 or 4.", None),
        ("The answer is 1 1/2.", None),
        ("The answer is 3-5 apples.", None),
        ("I think the answer is 42 or so, but who knows what people mean.", None),
        ("The answer is 42, as he said.", None),
        ("The answer is 5. It may be 6.", None),
    ],
)
def test_only_an_answer_that_ends_in_one_whole_number_can_be_verified(
    text: str, number: str | None
) -> None:
    shown = Conversation((Message("user", "Q"), Message("assistant", text)))
    assert [one.check["answers"] for one in verifiable([shown])] == ([[number]] if number else [])


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("The answer is 3.", True), ("The answer is 3 apples, and no more.", True),
        ("The answer is 3, as 1 + 2 is.", True), ("It is $3.00", True),
        ("The answer is 3 - that is all.", True), ("The answer is 3km.", True),
        ("The answer is 3/4.", False), ("The answer is 3:30.", False), ("#### 3 + 4", False),
        ("The answer is 3x.", False), ("The answer is 3 1/2.", False),
    ],
)  # fmt: skip
def test_part_of_an_answer_is_not_the_right_answer(answer: str, right: bool) -> None:
    asked = Conversation((Message("user", "Q"),), check={"kind": "number", "answers": ["3"]})
    assert right_number(asked, answer) == right


@pytest.mark.skipif(not (SHARED / "gsm8k").is_dir(), reason="no shared/data/gsm8k")
def test_every_problem_of_gsm8k_is_verified_by_its_own_number_and_by_no_other() -> None:
    file = SHARED / "gsm8k/data.jsonl.gz"
    prompts = verifiable(read_demonstrations(file))
    answers = [row["answer"] for row in read_jsonl(file)]
    assert len(prompts) == len(answers) == 7473
    for prompt, answer in zip(prompts, answers):
        number = Decimal(answer.split("####")[1].strip().replace(",", ""))
        assert right_number(prompt, answer)  # as it stands, calculator marks and all
        assert right_number(prompt, f"It costs ${number:,}, so the answer is ${number:,}.")
        assert not right_number(prompt, f"{number}, but then the answer is {number + 1}.")


def test_the_verifier_runs_programs_and_reads_numbers() -> None:
    number = Conversation((Message("user", "3 + 4?"),), check={"kind": "number", "answers": ["7"]})
    check = {"kind": "program", "entry": "double", "tests": [[[2], 4], [[5], 10]]}
    coded = Conversation((Message("user", "Write double."),), check=check)
    right = "def double(n):\n    return n * 2"
    answers = ["The answer is 7.", right, "I cannot.", "def double(n):\n    return n + 2", "7"]
    prompts = [number, coded, number, coded, coded]
    assert verify(prompts, answers) == [1.0, 1.0, 0.0, 0.0, 0.0]
