"""What surveys see of a shear map: galaxies of random shapes, holes around stars, the edge of a field.

    observed = observe(shear, SURVEYS["cosmos_hst"], seed=[0, 1])

Maps are (..., rows, columns) of any size, in pixels of `catalog.PIXEL_SCALE`. All of it is TensorFlow, in graphs or
without, and a function of its arguments alone: the same seed draws the same survey.
"""

import dataclasses
import functools

import numpy as np
from tensorflow_datasets.core.utils.lazy_imports_utils import tensorflow as tf

from deepcosmo import physics
from deepcosmo.physics.catalog import PIXEL_SCALE, SkyGrid, catalog_to_map

__all__ = ["SURVEYS", "Survey", "cosmos_noise_std", "draw_noise_std", "observe"]

FRAME = 360  # pixels on a side of the sky of which smaller maps are random windows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Survey:
    """How a survey looks.

    Attributes:
        density: galaxies per square arcmin, where there is no hole.
        sigma_e: standard deviation of the shape noise of a galaxy, per component of its shear estimate.
        stars: share of the area that holes around stars cover.
        star_radii: smallest and largest radius of these holes, arcmin; log-uniform in between.
        hole: radius of one more hole somewhere in a frame of 360 pixels, arcmin.
        mosaic: whether the survey is one field like that of COSMOS, somewhere in the frame, or everywhere.
    """

    density: float
    sigma_e: float
    stars: float
    star_radii: tuple
    hole: float = 0.0
    mosaic: bool = False


SURVEYS = {
    "cosmos_hst": Survey(density=71.7, sigma_e=0.309, stars=0.01, star_radii=(0.15, 1.0), hole=1.6, mosaic=True),
    "lsst_y10": Survey(density=27.0, sigma_e=0.26, stars=0.1, star_radii=(0.3, 3.0)),
    "hsc": Survey(density=18.0, sigma_e=0.28, stars=0.15, star_radii=(0.3, 4.0), hole=5.0),
}

# The mosaic of COSMOS, in pixels: pointings tilted against the field's sides make stairs of them.
TILT, STAIR, HALF_SIDE = np.radians(9.0), 57.0, 133.0
TURN, SHIFT = np.radians(15.0), 10.0  # largest turn and shift of the field in its frame

# Density of the galaxies of COSMOS: log-normal, power 0.092 (k^2 + 0.015^2)^-0.85 of the logarithm, k in rad per pixel.
POWER, LARGEST, SLOPE, VARIANCE = 0.092, 0.015, 0.85, 0.057
LEVELS = np.linspace(-1.0, 1.0, 65)  # of the density's logarithm, to which it is rounded
QUANTILES = 4096


def observe(maps, survey, seed):
    """What a survey measures of lensing maps.

    Args:
        maps: shear (..., rows, columns, 2), or convergence (..., rows, columns), whose shear is that of a periodic sky.
        survey: `Survey`; or, to draw nothing but the noise, its noise_std (rows, columns), 0 where nothing is observed.
        seed: int32[2]; leading axes of the maps have surveys of their own.

    Returns:
        dict of shear (..., rows, columns, 2) with its noise; mask (..., rows, columns), bool, True where there are
        galaxies; and noise_std (..., rows, columns) of each component. Shear and noise_std are 0 outside of the mask.
    """
    maps = tf.convert_to_tensor(maps, tf.float32)
    shear = maps if maps.shape[-1] == 2 else physics.lensing.kappa_to_shear(maps)
    rows, columns = shear.shape[-3:-1]
    survey_seed, noise_seed = tf.unstack(tf.random.split(seed))
    if isinstance(survey, Survey):
        batch = tf.shape(shear)[:-3]
        noise_std = draw_noise_std(survey, (rows, columns), survey_seed, count=tf.reduce_prod(batch))
        noise_std = tf.reshape(noise_std, tf.shape(shear)[:-1])
    else:
        noise_std = tf.broadcast_to(tf.cast(survey, tf.float32), tf.shape(shear)[:-1])
    mask = noise_std > 0
    noise = noise_std[..., None] * tf.random.stateless_normal(tf.shape(shear), noise_seed)
    return {
        "shear": tf.where(mask[..., None], shear + noise, 0.0),
        "mask": tf.ensure_shape(mask, shear.shape[:-1]),
        "noise_std": tf.ensure_shape(noise_std, shear.shape[:-1]),
    }


def draw_noise_std(survey, shape, seed, *, count=1):
    """Standard deviation of the shear's noise in the pixels of surveys, 0 where nothing is observed.

    It is sigma_e / sqrt(galaxies); these are Poisson draws around a density that clusters as in COSMOS.

    Args:
        survey: `Survey`.
        shape: (rows, columns).
        seed: int32[2].
        count: number of surveys.

    Returns:
        (count, rows, columns), float32.
    """
    window_seed, hole_seed, field_seed, star_seed, density_seed, galaxy_seed = tf.unstack(tf.random.split(seed, 6))
    # pixels from the middle of the frame
    frame = [max(n, FRAME) for n in shape]
    corner = tf.random.stateless_uniform([count, 2], window_seed) * np.subtract(frame, shape).astype("f4")
    corner -= np.divide(frame, 2).astype("f4") - 0.5
    y = (corner[:, :1] + tf.range(shape[0], dtype=tf.float32))[:, :, None]
    x = (corner[:, 1:] + tf.range(shape[1], dtype=tf.float32))[:, None, :]

    observed = ~_stars(survey, shape, star_seed, count)
    if survey.hole:
        centre = tf.random.stateless_uniform([2, count, 1, 1], hole_seed, -0.5, 0.5)
        away = (y - centre[0] * frame[0]) ** 2 + (x - centre[1] * frame[1]) ** 2
        observed &= away > (survey.hole / PIXEL_SCALE) ** 2
    if survey.mosaic:
        observed &= _mosaic(y, x, field_seed)
    level = _log_density(shape, density_seed, count) * (1 / (LEVELS[1] - LEVELS[0])) + len(LEVELS) // 2
    level = tf.clip_by_value(tf.cast(tf.round(level), tf.int32), 0, len(LEVELS) - 1)
    quantile = tf.random.stateless_uniform([count, *shape], galaxy_seed, 0, QUANTILES, tf.int32)
    noise = tf.gather(_noise_table(survey), level * QUANTILES + quantile)
    return tf.where(observed, noise, 0.0)


def _stars(survey, shape, seed, count):
    """Holes around stars, anywhere and overlapping: (count, rows, columns), True inside."""
    seeds = tf.unstack(tf.random.split(seed, 3))
    low, high = (radius / PIXEL_SCALE for radius in survey.star_radii)
    reach = int(np.ceil(high))
    rows, columns = (n + 2 * reach for n in shape)  # where the stars may be whose holes are on the map
    area = np.pi * (high**2 - low**2) / (2 * np.log(high / low))
    expected = -np.log1p(-survey.stars) / area * rows * columns
    stars = int(np.ceil(expected))
    place = tf.random.stateless_uniform([count, stars, 2], seeds[0]) * [float(rows), float(columns)] - float(reach)
    radius = low * (high / low) ** tf.random.stateless_uniform([count, stars], seeds[1])
    radius *= tf.cast(tf.random.stateless_uniform([count, stars], seeds[2]) < expected / stars, tf.float32)

    cell = tf.cast(tf.floor(place), tf.int32)[..., None] + tf.range(-reach, reach + 1)
    away = tf.cast(cell, tf.float32) + 0.5 - place[..., None]
    y, x = cell[:, :, 0, :, None], cell[:, :, 1, None, :]
    inside = away[:, :, 0, :, None] ** 2 + away[:, :, 1, None, :] ** 2 < radius[..., None, None] ** 2
    inside &= (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    number = tf.range(count)[:, None, None, None]
    pixel = tf.where(inside, (number * shape[0] + y) * shape[1] + x, -1)  # -1 is not counted
    hits = tf.math.unsorted_segment_sum(tf.ones_like(pixel), pixel, count * shape[0] * shape[1])
    return tf.reshape(hits > 0, [count, *shape])


def _mosaic(y, x, seed):
    """The field of COSMOS, turned and shifted: True inside, (count, rows, columns)."""
    random = tf.random.stateless_uniform([3, tf.shape(y)[0], 1, 1], seed, -1.0, 1.0)
    y, x, angle = y - SHIFT * random[0], x - SHIFT * random[1], TURN * random[2] - TILT
    u, v = tf.cos(angle) * x + tf.sin(angle) * y, tf.cos(angle) * y - tf.sin(angle) * x
    rise = np.tan(TILT) * STAIR
    return (tf.abs(v - rise * tf.round(u / STAIR)) < HALF_SIDE) & (tf.abs(u + rise * tf.round(v / STAIR)) < HALF_SIDE)


def _log_density(shape, seed, count):
    """Logarithm of the galaxies' density, of mean 0: (count, rows, columns)."""
    modes = tf.signal.rfft2d(tf.random.stateless_normal([count, *shape], seed))
    return tf.signal.irfft2d(modes * np.sqrt(_power(shape)).astype("c8"), shape)


def _power(shape):
    """Power of the modes of `tf.signal.rfft2d`; its mean over all modes is the variance."""
    k = 2 * np.pi * np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    return np.where(k > 0, POWER * (k**2 + LARGEST**2) ** -SLOPE, 0.0)


@functools.lru_cache(maxsize=8)
def _noise_table(survey):
    """Noise for each level of the density and quantile of the galaxies' number, 0 for none.

    Numbers are drawn by looking them up: TensorFlow's own Poisson sampler takes 20 times as long.
    """
    from scipy.stats import poisson

    mean = survey.density * PIXEL_SCALE**2 * np.exp(LEVELS - VARIANCE / 2)
    number = poisson.ppf((np.arange(QUANTILES) + 0.5) / QUANTILES, mean[:, None])
    table = np.where(number > 0, survey.sigma_e / np.sqrt(np.maximum(number, 1)), 0.0)
    return table.ravel().astype("f4")


def cosmos_noise_std(path, size):
    """Noise of the real COSMOS field.

    Args:
        path: shear catalogue, as of `deepcosmo.skymaps.read_catalog`; its weights are in the column nhweight_int, as
            in that of Schrabback et al. 2010 (arXiv:0911.0053), or weight.
        size: pixels on a side of the map around the median position.

    Returns:
        (size, size), float32: root mean square of the noise of both components, 0 where there are no galaxies.
    """
    from deepcosmo.skymaps import read_catalog

    try:
        catalog = read_catalog(path, columns={"weight": "nhweight_int"})
    except ValueError:
        catalog = read_catalog(path)
    ra, dec = (float(np.ma.median(catalog[name])) for name in ("ra", "dec"))
    grid = SkyGrid(ra=ra, dec=dec, shape=(size, size), pixel_scale=PIXEL_SCALE)
    noise_std = catalog_to_map(**catalog, grid=grid).noise_std
    return np.sqrt(np.mean(noise_std**2, -1)).astype("f4")
