"""The chat in the terminal."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from serve_kit import ANSWER, CONTEXT, PAGE, QUESTION, SECOND, SECOND_ANSWER, run

from regrow.files import write_json
from regrow.records import Message
from regrow.serve.chat import chat
from regrow.serve.speaker import Speaker

__all__ = ["run"]


def talk(folder: Path, *lines: str, **settings: Any) -> str:
    """What the terminal shows for these lines."""
    screen, coming = io.StringIO(), iter(lines)

    def read() -> str:
        try:
            return next(coming)
        except StopIteration:
            raise EOFError from None

    chat(folder, console=Console(file=screen, width=200), read=read, **settings)
    return screen.getvalue()


def test_the_terminal_holds_a_conversation(run: Path) -> None:
    shown = talk(run / "tuned", QUESTION, SECOND, "/quit", "never read")
    assert "tuned answers." in shown
    assert shown.splitlines()[1:] == [ANSWER, SECOND_ANSWER]


def test_the_greeting_shows_what_the_report_asks(run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(run, tmp_path / "run")
    rows = [
        {"prompt": "A grey day", "asked": "plain"},
        {"prompt": "user: Hm.\nuser: Hm?", "asked": "chat"},
        *({"prompt": f"Who is {name}?", "asked": "chat"} for name in "ABCD"),
    ]
    for node in ("tuned", "base"):
        write_json(run / node / "samples.json", rows)
    shown = talk(run / "tuned", "/quit").splitlines()
    assert shown[0].endswith("For example:")
    assert shown[1:] == ["  Who is A?", "  Who is B?", "  Who is C?"]
    assert talk(run / "base", "/quit").splitlines()[1:] == ["  A grey day"]


def test_a_reset_forgets_the_conversation(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    original = Speaker.chat_prompt

    def seen(self: Speaker, messages: list[Message]) -> list[int]:
        asked.append([m.content for m in messages])
        return original(self, messages)

    monkeypatch.setattr(Speaker, "chat_prompt", seen)
    talk(run / "tuned", QUESTION, SECOND, "/reset", SECOND)
    assert asked == [[QUESTION], [QUESTION, ANSWER, SECOND], [SECOND]]


def test_a_long_conversation_loses_its_early_turns(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[list[int]] = []

    def brief(self: Speaker, prompt: list[int], *arguments: object) -> Iterator[str]:
        prompts.append(prompt)
        yield ANSWER

    monkeypatch.setattr(Speaker, "stream", brief)
    shown = talk(run / "tuned", *[QUESTION] * 12, "/quit", max_tokens=20)
    assert shown.splitlines()[1:] == [ANSWER] * 12
    lengths = [len(prompt) for prompt in prompts]
    assert lengths[0] < lengths[1] < lengths[2] < lengths[-1] == lengths[-2] <= CONTEXT - 20
    assert prompts[-1][-lengths[0] :] == prompts[0]


def test_a_base_node_continues_the_line(run: Path) -> None:
    shown = talk(run / "base", "The mill", max_tokens=5)
    assert "base is a base model: it continues your text" in shown
    assert shown.splitlines()[1].startswith("The mill stands by")


def test_the_node_can_be_changed(run: Path) -> None:
    shown = talk(run / "base", "/node tuned", QUESTION, "/node nobody", "/help")
    assert ANSWER in shown
    assert "there is no node 'nobody' here; choose one of base, tuned" in shown
    assert shown.count("/reset forgets the conversation") == 3


def test_what_does_not_fit_is_said_and_the_talk_goes_on(run: Path) -> None:
    shown = talk(run / "tuned", PAGE * 9, QUESTION)
    assert "say it in fewer words" in shown
    assert ANSWER in shown


def test_ctrl_c_stops_the_answer_and_not_the_talk(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Speaker, *arguments: object) -> Iterator[str]:
        yield "By the"
        raise KeyboardInterrupt

    monkeypatch.setattr(Speaker, "stream", interrupted)
    assert talk(run / "tuned", QUESTION, QUESTION).count("By the (stopped)") == 2
