"""Best single-Sérsic fit to a galaxy stamp: the reference that a model of galaxies has to beat.

The profile, I(r) ~ exp(-b_n (r / r_e)^(1/n)) on ellipses, is drawn in Fourier space, where the convolution
with the PSF is a product. Its transform at the wave vector k is F_n(s), s^2 = r_e^2 k^T exp(M) k with
M = [[eta1, eta2], [eta2, -eta1]]: a table of GalSim's Sérsic transforms, splined in n and log s, so that all
derivatives are analytic.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import galsim
import numpy as np
import scipy.fft
import scipy.interpolate
import scipy.optimize
from numpy.typing import ArrayLike

from deepcosmo.metrics.residuals import chi2_per_pixel

__all__ = ["SersicFit", "fit"]

_INDICES = np.concatenate([np.linspace(0.3, 1.5, 25), np.linspace(1.6, 3, 15), np.linspace(3.2, 6.2, 16)])
_LOG_S = np.linspace(np.log(1e-3), np.log(1e3), 1401)
_ETA = 3.0  # largest |eta1|, |eta2|; the axis ratio is exp(-|eta|)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SersicFit:
    """The best fit.

    Attributes:
      flux: total flux, counts.
      half_light_radius: circularised, sqrt(a b), arcsec.
      n: Sérsic index.
      q: axis ratio b / a.
      position_angle: of the major axis, from +x (columns) towards +y (rows), radians.
      x, y: centre relative to that of the stamp, arcsec.
      chi2: chi^2 per pixel, as `deepcosmo.metrics.residuals.chi2_per_pixel` of image and model.
      model: (h, w), convolved with the PSF.
    """

    flux: float
    half_light_radius: float
    n: float
    q: float
    position_angle: float
    x: float
    y: float
    chi2: float
    model: np.ndarray


def fit(
    image: ArrayLike,
    psf: ArrayLike,
    noise_std: float,
    *,
    noise_power: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    pixel_scale: float = 0.03,
    starts: Sequence[float] = (0.6, 1.5, 4.0),
) -> SersicFit:
    """Fits a Sérsic profile by least squares from several Sérsic indices and returns the best.

    Args:
      image: (h, w), counts per pixel.
      psf: (m, m') at the image's pixel scale, centred on pixel [m // 2, m' // 2]; it is scaled to unit sum.
      noise_std: standard deviation of the pixel noise, positive.
      noise_power: (h, w) power spectrum of correlated noise, mean 1, in the order of `np.fft.fft2`; white by
        default.
      mask: (h, w) bool, True where pixels count; not together with `noise_power`.
      pixel_scale: arcsec per pixel.
      starts: Sérsic indices to start from.

    Returns:
      `SersicFit`.

    Raises:
      ValueError: wrong shapes, NaN, noise not positive, PSF without light.
    """
    image, psf, mask = _checked(image, psf, mask)

    def chi2(model):
        selected = None if mask is None else mask[None]
        return float(chi2_per_pixel(image[None], model[None], noise_std, noise_power=noise_power, mask=selected)[0])

    chi2(image)  # refuses wrong noise and masks
    weight = 1 / noise_std
    if noise_power is not None:
        weight = weight / np.sqrt(np.asarray(noise_power, np.float64)[:, : image.shape[1] // 2 + 1])

    def whiten(images):
        if noise_power is None:
            images = images * weight
        else:
            images = scipy.fft.irfft2(scipy.fft.rfft2(images) * weight, image.shape)
        return images[..., mask] if mask is not None else images.reshape(*images.shape[:-2], -1)

    profile = _Profile(image.shape, psf)
    data = whiten(image)
    best: Any = None
    for start in _starts(image, psf, profile, starts):
        unit = whiten(profile.draw(start)[0])
        start[0] = max((unit @ data) / (unit @ unit), 1e-3 * noise_std)
        result = scipy.optimize.least_squares(
            lambda p: whiten(profile.draw(p)[0]) - data,
            start,
            jac=lambda p: whiten(profile.draw(p, derivatives=True)).T[:, 1:],
            bounds=profile.bounds(),
            x_scale="jac",
            ftol=1e-6,
            xtol=1e-6,
            max_nfev=60,
        )
        if best is None or result.cost < best.cost:
            best = result
    flux, x, y, log_radius, eta1, eta2, n = best.x
    model = profile.draw(best.x)[0]
    return SersicFit(
        flux=float(flux),
        half_light_radius=float(np.exp(log_radius)) * pixel_scale,
        n=float(n),
        q=float(np.exp(-np.hypot(eta1, eta2))),
        position_angle=float(0.5 * np.arctan2(eta2, eta1)),
        x=float(x) * pixel_scale,
        y=float(y) * pixel_scale,
        chi2=chi2(model),
        model=model,
    )


def _checked(image, psf, mask):
    image, psf = (np.asarray(a, np.float64) for a in (image, psf))
    if image.ndim != 2 or psf.ndim != 2:
        raise ValueError(f"image and psf must have shapes (h, w) and (m, m'), not {image.shape} and {psf.shape}")
    if mask is not None:
        mask = np.asarray(mask, bool)
        if mask.shape != image.shape:
            raise ValueError(f"mask must have the image's shape {image.shape}, not {mask.shape}")
        image = np.where(mask, image, 0)
    if not (np.isfinite(image).all() and np.isfinite(psf).all()):
        raise ValueError("image and psf must be finite")
    if not psf.sum() > 0:
        raise ValueError("psf must have a positive sum")
    return image, psf / psf.sum(), mask


@functools.cache
def _table():
    """Splines in n of F_n and of dF_n / dlog s at `_LOG_S`, and the derivatives of F_n by n."""
    s = np.exp(_LOG_S)
    rows = []
    for n in _INDICES:
        profile = galsim.Sersic(n, half_light_radius=1.0)
        rows.append([profile.kValue(value, 0).real for value in s])
    spline = scipy.interpolate.CubicSpline(_INDICES, np.array(rows))
    slope = scipy.interpolate.CubicSpline(_LOG_S, np.array(rows), axis=1).derivative()(_LOG_S)
    return spline, scipy.interpolate.CubicSpline(_INDICES, slope), spline.derivative()


class _Profile:
    """Draws PSF-convolved profiles of (flux, x, y, log r_e, eta1, eta2, n), lengths in pixels."""

    def __init__(self, shape, psf):
        self.shape = shape
        # Room for the tails, which would come in at the other side.
        self.padded = tuple(
            scipy.fft.next_fast_len(max(2 * n, m), real=True) for n, m in zip(shape, psf.shape, strict=True)
        )
        h, w = self.padded
        self.ky, self.kx = 2 * np.pi * np.fft.fftfreq(h)[:, None], 2 * np.pi * np.fft.rfftfreq(w)[None]
        self.moments = self.kx**2 + self.ky**2, self.kx**2 - self.ky**2, 2 * self.kx * self.ky
        y, x = (m // 2 - (n - 1) / 2 for n, m in zip(shape, psf.shape, strict=True))
        centred = np.exp(1j * self.ky * y) * np.exp(1j * self.kx * x)
        self.transfer = scipy.fft.rfft2(psf, self.padded) * centred

    def bounds(self):
        h, w = self.shape
        size = np.log(0.5 * max(h, w))
        low = [0, -w / 4, -h / 4, np.log(0.05), -_ETA, -_ETA, _INDICES[0]]
        return low, [np.inf, w / 4, h / 4, size, _ETA, _ETA, _INDICES[-1]]

    def draw(self, parameters, derivatives=False):
        """The image (1, h, w), or with the derivatives by the seven parameters (8, h, w)."""
        flux, x, y, log_radius, eta1, eta2, n = parameters
        eta = np.hypot(eta1, eta2)
        cosh = np.cosh(eta)
        sinc = np.sinh(eta) / eta if eta > 1e-4 else 1 + eta**2 / 6
        k2, plus, cross = self.moments
        form = cosh * k2 + sinc * (eta1 * plus + eta2 * cross)  # (s / r_e)^2
        form[0, 0] = 1
        spline, slope, by_index = _table()
        position = np.clip(
            (0.5 * np.log(form) + log_radius - _LOG_S[0]) / (_LOG_S[1] - _LOG_S[0]), 0, len(_LOG_S) - 1.001
        )
        first = position.astype(np.intp)
        fraction = position - first

        def lookup(values):
            return values[first] + fraction * (values[first + 1] - values[first])

        shift = self.transfer * np.exp(-1j * (self.kx * x)) * np.exp(-1j * (self.ky * y))
        values = lookup(spline(n))
        values[0, 0] = 1
        galaxy = flux * values * shift
        if not derivatives:
            return self._image(galaxy[None])
        by_log = flux * lookup(slope(n)) * shift
        by_log[0, 0] = 0
        curl = (cosh - sinc) / eta**2 if eta > 1e-3 else 1 / 3  # of d sinc = curl (eta1 deta1 + eta2 deta2)
        stretch = sinc * k2 + curl * (eta1 * plus + eta2 * cross)
        by_form = by_log / (2 * form)
        return self._image(
            np.stack(
                [
                    galaxy,
                    values * shift,
                    -1j * self.kx * galaxy,
                    -1j * self.ky * galaxy,
                    by_log,
                    by_form * (eta1 * stretch + sinc * plus),
                    by_form * (eta2 * stretch + sinc * cross),
                    flux * lookup(by_index(n)) * shift,
                ]
            )
        )

    def _image(self, spectra):
        return scipy.fft.irfft2(spectra, self.padded)[:, : self.shape[0], : self.shape[1]]


def _starts(image, psf, profile, indices):
    """First guesses: adaptive moments for position and shape, one guess for each Sérsic index; unit flux."""
    moments = galsim.hsm.FindAdaptiveMom(galsim.Image(image, scale=1.0), strict=False)
    point = galsim.hsm.FindAdaptiveMom(galsim.Image(psf, scale=1.0), strict=False)
    h, w = image.shape
    x = y = eta1 = eta2 = 0.0
    sigma = 0.1 * max(h, w)
    if moments.moments_status == 0 and moments.moments_sigma < max(h, w):
        x, y = moments.moments_centroid.x - (w + 1) / 2, moments.moments_centroid.y - (h + 1) / 2
        sigma = moments.moments_sigma
        eta1, eta2 = moments.observed_shape.eta1, moments.observed_shape.eta2
    blur = point.moments_sigma if point.moments_status == 0 else 1.0
    radius = 1.2 * np.sqrt(max(sigma**2 - blur**2, 0.25 * blur**2))
    low, high = profile.bounds()
    for n in indices:
        # The adaptive moments see the core: a high index means a larger half-light radius.
        start = np.array([1.0, x, y, np.log(radius * (1 + 0.2 * max(n - 1, 0))), eta1, eta2, n])
        yield np.clip(start, np.add(low, 1e-3), np.subtract(high, 1e-3))
