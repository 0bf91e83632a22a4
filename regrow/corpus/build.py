"""Documents to shards: the whole pipeline, with a decision for every page and a report."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from regrow.corpus import decontaminate, deduplicate, quality
from regrow.corpus.diversity import diversity
from regrow.corpus.extract import drop_site_lines, extract_all, site_lines
from regrow.corpus.grams import Words, hash_words
from regrow.corpus.identify import identify, site_of, wrong_language
from regrow.corpus.parallel import map_pages
from regrow.corpus.read import Page, Problems, read
from regrow.corpus.rules import broken_rule
from regrow.corpus.settings import CorpusSettings
from regrow.corpus.shards import check_source_name, write_shards
from regrow.corpus.tokenizer import Tokenizer, sample_texts, train_tokenizer
from regrow.corpus.write import write_decisions, write_documents, write_heldout
from regrow.errors import RegrowError
from regrow.files import write_json
from regrow.progress import Progress, silent
from regrow.records import Item
from regrow.seeds import derive

STAGES = (
    "read", "extract", "language", "rules", "exact copy", "quality", "near copy", "contaminated",
)  # fmt: skip
PHASES = (*STAGES, "tokenizer", "shards")
LEAST_REFERENCE = 20  # trusted documents that a classifier needs
LISTED = 100  # contamination hits and problems written out in the report


def extract_batch(pages: list[Page]) -> list[Page]:
    """Extract a batch; runs in a worker process."""
    extract_all(pages)
    for page in pages:
        if not page.reason:
            page.domain = page.domain or site_of(page)
    return pages


def judge_batch(settings: CorpusSettings, pages: list[Page]) -> list[Page]:
    """Identify a batch and apply language and rules; runs in a worker process."""
    rules = settings.rules
    for page in pages:
        identify(page)
        page.reason = wrong_language(page, settings.languages)
        if not page.reason and (rules.sources is None or page.source in rules.sources):
            broken = broken_rule(page.text, page.format, rules)
            page.reason = f"rules: {broken}" if broken else ""
    return pages


class Pipeline:
    """Pages on their way, the time each stage took, and what the report needs of it."""

    def __init__(self, settings: CorpusSettings, progress: Progress) -> None:
        self.settings = settings
        self.progress = progress
        self.pages: list[Page] = []
        self.problems = Problems()
        self.seconds: dict[str, float] = {}
        self.notes: dict[str, Any] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Report and time one phase."""
        self.progress(PHASES.index(name), len(PHASES), phase=name)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)

    def kept(self) -> list[Page]:
        """The pages that no stage has left out so far."""
        return [page for page in self.pages if not page.reason]

    def _map(self, work: Callable[[list[Page]], list[Page]], name: str) -> None:
        """Replace the kept pages by what the workers make of them."""
        places = [i for i, page in enumerate(self.pages) if not page.reason]
        pages = [self.pages[i] for i in places]
        done = 0
        jobs, limit = self.settings.jobs, self.settings.time_limit_s
        for batch in map_pages(work, pages, jobs, limit, name):
            for page in batch:
                self.pages[places[done]] = page
                done += 1
            self.progress(PHASES.index(name) + done / max(1, len(places)), len(PHASES), phase=name)

    def read(self, inputs: Mapping[str, Sequence[Path]]) -> None:
        """Read all inputs and name every page by where it stands and what it holds."""
        with self.phase("read"):
            for page in read(inputs, self.problems):
                content = (
                    page.body if page.body is not None else page.text.encode("utf-8", "replace")
                )
                where = f"{page.source}\x1f{page.url}\x1f{Path(page.location).name}\x1f".encode()
                page.id = hashlib.blake2b(where + content, digest_size=8).hexdigest()
                self.pages.append(page)

    def extract(self) -> None:
        """Bodies to text, then away with the furniture that a host repeats."""
        with self.phase("extract"):
            self._map(extract_batch, "extract")
            html = [page for page in self.kept() if "html" in page.content_type]
            lines = site_lines(html)
            for page in html:
                drop_site_lines(page, lines.get(page.domain, set()))
            self.notes["site_lines"] = {
                host: sorted(found) for host, found in lines.items() if found
            }

    def judge(self) -> None:
        """Identify every page and apply the language and heuristic rules."""
        with self.phase("language"):
            self._map(partial(judge_batch, self.settings), "rules")

    def drop_exact(self) -> None:
        """Remove copies that differ in white space at most."""
        with self.phase("exact copy"):
            pages = self.kept()
            for page, i in zip(pages, deduplicate.exact_copies([page.text for page in pages])):
                if i >= 0:
                    page.reason, page.detail = "exact copy: of another", pages[i].id

    def drop_low_quality(self, reference: Sequence[Path]) -> None:
        """Apply the quality classifier to the sources that ask for it."""
        settings = self.settings.quality
        with self.phase("quality"):
            pages = [page for page in self.kept() if page.source in settings.sources]
            trusted = read({"reference": reference}, self.problems) if reference else ()
            texts = [page.text for page in trusted if page.text.strip()]
            if len(pages) < 2 or len(texts) < LEAST_REFERENCE:
                why = "no source asks for it" if not settings.sources else "too few documents"
                self.notes["quality"] = {"used": False, "why": why, "reference": len(texts)}
                return
            found = quality.score(
                [page.text for page in pages], texts, settings, self.settings.seed
            )
            for page, value in zip(pages, found.scores.tolist()):
                page.quality = round(value, 5)
                if not quality.keep(page.text, value, settings, self.settings.seed):
                    page.reason = "quality: below the draw"
            self.notes["quality"] = {
                "used": True,
                "sources": list(settings.sources),
                "reference": len(texts),
                "calibration": round(found.calibration, 4),
                "reference_kept": round(found.reference_kept, 4),
            }

    def drop_near(self) -> Words:
        """Remove near-copies; returns the hashed words of what is left."""
        with self.phase("near copy"):
            pages = self.kept()
            words = hash_words(page.text for page in pages)
            clusters: Counter[str] = Counter()
            for page, (i, likeness) in zip(
                pages, deduplicate.near_copies(words, self.settings.deduplicate)
            ):
                if i >= 0:
                    page.reason = "near copy: of another"
                    page.detail = f"{pages[i].id} {likeness:.3f}"
                    clusters[pages[i].id] += 1
            self.notes["near_copies"] = {
                "survivors": len(clusters),
                "largest": dict(clusters.most_common(5)),
            }
            return _subset(words, [not page.reason for page in pages])

    def drop_contaminated(self, items: Sequence[Item], words: Words) -> None:
        """Cut evaluation items out of the documents; `words` are those of the kept pages."""
        settings = self.settings.decontaminate
        with self.phase("contaminated"):
            pages = self.kept()
            found = decontaminate.find(words, items, settings)
            by_document: dict[int, list[decontaminate.Hit]] = {}
            for hit in found.hits:
                by_document.setdefault(hit.document, []).append(hit)
            listed: list[dict[str, Any]] = []
            left: dict[str, Counter[str]] = {}
            for i, hits in by_document.items():
                source = pages[i].source
                if settings.sources is not None and source not in settings.sources:
                    abilities = {items[hit.item].ability for hit in hits}
                    left.setdefault(source, Counter()).update(abilities)
                    continue
                pieces = decontaminate.clean_pieces(pages[i].text, hits, settings)
                listed += self._cut(pages[i], hits, pieces, items)
            hit_items = {items[hit.item].id: items[hit.item].ability for hit in found.hits}
            self.notes["contamination"] = {
                "items": len(items),
                "items_too_short": found.too_short,
                "common_grams_ignored": found.common,
                "items_hit": dict(Counter(hit_items.values())),
                "documents_hit": len(by_document),
                "documents_left": {source: dict(counts) for source, counts in left.items()},
                "hits": listed[:LISTED],
            }

    def _cut(
        self,
        page: Page,
        hits: Sequence[decontaminate.Hit],
        pieces: Sequence[str],
        items: Sequence[Item],
    ) -> list[dict[str, Any]]:
        """Replace a page by its clean pieces; returns a row for each item found in it."""
        rows: list[dict[str, Any]] = []
        for number in dict.fromkeys(hit.item for hit in hits):
            own = [hit for hit in hits if hit.item == number]
            start, stop = decontaminate.spans(page.text, own)[0]
            rows.append(
                {
                    "document": page.id, "source": page.source, "url": page.url,
                    "item": items[number].id, "ability": items[number].ability,
                    "text": page.text[start:stop][:200], "pieces_kept": len(pieces),
                }
            )  # fmt: skip
        page.detail = rows[0]["item"]
        for i, piece in enumerate(pieces):
            self.pages.append(replace(page, text=piece, id=f"{page.id}-{i + 1}"))
        page.reason = "contaminated: cut into pieces" if pieces else "contaminated: dropped"
        return rows


def _subset(words: Words, chosen: Sequence[bool]) -> Words:
    import numpy as np

    mask = np.asarray(chosen, bool)
    lengths = np.diff(words.offsets)
    hashes = words.hashes[np.repeat(mask, lengths)]
    return Words(hashes, np.concatenate([[0], np.cumsum(lengths[mask])]).astype(np.int64))


def choose_heldout(pages: Sequence[Page], settings: CorpusSettings) -> set[str]:
    """Ids of the documents that no shard holds: the same share of every source, by seed and id."""
    by_source: dict[str, list[str]] = {}
    for page in pages:
        by_source.setdefault(page.source, []).append(page.id)
    chosen: set[str] = set()
    for ids in by_source.values():
        count = min(settings.heldout_most, round(settings.heldout_share * len(ids)))
        ids.sort(key=lambda id_: derive(settings.seed, "heldout", id_))
        chosen.update(ids[:count])
    return chosen


def funnel(pages: Sequence[Page], problems: Problems) -> dict[str, Any]:
    """Documents and characters left after each stage, and what each reason took, by source."""
    out: dict[str, Any] = {"files": problems.files, "set_aside": len(problems.rows)}
    left = [page for page in pages if "-" not in page.id]
    rows = [{"stage": "read", "documents": len(left)}]
    for stage in STAGES[1:]:
        left = [page for page in left if page.reason.split(":")[0] != stage]
        rows.append(
            {
                "stage": stage,
                "documents": len(left),
                "characters": sum(len(page.text) for page in left),
            }
        )
    out["stages"] = rows
    out["sources"] = {}
    for source in dict.fromkeys(page.source for page in pages):
        own = [page for page in pages if page.source == source]
        kept = [page for page in own if not page.reason]
        out["sources"][source] = {
            "read": sum("-" not in page.id for page in own),
            "kept": len(kept),
            "characters": sum(len(page.text) for page in kept),
            "reasons": dict(Counter(page.reason for page in own if page.reason).most_common()),
        }
    return out


def _tokenizer(folder: Path, texts: Sequence[str], settings: CorpusSettings) -> Tokenizer:
    chosen = settings.tokenizer
    if chosen.path:
        tokenizer = Tokenizer.load(Path(chosen.path))
        tokenizer.save(folder)
        return tokenizer
    return train_tokenizer(sample_texts(texts, chosen.characters), chosen.vocabulary, folder)


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


def build(
    inputs: Mapping[str, Sequence[Path]],
    output: Path,
    settings: CorpusSettings,
    *,
    items: Sequence[Item] = (),
    reference: Sequence[Path] = (),
    progress: Progress = silent,
) -> dict[str, Any]:
    """Clean documents and write them as text, tokens and a report; returns the report.

    `inputs` maps sources to files, folders or globs; `items` are kept out of the documents;
    `reference` are files of trusted text for the quality classifier. The output folder appears
    whole or not at all: a killed build starts over. Raises RegrowError where a path is missing, a
    source has no files, or nothing survives.
    """
    _check(inputs, settings)
    pipeline = Pipeline(settings, progress)
    pipeline.read(inputs)
    pipeline.extract()
    pipeline.judge()
    before = [(_traits(page), len(page.text)) for page in pipeline.pages if page.language]
    pipeline.drop_exact()
    pipeline.drop_low_quality(reference)
    pipeline.drop_contaminated(items, pipeline.drop_near())
    kept = pipeline.kept()
    report: dict[str, Any] = {"funnel": funnel(pipeline.pages, pipeline.problems)}
    if not kept:
        reasons = Counter(page.reason for page in pipeline.pages).most_common(3)
        first = "; ".join(f"{reason} ({n})" for reason, n in reasons) or "no file could be read"
        raise RegrowError(f"no document survived: {first}; loosen the corpus settings")
    report["diversity"] = {
        "before": diversity(before),
        "after": diversity((_traits(page), len(page.text)) for page in kept),
    }
    report["licences"] = dict(Counter(page.licence or "unknown" for page in kept).most_common())

    partial_folder = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial_folder, ignore_errors=True)
    partial_folder.mkdir(parents=True)
    heldout = choose_heldout(kept, settings)
    training = [page for page in kept if page.id not in heldout]
    with pipeline.phase("tokenizer"):
        tokenizer = _tokenizer(partial_folder, [page.text for page in training], settings)
    with pipeline.phase("shards"):
        write_documents(partial_folder / "documents", kept)
        write_heldout(partial_folder / "heldout.jsonl", [p for p in kept if p.id in heldout])
        write_decisions(partial_folder / "decisions.parquet", pipeline.pages)
        by_source = {
            source: [(page.id, page.text) for page in training if page.source == source]
            for source in inputs
        }
        manifest = write_shards(partial_folder / "tokens", by_source, tokenizer)
    report |= _tokens(manifest, heldout, pipeline)
    write_json(partial_folder / "report.json", report)
    _replace(partial_folder, output)
    progress(len(PHASES), len(PHASES), phase="done")
    return report


def _traits(page: Page) -> dict[str, str]:
    return {
        "source": page.source,
        "domain": page.domain,
        "format": page.format,
        "language": page.language,
    }


def _tokens(manifest: Mapping[str, Any], heldout: set[str], pipeline: Pipeline) -> dict[str, Any]:
    sources = {
        source: {
            "documents": entry["documents"],
            "tokens": entry["tokens"],
            "bytes_per_token": round(entry["bytes"] / max(1, entry["tokens"]), 3),
        }
        for source, entry in manifest["sources"].items()
    }
    return {
        "tokens": {"vocabulary": manifest["vocabulary"], "sources": sources},
        "heldout": len(heldout),
        **pipeline.notes,
        "problems": pipeline.problems.rows[:LISTED],
        "seconds": pipeline.seconds,
    }


def _replace(folder: Path, output: Path) -> None:
    """Put a finished folder in the place of an older one."""
    old = output.with_name(f".{output.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if output.exists():
        output.rename(old)
    folder.rename(output)
    shutil.rmtree(old, ignore_errors=True)
