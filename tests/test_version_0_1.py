"""What version 0.1 wrote is still read: runs, their scores, bundles, and recipes.

`tests/data/v0_1/README.md` says how the files were made. They are read here, and changed nowhere:
what writes works on copies, in folders of the names that the cards of their bundles give.
"""

import contextlib
import hashlib
import io
import json
import math
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsfm_adapt.evaluation.scores import Role
from tsfm_adapt.runs.run import Run
from tsfm_adapt.signals.readers.synthetic import Config

V0_1 = Path(__file__).parent / "data" / "v0_1"
pytestmark = pytest.mark.filterwarnings("ignore:.*old spelling:FutureWarning")

TASKS = ("forecast", "impute", "classify")
STOPPED = ("impute", "classify")  # those with their last checkpoint
OLD_SPELLING = {
    "forecast": {
        "adapters.lora.layers: [0, 2]": "adapters.lora.blocks: {from: 0, to: 2}",
        "adapters.channel_mixer.layers: [0, 3]": "adapters.channel_mixer.blocks: [0, 3]",
    },
    "impute": {"adapters.lora.layers: [1, 2]": "adapters.lora.blocks: {from: 1, to: 2}"},
    "classify": {"adapters.lora.layers: [0, 0]": "adapters.lora.blocks: {from: 0, to: 0}"},
}
REFERENCE = {
    "forecast": Role.ZERO_SHOT,
    "impute": Role.ZERO_SHOT,
    "classify": Role.FROZEN_PROBE,
}
CHANNELS = ("HR", "SpO2", "RESP", "MAP")
UNITS = "{HR: bpm, SpO2: '%', RESP: breaths/min, MAP: mmHg}"


def digests():
    """A digest of every file that version 0.1 wrote."""
    files = sorted(path for path in V0_1.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(autouse=True, scope="module")
def place(tmp_path_factory):
    """A working directory with a copy of the runs; the originals are as before at the end."""
    before = digests()
    folder = tmp_path_factory.mktemp("v0_1")
    for task in TASKS:
        shutil.copytree(V0_1 / task, folder / run_of(task))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder
    assert digests() == before


def run_of(task):
    """The run's folder in the working directory, as the card of its bundle names it."""
    card = (V0_1 / task / "bundle" / "README.md").read_text(encoding="utf-8")
    return Path(re.search(r'load\(Path\("(.*)/bundle"\)\)', card).group(1))


@pytest.fixture(scope="module")
def cli(place):
    """Runs `tsfm-adapt ARGS`; gives its output where it exits with 0."""
    from tsfm_adapt.cli import main

    def run(*arguments):
        printed = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
            patch.setattr(sys, "argv", ["tsfm-adapt", *map(str, arguments)])
            with pytest.raises(SystemExit) as stop:
                main()
        assert not stop.value.code, printed.getvalue()
        return printed.getvalue()

    return run


@pytest.fixture(scope="module")
def stays(place):
    """A table of two SYNTHETIC patients, a row every two minutes, thirty hours."""
    tables = []
    for recording in Config(subjects=2, hours=30, seed=5, rate_hz=1 / 120).read(CHANNELS):
        table = pd.DataFrame(recording.values.T, columns=list(recording.channels))
        table.insert(0, "time", table.index * 120)
        table.insert(0, "subject", recording.subject)
        tables.append(table)
    pd.concat(tables).to_csv(place / "stays.csv", index=False)
    return "stays.csv"


@pytest.fixture(scope="module")
def again(cli):
    """Trains the recipe that an old run holds; gives the new run, trained once a task."""
    known = {}

    def run(task):
        if task not in known:
            path = run_of(task) / "recipe.yaml"
            printed = cli("train", path, "--runs", "new", "--quiet").splitlines()
            known[task] = Path(printed[-1].removeprefix("run: "))
        return known[task]

    return run


def written(task):
    """scores.json as version 0.1 wrote it."""
    return json.loads((V0_1 / task / "scores.json").read_text(encoding="utf-8"))


def numbers(tree, path=""):
    """All numbers of plain values, by path; undefined ones are NaN."""
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list | tuple):
        items = enumerate(tree)
    elif tree is None or (isinstance(tree, int | float) and not isinstance(tree, bool)):
        return {path: math.nan if tree is None else float(tree)}
    else:
        return {}
    return {k: v for key, own in items for k, v in numbers(own, f"{path}/{key}").items()}


def scored(scores):
    """The numbers of typed scores that do not measure time or memory."""
    tree = scores.model_dump(mode="json")
    # neither times, nor what last.ckpt holds, nor the total, which now counts the head as well
    tree["costs"] = {"trainable_parameters": tree["costs"]["trainable_parameters"]}
    for key in ("metric_label", "metric_unit"):  # version 0.1 did not write these
        tree.pop(key)
    tree["verdict"].pop("subjects")
    return _without_points(numbers(tree))


def _without_points(found):
    """Without width and coverage of intervals of width 0, undefined in this version."""
    points = {
        path.removesuffix("width80")
        for path, own in found.items()
        if path.endswith("width80") and (own == 0 or math.isnan(own))
    }
    return {
        path: own
        for path, own in found.items()
        if path.removesuffix("width80").removesuffix("coverage80") not in points
    }


def equal(found, expected, relative):
    """Equal numbers under equal paths; NaN equals NaN."""
    assert set(found) == set(expected)
    assert len(found) > 50
    assert found == pytest.approx(expected, rel=relative, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("task", TASKS)
def test_its_recipe_is_read_and_a_warning_names_the_new_spelling(task):
    from tsfm_adapt._util import renamed

    renamed._SHOWN.clear()
    with pytest.warns(FutureWarning) as caught:
        recipe = Run(V0_1 / task).recipe
    said_once = {str(warning.message) for warning in caught}
    assert said_once == {
        f"{old} is the old spelling of {new}. This version reads both; write the new one."
        for old, new in OLD_SPELLING[task].items()
    }
    assert recipe.task.name == task
    assert all("layers" not in a.model_dump() for a in recipe.adapters)


@pytest.mark.parametrize("task", TASKS)
def test_its_models_are_typed_with_roles_and_the_numbers_that_were_written(task):
    scores, old = Run(V0_1 / task).scores, written(task)
    names = {name for name, own in old["models"].items() if own is not None}
    assert set(scores.models) == names
    for name, own in scores.models.items():
        known = name if name in {"adapted", "zero_shot", "frozen_probe"} else "baseline"
        assert own.role == known
        assert own.overall == old["models"][name]["overall"]
        tree = own.model_dump(mode="json", exclude_unset=True)
        tree.pop("role")
        assert numbers(tree) == pytest.approx(numbers(old["models"][name]), rel=0, nan_ok=True)
    assert scores.of(Role.ADAPTED).overall == old["models"]["adapted"]["overall"]
    assert scores.of(REFERENCE[task]) is not None
    assert (scores.task, scores.windows, scores.subjects, scores.synthetic, scores.smoke) == (
        task,
        old["windows"],
        old["subjects"],
        True,
        False,
    )
    assert scores.metric == old["verdict"]["metric"].lower()
    assert scores.sentences == tuple(old["sentences"])
    assert scores.costs.model_dump() == {key: old[key] for key in scores.costs.model_dump()}


@pytest.mark.parametrize("task", TASKS)
def test_its_verdict_is_typed_comparisons(task):
    verdict, old = Run(V0_1 / task).scores.verdict, written(task)["verdict"]
    reference = old[f"vs_{REFERENCE[task]}"]
    fields = ("difference", "low", "high", "shown")
    assert (verdict.metric, verdict.interval) == (old["metric"].lower(), old["interval"])
    assert [each.role for each in verdict.comparisons] == [REFERENCE[task], Role.BASELINE]
    assert [getattr(verdict.reference, name) for name in fields] == [reference[n] for n in fields]
    best = old["vs_best_baseline"]
    assert verdict.baseline.against == best["name"]
    assert [getattr(verdict.baseline, name) for name in fields] == [best[n] for n in fields]


def test_its_events_horizons_and_calibration_are_typed():
    scores, old = Run(V0_1 / "forecast").scores, written("forecast")
    assert numbers({k: v.model_dump(mode="json") for k, v in scores.events.items()}) == (
        pytest.approx(numbers(old["events"]), rel=0, nan_ok=True)
    )
    assert scores.events["hypotension"].models["adapted"].at
    assert set(scores.horizons) == {"900"}
    assert scores.horizons["900"]["adapted"].role == Role.ADAPTED
    assert scores.horizons["900"]["ridge"].overall == old["horizons"]["900"]["ridge"]["overall"]
    factors = old["calibration"]["factors"]
    assert factors
    assert scores.calibration.factors == factors
    assert scores.calibration.overall == old["calibration"]["overall"]
    assert scores.calibration.split == "val"


def test_its_gaps_and_masks_are_typed():
    scores, old = Run(V0_1 / "impute").scores, written("impute")
    assert set(scores.gaps) == set(old["gaps"])
    for gap, models in scores.gaps.items():
        for name, own in models.items():
            assert own.overall == old["gaps"][gap][name]["overall"]
    assert numbers(scores.missingness.model_dump(mode="json")) == numbers(old["missingness"])
    assert scores.calibration.reason == old["calibration"]["reason"]


@pytest.mark.parametrize("task", TASKS)
def test_evaluate_gives_the_same_scores_again(cli, place, task):
    shutil.copytree(run_of(task), place / "scored" / task)
    before = scored(Run(place / "scored" / task).scores)
    printed = cli("evaluate", place / "scored" / task, "--quiet")
    assert "adapted model against" in printed
    scores = Run(place / "scored" / task).scores
    assert json.loads((place / "scored" / task / "scores.json").read_text())["format"] == 2
    equal(scored(scores), before, 1e-6)


@pytest.mark.parametrize("task", STOPPED)
def test_resume_goes_on_from_its_last_checkpoint_to_the_same_scores(cli, place, task):
    shutil.copytree(run_of(task), place / "resumed" / task)
    before = scored(Run(place / "resumed" / task).scores)
    cli("resume", place / "resumed" / task, "--quiet")
    equal(scored(Run(place / "resumed" / task).scores), before, 1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_predict_reads_new_recordings_from_run_and_bundle_alike(cli, stays, task):
    reader = f"{{name: csv, layout: wide, subject: subject, time_format: seconds, units: {UNITS}}}"
    run = run_of(task)
    tables = []
    for folder, out in ((run, f"{task}-run.csv"), (run / "bundle", f"{task}-bundle.csv")):
        assert "of 2 subjects" in cli("predict", folder, stays, "--reader", reader, "--out", out)
        tables.append(Path(out).read_text())
    assert tables[0] == tables[1]
    table = pd.read_csv(f"{task}-run.csv")
    estimated = [name for name in table.columns if re.match(r"q0\.|p_|probability", name)]
    assert np.isfinite(table[estimated].to_numpy(float)).any()


@pytest.mark.parametrize("task", TASKS)
def test_export_writes_its_bundle_and_force_where_the_verdict_says_no(cli, place, task):
    from tsfm_adapt._util.progress import Progress
    from tsfm_adapt.errors import TsfmAdaptError
    from tsfm_adapt.export.export import export

    out = place / "exported" / task
    if not Run(run_of(task)).scores.verdict.reference.shown:
        with pytest.raises(TsfmAdaptError, match="is not exported") as refused:
            export(run_of(task), "bundle", out, False, Progress(quiet=True))
        assert refused.value.remedy == "force"
        assert not out.exists()
    cli("export", run_of(task), "--to", "bundle", "--out", out, "--force", "--quiet")
    for name in ("adapter_model.safetensors", "modules.safetensors"):
        theirs = run_of(task) / "bundle" / name
        assert theirs.is_file() == (out / name).is_file()
        assert not theirs.is_file() or theirs.read_bytes() == (out / name).read_bytes()


@pytest.mark.parametrize("task", TASKS)
def test_compare_puts_it_beside_a_run_of_this_version_with_the_same_scores(cli, again, task):
    old, new = Run(run_of(task)), Run(again(task))
    equal(scored(new.scores), scored(old.scores), 1e-5)
    printed = cli("compare", old.folder, new.folder, "--out", f"{task}-beside", "--quiet")
    *rows, last = printed.splitlines()
    score = old.scores.of(Role.ADAPTED).overall[old.scores.metric]
    mean = f" {old.scores.metric} {score:.3f}"
    named = f"{old.recipe.backbone.name}, {old.recipe.adapters[0].name}"
    (ours,) = [row for row in rows if row.startswith(named)]  # recipes are equal: one row
    assert mean in ours
    assert len(rows) == len(old.scores.models)
    assert Path(last.removeprefix("report: ")).is_file()


@pytest.mark.parametrize("task", TASKS)
def test_its_bundle_loads_by_the_code_that_its_card_prints(task):
    card = (run_of(task) / "bundle" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", card, re.S)
    names = {}
    exec(code, names)
    assert names["recipe"].task.name == task
    trained = sum(p.numel() for p in names["model"].trainable().values())
    assert trained == written(task)["trainable_parameters"]


def test_its_bundle_forecasts_through_the_predictor_under_its_old_name():
    pytest.importorskip("gluonts")
    from tsfm_adapt.gluonts_predictor import AdaptedPredictor

    predictor = AdaptedPredictor(run_of("forecast") / "bundle", channel="HR")
    target = 80 + 5 * np.sin(np.arange(200) / 9)
    entry = {"target": target, "start": pd.Period("2026-01-01 00:00", "min")}
    (forecast,) = predictor.predict([entry])
    assert forecast.quantile(0.5).shape == (predictor.prediction_length,) == (30,)
    assert np.isfinite(forecast.quantile(0.5)).all()
