"""Texts that end in a NUL, as older descriptions of MRD have them, and texts that do not: both are read and sent."""

import dataclasses
import json
import socket
import struct
import threading

import numpy as np
import pytest
from click.testing import CliRunner

from bedside.mrd.messages import Text
from bedside.mrd.send_cli import send_mrd
from bedside.mrd.wire import MessageReader, MessageWriter

ENDS = pytest.mark.parametrize("end", [b"", b"\0", b"\0\0\0", b"\0and what a buffer had \xff\xfe"])
META = (
    b"<ismrmrdMeta><meta><name>ImageRowDir</name><value>1</value><value>0</value><value>0</value></meta></ismrmrdMeta>"
)


def text_of(number: int, data: bytes) -> bytes:
    return struct.pack("<HI", number, len(data)) + data


@ENDS
def test_every_text_ends_at_its_first_nul(serve, pixels, header, end: bytes) -> None:
    client = serve().connect()
    client.send(text_of(2, b"cinert" + end))
    client.send(text_of(3, header.encode() + end))
    client.send(text_of(5, b'{"parameters": {"config": "cinert", "colour": "red"}}' + end))
    client.image(pixels(), attributes=META + end)
    client.send(text_of(5, b"the patient moved" + end))
    client.close()

    unused, mask = client.rest()

    assert unused == "parameters that are not used here: 'colour'"
    np.testing.assert_array_equal(mask.pixels_YX, np.where(pixels() > 500, 3, 0))
    assert mask.meta["ImageRowDir"] == ["1", "0", "0"]


@ENDS
def test_parameters_are_read_whatever_ends_them(serve, end: bytes) -> None:
    client = serve().connect()
    client.start(1)
    client.send(text_of(5, json.dumps({"parameters": {"config": "other"}}).encode() + end))

    assert "the configuration 'other' is not served here" in client.refusal()


@pytest.mark.parametrize("name", [b"cinert\0", b"\xef\xbb\xbfcinert", b" cinert \r\n\0"])
def test_config_text_is_a_name_with_whatever_is_around_it(serve, header, pixels, name: bytes) -> None:
    client = serve().connect()
    client.send(text_of(2, name))
    client.send(text_of(3, b"\xef\xbb\xbf" + header.encode()))
    client.image(pixels())
    client.close()

    assert len(client.rest()) == 1


def test_a_config_file_name_ends_at_its_first_nul(serve, header, pixels) -> None:
    client = serve().connect()
    client.send(struct.pack("<H", 1) + b"cinert\0old name\xff".ljust(1024, b"\xfe"))
    client.text(header, 3)
    client.image(pixels())
    client.close()

    assert len(client.rest()) == 1


@pytest.mark.parametrize("data", [b"\0", b"\0<ismrmrdHeader/>"])
def test_a_header_that_begins_with_a_nul_is_empty(serve, data: bytes) -> None:
    client = serve().connect()
    client.config()
    client.send(text_of(3, data))

    assert client.refusal() == "refused: the XML header cannot be read: it is empty"


@pytest.mark.parametrize(("nul", "end"), [(False, b""), (True, b"\0")])
def test_a_writer_sends_the_form_that_it_is_told(limits, nul: bool, end: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        MessageWriter(ours, limits, nul=nul).send("dropped: ü")
        assert theirs.recv(100) == text_of(5, "dropped: ü".encode() + end)


@ENDS
def test_our_clients_read_both_forms(limits, end: bytes) -> None:
    """send-mrd and bench-engine read by the same reader."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(text_of(5, b"refused: every place is taken" + end))

        assert MessageReader(ours, dataclasses.replace(limits, max_text_bytes=2**12)).read() == Text(
            "refused: every place is taken"
        )


@pytest.mark.parametrize(("option", "ends"), [([], True), (["--nul"], True), (["--no-nul"], False)])
def test_send_mrd_ends_its_header_as_it_is_told_and_in_a_nul_else(cine, option: list[str], ends: bool) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    header = []

    def refuse() -> None:
        """Read configuration and header; answer with words that end in a NUL."""
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            stream.read(1026)
            number, length = struct.unpack("<HI", stream.read(6))
            header.append((number, stream.read(length)))
            connection.sendall(text_of(5, b"refused: not today\0") + struct.pack("<H", 4))
            connection.shutdown(socket.SHUT_WR)
            while stream.read(2**16):
                pass

    thread = threading.Thread(target=refuse)
    thread.start()
    result = CliRunner().invoke(send_mrd, [str(cine[0]), "--port", str(listener.getsockname()[1]), *option])
    thread.join(60)
    listener.close()

    ((number, data),) = header
    assert number == 3
    assert data.endswith(b"</ismrmrdHeader>\n\0" if ends else b"</ismrmrdHeader>\n")
    assert data.count(b"\0") == ends
    assert result.exit_code == 2
    assert "said: refused: not today." in result.output
