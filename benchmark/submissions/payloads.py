"""Explanations that strangers hand in as files: bounded before anything of them is unpacked, and never unpickled."""

import math
import zipfile
from io import BytesIO

import numpy as np

from benchmark.errors import InvalidExplanation
from benchmark.explanations import Explanation

MOST_BYTES = 64 * 2**20
"""Of one explanation, unpacked; that of 576 patches and 77 tokens with all pairs takes 4 MB."""

_MEMBERS = ("meta", "image", "text", "cross", "main", "pairs", "empty")
_META_BYTES = 2**20


def read_payload(data: bytes) -> Explanation:
    """Read one explanation; what is no archive of a few plain arrays, or too large, raises ``InvalidExplanation``."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            _check_members(archive)
        return Explanation.from_bytes(data)
    except InvalidExplanation:
        raise
    except (ValueError, TypeError, KeyError, EOFError, OSError, RecursionError, NotImplementedError, RuntimeError) as error:
        raise InvalidExplanation(f"not a stored explanation: {str(error)[:200]}") from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise InvalidExplanation(f"not an archive of arrays: {error}") from error


def _check_members(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    names = [member.filename for member in members]
    unknown = [name for name in names if name.removesuffix(".npy") not in _MEMBERS or not name.endswith(".npy")]
    if unknown or len(set(names)) < len(names):
        raise InvalidExplanation(f"it holds {len(names)} arrays; allowed is one of each: {', '.join(_MEMBERS)}")
    if sum(member.file_size for member in members) > MOST_BYTES:
        raise InvalidExplanation(f"unpacked it has more than {MOST_BYTES} bytes")
    for member in members:
        with archive.open(member) as file:
            # an archive may say less than it holds, and an array's header more than follows: both are bounded here
            content = file.read(MOST_BYTES + 1)
        _check_array(member.filename.removesuffix(".npy"), content)


def _check_array(name: str, content: bytes) -> None:
    stream = BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise InvalidExplanation(f"{name} is written as version {version} of .npy; 1.0 and 2.0 are read")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(stream, max_header_size=10_000)
    if dtype.hasobject or dtype.kind not in ("U" if name == "meta" else "fiub"):
        raise InvalidExplanation(f"{name} is of type {dtype}; allowed are numbers, and text for meta")
    size = math.prod(shape) * dtype.itemsize
    if size != len(content) - stream.tell():
        raise InvalidExplanation(f"{name} says it has {size} bytes, and {len(content) - stream.tell()} follow")
    if name == "meta" and size > _META_BYTES:
        raise InvalidExplanation(f"its notes take {size} bytes; at most {_META_BYTES} are read")
