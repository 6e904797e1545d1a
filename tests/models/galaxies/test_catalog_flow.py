import keras
import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.models import CatalogFlow


def galaxies(n, seed=0):
    """A made-up catalogue within the limits of the real one."""
    rng = np.random.default_rng(seed)
    mag = 25.2 - rng.exponential(1.0, n).clip(0, 8)
    use = rng.random(n) < 0.3
    radius = np.exp(rng.normal(-1.5 - 0.2 * (mag - 23), 0.4, n)).clip(0.02, 9)
    out = {
        "mag_auto": mag,
        "flux_radius": np.exp(rng.normal(2.2, 0.4, n)).clip(2, 90),
        "zphot": rng.gamma(3, 0.3, n).clip(0.01, 6),
        "use_bulge": use,
        "flux": 10 ** (-0.4 * (mag - 25.94 + rng.normal(0, 0.1, n))),
        "n": np.round(rng.gamma(2, 0.8, n).clip(0.3, 6) / 0.05) * 0.05,
        "hlr": radius,
        "q": rng.uniform(0.06, 0.99, n),
        "phi": rng.uniform(-np.pi, np.pi, n),
        "bulge_fraction": rng.uniform(0.11, 0.9, n),
        "bulge_hlr": radius / 2,
        "bulge_q": rng.uniform(0.06, 0.99, n),
        "disk_hlr": radius,
        "disk_q": rng.uniform(0.06, 0.99, n),
    }
    out["disk_phi"] = out["phi"] + rng.normal(0, 0.2, n)
    out["bulge_phi"] = out["phi"] + rng.normal(0, 0.5, n)
    parts = [name for name in out if name.startswith(("bulge_", "disk_"))]
    out |= {name: np.where(use, out[name], 0.0) for name in parts}
    return {name: v if v.dtype == bool else v.astype("float32") for name, v in out.items()}


@pytest.fixture(scope="module")
def flow():
    keras.utils.set_random_seed(0)
    model = CatalogFlow(transforms=1, hidden=(16, 16))
    model.adapt(galaxies(5000))
    return model


def test_draws_are_galaxies(flow):
    drawn = flow.draw(3000, seed=4)
    assert tuple(drawn) == CatalogFlow.columns
    use = drawn["use_bulge"]
    assert use.dtype == bool
    for name, values in drawn.items():
        assert values.shape == (3000,) and np.all(np.isfinite(values)), name
        if name.startswith(("bulge_", "disk_")):
            assert not np.any(values[~use])
    assert drawn["mag_auto"].max() <= 25.201
    assert drawn["n"].min() == pytest.approx(0.3) and drawn["n"].max() <= 6.001
    assert np.all(np.isin(drawn["n"], (np.arange(6, 121) / 20).astype("float32")))
    for name in ("q", "bulge_q", "disk_q"):
        values = drawn[name] if name == "q" else drawn[name][use]
        assert 0 < values.min() and values.max() <= 1
    again = flow.draw(3000, seed=4)
    assert all(np.array_equal(again[name], drawn[name]) for name in drawn)
    assert not np.array_equal(flow.draw(3000, seed=5)["q"], drawn["q"])


def test_density_integrates_to_one_and_is_that_of_the_draws(flow):
    # E_p[h(x) / p(x)] is the integral of h over the support of p: one, for any density h near p.
    drawn = flow.sample(4000, seed=1)
    drawn = flow.dequantise(drawn, seed=2)
    keras.utils.set_random_seed(9)
    other = CatalogFlow(transforms=1, hidden=(16, 16))
    other.set_weights(flow.get_weights())
    for weight in other.galaxy.trainable_weights:
        weight.assign(weight + 0.02 * np.random.default_rng(3).normal(size=weight.shape))
    ratio = np.exp(other.log_prob(drawn) - flow.log_prob(drawn))
    assert np.std(ratio) > 0.01
    assert np.mean(ratio) == pytest.approx(1, abs=4.5 * np.std(ratio) / np.sqrt(4000) + 0.002)


def test_nothing_lies_beyond_the_limits(flow):
    x = flow.dequantise(galaxies(50, seed=7), seed=0)
    assert np.all(np.isfinite(flow.log_prob(x)))
    outside = {**x, "mag_auto": np.full(50, 25.3, "float32")}
    assert np.all(np.asarray(flow.log_prob(outside)) == -np.inf)


def test_turning_a_galaxy_changes_nothing(flow):
    x = flow.dequantise(galaxies(50, seed=8), seed=0)
    turned = dict(x)
    for name in ("phi", "bulge_phi", "disk_phi"):
        turned[name] = np.where(x["use_bulge"], x[name] + 0.7, x[name]).astype("float32")
    np.testing.assert_allclose(flow.log_prob(turned), flow.log_prob(x), atol=1e-2)


def test_training_and_saving(flow, tmp_path):
    data = galaxies(4096, seed=1)
    model = CatalogFlow.from_config(flow.get_config())
    model.adapt(data)
    model.compile(keras.optimizers.Adam(3e-3))
    before = -float(np.mean(model.log_prob(flow.dequantise(data, seed=1))))
    x = {name: np.asarray(value) for name, value in flow.dequantise(data, seed=0).items()}
    losses = model.fit(x, epochs=3, batch_size=256, verbose=0).history["loss"]
    assert losses[-1] < before - 0.1
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    ours, theirs = model.draw(20, seed=3), again.draw(20, seed=3)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_endpoints(flow):
    endpoints = {name: tf.function(f, input_signature=spec) for name, (f, spec) in flow.endpoints().items()}
    drawn = flow.draw(30, seed=6)
    same = endpoints["sample"](n=tf.constant(30), seed=tf.constant([0, 6]))
    for name, values in drawn.items():
        np.testing.assert_allclose(same[name], values, rtol=1e-3, atol=1e-3, err_msg=name)
    matrix = np.column_stack([drawn[name] for name in CatalogFlow.columns]).astype("float32")
    log_prob = endpoints["log_prob"](catalogue=tf.constant(matrix))["log_prob"]
    np.testing.assert_allclose(log_prob, flow.log_prob(drawn), rtol=1e-3, atol=1e-3)


def test_bad_catalogues(flow):
    data = galaxies(10)
    with pytest.raises(ValueError, match="lacks the columns q"):
        flow.log_prob({name: v for name, v in data.items() if name != "q"})
    with pytest.raises(ValueError, match="same length"):
        flow.log_prob({**data, "q": data["q"][:3]})
