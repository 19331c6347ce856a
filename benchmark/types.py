"""Array axes, string choices and registries shared by every layer."""

from collections.abc import Iterator, Mapping
from typing import Literal

from benchmark.errors import UnknownName

Side = Literal["image", "text"]
Removal = Literal["mask_pixels", "drop_tokens", "blur", "black", "impute"]
TextRemoval = Literal["attention_mask", "replace_token"]
Value = Literal["cosine", "logit"]
Better = Literal["higher", "lower", "neither"]
Status = Literal["ok", "degenerate", "unsupported", "failed"]


class Registry[T](Mapping[str, T]):
    """Names to registered things, in order of registration; an unknown name is answered with the nearest one."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def add(self, name: str, item: T) -> None:
        if name in self._items:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._items[name] = item

    def remove(self, name: str) -> None:
        del self._items[name]

    def __getitem__(self, name: str) -> T:
        try:
            return self._items[name]
        except KeyError:
            raise UnknownName(self.kind, name, self._items) from None

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)
