"""What is learnt from conversations: the answers alone, each conversation by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from foreign_kit import TEMPLATE, write_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow.align.feedback import rank, sample_answers
from regrow.align.heldout import compare, measure, sample
from regrow.align.lesson import (
    keep_aside,
    of_families,
    of_types,
    set_of,
    so_many,
    task_type,
    without_steps,
)
from regrow.align.reward import RewardModel
from regrow.align.rollouts import draw
from regrow.align.rows import (
    ConversationRows,
    answered_ids,
    asked_ids,
    laid_out,
    stack,
    stack_parts,
)
from regrow.corpus.tokenizer import Tokenizer, break_specials, train_tokenizer
from regrow.errors import RegrowError
from regrow.files import write_json, write_jsonl
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.records import Conversation, Message
from regrow.tree.stages.materials import fitting
from regrow.tree.stages.rating import rate_by
from regrow.tree.stages.rewards import compared

TEXTS = ["Who is the baker? Ana is the baker. The answer is 4. Be kind.\n"] * 20
NO_SYSTEM = TEMPLATE.replace(
    "{% if loop.first", "{% if message['role'] == 'system' %}{{ raise_exception('no system') }}"
    "{% endif %}{% if loop.first",
)  # fmt: skip
LAST_ONLY = TEMPLATE.replace("for message in messages", "for message in messages[-2:]")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return train_tokenizer(TEXTS, 300, tmp_path_factory.mktemp("tokenizer"))


def foreign(folder: Path, template: str = TEMPLATE) -> Tokenizer:
    write_tokenizer(folder, template=template)
    write_json(folder / "config.json", {})
    return Tokenizer.load(folder)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return foreign(tmp_path_factory.mktemp("foreign"))


def talk(*said: str, family: str = "", kind: str = "", key: str = "") -> Conversation:
    """A conversation: a system turn where the number of texts is odd, then user and assistant."""
    roles = ["system"] * (len(said) % 2) + ["user", "assistant"] * (len(said) // 2)
    return Conversation(tuple(map(Message, roles, said)), family, kind, key)


SAID = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).map(
    lambda text: text.strip() or "x"
) | st.sampled_from(["<|end|> done", "<|im_end|>", "<|assistant|>Yes", "12 + 3", "é\u0301 汉字"])
TALKS = st.lists(
    st.lists(SAID, min_size=2, max_size=7).map(lambda said: talk(*said)), min_size=1, max_size=6
)  # fmt: skip


@given(TALKS)
@settings(max_examples=80, deadline=None)
def test_the_targets_that_count_are_the_answers_and_their_ends(
    ours: Tokenizer, talks: list[Conversation]
) -> None:
    supply = ConversationRows(talks, ours, 200, seed=1)
    counted: list[str] = []
    for i in range(len(supply._pack(0))):
        ids, weights = supply.row(i)
        learnt = [int(id_) for id_, weight in zip(ids[1:], weights) if weight]
        counted += ours.decode(learnt, specials=True).split("<|end|>")[:-1]
    expected = [
        " " + break_specials(turn.content)
        for one in talks
        for turn in one.messages
        if turn.role == "assistant"
    ]
    assert sorted(counted) == sorted(expected)


@given(TALKS)
@settings(max_examples=40, deadline=None)
def test_so_they_are_in_the_template_of_an_imported_model(
    theirs: Tokenizer, talks: list[Conversation]
) -> None:
    for one in talks:
        ids, mask = laid_out(one, theirs)
        counted = [id_ for id_, counts in zip(ids, mask) if counts]
        answers = [turn.content for turn in one.messages if turn.role == "assistant"]
        broken = [text.replace("<|im_end|>", "< |im_end|>") for text in answers]
        assert theirs.decode(counted, specials=True) == "".join(
            f"{text}<|im_end|>" for text in broken
        )


@pytest.mark.parametrize("which", ["ours", "theirs"])
def test_transformers_lays_conversations_out_with_the_same_ids(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    tokenizer: Tokenizer = request.getfixturevalue(which)
    tokenizer.save(tmp_path)
    other = AutoTokenizer.from_pretrained(tmp_path)
    talks = [
        talk("Be kind.", "Who?", "Ana."),
        talk("Be kind.", "Who is <|end|>?", "Ana\n\nis.", " And 12? ", "Bo."),
        talk("Who?", "Ana.", "And?", "Bo."),
    ]
    for one in talks:
        for turns, answer in ((one.messages, False), (one.messages[:-1], True)):
            rows = [{"role": m.role, "content": m.content} for m in turns]
            expected = other.apply_chat_template(
                rows, add_generation_prompt=answer, return_dict=False
            )
            assert tokenizer.chat(turns, answer)[0] == expected


def test_what_stands_beside_a_conversation_changes_none_of_its_log_probabilities(
    ours: Tokenizer,
) -> None:
    model = Decoder(ModelConfig(ours.vocabulary, 16, 2, 2, 2, 16, 64, init="gpt2"), seed=1)
    first = talk("Who is the baker?", "Ana is.")
    seen = []
    for other in (talk("Is he kind?", "The baker is kind."), talk("12?", "4.")):
        supply = ConversationRows([first, other], ours, 64, seed=0)
        (inputs, targets, _), parts = stack(supply, 0, 1), stack_parts(supply, 0, 1)
        hidden = model(torch.from_numpy(inputs), documents_bt=torch.from_numpy(parts))
        own = laid_out(first, ours)[0]
        at = next(n for n in range(64) if inputs[0, n : n + len(own)].tolist() == own)
        assert at > 1  # the other stands before it
        here = torch.log_softmax(model.logits(hidden)[0, at : at + len(own) - 1], -1)
        seen.append(
            here[torch.arange(len(own) - 1), torch.from_numpy(targets[0, at:])[: len(own) - 1]]
        )
    alone = torch.log_softmax(model.logits(model(torch.tensor([own])))[0, :-1], -1)
    expected = alone[torch.arange(len(own) - 1), torch.tensor(own[1:])]
    torch.testing.assert_close(seen[0], expected)
    torch.testing.assert_close(seen[1], expected)


def test_a_template_that_leaves_out_a_turn_is_refused(tmp_path: Path) -> None:
    tokenizer = foreign(tmp_path, LAST_ONLY)
    one, two = talk("Who?", "Ana."), talk("Who?", "Ana.", "And?", "Bo.")
    assert len(ConversationRows([one], tokenizer, 64, seed=0)._encoded) == 1
    with pytest.raises(RegrowError, match="leaves out a turn of the user; give"):
        ConversationRows([one, two], tokenizer, 64, seed=0)


def test_an_answer_that_is_given_ends_where_one_that_is_drawn_does(
    ours: Tokenizer, theirs: Tokenizer
) -> None:
    one = talk("Be kind.", "Who?", "Ana.", "And?", "Bo.")
    before = replace(one, messages=one.messages[:-1])
    for tokenizer in (ours, theirs):
        drawn = [*tokenizer.answer("Bo."), tokenizer.end]
        prompt = asked_ids(before, tokenizer)
        assert answered_ids(one, tokenizer) == ([*prompt, *drawn], len(prompt))


def test_prompts_and_ratings_take_a_template_without_system_turns_too(tmp_path: Path) -> None:
    without = foreign(tmp_path, NO_SYSTEM)
    model = Decoder(ModelConfig(without.vocabulary, 16, 1, 2, 2, 16, 64), seed=1)
    prompts = [replace(talk("Be kind.", f"Who {n}?", "Ana."), key="") for n in range(2)]
    prompts = [replace(one, messages=one.messages[:-1]) for one in prompts]
    bare = [without.chat(one.messages[1:], answer=True)[0] for one in prompts]
    assert [asked_ids(one, without) for one in prompts] == bare
    assert fitting(prompts, model, without, 64 - len(bare[0])) == prompts
    assert [one.asked for one in draw(model, without, prompts, length=2)] == bare
    rated = sample_answers(
        model, without, prompts, node="x", samples=2, length=2, temperature=1.0, seed=0
    )
    found = [rank(replace(one, ratings=(1.0, 2.0)), without) for one in rated]
    assert [one.topic for one in found] == ["Who 0?", "Who 1?"]
    assert all(row[: len(bare[0])] == tuple(bare[0]) for row in found[0].rows)
    reward = RewardModel(model)
    assert [len(one.ratings) for one in rate_by(reward, without, rated)] == [2, 2]
    path = tmp_path / "votes.jsonl"
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Who 0?"}]
    said = [[*turns, {"role": "assistant", "content": text}] for text in ("Ana.", "Bo.")]
    write_jsonl(path, [{"chosen": said[0], "rejected": said[1]}])
    (one,) = compared([path], without, 64)
    assert one.rows[0] == (*bare[0], *without.answer("Ana."), without.end)
    assert (one.topic, one.start) == ("Who 0?", len(bare[0]))


def test_a_system_turn_that_the_template_knows_not_is_left_out_and_counted(
    tmp_path: Path, theirs: Tokenizer
) -> None:
    without = foreign(tmp_path, NO_SYSTEM)
    talks = [talk("Be kind.", "Who?", "Ana."), talk("And?", "Bo.")]
    assert theirs.holds_system and not without.holds_system
    supply = ConversationRows(talks, without, 64, seed=0)
    assert supply.layout["system_turns_left_out"] == 1
    assert laid_out(talks[0], without) == without.chat(talks[0].messages[1:])
    assert ConversationRows(talks, theirs, 64, seed=0).layout["system_turns_left_out"] == 0


def test_what_does_not_fit_a_row_is_counted(ours: Tokenizer) -> None:
    talks = [talk("a", "b"), talk("a " * 40, "b"), talk("a", "b", "a " * 60, "c")]
    talks.append(
        Conversation((Message("user", "a"), Message("assistant", "b"), Message("user", "a " * 60)))
    )
    layout = ConversationRows(talks, ours, 32, seed=0).layout
    assert layout["longer_than_a_row"] == 3 and layout["without_an_answer_in_a_row"] == 1


def test_fewer_task_types_are_among_more_of_them() -> None:
    talks = [talk("a", "b", family=f"f{n % 5}", kind=f"k{n % 2}") for n in range(40)]
    talks += [talk("a", "b", family=f"real{n}", kind="real") for n in range(2)]
    assert len({task_type(one) for one in talks}) == 12
    before: set[str] = set()
    for count in (1, 2, 4, 8, 12):
        kept, types = of_types(talks, count, seed=3)
        assert len(types) == count and before <= set(types)
        assert [one for one in talks if task_type(one) in types] == kept
        before = set(types)
    assert of_types(talks, 2, seed=4)[1] != of_types(talks, 2, seed=3)[1]
    with pytest.raises(RegrowError, match="only 12 task types"):
        of_types(talks, 13, seed=3)


def test_conversations_that_open_alike_are_on_one_side() -> None:
    talks = [talk(f"Who is {n % 500}?", f"{n}") for n in range(1000)]
    learnt, aside = keep_aside(talks, 0.2)
    assert len(learnt) + len(aside) == 1000
    assert not {one.messages[0] for one in learnt} & {one.messages[0] for one in aside}
    assert 70 < len({one.messages[0] for one in aside}) < 130
    assert {one.messages for one in aside} <= {one.messages for one in keep_aside(talks, 0.5)[1]}
    assert keep_aside(talks, 0.0)[1] == []


def test_held_out_conversations_are_measured_by_set(ours: Tokenizer) -> None:
    model = Decoder(ModelConfig(ours.vocabulary, 16, 1, 2, 2, 16, 64, init="gpt2"), seed=1)
    talks = [
        talk(f"Who is {n}?", "The answer is 4.", kind="real", key=f"sums|{n}") for n in range(3)
    ]
    talks.append(talk("Who?", "Ana."))
    model.eval()
    sets = sample(talks, 2)
    assert {name: len(some) for name, some in sets.items()} == {"sums": 2, "world": 1}
    assert set_of(talks[0]) == "sums"
    found = measure(model, ours, sets, length=8, window=64)
    ids, mask = ours.chat(sets["world"][0].messages)
    inputs, targets = torch.tensor([ids[:-1]]), torch.tensor([ids[1:]])
    loss, count = model.loss(inputs, targets, torch.tensor([mask[1:]]))
    (row,) = found["world"]
    assert row["tokens"] == count and row["loss"] == pytest.approx(loss.item() * count, rel=1e-4)
    assert row.keys() == {"loss", "tokens", "ended"}
    assert all(one.keys() >= {"closed", "right"} for one in found["sums"])


def test_changes_are_paired_and_carry_their_error() -> None:
    before = {
        "sums": [{"loss": 4.0, "tokens": 2, "ended": 0}, {"loss": 8.0, "tokens": 2, "ended": 1}]
    }
    after = {
        "sums": [{"loss": 2.0, "tokens": 2, "ended": 1}, {"loss": 6.0, "tokens": 2, "ended": 1}]
    }
    told = compare(before, after)["sums"]
    assert told["loss"]["before"] == [3.0, 1.0]  # 12 / 4; residuals -2 and 2, sqrt(2 * 8) / 4
    assert told["loss"]["after"] == [2.0, 1.0]
    assert told["loss"]["change"] == [-1.0, 0.0]  # both lost one nat a token
    assert told["ended"] == {
        "n": 2,
        "before": [0.5, 0.5],
        "after": [1.0, 0.0],
        "change": [0.5, 0.5],
    }
    assert told["tokens"] == 4


def test_without_steps_a_worked_answer_is_its_last_sentence_and_others_stay() -> None:
    worked = Conversation(
        (
            Message("user", "Ada has 2 hats. She finds 3 more. How many? Work step by step."),
            Message("assistant", "She finds 3 more: 2 + 3 = 5. The answer is 5."),
        ),
        "problems", "1 steps",
    )  # fmt: skip
    bare = Conversation(
        (Message("user", "Say 'The answer is no'."), Message("assistant", "The answer is no.")), "t"
    )
    (cut, same) = without_steps([worked, bare])
    assert cut.messages[0].content == "Ada has 2 hats. She finds 3 more. How many?"
    assert cut.messages[1].content == "The answer is 5."
    assert (cut.family, cut.kind) == ("problems", "1 steps")
    assert same == bare


def test_fewer_examples_are_among_more_and_too_many_are_refused() -> None:
    talks = [Conversation((Message("user", str(n)), Message("assistant", "ok"))) for n in range(50)]
    few, more = so_many(talks, 5, 1), so_many(talks, 20, 1)
    assert len(few) == 5 and len(more) == 20
    assert all(talk in more for talk in few)
    assert so_many(talks, 5, 2) != few
    with pytest.raises(RegrowError, match="there are only 50 conversations"):
        so_many(talks, 51, 1)


def test_families_are_chosen_by_name_and_a_wrong_one_is_refused() -> None:
    talks = [talk("a", "b", family=name) for name in ("problems", "code", "problems")]
    assert of_families(talks, ["problems"]) == [talks[0], talks[2]]
    with pytest.raises(RegrowError, match=r"of family 'problem'; did you mean 'problems'"):
        of_families(talks, ["problem"])
