"""A run in parts that know nothing of each other, for batch systems; ``benchmark merge`` makes one store of their stores."""

import re
from dataclasses import dataclass

from benchmark.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Shard:
    """Part ``index`` (from 1) of ``count``. A sample belongs to one part, whatever is run on it and on how many others."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise InvalidInput(f"there is no shard {self.index}/{self.count}; i goes from 1 to n")

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``i/n``.

        >>> Shard.parse("3/8")
        Shard(index=3, count=8)
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if found is None:
            raise InvalidInput(f"{text!r} names no shard; write i/n with i from 1 to n, such as 3/8")
        return cls(int(found[1]), int(found[2]))

    def holds(self, key: str) -> bool:
        """Whether the sample with this content key belongs here; keys are hashes, so parts are of about the same size."""
        return int(key, 16) % self.count == self.index - 1
