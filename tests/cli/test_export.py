"""`export` hands on what was shown to help, whole, or nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

RECIPE: dict[str, Any] = {
    "name": "wards",
    "data": {
        "reader": {"name": "synthetic", "cohort": "icu_vitals", "subjects": 8, "hours": 3},
        "channels": {"HR": "bpm", "RESP": "breaths/min"},
        "rate_hz": "1/60",
        "split": {"by": "subject", "order": "name", "train": 4, "val": 2, "test": 2},
    },
    "backbone": {"name": "chronos2"},
    "adapters": [{"name": "lora", "rank": 2}],
    "task": {"name": "forecast", "context_s": 1920, "horizon_s": 480},
    "train": {"steps": 4, "batch_size": 4, "lr": 0.01},
}


def trained_in(folder: Path, tree: dict[str, Any], smoke: bool = False) -> Path:
    from tsfm_adapt._util.progress import Progress
    from tsfm_adapt.recipe.schema import Recipe
    from tsfm_adapt.runs import lifecycle

    recipe, quiet = Recipe.model_validate(tree), Progress(quiet=True)
    return lifecycle.train(recipe, folder, quiet, smoke=smoke).folder


def verdict(shown: bool, role: str = "zero_shot") -> dict[str, Any]:
    """Of a run that was compared with its reference and a baseline."""
    numbers = {"difference": 1.0, "low": 0.5, "high": 1.5, "shown": shown}
    return {
        "metric": "mase",
        "interval": "few subjects",
        "comparisons": [
            {"against": role, "role": role, **numbers},
            {"against": "ridge", "role": "baseline", **numbers},
        ],
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps."""
    return trained_in(tmp_path_factory.mktemp("runs"), RECIPE)


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it whose verdict is that adapting helped."""
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    changed(copy / "scores.json", lambda scores: scores["verdict"].update(verdict(shown=True)))
    return copy


def changed(path: Path, change: Callable[[Any], object]) -> None:
    """Rewrites a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from tsfm_adapt.runs.run import load

    return load(folder)[0].trainable()


def test_a_bundle_is_copied_with_its_card_and_loads(cli: Callable[..., Any], run: Path) -> None:
    outcome = cli("export", run, "--to", "bundle", "--out", "handed/on")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == "exported: handed/on"
    assert 'load(Path("handed/on"))' in outcome.out
    out = Path("handed/on")
    assert set(left(out)) == set(left(run / "bundle"))
    expected = weights(run)
    assert all(torch.equal(w, expected[name]) for name, w in weights(out).items())
    card = (out / "README.md").read_text()
    assert "Not a medical device" in card
    assert "| test | 2 | 2 |" in card
    assert "Exported by force" not in card
    again = cli("export", out, "--to", "bundle", "--out", "copy")  # a bundle is a source too
    assert again.code == 0, again.err


def test_merged_weights_are_a_checkpoint_of_a_recipe_without_adapters(
    cli: Callable[..., Any], run: Path
) -> None:
    from tsfm_adapt.backbones.chronos2 import Config

    outcome = cli("export", run, "--to", "merged", "--out", "merged", "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    said = json.loads(outcome.out)
    assert said["folder"] == "merged"
    assert set(said["differences"]) == {"random windows", "test windows"}
    assert max(said["differences"].values()) <= 1e-5
    assert left(Path("merged")) == ["README.md", "config.json", "model.safetensors", "scores.json"]
    loaded = Config(checkpoint="merged").build()
    assert loaded.spec.licence == "apache-2.0"  # that of the base, from the card
    assert said["loading"] in Path("merged/README.md").read_text()
    base = Config().build().network.state_dict()
    merged = loaded.network.state_dict()
    assert base.keys() == merged.keys()
    different = {name for name in base if not torch.equal(base[name], merged[name])}
    assert different
    assert all(name.endswith((".q.weight", ".v.weight")) for name in different)


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        ("scores.json", {"smoke": True}, "it is a smoke run"),
        ("scores.json", {"verdict": None}, "scores.json has no verdict"),
        (
            "scores.json",
            {"verdict": verdict(shown=False)},
            "it was not shown to be better than zero-shot",
        ),
        (
            "scores.json",
            {"verdict": verdict(shown=False, role="frozen_probe")},
            "it was not shown to be better than the frozen probe",
        ),
        (
            "bundle/bundle.json",
            {"licence": "cc-by-nc-4.0"},
            "are cc-by-nc-4.0: not for commercial",
        ),
        ("bundle/bundle.json", {"checkpoint": "tiny"}, "its base weights are random"),
    ],
)
def test_what_should_not_be_handed_on_needs_force(
    cli: Callable[..., Any], run: Path, file: str, change: dict[str, Any], reason: str
) -> None:
    changed(run / file, lambda content: content.update(change))
    outcome = cli("export", run, "--to", "bundle", "--out", "out")
    assert outcome.code == 2
    assert reason in outcome.err
    assert "--force" in outcome.err
    assert not Path("out").exists()
    forced = cli("export", run, "--to", "bundle", "--out", "out", "--force")
    assert forced.code == 0, forced.err
    card = Path("out/README.md").read_text()
    assert "> **Exported by force although " in card
    assert reason in card
    assert forced.out.splitlines()[0] in card


def test_force_does_not_take_the_licence_off(cli: Callable[..., Any], run: Path) -> None:
    """Merged weights, loaded as a folder of the user's own, still know it."""
    from tsfm_adapt.backbones.chronos2 import Config

    changed(run / "bundle/bundle.json", lambda card: card.update(licence="cc-by-nc-4.0"))
    assert cli("export", run, "--to", "merged", "--out", "out", "--force").code == 0
    assert "NOT for commercial use" in Path("out/README.md").read_text()
    assert Config(checkpoint="out").build().spec.non_commercial


def test_a_folder_that_exists_is_not_touched(cli: Callable[..., Any], run: Path) -> None:
    Path("out").mkdir()
    outcome = cli("export", run, "--to", "bundle", "--out", "out")
    assert outcome.code == 2
    assert "'out' exists" in outcome.err
    assert left(Path("out")) == []


def test_weights_that_differ_from_the_model_are_not_left_behind(
    cli: Callable[..., Any], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tsfm_adapt.backbones.chronos2 import Chronos2

    save = Chronos2.save

    def broken(self: Chronos2, folder: Path) -> str:
        with torch.no_grad():
            next(self.network.parameters()).mul_(1.01)
        return save(self, folder)

    monkeypatch.setattr(Chronos2, "save", broken)
    before = left(Path())
    outcome = cli("export", run, "--to", "merged", "--out", "out")
    assert outcome.code == 2
    assert "differs from the adapted model by" in outcome.err
    assert left(Path()) == before


def test_prompts_and_tasks_without_forecasts_have_no_such_form(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    prompts = trained_in(tmp_path, RECIPE | {"adapters": [{"name": "prompt"}]}, smoke=True)
    before = left(Path())
    outcome = cli("export", prompts, "--to", "merged", "--out", "out", "--force")
    assert outcome.code == 2
    assert "adapter 'prompt' acts on activations" in outcome.err
    assert "--to bundle" in outcome.err
    assert left(Path()) == before


def test_what_adapted_nothing_or_is_not_trained_cannot_be_exported(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    for name, adapters in (("plain", []), ("untrained", [{"name": "lora"}])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text(
            yaml.safe_dump(RECIPE | {"adapters": adapters})
        )
    plain = cli("export", "plain", "--to", "bundle", "--out", "out")
    assert plain.code == 2
    assert "adapted nothing" in plain.err
    untrained = cli("export", "untrained", "--to", "bundle", "--out", "out")
    assert untrained.code == 3
    assert "tsfm-adapt resume untrained" in untrained.err
    nowhere = cli("export", "nowhere", "--to", "bundle", "--out", "out")
    assert nowhere.code == 3
    assert "Traceback" not in nowhere.err


def test_loading_weights_that_are_not_for_commercial_use_says_so_once(
    cli: Callable[..., Any], checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "downloaded"
    shutil.copytree(checkpoint, folder)
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# Model\n")
    Path("recipe.yaml").write_text(
        yaml.safe_dump(RECIPE | {"backbone": {"name": "chronos2", "checkpoint": str(folder)}})
    )
    outcome = cli("train", "recipe.yaml", "--smoke")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("are cc-by-nc-4.0: not for commercial use") == 1
