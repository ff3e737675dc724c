"""Grey values are what the header makes of the stored bits: unused bits, padding, look-up tables, mirrored scales."""

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from cinert.data.dicom import read_dicom_cine
from cinert.errors import BadInputError

SHAPE = (6, 5, 3, 4)
IMAGE = np.random.default_rng(1).integers(10, 900, SHAPE).astype(np.int16)
AFFINE = np.diag([-1.5, -1.25, 8.0, 1.0])


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "dicom"


@pytest.fixture
def read(write_dicom, folder):
    """Reads the cine written with changed headers."""

    def read(change, image=IMAGE):
        write_dicom(folder, image, AFFINE, change=change)
        return read_dicom_cine(folder).image

    return read


def refused(read, change, *words, image=IMAGE):
    with pytest.raises(BadInputError) as caught:
        read(change, image)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def stored(values, dtype="<u2", *, bits=16, signed=0):
    """Changes what is stored: `values(k, t)` are the pixels, (row, column)."""

    def change(dataset, k, t):
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, signed
        dataset.PixelData = np.ascontiguousarray(values(k, t)).astype(dtype).tobytes()

    return change


def plane(k, t):
    return IMAGE[:, :, k, t].T.astype(np.int64)


class TestRescaling:
    @pytest.mark.parametrize(("slope", "intercept", "expected"), [
        (2.5, -3, lambda values: 2.5 * values - 3),
        (2.5, None, lambda values: 2.5 * values),
        (None, 7, lambda values: values + 7),
        (-1, 0, lambda values: -values),
    ])  # fmt: skip
    def test_by_slope_and_intercept(self, read, slope, intercept, expected):
        def change(dataset, k, t):
            if slope is not None:
                dataset.RescaleSlope = slope
            if intercept is not None:
                dataset.RescaleIntercept = intercept

        np.testing.assert_allclose(read(change), expected(IMAGE.astype(np.float64)))

    def test_by_a_slope_of_each_image(self, read):
        def change(dataset, k, t):
            dataset.RescaleSlope, dataset.RescaleIntercept = 1 + k + 4 * t, t

        factor = 1 + np.arange(3)[:, None] + 4 * np.arange(4)
        np.testing.assert_allclose(read(change), IMAGE * factor + np.arange(4))

    def test_a_slope_of_nothing(self, read):
        def change(dataset, k, t):
            dataset.RescaleSlope, dataset.RescaleIntercept = 0, 5

        refused(read, change, "RescaleSlope 0", "I0000.dcm")

    @pytest.mark.parametrize("bits", [16, 12])
    @pytest.mark.parametrize("first", [0, -32768, 100])
    def test_by_a_modality_lut(self, read, bits, first):
        table = np.random.default_rng(3).permutation(2**bits)[:4000].astype(np.uint16)

        def change(dataset, k, t):
            lut = Dataset()
            lut.LUTDescriptor, lut.ModalityLUTType = [len(table), first, bits], "US"
            lut["LUTDescriptor"].VR = "US" if first >= 0 else "SS"
            lut.add_new("LUTData", "OW", table.astype("<u2").tobytes())
            dataset.ModalityLUTSequence = [lut]

        index = np.clip(IMAGE.astype(np.int64) - first, 0, len(table) - 1)
        np.testing.assert_array_equal(read(change), table[index])


class TestMonochrome1:
    def test_is_mirrored(self, read):
        """Bright blood is bright in what the network sees."""

        def change(dataset, k, t):
            dataset.PhotometricInterpretation = "MONOCHROME1"
            dataset.PixelData = (4095 - plane(k, t)).astype("<i2").tobytes()

        image = read(change)
        offset = image - IMAGE
        assert np.ptp(offset) == 0

    def test_with_the_shape_that_says_the_same(self, read):
        def change(dataset, k, t):
            dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME1", "INVERSE"

        np.testing.assert_array_equal(read(change), int(IMAGE.min()) + int(IMAGE.max()) - IMAGE)

    def test_keeps_its_padding_dark(self, read):
        def change(dataset, k, t):
            values = plane(k, t)
            values[0] = -2000
            dataset.PhotometricInterpretation = "MONOCHROME1"
            dataset.add_new("PixelPaddingValue", "SS", -2000)
            dataset.PixelData = values.astype("<i2").tobytes()

        image = read(change)
        assert (image[:, 0] == image.min()).all()
        assert image.min() >= IMAGE.min()


class TestPadding:
    @pytest.mark.parametrize(("padding", "vr"), [(-2000, "SS"), (63536, "US"), (32767, "SS"), (500, "SS")])
    def test_becomes_the_darkest_measured_value(self, read, padding, vr):
        def change(dataset, k, t):
            values = plane(k, t)
            values[values == 500] = 501
            values[:, :2] = padding if padding < 2**15 else padding - 2**16
            dataset.add_new("PixelPaddingValue", vr, padding)
            dataset.PixelData = values.astype("<i2").tobytes()

        image = read(change)
        expected = np.where(IMAGE == 500, 501, IMAGE)
        expected[:2] = expected[2:].min()
        np.testing.assert_array_equal(image, expected)

    def test_a_range(self, read):
        def change(dataset, k, t):
            values = plane(k, t)
            values[:, 0], values[:, 1] = -3000, -1500
            dataset.add_new("PixelPaddingValue", "SS", -1000)
            dataset.add_new("PixelPaddingRangeLimit", "SS", -4000)
            dataset.PixelData = values.astype("<i2").tobytes()

        np.testing.assert_array_equal(read(change)[:2], np.full((2, 5, 3, 4), IMAGE[2:].min()))

    def test_that_is_as_dark_as_the_image_stays(self, read):
        def change(dataset, k, t):
            values = plane(k, t)
            values[:, 0] = 0
            dataset.add_new("PixelPaddingValue", "SS", 0)
            dataset.PixelData = values.astype("<i2").tobytes()

        assert (read(change)[0] == 0).all()

    def test_and_nothing_else(self, read, folder):
        def change(dataset, k, t):
            dataset.add_new("PixelPaddingValue", "SS", 7)
            dataset.PixelData = np.full((5, 6), 7, "<i2").tobytes()

        refused(read, change, "nothing but its PixelPaddingValue", str(folder))


class TestBits:
    def test_overlays_above_the_stored_bits(self, read):
        overlay = np.random.default_rng(4).integers(0, 2, (5, 6)) << 12

        def change(dataset, k, t):
            stored(lambda k, t: plane(k, t) | overlay, bits=12)(dataset, k, t)
            dataset.add_new((0x6000, 0x0100), "US", 16)
            dataset.add_new((0x6000, 0x0102), "US", 12)

        np.testing.assert_array_equal(read(change), IMAGE)

    def test_anything_else_above_them(self, read):
        change = stored(lambda k, t: plane(k, t) | (1 << 13), bits=12)
        refused(read, change, "uses bits above its 12 BitsStored", "I0000.dcm")

    def test_padding_above_them(self, read):
        def change(dataset, k, t):
            values = plane(k, t)
            values[0] = 63536
            stored(lambda k, t: values, bits=12)(dataset, k, t)
            dataset.add_new("PixelPaddingValue", "US", 63536)

        expected = IMAGE.copy()
        expected[:, 0] = expected[:, 1:].min()
        np.testing.assert_array_equal(read(change), expected)

    @pytest.mark.parametrize("extended", [True, False])
    def test_negative_values(self, read, extended):
        def values(k, t):
            negative = plane(k, t) - 400
            return negative if extended else negative & 0x0FFF

        change = stored(values, "<i2" if extended else "<u2", bits=12, signed=1)
        np.testing.assert_array_equal(read(change), IMAGE - 400)

    @pytest.mark.parametrize(("dtype", "allocated"), [("<u1", 8), ("<u4", 32)])
    def test_other_widths(self, read, dtype, allocated):
        image = IMAGE // 4

        def change(dataset, k, t):
            stored(lambda k, t: image[:, :, k, t].T, dtype, bits=allocated)(dataset, k, t)
            dataset.BitsAllocated = allocated

        np.testing.assert_array_equal(read(change, image), image)

    def test_more_pixels_than_rows(self, read):
        def change(dataset, k, t):
            dataset.Rows = 3

        refused(read, change, "24 bytes more of pixels than 3 Rows and 6 Columns take")

    def test_a_little_fill_at_the_end(self, read):
        def change(dataset, k, t):
            dataset.PixelData += bytes(4)

        np.testing.assert_array_equal(read(change), IMAGE)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_pixels(read, syntax):
    from pydicom.pixels import get_encoder

    if not get_encoder(syntax).is_available:
        pytest.skip(f"no encoder for {syntax.name} here")

    def change(dataset, k, t):
        stored(plane, bits=16)(dataset, k, t)
        dataset.compress(syntax)

    np.testing.assert_array_equal(read(change), IMAGE)
