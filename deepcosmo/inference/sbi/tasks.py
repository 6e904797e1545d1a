"""Simulators with posteriors that are known: what simulation-based inference is measured on, and learned with.

    task = TASKS["two_moons"]
    theta = task.prior.sample(10_000, seed=[0, 1])
    x = task.simulate(theta, seed=[0, 2])
    reference = task.reference(task.observation(0), 10_000, seed=[0, 3])

They are those of Lueckmann et al. 2021 (arXiv:2101.04653). Everything is batched TensorFlow: theta is (n, dim), x is
(n, data_dim), float32.
"""

import abc
import functools

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions

__all__ = ["TASKS", "Task"]


class Task(abc.ABC):
    """A simulator with a prior and a likelihood.

    Attributes:
        name: of the task.
        prior: `tfd.Distribution` of theta (dim,).
        dim, data_dim: lengths of theta and x.
    """

    name: str
    dim: int
    data_dim: int

    @functools.cached_property
    @abc.abstractmethod
    def prior(self):
        """Distribution of the parameters."""

    @abc.abstractmethod
    def distribution(self, theta):
        """p(x | theta): `tfd.Distribution` with batch shape (n,) and events (data_dim,), for theta (n, dim)."""

    def simulate(self, theta, seed):
        """Draws data (n, data_dim) for parameters (n, dim); `seed` is int32[2]."""
        return self.distribution(tf.convert_to_tensor(theta, tf.float32)).sample(seed=seed)

    def log_likelihood(self, theta, x):
        """ln p(x | theta) in nats (n,), for theta (n, dim) and one x (data_dim,)."""
        return self.distribution(theta).log_prob(x)

    def observation(self, number):
        """The parameters (dim,) and data (data_dim,) of observation `number`: a draw from prior and simulator."""
        theta = self.prior.sample(1, seed=[2101, number])
        return theta[0].numpy(), self.simulate(theta, seed=[4653, number])[0].numpy()


def _interval(low, high, dim):
    return tfd.Independent(tfd.Uniform(tf.fill([dim], float(low)), float(high)), 1)


class GaussianLinear(Task):
    """x = theta + noise of variance 0.1; theta normal with variance 0.1."""

    name, dim, data_dim = "gaussian_linear", 10, 10

    @functools.cached_property
    def prior(self):
        return tfd.MultivariateNormalDiag(tf.zeros(10), tf.fill([10], 0.1**0.5))

    def distribution(self, theta):
        return tfd.MultivariateNormalDiag(theta, tf.fill([10], 0.1**0.5))


class GaussianLinearUniform(GaussianLinear):
    """The same, with theta uniform in (-1, 1)."""

    name = "gaussian_linear_uniform"

    @functools.cached_property
    def prior(self):
        return _interval(-1, 1, 10)


class GaussianMixture(Task):
    """x is theta with noise of standard deviation 1 or, as probably, 0.1."""

    name, dim, data_dim = "gaussian_mixture", 2, 2

    @functools.cached_property
    def prior(self):
        return _interval(-10, 10, 2)

    def distribution(self, theta):
        scales = tf.constant([[1.0, 1.0], [0.1, 0.1]])
        components = tfd.MultivariateNormalDiag(tf.repeat(theta[..., None, :], 2, -2), scales)
        return tfd.MixtureSameFamily(tfd.Categorical(probs=[0.5, 0.5]), components)


class _Crescent(tfd.Distribution):
    """Points on an arc of radius 0.1 +- 0.01, right of (0.25, 0), moved by `centre` (..., 2)."""

    RADIUS, WIDTH, OFFSET = 0.1, 0.01, 0.25

    def __init__(self, centre, validate_args=False, allow_nan_stats=True, name="Crescent"):
        parameters = dict(locals())
        self._centre = centre
        super().__init__(centre.dtype, tfd.NOT_REPARAMETERIZED, validate_args, allow_nan_stats, parameters, name=name)

    def _batch_shape_tensor(self):
        return tf.shape(self._centre)[:-1]

    def _batch_shape(self):
        return self._centre.shape[:-1]

    def _event_shape(self):
        return tf.TensorShape([2])

    def _event_shape_tensor(self):
        return tf.constant([2])

    def _sample_n(self, n, seed=None):
        to_angle, to_radius = tf.unstack(tf.random.split(tfp.random.sanitize_seed(seed), 2))
        shape = tf.concat([[n], self._batch_shape_tensor()], 0)
        angle = tf.random.stateless_uniform(shape, to_angle, -np.pi / 2, np.pi / 2)
        radius = self.RADIUS + self.WIDTH * tf.random.stateless_normal(shape, to_radius)
        arc = tf.stack([radius * tf.cos(angle) + self.OFFSET, radius * tf.sin(angle)], -1)
        return arc + self._centre

    def _log_prob(self, x):
        x = x - self._centre - [self.OFFSET, 0.0]
        radius = tf.norm(x, axis=-1)
        # a negative radius, which is 10 sigma away, would be on the other side
        log_prob = tfd.Normal(self.RADIUS, self.WIDTH).log_prob(radius) - tf.math.log(np.pi * radius)
        return tf.where(x[..., 0] > 0, log_prob, -np.inf)


class TwoMoons(Task):
    """Two crescents, from the modulus in the mean."""

    name, dim, data_dim = "two_moons", 2, 2

    @functools.cached_property
    def prior(self):
        return _interval(-1, 1, 2)

    def distribution(self, theta):
        first, second = tf.unstack(theta, axis=-1)
        return _Crescent(tf.stack([-tf.abs(first + second), second - first], -1) / 2**0.5)


class SLCP(Task):
    """Simple likelihood, complex posterior: four draws from a normal distribution in the plane."""

    name, dim, data_dim = "slcp", 5, 8

    @functools.cached_property
    def prior(self):
        return _interval(-3, 3, 5)

    def distribution(self, theta):
        mean, (s1, s2, t) = theta[..., :2], tf.unstack(theta[..., 2:], axis=-1)
        s1, s2, rho = s1**2, s2**2, tf.tanh(t)
        # 1 - tanh^2, without cancellation
        scale = tf.stack([tf.stack([s1, tf.zeros_like(s1)], -1), tf.stack([rho * s2, s2 / tf.cosh(t)], -1)], -2)
        points = tfd.MultivariateNormalTriL(mean[..., None, :], scale[..., None, :, :])
        points = tfd.Independent(tfd.BatchBroadcast(points, to_shape=tf.concat([tf.shape(mean)[:-1], [4]], 0)), 1)
        return tfd.TransformedDistribution(points, tfp.bijectors.Reshape([8], event_shape_in=[4, 2]))


class BernoulliGLM(Task):
    """Spikes of a neuron that filters white noise: their number and the stimulus that precedes them."""

    name, dim, data_dim = "bernoulli_glm", 10, 10
    BINS = 100

    @functools.cached_property
    def _stimulus(self):
        """A constant and the last nine values of the stimulus, in each bin: (bins, dim)."""
        noise = np.random.default_rng(2101).normal(size=self.BINS).astype("f4")
        lagged = [np.r_[np.zeros(lag, "f4"), noise[: self.BINS - lag]] for lag in range(self.dim - 1)]
        return tf.constant(np.stack([np.ones(self.BINS, "f4"), *lagged], -1))

    @functools.cached_property
    def prior(self):
        difference = np.eye(9) - np.eye(9, k=-1)
        smooth = difference @ difference + np.diag(np.sqrt(np.arange(9) / 9))
        precision = np.zeros((10, 10))
        precision[0, 0], precision[1:, 1:] = 0.5, smooth.T @ smooth
        covariance = np.linalg.inv(precision).astype("f4")
        return tfd.MultivariateNormalTriL(tf.zeros(10), np.linalg.cholesky(covariance))

    def distribution(self, theta):
        raise NotImplementedError("only simulate and log_likelihood")

    def simulate(self, theta, seed):
        spikes = tfd.Bernoulli(logits=tf.convert_to_tensor(theta) @ tf.transpose(self._stimulus), dtype=tf.float32)
        return spikes.sample(seed=seed) @ self._stimulus

    def log_likelihood(self, theta, x):
        """Up to a constant: the number of trains of spikes with these statistics."""
        logits = theta @ tf.transpose(self._stimulus)
        return tf.linalg.matvec(theta, x) - tf.reduce_sum(tf.math.softplus(logits), -1)


@functools.partial(tf.function, autograph=False)
def _log_states(rate, theta, start, interval, count, steps):
    """Logarithms of the states (count, n, components) at 0, interval, 2 interval, ...

    `rate(y, theta)` is their derivative in time. The method is that of Runge and Kutta, `steps` in each interval.
    """
    step = interval / steps

    def advance(y):
        k1 = rate(y, theta)
        k2 = rate(y + 0.5 * step * k1, theta)
        k3 = rate(y + 0.5 * step * k2, theta)
        return (y + step / 6 * (k1 + 2 * k2 + 2 * k3 + rate(y + step * k3, theta)),)

    def until_next(y, _):
        return tf.while_loop(lambda y: True, advance, (y,), maximum_iterations=steps)[0]

    start = tf.zeros_like(theta[:, :1]) + start
    return tf.concat([start[None], tf.scan(until_next, tf.range(count - 1), start)], 0)


def _epidemic(y, theta):
    """Of the susceptible and the infected, in units of the population."""
    beta, gamma = tf.unstack(theta, axis=-1)
    susceptible, infected = tf.unstack(tf.exp(y), axis=-1)
    return tf.stack([-beta * infected, beta * susceptible - gamma], -1)


class SIR(Task):
    """An epidemic in a million people, of whom a thousand are tested every 17 days: the number of infected ones."""

    name, dim, data_dim = "sir", 2, 10
    PEOPLE, TESTED = 1e6, 1000.0

    @functools.cached_property
    def prior(self):
        return tfd.Independent(tfd.LogNormal(np.log([0.4, 0.125]).astype("f4"), [0.5, 0.2]), 1)

    def distribution(self, theta):
        start = np.log([1 - 1 / self.PEOPLE, 1 / self.PEOPLE]).astype("f4")
        states = _log_states(_epidemic, theta, start, 17.0, self.data_dim, 34)
        infected = tf.exp(tf.transpose(states[..., 1]))
        return tfd.Independent(tfd.Binomial(self.TESTED, probs=tf.clip_by_value(infected, 0.0, 1.0)), 1)


def _prey_and_predators(y, theta):
    alpha, beta, gamma, delta = tf.unstack(theta, axis=-1)
    prey, predators = tf.unstack(tf.exp(y), axis=-1)
    return tf.stack([alpha - beta * predators, delta * prey - gamma], -1)


class LotkaVolterra(Task):
    """Prey and predators, counted ten times with errors of 10%."""

    name, dim, data_dim = "lotka_volterra", 4, 20

    @functools.cached_property
    def prior(self):
        return tfd.Independent(tfd.LogNormal([-0.125, -3.0, -0.125, -3.0], 0.5), 1)

    def distribution(self, theta):
        states = _log_states(_prey_and_predators, theta, np.log([30.0, 1.0]).astype("f4"), 2.1, 10, 42)
        states = tf.clip_by_value(states, np.log(1e-10), np.log(1e4))
        states = tf.reshape(tf.transpose(states, [1, 2, 0]), [-1, 20])  # all of prey, then all of predators
        return tfd.Independent(tfd.LogNormal(states, 0.1), 1)


TASKS = {
    task.name: task
    for task in (TwoMoons(), SLCP(), GaussianLinear(), GaussianLinearUniform(), GaussianMixture(), BernoulliGLM(), SIR(),
                 LotkaVolterra())
}  # fmt: skip
