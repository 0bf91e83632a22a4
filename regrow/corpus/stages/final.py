"""The last look at every page: documents, decisions and counts, then tokens."""

from __future__ import annotations

import heapq
import json
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from regrow.corpus.diversity import Diversity
from regrow.corpus.engine import Watch
from regrow.corpus.fertility import fertility
from regrow.corpus.grams import hash_words
from regrow.corpus.page import Page
from regrow.corpus.parts import Store, once, write_table
from regrow.corpus.shards import Encoded, encoded, token_type, write_shards
from regrow.corpus.stages.job import Job, Pipeline
from regrow.corpus.stages.pages import vocabulary_of
from regrow.corpus.tokenizer import Tokenizer, train_tokenizer
from regrow.files import write_jsonl
from regrow.seeds import derive

DOCUMENT = ("id", "text", "source", "url", "domain", "format", "language", "licence")
DECISION = (
    "id", "location", "source", "url", "domain", "format", "language", "detail", "characters",
    "quality", "cluster", "head",
)  # fmt: skip
ENCODED = ("id", "source", "language", "format", "bytes", "words", "tokens")
_RANKS = 1 << 63


def is_piece(page: Page) -> bool:
    """Whether a page is what contamination left of another."""
    return "-" in page.id


def count_part(job: Job, part: str, watch: Watch) -> dict[str, Any]:
    """Write the documents and decisions of a part; tells all counts that the report needs."""
    settings = job.settings

    def make(path: Path, documents: Path, counted: Path) -> dict[str, Any]:
        pages = job.store.load(part)
        kept = [page for page in pages if not page.reason]
        write_table(documents, {name: [getattr(p, name) for p in kept] for name in DOCUMENT})
        write_table(path, _decisions(pages))
        counted.write_bytes(pickle.dumps(_diversity(job, part, pages, kept)))
        lowest: dict[str, list[tuple[int, str]]] = {}
        for page in kept:
            lowest.setdefault(page.source, []).append(
                (derive(settings.seed, "heldout", page.id), page.id)
            )
        stages: Counter[str] = Counter()
        for page in pages:
            stages[f"{page.source}\t{page.reason}\t{int(is_piece(page))}\tdocuments"] += 1
            stages[f"{page.source}\t{page.reason}\t{int(is_piece(page))}\tcharacters"] += (
                page.characters
            )
        return {
            "counts": stages,
            "licences": Counter(page.licence or "unknown" for page in kept),
            "lowest": {
                source: heapq.nsmallest(settings.heldout_most, ranks)
                for source, ranks in lowest.items()
            },
        }

    told: dict[str, Any] = once(
        job.store.path("decisions", part),
        make,
        job.store.path("documents", part),
        _counted(job.store, part),
    )
    return told


def _counted(store: Store, part: str) -> Path:
    return store.path("diversity", part).with_suffix(".pickle")


def _diversity(
    job: Job, part: str, pages: Sequence[Page], kept: Sequence[Page]
) -> tuple[Diversity, Diversity]:
    """How varied the pages of a part were when they were identified, and are now."""
    before, after = Diversity(), Diversity()
    looked = "near copy" in job.settings.stages
    for page in pages:
        if page.language and not is_piece(page):
            near = page.reason.startswith("near copy") if looked else None
            before.add(_traits(page), page.characters, quality=page.quality, near_copy=near)
    for source, words in pickle.loads(vocabulary_of(job.store, part).read_bytes()).items():
        if source in before.sources:
            before.sources[source].vocabulary.merge(words)
    for page in kept:
        words = hash_words([page.text]).hashes
        after.add(_traits(page), page.characters, words=words, quality=page.quality)
    return before, after


def _traits(page: Page) -> dict[str, str]:
    return {name: getattr(page, name) for name in ("source", "domain", "format", "language")}


def diversity(pipeline: Pipeline) -> dict[str, Any]:
    """How varied the corpus was and is, over all parts."""
    before, after = Diversity(), Diversity()
    for part in pipeline.store.parts:
        was, now = pickle.loads(_counted(pipeline.store, part).read_bytes())
        before.merge(was)
        after.merge(now)
    return {"before": before.summary(), "after": after.summary()}


def counting(job: Job) -> partial[dict[str, Any]]:
    """`count_part` for this job."""
    return partial(count_part, job)


def _decisions(pages: Sequence[Page]) -> dict[str, Any]:
    """One row for every page read: kept or not, by which stage, why.

    `location` is the WARC record id, the file, or file:line; `detail` names the document that is
    copied (and how like it is), the item found, or the status; `cluster` is the survivor of the
    near-duplicates that a page belongs to, itself included, `survivor` that of a copy.
    """
    import pyarrow as pa

    kinds = {"characters": pa.int64(), "quality": pa.float32()}
    columns: dict[str, Any] = {
        name: pa.array([getattr(page, name) for page in pages], kinds.get(name, pa.string()))
        for name in DECISION
    }
    reasons = [page.reason.partition(": ") for page in pages]
    columns["record_id"] = pa.array(
        [page.location if page.location.startswith("<urn:") else "" for page in pages], pa.string()
    )
    columns["kept"] = pa.array([not page.reason for page in pages], pa.bool_())
    columns["stage"] = pa.array([stage for stage, _, _ in reasons], pa.string())
    columns["reason"] = pa.array([reason for _, _, reason in reasons], pa.string())
    copies = [stage in ("exact copy", "near copy") for stage, _, _ in reasons]
    columns["survivor"] = pa.array(
        [page.detail.split(" ")[0] if copy else "" for page, copy in zip(pages, copies)],
        pa.string(),
    )
    columns["scores"] = pa.array([json.dumps(_scores(page)) for page in pages], pa.string())
    return columns


def _scores(page: Page) -> dict[str, float]:
    scores = {} if page.quality is None else {"quality": round(page.quality, 5)}
    if page.reason.startswith("near copy"):
        scores["jaccard"] = float(page.detail.split(" ")[1])
    return scores


def choose_heldout(pipeline: Pipeline, told: Sequence[Mapping[str, Any]]) -> set[str]:
    """Ids of the documents that no shard holds: the same share of every source, by seed and id."""
    settings = pipeline.job.settings
    kept: Counter[str] = Counter()
    lowest: dict[str, list[tuple[int, str]]] = {}
    for one in told:
        for key, n in one["counts"].items():
            source, reason, _, what = key.split("\t")
            kept[source] += n if what == "documents" and not reason else 0
        for source, ranks in one["lowest"].items():
            lowest.setdefault(source, []).extend((rank, id_) for rank, id_ in ranks)
    return {
        id_
        for source, ranks in lowest.items()
        for _, id_ in heapq.nsmallest(
            min(settings.heldout_most, round(settings.heldout_share * kept[source])), ranks
        )
    }


def documents(pipeline: Pipeline, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Columns of all kept documents, part by part."""
    import pyarrow.parquet as pq

    for part in pipeline.store.parts:
        path = pipeline.store.path("documents", part)
        table = pq.read_table(path, columns=list(columns), partitioning=None)
        yield from zip(*(table[name].to_pylist() for name in columns))


def make_tokenizer(pipeline: Pipeline, heldout: set[str], characters: int) -> Tokenizer:
    """The tokenizer asked for, or one learnt from documents drawn by id; in `tokenizer/`."""
    settings = pipeline.job.settings.tokenizer
    folder = pipeline.store.folder / "tokenizer"
    if settings.path:
        tokenizer = Tokenizer.load(Path(settings.path))
        tokenizer.save(folder)
        return tokenizer
    if (folder / "tokenizer_config.json").is_file():
        return Tokenizer.load(folder)
    share = settings.characters / max(1, characters)
    texts = (
        text
        for id_, text in documents(pipeline, ("id", "text"))
        if id_ not in heldout and (share >= 1 or derive("tokenizer", id_) < share * _RANKS)
    )
    return train_tokenizer(texts, settings.vocabulary, folder)


def encode_part(job: Job, heldout: frozenset[str], part: str, watch: Watch) -> None:
    """The tokens of a part's documents, end to end, and a table of whose they are."""
    import pyarrow.parquet as pq

    def make(path: Path, tokens_of: Path) -> None:
        rows: list[tuple[Any, ...]] = []
        tokenizer = Tokenizer.load(job.store.folder / "tokenizer")
        table = pq.read_table(job.store.path("documents", part), partitioning=None)
        names = ("id", "text", "source", "language", "format")
        found = zip(*(table[name].to_pylist() for name in names))
        chosen = [row for row in found if row[0] not in heldout]
        texts = ((row[0], row[1]) for row in chosen)
        with open(path, "wb") as file:
            for (id_, tokens, size), (_, text, *traits) in zip(encoded(texts, tokenizer), chosen):
                file.write(tokens.astype(token_type(tokenizer.vocabulary)).tobytes())
                rows.append((id_, *traits, size, len(text.split()), len(tokens)))
        write_table(tokens_of, {name: [row[i] for row in rows] for i, name in enumerate(ENCODED)})

    target = job.store.path("tokens", part)
    once(target.with_suffix(".bin"), make, target)


def tokenise(
    pipeline: Pipeline, sources: Sequence[str], heldout: set[str], tokenizer: Tokenizer, to: Path
) -> dict[str, Any]:
    """Encode all parts and put them together by source; returns the manifest."""
    import pyarrow.parquet as pq

    store, dtype = pipeline.store, token_type(tokenizer.vocabulary)
    pipeline.map(partial(encode_part, pipeline.job, frozenset(heldout)), store.parts)

    def of(source: str) -> Iterator[Encoded]:
        for part in store.parts:
            path = store.path("tokens", part)
            table = pq.read_table(path, partitioning=None)
            if not len(table) or source not in set(table["source"].to_pylist()):
                continue
            flat, stop = np.fromfile(path.with_suffix(".bin"), dtype), 0
            columns = (table[name].to_pylist() for name in ("id", "source", "tokens", "bytes"))
            for id_, own, tokens, size in zip(*columns):
                start, stop = stop, stop + tokens
                if own == source:
                    yield id_, flat[start:stop], size

    return write_shards(to, {source: of(source) for source in sources}, tokenizer)


def fertility_of(pipeline: Pipeline) -> dict[str, Any]:
    """Tokens a word and bytes a token of what was encoded, by language and format."""
    import pyarrow.parquet as pq

    tables = (
        pq.read_table(pipeline.store.path("tokens", part), columns=list(ENCODED[2:]))
        for part in pipeline.store.parts
    )
    return fertility(
        row for table in tables for row in zip(*(table[n].to_pylist() for n in ENCODED[2:]))
    )


def write_documents(pipeline: Pipeline, to: Path, heldout: set[str]) -> None:
    """`documents/<source>.parquet`, `heldout.jsonl` and `decisions.parquet`, part by part."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    store = pipeline.store
    (to / "documents").mkdir(parents=True)
    writers: dict[str, pq.ParquetWriter] = {}
    decisions: pq.ParquetWriter | None = None
    put_by: list[dict[str, Any]] = []
    for part in store.parts:
        table = pq.read_table(store.path("documents", part), partitioning=None)
        table = table.cast(pa.schema([(name, pa.string()) for name in DOCUMENT]))
        for source in pc.unique(table["source"]).to_pylist():
            if source not in writers:
                path = to / "documents" / f"{source}.parquet"
                writers[source] = pq.ParquetWriter(path, table.schema, compression="zstd")
            writers[source].write_table(table.filter(pc.equal(table["source"], source)))
        chosen = pc.is_in(table["id"], value_set=pa.array(sorted(heldout), pa.string()))
        put_by += table.filter(chosen).to_pylist()
        rows = pq.read_table(store.path("decisions", part), partitioning=None)
        if decisions is None:
            path = to / "decisions.parquet"
            decisions = pq.ParquetWriter(path, rows.schema, compression="zstd")
        decisions.write_table(rows)
    for writer in (*writers.values(), decisions):
        if writer is not None:
            writer.close()
    write_jsonl(to / "heldout.jsonl", put_by)


def token_counts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The vocabulary and, by source, documents, tokens and bytes a token."""
    return {
        "vocabulary": manifest["vocabulary"],
        "sources": {
            source: {
                "documents": entry["documents"],
                "tokens": entry["tokens"],
                "bytes_per_token": round(entry["bytes"] / max(1, entry["tokens"]), 3),
            }
            for source, entry in manifest["sources"].items()
        },
    }
