from tsfm_adapt.cli.words import counted


def test_one_is_singular_and_all_else_plural():
    assert [counted(n, "subject") for n in (0, 1, 2)] == ["0 subjects", "1 subject", "2 subjects"]
