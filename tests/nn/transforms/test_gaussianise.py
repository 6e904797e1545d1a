"""Normal scores."""

import numpy as np
import tensorflow as tf
from scipy import stats

from deepcosmo.nn.transforms import Gaussianise


def test_gaussianise():
    rng = np.random.default_rng(5)
    data = np.stack([np.exp(rng.normal(size=20_000)), rng.uniform(-3, 9, 20_000)], -1).astype("float32")
    data[:3000, 1] = 9.0  # a pile
    layer = Gaussianise(dim=2)
    layer.build()
    layer.adapt(data)
    with tf.GradientTape() as tape:
        x = tf.constant(data)
        tape.watch(x)
        z, log_slope = layer(x)
    np.testing.assert_allclose(np.exp(log_slope), tape.gradient(z, x), rtol=1e-3)
    np.testing.assert_allclose(layer.invert(z), data, rtol=1e-3, atol=1e-3)
    assert stats.kstest(z[:, 0], "norm").statistic < 0.01
    assert np.all(np.isfinite(layer(np.array([[-50.0, 1e4]], "float32"))[0]))
