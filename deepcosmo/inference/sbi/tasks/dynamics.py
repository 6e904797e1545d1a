"""Populations in time: ordinary differential equations with noisy counts."""

import functools

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from deepcosmo.inference.sbi.tasks.base import Task

tfd = tfp.distributions

__all__ = ["SIR", "LotkaVolterra"]


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
    def prior(self) -> tfp.distributions.Distribution:
        return tfd.Independent(tfd.LogNormal(np.log([0.4, 0.125]).astype("f4"), [0.5, 0.2]), 1)

    def distribution(self, theta: tf.Tensor) -> tfp.distributions.Distribution:
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
    def prior(self) -> tfp.distributions.Distribution:
        return tfd.Independent(tfd.LogNormal([-0.125, -3.0, -0.125, -3.0], 0.5), 1)

    def distribution(self, theta: tf.Tensor) -> tfp.distributions.Distribution:
        states = _log_states(_prey_and_predators, theta, np.log([30.0, 1.0]).astype("f4"), 2.1, 10, 42)
        states = tf.clip_by_value(states, np.log(1e-10), np.log(1e4))
        states = tf.reshape(tf.transpose(states, [1, 2, 0]), [-1, 20])  # all of prey, then all of predators
        return tfd.Independent(tfd.LogNormal(states, 0.1), 1)
