"""Dense networks against the same in NumPy."""

import keras
import numpy as np
import pytest

from deepcosmo.nn import MLP


@pytest.mark.parametrize("residual", [False, True])
def test_mlp_is_what_it_says(residual):
    keras.utils.set_random_seed(0)
    network = MLP(inputs=3, outputs=2, hidden=(8, 8), activation="tanh", residual=residual)
    network.build()
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    (w0, b0), (w1, b1), (w2, b2) = (layer.get_weights() for layer in (*network.dense, network.head))
    h = x @ w0 + b0
    h = np.tanh(h) @ w1 + b1 + (h if residual else 0.0)
    np.testing.assert_allclose(network(x), np.tanh(h) @ w2 + b2, rtol=1e-5, atol=1e-6)


def test_output_scale_is_the_variance_of_the_first_weights():
    keras.utils.set_random_seed(0)
    small = MLP(inputs=3, outputs=400, hidden=(100,), output_scale=1e-4)
    small.build()
    variance = np.var(small.head.get_weights()[0]) * 100  # times the number of inputs
    assert abs(variance / 1e-4 - 1) < 4 * np.sqrt(2 / 40_000)


def test_residual_layers_have_one_width():
    with pytest.raises(ValueError, match="equal width"):
        MLP(inputs=3, outputs=2, hidden=(4, 8), residual=True)
