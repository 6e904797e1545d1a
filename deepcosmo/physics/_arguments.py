"""Arguments of physical functions: quantities of astropy, redshifts with its unit, masked values, plain numbers."""

import tensorflow as tf

from deepcosmo import _quantities

__all__ = ["as_numbers", "as_tensor"]


def as_numbers(values, unit, name):
    """Values in a unit as a float64 array; as `_quantities.in_unit`, but redshifts may have astropy's unit of them."""
    if not hasattr(values, "unit"):
        return _quantities.in_unit(values, unit, name)
    from astropy import units  # only who has units needs it
    from astropy.cosmology.units import dimensionless_redshift

    with units.add_enabled_equivalencies(dimensionless_redshift()):
        return _quantities.in_unit(values, unit, name)


def as_tensor(values, unit, name):
    """Values in a unit as a tensor: Python's numbers in double precision, plain arrays and tensors in their own."""
    if hasattr(values, "unit") or hasattr(values, "mask"):
        values = as_numbers(values, unit, name)
    return tf.convert_to_tensor(values, dtype_hint=None if hasattr(values, "dtype") else tf.float64)
