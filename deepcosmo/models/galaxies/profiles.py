"""Networks for galaxy stamps: a positive, analytic decoder of light profiles and an encoder that sees the PSF."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from deepcosmo._types import Tensor
from deepcosmo.models._precision import SinglePrecision
from deepcosmo.nn.fourier import fourier

__all__ = ["LightProfileDecoder", "StampEncoder", "psf_transfer"]

# The decoder draws the galaxy as seen through this Gaussian, in pixels: 0.05 arcsec FWHM at 0.03 arcsec/px.
# Narrower than the ACS PSF, wide enough that sampling it on the pixel grid loses nothing.
RESOLUTION = 0.05 / 0.03 / math.sqrt(8 * math.log(2))


def psf_transfer(psf: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Fourier transform that takes a decoded galaxy to its convolution with `psf`.

    The decoder's own resolution is divided out, so that decoder and transfer together convolve the galaxy with
    exactly `psf` (the model frame of scarlet, Melchior et al. 2018, arXiv:1802.10157).

    Args:
        psf: PSF images (batch, m, m), m <= size, unit sum, centred on pixel [m // 2, m // 2].
        size: pixels on a side of the galaxy stamps.

    Returns:
        The pair (real, imaginary) as from `fourier`, each (batch, size // 2 + 1, size).
    """
    m = psf.shape[-1]
    psf = ops.pad(psf, ((0, 0), (0, size - m), (0, size - m)))
    real, imaginary = fourier(ops.roll(psf, (-(m // 2), -(m // 2)), axis=(1, 2)))
    kx, ky = 2 * np.pi * np.fft.rfftfreq(size), 2 * np.pi * np.fft.fftfreq(size)
    sharpen = np.exp(0.5 * RESOLUTION**2 * (kx[:, None] ** 2 + ky[None, :] ** 2)).astype("float32")
    return real * sharpen, imaginary * sharpen


def _quadratic_basis(size, step=1):
    """1, x, y, x², xy and y² at the cells of `step` pixels, from the middle of the stamp, (6, cells).

    They are made in the graph: as constants they would fill as much of a SavedModel as the weights.
    """
    axis = ops.arange(0, size, step, dtype="float32") + (step - size) / 2
    y, x = (ops.reshape(v, (-1,)) for v in ops.meshgrid(axis, axis, indexing="ij"))
    return ops.stack([ops.ones_like(x), x, y, x * x, x * y, y * y])


def _shape(parameters):
    """(log size, eta1, eta2) -> (size, cosh r, eta1 sinh(r) / r, eta2 sinh(r) / r), each (batch, 1); r = |eta|.

    The covariance is size² [[cosh + s1, s2], [s2, cosh - s1]]; its axis ratio (in length) is exp(-|eta|).
    """
    log_size, eta1, eta2 = (parameters[:, i : i + 1] for i in range(3))
    r = ops.sqrt(eta1**2 + eta2**2 + 1e-6)
    sinc = ops.sinh(r) / r
    return ops.exp(log_size), ops.cosh(r), eta1 * sinc, eta2 * sinc


def _inverse_covariance(parameters, log_widths, limit=None):
    """Precision (a, b, c) and log determinant of the covariances width² C + RESOLUTION² I, each (batch, k).

    With a `limit`, widths saturate there: width -> (width^-2 + limit^-2)^-1/2, in pixels.
    """
    size, cosh, s1, s2 = _shape(parameters)
    v = (size * ops.exp(log_widths)) ** 2
    if limit is not None:
        v = v / (1 + v / limit**2)
    r2 = RESOLUTION**2
    det = v * v + 2 * r2 * v * cosh + r2 * r2
    return (v * (cosh - s1) + r2) / det, -v * s2 / det, (v * (cosh + s1) + r2) / det, ops.log(det)


def _radius2(precision, x0, y0, basis):
    """a dx² + 2 b dx dy + c dy² at the points of `basis`, as one matrix product: (batch, k, points)."""
    a, b, c = precision
    coefficients = ops.stack(
        [a * x0**2 + 2 * b * x0 * y0 + c * y0**2, -2 * (a * x0 + b * y0), -2 * (b * x0 + c * y0), a, 2 * b, c], axis=-1
    )
    radius2 = ops.matmul(ops.reshape(coefficients, (-1, 6)), basis)
    return ops.reshape(radius2, (-1, a.shape[1], basis.shape[1]))


def _bilinear_upsampling(size):
    """Matrix (size, size // 2) that interpolates linearly from cells of two pixels to pixels."""
    cells = np.arange(size // 2) * 2 + 0.5
    return np.stack([np.interp(np.arange(size), cells, row) for row in np.eye(size // 2)], axis=1).astype("float32")


def _hermite(u, order):
    """Normalised Hermite polynomials 0..order of u."""
    h = [ops.ones_like(u), math.sqrt(2.0) * u]
    for n in range(1, order):
        h.append(math.sqrt(2.0 / (n + 1)) * u * h[n] - math.sqrt(n / (n + 1)) * h[n - 1])
    return h


class LightProfileDecoder(SinglePrecision, keras.layers.Layer):
    """Latent vector -> positive surface brightness of a galaxy, free of PSF and noise.

    A network turns the latent vector into the parameters of two elliptical families of Gaussians with a common
    centre, bulge and disc (a multi-Gaussian expansion: Hogg & Lang 2013, arXiv:1210.6563), one flat-topped component
    for profiles below Sérsic n = 0.5, and a texture exp(c) that multiplies them, c being a short expansion in
    Gauss-Hermite functions in the frame of the disc (shapelets: Refregier 2003, arXiv:astro-ph/0105178). The image is
    positive, and smooth profiles stay smooth at every size.

    Args:
        size: pixels on a side of the stamp.
        units: widths of the hidden layers.
        texture_order: highest total order of the texture's Hermite functions.

    Input (batch, latent), output (batch, size, size) in units of flux per pixel.
    """

    CORE, WIDE, DISC = 3, 4, 3  # Gaussians: core and wide ones of the bulge, disc
    CORE_SIZE = 32  # pixels on a side of the patch on which the core is drawn, CORE_SIZE / 8 being its largest sigma

    def __init__(
        self, *, size: int = 128, units: Sequence[int] = (256, 256), texture_order: int = 6, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.size, self.units, self.texture_order = size, tuple(units), texture_order
        self.orders = [(n - b, b) for n in range(1, texture_order + 1) for b in range(n + 1)]
        # log flux, centre, (log size, ellipticity) of bulge, disc and flat component, flatness, log weights
        outputs = 3 + 3 * 3 + 1 + self.CORE + self.WIDE + self.DISC + 1
        self.hidden = [keras.layers.Dense(u, activation="silu") for u in self.units]
        self.structure = keras.layers.Dense(outputs, kernel_initializer=keras.initializers.RandomNormal(0.0, 0.03))
        self.shortcut = keras.layers.Dense(
            outputs, use_bias=False, kernel_initializer=keras.initializers.RandomNormal(0.0, 0.1)
        )
        self.texture = keras.layers.Dense(len(self.orders), kernel_initializer="zeros")
        self._upsample = _bilinear_upsampling(size)

    def build(self, input_shape: Any) -> None:
        width = input_shape[-1]
        self.shortcut.build((None, width))
        for layer in self.hidden:
            layer.build((None, width))
            width = layer.units
        self.structure.build((None, width))
        self.texture.build((None, width))

        def ladder(name, low, high, count):  # widths relative to the family's size, refined in training
            values = np.linspace(math.log(low), math.log(high), count)
            return self.add_weight(
                shape=(count,), initializer=keras.initializers.Constant(values), name=f"log_widths_{name}"
            )

        self.core_widths = ladder("core", 0.05, 0.2, self.CORE)
        self.wide_widths = ladder("wide", 0.4, 5.0, self.WIDE)
        self.disc_widths = ladder("disc", 0.4, 1.6, self.DISC)

    def call(self, z: Tensor) -> Tensor:
        h = z
        for layer in self.hidden:
            h = layer(h)
        p = 8.0 * ops.tanh((self.structure(h) + self.shortcut(z)) / 8.0)  # keeps every exponential below finite
        flux = ops.exp(1.7 + p[:, 0:1])
        x0, y0 = p[:, 1:2], p[:, 2:3]
        # sizes start near the median galaxy's half-light radius of 7 px
        bulge, disc, flat = (
            p[:, 3 + 3 * i : 6 + 3 * i] + np.array([[start, 0, 0]], "float32")
            for i, start in enumerate((1.2, 1.7, 1.9))
        )
        beta = 1.4 + 0.5 * ops.tanh(p[:, 12:13])
        light = flux * ops.softmax(p[:, 13:], axis=-1) / (2 * math.pi)
        core_light, light, flat_light = ops.split(light, [self.CORE, self.CORE + self.WIDE + self.DISC], axis=-1)

        wide, discs = _inverse_covariance(bulge, self.wide_widths), _inverse_covariance(disc, self.disc_widths)
        *precision, log_det = (ops.concatenate(pair, axis=1) for pair in zip(wide, discs, strict=True))
        pixels = _quadratic_basis(self.size)
        image = self._gaussians(light, precision, log_det, x0, y0, pixels)

        *precision, log_det = _inverse_covariance(flat, np.zeros(1, "float32"))
        half_radius2 = 0.5 * ops.maximum(_radius2(precision, x0, y0, pixels)[:, 0], 1e-6)
        # 2 pi Gamma(1 + 1 / beta) sqrt(det) is the integral; Gamma(1 + 1 / beta) = 0.9 within 2%
        image = image + flat_light / 0.9 * ops.exp(-0.5 * log_det - ops.power(half_radius2, beta))
        image = ops.reshape(image, (-1, self.size, self.size))

        *precision, log_det = _inverse_covariance(bulge, self.core_widths, limit=self.CORE_SIZE / 8)
        core = self._gaussians(core_light, precision, log_det, x0, y0, _quadratic_basis(self.CORE_SIZE))
        margin = (self.size - self.CORE_SIZE) // 2
        core = ops.reshape(core, (-1, self.CORE_SIZE, self.CORE_SIZE))
        image = image + ops.pad(core, ((0, 0), (margin, margin), (margin, margin)))
        return image * self._texture_factor(h, disc, x0, y0)

    @staticmethod
    def _gaussians(light, precision, log_det, x0, y0, basis):
        exponent = -0.5 * _radius2(precision, x0, y0, basis)
        return ops.sum(ops.expand_dims(light * ops.exp(-0.5 * log_det), -1) * ops.exp(exponent), axis=1)

    def _texture_factor(self, h, disc, x0, y0):
        """exp of a Gauss-Hermite expansion in the frame where the disc is a circle, on cells of 2 x 2 pixels."""
        size, cosh, s1, s2 = _shape(disc * np.array([[1, 0.5, 0.5]], "float32"))
        a, b, c = (cosh - s1) / size, -s2 / size, (cosh + s1) / size
        frame = ops.stack(
            [
                ops.concatenate([-(a * x0 + b * y0), a, b], axis=-1),
                ops.concatenate([-(b * x0 + c * y0), b, c], axis=-1),
            ],
            axis=1,
        )
        u = ops.matmul(frame, _quadratic_basis(self.size, 2)[:3])
        u, v = u[:, 0], u[:, 1]
        hu, hv = _hermite(u, self.texture_order), _hermite(v, self.texture_order)
        coefficients = self.texture(h)
        field = sum(coefficients[:, i : i + 1] * hu[m] * hv[n] for i, (m, n) in enumerate(self.orders))
        field = 3.0 * ops.tanh(field * ops.exp(-0.5 * (u * u + v * v)) / 3.0)
        field = ops.reshape(ops.exp(field), (-1, self.size // 2, self.size // 2))
        return ops.matmul(ops.matmul(self._upsample, field), self._upsample.T)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | dict(size=self.size, units=self.units, texture_order=self.texture_order)


# Polynomials of spins 0 to 4 in coordinates u and v: {(i, j): coefficient of u^i v^j}.
_POLYNOMIALS = (
    {(0, 0): 1},
    {(2, 0): 1, (0, 2): 1},
    {(4, 0): 1, (2, 2): 2, (0, 4): 1},
    {(1, 0): 1},
    {(0, 1): 1},
    {(3, 0): 1, (1, 2): 1},
    {(2, 1): 1, (0, 3): 1},
    {(2, 0): 1, (0, 2): -1},
    {(1, 1): 2},
    {(4, 0): 1, (0, 4): -1},
    {(3, 1): 2, (1, 3): 2},
    {(3, 0): 1, (1, 2): -3},
    {(2, 1): 3, (0, 3): -1},
    {(4, 0): 1, (2, 2): -6, (0, 4): 1},
    {(3, 1): 4, (1, 3): -4},
)


def _moment_filters(size, scales):
    """Gaussian windows times `_POLYNOMIALS`, of unit norm, by their factors along each axis.

    Returns powers 0 to 4 of a coordinate times its window, (size, scales, 5), and the coefficients of the products of
    two of them, (scales, 25, filters).
    """
    u = (np.arange(size) + (1 - size) / 2)[:, None] / scales
    factors = np.exp(-0.5 * u**2)[..., None] * u[..., None] ** np.arange(5)
    coefficients = np.zeros((5, 5, len(_POLYNOMIALS)))
    for k, polynomial in enumerate(_POLYNOMIALS):
        for powers, value in polynomial.items():
            coefficients[(*powers, k)] = value
    gram = np.einsum("nsi,nsj->sij", factors, factors)
    square = np.einsum("ijk,sil,sjm,lmk->sk", coefficients, gram, gram, coefficients)
    coefficients = coefficients.reshape(25, -1) / np.sqrt(square)[:, None]
    return factors.astype("float32"), coefficients.astype("float32")


class StampEncoder(SinglePrecision, keras.layers.Layer):
    """Image, PSF and noise level -> Gaussian over the latent vector.

    Weighted moments at a ladder of scales carry the flux and shape of bright galaxies at full precision; a small
    convolutional network adds what moments miss.

    Args:
        outputs: length of the vector that parametrises the posterior.
        size: pixels on a side of the stamp.
        units: width of the dense residual blocks.
        blocks: number of residual blocks.
        channels: widths of the convolutions.
        summary: length of the vector that sums up the convolutions.

    Inputs image (batch, size, size), psf (batch, m, m), noise_std (batch,). Output (batch, outputs).
    """

    def __init__(
        self,
        *,
        outputs: int,
        size: int = 128,
        units: int = 320,
        blocks: int = 3,
        channels: Sequence[int] = (48, 96, 128),
        summary: int = 96,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.outputs, self.size, self.units, self.blocks, self.channels = outputs, size, units, blocks, tuple(channels)
        self._factors, self._coefficients = _moment_filters(size, np.geomspace(1.5, 36.0, 9))
        self.convolutions = [
            keras.layers.Conv2D(c, 5 if i == 0 else 3, strides=2, padding="same", activation="silu")
            for i, c in enumerate(self.channels)
        ]
        self.summary = keras.layers.Dense(summary, activation="silu")
        self.psf_summary = keras.layers.Dense(32, activation="silu")
        self.project = keras.layers.Dense(units)
        self.residual = [
            (keras.layers.Dense(units, activation="silu"), keras.layers.Dense(units, kernel_initializer="zeros"))
            for _ in range(blocks)
        ]
        self.readout = keras.layers.Dense(outputs, kernel_initializer=keras.initializers.RandomNormal(0.0, 0.02))

    def build(self, image: Sequence[int | None], psf: Sequence[int | None], noise_std: Sequence[int | None]) -> None:
        side, width = self.size // 4, 16
        for layer in self.convolutions:
            layer.build((None, side, side, width))
            side, width = -(-side // 2), layer.filters
        self.summary.build((None, side * side * width))
        self.psf_summary.build((None, 24 * 24))
        scales, _, count = self._coefficients.shape
        self.project.build((None, 2 * scales * count + self.summary.units + self.psf_summary.units + 1))
        for first, second in self.residual:
            first.build((None, self.units))
            second.build((None, self.units))
        self.readout.build((None, self.units))

    def call(self, image: Tensor, psf: Tensor, noise_std: Tensor) -> Tensor:
        noise = ops.reshape(noise_std, (-1, 1))
        scaled = image / ops.expand_dims(noise, -1)
        moments = self._moments(scaled)
        scales, count = moments.shape[1:]
        ratios = moments / (ops.abs(moments[:, :, :1]) + 10.0)

        h = ops.arcsinh(0.3 * ops.reshape(scaled, (-1, self.size // 4, 4, self.size // 4, 4)))
        h = ops.reshape(ops.transpose(h, (0, 1, 3, 2, 4)), (-1, self.size // 4, self.size // 4, 16))
        for layer in self.convolutions:
            h = layer(h)
        h = self.summary(ops.reshape(h, (-1, self.summary.kernel.shape[0])))

        m = psf.shape[-1] // 2
        core = ops.reshape(psf[:, m - 12 : m + 12, m - 12 : m + 12], (-1, 24 * 24))
        h = self.project(
            ops.concatenate(
                [
                    ops.reshape(ops.arcsinh(0.1 * moments) / 3.0, (-1, scales * count)),
                    ops.reshape(ratios, (-1, scales * count)),
                    h,
                    self.psf_summary(20.0 * core),
                    ops.log(noise) + 6.0,
                ],
                axis=-1,
            )
        )
        for first, second in self.residual:
            h = h + second(first(h))
        return self.readout(ops.silu(h))

    def _moments(self, images):
        """Moments (batch, scales, filters) of images (batch, size, size): along the rows, then along the columns."""
        scales, products, _ = self._coefficients.shape
        rows = ops.matmul(images, self._factors.reshape(self.size, -1))
        rows = ops.reshape(rows, (-1, *self._factors.shape))
        both = ops.reshape(ops.einsum("nysi,ysj->nsij", rows, self._factors), (-1, scales, products))
        return ops.einsum("nsp,spk->nsk", both, self._coefficients)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | dict(
            outputs=self.outputs,
            size=self.size,
            units=self.units,
            blocks=self.blocks,
            channels=self.channels,
            summary=self.summary.units,
        )
