"""``SHA256SUMS``: one line per file of a snapshot, as ``sha256sum -c`` reads it."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

CHECKSUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  ([^\s/][^\n]*)")


def write_checksums(folder: Path) -> None:
    """Write down the hash of every file of a folder."""
    lines = [f"{_hash(path)}  {name}\n" for name, path in sorted(_files(folder).items())]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def changed_files(folder: Path) -> list[str]:
    """Return one sentence for every file that was changed, added or taken away since the checksums were written."""
    return list(_problems(folder))


def _problems(folder: Path) -> Iterator[str]:
    listed: dict[str, str] = {}
    try:
        content = (folder / CHECKSUMS).read_bytes().decode("utf-8")
    except FileNotFoundError:
        yield f"{CHECKSUMS} is missing, so nothing can be checked"
        return
    except UnicodeDecodeError:
        yield f"{CHECKSUMS} was changed: it is no text"
        return
    if not content.endswith("\n"):
        yield f"{CHECKSUMS} was changed: its last line is cut off"
    for number, line in enumerate(content.removesuffix("\n").split("\n"), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            yield f"{CHECKSUMS} was changed: line {number} is no checksum"
        else:
            listed[match[2]] = match[1]
    found = _files(folder)
    for name in sorted(set(listed) | set(found)):
        if name not in listed:
            yield f"{name} was added: {CHECKSUMS} does not list it"
        elif name not in found:
            yield f"{name} is missing: {CHECKSUMS} lists it"
        elif found[name].is_symlink():
            yield f"{name} is a link, not a file"
        elif _hash(found[name]) != listed[name]:
            yield f"{name} was changed: its SHA-256 is not the one in {CHECKSUMS}"


def _files(folder: Path) -> dict[str, Path]:
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return {path.relative_to(folder).as_posix(): path for path in paths if path != folder / CHECKSUMS}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
