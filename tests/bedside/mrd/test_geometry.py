"""Where MRD images lie: against the specification by hand, and there and back on any grid."""

import ismrmrd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bedside.mrd.geometry import GeometryError, slice_fields, sorted_stack
from cinert.data.nifti import Geometry


def image(shape_YX=(6, 8), number=0, depth=1, **fields):
    made = ismrmrd.Image(data=np.zeros((1, depth, *shape_YX), np.uint16))
    made.slice = number
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def stack(geometry: Geometry, order=None) -> list:
    columns, rows, slices = geometry.shape
    images = [image((rows, columns), number, **slice_fields(geometry, number)) for number in range(slices)]
    return [images[number] for number in order or range(slices)]


def test_a_transverse_slice_by_hand() -> None:
    """Centre (10, 20, 30) in Left, Posterior, Superior; 8 columns of 2 mm, 6 rows of 3 mm, 7 mm thick."""
    _, geometry = sorted_stack(
        [image(field_of_view=(16, 18, 7), position=(10, 20, 30), read_dir=(1, 0, 0), phase_dir=(0, 1, 0))]
    )

    # The first pixel's centre is 3.5 columns and 2.5 rows before the middle: (3, 12.5, 30), in RAS (-3, -12.5, 30).
    expected = [[-2, 0, 0, -3], [0, -3, 0, -12.5], [0, 0, 7, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(geometry.affine, expected, atol=1e-5)
    assert geometry.shape == (8, 6, 1)


def test_a_3d_image_by_hand() -> None:
    _, geometry = sorted_stack(
        [
            image(
                depth=5,
                field_of_view=(16, 18, 20),
                position=(0, 0, 0),
                read_dir=(0, 1, 0),
                phase_dir=(0, 0, 1),
                slice_dir=(1, 0, 0),
            )
        ]
    )

    np.testing.assert_allclose(geometry.affine @ [0, 0, 0, 1], [8, 7, -7.5, 1], atol=1e-5)
    np.testing.assert_allclose(geometry.affine @ [7, 5, 4, 1], [-8, -7, 7.5, 1], atol=1e-5)


@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.5, 12)] * 3),
    origin=st.tuples(*[st.floats(-300, 300)] * 3),
    slices=st.integers(1, 7),
    turned=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_there_and_back(angles, spacing, origin, slices, turned, order) -> None:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing
    affine[:3, 3] = origin
    if turned:
        # Slices against the normal: the stack comes back in the normal's order, each slice where it was.
        affine[:3, 2] *= -1
    geometry = Geometry((8, 6, slices), affine)
    mixed = list(range(slices))
    order.shuffle(mixed)

    ordered, found = sorted_stack(stack(geometry, mixed))

    numbers = [each.slice for each in ordered]
    assert numbers == (sorted(numbers, reverse=True) if turned else sorted(numbers))
    for place, number in enumerate(numbers):
        for column, row in ((0, 0), (7, 0), (0, 5)):
            np.testing.assert_allclose(
                found.affine @ [column, row, place, 1], affine @ [column, row, number, 1], atol=2e-3
            )


def test_directions_in_the_attributes_win() -> None:
    """A turned image keeps its readout direction in the header and its rows' direction in the attributes."""
    turned = image(field_of_view=(16, 18, 7), read_dir=(1, 0, 0), phase_dir=(0, 1, 0))
    turned.meta = {"ImageRowDir": ["0", "1", "0"], "ImageColumnDir": ["-1", "0", "0"]}

    _, geometry = sorted_stack([turned])

    np.testing.assert_allclose(geometry.affine[:3, 0], [0, -2, 0], atol=1e-6)
    np.testing.assert_allclose(geometry.affine[:3, 1], [3, 0, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda images: setattr(images[2], "position", images[1].position), "two slices in one place"),
        (lambda images: setattr(images[2], "position", (0, 0, 99)), "mm apart"),
        (lambda images: setattr(images[1], "read_dir", (1, 1, 0)), "perpendicular"),
        (lambda images: setattr(images[1], "field_of_view", (1, 1, 1)), "another direction or field of view"),
        (lambda images: setattr(images[1], "position", (9, 0, images[1].position[2])), "shifted"),
        (lambda images: setattr(images[0], "field_of_view", (1e9, 18, 7)), "voxels of"),
        (lambda images: [setattr(each, "field_of_view", (0.016, 0.018, 0.007)) for each in images], "0.002 x 0.003"),
        (lambda images: [setattr(each, "field_of_view", (720, 18, 7)) for each in images], "a grid of 720 x 18 x 7 mm"),
        (lambda images: [setattr(each, "position", (0, 0, 200 * each.slice)) for each in images], "3 x 200 mm"),
    ],
)
def test_what_is_no_stack_is_said(spoil, reason: str) -> None:
    images = stack(Geometry((8, 6, 3), np.diag([-2.0, -3.0, 7.0, 1.0])))
    spoil(images)

    with pytest.raises(GeometryError, match=reason):
        sorted_stack(images)


def test_a_stack_of_2_m_is_said() -> None:
    with pytest.raises(GeometryError, match="a grid of 16 x 18 x 2000 mm"):
        sorted_stack(stack(Geometry((8, 6, 40), np.diag([-2.0, -3.0, 50.0, 1.0]))))
