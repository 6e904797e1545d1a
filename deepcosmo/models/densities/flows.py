"""Normalising flows: masked autoregressive, RealNVP and neural spline flows, all conditional.

flow = MAF(dim=16, context_dim=8)
flow.adapt(context, y)
flow.compile("adam")
flow.fit(context, y)
flow.log_prob(y, context)
flow.sample(1000, context, seed=1)
"""

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from deepcosmo._seeds import stateless_seed
from deepcosmo._types import Seed, TensorLike
from deepcosmo.models._precision import SinglePrecision
from deepcosmo.models.base import never_empty
from deepcosmo.models.densities.conditional import ConditionalDensity
from deepcosmo.nn import monotonic
from deepcosmo.nn.made import MADE
from deepcosmo.nn.resnet import MLP

__all__ = ["MAF", "NSF", "Flow", "MAFMoG", "RealNVP"]

# Calls with more rows are cut into chunks of this size. It fits the activations into a core's cache.
_CHUNK = 1024
_CORES = os.cpu_count()


class AutoregressiveTransform(SinglePrecision, keras.layers.Layer):
    """z_i = f(y_i; params(y_<i, context)): parallel in this direction, in the other one i after i."""

    def __init__(
        self,
        function: Callable[..., tuple[tf.Tensor, tf.Tensor]],
        inverse: Callable[..., tuple[tf.Tensor, tf.Tensor]],
        parameters: int,
        dim: int,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.function, self.function_inverse = function, inverse
        self.network = MADE(dim=dim, outputs=parameters, **kwargs)
        self.network.build()
        self.built = True

    def call(self, y: tf.Tensor, context: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """(batch, dim) -> z (batch, dim) and log|det dz/dy| (batch,)."""
        z, log_slope = self.function(y, self.network(y, context))
        return z, ops.sum(log_slope, -1)

    def invert(self, z: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        columns = ops.transpose(z)
        step = lambda i, params: self.function_inverse(columns[i], params)[0]  # noqa: E731
        return self.network.solve(step, batch=ops.shape(z)[0], context=context)


class CouplingTransform(SinglePrecision, keras.layers.Layer):
    """Transforms the second half of the columns, with parameters that depend on the first half."""

    def __init__(
        self,
        function: Callable[..., tuple[tf.Tensor, tf.Tensor]],
        inverse: Callable[..., tuple[tf.Tensor, tf.Tensor]],
        parameters: int,
        dim: int,
        hidden: Sequence[int],
        context_dim: int,
        activation: str,
        residual: bool,
    ) -> None:
        super().__init__()
        if dim < 2:
            raise ValueError("Coupling flows need dim >= 2: one part of y conditions the other. Use MAF.")
        self.function, self.function_inverse = function, inverse
        self.split, self.parameters = dim // 2, parameters
        self.network = MLP(
            inputs=self.split + context_dim,
            outputs=parameters * (dim - self.split),
            hidden=hidden,
            activation=activation,
            residual=residual,
            output_scale=0.1,
        )
        self.network.build()
        self.built = True

    def _apply(self, function, y, context):
        first, second = y[:, : self.split], y[:, self.split :]
        params = self.network(ops.concatenate([first, context], -1))
        params = ops.reshape(params, (-1, self.parameters, second.shape[1]))
        params = ops.transpose(params, (1, 0, 2))
        second, log_slope = function(second, params)
        return ops.concatenate([first, second], -1), ops.sum(log_slope, -1)

    def call(self, y: tf.Tensor, context: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        return self._apply(self.function, y, context)

    def invert(self, z: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        return self._apply(self.function_inverse, z, context)[0]


class Flow(ConditionalDensity):
    """Base class of the flows: z = T_n(... T_1(standardised y)) is standard normal.

    All flows share these arguments:

    Args:
      dim: Length of `y`.
      context_dim: Length of the context; 0 for an unconditional density.
      transforms: Number of transformations.
      hidden: Widths of the hidden layers of each transformation's network.
      activation: Name of the hidden activation.
      residual: Whether the hidden layers (of equal width) have skip connections.
    """

    def __init__(
        self,
        *,
        dim: int,
        context_dim: int = 0,
        transforms: int = 5,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        residual: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(dim=dim, context_dim=context_dim, **kwargs)
        if transforms < 1 or not hidden:
            raise ValueError("A flow needs at least one transformation and one hidden layer.")
        self.hidden, self.activation, self.residual = tuple(hidden), activation, residual
        kind = self._transformation()
        kinds = [*[kind] * (transforms - 1), self._last_transformation(kind)]
        self.transforms = [
            layer(
                *function,
                dim=dim,
                hidden=self.hidden,
                context_dim=context_dim,
                activation=activation,
                residual=residual,
            )
            for layer, *function in kinds
        ]
        arrangements = [list(range(dim)), *(self._arrangement(i) for i in range(transforms))]
        self._permutations = [[a.index(c) for c in b] for a, b in itertools.pairwise(arrangements)]
        self.built = True

    def _transformation(self):
        """The class of the layers, the univariate function, its inverse and its number of parameters."""
        raise NotImplementedError

    def _last_transformation(self, others):
        """The same of the transformation that ends in noise."""
        return others

    def _arrangement(self, i):
        """The order of the columns in transformation `i`."""
        columns = list(range(self.dim))
        if not isinstance(self.transforms[i], AutoregressiveTransform):
            # The first half conditions the second. In turn, so do columns that differ in a bit of the index.
            bit = i // 2 % (self.dim - 1).bit_length()
            columns.sort(key=lambda c: c >> bit & 1)
        return columns[:: -1 if i % 2 else 1]

    def _resolve_auto_jit_compile(self):
        # Keras leaves XLA off on CPUs, where flows gain by it.
        return self.supports_jit

    def _to_noise(self, y, features, count=None):
        """(batch, dim) -> z and log|det dz/dy|, by the first `count` transformations or all."""
        z = self.standardise_y(y)
        log_det = -ops.sum(ops.log(self.standardise_y.scale))
        for layer, order in list(zip(self.transforms, self._permutations, strict=True))[:count]:
            z, change = layer(_permute(z, order), features)
            log_det = log_det + change
        return z, log_det

    def _to_data(self, z, features, invert=None):
        """(batch, dim) -> y; `invert(layer, z, features)` may replace the layers' own inverse."""

        def inverted(z, features):
            for layer, order in zip(self.transforms[::-1], self._permutations[::-1], strict=True):
                z = invert(layer, z, features) if invert else layer.invert(z, features)
                z = _permute(z, np.argsort(order))
            return self.standardise_y.invert(z)

        return never_empty(inverted, z, features)

    def _distribution(self, features):
        import tensorflow_probability as tfp  # takes a second, which sampling and densities do not need

        tfb, tfd = tfp.bijectors, tfp.distributions
        shape = [self.dim] if features is None else tf.concat([tf.shape(features)[:-1], [self.dim]], 0)
        base = tfd.Independent(tfd.Normal(tf.zeros(shape), 1.0), 1)
        seen = []  # the last (y, z and log-determinant): TFP asks for them one after the other

        def both(y):
            if not seen or seen[0] is not y:
                batch, flat = _flatten(y, features)
                z, log_det = self._to_noise(*flat)
                seen[:] = y, tf.reshape(z, tf.concat([batch, [self.dim]], 0)), tf.reshape(log_det, batch)
            return seen[1:]

        def forward(z):
            batch, flat = _flatten(z, features)
            return tf.reshape(self._to_data(*flat), tf.concat([batch, [self.dim]], 0))

        bijector = tfb.Inline(
            forward_fn=forward,
            inverse_fn=lambda y: both(y)[0],
            inverse_log_det_jacobian_fn=lambda y: both(y)[1],
            forward_min_event_ndims=1,
            name=type(self).__name__,
        )
        return tfd.TransformedDistribution(base, bijector)

    def log_prob(self, y: TensorLike, context: "TensorLike | None" = None) -> tf.Tensor:
        y, features = self._checked(y, self.dim, "y"), self._features(context)
        batch, flat = _flatten(y, features)
        eagerly = tf.executing_eagerly()
        log_prob = self._compiled["log_prob", flat[0].shape[0] > _CHUNK] if eagerly else self._log_prob
        return tf.reshape(log_prob(*flat), batch)

    def sample(self, n: int | Sequence[int] = (), context: "TensorLike | None" = None, *, seed: Seed) -> tf.Tensor:
        features, seed = self._features(context), stateless_seed(seed)
        shape = [tf.reshape(tf.convert_to_tensor(n, tf.int32), [-1]), [self.dim]]
        if features is not None:
            shape.insert(1, tf.shape(features)[:-1])
        z = tf.random.stateless_normal(tf.concat(shape, 0), seed)
        if 0 in z.shape:  # TensorFlow cannot scatter into nothing
            return z
        batch, flat = _flatten(z, features)
        data = self._compiled["data", flat[0].shape[0] > _CHUNK] if tf.executing_eagerly() else self._to_data
        return tf.reshape(data(*flat), tf.concat([batch, [self.dim]], 0))

    @functools.cached_property  # not a plain attribute, which Keras would try to save
    def _compiled(self):
        """Functions of matrices: for few rows, and for chunks of many, where XLA compiles once."""
        functions = {}
        # Of one signature from the start, so that results do not depend on the calls before.
        signature = [tf.TensorSpec((None, n), tf.float32) for n in (self.dim, self.context_dim)]
        graph = functools.partial(tf.function, autograph=False)
        for large in (False, True):
            compiled = functools.partial(graph, jit_compile=(large and self.supports_jit) or None)
            invert = _shared_inverses(self.transforms, compiled)
            data = functools.partial(self._to_data, invert=invert)
            for name, function in (("log_prob", compiled(self._log_prob)), ("data", data)):
                whole = functools.partial(_in_chunks, function) if large else function
                functions[name, large] = graph(whole, input_signature=signature)
        return functions

    def _log_prob(self, y, features):
        z, log_det = self._to_noise(y, features)
        return log_det - 0.5 * ops.sum(ops.square(z) + np.log(2 * np.pi), -1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "transforms": len(self.transforms),
            "hidden": self.hidden,
            "activation": self.activation,
            "residual": self.residual,
        }


def _permute(x, order):
    columns = ops.unstack(x, axis=-1)
    return ops.stack([columns[i] for i in order], axis=-1)


def _flatten(y, features):
    """The common batch shape of `y` and `features`, and both as matrices."""
    if features is None:
        rows = tf.reshape(y, (-1, y.shape[-1]))
        return tf.shape(y)[:-1], (rows, tf.zeros_like(rows[:, :0]))
    batch = tf.broadcast_dynamic_shape(tf.shape(y)[:-1], tf.shape(features)[:-1])
    rows = [tf.broadcast_to(v, tf.concat([batch, v.shape[-1:]], 0)) for v in (y, features)]
    return batch, [tf.reshape(v, (-1, v.shape[-1])) for v in rows]


def _shared_inverses(layers, compiled):
    """`invert(layer, z, features)`, compiled once for all layers of one function: they differ in their weights only."""

    def shared(template):
        @compiled
        def inverse(weights, z, features):
            with keras.StatelessScope(zip(template.variables, weights, strict=True)):
                return template.invert(z, features)

        return inverse

    inverses = {layer.function: shared(layer) for layer in layers}
    return lambda layer, z, features: inverses[layer.function]([v.value for v in layer.variables], z, features)


def _in_chunks(function, *matrices):
    """`function` of the rows of matrices, `_CHUNK` of them at a time, one chunk on each core."""
    n = tf.shape(matrices[0])[0]
    chunks = [
        tf.reshape(tf.pad(m, [[0, -n % _CHUNK], [0, 0]]), (-(-n // _CHUNK), _CHUNK, m.shape[1])) for m in matrices
    ]
    result = tf.map_fn(
        lambda chunk: function(*chunk), chunks, fn_output_signature=tf.float32, parallel_iterations=_CORES
    )
    return tf.reshape(result, tf.concat([[-1], tf.shape(result)[2:]], 0))[:n]


@keras.saving.register_keras_serializable(package="deepcosmo")
class MAF(Flow):
    """Masked autoregressive flow with affine transformations (Papamakarios et al. 2017, arXiv:1705.07057)."""

    def _transformation(self):
        return AutoregressiveTransform, monotonic.affine, monotonic.affine_inverse, 2


@keras.saving.register_keras_serializable(package="deepcosmo")
class MAFMoG(MAF):
    """A masked autoregressive flow onto mixtures: MAF MoG of Papamakarios et al. 2017 (arXiv:1705.07057).

    The last transformation is the normal score in a mixture of normal distributions, whose parameters depend on the
    context and the columns before: sharp edges and several modes need no long chain of transformations.

    Takes the arguments of every `Flow`, and:

    Args:
      components: Number of normal distributions in each mixture.
    """

    def __init__(self, *, components: int = 8, **kwargs: Any) -> None:
        if components < 1:
            raise ValueError(f"components must be at least 1, not {components}.")
        self.components = components
        super().__init__(**kwargs)

    def _last_transformation(self, others):
        return AutoregressiveTransform, monotonic.mixture, monotonic.mixture_inverse, 3 * self.components

    def _log_prob(self, y, features):
        y, log_det = self._to_noise(y, features, len(self.transforms) - 1)
        y = _permute(y, self._permutations[-1])
        log_prob = monotonic.mixture_log_prob(y, self.transforms[-1].network(y, features))  # spares the normal scores
        return ops.sum(log_prob, -1) + log_det

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "components": self.components}


@keras.saving.register_keras_serializable(package="deepcosmo")
class RealNVP(Flow):
    """Affine coupling layers (Dinh et al. 2016, arXiv:1605.08803): density and draws take one pass each."""

    def _transformation(self):
        return CouplingTransform, monotonic.affine, monotonic.affine_inverse, 2


@keras.saving.register_keras_serializable(package="deepcosmo")
class NSF(Flow):
    """Neural spline flow (Durkan et al. 2019, arXiv:1906.04032): monotonic rational-quadratic splines.

    Takes the arguments of every `Flow`, and:

    Args:
      kind: "coupling" (density and draws take one pass) or "autoregressive" (fits better, draws slower).
      bins: Number of bins of each spline.
      bound: Splines cover [-bound, bound] in units of standard deviations; the identity beyond.
    """

    def __init__(self, *, kind: str = "coupling", bins: int = 8, bound: float = 5.0, **kwargs: Any) -> None:
        if kind not in ("coupling", "autoregressive"):
            raise ValueError(f"kind must be 'coupling' or 'autoregressive', not {kind!r}.")
        self.kind, self.bins, self.bound = kind, bins, bound
        super().__init__(**kwargs)
        # XLA takes long to compile splines, and then evaluates their parts many times over.
        self.supports_jit = False

    def _transformation(self):
        layer = CouplingTransform if self.kind == "coupling" else AutoregressiveTransform
        spline = functools.partial(monotonic.spline, bound=self.bound)
        inverse = functools.partial(monotonic.spline_inverse, bound=self.bound)
        return layer, spline, inverse, 3 * self.bins - 1

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind, "bins": self.bins, "bound": self.bound}
