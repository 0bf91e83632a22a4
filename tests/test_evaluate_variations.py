"""Questions asked otherwise: what is changed, what is kept, and how votes are counted."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from regrow.corpus.tokenizer import Tokenizer, train_tokenizer
from regrow.evaluate import prompts, variations
from regrow.evaluate.plans import Asker, Request
from regrow.evaluate.variations import by_questions, elected, varied, with_slips
from regrow.records import Item
from regrow.worlds.knowledge import knowledge_items
from regrow.worlds.prose import render_town
from regrow.worlds.school_items import school_items
from regrow.worlds.sheets_gate import Gate
from regrow.worlds.tasks_kit import reserved
from regrow.worlds.town import Town


@pytest.fixture(scope="module")
def items() -> dict[str, list[Item]]:
    """Facts and problems of a small world."""
    town = Town(0, "a", 60)
    list(render_town(town, 120_000, set()))
    school = [i for i in school_items(0, "a", 12) if i.ability == "chain_of_thought"]
    return {"knowledge": knowledge_items(town, 12), "chain_of_thought": school}


@pytest.fixture(scope="module")
def asker(items: dict[str, list[Item]], tmp_path_factory: pytest.TempPathFactory) -> Asker:
    folder = Path(tmp_path_factory.mktemp("tokenizer"))
    texts = [i.question for found in items.values() for i in found]
    train_tokenizer(texts * 3, 600, folder)
    return Asker(Tokenizer.load(folder), 384, chat=False)


def requests(asker: Asker, item: Item) -> list[Request]:
    return list(variations.PLANS[item.ability](item, asker))


def test_slips_swap_letters_inside_words_and_spare_the_name() -> None:
    text = "Where does Gaston Yardley live nowadays?"
    slipped = with_slips(Random(1), text, keep="Gaston Yardley")
    assert slipped != text
    assert "Gaston Yardley" in slipped
    assert sorted(slipped) == sorted(text)
    for before, after in zip(text.split(), slipped.split()):
        assert before[0] == after[0]
        assert sum(a != b for a, b in zip(before, after)) in (0, 2)


def test_a_varied_item_is_asked_in_every_way_under_one_id(
    items: dict[str, list[Item]], asker: Asker
) -> None:
    found = varied("robustness", lambda name: items[name])
    assert {item.split["of"] for item in found} <= {"facts", "problems"}
    problem = next(item for item in found if item.split["of"] == "problems")
    asked = requests(asker, problem)
    assert [r.variant["noise"] for r in asked] == ["none", "slips", "capitals", "distractor"]
    assert {r.item.id for r in asked} == {problem.id}
    texts = {r.variant["noise"]: asker.tokenizer.decode(r.prompt) for r in asked}
    assert problem.question in texts["none"]
    assert problem.question.upper() in texts["capitals"]
    assert texts["distractor"].count(problem.question) == 1
    assert len(texts["distractor"]) > len(texts["none"]) + 10


def test_a_distractor_is_about_somebody_else(items: dict[str, list[Item]]) -> None:
    for item in varied("robustness", lambda name: items[name]):
        if item.split["of"] == "problems":
            aside = variations._beside_the_point(item)
            assert item.question.split()[0] not in aside


def test_facts_are_asked_after_the_truth_and_after_another_value(
    items: dict[str, list[Item]], asker: Asker
) -> None:
    for item in varied("counterfactuals", lambda name: items[name]):
        true, other = requests(asker, item)
        assert true.variant["statement"] == "true"
        assert other.variant["statement"] == "another"
        (right,), (wrong,) = true.item.answers, other.item.answers
        assert right != wrong
        edited = item.check["edited"]
        assert item.family in edited["told"]
        assert wrong in edited["told"]
        assert right in edited["true"]
        assert asker.tokenizer.decode(other.prompt).count(edited["told"]) == 1
        assert variations.JUDGES["counterfactuals"](other, [wrong]) == {"accuracy": 1.0}
        assert variations.JUDGES["counterfactuals"](other, [right]) == {"accuracy": 0.0}


def test_examples_of_prompts_are_of_the_training_side_and_of_the_steps_they_name(
    items: dict[str, list[Item]],
) -> None:
    gate = Gate("a")
    for item in items["chain_of_thought"]:
        for steps, shown in item.check["exemplars"].items():
            for question, worked in shown:
                assert worked.count("=") == int(steps)
                assert question != item.question
                assert f"The answer is {worked.rsplit(' ', 1)[1]}" in worked
    assert not gate.passes(items["chain_of_thought"][0].key)
    assert reserved(items["chain_of_thought"][0].key, "a")


def test_each_way_of_prompting_shows_its_own_examples(
    items: dict[str, list[Item]], asker: Asker
) -> None:
    item = varied("prompting", lambda name: items[name])[0]
    asked = {r.variant["way"]: r for r in requests(asker, item)}
    exemplars = item.check["exemplars"]
    simple = asker.tokenizer.decode(asked["simple examples"].prompt)
    complicated = asker.tokenizer.decode(asked["complex examples, votes"].prompt)
    assert exemplars["1"][1][0] in simple
    assert exemplars["4"][1][0] in complicated
    assert asked["simple examples"].decoding.samples == 1
    assert asked["complex examples, votes"].decoding.samples == variations.VOTES
    assert "How many when" in asker.tokenizer.decode(asked["least to most"].prompt)


def test_instructions_are_shown_eight_others_of_their_type_that_training_may_hold(
    asker: Asker,
) -> None:
    tasks = [i for i in school_items(0, "b", 12) if i.ability == "instructions"]
    tasks = [replace(task, wording="") for task in tasks]  # as older worlds wrote them
    item = varied("few_shot", lambda name: tasks)[0]
    shots = variations.solved(item, 8)
    assert len({question for question, _ in shots}) == 8
    head = item.question.split(" ")[0]
    for question, _ in shots:
        given = re.split(r": |\? |\nText: ", question)[-1]
        assert question.startswith(head)
        assert not reserved(f"{item.check['task']}|{given}", "b")
    assert variations.solved(item, 8) == shots
    best = prompts.templates("instructions")[3]
    (request,) = requests(Asker(asker.tokenizer, 4096, chat=True, instruction=best), item)
    assert request.template == best.name
    assert asker.tokenizer.decode(request.prompt).count(head) >= 9
    assert (request.asked, request.variant) == ("plain", {"types": item.split["types"]})
    assert variations.JUDGES["few_shot"](request, [item.answers[0]]) == {"accuracy": 1.0}


def test_each_step_is_led_by_its_question() -> None:
    worked = "She finds 8 more: 6 + 8 = 14. She loses 1: 14 - 1 = 13. The answer is 13."
    assert by_questions(worked) == (
        "How many when She finds 8 more? She finds 8 more: 6 + 8 = 14. "
        "How many when She loses 1? She loses 1: 14 - 1 = 13. The answer is 13."
    )


def test_votes_go_to_the_number_of_most_texts_and_silence_has_none() -> None:
    assert elected(["The answer is 3.", "no idea", "The answer is 4.", "so 4"]) == 4
    assert elected(["The answer is 3.", "The answer is 4."]) == 3
    assert elected(["none", ""]) is None


def test_the_vote_of_long_chains_leaves_short_ones_out(
    items: dict[str, list[Item]], asker: Asker
) -> None:
    item = varied("prompting", lambda name: items[name])[0]
    asked = next(r for r in requests(asker, item) if r.variant["way"] == "simple examples, votes")
    right = item.answers[0]
    texts = ["The answer is 0."] * 2 + [f"1 + 1 = 2. 2 + 1 = 3. The answer is {right}."] * 2
    verdict = variations.JUDGES["prompting"](asked, texts)
    assert verdict == {"accuracy": 0.0, "accuracy of long chains": 1.0}
