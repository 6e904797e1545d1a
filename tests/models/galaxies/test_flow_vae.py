import keras
import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.models import FlowVAE

SIZE, PSF, LATENT = 32, 24, 3


def share_inside(radius):
    """Of the light, in the stamp; linear in log radius, as the model interpolates it."""
    return 1.0 - 0.05 * np.log(radius / 2.0)


@pytest.fixture(scope="module")
def population():
    rng = np.random.default_rng(1)
    conditions = {
        "mag_auto": rng.uniform(20, 25, 400),
        "flux_radius": rng.uniform(3, 20, 400),
        "zphot": rng.uniform(0.1, 2, 400),
    }
    conditions = {name: values.astype("float32") for name, values in conditions.items()}
    latent = rng.normal(size=(400, LATENT)).astype("float32")
    latent[:, 0] = 2 * (conditions["mag_auto"] - 22.5) + 0.1 * latent[:, 0]
    return latent, conditions, share_inside(conditions["flux_radius"])


@pytest.fixture(scope="module")
def model(population):
    keras.utils.set_random_seed(2)
    model = FlowVAE(
        latent=LATENT,
        size=SIZE,
        psf_size=PSF,
        decoder_units=(16,),
        encoder_units=24,
        flow={"transforms": 2, "hidden": (16,)},
        catalogue={"transforms": 1, "hidden": (8,)},
    )
    model.adapt(*population)
    return model


def test_flows_learn_latents_at_their_conditions(model, population):
    latent, conditions, _ = population
    x = {"latent": latent, "attrs": conditions}
    before = [w.copy() for w in model.decoder.get_weights()]
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(x, epochs=15, batch_size=100, verbose=0)
    given = {"mag_auto": np.repeat([21.0, 24.0], 300), "flux_radius": np.full(600, 8.0), "zphot": np.full(600, 0.8)}
    z = model.sample_latent(given, seed=3).numpy()[:, 0]
    # true means -3 and 3, scatter 0.1: a mean of 300 draws is far better known than this bound
    assert abs(z[:300].mean() + 3) < 0.5 and abs(z[300:].mean() - 3) < 0.5
    for a, b in zip(before, model.decoder.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)  # latents train the flows alone


def test_whole_bound_trains_on_feature_dicts(model):
    rng = np.random.default_rng(4)
    psf = np.zeros((8, PSF, PSF), "float32")
    psf[:, PSF // 2, PSF // 2] = 1
    x = {
        "image": rng.normal(size=(8, SIZE, SIZE)).astype("float32"),
        "psf": psf,
        "noise_std": np.ones(8, "float32"),
        "attrs": {"mag_auto": np.full(8, 22.0), "flux_radius": np.full(8, 8.0), "zphot": np.full(8, 1.0)},
    }
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model.loss_per_example(x, None, model(x)))
    gradients = tape.gradient(loss, model.trainable_weights)
    assert np.isfinite(loss)
    reached = {id(w) for w, g in zip(model.trainable_weights, gradients, strict=True) if g is not None}
    for part in (model.encoder, model.decoder, model.prior):
        assert part.trainable_weights and all(id(w) in reached for w in part.trainable_weights), part.name
    assert not model.population.trainable_weights  # the published catalogue's density stays what it is
    given = model.elbo(x["image"], psf, 1.0, conditions=x["attrs"], seed=1)
    assert given.shape == (8,) and np.all(np.isfinite(given))
    assert np.any(given != model.elbo(x["image"], psf, 1.0, seed=1))


def test_samples_repeat_and_survive_reload(model, tmp_path):
    conditions = {"mag_auto": [21.0, 24.0], "flux_radius": [12.0, 5.0], "zphot": [0.3, 1.0]}
    galaxies = model.sample(conditions, seed=5)
    assert galaxies.shape == (2, SIZE, SIZE, 1) and np.min(galaxies) >= 0
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(galaxies, again.sample(conditions, seed=5))
    drawn, redrawn = model.draw(5, seed=6), again.draw(5, seed=6)
    assert set(drawn) == {"image", *FlowVAE.conditions}
    for name in drawn:
        np.testing.assert_array_equal(drawn[name], redrawn[name])


def test_samples_have_the_magnitudes_they_are_asked_for(model):
    """But for the light beyond the stamp, of which there is more the larger a galaxy is."""
    radius = np.linspace(4, 18, 6)
    conditions = {"mag_auto": np.linspace(20.5, 24.5, 6), "flux_radius": radius, "zphot": np.full(6, 0.5)}
    y, x = np.mgrid[-12:12, -12:12]
    psf = np.exp(-0.5 * (x**2 + y**2) / 1.6**2)
    for seen_through in (None, psf / psf.sum()):
        galaxies = model.sample(conditions, seed=5, psf=seen_through).numpy()
        magnitude = model.zero_point - 2.5 * np.log10(galaxies.sum((1, 2, 3)) / share_inside(radius))
        np.testing.assert_allclose(magnitude, conditions["mag_auto"], atol=1e-4)


def test_without_conditions_samples_are_of_the_population(model):
    assert model.sample(n=3, seed=1).shape == (3, SIZE, SIZE, 1)
    drawn = model.draw(3, seed=1)
    np.testing.assert_array_equal(drawn["image"], model.sample(3, seed=1)[..., 0])
    assert drawn["mag_auto"].shape == (3,) and np.all(drawn["flux_radius"] > 0)


def test_conditions_outside_the_trained_range_are_warned_of(model):
    with pytest.warns(UserWarning, match=r"mag_auto of 1 galaxies is outside the trained range \[20"):
        model.sample({"mag_auto": [17.0], "flux_radius": [8.0], "zphot": [0.5]}, seed=1)


@pytest.mark.parametrize(
    "conditions, message",
    [
        ({"mag_auto": [22.0]}, "missing: flux_radius, zphot"),
        ({"mag_auto": [22.0], "flux_radius": [-1.0], "zphot": [0.5]}, "flux_radius positive"),
        ({"mag_auto": [22.0, np.nan], "flux_radius": [5.0, 5.0], "zphot": [0.5, 0.5]}, "finite"),
        ({"mag_auto": [22.0, 23.0], "flux_radius": [5.0], "zphot": [0.5]}, r"arrays \(n,\) of one length; got shapes"),
        ({"mag_auto": 22.0, "flux_radius": 5.0, "zphot": 0.5}, r"arrays \(n,\) of one length; got shapes"),
        ({"mag_auto": [22.0], "flux_radius": [5.0], "zphot": [0.5], "colour": [1.0]}, "unknown: colour"),
    ],
)
def test_bad_conditions_are_refused(model, conditions, message):
    with pytest.raises(ValueError, match=message):
        model.sample(conditions, seed=1)
