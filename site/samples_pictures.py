"""What the store does not hold of a sample: its image as an encoder sees it, the true regions, the tokens' names.

The image and the regions come from the data set, which draws them again or reads them from its own folder; nothing else is
read. Token names come from a tokenizer's file that is on this machine already. Whatever cannot be had is said in a sentence.
"""

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from os.path import normpath
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float
from PIL import Image

import benchmark
from benchmark.data import DATASETS, DataSet, Region, Sample
from benchmark.data.generated import HELD_OUT, GeneratedSet
from benchmark.errors import BenchmarkError

EMBEDDED = "embedded"  # the encoder that ships with the suite
LONGEST_SIDE = 448  # pixels of an image that is sent to a browser
MOST_PIXELS = 64_000_000  # of an image that is decoded; a JPEG is decoded smaller where it has more
SEARCHED = 20_000  # samples of a view that are looked through for one of another position
OUTLINE = 256  # pixels to which a mask's longer side is thinned before its outline is traced

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A sample's image and regions, or in ``why`` a sentence on what is missing; ``text_hidden`` where a licence says so."""

    image: Image.Image | None = None
    size: tuple[int, int] | None = None
    regions: tuple[tuple[str, Region], ...] = ()
    why: str | None = None
    text_hidden: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What one encoder sees of an image: a box of its pixels, and whether that is known or assumed to be all of it."""

    box: Box
    known: bool


def find_sample(data: str, version: str, sample_id: str, position: int, text: str, data_dir: Path | None) -> Found:
    """Find a stored sample in its data set; ``position`` is its place in a task, where it is looked for first."""
    if data not in DATASETS:
        return Found(why=f"There is no data set {data} in this version of the benchmark, so there are maps only.")
    if not DATASETS[data].shows_images:
        return Found(why=f"The licence of {data} lets no image or text of it be shown; maps and scores only.", text_hidden=True)
    try:
        source = DATASETS[data](data_dir)
        if source.revision != version:
            return Found(why=f"These results are of version {version} of {data}; here is {source.revision}, so maps only.")
        sample = _drawn(source, sample_id) if isinstance(source, GeneratedSet) else _listed(source, sample_id, position)
        if sample is None:
            return Found(why=f"{data} has no such sample here, so there are maps only.")
        if sample.text != text:
            return Found(why="The data set has another text for this sample, so there are maps only.")
        image, size = _decode(sample, data_dir)
    except (BenchmarkError, OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
        return Found(why=f"The image cannot be had, so there are maps only: {error}")
    return Found(image=image, size=size, regions=tuple((phrase.label, phrase.region) for phrase in sample.phrases))


def _drawn(source: GeneratedSet, sample_id: str) -> Sample | None:
    """Draw a generated sample again from its number."""
    match = re.fullmatch(rf"{re.escape(source.name)}/(\d{{1,9}})(/phrase)?", sample_id)
    if match is None:
        return None
    return source.batch("phrases" if match[2] else "captions", np.array([HELD_OUT + int(match[1])]))[0]


def _listed(source: DataSet, sample_id: str, position: int) -> Sample | None:
    views = [source.samples(view) for view in source.views]
    for samples in views:
        if position < len(samples) and (sample := samples[position]).id == sample_id:
            return sample
    return next((sample for samples in views for sample in samples[:SEARCHED] if sample.id == sample_id), None)


def _decode(sample: Sample, data_dir: Path | None) -> tuple[Image.Image, tuple[int, int]]:
    """Return the image, made smaller where it is large, and its original size."""
    if isinstance(sample.image, Image.Image):
        return sample.image, sample.image.size
    path = sample.image
    if data_dir is not None and not Path(normpath(path.absolute())).is_relative_to(normpath(data_dir.absolute())):
        raise ValueError("its file is outside the folder of the data set")
    with Image.open(path) as image:
        size = image.size
        if size[0] * size[1] > MOST_PIXELS:
            image.draft("RGB", (2 * LONGEST_SIDE, 2 * LONGEST_SIDE))
        if image.size[0] * image.size[1] > MOST_PIXELS:
            raise ValueError(f"it has {size[0]} x {size[1]} pixels; at most {MOST_PIXELS:,} are decoded")
        image.thumbnail((4 * LONGEST_SIDE, 4 * LONGEST_SIDE))
        return image.convert("RGB"), size


@lru_cache(maxsize=32)
def frame_of(encoder: str, revision: str, size: tuple[int, int]) -> Frame:
    """Return the part of an image of ``size`` (width, height) that an encoder's resize and crop leave it."""
    whole = Frame(box=(0.0, 0.0, float(size[0]), float(size[1])), known=False)
    file = encoder_file(encoder, revision, "preprocessor_config.json")
    settings = _read_json(file)
    wanted, crop = settings.get("size"), settings.get("crop_size")
    if not isinstance(wanted, Mapping):
        return whole
    if "shortest_edge" not in wanted or not settings.get("do_center_crop", True):
        return replace(whole, known=True)
    factor = float(wanted["shortest_edge"]) / min(size)
    frame = crop if isinstance(crop, Mapping) else {"width": wanted["shortest_edge"], "height": wanted["shortest_edge"]}
    width, height = (min(float(frame[name]) / factor, side) for name, side in zip(("width", "height"), size, strict=True))
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return Frame(box=(left, top, left + width, top + height), known=True)


@lru_cache(maxsize=512)
def token_names(encoder: str, revision: str, text: str, count: int) -> tuple[tuple[str, ...], bool]:
    """Return names of ``count`` content tokens, and whether they are the tokenizer's own or just "token 1" and so on."""
    made_up = tuple(f"token {index + 1}" for index in range(count))
    file = encoder_file(encoder, revision, "tokenizer.json")
    if file is None:
        return made_up, False
    from tokenizers import Tokenizer

    try:
        encoded = Tokenizer.from_file(str(file)).encode(text)
    except Exception:  # the library raises nothing narrower
        return made_up, False
    kept = [token for token, special in zip(encoded.tokens, encoded.special_tokens_mask, strict=True) if not special]
    if len(kept) != count:
        return made_up, False
    return tuple(token.removesuffix("</w>").lstrip("▁").removeprefix("##") or "␣" for token in kept), True


def encoder_file(encoder: str, revision: str, name: str) -> Path | None:
    """Return a small file of an encoder that is on this machine: it ships with the suite, or the hub's cache has it."""
    if encoder == EMBEDDED:
        return Path(benchmark.__file__).parent / "embedded" / name
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(encoder, name, revision=revision or None)
    except (HFValidationError, ValueError):
        return None
    return Path(found) if isinstance(found, str) else None


def _read_json(file: Path | None) -> Mapping[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file is not None else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, Mapping) else {}


def crop(found: Found, frame: Frame) -> Image.Image | None:
    """Return the part that the encoder sees, at most ``LONGEST_SIDE`` pixels long."""
    if found.image is None or found.size is None:
        return None
    scale = found.image.width / found.size[0], found.image.height / found.size[1]
    box = tuple(round(value * scale[axis % 2]) for axis, value in enumerate(frame.box))
    seen = found.image.crop((box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1)))
    if max(seen.size) > LONGEST_SIDE:
        seen.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    elif max(seen.size) < LONGEST_SIDE // 2:  # small generated images, enlarged without inventing pixels
        factor = LONGEST_SIDE // max(seen.size)
        seen = seen.resize((seen.width * factor, seen.height * factor), Image.Resampling.NEAREST)
    return seen


def data_address(image: Image.Image) -> str:
    """Return an image as a ``data:`` address, so that a page shows it without a server handing out files."""
    buffer = BytesIO()
    flat = len(image.getcolors(4096) or ()) > 0  # drawn rather than photographed
    image.save(buffer, "PNG" if flat else "JPEG", **({} if flat else {"quality": 88}))
    return f"data:image/{'png' if flat else 'jpeg'};base64,{b64encode(buffer.getvalue()).decode()}"


def outlines(regions: Sequence[tuple[str, Region]], frame: Frame) -> list[dict[str, Any]]:
    """Return each region's label and outlines in shares of the frame, 0 to 1: of its mask where it is known, else its boxes."""
    return [{"label": label, "lines": _lines(region, frame)} for label, region in regions]


def _lines(region: Region, frame: Frame) -> list[list[list[float]]]:
    x0, y0, x1, y1 = frame.box
    corner, size = np.array([x0, y0]), np.array([x1 - x0, y1 - y0])
    found: list[Float[np.ndarray, "point 2"]] = []
    if region.mask is not None and region.mask.any():
        from contourpy import contour_generator

        step = max(1, -(-max(region.mask.shape) // OUTLINE))
        padded = np.pad(region.mask[::step, ::step], 1).astype(np.float64)
        traced = cast(list[np.ndarray], contour_generator(z=padded).lines(0.5))
        found = [(line - 0.5) * step for line in traced]
    else:
        for left, top, right, bottom in region.boxes:
            found.append(np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]))
    return [np.clip((line - corner) / size, 0.0, 1.0).round(4).tolist() for line in found]


def to_frame(regions: Sequence[tuple[str, Region]], frame: Frame, size: tuple[int, int]) -> list[tuple[str, Region]]:
    """Return the boxes of regions in pixels of a picture of ``size`` that shows the frame."""
    x0, y0, x1, y1 = frame.box
    scale = np.array([size[0] / (x1 - x0), size[1] / (y1 - y0)] * 2)
    limit = np.array(size * 2, dtype=np.float64)
    moved = [(label, (region.boxes - np.array([x0, y0, x0, y0])) * scale) for label, region in regions]
    return [(label, Region(boxes=np.clip(boxes, 0.0, limit))) for label, boxes in moved]
