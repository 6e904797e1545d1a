"""Score networks of convergence maps: the Gaussian part is exact, the rest learns, samples have the spectrum."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.metrics.maps import thirds
from deepcosmo.models import KappaScore
from deepcosmo.physics import fields

ELL = np.geomspace(50, 5e4, 80)
C_ELL = 3e-9 * (ELL / 300) ** -1.2 / (1 + ELL / 6000) ** 2
PIXEL = 0.3


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = KappaScore(pixel_scale=PIXEL, widths=(8, 16), margin=8)
    model.spectrum.set(ELL, C_ELL)
    return model


def gaussian(shape, count, seed=0):
    maps = [
        fields.gaussian_maps(C_ELL[None, None], ELL, shape=shape, pixel_scale=PIXEL, seed=[seed, i])
        for i in range(count)
    ]
    return tf.cast(tf.concat(maps, 0), tf.float32)


@pytest.mark.parametrize("sigma", [0.004, 0.03, 0.3])
def test_a_gaussian_prior_reaches_a_loss_of_one(model, sigma):
    """Before training the network adds nothing. Each of 32 losses scatters by about sqrt(2 / modes that matter)."""
    maps = gaussian((96, 128), 32)
    x = {"noisy": maps + sigma * tf.random.stateless_normal(maps.shape, [1, 1]), "sigma": tf.fill([32], sigma)}
    losses = model.loss_per_example(x, maps, model(x)).numpy()
    assert abs(losses.mean() - 1) < 4 * losses.std() / np.sqrt(32) + 2e-3
    assert losses.std() < 0.2


def test_the_score_is_that_of_a_gaussian(model):
    """-x / (S + sigma^2) in Fourier space, S from the spectrum at the wave number of each mode."""
    x, sigma = gaussian((64, 48), 2), tf.constant([0.02, 0.2])
    score = np.fft.rfft2(model.score(x, sigma, residual=False))
    ell = fields.multipoles((64, 48), PIXEL)
    power = np.exp(np.interp(np.log(np.maximum(ell, 1)), np.log(ELL), np.log(C_ELL))) / np.radians(PIXEL / 60) ** 2
    expected = -np.fft.rfft2(x) / (np.where(ell > 0, power, 0) + sigma.numpy()[:, None, None] ** 2)
    np.testing.assert_allclose(score, expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize("steps", [3, 12])
def test_samples_have_the_spectrum_however_few_the_steps(model, steps):
    maps = model.sample((96, 80), 5, count=24, steps=steps)
    edges = np.array([400, 1500, 4000, 12000, 30000])
    ell, measured = fields.measured_power(maps[:, None], pixel_scale=PIXEL, edges=edges)
    direct = gaussian((160, 144), 96, 9)[:, None, :96, :80]  # samples are cut out of a larger sky, too
    expected = fields.measured_power(direct, pixel_scale=PIXEL, edges=edges)[1].numpy()[:, 0, 0].mean(0)
    ours = measured.numpy()[:, 0, 0]
    assert np.all(np.abs(ours.mean(0) / expected - 1) < 4 * ours.std(0) / ours.mean(0) / np.sqrt(24) + 0.02)


def test_seeds(model):
    one, same, other = (model.sample((32, 40), seed, steps=3).numpy() for seed in (1, [0, 1], 2))
    assert one.shape == (1, 32, 40)
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0


@pytest.mark.slow
def test_training_beats_the_wiener_filter_where_fields_are_not_gaussian():
    """Log-normal maps: 150 steps lower the loss of each of 16 unseen maps, and tell where errors are large."""
    keras.utils.set_random_seed(1)
    model = KappaScore(pixel_scale=PIXEL, widths=(8, 16), margin=4)
    model.spectrum.set(ELL, C_ELL)
    maps = np.concatenate(
        [
            fields.lognormal_maps(C_ELL[None, None], ELL, [0.01], shape=(256, 256), pixel_scale=PIXEL, seed=[2, i])
            for i in range(6)
        ]
    ).astype("f4")
    maps = maps.reshape(6, 4, 64, 4, 64).transpose(0, 1, 3, 2, 4).reshape(-1, 64, 64)
    maps -= maps.mean((1, 2), keepdims=True)
    train, test = maps[:80], maps[80:]

    def examples(maps, seed):
        noise = tf.random.stateless_normal(maps.shape, [seed, 1])
        return {"noisy": maps + 0.02 * noise, "sigma": tf.fill([len(maps)], 0.02)}

    unseen = examples(test, 7)
    before = model.loss_per_example(unseen, test, model(unseen)).numpy()
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    for epoch in range(15):
        model.fit(examples(train, epoch), train, batch_size=8, verbose=0)
    gain = before - model.loss_per_example(unseen, test, model(unseen)).numpy()
    assert np.median(gain) > 0.1 and np.all(gain > 0)
    posterior = model.distribution(unseen)
    inner = np.s_[:, 4:-4, 4:-4]
    squares = np.square((test - posterior.loc) / posterior.scale)[inner].ravel()
    third = thirds(posterior.loc.numpy()[inner].ravel())
    errors = np.square(test - posterior.loc)[inner].ravel()
    assert all(squares[third == i].mean() == pytest.approx(1, abs=0.2) for i in range(3))
    assert errors[third == 2].mean() > 4 * errors[third == 0].mean()  # so there was something to learn


@pytest.mark.parametrize(("ell", "c_ell"), [([1, 2], [1.0]), ([2, 1], [1.0, 1.0]), ([1, 2], [1.0, 0.0])])
def test_bad_spectra(model, ell, c_ell):
    with pytest.raises(ValueError, match="ell must increase"):
        model.spectrum.set(ell, c_ell)
