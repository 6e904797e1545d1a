"""What the galaxy generators are judged by, on galaxies with a known fault."""

import galsim
import numpy as np
import pytest

from deepcosmo.metrics.galaxies import COMPARED, generator_metrics

NOISE = 1e-3


@pytest.fixture(scope="module")
def galaxies():
    """Round exponential discs of many sizes, and their conditions."""
    rng = np.random.default_rng(0)
    radii = rng.uniform(0.15, 0.4, 60)
    discs = [galsim.Exponential(half_light_radius=r, flux=100.0).shear(g1=0.1) for r in radii]
    images = np.stack([d.drawImage(nx=64, ny=64, scale=0.03, method="no_pixel").array for d in discs])
    images += NOISE * rng.normal(size=images.shape).astype("float32")
    return images, {"mag_auto": np.full(60, 20.94) + 1e-3 * rng.normal(size=60), "flux_radius": radii / 0.03}


def bins(truth, samples, conditions):
    metrics, _ = generator_metrics(truth, samples, conditions, split="test", noise_std=NOISE)
    (metric,) = [m for m in metrics if m.name.startswith("bins of a condition")]
    return metric


def test_a_perfect_generator_has_no_biased_bin(galaxies):
    truth, conditions = galaxies
    assert bins(truth, truth + 1e-6, conditions).value == 0


def test_galaxies_that_are_too_faint_are_off_in_every_bin_of_magnitude(galaxies):
    truth, conditions = galaxies
    found = bins(truth, 0.9 * truth, conditions)
    statistics = len(COMPARED) - 2
    assert found.name.endswith(f"of {statistics * 5 * len(conditions)}")
    assert found.value == 5 * len(conditions)
    assert found.reference.startswith("worst: magnitude") and "-10.0%" in found.reference
