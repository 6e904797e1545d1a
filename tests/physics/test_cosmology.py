"""Cosmology against numbers of CCL's, a table of CAMB's, and finite differences."""

import ccl_reference
import numpy as np
import pytest
import tensorflow as tf
from ccl_reference import ELL, FIDUCIAL, SOURCE_Z, SOURCES, K, Z, universes
from conftest import shared

from deepcosmo.physics import cosmology
from deepcosmo.physics.cosmology import Cosmology

REFERENCE = dict(np.load(ccl_reference.FILE))


@pytest.fixture(params=range(4), ids=lambda i: f"w_0 = {universes()[i].w_0:.2f}")
def pair(request):
    """A cosmology, and CCL's numbers."""
    return universes()[request.param], {name: v[request.param] for name, v in REFERENCE.items() if name != "version"}


@pytest.mark.parametrize("name", ["hubble_rate", "comoving_distance", "growth", "growth_rate"])
def test_background_and_growth_are_ccls(pair, name):
    np.testing.assert_allclose(getattr(cosmology, name)(pair[0], Z), pair[1][name], rtol=1e-6)


@pytest.mark.parametrize(("name", "rtol"), [("linear_power", 1e-3), ("nonlinear_power", 3e-3)])
def test_power_is_ccls(pair, name, rtol):
    np.testing.assert_allclose(getattr(cosmology, name)(pair[0], K, Z), pair[1][name], rtol=rtol)


def test_angular_power_is_ccls(pair):
    """All pairs of bins, 10 <= ell <= 5000."""
    ours = cosmology.angular_power(pair[0], ELL, SOURCE_Z, SOURCES)
    np.testing.assert_allclose(ours, pair[1]["angular_power"], rtol=3e-3)


def test_camb_is_met_within_the_error_of_the_fitting_formula():
    """As stated by `linear_power`; rms over k and z, and distances to 1e-7."""
    table = np.load(shared("theory/camb_pk_reference.npz"))
    names, k, z = list(table["names"]), table["k_h_per_Mpc"], table["z"]
    fields = {"omega_c": "omega_c", "omega_b": "omega_b", "h": "h_0", "n_s": "n_s", "sigma_8": "sigma_8", "w_0": "w_0"}
    universes = Cosmology(**{ours: table["theta"][:, names.index(name)] for ours, name in fields.items()})
    h, chosen = universes.h, k > 1e-3
    distance = cosmology.comoving_distance(universes, z[1:]).numpy() * h[:, None]
    np.testing.assert_allclose(distance, table["comoving_distance_Mpc_h"][:, 1:], rtol=1e-7)
    for i in range(len(h)):  # k in h/Mpc differs between cosmologies
        universe = Cosmology(*(float(values[i]) for values in universes))
        for power, key in ((cosmology.linear_power, "Plin_Mpc3_h3"),
                           (cosmology.nonlinear_power, "Pnl_halofit_takahashi_Mpc3_h3")):
            error = power(universe, k * h[i], z).numpy() * h[i] ** 3 / table[key][i] - 1
            assert np.sqrt(np.mean(error[:, chosen] ** 2)) < 0.03
            assert np.abs(error[:, chosen]).max() < 0.12


@pytest.mark.parametrize("name", Cosmology._fields)
def test_gradients_are_finite_differences(name):
    ell = [30.0, 300.0, 3000.0]

    def c_ell(value):
        return cosmology.angular_power(FIDUCIAL._replace(**{name: value}), ell, SOURCE_Z, SOURCES[1])[0, 0]

    at, step = tf.constant(getattr(FIDUCIAL, name), tf.float64), 1e-4
    with tf.GradientTape() as tape:
        tape.watch(at)
        value = c_ell(at)
    slope = tape.jacobian(value, at)
    np.testing.assert_allclose(slope, (c_ell(at + step) - c_ell(at - step)) / (2 * step), rtol=2e-5)


def test_batches_graphs_and_xla_agree():
    """One call for many cosmologies, of any batch shape, in float32 as well."""
    many = universes()
    batch = Cosmology(*(tf.constant(np.reshape(values, (2, 2))) for values in zip(*many, strict=True)))
    c_ell = lambda c: cosmology.angular_power(c, ELL, SOURCE_Z, SOURCES)  # noqa: E731
    alone = np.reshape([c_ell(c) for c in many], (2, 2, 3, 3, len(ELL)))
    np.testing.assert_allclose(tf.function(c_ell)(batch), alone, rtol=1e-10)
    np.testing.assert_allclose(tf.function(c_ell, jit_compile=True)(batch), alone, rtol=1e-10)
    single = Cosmology(*(tf.cast(v, tf.float32) for v in batch))
    assert c_ell(single).dtype == tf.float32
    np.testing.assert_allclose(c_ell(single), alone, rtol=2e-3)


def test_sigma_8_is_what_was_asked_for():
    k = np.geomspace(1e-5, 50, 20000)
    x = k * 8 / FIDUCIAL.h
    window = 3 * (np.sin(x) - x * np.cos(x)) / x**3
    integrand = k**3 * cosmology.linear_power(FIDUCIAL, k, [0.0]).numpy()[0] / (2 * np.pi**2) * window**2
    assert np.sqrt(np.trapezoid(integrand, np.log(k))) == pytest.approx(FIDUCIAL.sigma_8, rel=1e-4)


def test_lensing_efficiency_of_one_source_plane():
    """3/2 Omega_m (H_0/c)^2 chi (1 + z) (1 - chi / chi_s)."""
    plane = np.exp(-0.5 * ((SOURCE_Z - 1.0) / 0.02) ** 2)
    z, q = cosmology.lensing_efficiency(FIDUCIAL, SOURCE_Z, plane)
    near = z < 0.7
    chi = cosmology.comoving_distance(FIDUCIAL, z[near]).numpy()
    source = cosmology.comoving_distance(FIDUCIAL, [1.0]).numpy()
    expected = 1.5 * 0.3 * (70 / 299792.458) ** 2 * chi * (1 + z[near]) * (1 - chi / source)
    np.testing.assert_allclose(q[0].numpy()[near], expected, rtol=3e-3)


def test_astropys_cosmologies():
    astropy = pytest.importorskip("astropy.cosmology")
    planck = Cosmology.from_astropy(astropy.Planck18)
    assert (planck.sigma_8, planck.n_s) == (0.8102, 0.9665) and planck.w_0 == -1
    theirs = astropy.FlatwCDM(H0=70, Om0=0.3, Ob0=0.05, w0=-0.9, Tcmb0=2.7255)
    ours = Cosmology.from_astropy(theirs, sigma_8=0.8, n_s=0.96)
    np.testing.assert_allclose(cosmology.comoving_distance(ours, Z), theirs.comoving_distance(Z).value, rtol=1e-5)
    as_it_is, converted = (cosmology.linear_power(c, [0.1], [0.0, 1.0]) for c in (astropy.Planck18, planck))
    np.testing.assert_array_equal(as_it_is, converted)


@pytest.mark.parametrize(("make", "words"), [
    (lambda a: a.LambdaCDM(70, 0.3, 0.6, Ob0=0.05), "flat"),
    (lambda a: a.Flatw0waCDM(70, 0.3, wa=0.1, Ob0=0.05), "flat"),
    (lambda a: a.FlatLambdaCDM(70, 0.3), "Ob0"),
    (lambda a: a.FlatLambdaCDM(70, 0.3, Ob0=0.05), "sigma_8 and n_s"),
])  # fmt: skip
def test_astropys_cosmologies_that_are_refused(make, words):
    from astropy import cosmology as astropy

    with pytest.raises(ValueError, match=words):
        Cosmology.from_astropy(make(astropy))


@pytest.mark.parametrize(("z", "n_z"), [
    ([0.0, 1.0, 0.5], [1.0, 1.0, 1.0]), ([0.0, 1.0], [1.0, -1.0]), ([0.0, 1.0], [0.0, 0.0]), ([0.0, 1.0], [1.0]),
    ([0.0, 1.0], [1.0, np.nan]),
])  # fmt: skip
def test_bad_redshift_distributions(z, n_z):
    with pytest.raises(ValueError, match="n_z must"):
        cosmology.angular_power(FIDUCIAL, [100.0], z, n_z)
