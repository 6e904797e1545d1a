"""Data with known entropies, for the tests of conditional densities."""

import numpy as np
from scipy import integrate, stats

MOONS_SIGMA = 0.05
LOGNORMAL_ENTROPY = 1.018


def two_moons(n, seed):
    """Two interleaving half circles of radius 1 with normal noise, as made by scikit-learn."""
    rng = np.random.default_rng(seed)
    angle, upper = rng.uniform(0, np.pi, n), rng.random(n) < 0.5
    x = np.where(upper, np.cos(angle), 1 - np.cos(angle))
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle))
    return (np.stack([x, y], -1) + MOONS_SIGMA * rng.normal(size=(n, 2))).astype("float32")


def two_moons_log_prob(points, arcs=4000):
    """Log-density of `two_moons`: the noise averaged over the arcs."""
    angle = (np.arange(arcs) + 0.5) * np.pi / arcs
    centres = [(np.cos(angle), np.sin(angle)), (1 - np.cos(angle), 0.5 - np.sin(angle))]
    density = 0.0
    for x, y in centres:
        distance2 = (points[:, :1] - x) ** 2 + (points[:, 1:] - y) ** 2
        density = density + 0.5 * np.exp(-0.5 * distance2 / MOONS_SIGMA**2).mean(-1)
    return np.log(density / (2 * np.pi * MOONS_SIGMA**2))


def lognormal(n, seed):
    """Pairs (x, y) with y = 2x + LogNormal(s = x), x ~ U(0.1, 1.5)."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.1, 1.5, (n, 1))
    return x.astype("float32"), (2 * x + np.exp(x * rng.normal(size=(n, 1)))).astype("float32")


def lognormal_log_prob(x, y):
    return stats.lognorm.logpdf((y - 2 * x)[:, 0], s=x[:, 0])


def lognormal_entropy():
    """Mean conditional entropy of `lognormal`, in nats."""
    integral = integrate.quad(lambda s: stats.lognorm.entropy(s=s), 0.1, 1.5)[0]
    return integral / 1.4
