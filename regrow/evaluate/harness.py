"""Nodes under lm-evaluation-harness (extra `lm-eval`): its tasks, our model and scoring.

`NodeLM` is the `LM` that the harness asks. It takes ids from the folder's own tokenizer as the
harness's `hf` backend does, so that both see the same tokens; scoring and drawing are those of
`regrow.generate`. In the harness's own command it is `--model regrow --model_args folder=NODE`
once this module is imported.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.evaluate.statistics import clustered_mean
from regrow.evaluate.taskitems import TaskSettings
from regrow.evaluate.taskrun import fingerprint

try:
    from lm_eval import utils
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.registry import register_model
    from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs
except ImportError as error:
    raise RegrowError(
        "tasks of lm-evaluation-harness need it; install regrow[lm-eval]"
    ) from error  # fmt: skip


class _Words:
    """What the sampler asks of a tokenizer, answered by transformers'."""

    assistant = -1

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def decode(self, ids: list[int], /) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))


@register_model("regrow")
class NodeLM(TemplateLM):
    """A node, or any folder that `regrow import` takes, as the harness's `LM`.

    `precision` is auto, bf16 or fp32; `batch_size` rows run together.
    """

    def __init__(
        self, folder: str | Path, batch_size: int | str = 64, precision: str = "auto", **_: Any
    ) -> None:
        from transformers import AutoTokenizer

        from regrow.model.folder import load_model
        from regrow.train.precision import choose as choose_precision

        super().__init__()
        self.precision = choose_precision(precision)
        self.model = load_model(Path(folder), self.precision.dtype)
        self.model.eval()
        self.tokenizer = AutoTokenizer.from_pretrained(str(folder))
        self.batch = 64 if batch_size == "auto" else int(batch_size)
        self.max_length = self.model.config.context

    @property
    def eot_token_id(self) -> int:
        """The id that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The id before a text without a context: the beginning's where there is one."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    @property
    def tokenizer_name(self) -> str:
        """Names the tokenizer in the harness's cache of requests."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """Ids of a text; what the tokenizer itself puts before it unless said otherwise."""
        bos = str(self.tokenizer.decode(self.prefix_token_id))
        if add_special_tokens is None and bos and string.startswith(bos):
            add_special_tokens = False
        told = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self.tokenizer.encode(string, **told))

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A conversation as text in the node's own chat template."""
        text = self.tokenizer.apply_chat_template(
            chat_history, tokenize=False, add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )  # fmt: skip
        return str(text)

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        """Sums of log-probabilities, and whether greedy decoding gives the continuation."""
        from regrow.generate.sampler import score

        pairs = []
        for _names, context, continuation in requests:
            room = max(1, self.max_length + 1 - len(continuation))
            pairs.append((context[-room:], continuation))
        scored = score(self.model, pairs, batch=self.batch)
        found = [(float(np.sum(s.logprobs, dtype=np.float64)), s.greedy) for s in scored]
        for (names, _context, _continuation), answer in zip(requests, found):
            if names is not None:
                self.cache_hook.add_partial("loglikelihood", names, answer)
        return found

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """Log-likelihoods of whole texts, in windows of the context that do not overlap."""
        owners, windows = [], []
        for owner, request in enumerate(requests):
            rolling = utils.get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]), prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length, context_len=1,
            )  # fmt: skip
            for window in map(utils.make_disjoint_window, rolling):
                owners.append(owner)
                windows.append((None, *window))
        totals = [0.0] * len(requests)
        for owner, (logprob, _) in zip(owners, self._loglikelihood_tokens(windows)):
            totals[owner] += logprob
        for request, total in zip(requests, totals):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """Texts up to a stop string, the end of text or the longest allowed."""
        from regrow.generate.sampler import Sampling, generate

        groups: dict[Sampling, list[int]] = defaultdict(list)
        for n, request in enumerate(requests):
            groups[self._sampling(request.args[1])].append(n)
        texts = [""] * len(requests)
        for sampling, members in groups.items():
            room = self.max_length - sampling.max_tokens
            if room < 1:
                raise RegrowError(
                    f"a task asks for {sampling.max_tokens} tokens, the context has "
                    f"{self.max_length}; set max_gen_toks lower"
                )
            prompts = [self.tok_encode(requests[n].args[0])[-room:] for n in members]
            drawn = generate(
                self.model, _Words(self.tokenizer), prompts, sampling, batch=self.batch
            )
            for n, (completion,) in zip(members, drawn):
                texts[n] = completion.text
                self.cache_hook.add_partial("generate_until", requests[n].args, completion.text)
        return texts

    def _sampling(self, asked: Mapping[str, Any]) -> Any:
        from regrow.generate.sampler import Sampling

        known = normalize_gen_kwargs(dict(asked), 256)
        eos = self.tokenizer.decode(self.eot_token_id)
        return Sampling(
            known["max_gen_toks"],
            temperature=float(known.get("temperature") or 0.0),
            top_p=float(known.get("top_p") or 1.0),
            stop_ids=(self.eot_token_id,),
            stop_strings=tuple(s for s in handle_stop_sequences(known.get("until"), eos) if s),
        )


def run_harness(folder: Path, names: Sequence[str], settings: TaskSettings) -> list[dict[str, Any]]:
    """Run harness tasks on a node; rows as of `Result`, a row for each metric.

    Task files in `settings.data` are found by name; else the harness's own are, whose data it
    fetches from the hub. Answers are cached beside the node. Raises RegrowError where a task is
    unknown or its data cannot be had.
    """
    from lm_eval.evaluator import simple_evaluate

    manager = _manager(names, settings.data)
    node = NodeLM(folder, settings.batch, settings.precision)
    cache = folder / "tasks" / f"harness-{fingerprint(folder)}-{node.precision.name}"
    try:
        with contextlib.redirect_stdout(None):
            found = simple_evaluate(
                node, tasks=list(names), num_fewshot=settings.shots, limit=settings.limit,
                apply_chat_template=settings.chat, task_manager=manager, bootstrap_iters=0,
                use_cache=str(cache), confirm_run_unsafe_code=settings.unsafe_code,
            )  # fmt: skip
    except (OSError, ValueError, KeyError) as error:
        raise RegrowError(
            f"lm-evaluation-harness cannot run {', '.join(names)}: {error}"
        ) from error
    return [
        row
        for name, metrics in found["results"].items()
        for row in _rows(folder.name, name, metrics, found, settings)
    ]


def _manager(names: Sequence[str], data: Path) -> Any:
    """The harness's tasks: those in a folder, and all of its own only where these do not do."""
    from lm_eval.tasks import TaskManager

    where = str(data) if data.is_dir() else None
    manager = TaskManager(include_path=where, include_defaults=False)
    if any(name not in manager.all_tasks for name in names):
        manager = TaskManager(include_path=where)
    if missing := [name for name in names if name not in manager.all_tasks]:
        raise RegrowError(f"lm-evaluation-harness has no task {missing[0]!r}, nor has {data}")
    return manager


def _rows(
    node: str, task: str, metrics: Mapping[str, Any], found: Any, settings: TaskSettings
) -> list[dict[str, Any]]:
    samples = found["samples"].get(task, [])
    rows = []
    for key, score in metrics.items():
        name, _, how = key.partition(",")
        if not how or name.endswith("_stderr") or not isinstance(score, int | float):
            continue
        values = [s[name] for s in samples if s.get("filter") == how and name in s]
        single = [float(v) for v in values if isinstance(v, int | float | bool)]
        interval = clustered_mean(single, range(len(single)))
        means = bool(single) and abs(interval.mean - score) < 1e-9
        rows.append(
            {
                "task": f"harness:{task}", "node": node, "template": how, "cell": "",
                "metric": name, "n": len(samples), "score": float(score),
                "low": interval.low if means else None, "high": interval.high if means else None,
                "clusters": interval.clusters, "chance": None, "twin": None,
                "shots": int(found["n-shot"].get(task) or 0), "typos": False,
                "chat": settings.chat,
                "how": "lm-evaluation-harness", "setting": "", "published_as": (),
                "calibration_error": None,
                "not_run": 0, "shortened": 0, "why_not": "",
            }
        )  # fmt: skip
    return rows
