"""Golden arrays of posteriors given the maps of a survey."""

from typing import TYPE_CHECKING

import numpy as np

from deepcosmo.zoo.golden import record

if TYPE_CHECKING:
    from deepcosmo.models.maps.posterior import MapPosterior
    from deepcosmo.physics.lensing_survey import LensingSurvey

__all__ = ["record_maps", "waves"]


def record_maps(model: "MapPosterior", survey: "LensingSurvey", amplitude: float) -> dict[str, np.ndarray]:
    """The golden arrays of a `MapPosterior` of a `LensingSurvey`, for `waves` of some amplitude."""
    maps, theta = amplitude * waves(survey.shape), survey.fiducial[None]
    seed = np.array([1, 2], "int32")
    return record(
        model,
        {
            "compress": {"maps": maps},
            "log_prob": {"theta": theta, "maps": maps},
            "sample": {"maps": maps, "seed": seed},
        },
    )


def waves(shape: tuple[int, int, int]) -> np.ndarray:
    """An image (1, n, n, channels), float32, that is the same everywhere: a few waves, and something like noise."""
    n, _, channels = shape
    y, x = np.mgrid[:n, :n] * 2 * np.pi / n
    image = sum(np.cos(k * x + k**2) * np.sin(2 * k * y) / k for k in (1, 2, 5, 11, 29, 63))
    image = image[..., None] * np.linspace(0.3, 1.0, channels) + 0.3 * np.cos(90 * x * y)[..., None]
    return image[None].astype("float32")
