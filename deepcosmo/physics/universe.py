"""The parameters of a universe; without TensorFlow, for those who only pass them on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import astropy.cosmology
    import tensorflow as tf

__all__ = ["Cosmology"]


class Cosmology(NamedTuple):
    """Parameters of a flat wCDM universe; each a number or a tensor (...).

    Attributes:
        omega_c: density of cold dark matter today, in units of the critical density.
        omega_b: density of baryons.
        h: Hubble constant / (100 km/s/Mpc).
        n_s: slope of the primordial power spectrum.
        sigma_8: rms of the linear density today in spheres of 8 Mpc/h.
        w_0: equation of state of dark energy, constant in time.
    """

    omega_c: float | tf.Tensor
    omega_b: float | tf.Tensor
    h: float | tf.Tensor
    n_s: float | tf.Tensor
    sigma_8: float | tf.Tensor
    w_0: float | tf.Tensor = -1.0

    @classmethod
    def from_astropy(
        cls, cosmology: astropy.cosmology.FLRW, *, sigma_8: float | None = None, n_s: float | None = None
    ) -> Cosmology:
        """From an astropy cosmology: `FlatLambdaCDM` or `FlatwCDM`, whose baryon density must be known.

        `sigma_8` and `n_s` are no part of it, except of the realisations by name such as `Planck18`. Neutrinos
        with mass count as cold dark matter.
        """
        if abs(cosmology.Ok0) > 1e-6 or getattr(cosmology, "wa", 0.0):
            raise ValueError(f"only flat cosmologies with a constant w are supported; got {cosmology}")
        if not cosmology.Ob0:
            raise ValueError(f"the baryon density Ob0 of {cosmology.name or cosmology} is not set")
        massive = cosmology.Onu0 if cosmology.has_massive_nu else 0.0
        given = {"sigma_8": (sigma_8, "sigma8"), "n_s": (n_s, "n")}
        amplitude = {name: cosmology.meta.get(key) if v is None else v for name, (v, key) in given.items()}
        if missing := [name for name, value in amplitude.items() if value is None]:
            raise ValueError(f"astropy's {cosmology.name or 'cosmology'} does not say {' and '.join(missing)}: pass it")
        return cls(
            omega_c=cosmology.Om0 + massive - cosmology.Ob0,
            omega_b=cosmology.Ob0,
            h=cosmology.h,
            w_0=getattr(cosmology, "w0", -1.0),
            **amplitude,
        )
