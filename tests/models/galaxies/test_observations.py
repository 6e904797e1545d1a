"""What models do with stamps, PSFs and noise as users have them, in Python and in the endpoints of SavedModels."""

import warnings

import astropy.units as u
import keras
import numpy as np
import pytest
import tensorflow as tf

from deepcosmo import export
from deepcosmo.models import FlowVAE, GalaxyVAE
from deepcosmo.models.galaxies.observations import OFF_CENTRE, centroids

SIZE, PSF, LATENT = 32, 24, 4


def gaussian(size, row, column, sigma=1.6):
    y, x = np.mgrid[:size, :size]
    image = np.exp(-0.5 * ((y - row) ** 2 + (x - column) ** 2) / sigma**2)
    return (image / image.sum()).astype("float32")


CENTRED = gaussian(PSF, PSF // 2, PSF // 2)
IMAGE = np.random.default_rng(0).normal(0, 0.01, (3, SIZE, SIZE)).astype("float32")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    flow = {"transforms": 2, "hidden": (16,)}
    model = FlowVAE(latent=LATENT, size=SIZE, psf_size=PSF, decoder_units=(16,), encoder_units=24, flow=flow)
    model.condition_range.assign([[18.0, 3.0, 0.0], [25.0, 30.0, 2.0]])
    return model


@pytest.mark.parametrize("size, row, column", [(24, 12, 12), (24, 11.5, 11.5), (25, 12.3, 11.8), (31, 20.0, 9.5)])
def test_centroid_of_a_gaussian_is_its_centre_also_in_noise(size, row, column):
    """The noise of a centroid in a Gaussian window as wide as the PSF is 2 sqrt(pi) sigma^2 noise / flux per axis."""
    noise = 2e-3
    psf = gaussian(size, row, column) + noise * np.random.default_rng(1).normal(size=(200, size, size))
    expected = row - size // 2, column - size // 2
    np.testing.assert_allclose(centroids(gaussian(size, row, column)[None])[0], expected, atol=1e-3)
    scatter = 2 * np.sqrt(np.pi) * 1.6**2 * noise
    found = centroids(psf) - expected
    assert np.all(np.abs(found.mean(0)) < 5 * scatter / np.sqrt(200)) and np.all(found.std(0) < 2 * scatter)


def test_psfs_that_are_off_centre_are_warned_of_by_how_much(model):
    with pytest.warns(UserWarning, match=r"1 of 3 PSFs .* off by \+2.00 rows and -1.00 columns") as seen:
        model.posterior(IMAGE, np.stack([CENTRED, gaussian(PSF, PSF // 2 + 2, PSF // 2 - 1), CENTRED]), 0.01)
    assert [w.filename for w in seen if "off by" in str(w.message)] == [__file__]
    between = gaussian(PSF, PSF // 2 - 0.5, PSF // 2 - 0.5)  # as GalSim draws on an even number of pixels
    for call in (lambda: model.decode(np.zeros((1, LATENT)), between), lambda: model.sample(1, seed=1, psf=between)):
        with pytest.warns(UserWarning, match="off by -0.50 rows and -0.50 columns"):
            call()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.posterior(IMAGE, gaussian(41, 20, 20), 0.01)
        model.reconstruct(IMAGE, gaussian(PSF, PSF // 2 - 0.42, PSF // 2 - 0.4), 0.01)  # the PSF of HST/ACS is so


def test_psfs_of_the_data_set_are_not_warned_of():
    from tfds_builders.cosmos_stamps.psfs import model_psfs

    assert np.all(np.hypot(*centroids(model_psfs(8)).T) < OFF_CENTRE)


def test_masked_pixels_are_refused_by_name(model):
    mask = np.zeros(IMAGE.shape, bool)
    found = model.posterior(np.ma.array(IMAGE, mask=mask), CENTRED, 0.01).mean()
    np.testing.assert_array_equal(found, model.posterior(IMAGE, CENTRED, 0.01).mean())
    mask[1, 3, 4] = True
    masked = np.ma.array(IMAGE, mask=mask)
    for name, given in (
        ("image", (masked, CENTRED, 0.01)),
        ("psf", (IMAGE, np.ma.masked_less(CENTRED, 1e-3), 0.01)),
        ("noise_std", (IMAGE, CENTRED, np.ma.array([0.01] * 3, mask=[0, 1, 0]))),
    ):
        for call in (model.posterior, model.reconstruct, model.elbo):
            with pytest.raises(ValueError, match=f"{name} has masked values, and models have no mask"):
                call(*given)
    conditions = {"mag_auto": np.ma.array([22.0, -99.0], mask=[0, 1]), "flux_radius": [8.0, 8.0], "zphot": [0.5, 0.5]}
    with pytest.raises(ValueError, match="mag_auto has masked values"):
        model.sample(conditions, seed=1)


def test_units_are_converted_or_refused(model):
    mean = model.posterior(IMAGE, CENTRED, 0.01).mean()
    given = IMAGE * 60 * u.ct / u.min, CENTRED * u.dimensionless_unscaled, 0.01 * u.ct / u.s
    np.testing.assert_allclose(model.posterior(*given).mean(), mean, atol=1e-5)
    for name, wrong in (("image", (IMAGE * u.Jy, CENTRED, 0.01)), ("noise_std", (IMAGE, CENTRED, 0.01 * u.mag))):
        with pytest.raises(ValueError, match=f"{name} must have the unit ct / s"):
            model.posterior(*wrong)
    conditions = {"mag_auto": [22.0] * u.mag, "flux_radius": [0.3] * u.arcsec, "zphot": [0.5]}
    with pytest.raises(ValueError, match="flux_radius must have the unit pix"):
        model.sample(conditions, seed=1)


@pytest.fixture(scope="module")
def signatures(model, tmp_path_factory):
    loaded = tf.saved_model.load(str(export.save(model, tmp_path_factory.mktemp("saved") / "model")))
    return loaded.signatures


def call(signature, image=IMAGE, psf=CENTRED, noise_std=0.01, **others):
    n = len(image)
    psf = np.broadcast_to(psf, (n, *np.shape(psf)[-2:]))
    noise_std = np.broadcast_to(noise_std, (n,))
    given = {"image": image, "psf": psf, "noise_std": noise_std}
    return signature(**{k: tf.constant(v, tf.float32) for k, v in given.items()}, **others)


@pytest.mark.filterwarnings("ignore:PSFs should sum to 1")
@pytest.mark.parametrize("psf", [100 * CENTRED, gaussian(19, 9, 9), 3 * gaussian(41, 20, 20)])
def test_endpoints_prepare_psfs_as_python_does(model, signatures, psf):
    expected = model.posterior(IMAGE, psf, 0.01).mean()
    np.testing.assert_allclose(call(signatures["encode"], psf=psf)["mean"], expected, atol=1e-5)
    z = np.ones((3, LATENT), "float32")
    rendered = signatures["render"](z=tf.constant(z), psf=tf.constant(psf[None]))["image"]
    np.testing.assert_allclose(rendered, model.decode(z, psf), atol=1e-5 * np.max(rendered))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"image": np.where(np.arange(3)[:, None, None] == 1, np.nan, IMAGE)}, "image has values that are not finite"),
        ({"psf": np.full_like(CENTRED, np.nan)}, "psf has values that are not finite"),
        ({"psf": -CENTRED}, "a PSF must have a positive sum"),
        ({"noise_std": [0.01, 0.0, 0.01]}, "noise_std must be positive and finite"),
        ({"noise_std": np.inf}, "noise_std must be positive and finite"),
    ],
)
def test_endpoints_refuse_what_python_refuses(model, signatures, change, message):
    for name, others in (("encode", {}), ("elbo", {"seed": tf.constant([0, 1])})):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            call(signatures[name], **change, **others)
    with pytest.raises(ValueError, match=message):
        model.posterior(**({"image": IMAGE, "psf": CENTRED, "noise_std": 0.01} | change))


def test_nothing_gives_nothing(model, signatures):
    none = np.zeros((0, SIZE, SIZE), "float32")
    given = none, CENTRED, 0.01
    assert model.posterior(*given).mean().shape == (0, LATENT)
    assert model.posterior(*given, iterations=2).covariance().shape == (0, LATENT, LATENT)
    assert model.posterior(none, np.zeros((0, PSF, PSF)), np.zeros(0)).batch_shape == (0,)
    assert model.reconstruct(*given).shape == (0, SIZE, SIZE, 1)
    conditions = dict.fromkeys(FlowVAE.conditions, np.zeros(0))
    assert model.elbo(*given).shape == model.elbo(*given, conditions=conditions).shape == (0,)
    for psf in (None, CENTRED):
        assert model.decode(np.zeros((0, LATENT)), psf).shape == (0, SIZE, SIZE, 1)
        for what in (conditions, 0):
            assert model.sample(what, seed=1, psf=psf).shape == (0, SIZE, SIZE, 1)
    assert model.sample_latent(conditions, seed=1).shape == (0, LATENT)
    assert {v.shape for v in model.draw(0, seed=1).values()} == {(0, SIZE, SIZE), (0,)}
    assert call(signatures["encode"], none)["scale_tril"].shape == (0, LATENT, LATENT)
    assert signatures["sample"](n=tf.constant(0), seed=tf.constant([0, 1]))["galaxy"].shape == (0, SIZE, SIZE, 1)


def test_without_a_flow_nothing_gives_nothing():
    vae = GalaxyVAE(latent=LATENT, size=SIZE, psf_size=PSF, decoder_units=(16,), encoder_units=24)
    assert vae.sample(0, seed=1).shape == (0, SIZE, SIZE, 1) and vae.sample((), seed=1).shape == (SIZE, SIZE, 1)
