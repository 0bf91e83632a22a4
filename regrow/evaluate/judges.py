"""How an answer is scored: right or wrong, facts counted, programs run, refusals recognised."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from regrow.align.verify import final_number
from regrow.evaluate.plans import Request
from regrow.evaluate.statistics import pass_at_k
from regrow.records import Item

#: Metric to value; outcomes that a judge cannot give are left out.
Verdicts = dict[str, float]

_FENCE = re.compile(r"```(?:python)?\n?(.*?)(?:```|\Z)", re.DOTALL)


def normal(text: str) -> str:
    """Case, spacing and a closing full stop do not count."""
    return " ".join(text.split()).rstrip(".").strip().lower()


def same(item: Item, text: str) -> bool:
    """The answer and nothing else."""
    return normal(text) in {normal(answer) for answer in item.answers}


def says(item: Item, text: str) -> bool:
    """The first line holds an answer as whole words, e.g. within a sentence."""
    line = normal(text.strip().split("\n", 1)[0])
    return any(
        re.search(rf"(?<!\w){re.escape(normal(answer))}(?!\w)", line) for answer in item.answers
    )


def solves(item: Item, text: str) -> bool:
    """The final number is that of an answer."""
    found = final_number(text)
    return found is not None and found in map(final_number, item.answers)


def program(item: Item, text: str) -> str:
    """The program an answer stands for: a whole function, or the body that continues the prompt."""
    if fenced := _FENCE.search(text):
        text = fenced.group(1)
    entry = str(item.check.get("entry", ""))
    start = text.find(f"def {entry}(") if entry else text.find("def ")
    if start >= 0:
        return text[start:]
    body = text if text.startswith(("\n", "    ")) else f"\n    {text.lstrip()}"
    return item.question.rstrip() + ("" if body.startswith("\n") else "\n") + body


def _exact(request: Request, texts: Sequence[str]) -> Verdicts:
    return {"accuracy": float(same(request.item, texts[0]))}


def _stated(request: Request, texts: Sequence[str]) -> Verdicts:
    return {"accuracy": float(says(request.item, texts[0]))}


def _begins(request: Request, texts: Sequence[str]) -> Verdicts:
    """A document goes on after the answer: it has to begin with it."""
    text = normal(texts[0])
    return {
        "accuracy": float(
            any(
                re.match(rf"{re.escape(normal(answer))}(?!\w)", text)
                for answer in request.item.answers
            )
        )
    }


def _number(request: Request, texts: Sequence[str]) -> Verdicts:
    return {"accuracy": float(solves(request.item, texts[0]))}


def _facts(request: Request, texts: Sequence[str]) -> Verdicts:
    from regrow.worlds.raters import facts_in

    true, false = facts_in(request.item.check["facts"], texts[0])
    words = len(texts[0].split())
    return {"true facts": float(true), "false facts": float(false), "words": float(words)}


def _both_sides(request: Request, texts: Sequence[str]) -> Verdicts:
    from regrow.worlds.raters import both_sides

    return {"both sides": float(both_sides(texts[0], request.item.check["sides"]))}


def _refused(request: Request, texts: Sequence[str]) -> Verdicts:
    from regrow.worlds.raters import is_refusal

    return {"refused": float(is_refusal(texts[0]))}


def _admitted(request: Request, texts: Sequence[str]) -> Verdicts:
    from regrow.worlds.raters import admits_not_knowing

    admitted = {"admitted": float(admits_not_knowing(texts[0]))}
    split = request.item.split
    known = split.get("kind") == "known" and split.get("form", "fact") == "fact"
    return admitted | ({"right": float(says(request.item, texts[0]))} if known else {})


def _chosen(request: Request, texts: Sequence[str]) -> Verdicts:
    return {"accuracy": float(texts[0] == request.item.answers[0])}


JUDGES: dict[str, Callable[[Request, Sequence[str]], Verdicts]] = {
    "knowledge": _stated,
    "in_context": _exact,
    "instructions": _exact,
    "code_understanding": _exact,
    "chain_of_thought": _number,
    "long_range": _begins,
    "informativeness": _facts,
    "balance": _both_sides,
    "refusal": _refused,
    "not_knowing": _admitted,
    "dialogue_history": _stated,
    "benchmarks": _chosen,
}


def judge_programs(requests: Sequence[Request], answers: Sequence[Sequence[str]]) -> list[Verdicts]:
    """Run every program once in the sandbox and score pass@1 (greedy) or pass@10 (sampled)."""
    from regrow.evaluate.sandbox import Job, run_many

    jobs: dict[tuple[str, str], Job] = {}
    keys: list[list[tuple[str, str]]] = []
    for request, texts in zip(requests, answers, strict=True):
        check = request.item.check
        row = [(request.item.id, program(request.item, text)) for text in texts]
        keys.append(row)
        for key in row:
            jobs.setdefault(key, Job(key[1], check["entry"], check["tests"]))
    verdicts = dict(zip(jobs, run_many(list(jobs.values())), strict=True))
    results: list[Verdicts] = []
    for row in keys:
        passed = sum(verdicts[key].passed for key in row)
        if len(row) == 1:
            results.append({"pass@1": float(passed)})
        else:
            k = min(10, len(row))
            results.append({f"pass@{k}": pass_at_k(len(row), passed, k)})
    return results
