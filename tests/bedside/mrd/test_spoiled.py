"""Good sessions with a few bytes spoiled."""

import socket
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_spoiled_stream_ends_and_the_server_goes_on(fuzzed, data) -> None:
    """A whole session with bytes changed, cut out or put in: an answer or a refusal, and no thread that dies."""
    running, stream = fuzzed
    spoiled = bytearray(stream)
    for _ in range(data.draw(st.integers(1, 4))):
        # Mostly where lengths and fields are: behind the 1026 bytes of the configuration.
        place = data.draw(st.one_of(st.integers(0, len(spoiled)), st.integers(1026, min(len(spoiled), 2500))))
        cut = data.draw(st.integers(0, 8))
        spoiled[place : place + cut] = data.draw(st.binary(max_size=8))
    client = running.connect()
    try:
        client.send(bytes(spoiled))
        client.socket.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    client.rest()
    client.socket.close()


@pytest.fixture
def fuzzed(serve, make_image, pixels, monkeypatch):
    """A server, and the bytes of a good session; at the end nothing is left of the spoiled ones."""
    died = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    running = serve(max_clients=8)
    recorder = running.connect()
    parts = []
    recorder.send = parts.append
    recorder.start(2)
    recorder.text('{"parameters": {"config": "cinert"}}')
    attributes = b"<ismrmrdMeta><meta><name>ImageRowDir</name><value>1</value></meta></ismrmrdMeta>"
    for repetition in range(2):
        for number in range(2):
            recorder.image(pixels(number), slice=number, repetition=repetition, attributes=attributes)
    recorder.close()
    recorder.socket.close()

    yield running, b"".join(parts)

    running.assert_still_serving(pixels)
    assert not died, died
    assert not [line for line in running.lines if "an error of the server" in line]
