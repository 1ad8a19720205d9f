"""Pictures of a study: history and importance."""

import optuna
import pytest
from matplotlib.image import imread

from tsfm_adapt.studies.plots import draw, history, importance

VALUES = [3.0, 2.0, None, 2.5, 1.0]


def study(direction="minimize", values=VALUES, standing=None):
    made = optuna.create_study(direction=direction)
    space = {
        "lr": optuna.distributions.FloatDistribution(0.0, 2.0),
        "rank": optuna.distributions.IntDistribution(1, 8),
    }
    for number, value in enumerate(values):
        state = optuna.trial.TrialState.FAIL if value is None else None
        trial = optuna.trial.create_trial(
            state=state or optuna.trial.TrialState.COMPLETE,
            params={"lr": number / 10, "rank": 1 + number % 3},
            distributions=space,
            value=value,
            user_attrs={"as_it_stands": True} if number == standing else {},
        )
        made.add_trial(trial)
    return made


def lines(figure):
    return {line.get_label(): line for line in figure.axes[0].get_lines()}


@pytest.mark.parametrize(
    ("direction", "best"), [("minimize", [3.0, 2.0, 2.0, 1.0]), ("maximize", [3.0] * 4)]
)
def test_history_shows_each_value_and_the_best_so_far(direction, best):
    drawn = lines(history(study(direction), "loss"))
    assert drawn["a trial"].get_xydata().tolist() == [[0, 3.0], [1, 2.0], [3, 2.5], [4, 1.0]]
    assert list(drawn["best so far"].get_ydata()) == best


def test_the_recipe_as_it_stands_is_a_line_where_it_was_tried():
    assert "the recipe as it stands" not in lines(history(study(), "loss"))
    drawn = lines(history(study(standing=1), "loss"))
    assert list(drawn["the recipe as it stands"].get_ydata()) == [2.0, 2.0]


@pytest.mark.parametrize("values", [VALUES[:4], [1.0] * 6])
def test_few_or_equal_trials_have_no_importance(values):
    assert importance(study(values=values)) is None


def test_shares_of_importance_sum_to_one():
    bars = importance(study(values=[float(n) for n in range(12)])).axes[0].patches
    assert sum(bar.get_width() for bar in bars) == pytest.approx(1)
    assert len(bars) == 2


def test_pictures_are_written_where_there_is_something_to_show(tmp_path):
    draw(tmp_path, study(values=VALUES[:4]), "loss")
    assert [path.name for path in tmp_path.iterdir()] == ["history.png"]
    draw(tmp_path, study(values=[float(n) for n in range(12)]), "score")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.png", "importance.png"]
    assert imread(tmp_path / "importance.png").std() > 0.05
