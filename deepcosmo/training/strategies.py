"""The `tf.distribute` strategies that a training can run under, by name."""

import os

import tensorflow as tf

__all__ = ["STRATEGIES", "is_chief", "strategy"]


def _multi_worker():
    if "TF_CONFIG" not in os.environ:
        raise ValueError(
            "multi_worker needs the environment variable TF_CONFIG on every worker, e.g. "
            '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise ValueError(f"multi_worker must be set up before TensorFlow runs anything: {error}") from error


def _tpu():
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(tpu="")
    except (ValueError, tf.errors.OpError) as error:
        raise ValueError(f"tpu: TensorFlow finds no TPU here ({error})") from error
    return tf.distribute.TPUStrategy(resolver)


STRATEGIES = {
    "one_device": tf.distribute.get_strategy,
    "mirrored": tf.distribute.MirroredStrategy,
    "multi_worker": _multi_worker,
    "tpu": _tpu,
}


def strategy(name: str) -> tf.distribute.Strategy:
    """A new `tf.distribute.Strategy`.

    Args:
        name: `"one_device"`; `"mirrored"`, all GPUs of this machine, or its logical CPU devices where
            it has none; `"multi_worker"`, the workers that `TF_CONFIG` names, to be created before
            TensorFlow runs anything else; `"tpu"`.

    Raises:
        ValueError: an unknown name, `TF_CONFIG` is missing or comes too late, or there is no TPU.
    """
    if name not in STRATEGIES:
        raise ValueError(f"unknown strategy {name!r}; choose one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name]()


def is_chief(resolver: tf.distribute.cluster_resolver.ClusterResolver | None) -> bool:
    """Whether this process is the one that writes files and reports progress.

    Args:
        resolver: the `cluster_resolver` of a strategy, or None.
    """
    if resolver is None or not resolver.task_type:
        return True
    if "chief" in resolver.cluster_spec().jobs:
        return resolver.task_type == "chief"
    return resolver.task_type == "worker" and resolver.task_id == 0
