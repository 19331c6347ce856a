"""Grad-ECLIP: values weighted by the gradient at the attention output, gated by how well keys match the query."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from benchmark.encoders.tower import Layer, Pooling, Step
from benchmark.errors import InvalidInput
from benchmark.explainers.passes import Batch, PassExplainer
from benchmark.explainers.reading import POOLED_BY, array, leaf, read_positions, unreadable
from benchmark.explanations import Explanation

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder


@dataclass(frozen=True, kw_only=True)
class GradEclip(PassExplainer, name="grad_eclip", version=1):
    """Non-negative maps of the last image block and of the last ``text_blocks`` text blocks, on two unrelated scales.

    ``heads="one"`` runs those blocks with a single attention head, as the released code does: the pass that is explained
    is then not the encoder's own, and ``similarity`` is its cosine (``notes["text_similarity"]`` that of the text's pass).
    ``heads="model"`` alters nothing. ``key_similarity=False`` leaves out the gate. Values are raw: neither min-max scaled
    nor divided by their sum. A gate whose keys all match alike is zero everywhere.

    ``variant="map"`` is our extension to towers that pool by attention (SigLIP): their pooling head stands for the last
    block of the image. It has the model's heads only.
    """

    yields = ("image", "text")
    needs = ("gradients", "an image class token (or variant='map' with attention pooling)", "a text token that is read")
    paper = "Zhao et al., Gradient-based Visual and Textual Explanations for CLIP, arXiv 2502.18816 (first version ICML 2024)"
    bibtex = """@inproceedings{zhao2024gradeclip,
  title={Gradient-based Visual Explanation for Transformer-based {CLIP}},
  author={Zhao, Chenyang and Wang, Kun and Zeng, Xingyu and Zhao, Rui and Chan, Antoni B.},
  booktitle={International Conference on Machine Learning},
  year={2024}
}"""
    published: ClassVar[Mapping[str, str]] = {
        "heads": "one, in the released code",
        "key_similarity": "True; False is the released option withksim=False",
        "text_blocks": "8, in the released code (at most the tower's depth here)",
        "variant": "class_token; map is an extension for attention pooling",
    }
    differs = (
        "the paper writes attention without heads, the code recomputes the blocks with one head; the gate uses "
        "out-projected queries and keys as in the released script, the notebooks use raw ones; the script divides the text "
        "scores by their sum, here they stay raw"
    )

    heads: Literal["one", "model"] = "one"
    key_similarity: bool = True
    text_blocks: int = 8
    variant: Literal["class_token", "map"] = "class_token"

    def __post_init__(self) -> None:
        if self.heads not in ("one", "model"):
            raise InvalidInput(f"grad_eclip: heads is 'one' or 'model'; got {self.heads!r}")
        if self.variant not in ("class_token", "map"):
            raise InvalidInput(f"grad_eclip: variant is 'class_token' or 'map'; got {self.variant!r}")
        if self.variant == "map" and self.heads == "one":
            raise InvalidInput("grad_eclip: variant='map' is defined with the model's own heads; pass heads='model' too")
        if self.text_blocks < 1:
            raise InvalidInput(f"grad_eclip: text_blocks is at least 1; got {self.text_blocks}")

    def unsupported(self, encoder: "DualEncoder") -> str | None:
        if reason := unreadable(encoder, "Grad-ECLIP", "image", "text"):
            return reason
        wanted: Pooling = "attention" if self.variant == "map" else "class_token"
        if encoder.image.pooling != wanted:
            found = POOLED_BY[encoder.image.pooling]
            read = "an attention pool with variant='map'" if self.variant == "map" else "a class token"
            return f"Grad-ECLIP reads {read}; this tower pools by {found}"
        if encoder.text.pooling not in ("text_token", "class_token"):
            return f"Grad-ECLIP reads one text token; this tower pools by {POOLED_BY[encoder.text.pooling]}"
        return None

    def adapted(self, encoder: "DualEncoder") -> str | None:
        stand_ins: list[str] = []
        if encoder.image.pooling == "attention":
            stand_ins.append("the attention pool stands for the last image block")
        if not encoder.text.causal:
            stand_ins.append("text is read where this tower reads it, without a causal mask, not at the end of text")
        return "; ".join(stand_ins) or None

    def explain_batch(self, encoder: "DualEncoder", batch: Batch) -> list[Explanation]:
        with torch.no_grad():
            image, text = encoder.embed_images(batch.pixel_values), encoder.embed_texts(batch.input_ids)
        maps, image_cosine = self.image_maps(encoder, batch.pixel_values, text)
        tokens, text_cosine = self.text_scores(encoder, batch.input_ids, image)
        found = zip(array(maps), batch.content(tokens), image_cosine.tolist(), text_cosine.tolist(), strict=True)
        return [
            Explanation(image=scores, text=words, similarity=own, notes={"text_similarity": of_text})
            for scores, words, own, of_text in found
        ]

    def image_maps(
        self, encoder: "DualEncoder", pixel_values: Float[Tensor, "pair 3 height width"], texts: Float[Tensor, "pair dim"]
    ) -> tuple[Float[Tensor, "pair row column"], Float[Tensor, " pair"]]:
        """Return one map for each image with its (unit) text embedding, and the cosines of the altered pass."""
        tower = encoder.image
        pool = tower.attention_pool if self.variant == "map" else None
        with torch.no_grad():
            before = tower.run(encoder.image_state(pixel_values), stop=tower.depth if pool else tower.depth - 1)
        with torch.enable_grad():
            state = leaf(before)
            if pool is not None:
                step = tower.pool_step(state)
                embedding = tower.project(step.output[:, 0])
            else:
                step = tower.step(state, tower.depth - 1, self._n_heads)
                embedding = tower.finish(before.at(step.output))
            cosine = (F.normalize(embedding, dim=-1) * texts).sum(dim=-1)
            (weight,) = torch.autograd.grad(cosine.sum(), [step.heads])
        out = pool.out if pool is not None else tower.blocks[-1].out
        positions = torch.arange(step.key.shape[1], device=encoder.device)
        with torch.no_grad():
            read = torch.zeros(len(pixel_values), dtype=torch.long, device=encoder.device)
            scores = self._relevance(step, weight, read, out, among=positions >= tower.prefix)
        maps = scores[:, tower.prefix :].relu().unflatten(1, encoder.patch_grid)
        return maps, cosine.detach()

    def text_scores(
        self, encoder: "DualEncoder", input_ids: Int[Tensor, "pair position"], images: Float[Tensor, "pair dim"]
    ) -> tuple[Float[Tensor, "pair position"], Float[Tensor, " pair"]]:
        """Return a score for every position, special tokens and padding included, and the cosines of the altered pass.

        The gate is scaled over the whole context, so ``input_ids`` are those of the pair, never trimmed.
        """
        tower = encoder.text
        first = max(tower.depth - self.text_blocks, 0)
        with torch.no_grad():
            before = tower.run(encoder.text_state(input_ids), stop=first)
        with torch.enable_grad():
            state, steps = leaf(before), list[Step]()
            for layer in range(first, tower.depth):
                steps.append(tower.step(state, layer, self._n_heads))
                state = state.at(steps[-1].output)
            cosine = (F.normalize(tower.finish(state), dim=-1) * images).sum(dim=-1)
            weights = torch.autograd.grad(cosine.sum(), [step.heads for step in steps])
        with torch.no_grad():
            read = read_positions(tower, state)
            everywhere = torch.ones(input_ids.shape[1], dtype=torch.bool, device=encoder.device)
            total = torch.zeros(input_ids.shape, dtype=weights[0].dtype, device=encoder.device)
            for step, weight, block in zip(steps, weights, tower.blocks[first:], strict=True):
                total += self._relevance(step, weight, read, block.out, among=everywhere)
        return total.relu(), cosine.detach()

    @property
    def _n_heads(self) -> int | None:
        return 1 if self.heads == "one" else None

    def _relevance(
        self, step: Step, weight: Tensor, read: Int[Tensor, " pair"], out: Layer, *, among: Bool[Tensor, " position"]
    ) -> Float[Tensor, "pair position"]:
        """Return ``gate * <weight, value>`` for every position; the gate is scaled to 0 to 1 over the positions ``among``."""
        rows = torch.arange(len(read), device=read.device)
        relevance = torch.einsum("bd,bpd->bp", weight[rows, read], step.value)
        if not self.key_similarity:
            return relevance
        query, key = out(step.query[rows, read]), out(step.key)
        match = F.cosine_similarity(query[:, None], key, dim=-1)
        low, high = match[:, among].amin(dim=1, keepdim=True), match[:, among].amax(dim=1, keepdim=True)
        spread = high - low
        gate = torch.where(spread > 0, (match - low) / spread.clamp_min(torch.finfo(match.dtype).tiny), 0.0)
        return gate * relevance
