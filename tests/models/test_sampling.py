"""One call to sample, `sample(n, x, seed=seed)`, for all published models."""

import numpy as np
import pytest
import tensorflow as tf

from deepcosmo import zoo


def maps_of(model):
    """What the compressor has measured of two maps, which will do in place of them."""
    return np.random.default_rng(0).normal(size=(2, model.compressor.pilot.dim + model.compressor.scores.dim)) * 0.1


def shear():
    """With the noise of COSMOS."""
    rng = np.random.default_rng(1)
    maps = {"wiener": rng.normal(0, 0.02, (2, 32, 32)), "information": rng.normal(0, 7, (2, 32, 32))}
    return {name: v.astype("float32") for name, v in maps.items()} | {"precision": np.full((2, 32, 32), 48.0, "f4")}


CONDITIONS = {"mag_auto": [22.0, 23.0], "flux_radius": [10.0, 8.0], "zphot": [0.5, 0.7]}
# name -> what is given, as a function of the model; batch shape, shape of one draw, other options
GIVEN = {
    "flow_vae_cosmos": (lambda model: CONDITIONS, (2,), (128, 128, 1), {}),
    "vae_cosmos": (None, (), (128, 128, 1), {}),
    "maf_cosmos_catalog": (None, (), (), {}),
    "mdn_lensing_small": (maps_of, (2,), (2,), {}),
    "npe_lensing_lsst_y10": (maps_of, (2,), (6,), {}),
    "score_kappa": (lambda model: (32, 48), (), (32, 48), {"steps": 2}),
    "unet_kappa": (lambda model: shear(), (2,), (32, 32), {}),
}


def test_all_published_models_are_here():
    assert set(GIVEN) == set(zoo.list_models())


def arrays(draws):
    return [np.asarray(v) for v in (draws.values() if isinstance(draws, dict) else [draws])]


@pytest.mark.parametrize("name", GIVEN)
def test_draws_have_one_shape_and_repeat(name):
    model = zoo.load(name)
    given, batch, event, options = GIVEN[name]
    given = () if given is None else (given(model),)
    for n, axis in ((3, (3,)), (0, (0,)), ((), ())):
        draws = arrays(model.sample(n, *given, seed=1, **options))
        assert {v.shape for v in draws} == {(*axis, *batch, *event)}
        for seed in ([0, 1], tf.constant([0, 1])):  # the same as 1
            for value, again in zip(draws, arrays(model.sample(n, *given, seed=seed, **options)), strict=True):
                np.testing.assert_array_equal(value, again)
    one, other = (arrays(model.sample(3, *given, seed=s, **options))[0] for s in (1, 2))
    assert np.mean(one == other) < 0.01  # of thousands of numbers a few are equal by chance
    with pytest.raises(TypeError):
        model.sample(3, *given, **options)  # a seed is always given


def test_former_calls_draw_the_same():
    flow = zoo.load("flow_vae_cosmos")
    first = flow.sample((), CONDITIONS, seed=1)
    for call in (lambda: flow.sample(CONDITIONS, seed=1), lambda: flow.sample(conditions=CONDITIONS, seed=1)):
        np.testing.assert_array_equal(call(), first)
    np.testing.assert_array_equal(flow.sample(n=2, seed=1), flow.sample(2, seed=1))
    score = zoo.load("score_kappa")
    maps = score.sample(2, (32, 48), seed=1, steps=2)
    for call in (
        lambda: score.sample((32, 48), 1, count=2, steps=2),
        lambda: score.sample(shape=(32, 48), seed=1, count=2, steps=2),
    ):
        np.testing.assert_array_equal(call(), maps)


def test_draws_of_several_conditions_have_their_magnitudes():
    flow = zoo.load("flow_vae_cosmos")
    y, x = np.mgrid[-32:32, -32:32]
    psf = np.stack([np.exp(-0.5 * (x**2 + y**2) / s**2) / (2 * np.pi * s**2) for s in (1.6, 2.0)])
    galaxies = flow.sample(3, CONDITIONS, seed=1, psf=psf).numpy()
    flux = galaxies.sum((2, 3, 4))
    np.testing.assert_allclose(flux, np.broadcast_to(flux[:1], flux.shape), rtol=1e-4)  # that of the magnitude
    assert np.all(flux[:, 0] / flux[:, 1] > 10**0.4 * 0.95) and np.abs(galaxies[0] - galaxies[1]).max() > 0
