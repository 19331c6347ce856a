import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.dicom import Radiograph, find_radiograph, radiograph_size, read_radiograph
from benchmark.errors import DataError, InvalidInput

RAMP = np.array([[0, 1000, 2000], [3000, 4000, 4080]], dtype=np.uint16)


def write_dicom(path: Path, values: np.ndarray, **tags: object) -> None:
    pydicom = pytest.importorskip("pydicom", minversion="3", reason="pydicom, an optional library, is not installed")
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.SOPClassUID, data.SOPInstanceUID = data.file_meta.MediaStorageSOPClassUID, "1.2.3"
    data.Rows, data.Columns = values.shape
    data.SamplesPerPixel, data.PixelRepresentation = 1, 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PhotometricInterpretation = "MONOCHROME2"
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = values.astype("<u2").tobytes()
    data.save_as(path, enforce_file_format=True)


def test_a_16_bit_image_keeps_its_greys(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "deep.png")
    pixels = np.asarray(read_radiograph(tmp_path / "deep.png"))
    np.testing.assert_array_equal(pixels[..., 0], np.round(RAMP / 4080 * 255))
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])
    assert len(np.unique(np.asarray(Image.open(tmp_path / "deep.png").convert("RGB")))) < 4  # what Pillow alone would do


def test_an_8_bit_image_is_read_as_it_is(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "plain.png")
    np.testing.assert_array_equal(np.asarray(read_radiograph(tmp_path / "plain.png")), pixels)


def test_a_constant_image_is_black(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 700, dtype=np.uint16)).save(tmp_path / "flat.png")
    assert not np.asarray(read_radiograph(tmp_path / "flat.png")).any()


@pytest.mark.parametrize("name", ["deep.png", "plain.png"])
def test_a_truncated_image_is_an_error(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint16 if name == "deep.png" else np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:200])
    with pytest.raises(InvalidInput, match="truncated"):
        read_radiograph(tmp_path / name)


def test_an_image_of_another_size_than_its_annotation_is_an_error(tmp_path: Path) -> None:
    Image.new("L", (4, 3)).save(tmp_path / "small.png")
    sample = Radiograph(id="a", image=tmp_path / "small.png", text="a", cluster="a", size=(8, 6))
    with pytest.raises(InvalidInput, match=r"is 4 x 3 pixels, but its annotation is of 8 x 6; was it resized\?"):
        sample.load_image()


def test_an_ordinary_image_goes_before_dicom_and_any_suffix_will_do(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.dicom", "images/a.jpg", "b.dcm"):
        (tmp_path / name).touch()
    found = [find_radiograph(tmp_path, name, (".", "images")) for name in ("a", "a.png", "a.dicom", "b", "c", "../a")]
    assert found == [tmp_path / name for name in ("images/a.jpg",) * 3 + ("b.dcm",)] + [None, None]


def test_dots_in_a_name_are_no_suffix(tmp_path: Path) -> None:
    (tmp_path / "1.2.840.png").touch()
    assert find_radiograph(tmp_path, "1.2.840", (".",)) == tmp_path / "1.2.840.png"


def test_without_pydicom_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    monkeypatch.setitem(sys.modules, "pydicom.pixels", None)
    for read in (read_radiograph, radiograph_size):
        with pytest.raises(DataError, match=r"needs pydicom: pip install 'pydicom>=3' \(or put a PNG"):
            read(tmp_path / "a.dcm")


def test_dicom_is_stretched_to_8_bits(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", RAMP)
    assert radiograph_size(tmp_path / "a.dcm") == (3, 2)
    np.testing.assert_array_equal(np.asarray(read_radiograph(tmp_path / "a.dcm"))[..., 0], np.round(RAMP / 4080 * 255))


def test_dicom_where_white_is_low_is_inverted(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", RAMP, PhotometricInterpretation="MONOCHROME1")
    expected = np.round((4080 - RAMP.astype(float)) / 4080 * 255)
    np.testing.assert_array_equal(np.asarray(read_radiograph(tmp_path / "a.dcm"))[..., 0], expected)


def test_dicom_goes_through_its_window(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", RAMP, WindowCenter=2000, WindowWidth=2000)
    pixels = np.asarray(read_radiograph(tmp_path / "a.dcm"))[..., 0]
    assert pixels[0, 0] == 0
    assert pixels[1, 0] == pixels[1, 2] == 255
    assert abs(int(pixels[0, 2]) - 128) <= 1


def test_damaged_dicom_is_an_error_with_its_name(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", RAMP)
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "a.dcm").read_bytes()[:-4])
    (tmp_path / "text.dcm").write_text("not DICOM")
    for name in ("cut.dcm", "text.dcm"):
        with pytest.raises(InvalidInput, match=f"{name} cannot be read"):
            read_radiograph(tmp_path / name)
    with pytest.raises(InvalidInput, match="there is no image"):
        read_radiograph(tmp_path / "absent.dcm")
    assert radiograph_size(tmp_path / "text.dcm") is None


def test_jpeg_inside_dicom_is_decoded_by_pillow(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", np.zeros((16, 24), dtype=np.uint16))
    pydicom = pytest.importorskip("pydicom")
    ramp = np.tile(np.linspace(0, 255, 24), (16, 1)).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(ramp).save(buffer, "JPEG", quality=95)
    data = pydicom.dcmread(tmp_path / "a.dcm")
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.PixelData = pydicom.encaps.encapsulate([buffer.getvalue()])
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    data.save_as(tmp_path / "jpeg.dcm")
    pixels = np.asarray(read_radiograph(tmp_path / "jpeg.dcm"))[..., 0]
    np.testing.assert_allclose(pixels, ramp, atol=4)  # what JPEG loses at this quality
