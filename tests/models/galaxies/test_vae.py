import keras
import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.models import GalaxyVAE
from deepcosmo.models.galaxies.laplace import laplace
from deepcosmo.models.galaxies.profiles import RESOLUTION, psf_transfer

SIZE, PSF, LATENT = 32, 24, 6


def gaussian(size, sigma, centre):
    axis = np.arange(size) - centre
    profile = np.exp(-0.5 * (axis / sigma) ** 2)
    image = profile[:, None] * profile[None]
    return (image / image.sum()).astype("float32")


@pytest.fixture(scope="module")
def vae():
    keras.utils.set_random_seed(3)
    model = GalaxyVAE(latent=LATENT, size=SIZE, psf_size=PSF, decoder_units=(32,), encoder_units=48)
    power = 1 / (1 + 20 * (np.fft.fftfreq(SIZE)[:, None] ** 2 + np.fft.fftfreq(SIZE) ** 2))
    model.set_noise_power(power)
    return model


@pytest.fixture(scope="module")
def stamps(vae):
    rng = np.random.default_rng(5)
    psf = np.stack([gaussian(PSF, 1.6, PSF // 2)] * 4)
    z = rng.normal(size=(4, LATENT)).astype("float32")
    noise_std = np.array([0.01, 0.02, 0.03, 0.04], "float32")
    image = vae.decode(z, psf).numpy()[..., 0] + rng.normal(size=(4, SIZE, SIZE)) * noise_std[:, None, None]
    return {"image": image.astype("float32"), "psf": psf, "noise_std": noise_std}


def test_transfer_of_a_psf_as_sharp_as_the_decoder_is_one():
    # sampled on pixels this Gaussian aliases by exp(-2 pi^2 sigma^2) at most: compare below half the Nyquist frequency
    real, imaginary = psf_transfer(gaussian(PSF, RESOLUTION, PSF // 2)[None], SIZE)
    low = np.s_[0, : SIZE // 4, : SIZE // 4]
    np.testing.assert_allclose(real[low], 1, atol=0.02)
    np.testing.assert_allclose(imaginary[low], 0, atol=1e-4)


def test_decoded_galaxies_are_positive(vae):
    z = tf.random.stateless_normal((16, LATENT), (1, 2))
    galaxies = vae.decode(z).numpy()
    assert galaxies.shape == (16, SIZE, SIZE, 1)
    assert galaxies.min() >= 0


def test_likelihood_is_that_of_the_full_covariance(vae, stamps):
    n = SIZE
    z = tf.random.stateless_normal((4, LATENT), (1, 2))
    residual = (stamps["image"] - vae.decode(z, stamps["psf"]).numpy()[..., 0]).reshape(4, -1).astype(float)
    correlation = np.fft.ifft2(vae.noise_power.numpy().astype(float)).real
    y, x = np.divmod(np.arange(n * n), n)
    covariance = correlation[(y[:, None] - y) % n, (x[:, None] - x) % n]
    chi2 = np.einsum("bi,ij,bj->b", residual, np.linalg.inv(covariance), residual) / stamps["noise_std"] ** 2
    np.testing.assert_allclose(vae.log_likelihood(stamps, z), -0.5 * chi2, rtol=1e-3)


def test_noise_has_the_likelihood_of_its_number_of_pixels(vae, stamps):
    z = tf.random.stateless_normal((1, LATENT), (1, 2))
    noise = np.fft.ifft2(
        np.fft.fft2(np.random.default_rng(0).normal(size=(200, SIZE, SIZE))) * np.sqrt(vae.noise_power.numpy())
    ).real
    psf = np.repeat(stamps["psf"][:1], 200, 0)
    image = vae.decode(tf.repeat(z, 200, 0), psf).numpy()[..., 0] + 0.01 * noise
    x = {"image": image.astype("float32"), "psf": psf, "noise_std": np.full(200, 0.01, "float32")}
    chi2 = -2 * vae.log_likelihood(x, tf.repeat(z, 200, 0)).numpy()
    assert abs(chi2.mean() - SIZE**2) < 4 * SIZE * np.sqrt(2 / 200)


def test_fit_raises_the_bound():
    keras.utils.set_random_seed(4)
    model = GalaxyVAE(latent=4, size=SIZE, psf_size=PSF, decoder_units=(16,), encoder_units=32)
    psf = np.stack([gaussian(PSF, 1.6, PSF // 2)] * 32)
    rng = np.random.default_rng(1)
    flux = rng.uniform(3, 30, (32, 1, 1))
    image = flux * gaussian(SIZE, 3.0, (SIZE - 1) / 2) + rng.normal(size=(32, SIZE, SIZE)) * 0.02
    x = {"image": image.astype("float32"), "psf": psf, "noise_std": np.full(32, 0.02, "float32")}
    before = np.mean(model.elbo(**x, seed=1))
    model.compile(keras.optimizers.Adam(3e-3, clipnorm=100.0))
    model.fit(x, epochs=60, batch_size=32, verbose=0)
    after = np.mean(model.elbo(**x, seed=1))
    assert -after < 0.5 * -before
    assert np.corrcoef(model.reconstruct(**x).numpy().sum((1, 2, 3)), flux.ravel())[0, 1] > 0.9


def test_laplace_is_exact_for_a_linear_model():
    rng = np.random.default_rng(2)
    design, data = rng.normal(size=(7, 3)).astype("float32"), rng.normal(size=(2, 7)).astype("float32")

    def residual(z):
        repeated = tf.repeat(data, z.shape[0] // 2, axis=0)
        return repeated - tf.matmul(z, design.T)

    mean, scale = laplace(residual, tf.zeros((2, 3)), 20)
    covariance = np.linalg.inv(design.T @ design + np.eye(3))
    np.testing.assert_allclose(mean, data @ design @ covariance, atol=1e-3)
    np.testing.assert_allclose(tf.matmul(scale, scale, transpose_b=True), [covariance] * 2, atol=1e-3)


def test_refined_posterior_is_more_probable_than_the_encoders(vae, stamps):
    def log_joint(q):
        return vae.log_likelihood(stamps, q.mean()).numpy() - 0.5 * np.sum(q.mean().numpy() ** 2, -1)

    first, refined = vae.posterior(**stamps), vae.posterior(**stamps, iterations=15)
    assert np.all(log_joint(refined) > log_joint(first))
    chi2 = -2 * vae.log_likelihood(stamps, refined.mean()).numpy()
    assert np.all(np.isfinite(refined.covariance())) and np.all(chi2 < 10 * SIZE**2)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"image": np.zeros((4, 16, 16))},
            r"image must have shape \(n, 32, 32\) or \(n, 32, 32, 1\); got \(4, 16, 16\)",
        ),
        ({"psf": np.ones(4)}, r"psf must have shape \(height, width\) or \(n, height, width\); got \(4,\)"),
        ({"psf": [gaussian(PSF, 1.6, PSF // 2)] * 3}, "psf must be one image or one for each of the 4 stamps; got 3"),
        ({"noise_std": np.ones((4, 1))}, r"noise_std must be a number or have shape \(n,\); got \(4, 1\)"),
        ({"noise_std": np.ones(3)}, "noise_std must be a number"),
        ({"noise_std": np.nan}, "noise_std must be positive and finite"),
        ({"noise_std": np.array([1.0, -1.0, 1.0, 1.0])}, "it is not in 1 of 4 stamps, the first being number 1"),
        ({"image": np.full((4, SIZE, SIZE), np.nan)}, "not finite in 4 of 4 stamps"),
        ({"psf": np.zeros((4, PSF, PSF))}, "positive sum"),
    ],
)
def test_bad_input_is_refused(vae, stamps, change, message):
    with pytest.raises(ValueError, match=message):
        vae.posterior(**(stamps | change))


def test_one_psf_and_one_noise_level_stand_for_all(vae, stamps):
    mean = vae.posterior(stamps["image"][..., None], stamps["psf"][0], 0.02).mean()
    same = stamps | {"noise_std": np.full(4, 0.02, "float32")}
    np.testing.assert_allclose(mean, vae.posterior(**same).mean(), atol=1e-5)


@pytest.mark.parametrize("size", [PSF - 3, PSF + 5])
def test_psfs_of_other_sizes_are_padded_and_cut_about_their_centre(vae, size):
    z = tf.random.stateless_normal((2, LATENT), (1, 2))
    psf = gaussian(size, 1.6, size // 2)
    np.testing.assert_allclose(vae.decode(z, psf), vae.decode(z, gaussian(PSF, 1.6, PSF // 2)), atol=1e-3)


def test_psf_keeps_flux_and_blurs(vae):
    z = tf.random.stateless_normal((4, LATENT), (1, 2))
    sharp, blurred = vae.decode(z).numpy(), vae.decode(z, gaussian(PSF, 1.6, PSF // 2)).numpy()
    np.testing.assert_allclose(blurred.sum((1, 2, 3)), sharp.sum((1, 2, 3)), rtol=1e-3)
    assert np.all(blurred.max((1, 2, 3)) < sharp.max((1, 2, 3)))


def test_bound_lies_below_the_evidence(stamps):
    """The evidence of a nearly linear model by importance sampling from the refined posterior."""
    keras.utils.set_random_seed(5)
    model = GalaxyVAE(latent=2, size=SIZE, psf_size=PSF, decoder_units=(16,), encoder_units=32)
    z = tf.random.stateless_normal((1, 2), (1, 2))
    psf = stamps["psf"][:1]
    image = model.decode(z, psf)[..., 0] + 0.3 * np.random.default_rng(0).normal(size=(1, SIZE, SIZE))
    q = model.posterior(image, psf, 0.3, iterations=20)
    draws = q.sample(2000, seed=1)[:, 0]
    x = {name: tf.repeat(value, 2000, 0) for name, value in model.checked(image, psf, 0.3).items()}
    prior = -0.5 * np.sum(draws.numpy() ** 2, -1) - np.log(2 * np.pi)
    residual = x["image"] - model.decode(draws, psf)[..., 0]  # the noise is white
    likelihood = -0.5 * np.sum(residual.numpy().astype(float) ** 2, (1, 2)) / 0.09
    likelihood -= SIZE**2 * (np.log(0.3) + 0.5 * np.log(2 * np.pi))
    evidence = np.log(np.mean(np.exp(prior + likelihood - q.log_prob(draws[:, None]).numpy()[:, 0] - likelihood.max())))
    bounds = [model.elbo(image, psf, 0.3, seed=i).numpy()[0] for i in range(50)]
    assert np.mean(bounds) < evidence + likelihood.max() + 0.1
    np.testing.assert_allclose(
        likelihood[:3], model._noise_normalisation(x)[:3] + model.log_likelihood(x, draws)[:3], rtol=1e-5
    )


def test_unnormalised_psfs_are_normalised_with_a_warning(vae, stamps):
    with pytest.warns(UserWarning, match="PSFs should sum to 1"):
        q = vae.posterior(**(stamps | {"psf": 3 * stamps["psf"]}))
    np.testing.assert_allclose(q.mean(), vae.posterior(**stamps).mean(), atol=1e-4)


def test_noise_power_must_fit(vae):
    with pytest.raises(ValueError, match="noise power must be positive"):
        vae.set_noise_power(np.ones((16, 16)))
