"""What clients may ask, in the shapes of OpenAI's API."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from regrow.generate.sampler import Sampling
from regrow.records import Message

#: The most completions in one request: prompts times n.
MOST = 128
#: Fields of OpenAI's that would change the answer and are refused but for their neutral value.
UNSUPPORTED = (
    "frequency_penalty", "presence_penalty", "logit_bias", "suffix", "tools", "functions",
    "response_format",
)  # fmt: skip
_NonEmpty = Annotated[str, Field(min_length=1)]


class StreamOptions(BaseModel):
    """`include_usage` adds a last chunk with the token counts."""

    include_usage: bool = False


class Asked(BaseModel):
    """What both kinds of request share. Fields that are not known are ignored, as by OpenAI;
    known ones that would change the answer and are not supported are refused."""

    model_config = ConfigDict(extra="ignore")

    model: str
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    n: int = Field(1, ge=1, le=MOST)
    stop: list[_NonEmpty] = Field(default=[], max_length=4)
    seed: int | None = None
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    frequency_penalty: Literal[0] = 0
    presence_penalty: Literal[0] = 0
    logit_bias: dict[str, float] = Field(default={}, max_length=0)

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, values: Any) -> Any:
        """A field that is null counts as left out."""
        if isinstance(values, dict):
            return {key: value for key, value in values.items() if value is not None}
        return values

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("frequency_penalty", "presence_penalty", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        return 0 if value == 0 else value

    def sampling(self, max_tokens: int, stop_ids: tuple[int, ...]) -> Sampling:
        """How to draw; without a seed every request draws anew."""
        return Sampling(
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            stop_ids=stop_ids,
            stop_strings=tuple(self.stop),
            seed=secrets.randbits(62) if self.seed is None else self.seed,
        )


class CompletionAsked(Asked):
    """POST /v1/completions. `prompt` is a text, texts, ids, or lists of ids."""

    prompt: str | list[str] | list[int] | list[list[int]] = ""
    max_tokens: int = Field(16, ge=0)
    logprobs: int | None = Field(None, ge=0, le=5)
    echo: bool = False
    best_of: int | None = None  # as many as `n`: all that are drawn are given
    suffix: Literal[""] = ""

    def prompts(self) -> list[str | list[int]]:
        """The prompts one by one."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        ids = [id_ for id_ in self.prompt if isinstance(id_, int)]
        return [ids] if ids else [one for one in self.prompt if not isinstance(one, int)]


class TextPart(BaseModel):
    """A piece of a message's content; only text is understood."""

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One turn; a developer counts as the system."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    def message(self) -> Message:
        """The turn as the tokenizer takes it."""
        text = self.content
        if not isinstance(text, str):
            text = "".join(part.text for part in text)
        return Message("system" if self.role == "developer" else self.role, text)


class ChatAsked(Asked):
    """POST /v1/chat/completions."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: Literal[False] = False
    tools: list[Any] = Field(default=[], max_length=0)
    functions: list[Any] = Field(default=[], max_length=0)
    response_format: dict[Literal["type"], Literal["text"]] = Field(default={"type": "text"})
