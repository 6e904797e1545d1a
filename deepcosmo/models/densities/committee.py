"""Several densities as one: what one network has missed, others have seen."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from deepcosmo._seeds import stateless_seed
from deepcosmo.models.densities.conditional import ConditionalDensity

__all__ = ["Committee", "log_mean", "mixed"]


@keras.saving.register_keras_serializable(package="deepcosmo")
class Committee(ConditionalDensity):
    """The mean of the densities of several members (Lakshminarayanan et al. 2017, arXiv:1612.01474).

    Its loss is the mean of theirs, not that of their mean: each learns from all examples as it would alone, and they
    differ by where they started. So what one has fitted of the noise of the examples is divided by their number.

    Args:
      members: Densities p(y | context) of the same columns.
    """

    def __init__(self, *, members, **kwargs):
        sizes = {(member.dim, member.context_dim) for member in members}
        if len(sizes) != 1:
            raise ValueError(f"A committee needs members of one dim and context_dim, not {sorted(sizes)}.")
        ((dim, context_dim),) = sizes
        super().__init__(dim=dim, context_dim=context_dim, **kwargs)
        self.members = list(members)
        self.built = True

    def adapt(self, context, y=None):
        super().adapt(context, y)
        for member in self.members:
            member.adapt(context, y)

    def loss_per_example(self, x, y, y_pred):
        # members have measured the same scales: of what is standardised there is one for all
        return ops.mean(ops.stack([member.loss_per_example(x, y, y_pred) for member in self.members]), 0)

    def _distribution(self, features):
        from tensorflow_probability import distributions as tfd

        components = [member._distribution(features) for member in self.members]
        count = len(components)
        equal = tfd.Categorical(logits=tf.zeros(tf.concat([components[0].batch_shape_tensor(), [count]], 0)))
        return tfd.Mixture(equal, components)

    def log_prob(self, y, context=None):
        return log_mean([member.log_prob(y, context) for member in self.members])

    def sample(self, n=(), context=None, *, seed):
        return mixed([lambda own, member=member: member.sample(n, context, seed=own) for member in self.members], seed)

    def get_config(self):
        config = super().get_config()
        del config["dim"], config["context_dim"]  # those of the members
        return {**config, "members": [keras.saving.serialize_keras_object(member) for member in self.members]}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "members": [keras.saving.deserialize_keras_object(m) for m in config["members"]]})


def log_mean(values):
    """ln of the mean of densities, from a list of their logarithms (...)."""
    return tf.reduce_logsumexp(tf.stack(values), 0) - np.log(len(values))


def mixed(members, seed):
    """Draws (..., dim) of the mean of densities, from functions that draw of each, given a seed int32[2]."""
    seeds = tf.random.split(stateless_seed(seed), len(members) + 1)
    draws = [tf.convert_to_tensor(draw(own)) for draw, own in zip(members, tf.unstack(seeds[1:]), strict=True)]
    draws = tf.stack(draws)  # of lists of NumPy arrays without rows, this forgets axes
    chosen = tf.random.stateless_uniform(tf.shape(draws)[1:-1], seeds[0], maxval=len(members), dtype=tf.int32)
    return tf.reduce_sum(draws * tf.one_hot(chosen, len(members), axis=0, dtype=draws.dtype)[..., None], 0)
