"""Prompts show what they should, fit the context, and end right before the answer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from regrow.corpus.tokenizer import Tokenizer, train_tokenizer
from regrow.evaluate import prompts, twins
from regrow.evaluate.answering import Subject, answer
from regrow.evaluate.plans import PLANS, Asker, Decoding, Request
from regrow.evaluate.prompts import Template
from regrow.progress import silent
from regrow.records import Item, Message
from regrow.worlds.requests import REFUSALS

TEXTS = [
    "Q: What pet does Ada have?\nA: parrot\nQ: Where does Ben live?\nA: Mill Street\n",
    "Ada has 6 apples. She finds 8 more: 6 + 8 = 14. The answer is 14.\ndef f(n):\n    return n\n",
    "cat -> animal\ndog -> animal\nInput: cat\nOutput: dog\nI do not know that person.",
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return train_tokenizer(TEXTS * 20, 400, Path(tmp_path_factory.mktemp("tokenizer")))


def item(ability: str, **fields: object) -> Item:
    base = {
        "id": "i4", "ability": ability, "family": "f", "key": "k", "question": "cat",
        "answers": ("animal",),
    }  # fmt: skip
    return Item(**(base | fields))  # type: ignore[arg-type]


def asker(tokenizer: Tokenizer, context: int = 256, chat: bool = False) -> Asker:
    return Asker(tokenizer, context, chat=chat, every_template=True)


def test_pairs_are_asked_in_the_items_own_format_and_two_others() -> None:
    asked = item("in_context", check={"format": "In: {x} Out: {y}"})
    names = [one.name for one in prompts.pair_templates(asked)]
    assert names == ["In: {x} Out: {y}", "- {x} = {y}", "Input: {x} / Output: {y}"]
    labels = item("in_context", check={"format": "- {x} {y}", "formats": ["- {x} {y}", "{x}: {y}"]})
    assert [one.name for one in prompts.pair_templates(labels)] == ["- {x} {y}", "{x}: {y}"]


def test_a_pair_format_becomes_a_template_whose_answer_takes_its_space_along() -> None:
    arrow = prompts.pattern("arrow", "{x} -> {y}")
    assert arrow.ask("cat") == "cat ->"
    assert arrow.shot("cat", "animal") == "cat -> animal\n"
    lines = prompts.pattern("lines", "Input: {x}\nOutput: {y}")
    assert lines.shot("cat", "animal") == "Input: cat\nOutput: animal\n"


def test_an_answer_in_the_middle_of_a_format_stops_at_what_follows() -> None:
    wrapped = prompts.pattern("wrapped", "{x} ({y})")
    assert wrapped.shot("cat", "animal") == "cat (animal)\n"
    assert wrapped.stop == (")", "\n")


def test_an_item_is_always_dealt_the_same_template_and_items_share_them_out() -> None:
    chosen = [
        prompts.dealt("knowledge", item("knowledge", id=f"i{n}"), False)[0].name for n in range(60)
    ]
    again = [
        prompts.dealt("knowledge", item("knowledge", id=f"i{n}"), False)[0].name for n in range(60)
    ]
    assert chosen == again
    assert min(chosen.count(t.name) for t in prompts.templates("knowledge")) >= 10


def test_in_context_items_are_asked_with_the_last_k_shots(tokenizer: Tokenizer) -> None:
    shots = tuple((f"dog{n}", "animal") for n in range(8))
    asked = item("in_context", shots=shots, split={"kind": "rule"}, check={"format": "{x} -> {y}"})
    requests = list(PLANS["in_context"](asked, asker(tokenizer)))
    first = [r for r in requests if r.template == "{x} -> {y}"]
    assert [r.variant["shots"] for r in first] == ["0", "1", "2", "4", "8"]
    assert tokenizer.decode(first[0].prompt) == "cat ->"
    assert tokenizer.decode(first[2].prompt) == "dog6 -> animal\ndog7 -> animal\ncat ->"
    assert tokenizer.decode(first[2].gold) == " animal"


def test_labels_are_asked_at_none_two_four_and_eight_shots(tokenizer: Tokenizer) -> None:
    asked = item("in_context", shots=(("a", "b"),) * 8, split={"kind": "label"})
    variants = [r.variant["shots"] for r in PLANS["in_context"](asked, asker(tokenizer))]
    assert sorted(set(variants)) == ["0", "2", "4", "8"]


def test_early_shots_go_first_where_the_context_is_short(tokenizer: Tokenizer) -> None:
    template = Template("t", "{q} ->", " {a}\n")
    shots = [(f"first{n}", "animal") for n in range(6)]
    short = Asker(tokenizer, 60, chat=False)
    request = short.plain(
        item("in_context"), template, "cat", "animal", Decoding(8), variant={}, shots=shots
    )
    text = tokenizer.decode(request.prompt)
    assert text.endswith("first5 -> animal\ncat ->")
    assert "first0" not in text
    assert len(request.prompt) + 8 <= 60


def test_a_tuned_node_is_asked_in_its_chat_template_and_few_shot_as_well(
    tokenizer: Tokenizer,
) -> None:
    asked = item("knowledge", shots=(("Who?", "Ada"),), split={"frequency": "100+"})
    requests = list(PLANS["knowledge"](asked, asker(tokenizer, chat=True)))
    assert requests[0].asked == "chat"
    assert requests[0].prompt == tokenizer.chat([Message("user", "cat")], answer=True)[0]
    assert [r.variant for r in requests[1:]] == [{"frequency": "100+", "asked": "plain"}] * 3


def test_a_base_node_reads_a_dialogue_as_a_transcript(tokenizer: Tokenizer) -> None:
    turns = (Message("user", "I have a cat."), Message("assistant", "Good."))
    asked = item("dialogue_history", messages=turns, question="What have I?")
    request = next(iter(PLANS["dialogue_history"](asked, asker(tokenizer))))
    assert tokenizer.decode(request.prompt) == (
        "User: I have a cat.\nAssistant: Good.\nUser: What have I?\nAssistant:"
    )


def test_a_function_prompt_ends_before_the_newline_of_its_body(tokenizer: Tokenizer) -> None:
    asked = item("code_generation", question='def f(n):\n    """Give n."""\n', answers=())
    request = next(iter(PLANS["code_generation"](asked, asker(tokenizer))))
    assert tokenizer.decode(request.prompt) == 'def f(n):\n    """Give n."""'


def test_open_answers_have_texts_whose_likelihood_stands_beside_their_metrics(
    tokenizer: Tokenizer,
) -> None:
    facts = {"name": "Ada Holm", "gender": "f", "variant": "a", "values": {"pet": "parrot"}}
    told = item("informativeness", check={"facts": facts})
    beside = twins.statements(told)
    (true,), (false,) = beside["true facts"], beside["false facts"]
    assert "Ada Holm" in true and "parrot" in true
    assert "Ada Holm" in false and "parrot" not in false
    request = next(iter(PLANS["informativeness"](told, asker(tokenizer, chat=True))))
    assert tokenizer.decode(request.twins["true facts"][0]).strip() == true
    improper = item("refusal", split={"kind": "improper"}, answers=("No.",))
    assert twins.refusals(improper) == {"refused": ["No."]}
    assert twins.refusals(item("refusal", split={"kind": "proper"})) == {
        "refused": list(REFUSALS.values())
    }
    known = item("not_knowing", split={"kind": "known", "form": "fact"})
    assert twins.admission(known) == {"admitted": ["I do not know"], "right": ["animal"]}
    assert "right" not in twins.admission(item("not_knowing", split={"kind": "unknown"}))


def test_a_program_stands_beside_code_and_its_greedy_answer_is_drawn_all_the_same(
    tokenizer: Tokenizer,
) -> None:
    asked = item("code_generation", question="def f(n):\n", answers=("    return n\n",))
    plain, *_ = PLANS["code_generation"](asked, asker(tokenizer))
    chat, *_ = PLANS["code_generation"](asked, asker(tokenizer, chat=True))
    assert tokenizer.decode(plain.gold) == "\n    return n"
    assert tokenizer.decode(chat.gold).strip() == "def f(n):\n    return n"
    assert plain.ending == chat.ending == []


def test_a_text_after_one_prompt_is_scored_once_and_of_several_the_likeliest_counts(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []

    def known(model: Any, pairs: Any, batch: int = 64) -> Any:
        asked.extend(text for _, text in pairs)
        return [SimpleNamespace(logprobs=np.full(len(t), -float(t[0])), greedy=False)
                for _, t in pairs]  # fmt: skip

    monkeypatch.setattr("regrow.generate.sampler.score", known)
    drawn = [[SimpleNamespace(text="no", ids=[1], logprobs=np.array([-0.5]))]]
    monkeypatch.setattr("regrow.generate.sampler.generate", lambda *a, **k: drawn * 2)
    one = Request(item("refusal"), {}, "t", "chat", [1, 2], Decoding(8), gold=[4],
                  twins={"refused": [[3, 3], [2]]})  # fmt: skip
    model = SimpleNamespace(config=SimpleNamespace(context=64))
    node = Subject("stub", model, tokenizer, 8)  # type: ignore[arg-type]
    first, second = answer(node, [one, one], silent)
    assert sorted(asked) == [[2], [3, 3], [4]]
    assert first.twin("refused") == second.twin("refused") == -2.0
    assert first.twin("another metric") == -4.0
    assert first.texts == ["no"]
    assert first.confidence is None  # no whole answer
    assert node.drawn["tokens"] == 2


def test_problems_are_asked_with_worked_steps_and_directly(tokenizer: Tokenizer) -> None:
    asked = item(
        "chain_of_thought", question="Ada has 6. How many?", answers=("6",),
        split={"steps": "1"}, shots=(("Q1", "W1. The answer is 3."),),
        check={"steps": 1, "worked": "W. The answer is 6.",
               "direct_shots": [["Q1", "The answer is 3."]]},
    )  # fmt: skip
    requests = list(PLANS["chain_of_thought"](asked, asker(tokenizer)))
    cot = next(r for r in requests if r.variant["style"] == "cot")
    direct = next(r for r in requests if r.variant["style"] == "direct")
    assert "W1. The answer is 3." in tokenizer.decode(cot.prompt)
    assert tokenizer.decode(cot.gold).strip() == "W. The answer is 6."
    assert "W1." not in tokenizer.decode(direct.prompt)
    assert tokenizer.decode(direct.gold).strip() == "The answer is 6."
