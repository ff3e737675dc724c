"""OpenIGTLink: pyigtl's own client sees every voxel where it lies, and a state that is never better than the truth."""

import dataclasses
import socket
import struct
import time

import numpy as np
import pyigtl
import pytest
from scipy.spatial.transform import Rotation

from bedside.frames import Answer, Frame
from bedside.igtl import image_message, status_message
from bedside.igtl_link import IgtlLink
from cinert.data.nifti import Geometry
from cinert.errors import BadInputError


def tilted() -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [30, -40, 70], degrees=True).as_matrix() * [1.5, 2.5, 8.0]
    affine[:3, 3] = -40, 25, 110
    return Geometry((8, 6, 3), affine)


def frame_and_answer(value: int = 3, state="live") -> tuple[Frame, Answer]:
    geometry = tilted()
    mask = np.zeros(geometry.shape, np.uint8)
    mask[5, 2, 1] = value
    return Frame(mask, geometry, 0), Answer(state, mask, 12.5)


def unpacked(data: bytes) -> pyigtl.ImageMessage:
    header = pyigtl.MessageBase.parse_header(data[:58])
    message = pyigtl.MessageBase.create_message(header["message_type"])
    message.unpack(header, data[58 : 58 + header["body_size"]])
    return message


def test_ijk_to_ras_is_the_affine_of_the_grid() -> None:
    frame, answer = frame_and_answer()

    message = unpacked(image_message(answer.mask, frame.geometry, answer, place=2, timestamp=12.0).pack())

    assert message.world_coordinate_system == "ras"
    np.testing.assert_allclose(message.ijk_to_world_matrix, frame.geometry.affine, atol=1e-4)
    # pyigtl's voxels are (k, j, i).
    assert message.image[1, 2, 5] == 3
    assert np.count_nonzero(message.image) == 1
    assert message.device_name == "CineRT_mask_2"
    assert message.metadata["state"] == "live"
    assert message.metadata["classes"] == "0 background, 1 RV, 2 MYO, 3 LV"


def test_the_age_of_each_slice_is_in_the_metadata() -> None:
    frame, answer = frame_and_answer()
    aged = dataclasses.replace(answer, slice_age_ms=(12.4, 31_000.0))

    message = unpacked(image_message(answer.mask, frame.geometry, aged, place=1, timestamp=0.0).pack())

    assert message.metadata["slice_age_ms"] == "12, 31000"
    assert "slice_age_ms" not in image_message(answer.mask, frame.geometry, answer, place=1, timestamp=0.0).metadata


def test_the_bytes_are_those_of_the_specification() -> None:
    """IMAGE by hand: RAS, sizes, column directions times spacing, and the position of the volume's centre."""
    frame, answer = frame_and_answer()

    body = image_message(answer.mask, frame.geometry, answer, place=1, timestamp=0.0).pack()[58 + 12 :]

    version, components, scalar, endian, coordinates, i, j, k, *matrix = struct.unpack(">HBBBBHHH12f", body[:60])
    assert (version, components, scalar, coordinates, i, j, k) == (1, 1, 3, 1, 8, 6, 3)
    affine = frame.geometry.affine
    np.testing.assert_allclose(np.reshape(matrix[:9], (3, 3)).T, affine[:3, :3], atol=1e-5)
    np.testing.assert_allclose(matrix[9:], (affine @ [3.5, 2.5, 1, 1])[:3], atol=1e-4)
    assert endian in (1, 2)


@pytest.mark.parametrize(
    ("state", "code"), [("live", 1), ("late", 7), ("stale", 7), ("unsure", 13), ("failed", 2), ("dropped", 6)]
)
def test_a_state_is_a_status(state, code: int) -> None:
    data = status_message(state, "why", place=1, timestamp=0.0).pack()

    assert data[2:14].rstrip(b"\0") == b"STATUS"
    found, _, name, text = struct.unpack(">Hq20s4s", data[58:])
    assert (found, name.rstrip(b"\0").decode(), text) == (code, state, b"why\0")


class Viewer:
    """Reads whole messages from a link, as a viewer does."""

    def __init__(self, link: IgtlLink) -> None:
        self.socket = socket.create_connection(("127.0.0.1", link.port), timeout=60)

    def next(self) -> tuple[str, str, bytes]:
        head = self._exactly(58)
        _, kind, device, _, _, size, _ = struct.unpack(">H12s20sIIQQ", head)
        return kind.rstrip(b"\0").decode(), device.rstrip(b"\0").decode(), head + self._exactly(size)

    def state(self) -> str:
        """The next STATUS that comes; images before it are passed over."""
        while (message := self.next())[0] != "STATUS":
            pass
        return message[2][68:88].rstrip(b"\0").decode()

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = self.socket.recv(size - len(data))
            assert chunk
            data += chunk
        return data


@pytest.fixture
def look():
    """Connects viewers, and closes them."""
    viewers = []

    def look(link: IgtlLink) -> Viewer:
        viewers.append(Viewer(link))
        return viewers[-1]

    yield look
    for viewer in viewers:
        viewer.socket.close()


class TestLink:
    def test_pyigtls_client_receives_the_mask(self) -> None:
        with IgtlLink("127.0.0.1", 0, stale_ms=1e6) as link:
            link.publish(1, *frame_and_answer())
            client = pyigtl.OpenIGTLinkClient("127.0.0.1", link.port)
            message = client.wait_for_message("CineRT_mask_1", timeout=60)
            client.stop()

        assert message.image[1, 2, 5] == 3
        np.testing.assert_allclose(message.ijk_to_world_matrix, tilted().affine, atol=1e-4)

    def test_the_state_comes_before_its_mask(self, look) -> None:
        with IgtlLink("127.0.0.1", 0, stale_ms=1e6) as link:
            link.publish(1, *frame_and_answer(state="late"))
            viewer = look(link)

            assert viewer.next()[:2] == ("STATUS", "CineRT_status_1")
            assert viewer.next()[:2] == ("IMAGE", "CineRT_mask_1")

    def test_a_late_viewer_sees_the_newest_alone(self, look) -> None:
        with IgtlLink("127.0.0.1", 0, stale_ms=1e6) as link:
            for value in (1, 2, 3):
                link.publish(1, *frame_and_answer(value))
            viewer = look(link)
            viewer.next()

            assert unpacked(viewer.next()[2]).image.max() == 3

    def test_a_frame_that_was_dropped_does_not_hide_the_newest_mask(self, look) -> None:
        with IgtlLink("127.0.0.1", 0, stale_ms=1e6) as link:
            link.publish(1, *frame_and_answer())
            link.publish(1, None, Answer("dropped", None, 0.0, "a newer frame came"))
            viewer = look(link)

            assert [viewer.next()[0] for _ in range(3)] == ["STATUS", "IMAGE", "STATUS"]

    def test_a_mask_that_nothing_follows_becomes_stale(self, look) -> None:
        with IgtlLink("127.0.0.1", 0, stale_ms=20) as link:
            link.publish(1, *frame_and_answer())
            viewer = look(link)

            assert viewer.state() in ("live", "stale")
            time.sleep(0.05)
            assert viewer.state() == "stale"
            link.publish(1, *frame_and_answer())
            assert viewer.state() == "live"

    def test_viewers_that_leave_or_stand_still_hold_nobody_up(self, look) -> None:
        with IgtlLink("127.0.0.1", 0, stale_ms=1e6) as link:
            gone, still, viewer = look(link), look(link), look(link)
            gone.socket.sendall(b"whatever a viewer says")
            gone.socket.close()
            for value in (1, 2, 3):
                link.publish(1, *frame_and_answer(value))
                viewer.next()
                assert unpacked(viewer.next()[2]).image.max() == value
            assert still.socket.fileno() > 0

    def test_sources_have_devices_of_their_own(self, look) -> None:
        with IgtlLink("127.0.0.1", 0, stale_ms=1e6) as link:
            link.publish(1, *frame_and_answer())
            link.publish(2, *frame_and_answer())
            viewer = look(link)

            assert {viewer.next()[1] for _ in range(4)} == {
                f"CineRT_{what}_{place}" for what in ("mask", "status") for place in (1, 2)
            }

    def test_a_port_that_is_taken(self) -> None:
        with IgtlLink("127.0.0.1", 0, stale_ms=1e6) as link, pytest.raises(BadInputError, match="OpenIGTLink"):
            IgtlLink("127.0.0.1", link.port, stale_ms=1e6)
