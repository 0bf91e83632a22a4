"""Tokens on disk: one flat little-endian file a source, with offsets and document ids beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO

import numpy as np

from regrow.corpus.tokenizer import Tokenizer
from regrow.errors import RegrowError
from regrow.files import read_json, sha256_file, write_json

BATCH = 512  # documents encoded at a time
_OFFSET = Struct("<q")

#: A document: its id, its tokens without the end, and its length in bytes.
Encoded = tuple[str, np.ndarray, int]


def check_source_name(source: str) -> str:
    """A source name is also a file name: letters, digits and `._+-` only."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", source):
        raise RegrowError(f"{source!r} is no source name; use letters, digits and ._+- only")
    return source


def encoded(documents: Iterable[tuple[str, str]], tokenizer: Tokenizer) -> Iterator[Encoded]:
    """Encode (document id, text) pairs, some hundreds at a time."""
    iterator = iter(documents)
    while batch := list(islice(iterator, BATCH)):
        tokens = tokenizer.encode_batch([text for _, text in batch])
        for (id_, text), own in zip(batch, tokens, strict=True):
            yield id_, np.asarray(own), len(text.encode("utf-8", "replace"))


def token_type(vocabulary: int) -> str:
    """The numbers that tokens are kept in: uint16, or uint32 above 65,536 entries."""
    return "<u2" if vocabulary <= 65_536 else "<u4"


def _head(file: BinaryIO, length: int) -> None:
    """The head of an npy file of int64 [length]: as long for any length, so that it can be put
    right once the rows that follow are counted."""
    head = {"descr": "<i8", "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, head)


def write_shards(
    folder: Path, sources: Mapping[str, Iterable[Encoded]], tokenizer: Tokenizer
) -> dict[str, Any]:
    """Write encoded documents by source; each ends with `<|endoftext|>`. Returns the manifest.

    Files: `<source>.bin` (see `token_type`), `<source>.offsets.npy` (int64 [documents + 1], in
    tokens), `<source>.documents.txt` and `manifest.json` with counts and SHA-256 of each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, Any] = {
        "dtype": token_type(tokenizer.vocabulary),
        "vocabulary": tokenizer.vocabulary,
        "eos": tokenizer.eos,
        "sources": {},
    }
    end = np.asarray([tokenizer.eos], manifest["dtype"]).tobytes()
    for source, documents in sources.items():
        files = [
            folder / f"{check_source_name(source)}{ending}"
            for ending in (".bin", ".offsets.npy", ".documents.txt")
        ]
        count = offset = size = 0
        with (
            open(files[0], "wb") as file,
            open(files[1], "wb") as offsets,
            open(files[2], "w", encoding="utf-8") as names,
        ):
            _head(offsets, 0)
            offsets.write(_OFFSET.pack(0))
            for id_, tokens, length in documents:
                file.write(tokens.astype(manifest["dtype"]).tobytes() + end)
                names.write(f"{id_}\n")
                count, offset, size = count + 1, offset + len(tokens) + 1, size + length
                offsets.write(_OFFSET.pack(offset))
            offsets.seek(0)
            _head(offsets, count + 1)
        manifest["sources"][source] = {
            "documents": count,
            "tokens": offset,
            "bytes": size,
            "sha256": {path.name: sha256_file(path) for path in files},
        }
    write_json(folder / "manifest.json", manifest)
    return manifest


class Shards:
    """A `tokens` folder, memory-mapped."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.sources: tuple[str, ...] = tuple(manifest["sources"])
        self.vocabulary: int = manifest["vocabulary"]
        self.eos: int = manifest["eos"]
        self._tokens: dict[str, np.ndarray] = {}
        self._offsets: dict[str, np.ndarray] = {}
        self._ids: dict[str, list[str]] = {}

    @staticmethod
    def open(folder: Path, verify: bool = False) -> Shards:
        """Open a `tokens` folder or the corpus folder that holds it.

        Sizes are always checked, checksums with `verify`. Raises RegrowError that names the
        broken file.
        """
        folder = Path(folder)
        if not (folder / "manifest.json").exists() and (folder / "tokens").is_dir():
            folder = folder / "tokens"
        manifest = read_json(folder / "manifest.json")
        width = np.dtype(manifest["dtype"]).itemsize
        for source, entry in manifest["sources"].items():
            path = folder / f"{source}.bin"
            for name in entry["sha256"]:
                if not (folder / name).exists():
                    raise RegrowError(f"{folder / name} is missing; build the corpus again")
            if path.stat().st_size != entry["tokens"] * width:
                raise RegrowError(f"{path} is cut or grown; delete it and build the corpus again")
            for name, expected in entry["sha256"].items() if verify else ():
                if sha256_file(folder / name) != expected:
                    raise RegrowError(
                        f"{folder / name} does not match its checksum; build the corpus again"
                    )
        return Shards(folder, manifest)

    def _entry(self, source: str) -> Mapping[str, Any]:
        try:
            return self.manifest["sources"][source]
        except KeyError:
            raise RegrowError(
                f"no source {source!r} in {self.folder}; there are {', '.join(self.sources)}"
            ) from None

    def count(self, source: str) -> int:
        """Tokens in a source."""
        return int(self._entry(source)["tokens"])

    def tokens(self, source: str) -> np.ndarray:
        """All tokens of a source: read-only memory map [tokens]."""
        if source not in self._tokens:
            count = self.count(source)
            dtype = np.dtype(self.manifest["dtype"])
            path = self.folder / f"{source}.bin"
            self._tokens[source] = (
                np.memmap(path, dtype=dtype, mode="r") if count else np.empty(0, dtype)
            )
        return self._tokens[source]

    def offsets(self, source: str) -> np.ndarray:
        """Where documents start, in tokens: int64 [documents + 1]."""
        if source not in self._offsets:
            self._entry(source)
            self._offsets[source] = np.load(self.folder / f"{source}.offsets.npy")
        return self._offsets[source]

    def document_ids(self, source: str) -> Sequence[str]:
        """The ids of a source's documents, in the order of the offsets."""
        if source not in self._ids:
            self._entry(source)
            path = self.folder / f"{source}.documents.txt"
            self._ids[source] = path.read_text(encoding="utf-8").splitlines()
        return self._ids[source]

    def document_at(self, source: str, token: int) -> str:
        """The id of the document that holds a token, its end among them; else IndexError."""
        if not 0 <= token < self.count(source):
            raise IndexError(f"token {token} of {self.count(source)} in {source!r}")
        number = int(np.searchsorted(self.offsets(source), token, side="right")) - 1
        return self.document_ids(source)[number]
