import keras
import numpy as np

from deepcosmo.inference.sbi.networks import RatioEstimator


def test_ratio_of_a_normal_distribution(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(8000, 1)).astype("float32")
    x = (y + 0.5 * rng.normal(size=y.shape)).astype("float32")
    keras.utils.set_random_seed(0)
    model = RatioEstimator(dim=1, x_shape=(1,), hidden=(32, 32))
    model.adapt(x, {"theta": y})
    model.compile(keras.optimizers.Adam(3e-3))
    model.fit(x, {"theta": y}, batch_size=200, epochs=15, verbose=0)
    grid = np.stack(np.meshgrid(np.linspace(-1.5, 1.5, 13), np.linspace(-1.5, 1.5, 13)), -1).reshape(-1, 2)
    theta, data = grid[:, :1].astype("float32"), grid[:, 1:].astype("float32")
    found = model.log_ratio_of_features(theta, model(data)).numpy()
    exact = (-0.5 * (data - theta) ** 2 / 0.25 + 0.5 * data**2 / 1.25 + 0.5 * np.log(1.25 / 0.25))[:, 0]
    near = exact > -4  # elsewhere there are no simulations
    assert np.std((found - exact)[near]) < 0.25 and abs(np.mean((found - exact)[near])) < 0.15
    model.save(tmp_path / "ratio.keras")
    again = keras.models.load_model(tmp_path / "ratio.keras")
    np.testing.assert_array_equal(again.log_ratio_of_features(theta, again(data)), found)
