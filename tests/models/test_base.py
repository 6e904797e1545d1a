"""`fit` of a flow under `tf.distribute`: one and two replicas agree."""

from conftest import python

REPLICAS = """
import keras
import numpy as np
import tensorflow as tf
from deepcosmo.models import MAF

two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
rng = np.random.default_rng(0)
context = rng.normal(size=(256, 2)).astype("float32")
y = (context @ rng.normal(size=(2, 3)) + rng.normal(size=(256, 3))).astype("float32")
weight = rng.uniform(size=256).astype("float32")
finals = []
for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        flow = MAF(dim=3, context_dim=2, transforms=2, hidden=(16, 16))
        flow.compile(keras.optimizers.SGD(0.05))
    flow.adapt(context, y)
    start = flow.get_weights()
    history = flow.fit(context, y, sample_weight=weight, batch_size=64, epochs=2, shuffle=False, verbose=0,
                       validation_data=(context, y)).history
    assert flow.jit_compile == (strategy.num_replicas_in_sync == 1)
    finals.append([history["loss"], history["val_loss"], *flow.get_weights()])
    print("moved", max(np.abs(a - b).max() for a, b in zip(start, flow.get_weights())))
for one, two in zip(*finals):
    np.testing.assert_allclose(one, two, rtol=0, atol=5e-5)
print("agree")
"""


def test_one_replica_equals_two():
    process = python("-c", REPLICAS)
    assert process.returncode == 0, process.stderr[-2000:]
    *moved, agree = process.stdout.split("\n")[:-1]
    assert agree == "agree"
    assert len(moved) == 2 and all(float(line.split()[1]) > 0.01 for line in moved)
