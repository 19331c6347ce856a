"""Messages between the harness and a submission's process: JSON and raw arrays, each bounded before it is read.

Nothing pickled crosses, and no archive is unpacked: an array is its bytes, and its shape must account for every one of them.
"""

import json
import math
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from benchmark.sandbox.limits import ProtocolError

HEADER_BYTES = 2**20
DTYPES = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
MOST_AXES = 8
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Message:
    """What it is, plain values (as JSON) and arrays by name."""

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])


def send(connection: socket.socket, message: Message) -> None:
    """Write one message; a type of array that has no place in one raises ``ProtocolError``."""
    arrays = {name: np.ascontiguousarray(array) for name, array in message.arrays.items()}
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise ProtocolError(f"the array {name} is of type {array.dtype}; use one of {', '.join(DTYPES)}")
    layout = [[name, array.dtype.name, list(array.shape)] for name, array in arrays.items()]
    header = json.dumps({"kind": message.kind, "fields": dict(message.fields), "arrays": layout}).encode()
    if len(header) > HEADER_BYTES:
        raise ProtocolError(f"a message may hold {HEADER_BYTES} bytes beside its arrays; this one has {len(header)}")
    connection.sendall(_LENGTH.pack(len(header)) + header)
    for array in arrays.values():
        connection.sendall(array.reshape(-1).view(np.uint8).data if array.size else b"")


def receive(connection: socket.socket, most_bytes: int) -> Message:
    """Read one message of at most ``most_bytes`` of arrays; ``EOFError`` when the other side is gone."""
    (length,) = _LENGTH.unpack(_read(connection, _LENGTH.size))
    if length > HEADER_BYTES:
        raise ProtocolError(f"a message announces {length} bytes of header; at most {HEADER_BYTES} are read")
    kind, fields, layout = _header(bytes(_read(connection, length)))
    total = sum(np.dtype(dtype).itemsize * math.prod(shape) for _, dtype, shape in layout)
    if total > most_bytes:
        raise ProtocolError(f"a message announces {total} bytes of arrays; at most {most_bytes} are read")
    arrays: dict[str, np.ndarray] = {}
    for name, dtype, shape in layout:
        size = np.dtype(dtype).itemsize * math.prod(shape)
        data = _read(connection, size)
        if dtype == "bool" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
            raise ProtocolError(f"the array {name} says it is boolean and is not")
        arrays[name] = np.frombuffer(data, dtype=dtype).reshape(shape)
    return Message(kind, fields, arrays)


def _header(data: bytes) -> tuple[str, dict[str, Any], list[tuple[str, str, list[int]]]]:
    """Read a header, believing nothing of it."""
    try:
        header = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a message is no JSON") from error
    if not isinstance(header, dict):
        raise ProtocolError("a message is no JSON object")
    found = cast("dict[str, Any]", header)
    kind, fields, arrays = found.get("kind"), found.get("fields"), found.get("arrays")
    if not isinstance(kind, str) or not isinstance(fields, dict) or not isinstance(arrays, list):
        raise ProtocolError("a message lacks its kind, its fields or its arrays")
    return kind, cast("dict[str, Any]", fields), [_layout(item) for item in cast("list[Any]", arrays)]


def _layout(item: Any) -> tuple[str, str, list[int]]:
    match item:
        case [str(name), str(dtype), [*shape]] if dtype in DTYPES and len(shape) <= MOST_AXES:
            if all(type(size) is int and 0 <= size < 2**40 for size in shape):
                return name, dtype, shape
        case _:
            pass
    raise ProtocolError("a message describes an array that cannot be")


def _read(connection: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    view, done = memoryview(data), 0
    while done < length:
        n = connection.recv_into(view[done:], min(length - done, 2**20))
        if not n:
            raise EOFError("the other side is gone")
        done += n
    return data
