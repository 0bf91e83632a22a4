"""Kept documents to a tokenizer, tokens and the files of a finished corpus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from regrow.corpus.engine import Watch
from regrow.corpus.fertility import fertility
from regrow.corpus.parts import Growing, once, write_table
from regrow.corpus.shards import Encoded, encoded, token_type, write_shards
from regrow.corpus.stages.counting import DOCUMENT
from regrow.corpus.stages.job import Job, Pipeline
from regrow.corpus.tokenizer import Tokenizer, train_tokenizer
from regrow.files import write_jsonl
from regrow.seeds import derive

ENCODED = ("id", "source", "language", "format", "bytes", "words", "tokens")
_RANKS = 1 << 63


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


def _loaded(path: Path) -> Tokenizer:
    """The tokenizer, read once by a process: that takes as long as the tokens of a small part."""
    state = path.stat()
    return _loaded_as(path, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=1)
def _loaded_as(path: Path, *state: int) -> Tokenizer:
    return Tokenizer.load(path)


def encode_part(job: Job, heldout: frozenset[str], part: str, watch: Watch) -> None:
    """The tokens of a part's documents, end to end, and a table of whose they are."""
    import pyarrow.parquet as pq

    def make(path: Path, tokens_of: Path) -> None:
        rows: list[tuple[Any, ...]] = []
        tokenizer = _loaded(job.store.folder / "tokenizer" / "tokenizer.json")
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
    sources: dict[str, Growing] = {}
    decisions = Growing(to / "decisions.parquet")
    put_by: list[dict[str, Any]] = []
    for part in store.parts:
        table = pq.read_table(store.path("documents", part), partitioning=None)
        table = table.cast(pa.schema([(name, pa.string()) for name in DOCUMENT]))
        for source in pc.unique(table["source"]).to_pylist():
            if source not in sources:
                sources[source] = Growing(to / "documents" / f"{source}.parquet")
            sources[source].add(table.filter(pc.equal(table["source"], source)))
        chosen = pc.is_in(table["id"], value_set=pa.array(sorted(heldout), pa.string()))
        put_by += table.filter(chosen).to_pylist()
        decisions.add(pq.read_table(store.path("decisions", part), partitioning=None))
    for file in (*sources.values(), decisions):
        file.close()
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
