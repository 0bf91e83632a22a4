"""Running programs that a model wrote, behind three walls.

1. Only a small part of Python is let in at all: an allowlist of syntax, names and methods
   (`refusal`); no imports, no attribute but safe methods, no underscores.
2. What is let in runs in a forked process without privileges, files, children or environment, with
   limits on memory, CPU time and output (`sandbox_child.py`), behind bubblewrap where that works
   (`jail.py`).
3. The verdict is made here: expected values never enter the sandbox, and what comes out is data.
   A process that is judged must not hold its own verdict: walking frames it can edit it, as with
   the reference HumanEval harness.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from regrow.errors import RegrowError
from regrow.evaluate import jail

_BATCH = 64
_LONGEST_PROGRAM = 10_000

BUILTINS = (
    "abs", "all", "any", "bool", "chr", "dict", "divmod", "enumerate", "filter", "float", "int",
    "isinstance", "len", "list", "map", "max", "min", "ord", "pow", "range", "repr", "reversed",
    "round", "set", "sorted", "str", "sum", "tuple", "zip",
)  # fmt: skip

#: Methods of numbers, strings, lists, sets and dictionaries. `format` is not among them: its
#: fields reach attributes.
METHODS = frozenset((
    "add", "append", "capitalize", "casefold", "clear", "copy", "count", "difference", "discard",
    "endswith", "extend", "find", "get", "index", "insert", "intersection", "isalnum", "isalpha",
    "isdigit", "islower", "isnumeric", "isspace", "isupper", "items", "join", "keys", "lower",
    "lstrip", "pop", "popitem", "remove", "replace", "reverse", "rfind", "rsplit", "rstrip",
    "setdefault", "sort", "split", "splitlines", "startswith", "strip", "swapcase", "title",
    "union", "update", "upper", "values", "zfill",
))  # fmt: skip

_SYNTAX = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.AugAssign,
    ast.AnnAssign, ast.For, ast.While, ast.If, ast.Expr, ast.Pass, ast.Break, ast.Continue,
    ast.BoolOp, ast.NamedExpr, ast.BinOp, ast.UnaryOp, ast.Lambda, ast.IfExp, ast.Dict, ast.Set,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.Compare,
    ast.Call, ast.keyword, ast.FormattedValue, ast.JoinedStr, ast.Constant, ast.Attribute,
    ast.Subscript, ast.Starred, ast.Name, ast.List, ast.Tuple, ast.Slice, ast.expr_context,
    ast.boolop, ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use: CPU seconds, bytes of address space, characters of output."""

    seconds: float = 1.0
    memory: int = 256 << 20
    output: int = 100_000


class Job(NamedTuple):
    """A program, the function to call, and pairs (arguments, expected) of JSON values."""

    program: str
    entry: str
    tests: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a program passed all tests, whether it ran to the end, and why not.

    `skipped` says that it was not tried, because nothing here would hold it.
    """

    passed: bool
    ran: bool
    reason: str
    skipped: bool = False


def run_tests(
    program: str, entry: str, tests: Sequence[Sequence[Any]], limits: Limits | None = None
) -> Verdict:
    """Run one program; many are quicker with `run_many`."""
    return run_many([Job(program, entry, tests)], workers=1, limits=limits)[0]


def run_many(jobs: Sequence[Job], workers: int = 2, limits: Limits | None = None) -> list[Verdict]:
    """Judge programs, in order. A hang or a crash costs only the program that caused it.

    Raises RegrowError where the system has no `fork` (Windows).
    """
    if not hasattr(os, "fork"):
        raise RegrowError("generated code runs on Linux and macOS only; leave out code_generation")
    limits = limits or Limits()
    verdicts: dict[str, Verdict] = {}
    pending: dict[str, Job] = {}
    names = [json.dumps(job) for job in jobs]
    for name, job in zip(names, map(Job._make, jobs)):
        if name not in verdicts and name not in pending:
            refused = refusal(job.program, job.entry)
            if refused:
                verdicts[name] = Verdict(False, False, refused)
            else:
                pending[name] = job
    todo = list(pending.items())
    size = min(_BATCH, max(1, -(-len(todo) // workers)))
    batches = [todo[i : i + size] for i in range(0, len(todo), size)]
    with ThreadPoolExecutor(workers) as pool:
        answers = pool.map(lambda batch: _run_batch([job for _, job in batch], limits), batches)
        for batch, found in zip(batches, answers):
            verdicts.update({name: verdict for (name, _), verdict in zip(batch, found)})
    return [verdicts[name] for name in names]


def refusal(program: str, entry: str) -> str:
    """Why a program is not run at all; empty where it may be."""
    if len(program) > _LONGEST_PROGRAM:
        return "refused: too long"
    if (tree := parsed(program)) is None:
        return "not valid Python"
    for node in ast.walk(tree):
        if reason := unfit(node):
            return f"refused: {reason}"
    for statement in tree.body:
        if not isinstance(statement, ast.FunctionDef) and not _is_constant(statement):
            return "refused: a statement outside a function"
    if not any(isinstance(s, ast.FunctionDef) and s.name == entry for s in tree.body):
        return f"no function named {entry}"
    return ""


def parsed(program: str) -> ast.Module | None:
    """The syntax tree of a program; None where it is not valid Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_constant(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr | ast.Assign) and isinstance(
        statement.value, ast.Constant
    )


def unfit(node: ast.AST, tests: bool = False) -> str:
    """What keeps a node out of the allowlist, in which tests may also assert; empty for nothing."""
    if not isinstance(node, _SYNTAX) and not (tests and isinstance(node, ast.Assert)):
        return type(node).__name__.lower()
    if isinstance(node, ast.FunctionDef) and node.decorator_list:
        return "a decorator"
    if isinstance(node, ast.Attribute) and node.attr not in METHODS:
        return f"attribute {node.attr}"
    for name in (getattr(node, field, None) for field in ("id", "name", "arg")):
        if isinstance(name, str) and name.startswith("_") and name != "_":
            return f"name {name}"
    endless = isinstance(node, ast.While) and isinstance(node.test, ast.Constant)
    if endless and not any(isinstance(n, ast.Break | ast.Return) for n in ast.walk(node)):
        return "a loop without end"
    return ""


def _run_batch(jobs: Sequence[Job], limits: Limits) -> list[Verdict]:
    """Run programs in one child after the other; a child that dies is replaced for the rest."""
    verdicts: list[Verdict] = []
    while len(verdicts) < len(jobs):
        rest = jobs[len(verdicts) :]
        for job, answer in zip(rest, _answers(rest, limits)):
            verdicts.append(_judge(job, answer, limits))
        if len(verdicts) < len(jobs):  # the program after the last answer took the child with it
            verdicts.append(Verdict(False, False, "crashed: its process is gone"))
    return verdicts


def _answers(jobs: Sequence[Job], limits: Limits) -> Iterator[Mapping[str, Any]]:
    """What a fresh child says about each program, until it ends or dies."""
    header = {
        "role": "batch", "seconds": limits.seconds, "memory": limits.memory,
        "output": limits.output, "builtins": BUILTINS,
    }  # fmt: skip
    asked = [header] + [
        {"program": j.program, "entry": j.entry, "arguments": [t[0] for t in j.tests]} for j in jobs
    ]
    sent = "".join(json.dumps(line) + "\n" for line in asked)
    # A child bounds each program to ten times its CPU seconds; this bounds a child that is stuck.
    patience = 10 + 11 * limits.seconds * len(jobs)
    with tempfile.TemporaryDirectory(prefix="regrow-sandbox-") as folder:
        child = subprocess.Popen(
            jail.command(wrapped=not jail.why_not_wrapped()),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=folder, env={}, text=True, encoding="utf-8", start_new_session=True,
        )  # fmt: skip
        try:
            received, complaint = child.communicate(sent, timeout=patience)
        except subprocess.TimeoutExpired as error:
            partial, complaint = error.stdout or b"", ""
            received = partial.decode() if isinstance(partial, bytes) else partial
        finally:
            child.kill()
            child.wait()
    lines = received.splitlines()
    if lines[:1] != ['"ready"']:
        said = complaint.strip().splitlines() or [f"exit code {child.returncode}"]
        raise RegrowError(f"the sandbox for generated code does not start here: {said[-1]}")
    for line in lines[1:]:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return  # cut off when the child died


def _judge(job: Job, answer: Mapping[str, Any], limits: Limits) -> Verdict:
    """Compare the outputs of a program with what is expected."""
    if answer.get("ended") == "time":
        return Verdict(False, False, f"out of time ({limits.seconds:g} s)")
    if answer.get("ended") == "too large":
        return Verdict(False, False, "output too large")
    if "signal" in answer:
        return Verdict(False, False, f"crashed: signal {answer['signal']}")
    try:
        result = json.loads(answer["text"])
        outputs, error = result["outputs"], result.get("error", "")
    except (ValueError, TypeError, KeyError, RecursionError):
        return Verdict(False, False, "crashed: no readable output")
    if error == "MemoryError":
        return Verdict(False, False, f"out of memory ({limits.memory >> 20} MiB)")
    if error == "OutputTooLarge":
        return Verdict(False, False, "output too large")
    if error:
        return Verdict(False, False, f"error: {error}: {result.get('detail', '')}"[:200])
    if len(outputs) != len(job.tests):
        return Verdict(False, False, "crashed: outputs are missing")
    for (arguments, expected), output in zip(job.tests, outputs):
        if not _same(output, expected):
            shown = f"{job.entry}({', '.join(map(repr, arguments))}) gave {output!r}"
            return Verdict(False, True, f"wrong: {shown}, not {expected!r}"[:200])
    return Verdict(True, True, "passed")


def _same(output: Any, expected: Any) -> bool:
    """Equal as JSON: true is not 1, 1.0 is not 1; the order of keys does not matter."""
    return json.dumps(output, sort_keys=True) == json.dumps(expected, sort_keys=True)
