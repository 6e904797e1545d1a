import numpy as np
import pytest

from deepcosmo.nn.transforms.linear_fit import LinearFit


def make(n, seed=0):
    rng = np.random.default_rng(seed)
    matrix = np.array([[1.0, -2.0], [0.5, 0.0], [0.0, 3.0]])
    features = rng.normal(size=(n, 3))
    noise = rng.multivariate_normal([0, 0], [[0.04, 0.03], [0.03, 0.09]], n)
    return features.astype("f4"), (100.0 + features @ matrix + noise).astype("f4"), matrix


def test_finds_the_regression_and_leaves_unit_covariance():
    features, y, matrix = make(2000)
    layer = LinearFit(dim=2, features=3)
    layer.build()
    layer.adapt(y, features)
    # coefficients scatter by 0.3 / sqrt(2000) = 0.007
    np.testing.assert_allclose(layer.matrix, matrix, atol=0.03)
    left, log_det = layer(y, features)
    np.testing.assert_allclose(np.cov(np.asarray(left).T), np.eye(2), atol=0.01)
    np.testing.assert_allclose(layer.invert(left, features), y, atol=1e-3)
    # covariances of 2000 draws scatter by 3%
    np.testing.assert_allclose(log_det, -0.5 * np.log(0.04 * 0.09 - 0.03**2), atol=0.1)


def test_few_data_do_not_overfit():
    rng = np.random.default_rng(1)
    features, y = rng.normal(size=(60, 50)), rng.normal(size=(60, 1))  # nothing to find
    layer = LinearFit(dim=1, features=50)
    layer.build()
    layer.adapt(y, features)
    assert np.sum(np.square(layer.matrix)) < 0.2  # least squares: about 5


def test_without_features_and_with_nan():
    _, y, _ = make(500)
    layer = LinearFit(dim=2, features=0)
    layer.build()
    layer.adapt(y, y[:, :0])
    left, _ = layer(y, y[:, :0])
    np.testing.assert_allclose(np.mean(left, 0), 0.0, atol=1e-3)
    with pytest.raises(ValueError, match="NaN"):
        layer.adapt(y * np.nan, y[:, :0])
