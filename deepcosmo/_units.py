"""Astropy's quantities as plain numbers."""

__all__ = ["in_unit"]


def in_unit(name, value, unit=""):
    """`value`, or its number in `unit` if it has one of astropy's units; by default it must have no dimension.

    Raises:
        ValueError: a unit of another kind, such as h/Mpc of a wavenumber, where h is not known.
    """
    if getattr(value, "unit", None) is None:
        return value
    from astropy import units
    from astropy.cosmology.units import dimensionless_redshift

    try:
        return units.Quantity(value).to_value(unit, equivalencies=dimensionless_redshift())
    except units.UnitConversionError:
        wanted = f"in {unit}" if unit else "without a unit"
        raise ValueError(f"{name} must be {wanted} or plain numbers; got the unit {value.unit}") from None
