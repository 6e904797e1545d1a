"""Sampling field and cosmology together: against an exact posterior, and from a checkpoint."""

import numpy as np
import pytest
import scipy.integrate
import tensorflow as tf
import tensorflow_probability as tfp

from deepcosmo.inference.explicit.full_field import FIRST_STEP, FullField
from deepcosmo.physics import fields
from deepcosmo.physics.fields import LognormalField
from deepcosmo.physics.lensing_survey import LensingSurvey, lsst_y10_small


class WhiteField(LognormalField):
    """Is as Gaussian as its logarithm."""

    def from_modes(self, modes):
        return tf.signal.irfft2d(fields.mixed(self.response(), modes), list(self.shape))


class WhiteSky(LensingSurvey):
    """Maps are 0.06 sigma_8 times white noise: the field can be integrated out."""

    def field(self, theta):
        power = tf.eye(self.bins)[..., None, None] * tf.ones([self.pixels // 2 + 1] * 2)
        shift = 0.06 * tf.cast(theta, tf.float32) * np.ones(self.bins, "float32")
        return WhiteField(
            root=tf.ones_like(shift)[..., None, None, None] * power,
            variance=shift,
            shift=shift,
            shape=(self.pixels, self.pixels),
            pixel_scale=np.degrees(60),
        )


SKY = WhiteSky(pixels=8, width=0.3, parameters=("sigma_8",))


@pytest.mark.slow
def test_posterior_is_the_exact_one():
    """That of the amplitude of a white field in white noise, by quadrature; errors from the effective sample size."""
    maps = SKY.sample(tf.constant([[0.9]]), tf.constant([1, 2]))[0]
    chains = FullField(SKY, maps).sample(400, chains=8, warmup=160, seed=3, progress=False)
    grid = np.linspace(0.3, 1.4, 2001)
    variance = (0.06 * grid) ** 2 + SKY.noise_std**2
    total = np.sum(np.square(maps))
    log_prob = -0.5 * maps.numpy().size * np.log(variance) - 0.5 * total / variance
    log_prob += SKY.prior().log_prob(grid[:, None].astype("float32")).numpy()
    density = np.exp(log_prob - log_prob.max())
    moments = [scipy.integrate.trapezoid(density * grid**k, grid) for k in range(3)]
    mean = moments[1] / moments[0]
    std = np.sqrt(moments[2] / moments[0] - mean**2)
    ess = chains.ess[0]
    assert ess > 200 and chains.r_hat[0] < 1.05
    assert abs(chains.theta.mean() - mean) < 4 * std / np.sqrt(ess)
    assert abs(chains.theta.std() / std - 1) < 4 / np.sqrt(2 * ess)
    assert 0.6 < chains.acceptance < 0.99


def test_checkpoints_go_on_where_they_were(tmp_path):
    maps = SKY.sample(tf.constant([[0.9]]), tf.constant([1, 2]))[0]
    options = {"chains": 2, "warmup": 20, "seed": 5, "progress": False}
    sampler, path = FullField(SKY, maps), tmp_path / "state.npz"
    whole = sampler.sample(30, **options)
    sampler.sample(10, checkpoint=path, **options)
    resumed = sampler.sample(30, checkpoint=path, **options)
    np.testing.assert_allclose(resumed.theta, whole.theta, rtol=1e-5)
    with pytest.raises(ValueError, match="of another run"):
        sampler.sample(30, checkpoint=path, **{**options, "seed": 6})


def test_a_covariance_that_is_known_is_kept(tmp_path):
    """Step sizes are found, scales are not."""
    maps = SKY.sample(tf.constant([[0.9]]), tf.constant([1, 2]))[0]
    sampler, path = FullField(SKY, maps), tmp_path / "state.npz"
    for scale, kept in ((np.array([[0.03**2]]), True), (np.array([0.03]), False)):
        sampler.sample(0, chains=2, warmup=20, scale=scale, seed=5, checkpoint=path, progress=False)
        with np.load(path) as state:
            assert (state["factor"].item() == np.float32(0.03)) == kept
            assert np.exp(state["log_step"]) != pytest.approx(FIRST_STEP)
        path.unlink()


def test_gaussian_fields_leave_nothing_to_sample():
    """Coordinates of the field are then standard normal whatever the parameters, and what is left is the marginal
    likelihood."""
    maps = SKY.sample(tf.constant([[0.9]]), tf.constant([1, 2]))[0]
    sampler = FullField(SKY, maps)
    z = tf.constant([[0.7], [0.9], [1.1]])
    u = SKY.latent(3, [3, 4])
    left = sampler.log_prob(z, u) + 0.5 * tf.reduce_sum(tf.square(u), [1, 2, 3])
    variance = (0.06 * z[:, 0]) ** 2 + SKY.noise_std**2
    expected = -0.5 * maps.numpy().size * np.log(variance) - 0.5 * np.sum(np.square(maps)) / variance
    expected += SKY.prior().log_prob(z)
    np.testing.assert_allclose(left - left[0], expected - expected[0], atol=0.01)


@pytest.mark.parametrize(
    "prior",
    [
        [tfp.distributions.TruncatedNormal(np.float64(0.8), 0.2, 0.0, np.inf)],
        tfp.distributions.Independent(tfp.distributions.Normal(np.array([0.8]), 0.2), 1),
    ],
)
def test_priors_of_float64(prior):
    sampler = FullField(SKY, SKY.sample(tf.constant([[0.9]]), tf.constant([1, 2]))[0], prior=prior)
    found = sampler.log_prob(tf.constant([[0.7], [0.9]]), SKY.latent(2, [3, 4]))
    assert found.dtype == tf.float32 and np.isfinite(found).all()


def test_lensing_maps_have_a_posterior():
    """Its coordinates lead to white noise, its density is that of the survey, and the change of volume is right."""
    survey = lsst_y10_small(pixels=8)
    theta = survey.prior().sample(2, seed=[1, 2])
    maps = survey.sample(theta[:1], tf.constant([5, 6]))[0]
    sampler = FullField(survey, maps)
    u, z = survey.latent(2, [7, 8]), sampler.bijector.inverse(theta)

    def white(u, theta):
        return tf.signal.irfft2d(sampler.white(survey.field(theta), u)[0], [8, 8])

    expected = survey.log_likelihood(maps, survey.convergence(theta, white(u, theta)))
    expected += tf.reduce_sum(tfp.distributions.Normal(0.0, 1.0).log_prob(white(u, theta)), [1, 2, 3])
    expected += survey.prior().log_prob(theta) + sampler.bijector.forward_log_det_jacobian(z, 1)
    for i in range(2):
        with tf.GradientTape() as tape:
            tape.watch(u)
            value = white(u, theta)[i]
        jacobian = tf.reshape(tape.jacobian(value, u)[..., i, :, :, :], [320, 320])
        expected += tf.linalg.slogdet(jacobian)[1] * tf.one_hot(i, 2)
    difference = sampler.log_prob(z, u) - expected
    assert float(difference[0]) == pytest.approx(float(difference[1]), abs=0.02)
    assert np.all(np.isneginf(sampler.log_prob(z + 1e3, u)))


def test_bad_maps():
    with pytest.raises(ValueError, match=r"shape \(8, 8, 5\) of one observation; got \(1, 8, 8, 5\)"):
        FullField(SKY, np.zeros((1, 8, 8, 5)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        FullField(SKY, np.full((8, 8, 5), np.nan))
