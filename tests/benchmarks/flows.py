"""Speed of the flows, beside zuko's where it is installed: `python -m tests.benchmarks.flows`.

D = 16, context 8, 5 transformations with two hidden layers of 128. Timings alternate between the two
libraries, round by round, and the median round counts, so that other work on the machine cancels in the ratio.
"""

import argparse
import importlib.util
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
D, CONTEXT, BATCH, ROWS, EPOCHS = 16, 8, 256, 16384, 2


def data():
    import numpy as np

    rng = np.random.default_rng(0)
    context = rng.normal(size=(ROWS, CONTEXT)).astype("float32")
    y = np.tanh(context @ rng.normal(size=(CONTEXT, D))) + rng.normal(size=(ROWS, D))
    return context, y.astype("float32")


def ours(name):
    """name -> function that runs once and returns how many steps or rows it did."""
    import keras
    import tensorflow as tf

    from deepcosmo import models

    keras.utils.set_random_seed(0)
    kind = {"kind": name.split("-")[1]} if "-" in name else {}
    flow = getattr(models, name.split("-")[0])(dim=D, context_dim=CONTEXT, **kind)
    context, y = data()
    flow.adapt(context, y)
    flow.compile("adam", steps_per_execution=16)
    batches = tf.data.Dataset.from_tensor_slices((context, y)).batch(BATCH).cache().repeat(EPOCHS)

    def train():
        flow.fit(batches, verbose=0, shuffle=False)
        return EPOCHS * ROWS // BATCH

    return {
        "train steps": train,
        "log_prob": lambda: len(flow.log_prob(y, context).numpy()),
        "sample": lambda: len(flow.sample((), context, seed=1).numpy()),
    }


def zukos(name):
    import torch
    import zuko

    torch.manual_seed(0)
    maker = {
        "MAF": zuko.flows.MAF,
        "RealNVP": zuko.flows.RealNVP,
        "NSF-coupling": lambda *a, **k: zuko.flows.NSF(*a, passes=2, **k),
        "NSF-autoregressive": zuko.flows.NSF,
    }[name]
    flow = maker(D, CONTEXT, transforms=5, hidden_features=[128, 128])
    context, y = map(torch.from_numpy, data())
    optimizer = torch.optim.Adam(flow.parameters())

    def train():
        steps = 16
        for i in range(steps):
            rows = slice(i * BATCH, (i + 1) * BATCH)
            loss = -flow(context[rows]).log_prob(y[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return steps

    def log_prob():
        with torch.no_grad():
            return len(flow(context).log_prob(y))

    def sample():
        with torch.no_grad():
            return len(flow(context[:4096]).sample())

    return {"train steps": train, "log_prob": log_prob, "sample": sample}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("flows", nargs="*", default=["MAF"], help="MAF RealNVP NSF-coupling NSF-autoregressive")
    options = parser.parse_args()
    for name in options.flows:
        makers = {"deepcosmo": ours, **({"zuko": zukos} if importlib.util.find_spec("zuko") else {})}
        libraries = {library: make(name) for library, make in makers.items()}
        for what in ("train steps", "log_prob", "sample"):
            rates = {library: [] for library in libraries}
            for round_number in range(options.rounds + 1):
                for library, functions in libraries.items():
                    start = time.perf_counter()
                    done = functions[what]()
                    if round_number:  # the first one compiles
                        rates[library].append(done / (time.perf_counter() - start))
            median = {library: sorted(r)[len(r) // 2] for library, r in rates.items()}
            figures = "  ".join(f"{library} {rate:9,.0f}/s" for library, rate in median.items())
            ratio = f"  ratio {median['deepcosmo'] / median['zuko']:.1f}" if "zuko" in median else ""
            print(f"{name:20s}{what:12s}{figures}{ratio}", flush=True)


if __name__ == "__main__":
    main()
