"""Files that are whole or absent: atomic writes, checksums, JSON lines and a folder lock."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from regrow.errors import RegrowError


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write, for example on a full disk, into a RegrowError."""
    try:
        yield
    except OSError as error:
        why = error.strerror
        raise RegrowError(f"cannot write {path}: {why}; free space and run again") from error


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes its place once all of it is on disk; else nothing changes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with writing(path), open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file so that a crash leaves the old content or the new, never a part."""
    with atomic(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, indented and sorted by insertion, atomically."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; a broken file is named."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RegrowError(f"{path} is missing") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RegrowError(f"{path} is not valid JSON ({error}); delete it and run again") from error


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows as JSON lines (gzip where the name ends in .gz), atomically; returns the count."""
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    data = ("\n".join(lines) + "\n").encode() if lines else b""
    write_atomic(path, gzip.compress(data, 6, mtime=0) if path.suffix == ".gz" else data)
    return len(lines)


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSON-lines file; a broken line, or the end of a file that is cut off, is
    named with its number."""
    if not path.is_file():
        raise RegrowError(f"{path} is missing")
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _row(path, number, line)
    except (UnicodeDecodeError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RegrowError(
            f"{path} cannot be read after line {number}: {error}; it should be JSON lines in UTF-8"
        ) from error


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise RegrowError(f"{path} line {number} is not valid JSON: {error}") from error
    if not isinstance(row, dict):
        raise RegrowError(f"{path} line {number} is no JSON object but {type(row).__name__}")
    return row


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """The SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; a second process is refused with one clear line.

    The lock is the operating system's (flock), so a killed process leaves none behind. A folder
    that was not there goes again where nothing was put into it.
    """
    import fcntl

    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise RegrowError(
                f"{folder} is in use by process {owner}; wait for it, or stop it and run again"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            if made and folder.is_dir() and [one.name for one in folder.iterdir()] == [path.name]:
                path.unlink()
                folder.rmdir()
