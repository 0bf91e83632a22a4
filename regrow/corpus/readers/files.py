"""The files of an input, local or remote, in an order that is the same on every machine."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from regrow.corpus.page import short
from regrow.corpus.readers.licences import is_licence_file, licence_above, licence_of
from regrow.corpus.readers.streams import Blob
from regrow.errors import RegrowError

_URL = re.compile(r"([a-z][a-z0-9+.-]+):/{1,2}(?=[^/])")  # Path("s3://x") is s3:/x
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read: `path` may be a URL, `name` is its path below `root`, with `/`."""

    source: str
    root: str
    path: str
    name: str
    licence: str = ""  # of the nearest LICENSE file in or above its folder, up to the root


def list_files(inputs: Mapping[str, Sequence[Path | str]]) -> list[InputFile]:
    """The files of every source, in the order of the inputs and, in each, of their names.

    An input is a file, a folder, a glob (`a/**/*.txt`) or an fsspec URL of one of them. Hidden
    files, licence files and `__pycache__` are passed over; links to folders and folders that cannot
    be opened are listed, so that reading names them. Raises RegrowError on a path that does not
    exist and on a source without any file.
    """
    found: list[InputFile] = []
    for source, paths in inputs.items():
        by_path: dict[str, InputFile] = {}
        for path in paths:
            for file in _files(str(path), source):
                by_path.setdefault(file.path, file)
        if not by_path:
            given = ", ".join(map(str, paths)) or "no path"
            raise RegrowError(
                f"no documents for source {source!r} in {given}; give a folder of some"
            )
        found += by_path.values()
    return found


def as_blob(file: InputFile) -> Blob:
    """The file, ready to be opened. Raises OSError where there is none or it is no plain file."""
    if "://" in file.path:
        import fsspec

        fs, path = fsspec.core.url_to_fs(file.path)
        return Blob(file.name, file.path, fs.size(path) or 0, partial(fs.open, path), file.licence)
    status = os.stat(file.path)
    if stat.S_ISDIR(status.st_mode) and os.path.islink(file.path):
        raise OSError("a link to a folder; give the folder as an input to read it")
    if stat.S_ISDIR(status.st_mode):
        os.listdir(file.path)  # says what kept it from being listed
    if not stat.S_ISREG(status.st_mode):
        raise OSError("not a plain file")
    where = _written(file.path)
    return Blob(file.name, where, status.st_size, lambda: open(file.path, "rb"), file.licence)


def state_of(file: InputFile) -> tuple[int, int]:
    """Its size in bytes and when it was changed; zeros for what cannot be told."""
    try:
        blob = as_blob(file)
        return blob.size, 0 if "://" in file.path else os.stat(file.path).st_mtime_ns
    except OSError:
        return 0, 0


def is_hidden(name: str) -> bool:
    """Whether a file or a folder above it is hidden or Python's cache."""
    parts = (part for part in name.split("/") if part not in (".", ".."))
    return any(part.startswith(".") or part == "__pycache__" for part in parts)


def _written(name: str) -> str:
    """A path that can be written as UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _files(path: str, source: str) -> Iterator[InputFile]:
    url = _URL.match(path)
    if url and url[1] in ("file", "local"):
        path, url = "/" + path[url.end() :], None
    if url:
        import fsspec

        if url[1] in fsspec.available_protocols():
            yield from _remote_files(f"{url[1]}://{path[url.end() :]}", source)
            return
    yield from _local_files(Path(path), source)


def _local_files(path: Path, source: str) -> Iterator[InputFile]:
    if path.is_dir():
        yield from _sorted(source, path.as_posix(), _walk(str(path)), _read_local)
    elif os.path.lexists(path):
        yield InputFile(source, path.as_posix(), str(path), _written(path.name))
    elif _MAGIC.search(str(path)):
        parts = path.parts
        plain = next(i for i, part in enumerate(parts) if _MAGIC.search(part))
        root = Path(*parts[:plain])
        names: set[str] = set()
        for found in root.glob(str(Path(*parts[plain:]))):
            inside = found.relative_to(root).as_posix()
            if found.is_dir() and not found.is_symlink():
                names.update(f"{inside}/{name}" for name in _walk(str(found)))
            else:
                names.add(inside)
        yield from _sorted(source, root.as_posix(), names, _read_local)
    else:
        raise RegrowError(f"source {source!r}: {path} does not exist; correct the path")


def _walk(root: str) -> Iterator[str]:
    """Names of all files below a folder, of links to folders and of folders that do not open."""
    failed: list[str] = []
    for folder, folders, files in os.walk(root, onerror=lambda e: failed.append(str(e.filename))):
        folders[:] = [name for name in folders if not is_hidden(name)]
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in files + links:
            yield Path(folder, name).relative_to(root).as_posix()
    yield from (Path(folder).relative_to(root).as_posix() for folder in failed if folder != root)


def _read_local(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(1 << 16)


def _remote_files(url: str, source: str) -> Iterator[InputFile]:
    import fsspec

    try:
        fs, path = fsspec.core.url_to_fs(url)
        if "*" in path:
            root = path.partition("*")[0].rpartition("/")[0]
            found = fs.glob(path)
            found = [
                file for each in found for file in (fs.find(each) if fs.isdir(each) else [each])
            ]
        elif fs.isfile(path):
            yield InputFile(source, url, url, path.rpartition("/")[2])
            return
        else:
            root, found = path.rstrip("/"), fs.find(path)
        names = [str(file).removeprefix(root).lstrip("/") for file in found]
    except Exception as error:  # each protocol has errors of its own
        raise RegrowError(f"source {source!r}: {url} cannot be listed: {short(error)}") from error
    if not names:
        raise RegrowError(f"source {source!r}: {url} does not exist or is empty; correct the URL")
    yield from _sorted(source, fs.unstrip_protocol(root), names, fs.cat_file)


def _sorted(source: str, root: str, names: Any, read: Callable[[str], bytes]
            ) -> Iterator[InputFile]:  # fmt: skip
    """The files of a root by name, with their licences."""
    names = sorted({name for name in names if not is_hidden(name)})
    known: dict[str, str] = {}
    for name in names:
        if is_licence_file(name.rpartition("/")[2]):
            try:
                text = read(f"{root}/{name}")
            except Exception:  # an unreadable licence is an unknown one
                continue
            known.setdefault(name.rpartition("/")[0], licence_of(text))
    for name in names:
        if not is_licence_file(name.rpartition("/")[2]):
            path = f"{root}/{name}"
            yield InputFile(source, root, path, _written(name), licence_above(name, known))
