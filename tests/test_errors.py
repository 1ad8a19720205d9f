import pytest

from tsfm_adapt import errors


def test_each_kind_of_error_ends_the_program_with_its_own_code():
    kinds = (
        errors.RecipeError,
        errors.DataError,
        errors.EnvironmentProblem,
        errors.DivergedError,
    )
    assert [kind.exit_code for kind in kinds] == [2, 3, 4, 5]
    assert errors.TsfmAdaptError.exit_code == errors.CannotMerge.exit_code == 1


def test_one_clause_catches_everything_that_a_user_can_act_on():
    for name in ("RecipeError", "DataError", "EnvironmentProblem", "DivergedError", "CannotMerge"):
        with pytest.raises(errors.TsfmAdaptError, match="what happened"):
            raise getattr(errors, name)("what happened")


@pytest.mark.parametrize(
    ("written", "meant"),
    [("cronos2", "chronos2"), ("CHRONOS2", "chronos2"), ("hr", "HR"), ("spo2", "SpO2")],
)
def test_a_close_name_is_suggested_as_it_is_spelt(written, meant):
    known = ("chronos2", "HR", "SpO2", "moirai")
    assert errors.closest(written, known) == f" Did you mean '{meant}'?"


@pytest.mark.parametrize("known", [(), ("moirai", "timesfm")])
def test_nothing_is_suggested_where_nothing_is_close(known):
    assert errors.closest("xyz", known) == ""
