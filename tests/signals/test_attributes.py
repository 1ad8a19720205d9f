import numpy as np
import pytest

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.attributes import grouped
from tsfm_adapt.signals.recording import Recording


def recording(subject, **attributes):
    values = np.zeros((1, 4))
    return Recording(subject, subject, values, ("HR",), ("bpm",), 1.0, attributes=attributes)


def test_a_group_for_each_value_and_one_for_those_of_whom_it_is_not_known():
    cohort = [recording("a", sex="M"), recording("b"), recording("c", sex="F")]
    assert grouped(cohort, "sex") == {"c": "F", "a": "M", "b": "not known"}
    assert list(dict.fromkeys(grouped(cohort, "sex").values())) == ["F", "M", "not known"]
    units = [recording("a", icu=2.0), recording("b", icu=1.0)]
    assert grouped(units, "icu") == {"b": "1", "a": "2"}


def test_edges_belong_to_the_upper_group_and_what_is_outside_to_none():
    cohort = [recording(f"p{age}", age=float(age)) for age in (120, 119, 65, 64, 45, 44, 0, -1)]
    assert grouped(cohort, "age", (0, 45, 65, 120)) == {
        "p44": "0 to < 45",
        "p0": "0 to < 45",
        "p64": "45 to < 65",
        "p45": "45 to < 65",
        "p119": "65 to < 120",
        "p65": "65 to < 120",
        "p120": "not known",
        "p-1": "not known",
    }


def test_the_first_recording_that_has_it_says_it():
    stays = [recording("a"), recording("a", age=44.0), recording("a", age=46.0)]
    assert grouped(stays, "age", (0, 45, 65)) == {"a": "0 to < 45"}


@pytest.mark.parametrize(
    ("attribute", "edges", "told"),
    [
        ("agee", None, "the attribute 'agee'. Did you mean 'age'.*They have: age, sex"),
        ("sex", (0, 1), "edges are for numbers; 'sex' is 'F'"),
        ("age", None, "'age' has 20 values.*Give edges"),
    ],
)
def test_what_makes_no_table_is_refused(attribute, edges, told):
    cohort = [recording(f"p{k}", age=20.0 + k, sex="F") for k in range(20)]
    with pytest.raises(DataError, match=told):
        grouped(cohort, attribute, edges)


def test_without_any_attribute_that_is_said():
    with pytest.raises(DataError, match="They have: none"):
        grouped([recording("a")], "age")
