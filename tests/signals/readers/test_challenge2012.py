import numpy as np
import pytest

from contracts.reader import ReaderContract
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers.challenge2012 import DURATION_S, UNITS, Config
from tsfm_adapt.signals.units import canonical

HEADER = "Time,Parameter,Value\n"
STATICS = "00:00,RecordID,{id}\n00:00,Age,54\n00:00,Gender,0\n00:00,Height,-1\n00:00,ICUType,4\n"
READINGS = """00:00,Weight,76
00:07,HR,73
00:07,Temp,35.1
00:37,HR,77
00:37,Weight,75.5
00:00,HR,70
47:59,HR,0
48:00,HR,88
"""
OUTCOMES = """RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death
132540,16,8,8,-1,0
132539,6,-1,5,3,1
"""


def write(root, record, readings=READINGS, statics=STATICS, of="set-a"):
    folder = root / of
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / f"{record}.txt"
    path.write_text(HEADER + statics.format(id=record) + readings)
    return path


@pytest.fixture
def root(tmp_path):
    write(tmp_path, 132540, "00:00,Weight,-1\n01:00,RespRate,20\n")
    write(tmp_path, 132539)
    (tmp_path / "Outcomes-a.txt").write_text(OUTCOMES)
    return tmp_path


class TestChallengeContract(ReaderContract):
    @pytest.fixture
    def config(self, root):
        return Config(root=str(root))


def read(root, channels=()):
    return list(Config(root=str(root)).read(channels))


def test_readings_are_seconds_since_admission_within_48_hours(root):
    events = read(root, ("HR", "Weight"))[0]
    assert events.id == events.subject == "132539"
    assert events.time_s.tolist() == [0, 420, 2220, 2220, 172740, 172800]
    assert events.value.tolist() == [70, 73, 77, 75.5, 0, 88]
    assert events.channel.tolist() == [0, 0, 0, 1, 0, 0]
    assert events.units == ("bpm", "kg")
    assert events.start is None
    assert events.duration_s == DURATION_S == 172800


def test_statics_are_attributes_and_unknown_ones_are_absent(root):
    first, second = read(root)
    assert first.attributes == {"age": 54, "sex": "F", "icu_type": 4, "weight_kg": 76}
    assert second.attributes == {"age": 54, "sex": "F", "icu_type": 4}
    assert not (second.channel == second.channels.index("Weight")).any()


@pytest.mark.parametrize(("gender", "sex"), [("0", "F"), ("1", "M"), ("-1", None)])
def test_gender_is_a_letter_or_absent(tmp_path, gender, sex):
    write(tmp_path, 1, statics=STATICS.replace("Gender,0", f"Gender,{gender}"))
    assert read(tmp_path)[0].attributes.get("sex") == sex


def test_outcomes_are_labels_and_unknown_ones_are_absent(root):
    first, second = read(root)
    assert first.labels == {
        "saps_i": 6,
        "length_of_stay_d": 5,
        "survival_d": 3,
        "in_hospital_death": 1,
    }
    assert second.labels["in_hospital_death"] == 0
    assert "survival_d" not in second.labels


def test_the_set_itself_is_a_root_and_finds_the_outcomes_beside_it(root):
    whole, inner = read(root), read(root / "set-a")
    assert [e.labels for e in inner] == [e.labels for e in whole]
    (root / "Outcomes-a.txt").unlink()
    assert all(not e.labels for e in read(root))


def test_every_patient_has_all_parameters_though_few_were_read(root):
    second = read(root)[1]
    assert len(second.channels) == 37
    assert second.channels == tuple(UNITS)
    assert second.value.tolist() == [20]
    assert read(root, ("pH",))[1].channels == ("pH",)


def test_vital_signs_have_units_that_convert():
    vitals = [
        "HR",
        "RespRate",
        "Temp",
        "SysABP",
        "DiasABP",
        "MAP",
        "NISysABP",
        "NIDiasABP",
        "NIMAP",
        "SaO2",
        "Glucose",
    ]
    assert all(canonical(UNITS[name]) for name in vitals)


def test_minus_one_is_no_reading(tmp_path):
    write(tmp_path, 1, "00:10,HR,-1\n00:11,HR,60\n")
    assert read(tmp_path)[0].value.tolist() == [60]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "row 1: expected Time,Parameter,Value, found 'nothing'"),
        ("a,b\n", "row 1: .*found 'a,b'"),
        (HEADER + "00:00,RecordID,1\n00:07,HR\n", "row 3: .*found '00:07,HR'"),
        (HEADER + "00:00,RecordID,1\n00:07,HR,7x\n", "row 3: .*found '00:07,HR,7x'"),
        (HEADER + "00:00,RecordID,1\n00:07,HR,inf\n", "row 3: .*found '00:07,HR,inf'"),
        (HEADER + "00:00,RecordID,1\n7,HR,70\n", "row 3: expected HH:MM"),
        (HEADER + "00:00,RecordID,1\n8760:00,HR,70\n", "row 3: .*up to 48:00"),
        (HEADER + "00:00,RecordID,1\n-1:07,HR,70\n", "row 3: .*up to 48:00"),
        (HEADER + "00:00,RecordID,1\n0", "row 3: .*found '0'"),
        ("x" * 10**6, "found 'x{60}'. Correct"),
        (HEADER + "00:00,RecordID,1\n00:07,Pulse,70\n", "row 3: .*37 parameters, found 'Pulse'"),
        (HEADER + "00:00,RecordID,2\n", "named by its RecordID: .* holds 2"),
        (HEADER, "named by its RecordID: .* holds none"),
        (b"\xff\xfe\x00", "must be readable UTF-8 text"),
    ],
)
def test_a_broken_file_is_named_with_the_row(tmp_path, content, message):
    path = write(tmp_path, 1)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path)
    assert "1.txt" in str(caught.value)


def test_broken_outcomes_are_named(root):
    (root / "Outcomes-a.txt").write_text(OUTCOMES + "132541,a,1,1,1,1\n")
    with pytest.raises(DataError, match=r"Outcomes-a\.txt, row 4: expected whole numbers"):
        read(root)


def test_two_files_of_one_patient_are_refused(root):
    write(root / "backup", 132539)
    with pytest.raises(DataError, match=r"A RecordID occurs once"):
        read(root)


def test_a_folder_without_patients_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"files like set-a/132539\.txt: .* has none"):
        read(tmp_path)


def test_times_of_a_file_out_of_order_are_sorted_and_ties_keep_their_order(tmp_path):
    minutes = np.random.default_rng(5).integers(0, 20, 60)
    rows = "".join(f"00:{m:02d},HR,{50 + i}\n" for i, m in enumerate(minutes))
    write(tmp_path, 1, rows)
    (events,) = read(tmp_path, ("HR",))
    order = np.argsort(minutes, kind="stable")
    np.testing.assert_array_equal(events.time_s, minutes[order] * 60.0)
    np.testing.assert_array_equal(events.value, 50 + order)


@pytest.fixture
def both(root):
    """Set b beside set a; with outcomes for a only."""
    write(root, 142675, of="set-b")
    write(root, 142676, of="set-b")
    return root


def test_both_sets_are_read_in_order_of_their_records(both):
    records = ["132539", "132540", "142675", "142676"]
    assert [e.id for e in read(both)] == records
    assert [e.id for e in Config(root=str(both), sets=("b", "a")).read(())] == records


def test_one_set_is_read_alone_and_needs_no_outcomes(both):
    alone = list(Config(root=str(both), sets=("b",)).read(()))
    assert [e.id for e in alone] == ["142675", "142676"]
    assert [e.id for e in Config(root=str(both / "set-b"), sets=("b",)).read(())] == [
        e.id for e in alone
    ]
    assert all(not e.labels for e in alone)


def test_outcomes_of_set_b_are_labels_of_its_patients(both):
    rows = OUTCOMES.replace("132540", "142675").replace("132539", "142676")
    (both / "Outcomes-b.txt").write_text(rows)
    labelled = {e.id: e.labels.get("in_hospital_death") for e in read(both)}
    assert labelled == {"132539": 1, "132540": 0, "142675": 0, "142676": 1}


def test_an_absent_set_is_named_with_those_that_are_there(root):
    with pytest.raises(DataError, match=r"sets: the files of set b .* are files in set-a"):
        list(Config(root=str(root), sets=("a", "b")).read(()))


def test_a_folder_of_patients_is_recognised(both, tmp_path_factory):
    for path in (both, both / "set-b"):
        guessed = Config.guess(path)
        assert guessed == Config(root=str(path))
        assert list(guessed.read(("HR",)))
    other = tmp_path_factory.mktemp("other")
    assert Config.guess(other) is None
    (other / "1.txt").write_text("a,b\n")
    assert Config.guess(other) is None
    assert Config.guess(other / "1.txt") is None


def test_a_folder_that_leads_back_to_itself_is_read_once(root):
    (root / "set-a" / "again").symlink_to(root, target_is_directory=True)
    assert len(read(root)) == 2
    assert Config.guess(root) is not None
