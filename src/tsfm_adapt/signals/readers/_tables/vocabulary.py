"""What names of columns say: words for times, subjects, channels and other roles."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tsfm_adapt.signals.units import canonical


def _list(text: str) -> tuple[str, ...]:
    """Names as `plain` writes them."""
    return tuple(dict.fromkeys(text.replace("_", "").split()))


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


TIMES = _list(
    "time times timestamp datetime date_time charttime chart_time times_s time_s t ts "
    "seconds sec elapsed elapsed_s elapsed_seconds unixtime measured_at recorded_at "
    "created_at measurement_datetime observationtime observationoffset offset "
    "device_timestamp local_time utc_time ds zeitstempel zeit uhrzeit iculos hour hours "
    "minute minutes time_h time_min time_ms timestamp_iso timestamp_unix horodatage heure "
    "startdate starttime start begin dtc dtm fecha hora tijd tijdstip tid 时间 時間 日時 時刻 "
    "day date datum 日期 日付"
)
DATES = _list("date datum day tag jour fecha dia data dag measurement_date chart_date 日期 日付")
SUBJECTS = _list(
    "subject subject_id subjectid patient patient_id patientid patient_nr participant "
    "participant_id participantid person person_id user user_id userid ptid usubjid animal "
    "animal_id case case_id caseid subj subj_id subjid pid item_id unique_id patientunitstayid "
    "proband 患者编号 患者 病人 被试 patientennummer patnr fallnummer fallnr sujet paciente id "
    "record_id recordid"
)
RECORDS = _list(
    "record record_id recording recording_id stay stay_id icustay_id hadm_id encounter "
    "encounter_id visit visit_id session session_id sitting admission admission_id admissionid"
)
CHANNELS = _list(
    "channel parameter variable signal vital vital_sign measurement item label feature "
    "analyte name code test observation parameter_name variable_name item_name signal_name "
    "itemid item_code parameter_id variable_id test_name loinc concept concept_id "
    "measurement_concept_id param type testcd parametre parametro kanal canal messgroesse "
    "messgrösse field kind analyt"
)
VALUES = _list(
    "value reading result valuenum numeric_value measured_value val result_value value_num "
    "observation_value value_as_number wert messwert valeur valor orres stresn ergebnis "
    "resultado medida"
)
UNITS = _list(
    "unit units uom valueuom unit_of_measure unit_name unit_source_value orresu stresu einheit "
    "unite unité unidad"
)
STATIC = _list(
    "age sex gender height weight bmi race ethnicity diagnosis site ward group arm "
    "anchor_age diabetes_type insulin_type unit1 unit2 hospadmtime admission_type"
)
LABELS = _list(
    "label class outcome death died mortality expired sepsislabel target_class stage "
    "sleep_stage activity event annotation condition arousal hospital_expire_flag"
)

_PERSONS = frozenset(SUBJECTS) - {"id", "recordid", "itemid", "uniqueid"}

# Words within names.
_PEOPLE = _set(
    "subject subj patient pat pt participant person user animal mouse rat volunteer donor "
    "individual proband vp sujet sujeto paciente patiente pacjent pacjenta versuchsperson "
    "proefpersoon deltager monkey sheep pig cat dog horse infant baby newborn usubjid subjid "
    "icustay stay mrn case"
)
_NUMBERING = _set("id ids no nr nummer num number code uid guid uuid key pseudonym")
_QUALITY = _set(
    "quality flag flags status valid validity confidence sqi artifact artefact error "
    "checksum crc lead_off leadoff contact worn wear"
)
_DEVICE = _set("battery firmware rssi packet seq sequence counter")
_COUNTING = _set("index row epoch sample") | _DEVICE
_STATES = _set(
    "phase state posture position condition activity event stage period segment task block "
    "sleep wake awake comment note notes marker trigger device model firmware version unit "
    "source location site"
)
_THINGS = _set(  # that have numbers and are nobody
    "device item concept variable parameter test gerät room bed ward site center centre hospital "
    "unit sensor file batch lot order channel lead probe station country"
)
_KINDS = ("type", "typ", "kind", "art", "mode", "state", "code")  # ends of names of codes
# Variables of a submitted trial (CDISC SDTM) after the two letters of their domain.
_TRIAL = re.compile(r"[A-Z]{2}(TESTCD|ORRESU|ORRES|STRESN|STRESU|DTC|DTM|SEQ)")


def plain(name: str) -> str:
    """A name's letters and digits in lower case, without what stands in brackets."""
    trial = _TRIAL.fullmatch(name.strip())
    bare = re.sub(r"[(\[{].*?[)\]}]", " ", trial.group(1) if trial else name)
    return "".join(re.findall(r"[^\W_]+", bare.casefold()))


def words(name: str) -> tuple[str, ...]:
    """The words of a name in lower case: 'ICUStay_ID' gives icu, stay, id."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return tuple(re.findall(r"[^\W\d_]+|\d+", apart.casefold()))


def first_of(names: Mapping[str, str], known: Iterable[str]) -> str | None:
    """The column whose plain name comes first in a list; None = there is none."""
    return next((names[name] for name in known if name in names), None)


def is_identifier(name: str) -> bool:
    """True if a name is that of people, stays or cases: 'pt_no', 'study_id', 'ICUSTAY_ID'."""
    if plain(name) in SUBJECTS or plain(name) in RECORDS:
        return True
    return bool({*words(name)} & _PEOPLE) or _is_key(name)


def names_people(name: str) -> bool:
    """True if a name says that it is of a person, an animal or a stay."""
    return bool(set(words(name)) & _PEOPLE) or plain(name) in _PERSONS


def _is_key(name: str) -> bool:
    own = words(name)
    return len(own) > 1 and own[-1] in _NUMBERING and not (_COUNTING | _THINGS) & {*own}


def is_quality(name: str) -> bool:
    """True if a name is that of a quality index, a flag or a status."""
    return bool({*words(name), plain(name)} & _QUALITY)


def is_device(name: str) -> bool:
    """True if a name is that of a battery, a radio or other facts of the device."""
    return bool({*words(name)} & _DEVICE)


def is_counting(name: str) -> bool:
    """True if a name may be that of a counter of rows, samples or packets."""
    return bool({*words(name)} & _COUNTING)


def is_unit_column(name: str) -> bool:
    """True if a column holds units: 'valueuom', 'valueQuantity.unit'."""
    return plain(name) in UNITS or words(name)[-1:] in (
        ("unit",),
        ("units",),
        ("uom",),
        ("einheit",),
    )


def is_state(name: str) -> bool:
    """True if a name is that of what somebody does or of a note, not of somebody."""
    return bool({*words(name)} & _STATES) or plain(name) in LABELS or is_static(name)


def is_numbered_person(name: str) -> bool:
    """True if a name is that of one of several people: 'P03', 'rat 7', 'Proband_12'."""
    match = re.fullmatch(r"([^\W\d_]+)[ _.-]*\d+", name.strip())
    return match is not None and match.group(1).casefold() in _PEOPLE | {"p", "id", "user"}


def is_row_number(name: str) -> bool:
    """True if a name is what pandas calls rows that have no name."""
    return re.fullmatch(r"__index_level_\d+__|Unnamed: \d+", name) is not None


def is_kind(name: str) -> bool:
    """True if a name is that of codes: 'Record Type', 'Aufzeichnungstyp'."""
    last = words(name)[-1:]
    return bool(last) and last[0].endswith(_KINDS) and last[0] not in ("heart", "start", "part")


def is_label(name: str) -> bool:
    """True if a name is that of a class or an outcome."""
    return plain(name) in LABELS or words(name)[-1:] in (("label",), ("outcome",), ("class",))


def is_static(name: str) -> bool:
    """True if a name is that of a fact about a person: age, sex, weight."""
    return plain(name) in STATIC


def unit_in(name: str) -> str:
    """The unit of 'HR (bpm)' or 'Glucose mg/dL'; '1' where a name has none."""
    bracket = re.search(r"[(\[{]\s*([^)\]}]*?)\s*[)\]}]\s*$", name)
    if bracket and bracket.group(1):
        return bracket.group(1)
    last = re.split(r"[\s,;]+", name.strip())[-1]
    if last != name.strip() and canonical(last) is not None and last not in _AMBIGUOUS:
        return last
    ending = name.strip().casefold().rpartition("_")
    return _ENDINGS.get(ending[2], "1") if ending[0] else "1"


_AMBIGUOUS = _set("C F V s h 1 NU nu nd")
_ENDINGS = {
    "bpm": "bpm",
    "mmhg": "mmHg",
    "kpa": "kPa",
    "mgdl": "mg/dL",
    "celsius": "degC",
    "degc": "degC",
    "fahrenheit": "degF",
    "pct": "%",
    "percent": "%",
    "mv": "mV",
    "uv": "uV",
}
