"""Standardisation of columns."""

import numpy as np
import pytest

from deepcosmo.nn.transforms import Standardise


def test_standardise():
    rng = np.random.default_rng(6)
    data = np.stack([rng.normal(1e4, 2, 5000), np.full(5000, 3.0)], -1)
    layer = Standardise(dim=2)
    layer.build()
    np.testing.assert_array_equal(layer(data[:3]), data[:3].astype("float32"))
    layer.adapt(np.array_split(data, 7))
    np.testing.assert_allclose(layer.mean, data.mean(0), rtol=1e-6)
    np.testing.assert_allclose(layer.scale, [data[:, 0].std(), 1.0], rtol=1e-5)
    np.testing.assert_allclose(layer.invert(layer(data)), data, rtol=1e-6)
    with pytest.raises(ValueError, match="NaN"):
        layer.adapt([data * np.nan])
    with pytest.raises(ValueError, match="No data"):
        layer.adapt([])
