import keras
import numpy as np
import pytest
import tensorflow as tf
from known_densities import lognormal, lognormal_entropy, lognormal_log_prob, two_moons, two_moons_log_prob

from deepcosmo.models import MAF, NSF, MAFMoG, RealNVP

FLOWS = {
    "maf": (MAF, {}),
    "maf_residual": (MAF, {"residual": True, "activation": "silu"}),
    "maf_mog": (MAFMoG, {"components": 4}),
    "realnvp": (RealNVP, {}),
    "nsf_coupling": (NSF, {"kind": "coupling"}),
    "nsf_autoregressive": (NSF, {"kind": "autoregressive"}),
}
SIZES = {"unconditional": 0, "conditional": 2}


def make(name, context_dim, dim=3, **kwargs):
    """A small flow with random weights, far from the identity, and data statistics."""
    flow_class, own = FLOWS[name]
    keras.utils.set_random_seed(1)
    flow = flow_class(dim=dim, context_dim=context_dim, **{"transforms": 3, "hidden": (24, 24), **own, **kwargs})
    rng = np.random.default_rng(2)
    for weight in flow.trainable_weights:
        weight.assign(weight + 0.2 * rng.normal(size=weight.shape).astype("float32"))
    y = rng.normal(3.0, 2.0, (500, dim)).astype("float32")
    context = rng.normal(-1.0, 5.0, (500, context_dim)).astype("float32")
    flow.adapt(*([context, y] if context_dim else [y]))
    return flow, y[:10], context[:10] if context_dim else None


@pytest.fixture(scope="module", params=[(n, size) for n in FLOWS for size in SIZES], ids="-".join)
def case(request):
    name, size = request.param
    return make(name, SIZES[size])


def test_inverse(case):
    flow, y, context = case
    bijector = flow.distribution(context).bijector
    z = bijector.inverse(y)
    assert np.std(z - y) > 0.1
    np.testing.assert_allclose(bijector.forward(tf.identity(z)), y, rtol=2e-4, atol=2e-4)


def test_log_det_is_that_of_the_jacobian(case):
    flow, y, context = case
    y = tf.constant(y)
    bijector = flow.distribution(context).bijector
    with tf.GradientTape() as tape:
        tape.watch(y)
        z = bijector.inverse(y)
    expected = np.linalg.slogdet(tape.batch_jacobian(z, y).numpy().astype(float))[1]
    np.testing.assert_allclose(bijector.inverse_log_det_jacobian(y, 1), expected, atol=2e-4)
    normal = -0.5 * np.sum(np.square(z) + np.log(2 * np.pi), -1)
    np.testing.assert_allclose(flow.log_prob(y, context), normal + expected, atol=5e-4)


def test_gradient_reaches_every_weight(case):
    flow, y, context = case
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(flow.distribution(context).log_prob(y))
    for weight, gradient in zip(
        flow.trainable_weights, tape.gradient(loss, [w.value for w in flow.trainable_weights]), strict=True
    ):
        assert np.all(np.isfinite(gradient)) and np.any(gradient), weight.path


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("context_dim", SIZES.values(), ids=SIZES)
def test_draws_are_differentiable(name, context_dim):
    flow, _, context = make(name, context_dim, transforms=2)
    weight = flow.trainable_weights[0]
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(flow.sample(10 if context is None else (), context, seed=0) ** 2)
    gradient = tape.gradient(total, weight.value)
    step = 2e-3 * gradient / tf.norm(gradient)
    totals = []
    for sign in (1, -1):
        weight.assign(weight + sign * step)
        totals.append(float(tf.reduce_sum(flow.sample(10 if context is None else (), context, seed=0) ** 2)))
        weight.assign(weight - sign * step)
    assert (totals[0] - totals[1]) / 4e-3 == pytest.approx(float(tf.norm(gradient)), rel=0.05)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("context_dim", SIZES.values(), ids=SIZES)
def test_density_integrates_to_one(name, context_dim):
    flow, _, context = make(name, context_dim, dim=2)
    context = None if context is None else context[0]
    draws = flow.sample(500, context, seed=5).numpy()
    centre, half = np.median(draws, 0), 3 * np.ptp(draws, axis=0)
    # Denser where the density is: equal steps in arcsinh.
    u = np.linspace(-7, 7, 501)
    grid, weight = [centre[i] + half[i] * np.sinh(u) / np.sinh(7) for i in (0, 1)], np.cosh(u) / np.sinh(7)
    points = np.stack(np.meshgrid(*grid, indexing="ij"), -1).astype("float32")
    density = np.exp(flow.distribution(context).log_prob(points).numpy().astype(float))
    total = np.einsum("ij,i,j->", density, weight, weight) * np.prod(half) * (u[1] - u[0]) ** 2
    assert total == pytest.approx(1, abs=0.01)


def test_draws_follow_the_density(case):
    # Seen in the noise of another context-free pass, draws are standard normal.
    flow, _, context = case
    context = None if context is None else context[0]
    z = flow.distribution(context).bijector.inverse(tf.identity(flow.distribution(context).sample(4000, seed=[0, 3])))
    z = np.asarray(z)
    assert np.all(np.abs(z.mean(0)) < 4.5 / np.sqrt(4000))
    assert np.all(np.abs(np.square(z).mean(0) - 1) < 4.5 * np.sqrt(2 / 4000))
    assert np.abs(np.corrcoef(z.T)[np.triu_indices(3, 1)]).max() < 4.5 / np.sqrt(4000)


def test_saved_flow_draws_the_same(case, tmp_path):
    flow, y, context = case
    flow.save(tmp_path / "flow.keras")
    again = keras.saving.load_model(tmp_path / "flow.keras")
    n = 10 if context is None else ()
    np.testing.assert_allclose(again.sample(n, context, seed=7), flow.sample(n, context, seed=7), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(again.log_prob(y, context), flow.log_prob(y, context), rtol=1e-5, atol=1e-5)
    assert again.get_config() == flow.get_config()


def test_density_depends_on_the_context(case):
    flow, y, context = case
    if context is None:
        pytest.skip("no context")
    for column in range(context.shape[1]):
        other = context.copy()
        other[:, column] += 3
        assert np.all(np.abs(flow.log_prob(y, other) - flow.log_prob(y, context)) > 1e-4)
        draws = flow.sample((), context, seed=0) - flow.sample((), other, seed=0)
        assert np.all(np.abs(draws).max(-1) > 1e-4)


@pytest.mark.parametrize("name, context_dim", [("maf", 2), ("nsf_coupling", 0)])
def test_many_rows_as_few(name, context_dim):
    # Above 1024 rows XLA takes over, in chunks.
    flow, y, context = make(name, context_dim, transforms=2)
    large = np.tile(y, (140, 1))
    contexts = None if context is None else np.tile(context, (140, 1))
    np.testing.assert_allclose(
        flow.log_prob(large, contexts), np.tile(flow.log_prob(y, context), 140), rtol=1e-4, atol=1e-4
    )
    shape = 1400 if context is None else ()
    large = flow.sample(shape, contexts, seed=1)
    z = flow.distribution(contexts).distribution.sample(shape, seed=tf.constant([0, 1]))
    few = flow.distribution(None if context is None else contexts[1300:]).bijector.forward(z[1300:])
    np.testing.assert_allclose(large[1300:], few, rtol=1e-3, atol=1e-3)


def test_shapes_and_seeds(case):
    flow, y, context = case
    batch = () if context is None else (10,)
    assert flow.distribution(context).event_shape == (3,)
    assert flow.distribution(context).batch_shape == batch
    assert flow.sample((), context, seed=1).shape == (*batch, 3)
    assert flow.sample(4, context, seed=1).shape == (4, *batch, 3)
    assert flow.log_prob(y, context).shape == (10,)
    assert flow.log_prob(y[0], None if context is None else context[0]).shape == ()
    assert flow.log_prob(y[:, None], context).shape == ((10, 1) if context is None else (10, 10))
    first = flow.sample(4, context, seed=1)
    np.testing.assert_array_equal(first, flow.sample(4, context, seed=tf.constant([0, 1])))
    assert np.all(first != flow.sample(4, context, seed=2))
    draws = flow.distribution(context).sample(4, seed=tf.constant([0, 1]))
    np.testing.assert_allclose(first, draws, rtol=1e-4, atol=1e-4)


def test_endpoints(case):
    flow, y, context = case
    endpoints = {name: tf.function(f, input_signature=spec) for name, (f, spec) in flow.endpoints().items()}
    given = {} if context is None else {"context": tf.constant(context)}
    log_prob = endpoints["serving_default"](y=tf.constant(y), **given)["log_prob"]
    np.testing.assert_allclose(log_prob, flow.log_prob(y, context), rtol=1e-4, atol=1e-4)
    given = given or {"n": tf.constant(10)}
    draws = endpoints["sample"](seed=tf.constant([0, 1]), **given)["y"]
    expected = flow.sample(10 if context is None else (), context, seed=1)
    np.testing.assert_allclose(draws, expected, rtol=1e-4, atol=1e-4)


def test_bad_shapes(case):
    flow, y, context = case
    with pytest.raises(ValueError, match=r"y must have shape \(..., 3\), not \(10, 2\)"):
        flow.log_prob(y[:, :2], context)
    with pytest.raises(ValueError, match=r"(context must have shape \(..., 2\)|has no context)"):
        flow.sample(2, y, seed=0)
    with pytest.raises(ValueError, match="seed"):
        flow.sample(2, context, seed=[1, 2, 3])
    with pytest.raises(ValueError, match="seed"):
        flow.sample(2, context, seed=-1)
    if context is not None:
        with pytest.raises(ValueError, match=r"needs a context of shape \(..., 2\)"):
            flow.log_prob(y)
        with pytest.raises(ValueError, match="adapt needs"):
            flow.adapt(y)


def test_bad_arguments():
    with pytest.raises(ValueError, match="dim >= 2"):
        RealNVP(dim=1)
    with pytest.raises(ValueError, match="kind"):
        NSF(dim=2, kind="cubic")
    with pytest.raises(ValueError, match="equal width"):
        MAF(dim=2, hidden=(8, 16), residual=True)
    with pytest.raises(ValueError, match="at least one"):
        MAF(dim=2, transforms=0)
    with pytest.raises(ValueError, match="dim >= 1"):
        MAF(dim=0)


@pytest.mark.parametrize("dim", [1, 2, 5, 7])
@pytest.mark.parametrize("name", FLOWS)
def test_every_column_is_transformed(name, dim):
    if dim == 1 and name in ("realnvp", "nsf_coupling"):
        pytest.skip("coupling needs two columns")
    flow, y, _ = make(name, 0, dim=dim, transforms=2)
    bijector = flow.distribution().bijector
    linear = flow.standardise_y(y)
    # Up to their order, columns of z are those of y wherever nothing acts on them.
    z = np.asarray(bijector.inverse(y))
    assert not np.isclose(z[:, :, None], np.asarray(linear)[:, None, :], atol=1e-4).all(0).any()


def test_unconditional_fit_takes_y_alone_or_an_empty_context():
    histories = []
    for arguments in ([np.zeros((256, 0), "float32")], []):
        flow, _, _ = make("maf", 0)
        y = np.random.default_rng(0).normal(size=(256, 3)).astype("float32")
        flow.compile(keras.optimizers.SGD(0.01))
        histories.append(flow.fit(*arguments, y, epochs=2, shuffle=False, verbose=0).history["loss"])
        assert flow.evaluate(*arguments, y, verbose=0) < histories[-1][0]
    np.testing.assert_allclose(*histories, rtol=1e-5)
    dataset = tf.data.Dataset.from_tensor_slices(y).batch(32)
    flow.adapt(dataset)
    np.testing.assert_allclose(flow.standardise_y.mean, y.mean(0), atol=1e-5)
    assert np.isfinite(flow.fit(dataset, verbose=0).history["loss"][0])


def train(flow, data, test, *, epochs, batch_size, rate):
    flow.adapt(*data)
    steps = epochs * -(-len(data[0]) // batch_size)
    flow.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)), steps_per_execution=20)
    flow.fit(*data, batch_size=batch_size, epochs=epochs, verbose=0)
    return -float(np.mean(flow.log_prob(*test)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nsf_coupling", "nsf_autoregressive"])
def test_two_moons(name):
    keras.utils.set_random_seed(0)
    flow = FLOWS[name][0](dim=2, **FLOWS[name][1], transforms=4, hidden=(64, 64))
    test = two_moons(20_000, seed=2)
    entropy = -two_moons_log_prob(test).mean()
    assert entropy == pytest.approx(0.292, abs=0.02)
    assert train(flow, [two_moons(40_000, seed=1)], [test], epochs=15, batch_size=1000, rate=1e-2) < entropy + 0.02


@pytest.mark.slow
def test_lognormal():
    assert lognormal_entropy() == pytest.approx(1.018, abs=0.001)
    keras.utils.set_random_seed(0)
    # Draws reach 60 standard deviations: beyond the bound a spline is the identity and its tail Gaussian.
    spline = {"kind": "autoregressive", "bins": 24, "bound": 60.0}
    flow = NSF(dim=1, context_dim=1, transforms=3, hidden=(64, 64), **spline)
    x, y = lognormal(20_000, seed=2)
    nll = train(flow, lognormal(30_000, seed=1), (y, x), epochs=30, batch_size=512, rate=2e-3)
    # The test set's own mean of log p varies more than the margin: compare on the same points.
    assert nll < -lognormal_log_prob(x, y).mean() + 0.02
