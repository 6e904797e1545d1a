import numpy as np
import pytest

from deepcosmo.nn.transforms.outliers import extreme, far_out, moved_in
from deepcosmo.nn.transforms.power import Power

RNG = np.random.default_rng(0)
ORDINARY = {
    "normal": RNG.normal(-50.0, 3.0, 20_000),
    "exponential": RNG.exponential(5.0, 20_000),
    "log-normal": RNG.lognormal(1.0, 0.8, 20_000),
    "decades": -RNG.lognormal(1.0, 5.0, 20_000),
    "counts": RNG.poisson(RNG.gamma(0.5, 100.0, 20_000)),
    "mostly zero": (RNG.uniform(size=20_000) < 0.01).astype(float),
    "constant": np.full(20_000, 7.0),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_nothing_of_ordinary_data_is_far_out(name):
    assert not far_out(ORDINARY[name][:, None]).any()


@pytest.mark.parametrize("n", [20, 500])
def test_what_ran_away_is_far_out(n):
    data = np.stack([RNG.normal(size=n), RNG.lognormal(1.0, 0.8, n), -RNG.uniform(0.5, 1.0, n)], 1)
    data[3], data[5, 0], data[6, 1] = [1e6, 1e9, -1e6], -999.0, np.nan
    expected = np.zeros_like(data, bool)
    expected[3], expected[5, 0] = True, True
    np.testing.assert_array_equal(far_out(data), expected)
    assert not far_out(np.array([[np.inf, np.nan, 1.0]] * n)).any()


def test_far_values_count_as_the_outermost_of_the_others():
    data = RNG.normal(size=(500, 2))
    data[7] = 1e6, -1e6
    moved = moved_in(data, far_out(data))
    others = np.delete(data, 7, 0)
    np.testing.assert_array_equal(moved[7], [others[:, 0].max(), others[:, 1].min()])
    np.testing.assert_array_equal(np.delete(moved, 7, 0), others)


def test_one_image_of_many_is_extreme():
    images = RNG.normal(size=(100, 8, 8, 2))
    images[4, 2, 2] = 30.0  # a star
    images[9, ..., 1] *= 1e6
    assert np.flatnonzero(extreme(images)).tolist() == [9]


def test_scales_do_not_move():
    """They are those of the other values, to the last bit."""
    data = np.stack([RNG.normal(size=500), RNG.lognormal(size=500)], 1)
    layers = []
    for rows in (data, np.concatenate([data, [[1e6, 1e9], [-1e9, 1e12]]])):
        layers.append(Power(dim=2))
        layers[-1].build()
        layers[-1].adapt(rows)
    for one, other in zip(*(layer.get_weights() for layer in layers), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
