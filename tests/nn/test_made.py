"""Masked networks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.nn.made import MADE


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("dim, context_dim", [(1, 0), (2, 0), (5, 0), (1, 2), (5, 2)])
def test_made_is_autoregressive_and_complete(dim, context_dim, residual):
    keras.utils.set_random_seed(0)
    made = MADE(dim=dim, outputs=3, hidden=(16, 16), context_dim=context_dim, residual=residual, activation="tanh")
    made.build()
    x = tf.constant(np.random.default_rng(0).normal(size=(4, dim)), tf.float32)
    context = tf.ones((4, context_dim))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, context])
        outputs = made(x, context)
        columns = [[outputs[k, :, i] for i in range(dim)] for k in range(3)]
    for k in range(3):
        for i in range(dim):
            gradient = tape.gradient(columns[k][i], x, unconnected_gradients="zero").numpy()
            assert np.all(gradient[:, i:] == 0) and np.all(gradient[:, :i] != 0)
            if context_dim:
                assert np.all(tape.gradient(columns[k][i], context).numpy() != 0)


@pytest.mark.parametrize("hidden", [(7,), (16, 3, 9)])
@pytest.mark.parametrize("context_dim", [0, 2])
def test_made_solves_what_it_computes(hidden, context_dim):
    keras.utils.set_random_seed(1)
    made = MADE(dim=4, outputs=2, hidden=hidden, context_dim=context_dim)
    made.build()
    rng = np.random.default_rng(2)
    for weight in made.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    z, context = (tf.constant(rng.normal(size=(9, n)), tf.float32) for n in (4, context_dim))

    def step(i, params):
        return tf.transpose(z)[i] + params[0] * tf.sin(params[1])

    x = made.solve(step, 9, context)
    params = made(x, context)
    np.testing.assert_allclose(x, z + params[0] * np.sin(params[1]), rtol=1e-4, atol=1e-4)
