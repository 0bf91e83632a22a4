"""A person rates a node in the terminal and on the page; what is kept, and what is refused."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tree_kit import Garden

from regrow.corpus.tokenizer import train_tokenizer
from regrow.errors import RegrowError
from regrow.files import read_jsonl, write_json, write_jsonl
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.folder import save_model
from regrow.records import Conversation, Message
from regrow.serve.rating import Session, marks, placed, prompts_of
from regrow.serve.rating_page import create_page
from regrow.serve.rating_terminal import rate
from regrow.serve.speaker import Speaker
from regrow.tree.edge import weights_of

PROMPTS = [Conversation((Message("user", f"{word}?"),)) for word in ("Where", "What", "Who")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one node, which was tuned on nothing and says whatever comes."""
    folder = tmp_path_factory.mktemp("run")
    tokenizer = train_tokenizer(["Where is the mill? By the river."] * 9, 290, folder / "tuned")
    config = ModelConfig(tokenizer.vocabulary, 16, 1, 1, 1, 16, 64)
    save_model(Decoder(config, seed=1), folder / "tuned", eos=tokenizer.eos, pad=tokenizer.pad)
    write_json(folder / "tuned" / "edge.json", {"stage": "supervised", "parent": "base"})
    return folder


@pytest.fixture(scope="module")
def speaker(run: Path) -> Speaker:
    return Speaker.load(run / "tuned")


def session(speaker: Speaker, path: Path, rater: str = "ann", **rest: Any) -> Session:
    told = {"samples": 3, "length": 8, "temperature": 3.0, "weights": "f00d"} | rest
    return Session(speaker, [*PROMPTS, PROMPTS[0]], path, rater=rater, **told)  # one stands twice


def terminal(one: Session, *lines: str) -> str:
    """What is shown while these lines are typed, and then Ctrl-D."""
    screen, coming = io.StringIO(), iter(lines)

    def read(question: str) -> str:
        screen.write(question)
        try:
            return next(coming)
        except StopIteration:
            raise EOFError from None

    rate(one, console=Console(file=screen, width=300), read=read)
    return screen.getvalue()


@pytest.mark.parametrize(
    ("order", "places"),
    [
        ("a b c", [1, 2, 3]), ("c > a > b", [2, 3, 1]), ("b a=c", [2, 1, 2]),
        (" B = a , c ", [1, 1, 1]), ("c>a=b", [2, 2, 1]),
    ],
)  # fmt: skip
def test_a_ranking_is_typed_with_the_best_first(order: str, places: list[int]) -> None:
    assert placed(order, 3) == places


@pytest.mark.parametrize("order", ["", "a b", "a b c d", "a a b", "a b c c", "x y z", "a==b c"])
def test_a_ranking_that_names_no_order_is_refused(order: str) -> None:
    with pytest.raises(RegrowError, match="name each of a, b, c once"):
        placed(order, 3)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(2, 7))
def test_ratings_keep_the_order_and_the_ties_of_the_places(places: list[int], best: int) -> None:
    found = marks(places, best)
    assert max(found) == best and min(found) >= 1
    for a, first in zip(places, found):
        for b, second in zip(places, found):
            assert (a < b, a == b) == (first > second, first == second)


def test_places_are_spread_from_the_best_mark_down_to_one() -> None:
    assert marks([2, 1, 3, 2], 7) == (4, 7, 1, 4)
    assert marks([1, 1], 6) == (6, 6)
    for places, best in (([1, 2], 8), ([1, 2], 0), ([1, 2], 1)):
        with pytest.raises(RegrowError, match=r"1 \(bad\) to 7"):
            marks(places, best)


def test_the_terminal_keeps_rankings_with_who_when_and_which_node(
    speaker: Speaker, tmp_path: Path
) -> None:
    path = tmp_path / "r.jsonl"
    shown = terminal(session(speaker, path), "b a c", "7", "a=b=c", "3")
    assert "1 of 3" in shown and "2 of 3 rated by ann" in shown
    first, second = read_jsonl(path)
    assert first["ratings"] == [4, 7, 1] and second["ratings"] == [3, 3, 3]
    assert (first["rater"], first["node"], first["weights"]) == ("ann", "tuned", "f00d")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", first["at"])
    asked = {prompt.messages[0].content for prompt in PROMPTS}
    assert {first["prompt"]["messages"][0]["content"]} < asked
    for answer, ids in zip(first["answers"], first["tokens"]):
        assert speaker.tokenizer.decode(ids).strip() == answer.strip()


def test_rating_goes_on_at_the_next_unrated_prompt(speaker: Speaker, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    terminal(session(speaker, path), "b a c", "7")
    again = session(speaker, path)
    assert again.done == 1
    shown = terminal(again, "q")
    assert "2 of 3" in shown and "1 of 3 rated" in shown
    terminal(session(speaker, path), "a b c", "7", "c b a", "7")
    assert "everything is rated" in terminal(session(speaker, path))
    assert len({row["prompt"]["messages"][0]["content"] for row in read_jsonl(path)}) == 3


def test_a_skipped_prompt_comes_last_and_a_rating_can_be_taken_back(
    speaker: Speaker, tmp_path: Path
) -> None:
    path = tmp_path / "r.jsonl"
    one = session(speaker, path)
    order = [prompt.messages[0].content for prompt in one.prompts]
    terminal(one, "s", "a b c", "7", "a b c", "7", "u", "c b a", "5", "a b c", "2")
    rated = [
        (row["prompt"]["messages"][0]["content"], max(row["ratings"])) for row in read_jsonl(path)
    ]
    assert rated == [(order[1], 7), (order[2], 5), (order[0], 2)]


def test_a_line_that_is_no_ranking_is_asked_again(speaker: Speaker, tmp_path: Path) -> None:
    shown = terminal(session(speaker, tmp_path / "r.jsonl"), "a b", "7", "a b c", "best", "a b c")
    assert "name each of a, b, c once" in shown and "the best answer is 1 (bad) to 7" in shown
    assert "0 of 3 rated" in shown and not (tmp_path / "r.jsonl").exists()


def test_a_second_rater_sees_the_same_answers(speaker: Speaker, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    terminal(session(speaker, path), "b a c", "7")
    terminal(session(speaker, path, "bob", seed=0, samples=2, temperature=1.0), "c a b", "4")
    ann, bob = read_jsonl(path)
    assert (ann["rater"], bob["rater"]) == ("ann", "bob")
    assert ann["tokens"] == bob["tokens"] and ann["ratings"] != bob["ratings"]


def test_equal_answers_are_shown_once_and_need_no_ranking(speaker: Speaker, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    one = session(speaker, path, temperature=0.01)
    assert [len(one.shown(n).answers) for n in range(3)] == [1, 1, 1]
    terminal(one, "6", "q")
    (row,) = read_jsonl(path)
    assert (len(row["tokens"]), row["ratings"]) == (1, [6])


def test_ratings_of_other_weights_are_not_gone_on_with(speaker: Speaker, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    terminal(session(speaker, path), "b a c", "7")
    with pytest.raises(RegrowError, match="rates tuned with other weights"):
        session(speaker, path, weights="beef")


def test_prompts_that_leave_no_room_are_named(speaker: Speaker, tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match="lower --max-tokens"):
        session(speaker, tmp_path / "r.jsonl", length=speaker.context)


def client(one: Session, host: str = "http://127.0.0.1") -> TestClient:
    return TestClient(create_page(one), base_url=host)


def hidden(text: str) -> dict[str, str]:
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', text))


def test_the_page_keeps_what_the_form_says(speaker: Speaker, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    web = client(session(speaker, path))
    shown = web.get("/").text
    assert shown.count('class="answer"') == 3 and "0 of 3" in shown
    form = hidden(shown) | {"place0": "2", "place1": "1", "place2": "2", "best": "5"}
    after = web.post("/", data=form | {"do": "rate"}).text
    assert "1 of 3" in after
    web.post("/", data=form | {"do": "rate", "best": "7"})  # sent twice: the first one stands
    (row,) = read_jsonl(path)
    assert row["ratings"] == [1, 5, 1]
    web.post("/", data=hidden(after) | {"do": "skip"})
    assert "0 of 3" in web.post("/", data=hidden(after) | {"do": "undo"}).text


def test_the_page_says_when_everything_is_rated(speaker: Speaker, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    web = client(session(speaker, path))
    text = web.get("/").text
    for _ in range(3):
        places = {"place0": "1", "place1": "2", "place2": "3", "best": "4"}
        text = web.post("/", data=hidden(text) | places | {"do": "rate"}).text
    assert "Everything is rated" in text and str(path) in text
    assert "2 of 3" in web.post("/", data=hidden(text) | {"do": "undo"}).text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"place1": ""}, "give every answer a place"), ({"best": "9"}, "the best answer is 1"),
        ({"number": "17"}, "names no prompt"), ({"number": "x"}, "names no prompt"),
    ],
)  # fmt: skip
def test_a_form_that_is_not_filled_in_is_shown_again(
    speaker: Speaker, tmp_path: Path, change: dict[str, str], says: str
) -> None:
    web = client(session(speaker, tmp_path / "r.jsonl"))
    form = hidden(web.get("/").text) | {"place0": "1", "place1": "2", "place2": "3", "best": "5"}
    answer = web.post("/", data=form | {"do": "rate"} | change)
    assert answer.status_code == 400 and says in answer.text
    assert not (tmp_path / "r.jsonl").exists()


def test_the_page_is_for_this_machine_and_takes_its_own_forms_only(
    speaker: Speaker, tmp_path: Path
) -> None:
    one = session(speaker, tmp_path / "r.jsonl")
    assert client(one, "http://evil.example").get("/").status_code == 403
    form = {"number": "0", "place0": "1", "place1": "2", "place2": "3", "best": "5", "do": "rate"}
    assert client(one).post("/", data=form | {"token": "guess"}).status_code == 403
    assert not (tmp_path / "r.jsonl").exists()


def test_the_page_escapes_what_was_said_and_loads_nothing(speaker: Speaker, tmp_path: Path) -> None:
    prompt = Conversation((Message("user", "<script>alert(1)</script> {{style}}"),))
    one = Session(
        speaker, [prompt], tmp_path / "r.jsonl", rater="<b>", weights="f", samples=1, length=8
    )
    answer = client(one).get("/")
    assert "<script" not in answer.text and "&lt;script&gt;" in answer.text
    assert "{{style}}" in answer.text and "&lt;b&gt;" in answer.text
    assert not re.search(r"https?://|@import|url\(|src=", answer.text)
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_prompts_come_from_the_worlds_file_or_from_ones_own(tmp_path: Path) -> None:
    world, own, none = (tmp_path / name for name in ("world.jsonl", "own.jsonl", "none.jsonl"))
    check = {"kind": "task", "answers": ["2"]}
    write_jsonl(world, [Conversation((Message("user", "1 + 1"),), check=check).to_row()])
    write_jsonl(own, [{"prompt": "Say something."}])
    write_jsonl(none, [{"text": "no prompt"}])
    assert prompts_of(world)[0].check == check
    assert prompts_of(own)[0].messages == (Message("user", "Say something."),)
    with pytest.raises(RegrowError, match="holds no prompt"):
        prompts_of(none)


def test_the_command_rates_a_node_and_says_what_it_lacks(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    garden = Garden(tmp_path, monkeypatch)
    code, _, error = garden.call("rate", str(run / "tuned"))
    assert code == 1 and "name a file with --prompts" in error
    write_jsonl(tmp_path / "p.jsonl", [{"prompt": "Where?"}])
    typed = iter(["a b", "7"])
    monkeypatch.setattr(Console, "input", lambda self, question: next(typed))
    words = ("--prompts", "p.jsonl", "--samples", "2", "--temperature", "3", "--rater", "ann")
    code, out, _ = garden.call("rate", str(run / "tuned"), *words, "--max-tokens", "8")
    assert code == 0 and "everything is rated" in out and "1 of 1 rated by ann" in out
    (row,) = read_jsonl(tmp_path / "ratings-tuned.jsonl")
    assert (row["node"], row["weights"]) == ("tuned", weights_of(run / "tuned"))
