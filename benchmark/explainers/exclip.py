"""exCLIP: second-order attributions of a pair's similarity to every token-patch pair, from integrated Jacobians.

The matrix is ``dx^T J_text^T J_image dz``, where each Jacobian of an unnormalised embedding is averaged over the line from
a reference. Jacobians only ever meet the distances travelled, so neither is formed: the text side takes one directional
derivative for each position, the image side the same or one pull-back for each text position, whichever is fewer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import jvp
from torch.nn import functional as F

from benchmark.encoders.tower import State, Tower
from benchmark.errors import InvalidInput, UnsupportedEncoder
from benchmark.explainers.base import Explainer
from benchmark.explainers.integrated_gradients import padding_id, repeat
from benchmark.explanations import Explanation
from benchmark.types import Side

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair

BATCH = 10
"""Points of a line that are run at once; the scores do not depend on it."""

MEMORY_PER_CHUNK = 256e6
"""Bytes of one activation that the directional derivatives of several positions may take together."""


@dataclass(frozen=True, kw_only=True)
class ExClip(Explainer, name="exclip", version=1):
    """Scores of every token with every patch, signed, in cosine similarity; image and text scores are their sums.

    The inputs of blocks ``text_layer`` and ``image_layer`` (from 0; -1 is the last block) are interpolated in ``steps``
    points from a reference: the image of normalised zeros, and BOS, one padding token, EOS. In a text tower that does not
    read such an EOS, special tokens stay where they are and padding replaces the rest. ``rule="right"`` takes the
    published points 1, 1 - 1/N, ..., 1/N; ``"midpoint"`` is far more exact at the same cost.

    All positions of both sides together sum to a difference of four similarities, up to the error of the rule:
    ``<f - f', g - g'> / (|f| |g|)`` with unnormalised embeddings, the reference text read where the input is. ``notes``
    hold that ``difference``, the ``gap`` of the sum, the ``remainder`` that falls on no token-patch pair (class token,
    special tokens, padding), and ``terms``: the four cosines, each text read at its own end.
    """

    yields = ("image", "text", "cross")
    needs = ("forward-mode gradients", "blocks of both towers")
    paper = (
        "Möller et al. 2024, Explaining Caption-Image Interactions in CLIP Models with Second-Order Attributions, "
        "arXiv 2408.14153"
    )
    bibtex = """@article{moeller2024exclip,
  title={Explaining Caption-Image Interactions in {CLIP} Models with Second-Order Attributions},
  author={M{\\"o}ller, Lucas and Tilli, Pascal and Vu, Ngoc Thang and Pad{\\'o}, Sebastian},
  journal={arXiv preprint arXiv:2408.14153},
  year={2024}
}"""
    published: ClassVar[Mapping[str, str]] = {
        "text_layer": "11, the last of 12 blocks",
        "image_layer": "11, the last of 12 blocks",
        "steps": "10 in the package; 100 in its older wrapper, 20 in FIxLIP's comparison",
        "rule": "right; midpoint is an extension",
        "reference": "an image of zeros after normalisation; BOS, one padding token (id 0), EOS",
    }
    differs = (
        "directional derivatives and pull-backs instead of a backward pass for each embedding dimension (the same numbers); "
        "always the given number of points, where the package's float range has one too many for some; the class-token "
        "column, BOS and EOS rows are reported in the notes instead of being dropped; other references outside CLIP's texts "
        "are extensions"
    )

    text_layer: int = -1
    image_layer: int = -1
    steps: int = 10
    rule: Literal["right", "midpoint"] = "right"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InvalidInput(f"exclip: steps is at least 1; got {self.steps}")
        if self.rule not in ("right", "midpoint"):
            raise InvalidInput(f"exclip: rule is 'right' or 'midpoint'; got {self.rule!r}")

    def unsupported(self, encoder: "DualEncoder") -> str | None:
        layers: dict[Side, int] = {"image": self.image_layer, "text": self.text_layer}
        for side, layer in layers.items():
            if not encoder.has_tower(side):
                return f"exCLIP interpolates the input of a block; the {side} tower of {encoder.name} is no plain transformer"
            depth = encoder.image.depth if side == "image" else encoder.text.depth
            if not -depth <= layer < depth:
                return f"exCLIP was asked to start at {side} block {layer}; this tower has blocks 0 to {depth - 1}"
        return None

    def adapted(self, encoder: "DualEncoder") -> str | None:
        if encoder.text.causal:
            return None
        reference = "the reference text has padding for content, keeps special tokens and is masked like the input"
        if encoder.image.pooling == "attention":
            return f"{reference}; the interpolated rest of the image tower ends in its attention pool"
        return reference

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        del rng
        found = self.attribute(encoder, pair)
        prefix, content = encoder.image.prefix, list(pair.token_positions)
        patches = found.matrix[:, prefix:]
        cross = patches[content].T.reshape(*encoder.patch_grid, -1)
        ids, rows = pair.input_ids[0], patches.sum(axis=1)
        remainder = {"class_token": found.matrix[:, :prefix].sum(), "begin": 0.0, "end": 0.0, "padding": 0.0}
        padding = None if encoder.text.causal else padding_id(encoder)
        for position in sorted(set(range(len(rows))) - set(content)):
            kind = "begin" if position < content[0] else "padding" if int(ids[position]) == padding else "end"
            remainder[kind] += rows[position]
        return Explanation(
            image=cross.sum(axis=2),
            text=cross.sum(axis=(0, 1)),
            cross=cross,
            similarity=found.terms["pair"],
            notes={
                "difference": found.difference,
                "gap": float(found.matrix.sum()) - found.difference,
                "remainder": {kind: float(value) for kind, value in remainder.items()},
                "terms": found.terms,
            },
        )

    @torch.no_grad()
    def attribute(self, encoder: "DualEncoder", pair: "Pair") -> "Attribution":
        """Return scores for all positions: text from its first to the last that matters, image with its class token."""
        if (reason := self.unsupported(encoder)) is not None:
            raise UnsupportedEncoder(reason)
        ids = encoder.trim(pair.input_ids)
        image, own_image = _path(
            encoder.image,
            self.image_layer,
            encoder.image_state(pair.pixel_values),
            encoder.image_state(torch.zeros_like(pair.pixel_values)),
        )
        state = encoder.text_state(ids)
        reference = replace(encoder.text_state(reference_ids(encoder, ids, pair.token_positions)), keep=state.keep)
        text, own_text = _path(encoder.text, self.text_layer, state, reference)
        points = self._points(encoder.device)
        responses = text.responses(points)
        matrix = image.responses(points, responses.T)
        (f_end, f), (g_end, g) = text.ends.double(), image.ends.double()
        norms = f.norm() * g.norm()
        named = {
            "pair": (f, g),
            "reference_image": (f, own_image.double()),
            "reference_text": (own_text.double(), g),
            "references": (own_text.double(), own_image.double()),
        }
        return Attribution(
            matrix=(matrix.double() / norms).cpu().numpy(),
            difference=float((f - f_end) @ (g - g_end) / norms),
            terms={name: float(F.cosine_similarity(one, other, dim=0)) for name, (one, other) in named.items()},
        )

    def _points(self, device: torch.device) -> Float[Tensor, " point"]:
        """Return the fractions of the line, built from integers: a float range may hold one point too many."""
        counted = torch.arange(self.steps, 0, -1, device=device)
        return (counted - (0.5 if self.rule == "midpoint" else 0.0)) / self.steps


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """Scores of all position pairs, the difference they sum to, and the cosines of the pair and its references."""

    matrix: Float[np.ndarray, "text_position image_position"]
    difference: float
    terms: dict[str, float]


def reference_ids(
    encoder: "DualEncoder", input_ids: Int[Tensor, "1 position"], content: tuple[int, ...]
) -> Int[Tensor, "1 position"]:
    """Return the reference text: as published for a text that ends in the token that is read, else padding for content."""
    read = encoder.read_positions(input_ids)
    if encoder.text.causal and read is not None and content[0] == 1 and int(read[0]) == content[-1] + 1:
        reference = torch.zeros_like(input_ids)
        reference[0, 0], reference[0, 2] = input_ids[0, 0], input_ids[0, int(read[0])]
        return reference
    reference = input_ids.clone()
    reference[0, list(content)] = padding_id(encoder)
    return reference


@dataclass(frozen=True, kw_only=True)
class Path:
    """The line between two inputs of one block, and the rest of the tower: masks and reading position are the input's.

    ``ends`` are the unnormalised embeddings at the reference and at the input.
    """

    tower: Tower
    start: int
    state: State
    reference: Float[Tensor, "1 position dim"]
    ends: Float[Tensor, "2 embedding"]

    @property
    def delta(self) -> Float[Tensor, "1 position dim"]:
        return self.state.hidden - self.reference

    def responses(
        self, fractions: Float[Tensor, " point"], against: Float[Tensor, "row embedding"] | None = None
    ) -> Float[Tensor, "row position"]:
        """Return how the embedding responds to each position's part of the way, averaged over the points of the line.

        A row is the response along one direction of ``against``, by default along each embedding dimension.
        """
        rows = len(against) if against is not None else self.ends.shape[1]
        directly, forward = self._one_token_read, self.state.hidden.shape[1] <= rows
        total: Tensor | None = None
        for part in fractions.split(BATCH):
            points = self.reference + part[:, None, None].to(self.delta.dtype) * self.delta
            if directly or forward:
                found = self.through_one_block(points) if directly else self.forward_mode(points)
                found = found if against is None else against @ found
            else:
                identity = torch.eye(rows, device=points.device, dtype=points.dtype)
                found = self.reverse_mode(points, identity if against is None else against)
            total = found if total is None else total + found
        assert total is not None  # steps is at least 1
        return total / len(fractions)

    def tail(self, hidden: Float[Tensor, "batch position dim"]) -> Float[Tensor, "batch embedding"]:
        """Run the rest of the tower with explicit attention: fused kernels have no forward-mode derivative."""
        state = repeat(self.state, hidden)
        for layer in range(self.start, self.tower.depth):
            state = state.at(self.tower.step(state, layer).output)
        return self.tower.finish(state)

    def forward_mode(self, points: Float[Tensor, "point position dim"]) -> Float[Tensor, "embedding position"]:
        """Return directional derivatives, one for each position, summed over the points."""
        n, length, width = points.shape

        def derivative(moved: Float[Tensor, " position"]) -> Float[Tensor, " embedding"]:
            tangent = (moved[:, None] * self.delta).expand_as(points)
            return jvp(self.tail, (points,), (tangent,))[1].sum(dim=0)

        chunk = max(1, int(MEMORY_PER_CHUNK / (16 * n * length * width)))  # the MLP is four times as wide, of four bytes each
        self._count(n * length * (self.tower.depth - self.start))
        positions = torch.eye(length, device=points.device, dtype=points.dtype)
        return torch.vmap(derivative, chunk_size=chunk, out_dims=1)(positions)

    def reverse_mode(
        self, points: Float[Tensor, "point position dim"], against: Float[Tensor, "row embedding"]
    ) -> Float[Tensor, "row position"]:
        """Return each direction pulled back to the points and met with the way, summed over the points."""
        with torch.enable_grad():
            leaf = points.detach().requires_grad_()
            embedding = self.tail(leaf).sum(dim=0)
        pulled = [torch.autograd.grad(embedding, leaf, direction, retain_graph=True)[0] for direction in against]
        return torch.stack([(gradient * self.delta).sum(dim=(0, 2)) for gradient in pulled])

    @property
    def _one_token_read(self) -> bool:
        """Whether one block is left, of which the pooling reads a single token."""
        pooled = self.tower.pooling in ("class_token", "text_token")
        return pooled and self.start == self.tower.depth - 1 and not self.tower.traces

    def through_one_block(self, points: Float[Tensor, "point position dim"]) -> Float[Tensor, "embedding position"]:
        """Return what ``forward_mode`` does, for one block of which one token is read.

        Positions meet in the attention alone: a position moves its own key and value, and the softmax's derivative gives
        what that does to the mix. From there on only the read token is left.
        """
        block, read = self.tower.blocks[-1], self._read
        moved = self.delta.expand_as(points)

        def keys_and_values(hidden: Tensor) -> tuple[Tensor, Tensor]:
            ready = block.before(hidden)
            return block.key(ready), block.value(ready)

        def behind(hidden: Tensor, mixed: Tensor) -> Tensor:
            return self.tower.project(self.tower.norm(block.join(hidden, block.out(mixed))[:, 0]))

        pooled, moved_pooled = points[:, read : read + 1], moved[:, read : read + 1]
        keys_values = jvp(keys_and_values, (points,), (moved,))
        queries = jvp(lambda hidden: block.query(block.before(hidden)), (pooled,), (moved_pooled,))
        key, value, d_key, d_value = (part.unflatten(2, (block.heads, -1)) for part in (*keys_values[0], *keys_values[1]))
        query, d_query = (part[:, 0].unflatten(1, (block.heads, -1)) for part in queries[:2])
        scale = query.shape[-1] ** -0.5
        scores = torch.einsum("nhd,nphd->nhp", query * scale, key).masked_fill(~self._readable, float("-inf"))
        weights = scores.softmax(dim=-1)
        mixed = torch.einsum("nhp,nphd->nhd", weights, value)
        away = value - mixed[:, None]
        d_scores = torch.einsum("nhd,nphd->nph", query * scale, d_key)
        d_mixed = weights.transpose(1, 2)[..., None] * (d_value + d_scores[..., None] * away)
        asked = torch.einsum("nhd,nphd->nhp", d_query * scale, key)
        d_mixed[:, read] += torch.einsum("nhp,nphd->nhd", weights * asked, away)
        d_hidden = torch.zeros_like(moved)
        d_hidden[:, read] = moved_pooled[:, 0]
        self._count(2 * len(points))  # keys, values and all tangents through the MLP: a block forward and its derivative

        def derivative(d_hidden: Tensor, d_mixed: Tensor) -> Tensor:
            primals, tangents = (pooled, mixed.flatten(1)[:, None]), (d_hidden[:, None], d_mixed.flatten(1)[:, None])
            return jvp(behind, primals, tangents)[1].sum(dim=0)

        return torch.vmap(derivative, in_dims=1, out_dims=1)(d_hidden, d_mixed)

    @property
    def _read(self) -> int:
        return int(self.state.read[0]) if self.tower.pooling == "text_token" and self.state.read is not None else 0

    @property
    def _readable(self) -> Tensor:
        """Which positions the read token attends to."""
        length = self.state.hidden.shape[1]
        keep = (
            self.state.keep[0]
            if self.state.keep is not None
            else torch.ones(length, dtype=torch.bool, device=self.delta.device)
        )
        return keep & (torch.arange(length, device=keep.device) <= self._read) if self.tower.causal else keep

    def _count(self, block_passes: float) -> None:
        """Count what the tower cannot see: passes of tangents through a block, as forward passes of it."""
        self.tower.costs.add(self.tower.side, block_passes / self.tower.depth, self.ends)


def _path(tower: Tower, layer: int, state: State, reference: State) -> tuple[Path, Float[Tensor, " embedding"]]:
    """Return the line between two inputs at a block, and the reference's own embedding, read at its own position."""
    start = layer % tower.depth
    before, origin = tower.run(state, stop=start), tower.run(reference, stop=start)
    ends = tower.finish(tower.run(repeat(before, torch.cat([origin.hidden, before.hidden])), start))
    own = tower.finish(tower.run(origin, start))[0]
    return Path(tower=tower, start=start, state=before, reference=origin.hidden, ends=ends), own
