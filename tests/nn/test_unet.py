"""The U-Net: what it starts as, its symmetry under shifts, the bound on its kernels."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.nn.unet import UNet, _Convolution

RNG = np.random.default_rng(0)


@pytest.fixture
def network():
    keras.utils.set_random_seed(0)
    network = UNet(widths=(4, 8), outputs=2)
    network.build((None, None, None, 3), (None, 1))
    return network


def randomised(network):
    for weight in network.trainable_weights:
        weight.assign(RNG.normal(scale=0.2, size=weight.shape))


def test_it_starts_as_zero(network):
    assert not np.any(network(RNG.normal(size=(2, 16, 24, 3)).astype("f4"), np.ones((2, 1), "f4")))


def test_all_weights_count(network):
    randomised(network)
    with tf.GradientTape() as tape:
        output = network(RNG.normal(size=(2, 16, 16, 3)).astype("f4"), RNG.normal(size=(2, 1)).astype("f4"))
        loss = tf.reduce_sum(output**2)
    assert all(np.any(gradient) for gradient in tape.gradient(loss, network.trainable_weights))


def test_shifts_by_the_coarsest_pixel_move_the_output(network):
    """Far from the edges, beyond which there are zeros."""
    randomised(network)
    maps = np.zeros((1, 160, 160, 3), "f4")
    maps[0, 72:80, 76:84] = RNG.normal(size=(8, 8, 3))
    shift, condition, inner = network.multiple, np.ones((1, 1), "f4"), np.s_[:, 64:96, 64:96]
    moved = network(np.roll(maps, shift, 2), condition)
    np.testing.assert_allclose(moved[inner], np.roll(network(maps, condition), shift, 2)[inner], atol=1e-5)


def test_sides_that_do_not_fit_are_refused(network):
    with pytest.raises(ValueError, match="multiples of 4"):
        network(np.zeros((1, 16, 18, 3), "f4"), np.zeros((1, 1), "f4"))


@pytest.mark.parametrize("norm", [0.5, 1e3])
def test_spectral_norm(norm):
    """A single pixel's response has the singular values of the kernel: at most the bound, or those of the kernel."""
    keras.utils.set_random_seed(1)
    layer = _Convolution(5, norm)
    layer.build((None, None, None, 4))
    pixels = np.zeros((4, 5, 5, 4), "f4")
    pixels[range(4), 2, 2, range(4)] = 1.0
    response = np.asarray(layer(pixels))[:, 1:4, 1:4][:, ::-1, ::-1]  # kernels as they are stored
    kernel = np.asarray(layer.kernel).transpose(2, 0, 1, 3)
    scale = min(1.0, norm / np.linalg.svd(kernel.transpose(1, 2, 0, 3).reshape(-1, 5), compute_uv=False)[0])
    np.testing.assert_allclose(response, kernel * scale, rtol=0.02, atol=1e-4)  # six iterations of the power method
