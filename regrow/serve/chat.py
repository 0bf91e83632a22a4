"""Talk to a node in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from regrow.align.feedback import best_of
from regrow.align.reward import RewardModel, load_reward
from regrow.errors import RegrowError
from regrow.files import read_json
from regrow.generate.sampler import Sampling
from regrow.records import Message
from regrow.serve.speaker import Speaker

HELP = "/reset forgets the conversation, /node NAME changes the node, /quit leaves"


def chat(
    folder: Path,
    *,
    temperature: float = 0.0,
    max_tokens: int = 128,
    best_of: int = 1,
    console: Console | None = None,
    read: Callable[[], str] | None = None,
) -> None:
    """Read lines and stream what the node says, until /quit or the end of the input.

    A tuned node holds a conversation of many turns; a base node continues each line. `read` gives
    the next line and raises EOFError at the end. Ctrl-C stops an answer, and at the prompt leaves.
    With `best_of` more than one the node's reward model chooses among so many answers.
    """
    console = console or Console(highlight=False)
    talk = Talk(folder, temperature, max_tokens, console, best_of)
    talk.greet()
    while True:
        try:
            line = read() if read else console.input("[bold]> [/bold]")
            if not talk.take(line.strip()):
                return
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        except RegrowError as error:
            console.print(f"error: {error}", style="red", markup=False)


class Talk:
    """A conversation with one node at a time."""

    def __init__(
        self, folder: Path, temperature: float, max_tokens: int, console: Console, best_of: int = 1
    ) -> None:
        self.temperature, self.max_tokens, self.console = temperature, max_tokens, console
        self.folder, self.best_of = folder.resolve(), best_of
        self.reward = self._reward(self.folder)
        self.speaker = Speaker.load(self.folder)
        self.turns: list[Message] = []
        self.answers = 0

    def greet(self) -> None:
        """Say who is there and what can be done."""
        does = "answers" if self.speaker.chat else "is a base model: it continues your text"
        told = f"{self.speaker.name} {does}. {HELP}."
        examples = self._examples()
        self.console.print(f"{told} For example:" if examples else told, style="dim", markup=False)
        for prompt in examples:
            self.console.print(f"  {prompt}", style="dim", markup=False, soft_wrap=True)

    def _examples(self) -> list[str]:
        """What one might say: three of the questions that the report asks every node, the page
        that it begins for a base."""
        path = self.folder / "samples.json"
        rows = read_json(path) if path.is_file() else []
        if not self.speaker.chat:
            return [row["prompt"] for row in rows[:1]]
        told = [row["prompt"] for row in rows if row["asked"] == "chat"]
        return [prompt for prompt in told if "\n" not in prompt][:3]

    def take(self, line: str) -> bool:
        """Do what a line says; false to leave."""
        command, _, name = line.partition(" ")
        if command == "/quit":
            return False
        if command == "/reset":
            self.turns = []
            self.console.print("forgotten", style="dim")
        elif command == "/node":
            self._change(name.strip())
        elif line.startswith("/"):
            self.console.print(HELP, style="dim", markup=False)
        elif line:
            self._answer(line)
        return True

    def _change(self, name: str) -> None:
        """Speak to another node of the same run, from the start."""
        there = sorted(path.parent.name for path in self.folder.parent.glob("*/config.json"))
        if name not in there:
            raise RegrowError(f"there is no node {name!r} here; choose one of {', '.join(there)}")
        self.reward = self._reward(self.folder.parent / name)
        self.speaker = Speaker.load(self.folder.parent / name)
        self.folder = self.folder.parent / name
        self.turns = []
        self.greet()

    def _answer(self, line: str) -> None:
        """Stream the answer; an answer that is stopped stays as far as it is."""
        turns = [*self.turns, Message("user", line)]
        prompt, turns = self._prompt(turns)
        sampling = Sampling(
            min(self.max_tokens, self.speaker.context - len(prompt)), self.temperature,
            stop_ids=self.speaker.stop_ids, seed=self.answers,
        )  # fmt: skip
        self.answers += 1
        said = ""
        if not self.speaker.chat:
            self.console.print(line, end="", style="dim", markup=False)
        try:
            for piece in self._pieces(prompt, sampling):
                said += piece
                self.console.print(piece, end="", markup=False, soft_wrap=True)
            self.console.print()
        except KeyboardInterrupt:
            self.console.print(" (stopped)", style="dim")
        if self.speaker.chat:
            self.turns = [*turns, Message("assistant", said)]

    def _pieces(self, prompt: list[int], sampling: Sampling) -> Iterator[str]:
        """The answer as it comes; the best of several comes whole."""
        if self.reward is None:
            yield from self.speaker.stream(prompt, sampling)
        else:
            model, tokenizer = self.speaker.model, self.speaker.tokenizer
            ((best, _),) = best_of(model, self.reward, tokenizer, [prompt], sampling, self.best_of)
            yield best.text

    def _reward(self, folder: Path) -> RewardModel | None:
        if self.best_of == 1:
            return None
        if not (folder / "reward" / "reward.json").is_file():
            raise RegrowError(
                f"{folder.name} has no reward model to choose by; RLHF gives a node one, and so "
                f"does `regrow reward {folder.name} FILE`"
            )
        return load_reward(folder / "reward").eval()

    def _prompt(self, turns: list[Message]) -> tuple[list[int], list[Message]]:
        """The ids to continue, and the turns in them; early turns go, in pairs, where they must.

        A quarter of the context is kept for the answer, or all of `max_tokens` where that is less.
        """
        room = self.speaker.context - min(self.max_tokens, self.speaker.context // 4)
        if not self.speaker.chat:
            return self.speaker.text_prompt(turns[-1].content)[-room:], turns
        prompt = self.speaker.chat_prompt(turns)
        while len(prompt) > room and len(turns) > 2:
            turns = turns[2:]
            prompt = self.speaker.chat_prompt(turns)
        if len(prompt) > room:
            raise RegrowError(f"that is {len(prompt)} tokens; {room} fit, say it in fewer words")
        return prompt, turns
