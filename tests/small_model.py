"""The smallest model that has all that the zoo deals with: a Gaussian regression that can also draw."""

import keras
import numpy as np
import tensorflow as tf

from deepcosmo.models.base import ProbabilisticModel


@keras.saving.register_keras_serializable(package="deepcosmo_tests")
class SmallModel(ProbabilisticModel):
    """y | x ~ N(mean(x), sigma^2) with three inputs and one output; `pixels` > 0 makes it draw stamps."""

    pixel_scale = 0.03
    resolution = 0.05
    zero_point = 25.94
    units = {"mag_auto": "mag", "flux_radius": "pix", "image": "ct/s"}

    def __init__(self, *, units=4, pixels=0, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.pixels = units, pixels
        self.layer = keras.layers.Dense(units, activation="tanh")
        self.mean = keras.layers.Dense(1)
        self.log_sigma = self.add_weight(shape=(), initializer="zeros", name="log_sigma")
        self.layer.build((None, 3))
        self.mean.build((None, units))
        self.built = True

    def get_config(self):
        return super().get_config() | {"units": self.hidden, "pixels": self.pixels}

    def call(self, x):
        return self.mean(self.layer(x))[:, 0]

    def loss_per_example(self, x, y, y_pred):
        return -self._log_prob(y, y_pred)

    def _log_prob(self, y, mean):
        z = (y - mean) * tf.exp(-self.log_sigma)
        return -0.5 * tf.square(z) - self.log_sigma - 0.5 * np.log(2 * np.pi)

    def log_prob(self, x, y):
        return self._log_prob(y, self(x))

    def sample(self, x, seed):
        mean = self(x)
        return mean + tf.exp(self.log_sigma) * tf.random.stateless_normal(tf.shape(mean), seed)

    def draw(self, number, *, seed):
        rng = np.random.default_rng(seed)
        columns = {"mag_auto": rng.uniform(20, 25, number), "flux_radius": rng.uniform(2, 30, number)}
        columns = {name: value.astype("float32") for name, value in columns.items()}
        if self.pixels:
            shape = (number, self.pixels, self.pixels, 1)
            columns["image"] = rng.normal(size=shape).astype("float32")
        return columns

    def endpoints(self):
        x, y = tf.TensorSpec([None, 3], name="x"), tf.TensorSpec([None], name="y")
        seed = tf.TensorSpec([2], tf.int32, name="seed")
        return {
            "serving_default": (self.log_prob, [x, y]),
            "log_prob": (self.log_prob, [x, y]),
            "sample": (lambda x, seed: {"y": self.sample(x, seed)}, [x, seed]),
        }
