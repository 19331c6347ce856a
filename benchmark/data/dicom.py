"""Radiographs as files: DICOM, PNG of more than 8 bits and ordinary images, all read as 8-bit RGB."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from benchmark.data.base import Sample, read_image
from benchmark.data.tables import find_image, image_size
from benchmark.errors import DataError, InvalidInput

DICOM = (".dcm", ".dicom")
SUFFIXES = (".png", ".jpg", ".jpeg", *DICOM)  # in the order in which they are looked for
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # Pillow's modes of grey images that convert("RGB") would clip at 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Radiograph(Sample):
    """A sample whose image may be DICOM or 16-bit; ``size`` is the width and height that its regions are measured in."""

    size: tuple[int, int] | None = None

    def load_image(self) -> Image.Image:
        """Return the RGB image; one of another size raises ``InvalidInput``, since its regions would not fit."""
        if isinstance(self.image, Image.Image):
            return self.image
        image = read_radiograph(self.image)
        if self.size is not None and image.size != self.size:
            found, expected = (f"{width} x {height}" for width, height in (image.size, self.size))
            raise InvalidInput(f"{self.image} is {found} pixels, but its annotation is of {expected}; was it resized?")
        return image


def find_radiograph(folder: Path, name: str, places: Sequence[str]) -> Path | None:
    """Return where the image of this name lies, with its own suffix or another; an ordinary image goes before DICOM."""
    stem = name.removesuffix(Path(name).suffix) if Path(name).suffix.lower() in SUFFIXES else name
    for candidate in dict.fromkeys((name, *(stem + suffix for suffix in SUFFIXES))):
        if (path := find_image(folder, candidate, places)) and not is_dicom(path):
            return path
    paths = (find_image(folder, stem + suffix, places) for suffix in DICOM)
    return next((path for path in paths if path is not None), None)


def is_dicom(path: Path) -> bool:
    return path.suffix.lower() in DICOM


def radiograph_size(path: Path) -> tuple[int, int] | None:
    """Return width and height from the file's header; ``None`` if it has none."""
    if not is_dicom(path):
        return image_size(path)
    pydicom = require_pydicom(path)
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
        return int(header.Columns), int(header.Rows)
    except (OSError, ValueError, AttributeError, pydicom.errors.InvalidDicomError):
        return None


def read_radiograph(path: Path) -> Image.Image:
    """Decode an image file as RGB; values of more than 8 bits are stretched from their least to their greatest.

    DICOM goes through its modality and window transforms first; MONOCHROME1 (white is low) is inverted.
    """
    if is_dicom(path):
        return _grey(_dicom_values(path))
    if _mode(path) in DEEP:
        try:
            with Image.open(path) as image:
                return _grey(np.asarray(image, dtype=np.float64))
        except OSError as error:
            raise InvalidInput(f"the image {path} cannot be read ({error}); is it truncated?") from error
    return read_image(path)


def require_pydicom(path: Path) -> Any:
    """Return the module ``pydicom``, which is not installed by default."""
    try:
        import_module("pydicom.pixels")
        return import_module("pydicom")
    except ImportError:
        raise DataError(
            f"{path} is DICOM, which needs pydicom: pip install 'pydicom>=3' "
            f"(or put a PNG or JPEG of the same name and size beside it)"
        ) from None


def _dicom_values(path: Path) -> Float[np.ndarray, "height width"]:
    pydicom = require_pydicom(path)
    try:
        image = pydicom.dcmread(path)
        values = pydicom.pixels.apply_modality_lut(image.pixel_array, image)
        values = np.asarray(pydicom.pixels.apply_voi_lut(values, image), dtype=np.float64)
        inverted = image.PhotometricInterpretation == "MONOCHROME1"
    except FileNotFoundError:
        raise InvalidInput(f"there is no image at {path}") from None
    except (OSError, ValueError, AttributeError, RuntimeError, pydicom.errors.InvalidDicomError) as error:
        raise InvalidInput(f"the DICOM file {path} cannot be read ({error}); is it complete?") from error
    if values.ndim != 2:
        raise InvalidInput(f"the DICOM file {path} has shape {values.shape}; one grey image is expected")
    return values.max() - values if inverted else values


def _mode(path: Path) -> str | None:
    try:
        with Image.open(path) as image:
            return image.mode
    except (OSError, SyntaxError, Image.DecompressionBombError):
        return None


def _grey(values: Float[np.ndarray, "height width"]) -> Image.Image:
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255.0 / (high - low)) if high > low else np.zeros_like(values)
    return Image.fromarray(scaled.round().astype(np.uint8)).convert("RGB")
