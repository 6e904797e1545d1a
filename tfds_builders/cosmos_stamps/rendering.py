"""Fast, accurate rendering of Sérsic galaxies through a PSF that is given as an image.

GalSim spends its time on a few galaxies: the Fourier transform of a large or high-n Sérsic profile needs a period of
many times the stamp, or its wings fold back. Here every galaxy has the same small period. Its profile S is cut
smoothly, S = D + W with D = S exp(-(r/r_c)^8): the compact part D does not fold; the wings W are smooth, so they are
added in real space. The Hankel transform of every D is one product with a fixed matrix of Bessel functions, and
everything else is an FFT of fixed size. The PSF image is interpolated as `galsim.InterpolatedImage` does (quintic).
"""

import functools
import math

import numpy as np

__all__ = ["PIXEL_SCALE", "STAMP", "components", "draw_noise", "psf_stamp", "render"]

PIXEL_SCALE = 0.03  # arcsec
STAMP, PSF_STAMP = 128, 64  # pixels
PERIOD = 192  # pixels; >= STAMP + PSF_STAMP / 2 keeps the wrap out of the stamp
CUT = 76.0  # pixels along the major axis: r_c
REACH = 1.45 * CUT  # D(REACH) < 1e-8 S
NODES, NODE_POWER = 720, 4  # Gauss-Legendre in (r / REACH)**(1 / NODE_POWER): dense at the cusp
TABLE, TABLE_END, UPSAMPLING = 2048, 1.5 * np.pi, 8  # D's transform: samples, last k in rad/pixel, refinement


def components(galaxy):
    """The Sérsic components of a catalogue row: list of (flux fraction, n, hlr in arcsec, q, phi in rad)."""
    if galaxy["use_bulge"]:
        fraction = float(galaxy["bulge_fraction"])
        shapes = [[float(galaxy[f"{part}_{name}"]) for name in ("hlr", "q", "phi")] for part in ("bulge", "disk")]
        return [(fraction, 4.0, *shapes[0]), (1 - fraction, 1.0, *shapes[1])]
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
        if np.ndim(wings):
            spectrum += np.fft.rfft2(wings)
        spectrum *= _psf_transform(np.asarray(psf, np.float32).tobytes())
        out[i] = np.fft.irfft2(spectrum, (PERIOD, PERIOD))[:STAMP, :STAMP] * flux
    return out


def draw_noise(rng, noise_std, power):
    """One stamp of correlated noise, float32, from a `np.random.Generator` and a unit-mean power spectrum."""
    size = len(power)
    white = rng.standard_normal((size, size), np.float32)
    transfer = np.sqrt(power[:, : size // 2 + 1]).astype(np.float32)
    return np.fft.irfft2(np.fft.rfft2(white) * transfer, (size, size)).astype(np.float32) * np.float32(noise_std)


class _Profile:
    """One Sérsic component: lengths in pixels, radius along the major axis, unit total flux times `fraction`."""

    def __init__(self, fraction, n, hlr, q, phi):
        self.q, self.phi, self.n = q, phi, n
        self.hlr = hlr / PIXEL_SCALE / math.sqrt(q)
        self.b = _sersic_b(n)
        norm = 2 * math.pi * n * math.exp(math.lgamma(2 * n)) * self.b ** (-2 * n) * self.hlr**2
        self.peak = fraction / norm
        # Light beyond half the cut, as a density, decides whether wings matter at all.
        self.has_wings = self(0.6 * CUT) > 1e-12

    def __call__(self, r):
        return self.peak * np.exp(-self.b * (np.asarray(r) / self.hlr) ** (1 / self.n))


class _Grid:
    """The Fourier grid and the pixel grid."""

    def __init__(self):
        ky, kx = 2 * np.pi * np.fft.fftfreq(PERIOD), 2 * np.pi * np.fft.rfftfreq(PERIOD)
        shift = STAMP / 2 - 0.5
        self.shift = np.exp(-1j * shift * (ky[:, None] + kx)).astype(np.complex64)
        self.kx, self.ky = kx, ky
        quintic = _quintic_transform()
        self.weight = (quintic(ky)[:, None] * quintic(kx)).astype(np.float32)
        x = (np.arange(PERIOD) - shift + PERIOD / 2) % PERIOD - PERIOD / 2
        self.x = x.astype(np.float32)
        self.radii = np.linspace(0, PERIOD, 8192)

    def lookup(self, profile, table):
        """D's transform times the interpolant's, (PERIOD, PERIOD // 2 + 1)."""
        scale = (TABLE * UPSAMPLING) / TABLE_END
        k = _elliptical(self.kx, self.ky, profile.phi, 1, profile.q) * np.float32(scale)
        np.minimum(k, len(table) - 2, out=k)
        index = k.astype(np.int32)
        k -= index
        low = table.take(index)
        k *= table.take(index + 1) - low
        k += low
        k *= self.weight
        return k

    def wings(self, profile):
        """W on the pixel grid: smooth enough that interpolating it changes nothing."""
        radial = profile(self.radii) * -np.expm1(-((self.radii / CUT) ** 8)) / profile.q
        r = _elliptical(self.x, self.x, profile.phi, 1, 1 / profile.q)
        return np.interp(r, self.radii, radial).astype(np.float32)


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


def _transforms(profiles):
    """Hankel transforms of the compact parts: float32 (len(profiles), TABLE * UPSAMPLING) on a uniform k grid."""
    radii, weights, bessel = _hankel()
    density = np.stack([p(radii) for p in profiles], axis=1) * weights[:, None]
    table = (bessel @ density).T
    # Sixth-order Lagrange refinement; the transform is even in k.
    padded = np.concatenate([table[:, 2:0:-1], table, np.zeros((len(table), 3))], axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 6, axis=1)
    return (windows @ _lagrange()).reshape(len(table), -1).astype(np.float32)


@functools.lru_cache(maxsize=1)
def _hankel():
    from scipy.special import j0

    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    t, dt = (nodes + 1) / 2, weights / 2
    radii = REACH * t**NODE_POWER
    measure = 2 * np.pi * radii * dt * REACH * NODE_POWER * t ** (NODE_POWER - 1) * np.exp(-((radii / CUT) ** 8))
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


@functools.lru_cache(maxsize=None)
def _sersic_b(n):
    """b of exp(-b (r / hlr)^(1/n)): half of the light is within hlr."""
    from scipy.special import gammaincinv

    return float(gammaincinv(2 * n, 0.5))


def _quintic_transform():
    """Fourier transform of GalSim's quintic interpolant (Bernstein & Gruen 2014, arXiv:1401.2636), k in rad/pixel."""
    import galsim

    interpolant = galsim.Quintic()
    return lambda k: np.asarray(interpolant.kval(np.asarray(k, float)))
