"""MRD messages on a socket: sizes and times are checked here, contents are parsed and written by `ismrmrd`.

Message ids, sizes and their order are those of the MRD specification (ismrmrd.readthedocs.io, "MRD messages"). A text
ends at its first NUL, or where its length says: older descriptions end header, config text and text in a NUL, newer
ones do not, and both are sent.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import math
import re
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, TypeVar
from xml.etree import ElementTree

import ismrmrd
from ismrmrd.serialization import ConfigFile, ConfigText
from ismrmrd.serialization import ISMRMRDMessageID as MessageId

from bedside.mrd.limits import Limits
from bedside.mrd.messages import Close, Config, DisconnectedError, Header, Message, PeerError, Text, Waveform, quoted

T = TypeVar("T")

CONFIG_FILE_BYTES = 1024
_NOT_SERVED = (MessageId.ACQUISITION, MessageId.NDARRAY)
_LINGER_S = 1.0
_LONGEST_S = 1e6
"""poll(2) takes 32 bits of milliseconds."""
_FIRST_BYTES = 2**20
_ATTRIBUTES = "the attribute text of an image"
# ismrmrd 1.15 reads data type 4 (int32) as 64-bit: the rest of the stream would be misread.
_PIXEL_BYTES = {1: 2, 2: 2, 3: 4, 5: 4, 6: 8, 7: 8, 8: 16}
# Entities let a short text grow without bound when it is parsed.
_DOCUMENT_TYPE = re.compile(r"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)


class MessageReader:
    """Reads one message after the other from a connected socket, within limits.

    Reading and writing wait by poll(2): a socket has one time-out, which two threads would take from each other.
    """

    def __init__(self, connection: socket.socket, limits: Limits) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._limits = limits
        self._deadline = math.inf

    def read(self, *, wait_s: float | None = None) -> Message:
        """Wait for the next message and parse it.

        Args:
            wait_s: for its first byte; None takes the limit for idle peers.

        Raises:
            PeerError: too long, too slow, silent, not of the specification, or not served here.
            DisconnectedError: the connection ended without a close message.
        """
        wait_s = self._limits.idle_s if wait_s is None else wait_s
        self._deadline = time.monotonic() + wait_s
        first = self._exactly(1, f"no message for {wait_s:g} s")
        self._deadline = time.monotonic() + self._limits.stall_s
        (number,) = struct.unpack("<H", first + self._exactly(1))
        if number == MessageId.IMAGE:
            return self._image()
        if number == MessageId.CONFIG_FILE:
            return Config(_decoded(self._exactly(CONFIG_FILE_BYTES), "the config file name"), text=False)
        if number == MessageId.CONFIG_TEXT:
            return Config(self._text("the config text"), text=True)
        if number == MessageId.HEADER:
            return _header(self._text("the XML header"))
        if number == MessageId.TEXT:
            return Text(self._text("a text"))
        if number == MessageId.WAVEFORM:
            return self._waveform()
        if number == MessageId.CLOSE:
            return Close()
        kind = MessageId(number).name.lower() if number in _NOT_SERVED else "unknown"
        raise PeerError(f"message {number} ({kind}) is not served here; images are")

    def _image(self) -> Any:
        head_bytes = self._exactly(ctypes.sizeof(ismrmrd.ImageHeader))
        head = ismrmrd.ImageHeader.from_buffer_copy(head_bytes)
        if head.data_type not in _PIXEL_BYTES:
            raise PeerError(f"images of data type {head.data_type} cannot be read here")
        pixels = math.prod(head.matrix_size) * head.channels
        size = pixels * _PIXEL_BYTES[head.data_type]
        if not 0 < size <= self._limits.max_image_bytes:
            raise PeerError(
                f"an image of {' x '.join(map(str, head.matrix_size))} pixels and {head.channels} channels has"
                f" {size} bytes; 1 to {self._limits.max_image_bytes} are allowed"
            )
        (length,) = struct.unpack("<Q", self._exactly(8))
        text = _decoded(self._limited(length, _ATTRIBUTES), _ATTRIBUTES)
        _without_entities(text, _ATTRIBUTES)
        attributes = text.encode()
        parts = iter((struct.pack("<Q", len(attributes)), attributes, self._exactly(size)))
        return _parsed(
            "an image",
            text,
            "its attributes are no ismrmrdMeta",
            lambda: ismrmrd.Image.deserialize_from_with_header(head_bytes, lambda _: next(parts)),
        )

    def _waveform(self) -> Waveform:
        head = ismrmrd.WaveformHeader.from_buffer_copy(self._exactly(ctypes.sizeof(ismrmrd.WaveformHeader)))
        self._limited(4 * head.channels * head.number_of_samples, "a waveform")
        return Waveform()

    def _text(self, what: str) -> str:
        (length,) = struct.unpack("<I", self._exactly(4))
        return _decoded(self._limited(length, what), what)

    def _limited(self, length: int, what: str) -> bytearray:
        if length > self._limits.max_text_bytes:
            raise PeerError(f"{what} has {length} bytes; {self._limits.max_text_bytes} are allowed")
        return self._exactly(length)

    def _exactly(self, size: int, overdue: str = "") -> bytearray:
        # A length is a peer's word: memory grows with what has arrived.
        data, done = bytearray(min(size, _FIRST_BYTES)), 0
        while done < size:
            if done == len(data):
                data.extend(bytes(min(done, size - done)))
            try:
                _wait(self._socket, select.POLLIN, self._deadline)
                with memoryview(data)[done:] as rest:
                    count = self._socket.recv_into(rest)
            except BlockingIOError:
                continue
            except TimeoutError:
                raise PeerError(overdue or f"half a message after {self._limits.stall_s:g} s") from None
            except OSError as error:
                raise DisconnectedError(_in_words(error)) from error
            if count == 0:
                raise DisconnectedError("the connection ended" + (" in the middle of a message" if not overdue else ""))
            done += count
        return data


class MessageWriter:
    """Writes messages to a connected socket, each whole or not at all; used from one thread at a time.

    Args:
        connection: to the peer.
        limits: for the peer's patience.
        nul: end header, config text and texts in a NUL.
    """

    def __init__(self, connection: socket.socket, limits: Limits, *, nul: bool = False) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._limits = limits
        self._nul = nul
        self._buffer = bytearray()
        self._serializer = ismrmrd.ProtocolSerializer(self)

    def send(self, *messages: Any) -> None:
        """Send images, texts (str), configs and headers of `ismrmrd` in one go.

        Raises:
            DisconnectedError: the peer is gone, or takes nothing for longer than the limit.
        """
        for message in messages:
            if isinstance(message, ismrmrd.xsd.ismrmrdHeader):
                self.write(text_message(MessageId.HEADER, message.toXML(), nul=self._nul))
            elif isinstance(message, str) and not isinstance(message, ConfigFile):
                number = MessageId.CONFIG_TEXT if isinstance(message, ConfigText) else MessageId.TEXT
                self.write(text_message(number, message, nul=self._nul))
            else:
                self._serializer.serialize(message)
        self.flush()

    def close(self) -> None:
        """Send the close message; the socket stays open. Raises as `send`."""
        self._serializer.close()

    def part(self, words: str = "") -> None:
        """Send last words and the close message, if the peer still takes them.

        What the peer sends is read away for a moment: closing on unread data would destroy the words on their way.
        """
        with contextlib.suppress(DisconnectedError, OSError):
            if words:
                self.send(words)
            self.close()
            self._socket.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + _LINGER_S
            while True:
                _wait(self._socket, select.POLLIN, deadline)
                if not self._socket.recv(2**16):
                    return

    def write(self, data: Any) -> None:
        """Take bytes from the serialiser."""
        self._buffer += data

    def flush(self) -> None:
        """Send what was taken."""
        data, self._buffer = memoryview(self._buffer), bytearray()
        deadline = time.monotonic() + self._limits.stall_s
        try:
            while data:
                _wait(self._socket, select.POLLOUT, deadline)
                with contextlib.suppress(BlockingIOError):
                    data = data[self._socket.send(data) :]
        except TimeoutError:
            raise DisconnectedError(f"the peer took no data for {self._limits.stall_s:g} s") from None
        except OSError as error:
            raise DisconnectedError(_in_words(error)) from error


def text_message(number: int, text: str, *, nul: bool) -> bytes:
    """The bytes of a header, config text or text, with its message number."""
    data = text.encode() + (b"\0" if nul else b"")
    return struct.pack("<HI", number, len(data)) + data


def _wait(connection: socket.socket, event: int, deadline: float) -> None:
    left_s = deadline - time.monotonic()
    if connection.fileno() < 0:
        raise OSError(errno.EBADF, "the connection was closed here")
    poll = select.poll()
    poll.register(connection, event)
    if left_s <= 0 or not poll.poll(min(left_s, _LONGEST_S) * 1e3):
        raise TimeoutError


def _in_words(error: OSError) -> str:
    return error.strerror or "the connection broke"


def _header(text: str) -> Header:
    _without_entities(text, "the XML header")
    limits = _parsed("the XML header", text, "it is no ismrmrdHeader of the MRD schema", lambda: _slice_limits(text))
    if limits is None:
        return Header(None)
    first, last = limits
    if not isinstance(first, int) or not isinstance(last, int) or last < first:
        raise PeerError(f"the XML header has slices {_shown(first)} to {_shown(last)}")
    return Header(last - first + 1)


def _slice_limits(text: str) -> tuple[Any, Any] | None:
    """First and last slice by the first encoding, whatever stands there; None where nothing does."""
    document = ismrmrd.xsd.CreateFromDocument(text)
    limits = document.encoding[0].encodingLimits if document.encoding else None
    return None if limits is None or limits.slice is None else (limits.slice.minimum, limits.slice.maximum)


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, int) else "nothing" if value is None else quoted(str(value))


def _decoded(data: bytes | bytearray, what: str) -> str:
    """A text up to its first NUL, without a byte order mark; what follows the NUL need not even be text."""
    try:
        return data.split(b"\0", 1)[0].decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PeerError(f"{what} is not UTF-8") from None


def _without_entities(text: str, what: str) -> None:
    if _DOCUMENT_TYPE.search(text):
        raise PeerError(f"{what} declares a document type or entities, which are not read")


def _parsed(what: str, text: str, otherwise: str, parse: Callable[[], T]) -> T:
    """Parse what a peer sent, `text` in it; whatever the parser raises ends this session and no other.

    A parser's words are for whoever wrote it: the peer is told where the text stops being XML, else `otherwise`.
    """
    try:
        return parse()
    except Exception as error:
        raise PeerError(f"{what} cannot be read: {_xml_fault(text) or otherwise}") from error


def _xml_fault(text: str) -> str:
    if not text.strip():
        return "it is empty"
    try:
        ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        line, column = error.position
        return f"it is no XML from line {line}, column {column + 1} on"
    except ValueError:
        return "it is no XML"
    return ""
