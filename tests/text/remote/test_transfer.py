"""Where a partial copy is continued."""

from textgen.text.remote.transfer import Held, resume_from


def test_a_partial_copy_is_continued_one_byte_before_its_end() -> None:
    assert resume_from(Held(partial="1", received=10)) == 9
    assert resume_from(Held(partial="1", received=0)) == 0
    assert resume_from(Held(partial=None, received=10)) == 0
