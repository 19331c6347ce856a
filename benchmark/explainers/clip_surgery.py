"""CLIP Surgery: a second path of value-value attention, then features stripped of what all texts have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from benchmark.errors import InvalidInput
from benchmark.explainers.integrated_gradients import padding_id
from benchmark.explainers.passes import Batch, PassExplainer
from benchmark.explainers.reading import POOLED_BY, patches, unreadable
from benchmark.explanations import Explanation

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder

SCENE_TEMPLATES = (
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)


@dataclass(frozen=True, kw_only=True)
class ClipSurgery(PassExplainer, name="clip_surgery", version=1):
    """Signed map of how much more each patch resembles the text than it resembles other texts, or the empty one.

    ``texts`` are the other texts of the multi-text form; without any, the empty text is subtracted. ``blocks`` counts the
    last blocks that get the second path. ``norm="channel"`` makes every image token a unit vector; ``"token"`` divides
    every channel by its norm over tokens, as the authors' demo does. ``templates="imagenet"`` averages each text over 85
    prompts, for class names; a caption needs none.

    ``variant="map"`` is our extension to attention pooling (SigLIP), not CLIP Surgery: dense embeddings are what the pool
    would return had it read one token alone, and the pooled embedding stands for the class token.
    """

    yields = ("image",)
    needs = ("values of the last blocks", "an image class token (or variant='map' with attention pooling)")
    paper = "Li et al., CLIP Surgery for Better Explainability, Pattern Recognition 2025, arXiv 2304.05653"
    bibtex = """@article{li2025clipsurgery,
  title={A Closer Look at the Explainability of Contrastive Language-Image Pre-training},
  author={Li, Yi and Wang, Hualiang and Duan, Yiqun and Zhang, Jiheng and Li, Xiaomeng},
  journal={Pattern Recognition},
  year={2025}
}"""
    published: ClassVar[Mapping[str, str]] = {
        "blocks": "6, counted from the end for every depth, in the released code",
        "norm": "channel, as repaired in the official repository in 2025; token in the demo before that",
        "texts": "59 PASCAL-Context names as redundant texts for class names; a single text subtracts the empty one",
        "templates": "85 prompts in the demo; none here, since texts are captions and phrases",
    }
    differs = "the demo squashes the image to a square; the suite uses the encoder's own preprocessing for all methods"

    texts: tuple[str, ...] = ()
    blocks: int = 6
    norm: Literal["channel", "token"] = "channel"
    templates: Literal["none", "imagenet"] = "none"
    variant: Literal["class_token", "map"] = "class_token"

    def __post_init__(self) -> None:
        if self.norm not in ("channel", "token"):
            raise InvalidInput(f"clip_surgery: norm is 'channel' or 'token'; got {self.norm!r}")
        if self.templates not in ("none", "imagenet"):
            raise InvalidInput(f"clip_surgery: templates is 'none' or 'imagenet'; got {self.templates!r}")
        if self.variant not in ("class_token", "map"):
            raise InvalidInput(f"clip_surgery: variant is 'class_token' or 'map'; got {self.variant!r}")
        if self.blocks < 0:
            raise InvalidInput(f"clip_surgery: blocks is at least 0; got {self.blocks}")

    def unsupported(self, encoder: "DualEncoder") -> str | None:
        if reason := unreadable(encoder, "CLIP Surgery", "image"):
            return reason
        wanted = "attention" if self.variant == "map" else "class_token"
        if encoder.image.pooling != wanted:
            read = "an attention pool with variant='map'" if self.variant == "map" else "a class token"
            return f"CLIP Surgery reads {read}; this tower pools by {POOLED_BY[encoder.image.pooling]}"
        return None

    @torch.no_grad()
    def explain_batch(self, encoder: "DualEncoder", batch: Batch) -> list[Explanation]:
        tokens, pooled = self.surgery_tokens(encoder, batch.pixel_values)
        texts = self._text_embeddings(encoder, batch)
        if self.texts:
            others = torch.cat([self._embed(encoder, text) for text in self.texts])
            rows = [
                feature_surgery(token[None], own[None], torch.cat([text[None], others]), self.norm)[..., 0]
                for token, own, text in zip(tokens, pooled, texts, strict=True)
            ]
            similarity = torch.cat(rows)
        else:
            similarity = difference_to_empty(tokens, texts, self._empty_embeddings(encoder, batch), self.norm)
        return [Explanation(image=maps) for maps in patches(encoder, similarity)]

    def surgery_tokens(
        self, encoder: "DualEncoder", pixel_values: Float[Tensor, "pair 3 height width"]
    ) -> tuple[Float[Tensor, "pair position dim"], Float[Tensor, "pair dim"]]:
        """Return all tokens of the second path in the shared space, and the encoder's own embedding; not normalised.

        With a class token, that token is the encoder's own embedding.
        """
        tower = encoder.image
        first = max(tower.depth - self.blocks, 0)
        original = tower.run(encoder.image_state(pixel_values), stop=first)
        second = original.hidden
        for layer in range(first, tower.depth):
            block, step = tower.blocks[layer], tower.step(original, layer)
            second = second + block.out(_self_attention(step.value, block.heads))
            original = original.at(step.output)
        embedding = tower.finish(original)
        tokens = tower.tokens(original.at(second))
        if tower.pooling == "class_token":
            tokens = torch.cat([embedding[:, None], tokens[:, 1:]], dim=1)
        return tokens, embedding

    def _text_embeddings(self, encoder: "DualEncoder", batch: Batch) -> Float[Tensor, "pair dim"]:
        if self.templates == "none":
            return encoder.embed_texts(batch.input_ids)
        return torch.cat([self._embed(encoder, pair.text) for pair in batch.pairs])

    def _embed(self, encoder: "DualEncoder", text: str) -> Float[Tensor, "1 dim"]:
        """Return the unit embedding of a text, or of the mean over its prompts."""
        prompts = [text] if self.templates == "none" else [template.format(text) for template in imagenet_templates()]
        ids = torch.tensor([encoder.tokenize(prompt).ids for prompt in prompts], device=encoder.device)
        return F.normalize(encoder.embed_texts(ids).mean(dim=0, keepdim=True), dim=-1)

    def _empty_embeddings(self, encoder: "DualEncoder", batch: Batch) -> Float[Tensor, "#pair dim"]:
        """Return the embedding of each pair's text without its content tokens, or of the prompts around nothing."""
        if self.templates == "imagenet":
            return self._embed(encoder, "")
        rows: list[list[int]] = []
        for pair in batch.pairs:
            content, ids = set(pair.token_positions), pair.input_ids[0].tolist()
            left = [token for position, token in enumerate(ids) if position not in content]
            rows.append(left + [padding_id(encoder)] * len(content))
        return encoder.embed_texts(torch.tensor(rows, device=encoder.device))


def imagenet_templates() -> Sequence[str]:
    """Return the 85 prompts of the authors' demo: open_clip's 80 and five about a scene."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return [template("{}") for template in OPENAI_IMAGENET_TEMPLATES] + list(SCENE_TEMPLATES)


def feature_surgery(
    tokens: Float[Tensor, "pair position dim"],
    pooled: Float[Tensor, "pair dim"] | None,
    texts: Float[Tensor, "text dim"],
    norm: Literal["channel", "token"],
) -> Float[Tensor, "pair position text"]:
    """Return each token's similarity with each text, less what the texts share, weighted by how well each fits the image.

    ``texts`` are unit length, at least two: with one, nothing would be left. The pooled token is the first of ``tokens``
    unless ``pooled`` is not among them.
    """
    if len(texts) < 2:
        raise InvalidInput("feature surgery against other texts needs at least two texts; with one, nothing is left")
    features = _normalise(tokens, norm)
    read = features[:, 0] if pooled is None or torch.equal(tokens[:, 0], pooled) else F.normalize(pooled, dim=-1)
    fit = (2 * read @ texts.T).softmax(dim=-1)
    weight = fit / fit.mean(dim=-1, keepdim=True)
    products = torch.einsum("bpd,kd,bk->bpkd", features, texts, weight)
    return (products - products.mean(dim=2, keepdim=True)).sum(dim=-1)


def difference_to_empty(
    tokens: Float[Tensor, "pair position dim"],
    texts: Float[Tensor, "pair dim"],
    empty: Float[Tensor, "#pair dim"],
    norm: Literal["channel", "token"],
) -> Float[Tensor, "pair position"]:
    """Return each token's product with its text less the empty text, both of unit length."""
    return torch.einsum("bpd,bd->bp", _normalise(tokens, norm), texts - empty)


def _normalise(
    tokens: Float[Tensor, "pair position dim"], norm: Literal["channel", "token"]
) -> Float[Tensor, "pair position dim"]:
    return F.normalize(tokens, dim=-1 if norm == "channel" else 1)


def _self_attention(value: Float[Tensor, "pair position dim"], heads: int) -> Float[Tensor, "pair position dim"]:
    """Attend by values: every token mixes those whose values resemble its own."""
    split = value.unflatten(-1, (heads, -1)).transpose(1, 2)
    return F.scaled_dot_product_attention(split, split, split).transpose(1, 2).flatten(2)
