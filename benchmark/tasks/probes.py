"""What explanations are compared with: the same pair before a changed encoder, with another text, image or seed."""

import re
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageOps

from benchmark.tasks.base import Evaluation, Probe

if TYPE_CHECKING:
    from torch import Tensor

    from benchmark.encoders.base import DualEncoder, Pair

Part = Literal["image", "text", "both"]
Depth = Literal["projection", "last", "half", "all"]
CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
N_NONSENSE = 5
_MIRRORED = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class RandomisedEncoder(Probe):
    """The encoder with the weights of one tower or both drawn anew, from the top down to ``depth``."""

    part: Part
    depth: Depth

    changes = "encoder"

    @property
    def name(self) -> str:
        return f"{self.part}:{self.depth}"

    def encoder(self, encoder: "DualEncoder") -> "DualEncoder":
        from benchmark.encoders.randomised import randomised

        return randomised(encoder, self.part, self.depth)


@dataclass(frozen=True)
class OtherCaption(Probe):
    """A caption of something else: one of ``captions``, chosen by the text's hash, never the text itself."""

    captions: tuple[str, ...]

    changes = "text"

    @property
    def name(self) -> str:
        return "caption"

    def text(self, text: str) -> str:
        others = [caption for caption in self.captions if caption != text]
        return others[_digest(text) % len(others)]


@dataclass(frozen=True)
class NonsenseCaption(Probe):
    """Five made-up words, drawn by the text's hash."""

    changes = "text"

    @property
    def name(self) -> str:
        return "nonsense"

    def text(self, text: str) -> str:
        rng = np.random.default_rng(_digest(text))
        return " ".join("".join(_syllable(rng) for _ in range(2)) for _ in range(N_NONSENSE))


@dataclass(frozen=True)
class Noise(Probe):
    """Uniform noise of up to ``radius`` / 255 on every value that the encoder sees, before normalisation; kept within 0..1."""

    radius: int
    draw: int

    changes = "image"

    @property
    def name(self) -> str:
        return f"noise-{self.radius}-{self.draw}"

    def pair(self, evaluation: Evaluation) -> "Pair":
        import torch

        pair, encoder = evaluation.pair, evaluation.encoder
        black, white = (_level(encoder, value) for value in (0, 255))
        noise = evaluation.rng(self.name).uniform(-self.radius / 255, self.radius / 255, tuple(pair.pixel_values.shape))
        moved = pair.pixel_values + torch.as_tensor(noise).to(pair.pixel_values) * (white - black)
        return replace(pair, pixel_values=torch.clamp(moved, min=black, max=white))


@dataclass(frozen=True)
class Jpeg(Probe):
    """The original image after JPEG compression."""

    quality: int = 75

    changes = "image"

    @property
    def name(self) -> str:
        return f"jpeg-{self.quality}"

    def pair(self, evaluation: Evaluation) -> "Pair":
        file = BytesIO()
        evaluation.sample.load_image().convert("RGB").save(file, format="JPEG", quality=self.quality)
        with Image.open(file) as image:
            return evaluation.encoder.pair(image.convert("RGB"), evaluation.sample.text)


@dataclass(frozen=True)
class Crop(Probe):
    """The image without ``percent`` of its width and height, half at either edge."""

    percent: int = 2

    changes = "image"

    @property
    def name(self) -> str:
        return f"crop-{self.percent}"

    def pair(self, evaluation: Evaluation) -> "Pair":
        image = evaluation.sample.load_image()
        margins = [max(1, round(length * self.percent / 200)) for length in image.size]
        box = (margins[0], margins[1], image.width - margins[0], image.height - margins[1])
        return evaluation.encoder.pair(image.crop(box), evaluation.sample.text)


@dataclass(frozen=True)
class Mirror(Probe):
    """The image seen in a mirror, "left" and "right" exchanged in the text, so that it is as true as before."""

    changes = "image"

    @property
    def name(self) -> str:
        return "mirror"

    def text(self, text: str) -> str:
        return re.sub(r"\b(left|right)\b", lambda word: _MIRRORED[word[0]], text)

    def pair(self, evaluation: Evaluation) -> "Pair":
        return evaluation.encoder.pair(ImageOps.mirror(evaluation.sample.load_image()), evaluation.sample.text)


@dataclass(frozen=True)
class OtherSeed(Probe):
    """The same again under the next seed; a deterministic method's explanation is its own."""

    changes = "seed"

    @property
    def name(self) -> str:
        return "seed"


def _level(encoder: "DualEncoder", value: int) -> "Float[Tensor, '1 3 1 1']":
    """Return what the encoder's normalisation makes of one grey level, per channel."""
    height, width = encoder.frame_size
    pixel_values, _ = encoder.preprocess(Image.new("RGB", (width, height), (value, value, value)))
    return pixel_values.mean(dim=(2, 3), keepdim=True).to(encoder.device)


def _digest(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:8], "little")


def _syllable(rng: np.random.Generator) -> str:
    return rng.choice(list(CONSONANTS)) + rng.choice(list(VOWELS))
