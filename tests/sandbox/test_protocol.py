"""The frame parser: strict, bounded, deaf to how the stream is cut, and fuzzed."""

import json
import random
import struct
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.channel import Demultiplexer
from sandbox.worker.child_records import ERROR_MARK, LAYER_MARK, RECORD, ControlReader
from sandbox.worker.protocol import (
    MAGIC,
    MAX_HEADER,
    MAX_REPLY,
    PREFIX,
    Frame,
    FrameParser,
    Job,
    JobLayer,
    ProtocolError,
    check_reply,
    encode,
)

IDENTITY = {"job": "0123456789abcdef", "nonce": "f" * 32}
REPLIES: list[tuple[Mapping[str, str | int], bytes]] = [
    ({"kind": "ready", "python": "3.11.7", "torch": "2.13.0", "filter": "on"}, b""),
    ({"kind": "failed"}, b"ImportError: torch"),
    ({"kind": "done", **IDENTITY, "code": "wrong_shape"}, b"line 3: W\n\0"),
    ({"kind": "done", **IDENTITY, "code": "ok"}, b"\n\0printed"),
]
STREAM = b"".join(encode(header, payload) for header, payload in REPLIES)
EXPECTED = [Frame(dict(header), payload) for header, payload in REPLIES]
FUZZED = 12_000

headers = st.dictionaries(
    st.text(max_size=8), st.text(max_size=20) | st.integers(-(1 << 62), 1 << 62), max_size=5
)


@given(headers, st.binary(max_size=200), st.integers(1, 50))
def test_round_trip_however_the_stream_is_cut(
    header: dict[str, str | int], payload: bytes, step: int
) -> None:
    data = encode(header, payload) * 2
    parser = FrameParser(200)
    frames = [
        frame
        for start in range(0, len(data), step)
        for frame in parser.feed(data[start : start + step])
    ]
    assert frames == [Frame(header, payload)] * 2
    assert parser.pending == 0


def mutated(rng: random.Random, data: bytes) -> bytes:
    """One to four random edits: flip, insert, delete, repeat, cut, swap, splice."""
    value = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not value:
            break
        place = rng.randrange(len(value))
        length = rng.choice([1, 1, 2, 4, 8, 30])
        kind = rng.randrange(7)
        if kind == 0:
            value[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            value[place:place] = rng.randbytes(length)
        elif kind == 2:
            del value[place : place + length]
        elif kind == 3:
            value[place:place] = value[place : place + length]
        elif kind == 4:
            del value[place:]
        elif kind == 5:
            value[place : place + length] = rng.randbytes(length)
        else:
            text = rng.choice([b"NaN", b'"nonce":', b"1e9", b"{", b"[[", b"\xff", b'"kind":"done"'])
            value[place : place + len(text)] = text
    return bytes(value)


def accept(stream: bytes) -> list[Frame]:
    """What a client would take for its own: right frames with the right identity."""
    taken: list[Frame] = []
    for frame in FrameParser(MAX_REPLY).feed(stream):
        check_reply(frame)
        if any(frame.header.get(key, value) != value for key, value in IDENTITY.items()):
            raise ProtocolError("another job")
        taken.append(frame)
    return taken


def test_no_mutated_reply_crashes_or_passes_for_another() -> None:
    rng = random.Random(4)
    refused = short = same = 0
    for _ in range(FUZZED):
        data = mutated(rng, STREAM)
        try:
            frames = accept(data)
        except ProtocolError:
            refused += 1
            continue
        for frame in frames:
            # A bit inside a free text may change; identity and keys may not.
            twin = next(e for e in EXPECTED if e.header["kind"] == frame.header["kind"])
            assert set(frame.header) == set(twin.header)
            assert {k: frame.header.get(k) for k in IDENTITY} in (IDENTITY, dict.fromkeys(IDENTITY))
        short += len(frames) < len(EXPECTED)
        same += len(frames) == len(EXPECTED)
    assert refused + short + same == FUZZED
    assert refused > FUZZED // 2


def test_docker_framing_survives_the_same_fuzz() -> None:
    rng = random.Random(5)
    prefix = struct.pack(">BxxxI", 1, len(STREAM))
    for _ in range(3000):
        data = mutated(rng, prefix + STREAM)
        splitter = Demultiplexer(budget=len(STREAM) * 2)
        try:
            frames = [
                frame
                for start in range(0, len(data), 7)
                for frame in splitter.feed(data[start : start + 7])
            ]
        except ProtocolError:
            continue
        assert len(frames) <= len(EXPECTED) + 1


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused_or_waited_for(data: bytes) -> None:
    try:
        assert FrameParser(100).feed(data) == []
    except ProtocolError:
        assert not MAGIC.startswith(data[:4]) or len(data) >= PREFIX.size


def raw(text: bytes) -> bytes:
    return PREFIX.pack(MAGIC, len(text), 0) + text


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"null",
        b'{"a": 1.5}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": true}',
        b'{"a": null}',
        b'{"a": [1]}',
        b'{"a": {"b": 1}}',
        b'{"a": 1, "a": 2}',
        b'{"a": 99999999999999999999999}',
        b'{"a": "\xff"}',
        b'{"a": 1} x',
        b"{",
        b"",
        b'{"a": ' + b"[" * 3000,
        b'{"a": ' + b"9" * 4000 + b"}",
    ],
)
def test_headers_that_are_not_flat_and_plain_are_refused(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        FrameParser(10).feed(raw(text))


def test_lengths_are_refused_before_they_are_read() -> None:
    for header, payload in ((MAX_HEADER + 1, 0), (2, 11), (2, 1 << 60), (0xFFFFFFFF, 0)):
        with pytest.raises(ProtocolError, match="at most"):
            FrameParser(10).feed(PREFIX.pack(MAGIC, header, payload))


def test_a_damaged_stream_stays_damaged() -> None:
    parser = FrameParser(10)
    with pytest.raises(ProtocolError):
        parser.feed(b"HTTP")
    with pytest.raises(ProtocolError):
        parser.feed(encode({"kind": "x"}))


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"kind": 3},
        {"kind": "sudo"},
        {"kind": "done", **IDENTITY},
        {"kind": "done", **IDENTITY, "code": "ok", "extra": "1"},
        {"kind": "done", **IDENTITY, "code": 0},
        {"kind": "done", "job": 1, "nonce": "f", "code": "ok"},
        {"kind": "layer", **IDENTITY, "run": 0, "index": 1},
    ],
)
def test_replies_have_exactly_their_keys_and_types(header: dict[str, str | int]) -> None:
    with pytest.raises(ProtocolError):
        check_reply(Frame(header))


def test_a_greeting_carries_nothing() -> None:
    with pytest.raises(ProtocolError, match="none are allowed"):
        check_reply(Frame(REPLIES[0][0], b"scores"))


def test_the_byte_budget_holds() -> None:
    splitter = Demultiplexer(budget=100)
    with pytest.raises(ProtocolError, match="more bytes"):
        splitter.feed(struct.pack(">BxxxI", 2, 1 << 30) + bytes(200))


def test_broker_diagnostics_never_enter_the_parser() -> None:
    splitter = Demultiplexer(budget=10_000)
    noise = b"Traceback" + STREAM
    assert splitter.feed(struct.pack(">BxxxI", 2, len(noise)) + noise) == []
    assert splitter.feed(struct.pack(">BxxxI", 1, len(STREAM)) + STREAM) == EXPECTED
    assert splitter.diagnostics == noise[-2000:]


def test_job_round_trip_keeps_floats_exactly() -> None:
    job = Job(
        source="def score(W, stats, params): ...\n\ud800",
        params={"a": 0.1, "b": 1e-300},
        layers=(JobLayer("f", 3, 4), JobLayer("g", 5, 2)),
        order=(1, 0),
        check_inputs=True,
        wall_s=1.5,
        open_files=9,
        output_bytes=10,
    )
    assert Job.from_bytes(job.to_bytes()) == job
    assert job.offsets == [0, 48]
    assert job.result_bytes == 88


def test_job_refuses_constants_that_are_not_finite() -> None:
    with pytest.raises(ProtocolError, match="finite"):
        Job("", {"a": float("nan")}, (), (), False, 1.0, 9, 9)


def test_threads_may_all_use_the_processor_until_the_job_ends() -> None:
    job = Job("", {}, (), (), False, 10.5, 9, 9)
    assert job.processor_s == 11
    assert replace(job, threads=4).processor_s == 43
    assert replace(job, threads=4, cpu_s=6.2).processor_s == 7


def layer(index: int) -> bytes:
    return RECORD.pack(LAYER_MARK, index, 0)


def error(text: bytes) -> bytes:
    return RECORD.pack(ERROR_MARK, 0, len(text)) + text


def test_control_reader_takes_layers_in_their_order_only() -> None:
    reader = ControlReader((2, 0, 1))
    assert reader.feed(layer(2) + layer(0)[:5]) == [2]
    assert reader.feed(layer(0)[5:]) == [0]
    assert not reader.complete
    assert reader.feed(layer(1)) == [1]
    assert reader.complete
    reader.feed(layer(1))
    assert reader.broken


def test_control_reader_takes_one_known_error() -> None:
    reader = ControlReader((0,))
    reader.feed(error(b"exception\nValueError: x"))
    assert reader.error == ("exception", "ValueError: x")
    assert not reader.complete
    reader.feed(error(b"exception\nagain"))
    assert reader.broken
    for text in (b"ok\n", b"timeout\n", b"\xff", b"accepted"):
        fresh = ControlReader((0,))
        fresh.feed(error(text))
        assert fresh.broken


@settings(max_examples=500)
@given(st.binary(max_size=200), st.integers(1, 20))
def test_control_reader_survives_anything(data: bytes, step: int) -> None:
    reader = ControlReader((0, 1))
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
    assert not reader.complete or data == layer(0) + layer(1) or not data


def test_headers_are_json() -> None:
    header, _ = REPLIES[0]
    data = encode(header)
    assert json.loads(data[PREFIX.size :]) == header
