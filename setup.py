"""Copies the published models of zoo/ into the wheel; everything else is in setup.cfg."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
PUBLISHED = ("*.py", "*.json", "*.h5", "*.npz", "README.md")


class BuildPyWithZoo(build_py):
    """An editable install reads zoo/ in the checkout, so nothing is copied then."""

    def _zoo(self):
        return sorted(path.relative_to(HERE) for name in PUBLISHED for path in HERE.glob(f"zoo/*/{name}"))

    def run(self):
        super().run()
        if not self.editable_mode:
            for path in self._zoo():
                target = Path(self.build_lib, "deepcosmo", "zoo", "_published", *path.parts[1:])
                self.mkpath(str(target.parent))
                self.copy_file(str(HERE / path), str(target), preserve_mode=False)

    def get_source_files(self):  # what a source distribution must hold
        return [*super().get_source_files(), *map(str, self._zoo())]


setup(cmdclass={"build_py": BuildPyWithZoo})
