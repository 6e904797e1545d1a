import json
import socket

import numpy as np
import pytest
import tensorflow as tf
import toy
from processes import running

from deepcosmo.training import strategies, strategy, train

REPLICAS = """
import keras
import numpy as np
import tensorflow as tf
import toy
from deepcosmo.training import Stage, train

two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
sgd = lambda steps: keras.optimizers.SGD(0.02)
stage = Stage(name="sgd", data=toy.pairs, optimizer=sgd, epochs=1, batch_size=16)
for name in ("one_device", "mirrored"):
    folder = "{folder}/" + name
    model = train(toy.make_recipe(stage, model=toy.Toy), strategy=name, work_dir=folder)
    assert toy.Toy.replicas == {{2 if name == "mirrored" else 1}}
    toy.Toy.replicas.clear()
    assert model.distribute_strategy.num_replicas_in_sync == 1
    np.savez(folder + "/final.npz", *model.get_weights())
"""

WORKER = """
import numpy as np
import toy
from deepcosmo.training import train

model = train(toy.SHORT, strategy="multi_worker", work_dir="{folder}")
np.savez("{folder}/final-{index}.npz", *model.get_weights())
"""


def arrays(path):
    with np.load(path) as file:
        return [file[name] for name in file.files]


def losses(folder):
    return [[e["loss"], e["val_loss"]] for e in json.loads((folder / "history.json").read_text())["history"]]


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.mark.slow
def test_two_replicas_equal_one(tmp_path):
    with running(REPLICAS.format(folder=tmp_path)) as process:
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    one, two = (arrays(tmp_path / name / "final.npz") for name in ("one_device", "mirrored"))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=5e-5)
    np.testing.assert_allclose(losses(tmp_path / "one_device"), losses(tmp_path / "mirrored"), rtol=1e-4)


@pytest.mark.slow
def test_two_workers_end_with_identical_weights(tmp_path):
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    tasks = [json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}) for index in range(2)]
    codes = [WORKER.format(folder=tmp_path, index=index) for index in range(2)]
    with running(codes[0], TF_CONFIG=tasks[0]) as chief, running(codes[1], TF_CONFIG=tasks[1]) as other:
        outputs = [worker.communicate(timeout=200)[0] for worker in (chief, other)]
    assert (tmp_path / "final-0.npz").exists() and (tmp_path / "final-1.npz").exists(), outputs
    for a, b in zip(*(arrays(tmp_path / f"final-{index}.npz") for index in range(2)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(losses(tmp_path)) == 3
    assert "second 1/1" in outputs[0] and "second 1/1" not in outputs[1]  # only the chief reports


def test_bad_strategies(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="unknown strategy 'miror'; choose one of one_device, mirrored"):
        train(toy.RECIPE, strategy="miror", work_dir=tmp_path)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="TF_CONFIG"):
        strategy("multi_worker")
    with pytest.raises(ValueError, match="no TPU"):
        strategy("tpu")


@pytest.mark.parametrize(
    ("jobs", "task", "index", "chief"),
    [
        (["worker"], "worker", 0, True),
        (["worker"], "worker", 1, False),
        (["chief", "worker"], "chief", 0, True),
        (["chief", "worker"], "worker", 0, False),
    ],
)
def test_one_process_of_a_cluster_writes(monkeypatch, jobs, task, index, chief):
    cluster = {job: ["localhost:1", "localhost:2"][: 1 if job == "chief" else 2] for job in jobs}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": task, "index": index}}))
    assert strategies.is_chief(tf.distribute.cluster_resolver.TFConfigClusterResolver()) is chief


def test_a_process_alone_writes(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert strategies.is_chief(tf.distribute.cluster_resolver.TFConfigClusterResolver())
    assert strategies.is_chief(tf.distribute.get_strategy().cluster_resolver)
