"""FourierFT: a few learned Fourier coefficients of each weight's change, through peft.

Gao et al., "Parameter-Efficient Fine-Tuning with Discrete Fourier Transform", arXiv 2405.03003:
the change of W is scaling times the real part of the inverse 2-D DFT of a matrix that is zero but
for `frequencies` learned entries, at the same random places in every layer of a size. Unlike the
paper's, the coefficients start at zero, so that an untrained adapter changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tsfm_adapt.adapters._injection import InjectedAdapter, SitesConfig, matching
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from tsfm_adapt.backbones.base import Encoder


class Config(SitesConfig):
    """`adapters: [{name: fourierft}]`."""

    name: Literal["fourierft"] = "fourierft"
    frequencies: int = Field(default=1000, ge=1, description="learned coefficients a matrix")
    scaling: float = Field(
        default=150.0, gt=0, description="multiplies the inverse DFT, which divides by W's size"
    )
    location_seed: int = Field(default=777, ge=0, lt=2**32, description="of their places")

    def build(self) -> FourierFT:
        """FourierFT with the recipe's values."""
        return FourierFT(self)


class FourierFT(InjectedAdapter):
    """Spectral updates at the backbone's sites of the given roles."""

    name = "fourierft"
    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    def peft_config(self, backbone: Encoder, pattern: str) -> Any:
        """FourierFT of peft.

        Raises:
            RecipeError: a matrix has fewer entries than `frequencies`.
        """
        from peft import FourierFTConfig

        layers = matching(backbone, pattern)
        name = min(layers, key=lambda name: layers[name].weight.numel())
        rows, columns = layers[name].weight.shape
        if self.config.frequencies > rows * columns:
            raise RecipeError(
                f"adapters.fourierft.frequencies: {self.config.frequencies} is more than the "
                f"{rows} x {columns} = {rows * columns} entries of {name}. Use fewer."
            )
        return FourierFTConfig(
            n_frequency=self.config.frequencies,
            scaling=self.config.scaling,
            random_loc_seed=self.config.location_seed,
            init_weights=True,  # zeros
            target_modules=pattern,
        )
