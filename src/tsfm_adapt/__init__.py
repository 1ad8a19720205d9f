"""Adapts pretrained time-series foundation models to multivariate biosignals.

For notebooks: `load_backbone` and `zero_shot`, `Recipe`, `prepare`, `train` and `Run`, `compare`,
`embed`, and the pictures of `plots`. Nothing is imported before it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from tsfm_adapt import plots as plots
    from tsfm_adapt.api import compare as compare
    from tsfm_adapt.api import load_backbone as load_backbone
    from tsfm_adapt.api import zero_shot as zero_shot
    from tsfm_adapt.recipe.parts import prepare as prepare
    from tsfm_adapt.recipe.schema import Recipe as Recipe
    from tsfm_adapt.runs.embeddings import embed as embed
    from tsfm_adapt.runs.lifecycle import train as train
    from tsfm_adapt.runs.run import Run as Run
    from tsfm_adapt.signals.recording import Recording as Recording

_HOME = {
    "Recipe": "recipe.schema",
    "Recording": "signals.recording",
    "Run": "runs.run",
    "compare": "api",
    "embed": "runs.embeddings",
    "load_backbone": "api",
    "prepare": "recipe.parts",
    "train": "runs.lifecycle",
    "zero_shot": "api",
}

__all__ = [*_HOME, "plots"]

if not TYPE_CHECKING:  # for type checkers, the names above are all there is

    def __getattr__(name: str) -> Any:
        """A public name, imported when it is first asked for (PEP 562)."""
        if name == "plots":
            return import_module("tsfm_adapt.plots")
        if name not in _HOME:
            raise AttributeError(f"module 'tsfm_adapt' has no attribute '{name}'")
        found = getattr(import_module(f"tsfm_adapt.{_HOME[name]}"), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
