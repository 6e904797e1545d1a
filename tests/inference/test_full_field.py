"""Sampling field and cosmology together: against an exact posterior, and from a checkpoint."""

import numpy as np
import pytest
import scipy.integrate
import tensorflow as tf
import tensorflow_probability as tfp

from deepcosmo.inference.full_field import FullField
from deepcosmo.physics.lensing_survey import LensingSurvey, lsst_y10_small


class WhiteSky(LensingSurvey):
    """Maps are 0.06 sigma_8 times white noise: the field can be integrated out."""

    def amplitude(self, theta):
        return 0.06 * tf.cast(theta, tf.float32)[..., 0]

    def convergence(self, theta, white):
        return self.amplitude(theta)[..., None, None, None] * tf.einsum("...byx->...yxb", white)

    def response(self, theta):
        shape = [self.pixels, self.pixels // 2 + 1, 1, 1]
        return tf.tile(self.amplitude(theta) * tf.eye(self.bins)[None, None], shape)


SKY = WhiteSky(pixels=8, width=0.3, parameters=("sigma_8",))


def test_posterior_is_the_exact_one():
    """That of the amplitude of a white field in white noise, by quadrature; errors from the effective sample size."""
    maps = SKY.sample(tf.constant([[0.9]]), tf.constant([1, 2]))[0]
    chains = FullField(SKY, maps).sample(400, chains=8, warmup=160, steps=10, seed=3, progress=False)
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
    options = {"chains": 2, "warmup": 20, "steps": 4, "seed": 5, "progress": False}
    whole = FullField(SKY, maps).sample(30, **options)
    path = tmp_path / "state.npz"
    FullField(SKY, maps).sample(10, checkpoint=path, **options)
    resumed = FullField(SKY, maps).sample(30, checkpoint=path, **options)
    np.testing.assert_allclose(resumed.theta, whole.theta, rtol=1e-5)
    with pytest.raises(ValueError, match="of another run"):
        FullField(SKY, maps).sample(30, checkpoint=path, **{**options, "seed": 6})


def test_lensing_maps_have_a_posterior():
    """Its coordinates lead to white noise, and its density is that of the survey."""
    survey = lsst_y10_small(pixels=16)
    theta = survey.prior().sample(2, seed=[1, 2])
    maps = survey.sample(theta[:1], tf.constant([5, 6]))[0]
    sampler = FullField(survey, maps)
    u = survey.latent(2, [7, 8])
    z = sampler.bijector.inverse(theta)
    white = sampler.white(u)
    normal = tfp.distributions.Normal(0.0, 1.0)
    expected = survey.log_likelihood(maps, survey.convergence(theta, white))
    expected += tf.reduce_sum(normal.log_prob(white), [1, 2, 3])
    expected += survey.prior().log_prob(theta) + sampler.bijector.forward_log_det_jacobian(z, 1)
    difference = sampler.log_prob(z, u) - expected
    assert float(difference[0]) == pytest.approx(float(difference[1]), abs=0.02)
    assert np.all(np.isneginf(sampler.log_prob(z + 1e3, u)))


def test_bad_maps():
    with pytest.raises(ValueError, match=r"shape \(8, 8, 5\) of one observation; got \(1, 8, 8, 5\)"):
        FullField(SKY, np.zeros((1, 8, 8, 5)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        FullField(SKY, np.full((8, 8, 5), np.nan))
