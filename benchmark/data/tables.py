"""Annotation files as people get them: found, read, and checked before anything is built from them."""

import csv
import json
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from benchmark.data.base import LazySamples, Region
from benchmark.errors import DataError

__all__ = [
    "Box",
    "LazySamples",
    "boxes_region",
    "check_sha256",
    "columns_present",
    "digest",
    "find_image",
    "image_size",
    "locate",
    "numbers",
    "read_json",
    "read_table",
    "slug",
]

Box = tuple[float, float, float, float]

GUIDE = "docs/data.md and the data card say where to get it"
TAB_SEPARATED = (".tsv", ".tab", ".txt")


def locate(folder: Path, *patterns: str, what: str) -> Path:
    """Return the first file or folder that matches a glob pattern, patterns in the order given, matches by name."""
    for pattern in patterns:
        if found := sorted(folder.glob(pattern)):
            return found[0]
    looked = " or ".join(patterns)
    raise DataError(f"{folder} has no {what}: looked for {looked}. Is --data-dir the folder that holds it? {GUIDE}")


def read_json(path: Path) -> Any:
    """Read a whole JSON file; what is wrong with it is said with its line and column."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(f"there is no file {path}; {GUIDE}") from None
    except json.JSONDecodeError as error:
        position = f"line {error.lineno}, column {error.colno}, character {error.pos}"
        raise DataError(f"{path} is not valid JSON at {position} ({error.msg}); is the download complete?") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); is the download complete?") from error


def read_table(path: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Read CSV, or for ``.tsv``, ``.tab`` and ``.txt`` tab-separated text without quotes, with a header; one dict per row.

    A row with more or fewer cells than the header, and a quotation that never ends, mean that the file is cut off or not
    what it seems: both raise ``DataError`` with the line.
    """
    tabs = path.suffix.lower() in TAB_SEPARATED
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(
                file, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL, strict=True
            )
            header = [name.strip() for name in next(reader, [])]
            columns_present(path, header, required)
            rows: list[dict[str, str]] = []
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise DataError(
                        f"{path} has {len(cells)} cells in line {reader.line_num} and {len(header)} columns; "
                        f"is the file complete?"
                    )
                rows.append(dict(zip(header, cells, strict=True)))
            return rows
    except FileNotFoundError:
        raise DataError(f"there is no file {path}; {GUIDE}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table ({error}); is the download complete?") from error


def columns_present(where: Path | str, present: Sequence[str], required: Sequence[str]) -> None:
    """Raise ``DataError`` for missing columns, with those that are there and the nearest to each missing one."""
    missing = [name for name in required if name not in present]
    if not missing:
        return
    near = {name: get_close_matches(name, present, n=1) for name in missing}
    hints = "".join(f" Is {close[0]!r} meant to be {name!r}?" for name, close in near.items() if close)
    shown = ", ".join(map(repr, present)) or "none"
    raise DataError(f"{where} has no column {', '.join(map(repr, missing))}; its columns are {shown}.{hints}")


def check_sha256(path: Path, expected: str) -> None:
    """Compare a file with the digest that its source publishes."""
    try:
        with path.open("rb") as file:
            found = sha256()
            while chunk := file.read(1 << 20):
                found.update(chunk)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error})") from error
    if found.hexdigest() != expected.lower():
        raise DataError(
            f"{path} has SHA-256 {found.hexdigest()}, expected {expected.lower()}; another version, or an incomplete download"
        )


def digest(paths: Iterable[Path], *more: str) -> str:
    """Return 12 hexadecimal digits that change with any of these files, their order, or ``more``: for ``DataSet.revision``."""
    parts = [sha256(path.read_bytes()).digest() for path in paths]
    parts += [sha256(text.encode()).digest() for text in more]
    return sha256(b"".join(parts)).hexdigest()[:12]


def numbers(cells: Sequence[Any]) -> tuple[float, ...] | None:
    """Return finite numbers, or ``None`` if any of the cells is not one."""
    try:
        found = tuple(float(cell) for cell in cells)
    except (TypeError, ValueError):
        return None
    return found if all(isfinite(value) for value in found) else None


def boxes_region(boxes: Iterable[Sequence[float]], width: float, height: float) -> Region | None:
    """Join ``[x0, y0, x1, y1)`` boxes, clipped to the image; a box without area inside is left out, ``None`` if all are."""
    array = np.array([tuple(box) for box in boxes], dtype=np.float64).reshape(-1, 4)
    array = array[np.isfinite(array).all(axis=1)]
    clipped = np.clip(array, 0.0, np.array([width, height, width, height], dtype=np.float64))
    kept = clipped[(clipped[:, 0] < clipped[:, 2]) & (clipped[:, 1] < clipped[:, 3])]
    return Region(boxes=kept) if len(kept) else None


def find_image(folder: Path, name: str, places: Sequence[str] = ("images", ".")) -> Path | None:
    """Return where an image of this name lies, or ``None``; a name that leads out of the folder is nowhere."""
    relative = Path(name)
    if not name or relative.is_absolute() or ".." in relative.parts:
        return None
    return next((path for place in places if (path := folder / place / relative).is_file()), None)


def image_size(path: Path | IO[bytes]) -> tuple[int, int] | None:
    """Return width and height from an image file's header, without decoding it; ``None`` if it is no image."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError, Image.DecompressionBombError):
        return None


def slug(words: str) -> str:
    """Return words as part of an id.

    >>> slug("A dog's bowl")
    'a-dog-s-bowl'
    """
    return re.sub(r"\W+", "-", words.lower()).strip("-")
