"""Fast, accurate rendering of Sérsic galaxies through a PSF that is given as an image.

GalSim spends its time on a few galaxies: the Fourier transform of a large or high-n Sérsic profile needs a
period of many times the stamp, or its wings fold back. Here every galaxy has the same small period. Its
profile S is cut smoothly, S = D + W with D = S exp(-(r/r_c)^6): the compact part D does not fold; the wings W
are smooth, so they are sampled in real space. The Hankel transform of every D is one product with a fixed
matrix of Bessel functions, and everything else is an FFT of fixed size. The PSF image is interpolated and cut
at its Nyquist frequency as in `galsim.InterpolatedImage` (quintic).
"""

import functools
import math

import numpy as np

__all__ = ["PIXEL_SCALE", "STAMP", "components", "draw_noise", "psf_stamp", "render"]

PIXEL_SCALE = 0.03  # arcsec
STAMP, PSF_STAMP = 128, 64  # pixels
PERIOD = 192  # pixels; >= STAMP + PSF_STAMP / 2 keeps the wrap out of the stamp
CUT, CUT_POWER = 68.0, 6  # r_c in pixels along the major axis
REACH = 1.65 * CUT  # D(REACH) < 1e-8 S
SHIFT = STAMP / 2 - 0.5  # pixels from the first pixel to the middle
NEGLIGIBLE = 1e-10  # of the flux, per pixel
NODES, NODE_POWER = 720, 4  # Gauss-Legendre in (r / REACH)**(1 / NODE_POWER): dense at the cusp
TABLE, TABLE_END, UPSAMPLING = 2048, 1.5 * np.pi, 4  # D's transform: samples, last k in rad/pixel, refinement


def components(galaxy):
    """The Sérsic components of a catalogue row: list of (flux fraction, n, hlr in arcsec, q, phi in rad)."""
    if galaxy["use_bulge"]:
        fraction = float(galaxy["bulge_fraction"])
        bulge, disk = ([float(galaxy[f"{p}_{name}"]) for name in ("hlr", "q", "phi")] for p in ("bulge", "disk"))
        return [(fraction, 4.0, *bulge), (1 - fraction, 1.0, *disk)]
    return [(1.0, *(float(galaxy[name]) for name in ("n", "hlr", "q", "phi")))]


def psf_stamp(image):
    """A PSF image as the data set stores it: float32 (64, 64), unit sum, peak at pixel [32, 32].

    The shift is by whole pixels, so that nothing is interpolated; what falls outside is cut.
    """
    image = np.asarray(image, np.float64)
    centre = np.unravel_index(np.argmax(image), image.shape)
    out = np.zeros((PSF_STAMP, PSF_STAMP))
    source, target = [], []
    for peak, size in zip(centre, image.shape, strict=True):
        first = peak - PSF_STAMP // 2
        lo, hi = max(first, 0), min(first + PSF_STAMP, size)
        source.append(slice(lo, hi))
        target.append(slice(lo - first, hi - first))
    out[tuple(target)] = image[tuple(source)]
    return (out / out.sum()).astype(np.float32)


def render(galaxies, psfs, fluxes):
    """Noise-free stamps, centred between the four middle pixels as GalSim draws them.

    Args:
        galaxies: one list of `components` per galaxy.
        psfs: PSF stamps (64, 64), one per galaxy (`psf_stamp`).
        fluxes: total flux of each galaxy, counts/s.

    Returns:
        float32 array (len(galaxies), 128, 128), counts/s per pixel. It agrees with
        `galsim.Convolve(galaxy, psf).drawImage(nx=128, ny=128, scale=0.03, method="no_pixel")`
        at converged accuracy parameters.
    """
    profiles = [_Profile(*component) for galaxy in galaxies for component in galaxy]
    tables = iter(_transforms(profiles))
    owners = iter(profiles)
    out = np.empty((len(galaxies), STAMP, STAMP), np.float32)
    grid = _grid()
    for i, (galaxy, psf, flux) in enumerate(zip(galaxies, psfs, fluxes, strict=True)):
        spectrum, wings = 0, 0
        for _ in galaxy:
            profile, table = next(owners), next(tables)
            spectrum = spectrum + grid.lookup(profile, table)
            if profile.has_wings:
                wings = wings + grid.wings(profile)
        spectrum = spectrum * grid.shift
        spectrum += wings
        spectrum *= _psf_transform(np.asarray(psf, np.float32).tobytes())
        out[i] = np.fft.irfft2(spectrum, (PERIOD, PERIOD))[:STAMP, :STAMP] * flux
    return out


def draw_noise(rng, noise_std, power):
    """One stamp of correlated noise, float32, from a `np.random.Generator` and a unit-mean power spectrum."""
    size = len(power)
    white = rng.standard_normal((size, size), np.float32)
    transfer = np.sqrt(power[:, : size // 2 + 1]).astype(np.float32)
    noise = np.fft.irfft2(np.fft.rfft2(white) * transfer, (size, size))
    return (noise * noise_std).astype(np.float32)


class _Profile:
    """One Sérsic component of a galaxy of unit flux: density over the major-axis radius in pixels."""

    def __init__(self, fraction, n, hlr, q, phi):
        self.q, self.phi, self.n = q, phi, n
        self.hlr = hlr / PIXEL_SCALE / math.sqrt(q)
        self.b = _sersic_b(n)
        norm = 2 * math.pi * n * math.exp(math.lgamma(2 * n)) * self.b ** (-2 * n) * self.hlr**2
        self.peak = fraction / norm
        # W across a thin galaxy needs finer pixels to be smooth.
        self.oversampling = 1 if q > 0.15 else 2 if q > 0.075 else 4
        self.has_wings = np.max(self.wings(np.linspace(0, 2 * CUT, 32))) > NEGLIGIBLE

    def __call__(self, r):
        return self.peak * np.exp(-self.b * (np.asarray(r) / self.hlr) ** (1 / self.n))

    def wings(self, r):
        """W at radius r."""
        return self(r) * -np.expm1(-((r / CUT) ** CUT_POWER)) / self.q


class _Grid:
    """The Fourier grid and the pixel grid."""

    def __init__(self):
        ky, kx = 2 * np.pi * np.fft.fftfreq(PERIOD), 2 * np.pi * np.fft.rfftfreq(PERIOD)
        self.shift = np.exp(-1j * SHIFT * (ky[:, None] + kx)).astype(np.complex64)
        self.kx, self.ky = kx, ky
        quintic = _quintic_transform()
        self.weight = (quintic(ky)[:, None] * quintic(kx)).astype(np.float32)
        self.weight[PERIOD // 2] = self.weight[:, PERIOD // 2] = 0
        self.radii = np.linspace(0, 0.75 * PERIOD, 4096)

    def lookup(self, profile, table):
        """D's transform times the interpolant's, (PERIOD, PERIOD // 2 + 1)."""
        k = _elliptical(self.kx, self.ky, profile.phi, 1, profile.q)
        k = _interpolate(table, k, TABLE * UPSAMPLING / TABLE_END)
        k *= self.weight
        return k

    def wings(self, profile):
        """The transform of W, times the interpolant's, centred on the middle of the stamp."""
        n = profile.oversampling
        x = (np.arange(PERIOD * n) / n - SHIFT + PERIOD / 2) % PERIOD - PERIOD / 2
        radius = _elliptical(x, x, profile.phi, profile.q, 1)
        table = profile.wings(self.radii / profile.q)
        parts = np.stack([table[:-1], np.diff(table)]).astype(np.float32)
        spectrum = np.fft.rfft2(_interpolate(parts, radius, 1 / self.radii[1]))
        half = PERIOD // 2
        if n > 1:
            spectrum = np.concatenate([spectrum[:half], spectrum[-half:]])[:, : half + 1] / n**2
        return spectrum * self.weight


def _elliptical(x, y, phi, scale_major, scale_minor):
    """sqrt((s1 x')^2 + (s2 y')^2) on the grid y[:, None], x; primes are coordinates along the axes."""
    c, s = math.cos(phi), math.sin(phi)
    a, b = scale_major**2, scale_minor**2
    xx, xy, yy = a * c * c + b * s * s, 2 * (a - b) * c * s, a * s * s + b * c * c
    x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)[:, None]
    r2 = (np.float32(xy) * y) * x
    r2 += np.float32(xx) * x * x
    r2 += np.float32(yy) * y * y
    return np.sqrt(np.maximum(r2, 0, out=r2), out=r2)


def _interpolate(table, x, scale):
    """Polynomials in the fraction of `scale * x`: coefficients in the rows of `table`. Overwrites `x`."""
    x *= np.float32(scale)
    index = x.astype(np.int32)
    x -= index
    value = table[-1].take(index)
    for row in table[-2::-1]:
        value *= x
        value += row.take(index)
    return value


def _transforms(profiles):
    """Hankel transforms of the compact parts, float32 (len(profiles), TABLE * UPSAMPLING), k from 0."""
    radii, weights, bessel = _hankel()
    density = np.stack([p(radii) for p in profiles], axis=1) * weights[:, None]
    table = (bessel @ density).T
    # Sixth-order Lagrange refinement; the transform is even in k.
    padded = np.concatenate([table[:, 2:0:-1], table, np.zeros((len(table), 3))], axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 6, axis=1)
    table = (windows @ _lagrange()).reshape(len(table), -1)
    # Parabolas through three samples.
    after, beyond = np.roll(table, -1, 1), np.roll(table, -2, 1)
    curvature = (beyond - 2 * after + table) / 2
    return np.stack([table, after - table - curvature, curvature], axis=1).astype(np.float32)


@functools.lru_cache(maxsize=1)
def _hankel():
    from scipy.special import j0

    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    t, dt = (nodes + 1) / 2, weights / 2
    radii = REACH * t**NODE_POWER
    step = dt * REACH * NODE_POWER * t ** (NODE_POWER - 1)
    measure = 2 * np.pi * radii * step * np.exp(-((radii / CUT) ** CUT_POWER))
    k = np.arange(TABLE) * (TABLE_END / TABLE)
    return radii, measure, j0(k[:, None] * radii)


@functools.lru_cache(maxsize=1)
def _lagrange():
    """Weights (6, UPSAMPLING) of samples -2..3 at positions j / UPSAMPLING."""
    at, points = np.arange(UPSAMPLING) / UPSAMPLING, np.arange(-2, 4)
    factors = [[(at - m) / (p - m) for m in points if m != p] for p in points]
    return np.prod(np.array(factors), axis=1)


@functools.lru_cache(maxsize=1)
def _grid():
    return _Grid()


@functools.lru_cache(maxsize=512)
def _psf_transform(stamp):
    psf = np.frombuffer(stamp, np.float32).reshape(PSF_STAMP, PSF_STAMP)
    padded = np.zeros((PERIOD, PERIOD), np.float32)
    padded[:PSF_STAMP, :PSF_STAMP] = psf / psf.sum(dtype=np.float64)
    return np.fft.rfft2(np.roll(padded, (-(PSF_STAMP // 2),) * 2, axis=(0, 1))).astype(np.complex64)


@functools.lru_cache(maxsize=256)
def _sersic_b(n):
    """b of exp(-b (r / hlr)^(1/n)): half of the light is within hlr."""
    from scipy.special import gammaincinv

    return float(gammaincinv(2 * n, 0.5))


def _quintic_transform():
    """Fourier transform of GalSim's quintic interpolant (arXiv:1401.2636), k in rad/pixel."""
    import galsim

    interpolant = galsim.Quintic()
    return lambda k: np.asarray(interpolant.kval(np.asarray(k, float)))
