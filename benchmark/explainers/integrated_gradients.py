"""Integrated gradients of the cosine along a straight line from a baseline, over pixels and over token embeddings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from benchmark.encoders.tower import State
from benchmark.errors import InvalidInput
from benchmark.explainers.base import Explainer
from benchmark.explanations import Explanation, Players

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair

type TextBaseline = Literal["neutral", "padding", "zeros"]

BATCH = 10
"""Points of a line that are run at once; the scores do not depend on it."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A straight line between two inputs of one tower, a batch of one each; ``embed`` gives unit embeddings."""

    baseline: Float[Tensor, "1 *axes"]
    end: Float[Tensor, "1 *axes"]
    embed: Callable[[Tensor], Tensor]

    def at(self, fractions: Float[Tensor, " point"]) -> Float[Tensor, "point *axes"]:
        """Return the inputs this far along the line: the baseline at 0, the input itself at 1."""
        share = fractions.to(self.end.dtype).view(-1, *[1] * (self.end.ndim - 1))
        return self.baseline + share * (self.end - self.baseline)


@dataclass(frozen=True, kw_only=True)
class IntegratedGradients(Explainer, name="integrated_gradients", version=1):
    """The cosine's gradient, averaged over ``steps`` midpoints of the line from a baseline, times the distance travelled.

    The derivative goes through the normalisation of the embeddings. A patch's score is the sum over its pixels and
    channels (baseline: the normalised zero), a token's the sum over its embedding before positions; special tokens and
    padding keep their own embedding. ``text_baseline`` is what content tokens start from: the vocabulary's mask word, or
    zeros where it has none (``"neutral"``), the padding embedding, or zeros.

    Each side is interpolated with the other fixed, so each sums to its own difference in cosine. ``joint=True`` moves
    both along one line: one scale, and a surrogate whose empty value is the cosine at the two baselines. ``notes`` report
    by how much the sums miss those differences.
    """

    yields = ("image", "text")
    needs = ("gradients", "a text tower that takes token embeddings")
    paper = "Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks, arXiv 1703.01365"
    bibtex = """@inproceedings{sundararajan2017axiomatic,
  title={Axiomatic Attribution for Deep Networks},
  author={Sundararajan, Mukund and Taly, Ankur and Yan, Qiqi},
  booktitle={International Conference on Machine Learning},
  year={2017}
}"""
    published: ClassVar[Mapping[str, str]] = {
        "steps": "20 to 300 in the paper; 50 in Captum",
        "text_baseline": "zero embeddings in the paper's text models; Captum's tutorials take the padding token",
        "joint": "extension; the paper has one input",
    }
    differs = "a right Riemann sum in the paper, Gauss-Legendre points in Captum, midpoints here"

    steps: int = 50
    joint: bool = False
    text_baseline: TextBaseline = "neutral"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InvalidInput(f"integrated_gradients: steps is at least 1; got {self.steps}")
        if self.text_baseline not in ("neutral", "padding", "zeros"):
            raise InvalidInput(f"integrated_gradients: text_baseline is neutral, padding or zeros; got {self.text_baseline!r}")

    def unsupported(self, encoder: "DualEncoder") -> str | None:
        if not encoder.has_tower("text"):
            return f"integrated gradients interpolate token embeddings; the text tower of {encoder.name} does not take them"
        return None

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        del rng
        image, text = image_line(encoder, pair), text_line(encoder, pair, self.text_baseline)
        points = (torch.arange(self.steps, device=encoder.device) + 0.5) / self.steps
        with torch.no_grad():
            (v, v0), (t, t0) = (line.embed(torch.cat([line.end, line.baseline])).double() for line in (image, text))
        cosine = float(v @ t)
        if self.joint:
            pixels, embeddings = integrate((image, text), None, points)
            empty = float(v0 @ t0)
            main = np.concatenate([patch_sums(pixels, encoder.patch_grid).ravel(), token_sums(embeddings, pair)])
            notes = {"gap": float(main.sum()) - (cosine - empty)}
            players = Players(main, empty=empty)
            return Explanation.from_players(players, encoder.patch_grid, index="IG", similarity=cosine, notes=notes)
        (pixels,), (embeddings,) = integrate((image,), t, points), integrate((text,), v, points)
        patches, tokens = patch_sums(pixels, encoder.patch_grid), token_sums(embeddings, pair)
        notes = {
            "image_gap": float(patches.sum()) - (cosine - float(v0 @ t)),
            "text_gap": float(tokens.sum()) - (cosine - float(v @ t0)),
        }
        return Explanation(image=patches, text=tokens, similarity=cosine, notes=notes)


def image_line(encoder: "DualEncoder", pair: "Pair") -> Line:
    """Return the line from the normalised zero to the image."""
    pixel_values = pair.pixel_values.detach()
    return Line(baseline=torch.zeros_like(pixel_values), end=pixel_values, embed=encoder.embed_images)


def text_line(encoder: "DualEncoder", pair: "Pair", baseline: TextBaseline) -> Line:
    """Return the line to the text's token embeddings on which content tokens alone move."""
    ids = encoder.trim(pair.input_ids)
    tower, content = encoder.text, list(pair.token_positions)
    with torch.no_grad():
        state, tokens = encoder.text_state(ids), encoder.text_tokens(ids)
        start = tokens.clone()
        neutral = encoder.mask_token_id if baseline == "neutral" else padding_id(encoder) if baseline == "padding" else None
        start[:, content] = 0.0 if neutral is None else encoder.text_tokens(torch.tensor([[neutral]], device=encoder.device))

    def embed(batch: Tensor) -> Tensor:
        return F.normalize(tower.encode(repeat(state, tower.embed(batch, None))), dim=-1)

    return Line(baseline=start, end=tokens, embed=embed)


def integrate(lines: Sequence[Line], fixed: Tensor | None, fractions: Float[Tensor, " point"]) -> list[Float[Tensor, "..."]]:
    """Return for each line the distance travelled times the mean gradient of the cosine over these points, in double precision.

    Two lines move together; one is compared with the ``fixed`` embedding of the other side.
    """
    totals = [torch.zeros_like(line.end[0], dtype=torch.float64) for line in lines]
    for part in fractions.split(BATCH):
        with torch.enable_grad():
            leaves = [line.at(part).detach().requires_grad_() for line in lines]
            embeddings = [line.embed(leaf) for line, leaf in zip(lines, leaves, strict=True)]
            if fixed is not None:
                embeddings.append(fixed.to(embeddings[0].dtype).expand_as(embeddings[0]))
            gradients = torch.autograd.grad((embeddings[0] * embeddings[1]).sum(), leaves)
        for total, gradient in zip(totals, gradients, strict=True):
            total += gradient.double().sum(dim=0)
    return [total / len(fractions) * (line.end - line.baseline)[0] for line, total in zip(lines, totals, strict=True)]


def patch_sums(pixels: Float[Tensor, "3 height width"], grid: tuple[int, int]) -> Float[np.ndarray, "row column"]:
    """Sum over the pixels and channels of each patch; pixels beyond the last whole patch are seen by none."""
    (height, width), (rows, columns) = pixels.shape[1:], grid
    tall, wide = height // rows, width // columns
    whole = pixels[:, : rows * tall, : columns * wide].sum(dim=0)
    return whole.view(rows, tall, columns, wide).sum(dim=(1, 3)).cpu().numpy()


def token_sums(embeddings: Float[Tensor, "position dim"], pair: "Pair") -> Float[np.ndarray, " token"]:
    """Sum over the embedding of each content token."""
    return embeddings.sum(dim=1)[list(pair.token_positions)].cpu().numpy()


def repeat(state: State, hidden: Float[Tensor, "batch position dim"]) -> State:
    """Return a batch of hidden states that share the masks and the reading position of one input."""
    keep = state.keep.expand(len(hidden), -1) if state.keep is not None else None
    read = state.read.expand(len(hidden)) if state.read is not None else None
    return replace(state, hidden=hidden, keep=keep, read=read)


def padding_id(encoder: "DualEncoder") -> int:
    """Return the id that fills a text up to the context: the last one of the encoder's short probe."""
    return int(encoder.probe_ids()[0, -1])
