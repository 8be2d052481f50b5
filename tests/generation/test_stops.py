import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.errors import ConfigError
from textgen.generation.stops import StopFilter


def passed(stops, pieces):
    """The text that comes through, and whether a stop string ended it."""
    stop_filter = StopFilter(stops)
    text = ""
    for piece in pieces:
        text += stop_filter.push(piece)
        if stop_filter.stopped:
            return text, True
    return text + stop_filter.flush(), False


def slow_passed(stops, text):
    """The definition: read on until the text ends with a stop string, then take the longest such away."""
    for end in range(1, len(text) + 1):
        ends = [stop for stop in stops if text[:end].endswith(stop)]
        if ends:
            return text[: end - max(map(len, ends))], True
    return text, False


@pytest.mark.parametrize(
    ("stops", "text", "expected"),
    [
        ([], "anything", ("anything", False)),
        (["\n\n"], "one\ntwo\n\nthree", ("one\ntwo", True)),
        (["END"], "the ENEND", ("the EN", True)),
        (["END"], "the EN", ("the EN", False)),
        (["a"], "a", ("", True)),
        (["bc", "abcd"], "xabcd", ("xa", True)),
        (["c", "abc"], "xabc", ("x", True)),
        (["aab"], "aaab", ("a", True)),
        (["🙂🙃"], "🙂🙂🙃!", ("🙂", True)),
    ],
)
def test_text_passes_up_to_the_first_stop_string(stops, text, expected):
    assert passed(stops, text) == expected  # character by character
    assert passed(stops, [text]) == expected


@given(
    stops=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    pieces=st.lists(st.text("ab", max_size=5), max_size=8),
)
def test_the_pieces_in_which_text_arrives_make_no_difference_to_where_it_stops(stops, pieces):
    text = "".join(pieces)
    slow = slow_passed(stops, text)
    assert passed(stops, text) == slow
    passed_text, stopped = passed(stops, pieces)
    assert (passed_text, stopped) == slow


@given(stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3), text=st.text("abc", max_size=12))
def test_only_what_could_become_a_stop_string_is_held_back(stops, text):
    stop_filter = StopFilter(stops)
    given_text = ""
    for character in text:
        given_text += stop_filter.push(character)
        if stop_filter.stopped:
            break
        held = stop_filter._held
        assert not held or any(stop.startswith(held) for stop in stops)


def test_one_string_is_one_stop_string_and_not_its_letters():
    assert passed("END", "a D, an END") == ("a D, an ", True)


def test_an_empty_stop_string_is_refused():
    with pytest.raises(ConfigError, match="empty stop string"):
        StopFilter(["a", ""])
