"""Numbers as users have them: in units of their own, and masked where nothing was measured."""

from typing import Any

import numpy as np

__all__ = ["UNITS", "in_unit", "masked", "refuse_masked"]

UNITS = {"ra": "deg", "dec": "deg", "e1": "", "e2": "", "weight": None}
"""Columns of a shear catalogue -> their units, as of `in_unit`; of weights only ratios matter."""


def masked(values: Any) -> np.ndarray:
    """Where values are masked, as by `numpy.ma`, `MaskedColumn` or `astropy.utils.masked`: bool, of their shape."""
    known = _have_mask(values)
    mask = values.mask if known else False
    return np.broadcast_to(mask, np.shape(values))


def _have_mask(values):
    return isinstance(values, np.ma.MaskedArray) or hasattr(values, "unmasked")  # the latter are astropy's


def refuse_masked(values: Any, name: str) -> None:
    """Raises a ValueError if values are masked: what models compute has no masks."""
    if _have_mask(values) and (hidden := masked(values).sum()):
        raise ValueError(f"{name} has {hidden} masked values, and models take none: leave them out, or fill them")


def in_unit(values: Any, unit: str | None, name: str) -> np.ndarray:
    """Values as plain numbers in a unit, float64, NaN where they are masked.

    Args:
        values: a Quantity, a column with a unit, or numbers, which are in `unit` already; of any shape.
        unit: such as "deg"; "" is that of pure numbers. None leaves the numbers as they are, in whatever unit.
        name: of the values, for messages.

    Raises:
        ValueError: they are no numbers, or cannot be converted to `unit`.
    """
    try:
        numbers = np.asarray(getattr(values, "unmasked", values))
        numbers = numbers.astype(np.float64, casting="same_kind")
    except TypeError:
        kind = getattr(values, "dtype", np.asarray(values, object).dtype)
        raise ValueError(f"{name} must hold numbers; it holds {kind}") from None
    own = getattr(values, "unit", None)
    if own is not None and unit is not None:
        try:
            numbers = _known(own).to(unit, numbers)
        except ValueError:
            wanted = f"the unit {unit}, or one that converts to it" if unit else "no unit"
            raise ValueError(f"{name} must have {wanted}; its unit is {own}") from None
    return np.where(masked(values), np.nan, numbers)


def _known(unit):
    """The unit; of one that astropy does not know, what is meant: `DEG`, `degrees`, `Radians` in headers of files."""
    from astropy import units  # only who has units needs it

    if isinstance(unit, units.UnrecognizedUnit):
        return units.Unit(str(unit).lower().removesuffix("s"), parse_strict="silent")
    return units.Unit(unit)
