"""The built-in text, and JSON without the json module."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vibee.runtime import jsontext
from vibee.runtime.sample_text import sample_text


def test_the_built_in_text():
    text = sample_text()
    assert text == sample_text() and 200_000 <= len(text) <= 400_000
    assert text.isascii() and len(set(text)) < 64
    stories = text.decode().split("\n\n")[:-1]
    assert len(stories) > 400
    for story in stories:
        assert story.count('"') % 2 == 0 and "  " not in story and story[-1] in '."'
    assert len(set(stories)) > 0.95 * len(stories)
    assert text.startswith(sample_text(5000)[:4000])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_json_there_and_back(value):
    for indent in (None, 2):
        text = jsontext.dump(value, indent)
        assert json.loads(text) == value and jsontext.parse(text) == value
        assert jsontext.parse(text.encode()) == value
    assert jsontext.parse(json.dumps(value)) == value


@given(st.text(alphabet='{}[]",:0123456789.eE+-truefalsn\\u d8', max_size=12))
def test_what_is_json(text):
    def strictly(pairs):
        if len({k for k, _ in pairs}) != len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        want = json.loads(text, object_pairs_hook=strictly)
    except ValueError:
        with pytest.raises(jsontext.JsonError):
            jsontext.parse(text)
    else:
        assert jsontext.parse(text) == want


@pytest.fixture(params=["accelerator", "json"])
def parser(request, monkeypatch):
    """With the C accelerator, and without."""
    if request.param == "json":
        monkeypatch.setitem(sys.modules, "_json", None)


NOT_JSON = ["", " ", "{", "NaN", "[Infinity]", '{"b":0,"a":1,"a":2}', "1 2", "[" * 10**6, b"\xff"]


@pytest.mark.parametrize("text", NOT_JSON)
def test_what_is_not(parser, text):
    with pytest.raises(jsontext.JsonError):
        jsontext.parse(text)


def test_a_key_that_stands_twice_is_named(parser):
    with pytest.raises(jsontext.JsonError, match="the key 'a' stands twice"):
        jsontext.parse('{"b": 0, "a": 1, "c": 2, "a": 1}')


def test_any_text_there_and_back(parser):
    assert jsontext.parse('{"a": [1, "ü"]}') == {"a": [1, "ü"]}
    assert jsontext.dump("ü") == '"ü"'
    broken = jsontext.dump("ü\ud800")  # half of a pair has no UTF-8
    assert broken == '"\\u00fc\\ud800"' and jsontext.parse(broken.encode()) == "ü\ud800"


def test_what_has_no_json():
    with pytest.raises(ValueError, match="no inf"):
        jsontext.dump([float("inf")])
    with pytest.raises(TypeError):
        jsontext.dump({1, 2})
