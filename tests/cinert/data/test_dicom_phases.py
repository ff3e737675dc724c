"""The phases of a slice are one acquisition in time: what is there twice, or contradicts itself, is refused by name."""

import numpy as np
import pytest
from pydicom.uid import generate_uid

from cinert.data.dicom import read_dicom_cine
from cinert.errors import BadInputError

SHAPE = (6, 5, 3, 4)
IMAGE = np.random.default_rng(1).integers(0, 900, SHAPE).astype(np.int16)
AGAIN = np.random.default_rng(2).integers(0, 900, SHAPE).astype(np.int16)
AFFINE = np.diag([-1.5, -1.25, 8.0, 1.0])


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "dicom"


@pytest.fixture
def twice(write_dicom, folder):
    """Writes two stacks of the same place into one series; the changes number them."""

    def write(first, second, image=AGAIN):
        uid = generate_uid()
        write_dicom(folder / "a", IMAGE, AFFINE, series=uid, change=first)
        write_dicom(folder / "b", image, AFFINE, series=uid, change=second)

    return write


def numbered(number_of, *, trigger=None, **values):
    """Numbers images by `number_of(k, t)`, without trigger times, or with `trigger(t)`."""

    def change(dataset, k, t):
        dataset.InstanceNumber = number_of(k, t)
        if trigger is None:
            del dataset.TriggerTime
        else:
            dataset.TriggerTime = f"{trigger(t):g}"
        for name, value in values.items():
            setattr(dataset, name, value)

    return change


def refused(folder, *words):
    with pytest.raises(BadInputError) as caught:
        read_dicom_cine(folder)
    for word in words:
        assert word in str(caught.value), str(caught.value)


class TestSeveralContrasts:
    @pytest.mark.parametrize(("name", "values", "words"), [
        ("EchoTime", ("1.5", "3.9"), "of the EchoTime 1.5 and 3.9"),
        ("EchoNumbers", ("1", "2"), "of the EchoNumbers 1 and 2"),
        ("InversionTime", ("100", "180"), "of the InversionTime 100 and 180"),
        ("FlipAngle", ("5", "15"), "of the FlipAngle 5 and 15"),
        ("ImageType", ("ORIGINAL\\PRIMARY\\W", "ORIGINAL\\PRIMARY\\F"), "of the ImageType ORIGINAL\\PRIMARY\\W and"),
        ("ImageType", ("ORIGINAL\\PRIMARY\\M", "DERIVED\\PRIMARY\\M"), "of the ImageType ORIGINAL\\PRIMARY\\M and"),
        ("EchoTime", ("1.5", None), "of the EchoTime 1.5 and (none)"),
    ])  # fmt: skip
    def test_in_one_slice_are_refused(self, twice, folder, name, values, words):
        one, two = values
        twice(
            numbered(lambda k, t: 2 * (k * 4 + t), **{name: one}),
            numbered(lambda k, t: 2 * (k * 4 + t) + 1, **{name: two}),
        )
        refused(folder, words, "I0000.dcm", "one image per slice and phase")

    def test_an_echo_time_that_was_rounded_is_the_same(self, write_dicom, folder):
        def change(dataset, k, t):
            dataset.EchoTime = ("1.43", "1.4300001")[t % 2]

        write_dicom(folder, IMAGE, AFFINE, change=change)
        np.testing.assert_array_equal(read_dicom_cine(folder).image, IMAGE)

    def test_slices_may_differ(self, write_dicom, folder):
        def change(dataset, k, t):
            dataset.EchoTime = f"{1.4 + 0.1 * k:.1f}"

        write_dicom(folder, IMAGE, AFFINE, change=change)
        np.testing.assert_array_equal(read_dicom_cine(folder).image, IMAGE)


class TestAcquiredTwice:
    def test_by_its_acquisition_number(self, twice, folder):
        twice(
            numbered(lambda k, t: 2 * (k * 4 + t), AcquisitionNumber=1),
            numbered(lambda k, t: 2 * (k * 4 + t) + 1, AcquisitionNumber=2),
        )
        refused(folder, "slice 1 of 3", "several acquisitions, AcquisitionNumber 1 and 2")

    def test_by_its_acquisition_time(self, twice, folder):
        twice(
            numbered(lambda k, t: 2 * (k * 4 + t), AcquisitionTime="120000"),
            numbered(lambda k, t: 2 * (k * 4 + t) + 1, AcquisitionTime="120130.5"),
        )
        refused(folder, "acquired twice by its AcquisitionTime, with a pause of 90 s")

    def test_by_the_number_of_phases(self, twice, folder):
        twice(
            numbered(lambda k, t: 2 * (k * 4 + t), CardiacNumberOfImages=4),
            numbered(lambda k, t: 2 * (k * 4 + t) + 1, CardiacNumberOfImages=4),
        )
        refused(folder, "holds 8 images, 2 times the CardiacNumberOfImages 4")

    def test_by_the_leap_in_numbers(self, twice, folder):
        twice(numbered(lambda k, t: k * 4 + t), numbered(lambda k, t: 12 + k * 4 + t))
        refused(folder, "several runs of phases: its InstanceNumbers leap between 0 and 15")

    def test_by_temporal_positions_that_go_on(self, twice, folder):
        def first(dataset, k, t):
            numbered(lambda k, t: k * 4 + t, TemporalPositionIdentifier=t + 1)(dataset, k, t)

        def second(dataset, k, t):
            numbered(lambda k, t: 12 + k * 4 + t, TemporalPositionIdentifier=t + 5)(dataset, k, t)

        twice(first, second)
        refused(folder, "several runs of phases")

    def test_with_the_same_trigger_times(self, twice, folder):
        twice(numbered(lambda k, t: t, trigger=lambda t: 40 * t), numbered(lambda k, t: t, trigger=lambda t: 40 * t))
        refused(folder, "the phase of TriggerTime 0 twice")

    def test_with_trigger_times_of_another_beat(self, twice, folder):
        twice(
            numbered(lambda k, t: t, trigger=lambda t: 10 + 40 * t),
            numbered(lambda k, t: t, trigger=lambda t: 12 + 41 * t),
        )
        refused(folder, "uneven TriggerTimes: 10 and 12 ms", "two acquisitions")

    def test_as_a_copy_with_numbers_of_its_own(self, twice, folder):
        twice(numbered(lambda k, t: 2 * (k * 4 + t)), numbered(lambda k, t: 2 * (k * 4 + t) + 1), image=IMAGE)
        refused(folder, "every image of the series", "is there 2 times, with the same pixels")


class TestOneAcquisition:
    @pytest.mark.parametrize("number", [
        lambda k, t: k * 4 + t + 1,
        lambda k, t: t * 3 + k + 1,
        lambda k, t: 2 * (k * 4 + t),
    ])  # fmt: skip
    def test_may_be_numbered_by_slice_or_by_phase(self, write_dicom, folder, number):
        write_dicom(folder, IMAGE, AFFINE, change=numbered(number))
        np.testing.assert_array_equal(read_dicom_cine(folder).image, IMAGE)

    def test_may_count_its_phases_as_acquisitions(self, write_dicom, folder):
        def change(dataset, k, t):
            dataset.AcquisitionNumber = t + 1

        write_dicom(folder, IMAGE, AFFINE, change=change)
        np.testing.assert_array_equal(read_dicom_cine(folder).image, IMAGE)

    def test_may_give_whole_seconds(self, write_dicom, folder):
        def change(dataset, k, t):
            dataset.AcquisitionTime = f"1200{10 * k + t // 2:02d}"

        write_dicom(folder, IMAGE, AFFINE, change=change)
        np.testing.assert_array_equal(read_dicom_cine(folder).image, IMAGE)

    def test_may_begin_its_beat_elsewhere(self, write_dicom, folder):
        def change(dataset, k, t):
            dataset.TemporalPositionIdentifier = (t + 2) % 4 + 1

        write_dicom(folder, IMAGE, AFFINE, change=change)
        np.testing.assert_array_equal(read_dicom_cine(folder).image, IMAGE)

    def test_that_contradicts_itself_is_refused(self, write_dicom, folder):
        def change(dataset, k, t):
            dataset.TemporalPositionIdentifier = (1, 3, 2, 4)[t]

        write_dicom(folder, IMAGE, AFFINE, change=change)
        refused(folder, "another order by TriggerTime than by TemporalPositionIdentifier")
