"""Shear and convergence: Fourier modes, the adjoint, and the maps of the COSMOS field."""

import numpy as np
import pytest
import scipy.ndimage
from astropy import units
from conftest import shared

from deepcosmo.physics import lensing

SIZES = [(32, 32), (33, 40), (40, 33), (31, 35)]


@pytest.mark.parametrize(("wave", "shear"), [((3, 0), (1, 0)), ((0, 3), (-1, 0)), ((3, 3), (0, 1)), ((3, -3), (0, -1))])
def test_plane_waves(wave, shear):
    """Waves along columns (l1) have gamma1 = kappa; along the diagonal, gamma2 = kappa."""
    y, x = np.mgrid[:32, :32]
    kappa = np.cos(2 * np.pi * (wave[0] * x + wave[1] * y) / 32)
    expected = kappa[..., None] * np.array(shear)
    np.testing.assert_allclose(lensing.kappa_to_shear(kappa), expected, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("padding", [0, 7])
def test_kaiser_squires_is_the_adjoint(size, padding):
    rng = np.random.default_rng(0)
    kappa, shear = rng.normal(size=size), rng.normal(size=(*size, 2))
    left = np.sum(lensing.kappa_to_shear(kappa, padding=padding) * shear)
    right = np.sum(kappa * lensing.shear_to_kappa(shear, padding=padding))
    assert left == pytest.approx(right, rel=1e-10)


@pytest.mark.parametrize("size", SIZES)
def test_kaiser_squires_is_the_inverse(size):
    """Of maps without a mean and, where a size is even, without the Nyquist frequency."""
    rng = np.random.default_rng(1)
    modes = np.fft.fft2(rng.normal(size=size))
    for axis, n in enumerate(size):
        if n % 2 == 0:
            np.moveaxis(modes, axis, 0)[n // 2] = 0.0
    modes[0, 0] = 0.0
    kappa = np.fft.ifft2(modes).real
    both = lensing.shear_to_kappa(lensing.kappa_to_shear(kappa), modes="EB").numpy()
    np.testing.assert_allclose(both[..., 0], kappa, atol=1e-9)
    np.testing.assert_allclose(both[..., 1], 0, atol=1e-9)


def test_padding_keeps_the_far_edge_out():
    """The shear of a point mass does not come round the edge of the map."""
    kappa = np.zeros((64, 64))
    kappa[2, 32] = 1.0
    periodic, padded = (np.abs(lensing.kappa_to_shear(kappa, padding=p).numpy()[62, 32]).max() for p in (0, 64))
    assert padded < 0.02 * periodic


def test_the_cosmos_map_is_reproduced():
    """Binned COSMOS shear (Schrabback et al. 2010, arXiv:0911.0053), smoothed by 2 pixels and mirrored."""
    from astropy.io import fits

    folder = shared("cosmos_shear")
    e1, e2, reference = (
        np.asarray(fits.getdata(folder / f"{name}_0.29arcmin360.fits"), float)
        for name in ("cosmos_full_e1", "cosmos_full_e2", "ks_e")
    )
    kappa = lensing.shear_to_kappa(np.stack([e1, e2], -1))
    np.testing.assert_allclose(scipy.ndimage.gaussian_filter(kappa, 2)[:, ::-1], reference, rtol=0, atol=2.3e-9)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: lensing.shear_to_kappa(np.zeros((8, 8))), "shear must"),
        (lambda: lensing.shear_to_kappa(np.zeros((8, 8, 3))), "shear must have shape"),
        (lambda: lensing.shear_to_kappa(np.zeros((8, 8, 2)), modes="B"), "modes must be"),
        (lambda: lensing.kappa_to_shear(np.zeros(8)), "kappa must"),
        (lambda: lensing.kappa_to_shear(np.zeros((8, 8)), padding=-1), "padding must not"),
        (lambda: lensing.kappa_to_shear(0.1), "kappa must"),
        (lambda: lensing.kappa_to_shear(np.zeros((8, 8)) * units.Mpc), "kappa must have no unit; its unit is Mpc"),
        (lambda: lensing.kappa_to_shear(np.ma.masked_equal(np.eye(8), 1)), "kappa must be known everywhere; 8 values"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
