import base64
import json
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.parsing import (
    MAX_JSON_VALUES,
    decode_base64,
    is_data_uri,
    is_fields,
    is_json_object,
    parse_json,
    parsed_size,
)
from service.errors import EclipError, ImageUndecodable, RequestMalformed
from tests.support.paths import RADIOGRAPH

DATA = bytes(range(256)) + b"\xfb\xff"
PLAIN = base64.b64encode(DATA).decode()


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        base64.encodebytes(DATA).decode(),
        PLAIN.replace("/", "/\r\n "),
        base64.urlsafe_b64encode(DATA).decode(),
        PLAIN.rstrip("="),
        f"data:image/png;base64,{PLAIN}",
        f"DATA:image/png;name=1.png;BASE64,{PLAIN}",
        f"data:;base64,{PLAIN}",
        f"data:image/png;base64,{PLAIN}".replace("+", "%2B").replace("=", "%3D"),
    ],
)
def test_base64_is_read_as_clients_write_it(text):
    assert decode_base64(text) == DATA


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("%%%", ImageUndecodable),
        ("A", ImageUndecodable),
        ("AAAA!AAA", ImageUndecodable),
        ("AA==AAAA", ImageUndecodable),
        ("Äpfel", ImageUndecodable),
        ("C:/images/1.png", ImageUndecodable),
        ("data:image/png;base64,%%%", ImageUndecodable),
        ("data:image/png,plain", RequestMalformed),
    ],
)
def test_what_is_not_base64_is_refused(text, error):
    with pytest.raises(error):
        decode_base64(text)


@given(st.text())
def test_no_text_raises_anything_else(text):
    with suppress(EclipError):
        decode_base64(text)


@pytest.mark.parametrize("escape", [False, True])
@pytest.mark.parametrize("length", range(9))
def test_base64_is_the_same_wherever_it_is_cut(monkeypatch, length, escape):
    data = (b"\xfb\xef\xff" * 12)[: 20 + length]
    text = "\r\n".join(base64.b64encode(data).decode())
    if escape:
        text = "data:image/png;base64," + text.replace("+", "%2B").replace("=", "%3D")
    for piece in range(3, 24):
        monkeypatch.setattr("service.api.parsing._PIECE", piece)
        assert decode_base64(text) == data
        with pytest.raises(ImageUndecodable):
            decode_base64(text + "=A")


@pytest.mark.parametrize(
    "text", ["plain " * 9000, "wide \u4e2d" * 9000, "\U0001f600", "[" + "1," * 9000 + "1]"]
)
def test_what_values_take_is_estimated_before_they_are_parsed(text):
    for ascii_only in (True, False):
        body = json.dumps({"text": text, "words": text.split()}, ensure_ascii=ascii_only).encode()
        value = parse_json(body)
        taken = sum(sys.getsizeof(each) for each in (value, *value, *value.values()))
        taken += sum(sys.getsizeof(word) for word in value["words"])
        assert taken <= parsed_size(body)


def test_commas_of_texts_are_no_values():
    texts = ["No effusion, no mass, no " + '"tension" \\, ' * 200] * 600
    assert sum(text.count(",") for text in texts) > MAX_JSON_VALUES
    assert parse_json(json.dumps({"texts": texts})) == {"texts": texts}


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"0," * MAX_JSON_VALUES + b"0]",
        b'["' + b"," * MAX_JSON_VALUES + b'"' + b",0" * MAX_JSON_VALUES + b"]",
        b'["a"' + b',""' * MAX_JSON_VALUES + b"]",
        b'["' + b'",["' * MAX_JSON_VALUES,
    ],
)
def test_more_values_than_a_request_needs_are_refused_unparsed(monkeypatch, body):
    monkeypatch.setattr("service.api.parsing.from_json", None)
    with pytest.raises(RequestMalformed, match="values"):
        parse_json(body)


def test_a_text_that_never_ends_is_read_once():
    body = b"[" + b"[" * MAX_JSON_VALUES + b'"' + b'\\"' * 2**22 + b"\\"
    assert parsed_size(body) > MAX_JSON_VALUES


def test_a_sentence_is_no_data_uri():
    assert is_data_uri("data:image/png;base64,AAAA")
    assert not is_data_uri("data: no effusion, no mass")
    assert not is_data_uri("data:")


@pytest.mark.parametrize("text", [b'\xef\xbb\xbf{"a": 1}', '\ufeff{"a": 1}', b' {"a": 1}\r\n'])
def test_a_byte_order_mark_before_json_is_passed_over(text):
    assert parse_json(text) == {"a": 1}


@pytest.mark.parametrize("text", [b"{\xff}", b'{"a": "\xc4"}', b'{"a": NaN}', b"", b"{", "\ufeff"])
def test_what_is_not_json_is_malformed(text):
    with pytest.raises(RequestMalformed, match="JSON"):
        parse_json(text)


def test_no_image_is_taken_for_json_or_for_fields():
    preamble = b"{".ljust(128) + b"DICM"
    for image in (RADIOGRAPH.read_bytes(), b"\xff\xd8\xff\xe0", preamble):
        assert not is_json_object(image)
        assert not is_fields(image)
