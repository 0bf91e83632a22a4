"""Answers in the shapes of OpenAI's API: whole, in chunks, and errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from regrow.generate.sampler import Completion
from regrow.serve.engine import Logprobs
from regrow.serve.requests import ChatAsked, CompletionAsked


def event(chunk: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()


def problem(
    message: str, status: int, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """The body of an error."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _reason(completion: Completion) -> str:
    return "stop" if completion.finished else "length"


@dataclass(frozen=True, slots=True)
class _Shape:
    id: str
    created: int
    model: str
    object: str

    def head(self, **more: Any) -> dict[str, Any]:
        return {
            "id": self.id, "object": self.object, "created": self.created, "model": self.model,
            **more,
        }  # fmt: skip


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


class TextShape:
    """/v1/completions."""

    def __init__(self, asked: CompletionAsked, id_: str, created: int) -> None:
        self.asked = asked
        self._head = _Shape(id_, created, asked.model, "text_completion").head

    def choice(
        self, index: int, echoed: str, completion: Completion, logprobs: Logprobs | None
    ) -> dict[str, Any]:
        """A finished choice; `echoed` is the prompt where it was asked for."""
        return {
            "index": index,
            "text": echoed + completion.text,
            "logprobs": _text_logprobs(logprobs) if logprobs else None,
            "finish_reason": _reason(completion),
        }

    def whole(
        self, choices: Sequence[Mapping[str, Any]], prompt: int, completion: int
    ) -> dict[str, Any]:
        """The answer to a request that does not stream."""
        return self._head(choices=list(choices), usage=_usage(prompt, completion))

    def opening(self, index: int) -> Iterator[dict[str, Any]]:
        """What comes before a choice's first piece: nothing."""
        yield from ()

    def piece(self, index: int, text: str) -> dict[str, Any]:
        """A chunk with text."""
        return self._chunk(index, text, None)

    def closing(self, index: int, completion: Completion) -> dict[str, Any]:
        """The chunk that says why a choice ended."""
        return self._chunk(index, "", _reason(completion))

    def usage(self, prompt: int, completion: int) -> dict[str, Any]:
        """The chunk with the token counts."""
        return self._head(choices=[], usage=_usage(prompt, completion))

    def _chunk(self, index: int, text: str, reason: str | None) -> dict[str, Any]:
        choice = {"index": index, "text": text, "logprobs": None, "finish_reason": reason}
        return self._head(choices=[choice])


def _text_logprobs(found: Logprobs) -> dict[str, Any]:
    lengths = [len(token) for token in found.tokens]
    return {
        "tokens": found.tokens,
        "token_logprobs": found.logprobs,
        "top_logprobs": found.top,
        "text_offset": list(accumulate(lengths, initial=0))[: len(lengths)],
    }


class ChatShape:
    """/v1/chat/completions."""

    def __init__(self, asked: ChatAsked, id_: str, created: int) -> None:
        self.asked = asked
        self._head = _Shape(id_, created, asked.model, "chat.completion").head
        self._chunk_head = _Shape(id_, created, asked.model, "chat.completion.chunk").head

    def choice(self, index: int, completion: Completion) -> dict[str, Any]:
        """A finished choice."""
        message = {"role": "assistant", "content": completion.text, "refusal": None}
        return {
            "index": index,
            "message": message,
            "logprobs": None,
            "finish_reason": _reason(completion),
        }

    def whole(
        self, choices: Sequence[Mapping[str, Any]], prompt: int, completion: int
    ) -> dict[str, Any]:
        """The answer to a request that does not stream."""
        return self._head(choices=list(choices), usage=_usage(prompt, completion))

    def opening(self, index: int) -> Iterator[dict[str, Any]]:
        """The chunk that names the role."""
        yield self._chunk(index, {"role": "assistant", "content": ""}, None)

    def piece(self, index: int, text: str) -> dict[str, Any]:
        """A chunk with text."""
        return self._chunk(index, {"content": text}, None)

    def closing(self, index: int, completion: Completion) -> dict[str, Any]:
        """The chunk that says why a choice ended."""
        return self._chunk(index, {}, _reason(completion))

    def usage(self, prompt: int, completion: int) -> dict[str, Any]:
        """The chunk with the token counts."""
        return self._chunk_head(choices=[], usage=_usage(prompt, completion))

    def _chunk(self, index: int, delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self._chunk_head(choices=[choice])
