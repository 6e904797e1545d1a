"""Estimators under `tf.distribute`: one and two replicas agree."""

from conftest import python

REPLICAS = """
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from deepcosmo.inference import sbi

two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
rng = np.random.default_rng(0)
prior = tfp.distributions.MultivariateNormalDiag([0.0, 0.0], [1.0, 1.0])
theta = rng.normal(size=(480, 2)).astype("float32")
x = (theta @ rng.normal(size=(2, 3)) + 0.3 * rng.normal(size=(480, 3))).astype("float32")
found = []
for strategy in ("one_device", "mirrored"):
    npe = sbi.NPE(prior, density="mdn", options={"hidden": (16, 16), "components": 2})
    # all in one batch: TensorFlow shuffles in another order for two replicas
    npe.fit(theta, x, seed=1, strategy=strategy, max_epochs=2, batch_size=432, progress=False)
    assert npe.network.distribute_strategy.num_replicas_in_sync == 1
    found.append(([[e["loss"], e["val_loss"]] for e in npe.history], npe.posterior(x[0]).sample(50, seed=2)))
assert found[0][0][0][0] - found[0][0][1][0] > 0.02  # it learns something
for one, two in zip(*found):
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-3)
print("agree")
"""


def test_one_replica_equals_two():
    process = python("-c", REPLICAS)
    assert process.returncode == 0 and process.stdout.endswith("agree\n"), process.stderr[-2000:]
