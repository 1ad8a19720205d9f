"""What is seen in unknown recordings, and what is proposed for them."""

from __future__ import annotations

from contracts.proposed import walk
from tsfm_adapt.proposal.formats import recognised
from tsfm_adapt.proposal.proposal import propose
from tsfm_adapt.proposal.survey import look


def test_unknown_subjects_are_said_with_the_setting_that_names_them(tmp_path):
    for file in range(4):
        rows = "".join(f"{t},{v:.1f}\n" for t, v in enumerate(walk(400, file)))
        (tmp_path / f"export{file}.csv").write_text("time,HR\n" + rows)
    reader = recognised(tmp_path)
    notes = propose(look(reader), reader).notes
    (note,) = [note for note in notes if "subjects: unknown" in note]
    assert "data.reader.subject" in note
    for file in tmp_path.iterdir():
        lines = file.read_text().splitlines()
        rows = [f"{int(file.stem[-1]) // 2},{line}" for line in lines[1:]]
        file.write_text("\n".join(["patient,time,HR", *rows]) + "\n")
    reader = recognised(tmp_path)
    assert not any("unknown" in note for note in propose(look(reader), reader).notes)
