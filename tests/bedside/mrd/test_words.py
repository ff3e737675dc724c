"""What a client is told are sentences of this product: no word of Python, of its libraries or of a parser."""

import json
import random
import re
import struct

import numpy as np
import pytest

from bedside.frames import Answer

FOREIGN = re.compile(
    "|".join(
        (
            r"Error|Exception|[Tt]raceback|Errno|codec|unpack|struct|argument|object|numpy|xsdata|lxml|ElementTree",
            r"\bNone\b|\bTrue\b|\bFalse\b|<class|__|0x[0-9a-f]|array\(|\[['\d]|\[None|\\x|\\u",
            r"well-formed|invalid token|mismatched|no element|junk|undefined entity|unclosed|unbound prefix",
        )
    )
)


def words_of(messages) -> list[str]:
    """Every text of a session, and the reasons in its declarations."""
    texts = [message for message in messages if isinstance(message, str)]
    return [json.loads(text)["reason"] if text.startswith("{") else text for text in texts]


def assert_ours(words: list[str]) -> None:
    for each in words:
        assert not FOREIGN.search(each), each
        assert each.isprintable(), each
        assert len(each) < 400, each


def spoiled_headers(header: str) -> list[str]:
    return [
        "not xml",
        "<a>",
        "<a/>",
        "<a b=c/>",
        "<?xml version='1.0' encoding='nonsense'?><a/>",
        "<?xml version='1.0' encoding='UTF-16'?><ismrmrdHeader/>",
        "<ismrmrdHeader/>",
        "<ismrmrdHeader><encoding></ismrmrdHeader>",
        "&#0;",
        "\x01\x02",
        "<a>" * 3000,
        header.replace("<y>6</y>", "<y>six</y>"),
        header.replace("<encoding>", "<encoding/><encoding>"),
        header.replace("<maximum>0</maximum>", "<maximum>many</maximum>"),
        header.replace("<maximum>0</maximum>", "<maximum>1.5</maximum>"),
        header.replace("<maximum>0</maximum>", "<maximum/>"),
        header.replace("<maximum>0</maximum>", f"<maximum>{'9' * 5000}</maximum>"),
        header.replace("<minimum>0</minimum>", "<minimum>&#233;&#10;&#8238;'</minimum>"),
        header.replace("<minimum>0</minimum>", ""),
        header.replace("cartesian", "no such thing"),
        header.replace("</ismrmrdHeader>", "<ours/></ismrmrdHeader>"),
        header.replace("http://www.ismrm.org/ISMRMRD", "http://example.org"),
        header[: len(header) // 2],
    ]


@pytest.mark.parametrize("place", range(23))
def test_headers(serve, header, pixels, place: int) -> None:
    client = serve().connect()
    client.config()
    client.text(spoiled_headers(header)[place], 3)
    client.image(pixels())
    client.close()

    assert_ours(words_of(client.rest()))


@pytest.mark.parametrize(
    "name",
    ["os", "ünïcode", "it's", 'say "x"', "a\nb\tc", "\x1b]red", "\u202eright", "x" * 1000, "", "None\0"],
)
def test_configurations(serve, name: str) -> None:
    client = serve().connect()
    client.config(name.encode()[:1000].decode(errors="ignore"))

    words = client.refusal()

    assert_ours([words.replace("'None'", "")])
    assert "is not served here; known: cinert, openrecon" in words


@pytest.mark.parametrize(
    "parameters",
    [
        {"config": None},
        {"config": True},
        {"config": 7.5},
        {"config": ["a"]},
        {"config": {"a": None}},
        {"config": "\u202e\n"},
        {"a'b": 1, "c\nd": None, "\x07": 2},
        ["config"],
        None,
    ],
)
def test_parameters(serve, pixels, parameters) -> None:
    client = serve().connect()
    client.start(1)
    client.text(json.dumps({"parameters": parameters}))
    client.image(pixels())
    client.close()

    assert_ours(words_of(client.rest()))


@pytest.mark.parametrize(
    "attributes",
    [
        "<a>",
        "<a/>",
        "x",
        "<ismrmrdMeta>",
        "<ismrmrdMeta><meta/></ismrmrdMeta>",
        "<ismrmrdMeta><meta><name/></meta></ismrmrdMeta>",
        "<ismrmrdMeta><meta><value>1</value></meta></ismrmrdMeta>",
        *(
            f"<ismrmrdMeta><meta><name>{name}</name>{values}</meta></ismrmrdMeta>"
            for name in ("ImageRowDir", "ImageColumnDir")
            for values in (
                "",
                "<value/>",
                "<value>x</value>",
                "<value>1</value><value>0</value>",
                "<value>1</value><value/><value>0</value>",
                "<value>1</value><value>nan</value><value>0</value>",
                "<value>1</value><value>1e999</value><value>0</value>",
                "<value>1</value><value>&#8238;'&#10;</value><value>?</value>",
                "<value>1</value><value>1</value><value>0</value>",
            )
        ),
    ],
)
def test_attributes(serve, pixels, attributes: str) -> None:
    client = serve().connect()
    client.start(1)
    client.image(pixels(), attributes=attributes.encode())
    client.close()

    assert_ours(words_of(client.rest()))


@pytest.mark.parametrize(
    "changed",
    [
        {"field_mm": (float("nan"), 18.0, 8.0)},
        {"field_mm": (-16.0, 18.0, 8.0)},
        {"field_mm": (1e38, 1e38, 1e38)},
        {"position": (float("inf"), 0.0, float("nan"))},
        {"read": (0.0, 0.0, 0.0)},
        {"read": (1e38, 1e38, 1e38)},
        {"image_type": 5},
        {"data_type": 4},
        {"channels": 0},
        {"slice": 9},
        {"matrix": (8, 6, 0)},
        {"matrix": (65535, 65535, 65535)},
    ],
)
def test_image_headers(serve, pixels, changed) -> None:
    client = serve().connect()
    client.start(1)
    client.image(pixels(), **changed)
    client.close()

    words = words_of(client.rest())

    assert len(words) == 1
    assert_ours(words)


def test_spoiled_sessions(serve, make_image, pixels, monkeypatch) -> None:
    """As `test_spoiled`, and every word of every answer is read."""
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    running, chance, heard = serve(max_clients=8), random.Random(0), 0
    recorder, parts = running.connect(), []
    recorder.send = parts.append
    recorder.start(2)
    recorder.text('{"parameters": {"config": "cinert"}}\0')
    for number in (0, 1, 0):
        recorder.image(
            pixels(number), slice=number, attributes=b"<ismrmrdMeta><meta><name>A</name></meta></ismrmrdMeta>"
        )
    recorder.close()
    stream = b"".join(parts)
    for _ in range(300):
        data = bytearray(stream)
        for _ in range(chance.randint(1, 4)):
            place = chance.choice((chance.randrange(len(data)), chance.randrange(1024, min(2600, len(data)))))
            data[place : place + chance.randrange(6)] = chance.randbytes(chance.randrange(6))
        client = running.connect()
        try:
            client.send(bytes(data))
            client.socket.shutdown(1)
        except OSError:
            pass
        words = words_of(client.rest())
        client.socket.close()
        # What was sent may be quoted.
        assert_ours([re.sub(r"'.*'", "''", each) for each in words])
        heard += len(words)

    assert heard > 100
    running.assert_still_serving(pixels)


@pytest.mark.parametrize("number", [0, 6, 1008, 1030, 40000])
def test_other_messages(serve, number: int) -> None:
    client = serve().connect()
    client.start(1)
    client.send(struct.pack("<H", number))

    assert_ours(words_of(client.rest()))


class Raising:
    """An engine that raised an error on its only frame."""

    def submit(self, frame) -> Answer:
        return Answer("failed", None, 1.0, "RuntimeError: CUDA error 700 at 0x7f32", raised=True)

    def close(self) -> None:
        pass


def test_what_an_engine_raised_is_for_the_log(serve, pixels, declared) -> None:
    running = serve(open_runner=Raising)
    client = running.connect()
    client.start(1)
    client.image(pixels(), phase=3)
    client.close()

    (drop,) = declared(client.rest())

    assert (drop["state"], drop["phase"]) == ("failed", 3)
    assert drop["reason"] == "the engine failed on this frame, the server's log says why"
    running.wait_for_line("RuntimeError: CUDA error 700")
    assert running.seen[-1][2].told == drop["reason"]


@pytest.mark.parametrize("value", [np.nan, 1e39])
def test_pixels(serve, make_image, value: float) -> None:
    client = serve().connect()
    client.start(1)
    client.image(np.full((6, 8), value, np.float64))
    client.close()

    assert words_of(client.rest()) == ["pixels that are NaN or infinite"]
