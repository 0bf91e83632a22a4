"""Documents to shards: the stages in order, a decision for every page, and a report.

Work in progress stands in a folder beside the output. A build that was stopped goes on from there;
the output folder appears whole or not at all, the same for any number and kind of workers.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

from regrow import __version__
from regrow.corpus.engine import Engine, Processes, Ray, lean
from regrow.corpus.page import Problems
from regrow.corpus.parts import Store
from regrow.corpus.quality_models import load_fasttext
from regrow.corpus.readers.files import InputFile, list_files, state_of
from regrow.corpus.settings import CorpusSettings
from regrow.corpus.shards import check_source_name
from regrow.corpus.stages import counting, tokens
from regrow.corpus.stages.contamination import drop_contaminated, write_hits
from regrow.corpus.stages.exact import drop_exact
from regrow.corpus.stages.job import Job, Pipeline
from regrow.corpus.stages.near import drop_near
from regrow.corpus.stages.pages import PAGE_STAGES, extract_all, judge_all
from regrow.corpus.stages.quality import drop_low_quality
from regrow.corpus.stages.reading import read_all
from regrow.corpus.stages.repeats import drop_repeats
from regrow.corpus.tokenizer import Tokenizer
from regrow.errors import RegrowError
from regrow.files import lock, read_json, sha256_file, sha256_json, write_json, write_jsonl
from regrow.memory import give_back_always
from regrow.progress import Progress, silent
from regrow.records import Item

SMALL = 4 << 20  # bytes of input that do not pay for starting more than one worker
FORMAT = 5  # of what stages leave for each other: work of another format is begun anew
#: How long phases take beside each other, as measured; the others take 1.
WORK = {"extract": 5, "rules": 3, "language": 2, "identify": 4, "near copy": 3, "tokenizer": 2,
        "shards": 3, "count": 2}  # fmt: skip
LISTED = 100  # problems written out in the report


class Timed:
    """Tells and times the phases of a build."""

    def __init__(self, phases: Sequence[str], progress: Progress) -> None:
        self.phases, self.progress = phases, progress
        sizes = [sum(WORK.get(name, 1) for name in phase.split("+")) for phase in phases]
        self.ends = list(accumulate(sizes, initial=0))
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, pipeline: Pipeline, name: str) -> Iterator[None]:
        """One phase; its tasks tell how far it is."""
        at = self.phases.index(name)
        low, high = self.ends[at : at + 2]
        pipeline.say = lambda share: self.progress(
            low + share * (high - low), self.ends[-1], phase=name
        )
        pipeline.say(0.0)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


def build(
    inputs: Mapping[str, Sequence[Path]],
    output: Path,
    settings: CorpusSettings,
    *,
    items: Sequence[Item] = (),
    reference: Sequence[Path] = (),
    progress: Progress = silent,
    replace: bool = True,
) -> dict[str, Any]:
    """Clean documents and write them as text, tokens and a report; returns the report.

    `inputs` maps sources to files, folders, globs or URLs; `items` are kept out of the documents;
    `reference` are files of trusted text for the quality classifier. Raises RegrowError where a
    path is missing, a source has no files, nothing survives, or without `replace` where the output
    was made of something else. A finished output of the same is left alone, or mended.
    """
    lean()
    give_back_always()
    _check(inputs, settings)
    files = list_files(inputs)
    states = [state_of(file) for file in files]
    begun = _begun_with(files, states, settings, items, reference)
    if (output / "checksums.json").is_file():
        same = read_json(output / "checksums.json")["begun_with"] == begun
        if same and not damaged(output):
            return dict(read_json(output / "report.json"))
        if not same and not replace:
            raise RegrowError(
                f"{output} was built of other documents or settings; choose another folder"
            )
    work = output.with_name(f".{output.name}.work")
    try:
        with lock(work):
            _begin(work, begun)
            finished = _run(inputs, files, states, work, settings, items, reference, progress)
            made = sorted(path for path in finished.rglob("*") if path.is_file())
            sums = {str(path.relative_to(finished)): sha256_file(path) for path in made}
            write_json(finished / "checksums.json", {"begun_with": begun, "sha256": sums})
            _replace(finished, output)
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        where, why = error.filename or output, error.strerror or error
        raise RegrowError(f"cannot write {where}: {why}; free space and run again") from error
    return dict(read_json(output / "report.json"))


def _run(
    inputs: Mapping[str, Sequence[Path]],
    files: Sequence[InputFile],
    states: Sequence[tuple[int, int]],
    work: Path,
    settings: CorpusSettings,
    items: Sequence[Item],
    reference: Sequence[Path],
    progress: Progress,
) -> Path:
    """All stages, as far as they are not done; returns the folder of the finished corpus."""
    names = [stage for stage in settings.stages if stage != "quality" or settings.quality.sources]
    passes = _passes(names)
    phases = ["+".join(own) or "identify" for own in passes]
    timed = Timed(["read", "extract", *phases, "count", "tokenizer", "shards"], progress)
    sizes = [size for size, _ in states]
    pipeline = Pipeline(Job(Store(work), settings), _engine(sum(sizes), settings, work))
    if not settings.quality.sources:
        pipeline.notes["quality"] = {"used": False, "why": "no source asks for it"}
    try:
        with timed.phase(pipeline, "read"):
            problems = read_all(pipeline, files, sizes)
        with timed.phase(pipeline, "extract"):
            extract_all(pipeline)
        for phase, own in zip(phases, passes):
            with timed.phase(pipeline, phase):
                match phase:
                    case "exact copy":
                        drop_exact(pipeline)
                    case "quality":
                        drop_low_quality(pipeline, reference)
                    case "near copy":
                        drop_near(pipeline)
                    case "repeated lines" | "repeated passages":
                        drop_repeats(pipeline, phase)
                    case "contaminated":
                        drop_contaminated(pipeline, items)
                    case _:
                        judge_all(pipeline, own)
        report, finished = _finish(pipeline, timed, ["extract", *names], list(inputs), problems)
    finally:
        pipeline.engine.close()
    write_jsonl(finished / "rejects" / "rejects.jsonl", problems.rows)
    write_json(finished / "report.json", report)
    progress(timed.ends[-1], timed.ends[-1], phase="done")
    return finished


def _finish(
    pipeline: Pipeline,
    timed: Timed,
    stages: Sequence[str],
    sources: Sequence[str],
    problems: Problems,
) -> tuple[dict[str, Any], Path]:
    """Count what is left, and write it with its tokens; returns the report and the folder."""
    with timed.phase(pipeline, "count"):
        counted = counting.count_all(pipeline)
    report: dict[str, Any] = {
        "funnel": counting.funnel(counted, stages, sources, problems),
        "diversity": {"before": counted.before.summary(), "after": counted.after.summary()},
        "licences": dict(counted.licences.most_common()),
    }
    heldout = counting.choose_heldout(pipeline, counted)
    with timed.phase(pipeline, "tokenizer"):
        characters = report["diversity"]["after"]["characters"]
        tokenizer = tokens.make_tokenizer(pipeline, heldout, characters)
    finished = pipeline.store.folder / "finished"
    shutil.rmtree(finished, ignore_errors=True)
    with timed.phase(pipeline, "shards"):
        manifest = tokens.tokenise(pipeline, sources, heldout, tokenizer, finished / "tokens")
        tokenizer.save(finished)
        tokens.write_documents(pipeline, finished, heldout)
        write_hits(pipeline, finished)
    report |= {
        "tokens": tokens.token_counts(manifest) | {"fertility": tokens.fertility_of(pipeline)},
        "heldout": len(heldout),
        **pipeline.notes,
        "problems": problems.rows[:LISTED],
        "seconds": timed.seconds,
    }
    return report, finished


def _check(inputs: Mapping[str, Sequence[Path]], settings: CorpusSettings) -> None:
    if not inputs:
        raise RegrowError("the corpus has no sources; name at least one with its documents")
    for source in inputs:
        check_source_name(source)
    named = {
        "rules.sources": settings.rules.sources or (),
        "quality.sources": settings.quality.sources,
        "decontaminate.sources": settings.decontaminate.sources or (),
    }
    for key, sources in named.items():
        for source in sources:
            if source not in inputs:
                raise RegrowError(
                    f"corpus.{key} names {source!r}, which is no source; "
                    f"there are {', '.join(inputs)}"
                )
    if settings.quality.sources and settings.quality.model == "fasttext":
        load_fasttext()
    if settings.rules.bad_words and not Path(settings.rules.bad_words).is_file():
        raise RegrowError(
            f"corpus.rules.bad_words: {settings.rules.bad_words} is no file; give one with a word "
            "a line"
        )
    if settings.tokenizer.path:
        Tokenizer.load(Path(settings.tokenizer.path))


def _begun_with(
    files: Sequence[InputFile],
    states: Sequence[tuple[int, int]],
    settings: CorpusSettings,
    items: Sequence[Item],
    reference: Sequence[Path],
) -> str:
    """The hash of all that the output depends on. Raises RegrowError for a missing reference."""
    trusted = list_files({"reference": reference}) if reference else []
    named = [settings.rules.bad_words, settings.tokenizer.path]
    return sha256_json(
        {
            "regrow": [__version__, FORMAT],
            "settings": settings.model_dump(mode="json", exclude={"jobs", "engine"}),
            "files": [[f.source, f.path, *state] for f, state in zip(files, states)],
            "items": sha256_json([item.to_row() for item in items]),
            "reference": [[file.path, *state_of(file)] for file in trusted],
            "named": [_sums(Path(path)) for path in named if path],
        }
    )


def _sums(path: Path) -> list[str]:
    """The checksum of a file, or of a tokenizer's files in a folder, which may hold weights."""
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    return list(map(sha256_file, files))


def _begin(work: Path, begun: str) -> None:
    """Empty the folder of work in progress where it was begun with something else."""
    mark = work / "begun.json"
    if mark.is_file() and read_json(mark) == begun:
        return
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()
    write_json(mark, begun)


def damaged(output: Path) -> list[str]:
    """Files of a finished corpus that are missing or do not have their checksum."""
    known = read_json(output / "checksums.json")["sha256"]
    return [
        name
        for name, expected in known.items()
        if not (output / name).is_file() or sha256_file(output / name) != expected
    ]


def _engine(size: int, settings: CorpusSettings, work: Path) -> Engine:
    if settings.engine == "ray":
        return Ray(settings.jobs, settings.time_limit_s, work / "watch")
    jobs = 1 if size <= SMALL else settings.jobs
    return Processes(jobs, settings.time_limit_s, work / "watch")


def _passes(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Stages in their order, neighbours that look at single pages together.

    The first pass identifies the pages as well, so there is one even if it has no stage to run.
    """
    passes: list[tuple[str, ...]] = [()] if not names or names[0] not in PAGE_STAGES else []
    for name in names:
        if name in PAGE_STAGES and passes and PAGE_STAGES.keys() >= set(passes[-1]):
            passes[-1] = (*passes[-1], name)
        else:
            passes.append((name,))
    return passes


def _replace(folder: Path, output: Path) -> None:
    """Put a finished folder in the place of an older one."""
    old = output.with_name(f".{output.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if output.exists():
        output.rename(old)
    folder.rename(output)
    shutil.rmtree(old, ignore_errors=True)
