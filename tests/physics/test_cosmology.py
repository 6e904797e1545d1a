"""Cosmology against numbers of CCL's, a table of CAMB's, and finite differences."""

import ccl_reference
import numpy as np
import pytest
import tensorflow as tf
from astropy import units
from astropy.cosmology.units import littleh, redshift
from ccl_reference import ELL, FIDUCIAL, SOURCE_Z, SOURCES, K, Z, universes
from conftest import shared
from scipy.integrate import cumulative_trapezoid

from deepcosmo.physics import cosmology, lensing_survey
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
    """All pairs of bins, 10 <= ell <= 5000; CCL's splines and integrals leave 3e-4."""
    ours = cosmology.angular_power(pair[0], ELL, SOURCE_Z, SOURCES)
    np.testing.assert_allclose(ours, pair[1]["angular_power"], rtol=5e-4)


@pytest.mark.parametrize(
    ("z", "n_z", "rtol"),
    [
        (*lensing_survey.lsst_y10().sources(), 1e-4),
        (SOURCE_Z, SOURCES, 1e-4),
        (np.array([0.0, 1.5]), np.ones((1, 2)), 1e-4),
        (SOURCE_Z, np.exp(-0.5 * ((SOURCE_Z - np.array([[0.3], [2.5]])) / 0.02) ** 2), 1e-3),
    ],
)
def test_angular_power_is_the_integral(z, n_z, rtol):
    """Over lenses and sources by the trapezoidal rule, at all redshifts of the sources and many that crowd near 0."""
    ell = np.array([10.0, 30, 100, 1000, 5000])
    fine = np.union1d(z[1:], z[-1] * np.linspace(0.005, 1, 3000) ** 2)
    chi = cosmology.comoving_distance(FIDUCIAL, fine).numpy()
    n = np.stack([np.interp(fine, z, row / np.trapezoid(row, z)) for row in n_z])
    behind, over_chi = (-cumulative_trapezoid(v[:, ::-1], fine[::-1], initial=0)[:, ::-1] for v in (n, n / chi))
    q = 1.5 * 0.3 * (70 / 299792.458) ** 2 * chi * (1 + fine) * (behind - chi * over_chi)
    power = cosmology.nonlinear_power(FIDUCIAL, (ell + 0.5) / chi[:, None], fine).numpy().T
    dchi_dz = 299792.458 / 70 / cosmology.hubble_rate(FIDUCIAL, fine).numpy()
    kernel = q[:, None] * q / chi**2 * dchi_dz
    factor = (ell + 2) * (ell + 1) * ell * (ell - 1) / (ell + 0.5) ** 4
    expected = factor * np.trapezoid(kernel[:, :, None] * power, fine)
    np.testing.assert_allclose(cosmology.angular_power(FIDUCIAL, ell, z, n_z), expected, rtol=rtol)


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
        for power, key in (
            (cosmology.linear_power, "Plin_Mpc3_h3"),
            (cosmology.nonlinear_power, "Pnl_halofit_takahashi_Mpc3_h3"),
        ):
            error = power(universe, k * h[i], z).numpy() * h[i] ** 3 / table[key][i] - 1
            assert np.sqrt(np.mean(error[:, chosen] ** 2)) < 0.03
            assert np.abs(error[:, chosen]).max() < 0.12


def test_gradients_are_finite_differences():
    at, step = tf.constant(FIDUCIAL, tf.float64), 1e-4 * np.eye(len(FIDUCIAL))

    def c_ell(values):
        ell = [30.0, 300.0, 3000.0]
        return cosmology.angular_power(Cosmology(*tf.unstack(values, axis=-1)), ell, SOURCE_Z, SOURCES[1])[..., 0, 0, :]

    with tf.GradientTape() as tape:
        tape.watch(at)
        value = c_ell(at)
    slopes = tape.jacobian(value, at)
    expected = (c_ell(at + step) - c_ell(at - step)) / 2e-4
    np.testing.assert_allclose(slopes, np.transpose(expected), rtol=2e-5)


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


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda a: a.LambdaCDM(70, 0.3, 0.6, Ob0=0.05), "flat"),
        (lambda a: a.Flatw0waCDM(70, 0.3, wa=0.1, Ob0=0.05), "flat"),
        (lambda a: a.FlatLambdaCDM(70, 0.3), "Ob0"),
        (lambda a: a.FlatLambdaCDM(70, 0.3, Ob0=0.05), "sigma_8 and n_s"),
    ],
)
def test_astropys_cosmologies_that_are_refused(make, words):
    from astropy import cosmology as astropy

    with pytest.raises(ValueError, match=words):
        Cosmology.from_astropy(make(astropy))


@pytest.mark.parametrize(
    ("z", "n_z"),
    [
        ([0.0, 1.0, 0.5], [1.0, 1.0, 1.0]),
        ([0.0, 1.0], [1.0, -1.0]),
        ([0.0, 1.0], [0.0, 0.0]),
        ([0.0, 1.0], [1.0]),
        ([0.0, 1.0], [1.0, np.nan]),
    ],
)
def test_bad_redshift_distributions(z, n_z):
    with pytest.raises(ValueError, match="n_z must"):
        cosmology.angular_power(FIDUCIAL, [100.0], z, n_z)


NUMBERS = {
    "hubble_rate": lambda c, x: cosmology.hubble_rate(c, 10 * x),
    "comoving_distance": lambda c, x: cosmology.comoving_distance(c, 10 * x),
    "growth": lambda c, x: cosmology.growth(c, 10 * x),
    "growth_rate": lambda c, x: cosmology.growth_rate(c, 10 * x),
    "linear_power of k": lambda c, x: cosmology.linear_power(c, x, 0.5),
    "linear_power of z": lambda c, x: cosmology.linear_power(c, 0.1, 10 * x),
    "nonlinear_power of k": lambda c, x: cosmology.nonlinear_power(c, x, 0.5),
    "nonlinear_power of z": lambda c, x: cosmology.nonlinear_power(c, 0.1, 10 * x),
    "angular_power": lambda c, x: cosmology.angular_power(c, 1000 * x, SOURCE_Z, SOURCES),
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("batch", [False, True])
def test_numbers_are_arrays_without_an_axis(name, batch):
    """Of redshifts, wavenumbers and multipoles; with their gradients."""
    function, many = NUMBERS[name], np.array([0.05, 0.1, 0.2])
    sigma_8 = tf.constant([0.7, 0.9] if batch else 0.8, tf.float64)

    def value_and_slope(x):
        with tf.GradientTape() as tape:
            tape.watch(sigma_8)
            value = function(FIDUCIAL._replace(sigma_8=sigma_8), x)
            first = value[..., 0] if np.ndim(x) else value
        return value.numpy(), tape.gradient(first, sigma_8)

    of_array, slope = value_and_slope(many)
    for of_number in (many[0], float(many[0]), tf.constant(many[0])):
        value, slope_of_number = value_and_slope(of_number)
        assert value.shape == of_array.shape[:-1]
        np.testing.assert_allclose(value, of_array[..., 0], rtol=1e-12)
        if slope is not None:
            np.testing.assert_allclose(slope_of_number, slope, rtol=1e-9)


@pytest.mark.parametrize("name", ["hubble_rate", "comoving_distance", "growth", "growth_rate"])
def test_redshifts_of_any_shape(name):
    many = Cosmology(*(np.reshape(values, (2, 2)) for values in zip(*universes(), strict=True)))
    function = getattr(cosmology, name)
    values = function(many, np.reshape(Z[1:], (2, 3))).numpy()
    assert values.shape == (2, 2, 2, 3)
    np.testing.assert_allclose(values.reshape(2, 2, 6), function(many, Z[1:]), rtol=1e-12)


def test_wavenumbers_of_each_redshift():
    """(..., nz, nk), with an axis of cosmologies or without; Python's numbers count in double precision."""
    many = Cosmology(*(np.array(values) for values in zip(*universes(), strict=True)))
    k, z = np.array([[0.01, 0.1], [0.02, 0.2], [0.03, 0.3]]), [0.1, 0.5, 1.0]
    values = cosmology.nonlinear_power(many, k, z).numpy()
    assert values.shape == (4, 3, 2)
    for i in range(3):
        np.testing.assert_allclose(values[:, i], cosmology.nonlinear_power(many, k[i].tolist(), z[i]), rtol=1e-12)
        of_each = np.tile(k[i], (4, 1)) * np.arange(1, 5)[:, None]
        np.testing.assert_allclose(cosmology.nonlinear_power(many, of_each, z[i]).numpy()[0], values[0, i], rtol=1e-12)


def test_types_of_parameters_may_differ():
    """The widest counts; integers are numbers."""
    mixed = FIDUCIAL._replace(h=tf.constant(0.75), sigma_8=tf.constant(1), n_s=tf.constant(1.0, tf.float64))
    plain = FIDUCIAL._replace(h=0.75, sigma_8=1.0, n_s=1.0)
    values = cosmology.linear_power(mixed, 0.1, 1)
    assert values.dtype == tf.float64
    np.testing.assert_allclose(values, cosmology.linear_power(plain, 0.1, 1.0), rtol=1e-12)


def test_units_are_converted():
    np.testing.assert_array_equal(cosmology.growth(FIDUCIAL, Z * redshift), cosmology.growth(FIDUCIAL, Z))
    half = cosmology.hubble_rate(FIDUCIAL, 50 * units.percent)
    np.testing.assert_array_equal(half, cosmology.hubble_rate(FIDUCIAL, 0.5))
    np.testing.assert_allclose(
        cosmology.linear_power(FIDUCIAL, K / 1000 / units.kpc, Z * redshift),
        cosmology.linear_power(FIDUCIAL, K, Z),
        rtol=1e-12,
    )
    np.testing.assert_array_equal(
        cosmology.angular_power(FIDUCIAL, 100.0, SOURCE_Z * redshift, SOURCES),
        cosmology.angular_power(FIDUCIAL, 100.0, SOURCE_Z, SOURCES),
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: cosmology.comoving_distance(FIDUCIAL, 100 * units.Mpc), "z must have no unit; its unit is Mpc"),
        (lambda: cosmology.linear_power(FIDUCIAL, 0.1 * littleh / units.Mpc, 0.0), "k must have the unit 1/Mpc"),
        (
            lambda: cosmology.growth(FIDUCIAL._replace(h=70 * units.km / units.s / units.Mpc), 0.0),
            "h must have no unit",
        ),
        (lambda: cosmology.angular_power(FIDUCIAL, 100 / units.deg, SOURCE_Z, SOURCES), "ell must have no unit"),
        (lambda: cosmology.linear_power(FIDUCIAL, 0.1, [[0.0, 1.0]]), r"z must be a number or \(nz,\); got \(1, 2\)"),
        (lambda: cosmology.linear_power(FIDUCIAL, np.ones((3, 4)), [0.0, 1.0]), r"k must be .* got \(3, 4\), with z"),
        (
            lambda: cosmology.angular_power(FIDUCIAL, [[100.0]], SOURCE_Z, SOURCES),
            r"ell must be a number or \(n_ell,\)",
        ),
        (lambda: cosmology.angular_power(FIDUCIAL, 100.0, 1.0, 1.0), r"n_z must be .* got \(\), \(\)"),
        (lambda: cosmology.growth(FIDUCIAL._replace(h=[0.6, 0.7], n_s=[1.0] * 3), 0.0), r"h \(2,\), n_s \(3,\)"),
    ],
)
def test_units_and_shapes_that_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
