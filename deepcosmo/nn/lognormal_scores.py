"""What a log-normal field says of parameters, near an estimate of them."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from deepcosmo.physics import fields
from deepcosmo.physics.lensing_survey import LensingSurvey

__all__ = ["LognormalScores"]

_FIRST_STEP, _STEPS = 0.3, (0.05, 1.0)  # of Newton's; 1 overshoots where the field is far from linear
_SLACK = 0.02  # nats by which rounding may lower the bound


@keras.saving.register_keras_serializable(package="deepcosmo")
class LognormalScores(keras.layers.Layer):
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
        iterations: of Newton's method with that mean curvature; a step that lowers the bound is taken back and halved.
    """

    def __init__(self, *, survey, iterations=24, **kwargs):
        super().__init__(**kwargs)
        self.survey = survey if isinstance(survey, LensingSurvey) else LensingSurvey(**survey)
        self.iterations = iterations
        n = self.survey.pixels
        count = fields.multiplicity(n)
        self._per_mode = (np.outer(count, count) / n**2).astype("float32")  # of a quadrant
        self._weight = (np.broadcast_to(count, (n, n // 2 + 1)) / n**2).astype("float32")
        self._to_log = np.float32(np.degrees(60) / self.survey.pixel_scale)
        typical = self.survey.prior().sample(4000, seed=[0, 0]).numpy()
        self._widths, self._range = typical.std(0), (typical.min(0), typical.max(0))
        self.built = True

    @property
    def dim(self):
        return len(self.survey.parameters) + self.survey.bins + 1

    def call(self, maps, theta):
        data = tf.einsum("...yxi->...iyx", tf.convert_to_tensor(maps, tf.float32) / self.survey.noise_std)
        theta = tf.clip_by_value(tf.convert_to_tensor(theta, tf.float32), *self._range)
        with tf.GradientTape() as tape:
            tape.watch(theta)
            root, variance, depth = field = self._field(theta)
            white, spread = self._posterior([tf.stop_gradient(v) for v in field], data)
            uncertain = self._variance(_product(root, spread))
            misfit = self._misfit(self._expected(fields.mixed(root, white), uncertain, variance), depth, data)
            total = -0.5 * tf.reduce_sum(misfit)
        score = tape.gradient(total, theta) * self._widths
        pixels = self.survey.pixels**2
        own = tf.reduce_sum(self._squares(white, white), -1, keepdims=True)
        return tf.concat([score, misfit / pixels, own / pixels], -1)

    def _field(self, theta):
        """Of the logarithm: root of its covariance for the modes of a quadrant, its variance and the shift over the
        noise, both (..., bins, 1, 1)."""
        field = self.survey.field(theta)
        variance, shift = (tf.cast(v, tf.float32)[..., None, None] for v in (field.variance, field.shift))
        return tf.cast(field.root, tf.float32) * self._to_log, variance, shift / self.survey.noise_std

    def _posterior(self, field, data):
        """The mean of the white noise, as modes, and a root of its covariance at the modes of a quadrant."""
        root, variance, depth = field
        curvature = tf.square(depth) * tf.exp(variance)  # its mean over maps
        response = root * (depth * tf.exp(0.5 * variance))[..., :, None, :, :]
        spread = tf.einsum("...ijyx->...jiyx", fields.inverted(fields.white_precision(response)))
        of_logarithm = _product(root, spread)
        covariance = tf.reduce_sum(of_logarithm[..., :, None, :, :, :] * of_logarithm[..., None, :, :, :, :], -3)
        uncertain = self._variance(of_logarithm)

        # g = C a, with its prior covariance C: a and g move by -1 and -C times (1 + curvature C)^-1 (a + d U / d g)
        def bound_and_residual(a, g):
            mean, excess = expected = self._expected(g, uncertain, variance)
            bound = -0.5 * tf.reduce_sum(self._misfit(expected, depth, data), -1)
            bound -= 0.5 * tf.reduce_sum(self._squares(a, g), -1)
            slope = depth * (1.0 + mean) * (depth * (mean + excess * (1.0 + mean)) - data)
            return bound, a + tf.signal.rfft2d(slope)

        def step(i, length, a, g, bound, residual):
            move = -fields.mixed(covariance, residual)
            size = tf.cast(length, a.dtype)[..., None, None, None]
            a_new = a - size * (residual + tf.cast(curvature, a.dtype) * move)
            g_new = g + size * move
            bound_new, residual_new = bound_and_residual(a_new, g_new)
            better = bound_new > bound - _SLACK  # false for NaN
            # of Barzilai & Borwein, in the metric of the covariance
            slope = tf.reduce_sum(self._squares(move, residual), -1)
            turn = tf.reduce_sum(self._squares(move, residual_new), -1) - slope
            longer = tf.clip_by_value(-length * slope / tf.maximum(turn, 1e-20), *_STEPS)
            length = tf.where(better, longer, 0.5 * length)
            keep = better[..., None, None, None]
            pairs = (a_new, a), (g_new, g), (residual_new, residual)
            a, g, residual = (tf.where(keep, new, old) for new, old in pairs)
            return i + 1, length, a, g, tf.where(better, bound_new, bound), residual

        a = tf.zeros_like(tf.signal.rfft2d(data))
        bound, residual = bound_and_residual(a, a)
        first = tf.constant(0), tf.fill(tf.shape(bound), _FIRST_STEP), a, a, bound, residual
        _, _, a, *_ = tf.while_loop(lambda i, *_: i < self.iterations, step, first,
                                    maximum_iterations=self.iterations)  # fmt: skip
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

    def compute_output_shape(self, maps_shape, theta_shape=None):
        return (maps_shape[0], self.dim)

    def get_config(self):
        return {**super().get_config(), "survey": dataclasses.asdict(self.survey), "iterations": self.iterations}


def _product(a, b):
    """Products of matrices over the bins (..., bins, bins, y, x), as sums that XLA fuses."""
    return tf.reduce_sum(a[..., :, :, None, :, :] * b[..., None, :, :, :, :], -4)
