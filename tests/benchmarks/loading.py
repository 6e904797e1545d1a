"""How fast deepcosmo starts and loads its models: `python -m tests.benchmarks.loading [--help]`.

Each row is the least CPU time of several new processes: of `import deepcosmo` and of the command line, which come
without TensorFlow and shall take less than 0.3 s, and of every published model, after Keras is imported.
"""

import argparse

from deepcosmo import zoo
from tests.conftest import python

STARTS = {
    "import deepcosmo": "import deepcosmo",
    "deepcosmo --help": "from deepcosmo import cli; cli._parser().format_help()",
}


def seconds(statement, tries, before="pass"):
    """Least CPU time of a statement in new processes, after another one."""
    script = f"{before}; import time; start = time.process_time(); {statement}; print(time.process_time() - start)"
    return min(float(python("-c", script).stdout.split()[-1]) for _ in range(tries))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--tries", type=int, default=4)
    tries = parser.parse_args().tries
    for name, statement in STARTS.items():
        print(f"{name:46} {seconds(statement, tries):6.2f} s", flush=True)
    print(f"{'import keras':46} {seconds('import keras', tries):6.2f} s", flush=True)
    for name in zoo.list_models():
        load = f"deepcosmo.zoo.load({name!r})"
        print(f"{load:46} {seconds(load, tries, before='import keras, deepcosmo'):6.2f} s", flush=True)


if __name__ == "__main__":
    main()
