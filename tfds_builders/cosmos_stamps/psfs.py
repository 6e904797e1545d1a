"""Point spread functions of HST/ACS F814W: measured ones where they are at hand, else a model of them."""

import functools
from pathlib import Path

import numpy as np

from tfds_builders.cosmos_stamps.catalog import catalog_files, search_dirs
from tfds_builders.cosmos_stamps.rendering import PIXEL_SCALE, psf_stamp

__all__ = ["LIBRARY", "model_psfs", "psf_library"]

LIBRARY = 256  # PSFs at most

# The model, calibrated on 100 measured ACS PSFs of the COSMOS field (mean and scatter; model first): adaptive
# size 0.0531(10)" and 0.0532(9)", e1 -0.017(18) and -0.014(18), e2 0.026(12) and 0.024(12), light within
# 0.1" 0.645(6) and 0.634(8), within 0.2" 0.907(2) and 0.905(3), within 0.3" 0.941 and 0.943.
MODEL_COUNT = 128
DIFFUSION = 0.0345, 0.0011  # arcsec: mean and scatter of the Gaussian's standard deviation
DIFFUSION_SHEAR = (-0.014, 0.024), (0.015, 0.009)  # mean and scatter of (g1, g2) of the Gaussian
ABERRATION = 0.011  # waves rms in each of Zernike 4 to 8: defocus, astigmatism, coma
CENTRE = -0.39, -0.42  # pixels from the peak pixel to the centre
EXTENT = 37  # pixels, as the measured images


def psf_library(path=None, catalog=None, manual_dir=None):
    """PSF stamps for a build, float32 (n, 64, 64), unit sum, peak at [32, 32]; n <= 256.

    They come from the first of
    1. `path`: a FITS file with one PSF image per HDU;
    2. the PSFs of the real galaxies of a COSMOS release in the search folders;
    3. a file `*acs_psf*.fits` in them, one PSF per HDU;
    4. `model_psfs`.
    """
    if path is not None:
        return _from_hdus(path)
    if catalog is not None and Path(catalog).is_file():
        catalog = Path(catalog).parent
    for file in catalog_files("real", catalog, manual_dir):
        if (stamps := _from_release(file)) is not None:
            return stamps
    for folder in search_dirs(catalog, manual_dir):
        for file in sorted(folder.glob("*acs_psf*.fits")) if folder.is_dir() else ():
            return _from_hdus(file)
    return model_psfs()


@functools.lru_cache(maxsize=2)
def model_psfs(count=MODEL_COUNT):
    """ACS-like model PSFs, float32 (count, 64, 64), unit sum, peak at [32, 32]; the same ones every time.

    A pupil of 2.4 m with a central obscuration of 0.33 and four struts, seen at 814 nm with random low-order
    aberrations, through a 0.05" pixel and a random Gaussian (charge diffusion, jitter, drizzling).
    """
    import galsim

    rng = np.random.Generator(np.random.PCG64(814))
    pupil = galsim.Aperture(
        diam=2.4, lam=814, obscuration=0.33, nstruts=4, strut_thick=0.026, strut_angle=45 * galsim.degrees
    )
    stamps = []
    for _ in range(count):
        aberrations = np.concatenate([np.zeros(4), rng.normal(0, ABERRATION, 5)])
        g1, g2 = rng.normal(*DIFFUSION_SHEAR)
        optics = galsim.OpticalPSF(lam=814, diam=2.4, aper=pupil, aberrations=aberrations)
        diffusion = galsim.Gaussian(sigma=rng.normal(*DIFFUSION)).shear(g1=g1, g2=g2)
        psf = galsim.Convolve(optics, galsim.Pixel(0.05), diffusion)
        image = psf.drawImage(nx=EXTENT, ny=EXTENT, scale=PIXEL_SCALE, method="no_pixel", offset=CENTRE, dtype=float)
        stamps.append(psf_stamp(image.array))
    return np.stack(stamps)


def _from_hdus(path):
    from astropy.io import fits

    with fits.open(Path(path).expanduser()) as hdus:
        images = [hdu.data for hdu in hdus if hdu.data is not None and np.ndim(hdu.data) == 2]
        if not images:
            raise ValueError(f"{path} has no PSF image in any HDU")
        return np.stack([psf_stamp(image) for image in images[:LIBRARY]])


def _from_release(catalog):
    """PSFs of galaxies spread evenly over a release; None where its PSF files are not there."""
    from astropy.io import fits

    with fits.open(catalog) as hdus:
        table = hdus[1].data
        rows = np.unique(np.linspace(0, len(table) - 1, LIBRARY).astype(int))
        files = [catalog.parent / str(name).strip() for name in table["PSF_FILENAME"][rows]]
        numbers = table["PSF_HDU"][rows].tolist()
    if not all(file.is_file() for file in set(files)):
        return None
    stamps = []
    for file in dict.fromkeys(files):
        with fits.open(file) as hdus:
            stamps += [psf_stamp(hdus[n].data) for f, n in zip(files, numbers, strict=True) if f == file]
    return np.stack(stamps)
