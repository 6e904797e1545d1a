import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from deepcosmo.nn.transforms.power import Power


@pytest.fixture(scope="module")
def adapted():
    rng = np.random.default_rng(1)
    data = np.stack(
        [rng.lognormal(1.0, 0.8, 4000), rng.normal(-50.0, 3.0, 4000), -rng.gamma(2.0, 5.0, 4000), np.full(4000, 7.0)], 1
    )
    layer = Power(dim=4)
    layer.build()
    layer.adapt(data)
    return layer, data.astype("float32")


def test_columns_become_symmetric(adapted):
    layer, data = adapted
    y = layer(data)[0].numpy()
    np.testing.assert_allclose(y[:, :3].mean(0), 0.0, atol=1e-3)
    np.testing.assert_allclose(y[:, :3].std(0), 1.0, atol=1e-3)
    # a skewness of 4000 normal numbers scatters by 0.04
    assert np.all(np.abs(scipy.stats.skew(y[:, :3])) < 0.2) and scipy.stats.skew(data[:, 0]) > 3
    np.testing.assert_array_equal(y[:, 3], 0.0)


def test_inverse_and_slope(adapted):
    layer, data = adapted
    y, log_slope = layer(data)
    np.testing.assert_allclose(layer.invert(y), data, rtol=2e-4, atol=2e-4)
    x = tf.constant(data)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(layer(x)[0])
    np.testing.assert_allclose(tf.math.log(tape.gradient(total, x))[:, :3], log_slope[:, :3], atol=1e-3)


def test_ratios_count_over_decades_of_one_sign():
    logarithm = np.random.default_rng(3).normal(size=4000)
    data = np.exp(5.0 * logarithm)[:, None] * [1.0, -1e-3]
    layer = Power(dim=2)
    layer.build()
    layer.adapt(data)
    y = layer(data.astype("float32"))[0].numpy()
    bulk = np.abs(logarithm) < 3
    np.testing.assert_allclose(y[bulk], logarithm[bulk, None] * [1.0, -1.0], atol=0.15)


def test_large_values_are_told_from_larger_ones():
    """Counts that are zero for most: exponents that make them symmetric would be far below zero."""
    rng = np.random.default_rng(4)
    data = np.where(rng.uniform(size=(4000, 1)) < 0.7, 0.0, rng.poisson(rng.gamma(0.5, 100.0, (4000, 1))))
    layer = Power(dim=1)
    layer.build()
    layer.adapt(data)
    y = layer(np.array([[150.0], [200.0], [400.0]], "float32"))[0].numpy()[:, 0]
    assert np.all(np.diff(y) > [0.3, 0.7])


def test_far_values_stay_finite(adapted):
    layer, _ = adapted
    far = np.array([[1e8, 1e8, 1e8, 1e8], [-1e8, -1e8, -1e8, -1e8]], "float32")
    assert np.isfinite(layer(far)[0]).all()
    assert np.isfinite(layer.invert(np.array([[30.0] * 4, [-30.0] * 4], "float32"))).all()


def test_missing_values_are_left_out_and_empty_columns_refused():
    layer = Power(dim=2)
    layer.build()
    data = np.random.default_rng(2).normal(size=(500, 2))
    data[::5, 0] = np.nan
    layer.adapt(data)
    np.testing.assert_allclose(np.nanmean(layer(data.astype("float32"))[0], 0), 0.0, atol=1e-3)
    with pytest.raises(ValueError, match=r"no finite value in columns \[1\]"):
        layer.adapt(np.column_stack([data[:, 1], np.full(500, np.nan)]))
