"""Units and masks of what users pass: converted, kept or refused, never dropped."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Column, MaskedColumn
from astropy.utils.masked import Masked

from deepcosmo._quantities import in_unit, masked

VALUES, MASK = np.array([1.0, 2.0, 4.0]), np.array([False, True, False])
FORMS = {
    "numpy.ma": np.ma.array(VALUES, mask=MASK),
    "column": MaskedColumn(60 * VALUES, mask=MASK, unit="arcmin"),
    "quantity": Masked(np.radians(VALUES) * u.rad, mask=MASK),
    "array": Masked(VALUES, mask=MASK),
}


@pytest.mark.parametrize("form", FORMS)
def test_masked_values_become_nan(form):
    found = in_unit(FORMS[form], "deg", "angle")
    assert type(found) is np.ndarray and found.dtype == np.float64
    np.testing.assert_array_equal(masked(FORMS[form]), MASK)
    np.testing.assert_array_equal(np.isnan(found), MASK)
    np.testing.assert_allclose(found[~MASK], VALUES[~MASK], rtol=1e-15)


@pytest.mark.parametrize(
    "values",
    [
        VALUES,
        VALUES.astype(">f4"),
        [1, 2, 4],
        VALUES * u.deg,
        3600 * VALUES * u.arcsec,
        np.radians(VALUES) * u.rad,
        Column(VALUES, unit="DEGREES"),
        Column(np.radians(VALUES), unit="Radians"),
        Column(VALUES),
        np.ma.array(VALUES),
    ],
)
def test_angles(values):
    np.testing.assert_allclose(in_unit(values, "deg", "angle"), VALUES, rtol=1e-15)
    assert not masked(values).any()


def test_scalars_and_pure_numbers():
    assert in_unit(30 * u.arcsec, "arcmin", "side") == 0.5
    assert in_unit(2 * u.percent, "", "shear") == 0.02
    assert in_unit(3 * u.m, None, "weight") == 3
    assert np.isnan(in_unit(np.ma.masked, "", "number"))


@pytest.mark.parametrize(
    ("values", "unit", "words"),
    [
        (VALUES * u.s, "deg", "angle must have the unit deg, or one that converts to it; its unit is s"),
        (VALUES * u.deg, "", "angle must have no unit; its unit is deg"),
        (Column(VALUES, unit="furlongs"), "deg", "its unit is furlongs"),
        (["1", "2"], "deg", "angle must hold numbers; it holds"),
        ([1.0, None], "deg", "angle must hold numbers; it holds object"),
        ([1 * u.deg, 2 * u.deg], "deg", "angle must hold numbers"),
        (VALUES + 1j, "", "angle must hold numbers; it holds complex128"),
    ],
)
def test_what_is_refused(values, unit, words):
    with pytest.raises(ValueError, match=words):
        in_unit(values, unit, "angle")
