import base64
import json
import tracemalloc

import numpy as np
import pytest

from seldon.service.request_errors import RequestError
from seldon.service.seldon_messages import parse_message, prediction_message


def test_every_field_that_may_hold_an_image_is_read():
    text = base64.b64encode(b"content").decode()
    pixels = np.full((4, 4, 3), 7).tolist()
    tensor = {"shape": [2, 4, 4, 3], "values": [1.4] * 96}

    assert parse_message({"binData": text}, 4) == [b"content"]
    assert parse_message({"binData": text.encode()}, 4) == [b"content"]
    assert parse_message(json.dumps({"jsonData": {"image": text}}), 4) == [b"content"]
    assert parse_message({"jsonData": {"images": [text, text]}}, 4) == [b"content"] * 2
    assert parse_message({"data": {"ndarray": pixels}}, 4).shape == (1, 4, 4, 3)
    assert parse_message({"data": {"tensor": tensor}}, 4).tolist() == np.ones((2, 4, 4, 3)).tolist()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", 400), (b"\xff\xfe", 400), ("[" * 100_000, 400), ("1", 400), ({}, 400), ({"strData": "x"}, 400), ({"binData": "%"}, 400),
        ({"binData": None}, 400), ({"jsonData": []}, 400), ({"jsonData": {"images": []}}, 422), ({"jsonData": {"images": ["aa"] * 65}}, 422),
        ({"data": 1}, 400), ({"data": {}}, 400), ({"data": {"ndarray": [1]}}, 422), ({"data": {"ndarray": [["a"], 1]}}, 400),
        ({"data": {"ndarray": np.zeros((65, 4, 4, 3)).tolist()}}, 422), ({"data": {"ndarray": np.full((4, 4, 3), 300).tolist()}}, 422),
        ({"data": {"ndarray": np.full((4, 4, 3), "1").tolist()}}, 400), ({"data": {"tensor": {"shape": [5], "values": [1]}}}, 400),
    ],
)  # fmt: skip
def test_anything_else_is_refused_and_not_repeated(message, code):
    with pytest.raises(RequestError) as error:
        parse_message(message, 4)

    assert error.value.code == code
    assert len(error.value.info) < 300


def test_a_response_has_seldons_shape():
    assert prediction_message(["a"], [[1.0]], "id", {"k": "v"}) == {
        "data": {"names": ["a"], "ndarray": [[1.0]]},
        "meta": {"puid": "id", "tags": {"k": "v"}},
    }


@pytest.mark.parametrize("kind", [str, str.encode])
def test_a_message_of_brackets_is_refused_before_it_is_read(kind):
    with pytest.raises(RequestError, match="little but brackets"):
        parse_message(kind('{"data": {"ndarray": [' + ", ".join(["[]"] * 100_000) + "]}}"), 4)


def test_the_smallest_pixels_in_the_fewest_characters_are_no_such_message():
    pixels = np.zeros((224, 224, 3), np.uint8).tolist()

    assert parse_message(json.dumps({"data": {"ndarray": pixels}}, separators=(",", ":")), 224).shape == (1, 224, 224, 3)


def test_a_long_text_among_short_ones_takes_no_more_than_itself():
    """As a table of texts it would take 2 GB: each cell would be as long as the longest."""
    tracemalloc.start()
    with pytest.raises(RequestError, match="of numbers"):
        parse_message({"data": {"ndarray": [1, "x" * 100_000] + [""] * 5000}}, 4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 50 * 2**20


@pytest.mark.parametrize(
    ("value", "words"),
    [(300, "got values from 300 to 300"), (-1.5, "got values from -1.5 to -1.5"), (0.5, "got fractions from 0 to 1; multiply them by 255")],
)  # fmt: skip
def test_pixels_of_another_scale_are_refused_with_their_range(value, words):
    with pytest.raises(RequestError, match=words):
        parse_message({"data": {"ndarray": np.full((4, 4, 3), value).tolist()}}, 4)
