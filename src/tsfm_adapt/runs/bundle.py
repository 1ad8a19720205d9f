"""The saved form of an adapted model: only what differs from the base, and what it needs to run.

Format version 1, a folder:

- `adapter_config.json`, `adapter_model.safetensors`: peft's layout, loadable by peft onto
  upstream's own class;
- `modules.safetensors`: every other trained tensor;
- `fitted.safetensors`: numbers fitted on train, and `conformal`, fitted on validation, where
  `bundle.json` has `calibrated`;
- `bundle.json`: channels, units, rate, geometry and the hash of the base weights;
- `recipe.yaml`, `scores.json`, `README.md`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm_adapt._util import atomic
from tsfm_adapt.backbones.base import non_commercial
from tsfm_adapt.errors import DataError, EnvironmentProblem, RecipeError
from tsfm_adapt.evaluation.conformal import Conformal
from tsfm_adapt.training.bundle_files import CARD, FITTED, TRAINED

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tsfm_adapt.model import AdaptedModel

FORMAT_VERSION = 1

_CONFORMAL = "conformal"  # (C, Q) factors; see `calibration.Conformal`


@dataclass(frozen=True)
class Card:
    """`bundle.json`: what a bundle takes, gives, and rests on. Lengths in samples."""

    channels: tuple[str, ...]
    units: tuple[str, ...]
    rate_hz: float
    context: int
    horizon: int
    quantiles: tuple[float, ...]
    backbone: str
    checkpoint: str
    revision: str | None
    base_sha256: str
    licence: str  # of the base weights
    synthetic: bool  # trained on simulated recordings
    versions: Mapping[str, str]
    subjects: tuple[str, ...] = ()  # of train, where an adapter has parameters for each
    calibrated: tuple[
        float, ...
    ] = ()  # nominal coverages of the intervals that `conformal` adjusts
    # 1, 50 and 99 % quantiles of each channel in train; {} in bundles of version 0.2 and before.
    levels: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def non_commercial(self) -> bool:
        """Whether the base weights may not be used commercially."""
        return non_commercial(self.licence)


def write(
    folder: Path,
    model: AdaptedModel,
    card: Card,
    texts: Mapping[str, str],
    conformal: Conformal | None = None,
) -> None:
    """Writes a bundle; `texts` are further files by name (recipe, scores, README)."""
    import torch
    from safetensors.torch import save

    peft_state = _peft_state(model)
    if peft_state:
        peft_configs: Any = model.network.peft_config  # set by peft's injection
        config = peft_configs["default"].to_dict()
        config |= {"base_model_name_or_path": card.checkpoint, "revision": card.revision}
        atomic.write_text(folder / "adapter_config.json", _json(config))
        renamed = {f"base_model.{name}": tensor for name, tensor in peft_state.items()}
        atomic.write_bytes(folder / "adapter_model.safetensors", save(renamed))
    own = {n: p.detach().contiguous() for n, p in _own(model, peft_state).items()}
    if own:
        atomic.write_bytes(folder / TRAINED, save(own))
    fitted = {name: tensor.contiguous() for name, tensor in model.fitted().items()}
    if conformal is not None:
        fitted |= {_CONFORMAL: torch.from_numpy(conformal.factors)}
    atomic.write_bytes(folder / FITTED, save(fitted))
    for name, text in texts.items():
        atomic.write_text(folder / name, text)
    atomic.write_text(folder / CARD, _json(asdict(card)))  # last: it makes the bundle


def loading(folder: Path) -> str:
    """Python that loads the bundle in `folder`."""
    return (
        "from pathlib import Path\n"
        "from tsfm_adapt.runs import load\n\n"
        f'model, recipe = load(Path("{folder}"))'
    )


def read_card(folder: Path) -> Card:
    """The card of a bundle.

    Raises:
        DataError: the folder is no bundle, or of a newer format.
    """
    path = folder / CARD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"'{folder}' is no bundle: bundle.json {_reason(error)}.") from error
    if version != FORMAT_VERSION:
        raise DataError(
            f"'{folder}' has bundle format {version}; this version reads {FORMAT_VERSION}. "
            "Update tsfm-adapt."
        )
    known = {one.name for one in fields(Card)}
    tuples = {"channels", "units", "quantiles", "subjects", "calibrated"}
    values: dict[str, Any] = {
        key: tuple(value) if key in tuples and isinstance(value, list) else value
        for key, value in content.items()
        if key in known
    }
    if "levels" in values:
        values["levels"] = {name: tuple(of) for name, of in values["levels"].items()}
    try:
        return Card(**values)
    except TypeError as error:
        raise DataError(f"'{folder}' is no bundle: {error}.") from error


def fitted(folder: Path) -> dict[str, Tensor]:
    """The numbers fitted on train."""
    return _tensors(folder / FITTED)


def calibration(folder: Path) -> Conformal | None:
    """The calibration of a bundle; None where it has none.

    Raises:
        DataError: a file that its card names is missing or does not fit.
    """
    card = read_card(folder)
    if not card.calibrated:
        return None
    factors = fitted(folder).get(_CONFORMAL)
    shape = (len(card.channels), len(card.quantiles))
    if factors is None or tuple(factors.shape) != shape:
        raise DataError(
            f"'{folder}': bundle.json names calibrated intervals, but fitted.safetensors "
            f"holds no {_CONFORMAL} of {shape[0]} channels and {shape[1]} levels. Write it again."
        )
    return Conformal(card.quantiles, factors.double().numpy(), (None,) * shape[0])


def restore(folder: Path, model: AdaptedModel) -> None:
    """Puts the saved tensors into a model built from the bundle's recipe.

    Raises:
        EnvironmentProblem: the base weights are not those that the bundle was trained on.
        RecipeError: the model is for other channels or subjects, or the tensors do not fit it.
    """
    card = read_card(folder)
    _check_setting(folder, card, model)
    if model.base_sha256 != card.base_sha256:
        raise EnvironmentProblem(
            f"'{folder}' was trained on {card.backbone} weights '{card.checkpoint}' "
            f"(revision {card.revision}, sha256 {card.base_sha256[:12]}), but those found have "
            f"sha256 {model.base_sha256[:12]}. Fetch that base."
        )
    expected = _peft_state(model)
    state = dict(_tensors(folder / TRAINED)) if _own(model, expected) else {}
    if expected:
        saved = _tensors(folder / "adapter_model.safetensors")
        names = _parameter_names(model.network)
        for name, tensor in saved.items():
            state["network." + names.get(name.removeprefix("base_model."), name)] = tensor
    model.load_trainable(state)
    known = fitted(folder)
    for name, buffer in model.fitted().items():
        if name not in known or known[name].shape != buffer.shape:
            raise DataError(
                f"'{folder}': fitted.safetensors does not hold {name} as this model needs it. "
                "Use the recipe of the bundle."
            )
        buffer.copy_(known[name])


def _check_setting(folder: Path, card: Card, model: AdaptedModel) -> None:
    """Stops where channels or subjects, which tensors are rows of, are not those of training."""
    setting = model.setting
    if setting.channels not in ((), card.channels):
        raise RecipeError(
            f"'{folder}' was trained on channels {', '.join(card.channels)}; the model is for "
            f"{', '.join(setting.channels)}. Give the same channels in the same order."
        )
    personal = any(adapter.per_subject for adapter in model.adapters)
    if personal and setting.subjects != card.subjects:
        raise RecipeError(
            f"'{folder}' has parameters for each of {len(card.subjects)} subjects; the model is "
            f"for {len(setting.subjects)}, and they are not the same. Use the subjects of its "
            "bundle.json."
        )


def _peft_state(model: AdaptedModel) -> dict[str, Tensor]:
    """What peft would save of the network, under peft's names; empty without peft adapters.

    Without layers that a head leaves aside: they do not train, and are as they were attached.
    """
    if not hasattr(model.network, "peft_config"):
        return {}
    from peft import get_peft_model_state_dict

    state: dict[str, Tensor] = get_peft_model_state_dict(model.network)
    names, trainable = _parameter_names(model.network), model.trainable()
    return {
        name: tensor.detach().contiguous()
        for name, tensor in state.items()
        if f"network.{names[name]}" in trainable
    }


def _own(model: AdaptedModel, peft_state: Mapping[str, Tensor]) -> dict[str, nn.Parameter]:
    """The trainable parameters that peft does not save."""
    saved = {f"network.{_parameter_names(model.network)[name]}" for name in peft_state}
    return {name: p for name, p in model.trainable().items() if name not in saved}


def _parameter_names(network: nn.Module) -> dict[str, str]:
    """Name in peft's files -> the parameter's name; peft leaves the adapter's own name out."""
    return {_saved_name(name): name for name, _ in network.named_parameters()}


def _saved_name(name: str) -> str:
    if "lora_magnitude_vector" in name:  # saved as if it were no module
        return name.partition(".default")[0]
    return name.replace(".default.", ".").removesuffix(".default")


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"'{path}' is missing or broken: {_reason(error)}.") from error
    return tensors


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, default=_plain, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """Sets and enums of peft's configuration as JSON."""
    return sorted(value) if isinstance(value, set) else getattr(value, "value", str(value))


def _reason(error: Exception) -> str:
    return "is missing" if isinstance(error, FileNotFoundError) else f"is unreadable ({error})"
