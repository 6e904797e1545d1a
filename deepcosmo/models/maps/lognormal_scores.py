"""What a log-normal field says of parameters, near an estimate of them."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deepcosmo._graphs import apart, shared
from deepcosmo._types import TensorLike
from deepcosmo.models._precision import SinglePrecision
from deepcosmo.physics import fields
from deepcosmo.physics.lensing_survey import LensingSurvey

__all__ = ["LognormalScores"]

_REST = 0.01  # twice the nats by which the bound may still be short
_REACH, _NEWTON = 2.5, 2  # the most by which a step lifts a pixel's logarithm; Newton's steps to find its length


@keras.saving.register_keras_serializable(package="deepcosmo")
class LognormalScores(SinglePrecision, keras.layers.Layer):
    """Score of the marginal likelihood of maps, with the field integrated out, at parameters that are given.

    (maps (batch, n, n, bins), theta (batch, parameters)) -> (batch, `dim`): the score d ln p(maps | theta) / d theta
    times the prior's widths, the expected misfit of each bin over the number of its pixels, and the same of the field's
    own chi^2. Near the true parameters a score is all that data tell (Le Cam's one-step estimator; Alsing & Wandelt
    2018, arXiv:1712.00012); that of a field that is not Gaussian has no closed form, but by Fisher's identity it is the
    posterior mean of the joint score. The posterior of the field's logarithm g is taken as a normal distribution with
    the mean m and, for each mode, the covariance V that maximise a lower bound of ln p(maps | theta), V with the mean
    curvature of the likelihood. With kappa = shift (exp(g - variance / 2) - 1) all expectations are known.

    Parameters outside of what 4000 draws of the prior reach count as the nearest inside.

    Args:
        survey: `LensingSurvey`, or its fields as a dict.
        iterations: the most that the search of the mean takes; it ends before where the bound is within 0.005 nats of
            its maximum, after 9 in the median and 35 at most of 200 maps of 64 x 64 pixels.
        typical: widths of the prior, and the least and the largest of its draws, each (parameters,); drawn if None. A
            model keeps those that it was trained with: draws differ with the number of threads.
    """

    def __init__(
        self,
        *,
        survey: LensingSurvey | dict[str, Any],
        iterations: int = 60,
        typical: Sequence[Sequence[float]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.survey = survey if isinstance(survey, LensingSurvey) else LensingSurvey(**survey)
        self.iterations, self._typical = iterations, typical
        n = self.survey.pixels
        count = fields.multiplicity(n)
        self._per_mode = shared(np.outer(count, count) / n**2, "float32")  # of a quadrant
        self._weight = (count / n**2).astype("float32")
        self._to_log = np.float32(np.degrees(60) / self.survey.pixel_scale)
        self.built = True

    @property
    def dim(self) -> int:
        return len(self.survey.parameters) + self.survey.bins + 1

    def call(self, maps: TensorLike, theta: TensorLike) -> tf.Tensor:
        scores = self._scores if tf.executing_eagerly() else _in_graphs(self.survey, self.iterations)
        typical = [tf.convert_to_tensor(v, tf.float32) for v in self._of_prior()]
        return scores(tf.convert_to_tensor(maps, tf.float32), tf.convert_to_tensor(theta, tf.float32), *typical)

    def _scores(self, maps, theta, widths, least, largest):
        data = tf.einsum("...yxi->...iyx", maps / self.survey.noise_std)
        theta = tf.clip_by_value(theta, least, largest)
        with tf.GradientTape() as tape:
            tape.watch(theta)
            root, variance, depth = field = self._field(theta)
            white, spread = self._posterior([tf.stop_gradient(v) for v in field], data)
            uncertain = self._variance(_product(root, spread))
            misfit = self._misfit(self._expected(fields.mixed(root, white), uncertain, variance), depth, data)
            total = -0.5 * tf.reduce_sum(misfit)
        score = tape.gradient(total, theta) * widths
        pixels = self.survey.pixels**2
        own = tf.reduce_sum(self._squares(white, white), -1, keepdims=True)
        return tf.concat([score, misfit / pixels, own / pixels], -1)

    def _of_prior(self):
        return self._typical or _typical(self.survey)

    def _field(self, theta):
        """Of the logarithm: root of its covariance for the modes of a quadrant, its variance and the shift over the
        noise, both (..., bins, 1, 1)."""
        field = self.survey.field(theta)
        variance, shift = (tf.cast(v, tf.float32)[..., None, None] for v in (field.variance, field.shift))
        return tf.cast(field.root, tf.float32) * self._to_log, variance, shift / self.survey.noise_std

    def _posterior(self, field, data):
        """The mean of the white noise, as modes, and a root of its covariance at the modes of a quadrant.

        By conjugate gradients (Polak & Ribiere) preconditioned by that covariance, with the length of each step by
        Newton's method along it, which takes no Fourier transform. A vector v stands beside C^-1 v, C the prior's
        covariance of the logarithm.
        """
        root, variance, depth = field
        curvature = tf.square(depth) * tf.exp(variance)  # its mean over maps
        response = root * (depth * tf.exp(0.5 * variance))[..., :, None, :, :]
        spread = tf.einsum("...ijyx->...jiyx", fields.inverted(fields.white_precision(response)))
        of_logarithm = _product(root, spread)
        covariance = tf.reduce_sum(of_logarithm[..., :, None, :, :, :] * of_logarithm[..., None, :, :, :, :], -3)
        uncertain = self._variance(of_logarithm)
        excess = tf.math.expm1(uncertain)

        def slope_and_curvature(log):  # of half the expected chi^2; the curvature is Gauss and Newton's
            ratio = tf.exp(log)
            slope = depth * ratio * (depth * (ratio - 1.0 + excess * ratio) - data)
            return slope, tf.square(depth * ratio) * (1.0 + 2.0 * excess)

        def conditioned(a, log):
            residual = a + tf.signal.rfft2d(slope_and_curvature(log)[0])
            move = fields.mixed(covariance, residual)
            return residual, move, tf.reduce_sum(self._squares(residual, move), -1)

        def step(i, a, log, residual, move, square, direction, dual, share):
            direction = _each(share) * direction - move
            dual = _each(share) * dual - residual + tf.cast(curvature, tf.complex64) * move
            change = tf.signal.irfft2d(direction, self.survey.shape[:2])
            constant, linear = (tf.reduce_sum(self._squares(v, direction), -1) for v in (a, dual))
            longest = _REACH / tf.maximum(tf.reduce_max(change, [-3, -2, -1]), 1e-9)
            longest = tf.where(square > _REST, longest, 0.0)
            length = tf.zeros_like(square)
            for _ in range(_NEWTON):
                first, second = slope_and_curvature(log + length[..., None, None, None] * change)
                first = tf.reduce_sum(first * change, [-3, -2, -1]) + constant + length * linear
                second = tf.reduce_sum(second * tf.square(change), [-3, -2, -1]) + linear
                length = tf.clip_by_value(length - first / second, 0.0, longest)
            a += _each(length) * dual
            log += length[..., None, None, None] * change
            old, (residual, move, square_new) = residual, conditioned(a, log)
            gain = square_new - tf.reduce_sum(self._squares(old, move), -1)
            share = tf.maximum(gain / square, 0.0)
            return i + 1, a, log, residual, move, square_new, direction, dual, share

        a = tf.zeros_like(tf.signal.rfft2d(data))
        log = tf.zeros_like(data) + 0.5 * (uncertain - variance)
        residual, move, square = conditioned(a, log)
        first = tf.constant(0), a, log, residual, move, square, a, a, tf.zeros_like(square)
        _, a, *_ = tf.while_loop(
            lambda i, *state: tf.reduce_any(state[4] > _REST), step, first, maximum_iterations=self.iterations
        )
        white = fields.mixed(tf.einsum("...ijyx->...jiyx", root), a)
        return tf.stop_gradient(white), tf.stop_gradient(spread)

    def _misfit(self, expected, depth, data):
        """Expected chi^2 of each bin (..., bins), less that of data without a field, given `_expected`."""
        mean, excess = expected
        square = tf.square(depth) * (tf.square(mean) + excess * tf.square(1.0 + mean))
        return tf.reduce_sum(square - 2.0 * data * depth * mean, [-2, -1])

    def _expected(self, modes, uncertain, variance):
        """Mean of the convergence over the shift, and its variance over the square of one plus this mean, for the modes
        of the logarithm's mean."""
        logarithm = tf.signal.irfft2d(modes, self.survey.shape[:2])
        return tf.math.expm1(logarithm + 0.5 * uncertain - 0.5 * variance), tf.math.expm1(uncertain)

    def _variance(self, root):
        """Variance of the logarithm in a pixel (..., bins, 1, 1), for a root of its covariance by modes."""
        square = tf.reduce_sum(tf.square(root), -3)
        return tf.reduce_sum(square * self._per_mode, [-2, -1], keepdims=True)

    def _squares(self, a, b):
        """Scalar products of maps (..., bins) by their modes."""
        product = tf.math.real(a) * tf.math.real(b) + tf.math.imag(a) * tf.math.imag(b)
        return tf.reduce_sum(product * self._weight, [-2, -1])

    def compute_output_shape(self, maps_shape: Any, theta_shape: Any = None) -> tuple[int | None, ...]:
        return (maps_shape[0], self.dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "survey": dataclasses.asdict(self.survey),
            "iterations": self.iterations,
            "typical": [list(map(float, v)) for v in self._of_prior()],
        }


@functools.lru_cache
def _typical(survey):
    """Widths of the prior, and the least and the largest of 4000 draws (parameters,)."""
    with tf.init_scope():
        draws = survey.prior().sample(4000, seed=[0, 0]).numpy()
    return draws.std(0), draws.min(0), draws.max(0)


@functools.lru_cache(maxsize=1)
def _in_graphs(survey, iterations):
    """The scores as one function of all graphs, which takes long to trace and fills megabytes."""
    return apart(LognormalScores(survey=survey, iterations=iterations)._scores)


def _product(a, b):
    """Products of matrices over the bins (..., bins, bins, y, x), as sums that XLA fuses."""
    return tf.reduce_sum(a[..., :, :, None, :, :] * b[..., None, :, :, :, :], -4)


def _each(values):
    """Numbers (...,) that multiply modes (..., bins, y, x)."""
    return tf.cast(values, tf.complex64)[..., None, None, None]
