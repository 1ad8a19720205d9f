import pytest

from tsfm_adapt.signals.readers._wfdb_comments import (
    LabelTable,
    attributes_of,
    subject_of,
    values_of,
)


@pytest.mark.parametrize(
    ("comments", "attributes"),
    [
        (["Age: 63", "Sex: Female"], {"age": 63.0, "sex": "F"}),
        (["<age>: 63 <sex>: M"], {"age": 63.0, "sex": "M"}),
        (["Gender: male", "Age:63 years"], {"sex": "M", "age": 63.0}),
        (["age: 63Y", "weight: 70.5"], {"age": 63.0, "weight": 70.5}),
        (["Age: NaN", "Rx: Unknown", "Hx: n/a", "Sx: ??", "Sex:"], {}),
        (["Medication: none", "Größe: 1.80"], {"medication": "none", "größe": 1.8}),
        (["height: inf"], {"height": "inf"}),
        (["69 M 1085 1629 x1", "a sentence, and no pair"], {}),
    ],
)
def test_pairs_become_attributes_and_what_is_unknown_does_not(comments, attributes):
    assert attributes_of(comments) == attributes


def test_names_of_labels_are_no_attributes():
    assert attributes_of(["Dx: 1,2", "Age: 3"], without=("dx",)) == {"age": 3.0}


@pytest.mark.parametrize(
    "comment", ["Subject ID: p7", "subject: p7", "<patient_id>: p7 <age>: 3", "Patient No: p7"]
)
def test_a_subject_is_named_by_a_comment(comment):
    assert subject_of(["Age: 4", comment]) == "p7"


def test_no_subject_is_named_by_other_comments():
    assert subject_of(["Patient: X"]) is None
    assert subject_of(["Patient history: p7", "Age: 4"]) is None


def test_values_are_split_at_commas_each_once():
    assert values_of(["Dx: 42, 16,42,,?"], "dx") == ("42", "16")
    assert values_of(["Age: 4"], "Dx") == ()


def test_one_value_a_record_is_its_label():
    table = LabelTable({"a": ["Dx: 42"], "b": ["Dx: 16"], "c": ["Age: 4"]}, ("Dx",))
    assert [table.of(id) for id in "abc"] == [{"Dx": "42"}, {"Dx": "16"}, {}]


def test_several_values_are_labels_of_0_or_1_in_every_record_that_has_some():
    table = LabelTable({"a": ["Dx: 42,16"], "b": ["Dx: 7"], "c": ["Dx: ?"]}, ("Dx",))
    assert table.of("a") == {"Dx_16": 1, "Dx_42": 1, "Dx_7": 0}
    assert table.of("b") == {"Dx_16": 0, "Dx_42": 0, "Dx_7": 1}
    assert table.of("c") == {}


def test_records_with_equal_values_share_their_labels():
    table = LabelTable({str(n): ["Dx: 42,16"] for n in range(1000)}, ("Dx",))
    assert table.of("0") is table.of("999")
