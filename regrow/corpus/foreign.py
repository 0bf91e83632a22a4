"""Tokenizers of imported models: their own special tokens, and their own chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regrow.corpus.tokenizer import CHAT_TEMPLATE, Tokenizer
from regrow.errors import RegrowError
from regrow.files import read_json, write_atomic, write_json
from regrow.records import Message

if TYPE_CHECKING:
    import jinja2
    import tokenizers

TOLD, TEMPLATE = "tokenizer_config.json", "chat_template.jinja"


class Foreign(Tokenizer):
    """A tokenizer without our special tokens.

    `start` opens a plain text: what the tokenizer itself puts there, else its end-of-text. `end` is
    what the template writes after an answer. `template` is None for models that hold no
    conversations.
    """

    def __init__(self, backend: tokenizers.Tokenizer, folder: Path) -> None:
        backend.encode_special_tokens = True  # text that spells a special token stays text
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self.told = _read(folder / TOLD)
        self.template = _template(folder, self.told)
        added = backend.get_added_tokens_decoder().items()
        self.special = {token.content: id_ for id_, token in added if token.special}
        self.vocabulary = max(backend.get_vocab().values()) + 1
        self.assistant = -1
        map_ = _read(folder / "special_tokens_map.json")
        model = _read(folder / "config.json")

        def id_of(name: str) -> int | None:
            """By the name of a token, or by the id that the model gives."""
            word = self.told.get(f"{name}_token") or map_.get(f"{name}_token")
            word = word.get("content") if isinstance(word, dict) else word
            found = backend.token_to_id(word) if word else None
            id_ = model.get(f"{name}_token_id") if found is None else found
            return id_[0] if isinstance(id_, list) else id_

        eos = id_of("eos")
        if eos is None:
            raise RegrowError(f"{folder}: the tokenizer has no eos_token; name it in {TOLD}")
        pad, bos, text_end = id_of("pad"), id_of("bos"), backend.token_to_id("<|endoftext|>")
        put_first = backend.encode("", add_special_tokens=True).ids
        candidates = (*put_first[:1], text_end, bos, eos)
        self.eos, self.pad = eos, eos if pad is None else pad
        self.start = next(id_ for id_ in candidates if id_ is not None)
        self._bos = backend.id_to_token(bos) if bos is not None else ""
        self.end = -1  # is told by the template
        self.end = self._end_of_turn()
        self.holds_system = self._holds_system()

    def answer(self, text: str) -> list[int]:
        """The ids of what an assistant says."""
        return self.encode(text)

    def chat(
        self, messages: Sequence[Message], answer: bool = False
    ) -> tuple[list[int], list[int]]:
        """Ids and loss mask of a conversation in the model's own template.

        The mask is 1 on what the assistant writes, the end of its turn included; not on what the
        template writes between turns.
        Special tokens that a message spells are broken by a space, so that nobody forges a turn.
        Where a template changes early turns as later ones come, only the last has a mask.
        """
        turns = [{"role": m.role, "content": self._broken(m.content)} for m in messages]
        whole = self._render(turns, answer)
        ids: list[int] = []
        mask: list[int] = []

        def add(text: str, said: bool = False) -> None:
            new = self._with_specials.encode(text, add_special_tokens=False).ids
            after = new[::-1].index(self.end) if self.end in new else 0
            ids.extend(new)
            mask.extend(int(said and place < len(new) - after) for place in range(len(new)))

        at = 0
        for n, message in enumerate(messages, 1):
            if message.role == "assistant":
                before, after = self._render(turns[: n - 1], True), self._render(turns[:n], False)
                if whole.startswith(after) and after.startswith(before) and len(before) >= at:
                    add(whole[at : len(before)])
                    add(whole[len(before) : len(after)], said=True)
                    at = len(after)
        add(whole[at:])
        return ids, mask

    def drops(self, messages: Sequence[Message]) -> str | None:
        """The role of the first turn whose text the template does not write in its place."""
        turns = [{"role": m.role, "content": self._broken(m.content)} for m in messages]
        whole, at = self._render(turns, False), 0
        for turn in turns:
            text = turn["content"].strip()
            place = whole.find(text, at)
            if place < 0:
                return turn["role"]
            at = place + len(text)
        return None

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json (a path ending in .json: that alone)."""
        folder = Path(folder)
        if folder.suffix == ".json":
            write_atomic(folder, self.backend.to_str(pretty=True))
            return
        write_atomic(folder / "tokenizer.json", self.backend.to_str(pretty=True))
        ends = {"eos_token": self.backend.id_to_token(self.eos)}
        template = {"chat_template": self.template} if self.template else {}
        write_json(folder / TOLD, {**self.told, **ends, **template})

    def _end_of_turn(self) -> int:
        """The first special token after an answer; end-of-text where there is none."""
        try:
            ids, mask = self.chat([Message("user", "a"), Message("assistant", "b")])
        except RegrowError:
            return self.eos
        specials = set(self.special.values())
        return next((i for i, counts in zip(ids, mask) if counts and i in specials), self.eos)

    def _holds_system(self) -> bool:
        """Whether the template writes a system turn; some refuse it, some leave it out."""
        roles = ("system", "user", "assistant")
        try:
            return self.drops([Message(role, f"{role} said") for role in roles]) is None
        except RegrowError:
            return False

    def _broken(self, text: str) -> str:
        for special in self.special:
            if special in text and len(special) > 1:
                text = text.replace(special, f"{special[0]} {special[1:]}")
        return text

    def _render(self, turns: Sequence[Mapping[str, str]], answer: bool) -> str:
        import jinja2

        try:
            return self._compiled.render(
                messages=turns,
                add_generation_prompt=answer,
                bos_token=self._bos,
                eos_token=self.backend.id_to_token(self.eos),
            )
        except jinja2.TemplateError as error:
            raise RegrowError(f"the model's chat template refuses this: {error}") from error

    @cached_property
    def _compiled(self) -> jinja2.Template:
        """As transformers renders them: sandboxed, blocks trimmed."""
        import json
        from datetime import datetime

        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def refuse(message: str) -> None:
            raise TemplateError(message)

        if self.template is None:
            raise RegrowError("this model has no chat template: give it plain text to continue")
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = lambda value, **how: json.dumps(
            value, ensure_ascii=False, **how
        )
        environment.globals |= {
            "raise_exception": refuse,
            "strftime_now": lambda form: datetime.now().strftime(form),
        }
        try:
            return environment.from_string(self.template)
        except TemplateError as error:
            raise RegrowError(f"the model's chat template is broken: {error}") from error

    @cached_property
    def _with_specials(self) -> tokenizers.Tokenizer:
        """The same, but text that spells a special token is that token."""
        from tokenizers import Tokenizer as Backend

        return Backend.from_str(self.backend.to_str())


def holds_conversations(folder: Path) -> bool:
    """Whether a folder's tokenizer brings a chat template that is not ours."""
    return _template(folder, _read(folder / TOLD)) not in (None, CHAT_TEMPLATE)


def _template(folder: Path, told: Mapping[str, Any]) -> str | None:
    """The template in its own file, or in tokenizer_config.json: one, or several by name."""
    if (folder / TEMPLATE).is_file():
        return (folder / TEMPLATE).read_text(encoding="utf-8")
    template = told.get("chat_template")
    if isinstance(template, list):
        by_name = {one["name"]: one["template"] for one in template}
        template = by_name.get("default")
    return template


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(path) if path.is_file() else {}
    return found
