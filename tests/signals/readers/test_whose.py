import pytest

from tsfm_adapt.signals.readers._whose import known_code, tell_apart


@pytest.mark.parametrize("code", ["HOSP0001", "x17", " P3 ", "000", "Anna", "mch-0234567"])
def test_a_code_is_kept_as_it_is(code):
    assert known_code(code) == code.strip()


@pytest.mark.parametrize(
    "code", ["", "X", "xxx", "X_X", "?", "-", "anonymous", "ANON", "Anonymized", "n/a", "unknown"]
)
def test_words_for_nobody_are_no_code(code):
    assert known_code(code) is None


def test_codes_tell_apart_where_all_are_known_and_some_differ():
    assert tell_apart(["a", "a", "b"])
    assert tell_apart(["a", "b", "c"])
    assert not tell_apart(["a", "a", "a"])
    assert not tell_apart(["a", "b", None])
    assert not tell_apart(["a"])
    assert not tell_apart([])
