"""How a row becomes a conversation, and what is wrong with one that does not.

The shape is told by the keys of the row, never by the name of the file.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from regrow.align.tables import Row
from regrow.records import Message

Turns = list[Message]
Shape = TypeVar("Shape")

_ROLES = {"human": "user", "prompter": "user", "gpt": "assistant", "bot": "assistant"}


class Malformed(ValueError):
    """Why a row gives no conversation."""


def conversations_of(row: Row) -> list[Turns]:
    """The conversations of a row: one, or a tree's several. Raises Malformed for any other row."""
    for keys, read in SHAPES:
        if keys <= row.keys():
            found = list(said(read, row))
            for turns in found:
                check(turns)
            return found
    raise Malformed("unknown shape")


def check(turns: Sequence[Message], last: str = "assistant") -> None:
    """Raise Malformed unless user and assistant speak in turn, perhaps after a system turn, all
    with something to say, and `last` ends it."""
    if not turns:
        raise Malformed("no turns")
    spoken = turns[1:] if turns[0].role == "system" else turns
    for turn in turns:
        if turn.role not in ("system", "user", "assistant"):
            raise Malformed(f"unknown role {turn.role!r}")
        if not turn.content:
            raise Malformed(f"empty {turn.role} turn")
        if any("\ud800" <= character <= "\udfff" for character in turn.content):
            raise Malformed(f"half of a surrogate pair in the {turn.role} turn")
    if any(turn.role == "system" for turn in spoken):
        raise Malformed("a system turn after the first")
    for one, following in itertools.pairwise(spoken):
        if one.role == following.role:
            raise Malformed(f"two {one.role} turns in a row")
    if spoken and spoken[0].role != "user":
        raise Malformed("it does not begin with the user")
    if turns[-1].role != last:
        raise Malformed(f"it does not end with the {last}")


def said(read: Callable[[Row], Sequence[Shape]], row: Row) -> Sequence[Shape]:
    """What a shape makes of a row. Raises Malformed where a value is of another type."""
    try:
        return read(row)
    except Malformed:
        raise
    except KeyError as error:
        raise Malformed(f"no {error} in it") from error
    except (IndexError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed("values of another type") from error


def text(row: Row, key: str) -> str:
    """A value that must be text, without the white space around it."""
    value = row[key]
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise Malformed(f"{key!r} is no text but {kind}")
    return value.strip()


def numeric(row: Row, key: str) -> float:
    """A value that must be a number."""
    value = row[key]
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise Malformed(f"{key!r} is no number but {type(value).__name__}") from error


def after_system(row: Row, turns: Turns) -> Turns:
    """Turns after the row's own system turn, where it has one."""
    system = next((text(row, key) for key in ("system", "system_prompt") if row.get(key)), "")
    return [Message("system", system), *turns] if system else turns


def _answered(row: Row, asked: str, answer: str) -> list[Turns]:
    """One question and answer, after the row's own system turn where it has one."""
    return [after_system(row, [Message("user", asked), Message("assistant", answer)])]


def transcript(given: str) -> Turns:
    """Turns parted by blank line, speaker, colon, as Anthropic's; none where it does not begin
    with a speaker, whatever it quotes further on."""
    if not re.match(r"\s*(?:Human|Assistant):", given):
        return []
    parts = re.split(r"(?:^|\n\n)(Human|Assistant): ?", given.strip())[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return [Message(roles[who], what.strip()) for who, what in zip(parts[::2], parts[1::2])]


def asked(row: Row) -> Turns:
    """The turns of a row's `prompt`: a question, or a transcript up to where the answer begins."""
    turns = transcript(given := text(row, "prompt")) or [Message("user", given)]
    return turns[:-1] if turns[-1] == Message("assistant", "") else turns


def messages(rows: Sequence[Row]) -> Turns:
    """Turns from rows of role and content."""
    return [Message(text(one, "role"), text(one, "content")) for one in rows]


def _completion(row: Row) -> list[Turns]:
    """A prompt and its completion, as texts or, as TRL has them, as messages."""
    if isinstance(row["prompt"], list):
        return [messages([*row["prompt"], *row["completion"]])]
    return [after_system(row, [*asked(row), Message("assistant", text(row, "completion"))])]


def _sharegpt(row: Row) -> list[Turns]:
    turns = [
        Message(_ROLES.get(who := text(m, "from"), who), text(m, "value"))
        for m in row["conversations"]
    ]
    return [after_system(row, turns)]


def _alpaca(row: Row) -> list[Turns]:
    told = text(row, "instruction")
    if row.get("input"):
        told = f"{told}\n\n{text(row, 'input')}"
    return _answered(row, told, text(row, "response" if "response" in row else "output"))


def _self_instruct(row: Row) -> list[Turns]:
    return _alpaca({"instruction": row["instruction"], **row["instances"][0]})


def _gsm8k(row: Row) -> list[Turns]:
    """Worked answers with GSM8K's calculator marks taken out and its last line put in words; so is
    an answer that is nothing but a number."""
    if (bare := _bare_number(row["answer"])) is not None:
        return _answered(row, text(row, "question"), f"The answer is {bare}.")
    worked = re.sub(r"<<[^>]*>>", "", text(row, "answer"))
    worked = re.sub(r"\n#### *(.+)$", r"\nThe answer is \1.", worked)
    return _answered(row, text(row, "question"), worked)


def _rationale(row: Row) -> list[Turns]:
    answer = _bare_number(row["answer"]) or text(row, "answer")
    answer = f"{text(row, 'rationale')}\nThe answer is {answer}."
    return _answered(row, text(row, "question"), answer)


def _bare_number(value: Any) -> str | None:
    """A number's digits, as people write them (43 for 43.0); None for any other value."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{Decimal(str(value)).normalize():f}"
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _natural(row: Row) -> list[Turns]:
    """Natural Instructions: the task's definition before the input; the first of its outputs."""
    given, wanted = ("input", "output") if "input" in row else ("inputs", "targets")
    first = {
        key: value[0] if isinstance(value := row[key], list) else value
        for key in ("definition", given, wanted)
    }
    return _answered(
        row, f"{text(first, 'definition')}\n\n{text(first, given)}", text(first, wanted)
    )


def _speakers(row: Row) -> list[Turns]:
    """Dialogues as rows of speaker and text: the first speaker is the user, runs of one speaker are
    joined, and what follows the last answer is dropped."""
    spoken = itertools.groupby(row["turns"], key=lambda turn: text(turn, "speaker"))
    texts = ["\n".join(text(turn, "text") for turn in turns).strip() for _, turns in spoken]
    roles = itertools.cycle(("user", "assistant"))
    turns = [Message(role, said) for role, said in zip(roles, texts)]
    return [turns[: len(turns) // 2 * 2]]


def root_of(row: Row) -> Any:
    """The root of an OASST tree: under `tree`, or under `prompt` as in the published export."""
    return row["tree"] if "tree" in row else row["prompt"]


def turn_of(node: Row) -> Message:
    """The turn of a node of an OASST tree."""
    return Message(_ROLES.get(who := text(node, "role"), who), text(node, "text"))


def _tree(row: Row) -> list[Turns]:
    """From an OASST tree every path that takes the best-ranked answer at each prompter turn (Köpf
    et al. 2023, sec. 3.3: rank 0 is best; without ranks the first) and ends with an answer."""
    found = list(_paths(root_of(row), []))
    if not found:
        raise Malformed("a tree without an answer")
    return found


def _paths(node: Row, before: Turns) -> Iterator[Turns]:
    path = [*before, turn_of(node)]
    replies = node.get("replies") or []
    if path[-1].role == "user":
        ranked = [reply for reply in replies if reply.get("rank") is not None]
        replies = [min(ranked, key=lambda one: numeric(one, "rank"))] if ranked else replies[:1]
    longer = [found for reply in replies for found in _paths(reply, path)]
    yield from longer or ([path] if path[-1].role == "assistant" else [])


#: (keys that must be there, how the row becomes conversations), the most telling first.
SHAPES: tuple[tuple[frozenset[str], Callable[[Row], list[Turns]]], ...] = (
    (frozenset({"messages"}), lambda row: [messages(row["messages"])]),
    (frozenset({"conversations"}), _sharegpt),
    (frozenset({"tree"}), _tree),
    (frozenset({"message_tree_id", "prompt"}), _tree),
    (frozenset({"instruction", "instances"}), _self_instruct),
    (frozenset({"instruction", "response"}), _alpaca),
    (frozenset({"instruction", "output"}), _alpaca),
    (frozenset({"question", "answer", "rationale"}), _rationale),
    (frozenset({"question", "answer"}), _gsm8k),
    (frozenset({"question", "response"}), lambda row: _answered(
        row, text(row, "question"), text(row, "response"))),
    (frozenset({"prompt", "completion"}), _completion),
    (frozenset({"definition", "input", "output"}), _natural),
    (frozenset({"definition", "inputs", "targets"}), _natural),
    (frozenset({"turns"}), _speakers),
)  # fmt: skip
