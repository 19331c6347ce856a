"""What an explainer is: a class with a name, a version, declared parameters, and one method."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from benchmark.errors import InvalidInput
from benchmark.explanations import Explanation
from benchmark.types import Registry

if TYPE_CHECKING:
    from benchmark.data.base import Sample
    from benchmark.encoders.base import DualEncoder, Pair

Yields = Literal["image", "text", "cross", "surrogate"]


@dataclass(frozen=True, kw_only=True)
class Explainer(ABC):
    """``(encoder, pair, rng) -> Explanation``; parameters are the fields of the (frozen) subclass.

    A subclass states its name and version in its class statement and is registered by it. A changed result bumps the
    version. Explainers see an encoder and a pair, never a region or the store. ``replicates`` is the number of seeds that a
    run takes for each seed asked for; tables show their mean. ``shares_passes`` says that ``explain_pairs`` is faster than
    ``explain`` for each, as far as the pairs fit into memory.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    yields: ClassVar[tuple[Yields, ...]]
    deterministic: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = ""
    bibtex: ClassVar[str] = ""
    published: ClassVar[Mapping[str, str]] = {}
    differs: ClassVar[str] = ""
    baseline: ClassVar[bool] = False
    reads_truth: ClassVar[bool] = False
    replicates: ClassVar[int] = 1
    shares_passes: ClassVar[bool] = False

    def __init_subclass__(cls, *, name: str | None = None, version: int = 1, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name is not None:
            cls.name, cls.version = name, version
            EXPLAINERS.add(name, cls)

    @classmethod
    def configure(cls, parameters: Mapping[str, Any]) -> Self:
        """Build the explainer from named parameters; unknown names and impossible values raise ``InvalidInput``."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(parameters) - known)
        if unknown:
            raise InvalidInput(f"{cls.name} has no parameter {unknown[0]!r}; it takes: {', '.join(sorted(known)) or 'none'}")
        try:
            return cls(**parameters)
        except TypeError as error:
            given = ", ".join(f"{name}={value!r}" for name, value in parameters.items())
            raise InvalidInput(f"{cls.name} cannot take {given}: {error}") from error

    @property
    def parameters(self) -> dict[str, Any]:
        """Return every parameter with its value; part of the content key of a result."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def unsupported(self, encoder: "DualEncoder") -> str | None:
        """Return one sentence saying why ``encoder`` cannot be served, or ``None``."""
        del encoder
        return None

    def adapted(self, encoder: "DualEncoder") -> str | None:
        """Return what stands in for a part that the paper reads and ``encoder`` lacks, or ``None`` where nothing does."""
        del encoder
        return None

    @abstractmethod
    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        """Explain one pair."""

    def explain_pairs(
        self, encoder: "DualEncoder", pairs: Sequence["Pair"], rngs: Sequence[np.random.Generator]
    ) -> list[Explanation]:
        """Explain several pairs, each with its own generator; the results are those of ``explain`` (up to rounding)."""
        return [self.explain(encoder, pair, rng) for pair, rng in zip(pairs, rngs, strict=True)]


class TruthReader(Explainer):
    """A control that is shown the truth of a sample; only tasks that say so run it."""

    reads_truth: ClassVar[bool] = True

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        raise InvalidInput(f"{self.name} reads the true regions of a sample; it runs only inside tasks that have them")

    @abstractmethod
    def explain_sample(self, encoder: "DualEncoder", pair: "Pair", sample: "Sample") -> Explanation:
        """Explain one pair, given its truth."""


EXPLAINERS: Registry[type[Explainer]] = Registry("method")
