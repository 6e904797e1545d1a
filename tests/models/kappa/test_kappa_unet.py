"""The U-Net starts as the Wiener filter and learns what is left."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.inference import mass_map
from deepcosmo.inference.mass_mapping import priors
from deepcosmo.models import KappaUNet
from deepcosmo.models.kappa.unet import TYPICAL_SIGNAL

RNG = np.random.default_rng(0)


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    model = KappaUNet(pixel_scale=0.3, widths=(8, 16), margin=4)
    model.spectrum.set(*priors.fiducial_spectrum())
    return model


def test_it_starts_as_the_wiener_filter(model, monkeypatch):
    monkeypatch.setattr(priors, "PADDING", priors.NETWORK_PADDING)
    shear, noise_std = 0.15 * RNG.normal(size=(50, 37, 2)), RNG.uniform(0.1, 0.2, (50, 37))
    mask = RNG.uniform(size=(50, 37)) > 0.2
    data = {"shear": shear, "noise_std": noise_std, "mask": mask, "pixel_scale": 0.3}
    ours = mass_map(**data, method="unet", model=model)
    wiener = mass_map(**data, method="wiener", num_samples=0, prior=model.spectrum.get())
    # the grids around the map differ by a few pixels
    np.testing.assert_allclose(ours.mean, wiener.mean, atol=0.05 * wiener.mean.std())
    np.testing.assert_allclose(ours.std, TYPICAL_SIGNAL, rtol=1e-5)


def test_it_learns_mean_and_scatter(model):
    """Where the truth is twice the Wiener map, with an error of 0.5 in units of the typical signal."""
    smooth = tf.nn.avg_pool2d(RNG.normal(size=(64, 40, 40, 1)).astype("f4"), 5, 1, "SAME")[..., 0].numpy()
    wiener = TYPICAL_SIGNAL * smooth / smooth.std()
    x = {"wiener": wiener, "information": np.zeros_like(wiener), "precision": np.full_like(wiener, 50.0)}
    truth = 2 * wiener + 0.5 * TYPICAL_SIGNAL * RNG.normal(size=wiener.shape).astype("f4")
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    model.fit(x, truth, batch_size=8, epochs=12, verbose=0)
    inner = np.s_[:, 4:-4, 4:-4]
    posterior = model.distribution(x)
    error = (posterior.loc.numpy() - truth)[inner]
    assert np.sqrt(np.mean(error**2)) < 0.6 * TYPICAL_SIGNAL
    assert np.mean(posterior.scale.numpy()[inner]) == pytest.approx(0.5 * TYPICAL_SIGNAL, rel=0.2)


def test_what_is_not_observed_tells_nothing(model):
    """The condition, and so the map, does not change with the size of the sky around the data, but for its edges."""
    keras.utils.set_random_seed(3)
    for variable in model.trainable_variables:  # a network that does something
        variable.assign(0.3 * np.random.default_rng(1).normal(size=variable.shape) / np.sqrt(variable.shape[0]))
    inner = {name: 0.1 * RNG.normal(size=(1, 32, 32)).astype("f4") for name in ("wiener", "information")}
    inner["precision"] = np.full((1, 32, 32), 48.0, "f4")
    small, large = ({name: np.pad(v, ((0, 0), (n, n), (n, n))) for name, v in inner.items()} for n in (64, 96))
    a, b = model(small)[:, 64:-64, 64:-64], model(large)[:, 96:-96, 96:-96]
    assert np.std(a) > 0
    np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(a).max())


def test_other_pixels_are_refused(model):
    with pytest.raises(ValueError, match="trained at 0.3000 arcmin"):
        mass_map(np.zeros((32, 32, 2)), 0.1, pixel_scale=1.0, method="unet", model=model)
