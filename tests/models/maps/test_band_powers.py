"""Band powers: normalisation, correlations, edges, interpolation between nodes."""

import numpy as np

from deepcosmo.models.maps.band_powers import BandPowers, band_edges, between


def test_band_powers():
    """Of white noise: zero logarithms and correlations; of twice a map: ln 4 more; of a copy: correlation 1."""
    noise = np.random.default_rng(2).normal(size=(400, 32, 32, 1)).astype("float32")
    other = np.random.default_rng(3).normal(size=(400, 32, 32, 1)).astype("float32")
    layer = BandPowers(size=32, channels=3, bands=4)
    found = np.asarray(layer(np.concatenate([noise, 2 * noise, other], -1))).reshape(400, 6, 4)
    modes = np.pi * np.diff(band_edges(32, 4) ** 2)  # about as many, of which half are independent
    error = np.sqrt(2 / modes / 400)
    assert np.all(np.abs(found[:, 0].mean(0) + 1 / modes) < 5 * error + 1 / modes)
    np.testing.assert_allclose(found[:, 1] - found[:, 0], np.log(4), atol=1e-4)
    np.testing.assert_allclose(found[:, 3], 1.0, atol=1e-4)
    assert np.all(np.abs(found[:, 4].mean(0)) < 5 * error)


def test_bands_are_at_least_one_cycle_wide():
    edges = band_edges(256, 20)
    assert len(edges) == 21 and edges[0] == 0.5 and edges[-1] == 127.5
    assert np.all(np.diff(edges) > 0.999)


def test_what_is_linear_between_nodes():
    """Nodes are at themselves, and what is outside of them is constant."""
    nodes = np.log(np.geomspace(1.0, 90.0, 7))
    for wavenumber in (np.exp(nodes), np.array([0.0, 0.3, 1.7, 33.0, 200.0])):
        below, share = between(wavenumber, 90.0, 7)
        found = (1 - share) * nodes[below] + share * nodes[below + 1]
        np.testing.assert_allclose(found, np.log(np.clip(wavenumber, 1.0, 90.0)), atol=1e-12)
