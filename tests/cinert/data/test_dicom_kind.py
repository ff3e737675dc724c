"""What an image shows decides whether it is a moment of the beat: phase images and the like are left out or refused."""

import numpy as np
import pytest
from pydicom.uid import generate_uid

from cinert.data.dicom import read_dicom_cine
from cinert.errors import BadInputError

SHAPE = (6, 5, 3, 4)
IMAGE = np.random.default_rng(1).integers(0, 900, SHAPE).astype(np.int16)
NOISE = np.random.default_rng(2).integers(0, 4095, SHAPE).astype(np.int16)
AFFINE = np.diag([-1.5, -1.25, 8.0, 1.0])

# Spellings of Siemens, Philips, DICOM's own terms, and Siemens XA.
COMPONENTS = [
    ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "12 phase (ImageType P)"),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "R_FFE", "R", "FFE"]}, "12 real (ImageType R_FFE)"),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "I"]}, "12 imaginary (ImageType I)"),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]}, "12 phase (ImageType PHASE MAP)"),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "VELOCITY MAP", "P", "PCA"]}, "12 velocity (ImageType VELOCITY MAP)"),
    ({"ImageType": ["DERIVED", "PRIMARY", "T1 MAP"]}, "12 map (ImageType T1 MAP)"),
    ({"ComplexImageComponent": "PHASE"}, "12 phase (ComplexImageComponent)"),
    ({"ComplexImageComponent": "IMAGINARY"}, "12 imaginary (ComplexImageComponent)"),
]
OTHERS = [
    ({"ImageType": ["DERIVED", "SECONDARY", "PROJECTION IMAGE"]}, "12 projection (ImageType PROJECTION IMAGE)"),
    ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "12 projection (ImageType MIP)"),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "12 localiser (ImageType LOCALIZER)"),
    ({"ImageType": ["DERIVED", "PRIMARY", "SUBTRACTION"]}, "12 difference (ImageType SUBTRACTION)"),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "12 mosaic (ImageType MOSAIC)"),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, "12 colour (PhotometricInterpretation PALETTE COLOR)"),
    ({"BurnedInAnnotation": "YES"}, "12 text burned into the pixels (BurnedInAnnotation)"),
    ({"Modality": "CT"}, "12 no MR (Modality CT)"),
]


def putting(**values):
    def change(dataset, k, t):
        for name, value in values.items():
            setattr(dataset, name, value)

    return change


def without_trigger(number_of, **values):
    """Images without trigger times, numbered by `number_of(k, t)`."""

    def change(dataset, k, t):
        del dataset.TriggerTime
        dataset.InstanceNumber = number_of(k, t)
        putting(**values)(dataset, k, t)

    return change


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "dicom"


@pytest.fixture
def beside(write_dicom, folder):
    """Writes the cine and, in the same series, images of noise numbered between its own."""

    def write(other, image=None, *, plain=None):
        uid = generate_uid()
        one = without_trigger(
            lambda k, t: 2 * (k * SHAPE[3] + t), **(plain or {"ImageType": ["ORIGINAL", "PRIMARY", "M"]})
        )
        two = without_trigger(lambda k, t: 2 * (k * SHAPE[3] + t) + 1, **other)
        write_dicom(folder / "m", IMAGE, AFFINE, series=uid, change=one)
        write_dicom(folder / "o", NOISE if image is None else image, AFFINE, series=uid, change=two)

    return write


@pytest.mark.parametrize(("values", "words"), COMPONENTS + OTHERS)
def test_what_is_no_slice_is_left_out_with_a_note(beside, folder, values, words):
    beside(values)

    cine = read_dicom_cine(folder)

    np.testing.assert_array_equal(cine.image, IMAGE)
    assert cine.notes == (f"12 of 24 images in {folder} are left out: {words}.",)


@pytest.mark.parametrize(("values", "words"), COMPONENTS + OTHERS)
def test_a_series_without_any_slice_is_refused(write_dicom, folder, values, words):
    write_dicom(folder, IMAGE, AFFINE, change=putting(**values))
    with pytest.raises(BadInputError) as caught:
        read_dicom_cine(folder)
    assert f"{folder} holds no magnitude images of slices, only {words}." in str(caught.value)


@pytest.mark.parametrize(("value", "kind"), [(1, "phase"), (2, "real"), (3, "imaginary")])
def test_ge_tells_them_apart_by_a_private_attribute(write_dicom, folder, value, kind):
    def written(code, numbers):
        def change(dataset, k, t):
            numbers(dataset, k, t)
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
            dataset.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", code)

        return change

    uid = generate_uid()
    even, odd = (without_trigger(lambda k, t, first=first: 2 * (k * SHAPE[3] + t) + first) for first in (0, 1))
    write_dicom(folder / "m", IMAGE, AFFINE, series=uid, change=written(0, even))
    write_dicom(folder / "o", NOISE, AFFINE, series=uid, change=written(value, odd))

    cine = read_dicom_cine(folder)

    np.testing.assert_array_equal(cine.image, IMAGE)
    assert f"12 {kind} (GE's image type)" in cine.notes[0]


@pytest.mark.parametrize("image_type", [
    ["ORIGINAL", "PRIMARY", "M", "RETRO", "NORM", "DIS2D"],
    ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"],
    ["DERIVED", "SECONDARY", "MPR"],
    ["ORIGINAL", "PRIMARY", "OTHER"],
    ["ORIGINAL", "PRIMARY"],
])  # fmt: skip
def test_magnitude_images_are_read_whatever_they_are_called(write_dicom, folder, image_type):
    write_dicom(folder, IMAGE, AFFINE, change=putting(ImageType=image_type))
    cine = read_dicom_cine(folder)
    np.testing.assert_array_equal(cine.image, IMAGE)
    assert cine.notes == ()


def test_a_slice_that_has_phase_images_alone_is_not_dropped(write_dicom, folder):
    uid = write_dicom(folder / "m", IMAGE, AFFINE, change=lambda dataset, k, t: k != 2)
    phase = putting(ImageType=["ORIGINAL", "PRIMARY", "P"])
    write_dicom(folder / "p", NOISE, AFFINE, series=uid, change=phase)
    with pytest.raises(BadInputError, match=r"shows phase \(ImageType P\), and no magnitude image lies where it lies"):
        read_dicom_cine(folder)


def test_a_localiser_of_another_place_and_size_is_left_out(write_dicom, folder):
    uid = write_dicom(folder / "m", IMAGE, AFFINE)
    turned = np.array([[0, 0, 8.0, 0], [1.5, 0, 0, 0], [0, 1.25, 0, 0], [0, 0, 0, 1]])
    write_dicom(
        folder / "l", NOISE[:4, :, :1, :1], turned, series=uid,
        change=putting(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    )  # fmt: skip
    cine = read_dicom_cine(folder)
    np.testing.assert_array_equal(cine.image, IMAGE)
    assert "1 of 13 images" in cine.notes[0]


def test_a_screenshot_without_a_place_is_left_out(write_dicom, folder):
    uid = write_dicom(folder / "m", IMAGE, AFFINE)
    colour = {
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "ImagePositionPatient": None,
        "PixelSpacing": None,
    }
    write_dicom(folder / "s", NOISE[..., :1, :1], AFFINE, series=uid, change=putting(**colour))
    np.testing.assert_array_equal(read_dicom_cine(folder).image, IMAGE)


def test_other_series_of_an_exam_do_not_matter(write_dicom, folder):
    write_dicom(folder / "cine", IMAGE, AFFINE, number=5)
    write_dicom(folder / "many", IMAGE, AFFINE, number=6, change=putting(NumberOfFrames=20))
    write_dicom(folder / "screen", IMAGE, AFFINE, number=7, change=putting(ImagePositionPatient=None))
    np.testing.assert_array_equal(read_dicom_cine(folder, ["5"]).image, IMAGE)


@pytest.mark.parametrize(("values", "words"), [
    ({"PhotometricInterpretation": None}, "has no PhotometricInterpretation"),
    ({"PresentationLUTShape": "INVERSE"}, "is MONOCHROME2 with the PresentationLUTShape INVERSE"),
    ({"BitsStored": 12, "HighBit": 15}, "keeps its 12 BitsStored below the HighBit 15"),
    ({"NumberOfFrames": "20"}, "is a multi-frame DICOM file"),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4.1"}, "is a multi-frame DICOM file"),
])  # fmt: skip
def test_one_image_says_what_cannot_be_used(write_dicom, folder, values, words):
    def change(dataset, k, t):
        if (k, t) == (1, 1):
            putting(**values)(dataset, k, t)

    write_dicom(folder, IMAGE, AFFINE, change=change)
    with pytest.raises(BadInputError) as caught:
        read_dicom_cine(folder)
    assert words in str(caught.value)
    assert "I0005.dcm" in str(caught.value)


@pytest.mark.parametrize(("values", "words"), [
    ({"PhotometricInterpretation": "MONOCHROME1"}, "mixes MONOCHROME1 and MONOCHROME2"),
    ({"PatientID": "another"}, "mixes patients"),
    ({"SliceLocation": "30"}, "one ImagePositionPatient, but the SliceLocation 8 mm"),
])  # fmt: skip
def test_one_image_differs_in_meaning(write_dicom, folder, values, words):
    def change(dataset, k, t):
        dataset.SliceLocation = str(8 * k)
        if (k, t) == (1, 1):
            putting(**values)(dataset, k, t)

    write_dicom(folder, IMAGE, AFFINE, change=change)
    with pytest.raises(BadInputError) as caught:
        read_dicom_cine(folder)
    assert words in str(caught.value)


def test_positions_that_were_blanked(write_dicom, folder):
    def change(dataset, k, t):
        del dataset.TriggerTime
        dataset.ImagePositionPatient, dataset.SliceLocation = [0, 0, 0], str(8 * k)

    write_dicom(folder, IMAGE, AFFINE, change=change)
    with pytest.raises(BadInputError, match="were the positions removed"):
        read_dicom_cine(folder)


def test_several_frames_of_reference_are_said(write_dicom, folder):
    frames = [generate_uid() for _ in range(SHAPE[2])]

    def change(dataset, k, t):
        dataset.FrameOfReferenceUID = frames[k]

    write_dicom(folder, IMAGE, AFFINE, change=change)
    cine = read_dicom_cine(folder)
    np.testing.assert_array_equal(cine.image, IMAGE)
    assert cine.notes == ("the images lie in 3 frames of reference; their positions are taken as of one.",)
