import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.models.densities.bounds import onto_bounds

BOUNDS = [(-2.0, 3.0), (1.0, np.inf), (-np.inf, -1.0), (-np.inf, np.inf)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_onto_the_columns_bounds(dtype):
    bijector = onto_bounds(np.array(BOUNDS, dtype))
    z = np.random.default_rng(0).normal(0.0, 3.0, (2000, 4)).astype(dtype)
    y = bijector.forward(z).numpy()
    low, high = np.transpose(BOUNDS)
    assert y.dtype == dtype and np.all((y > low) & (y < high))
    assert np.all(np.ptp(y[:, 0]) > 4.9) and y[:, 1].max() > 5 and y[:, 2].min() < -5
    np.testing.assert_allclose(bijector.inverse(tf.identity(y)), z, atol=5e-3 if dtype == "float32" else 1e-6)
