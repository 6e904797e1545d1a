"""Test cases of builders whose input is made up when they run."""

import tempfile
from pathlib import Path


class MadeUp:
    """Goes before `DatasetBuilderTestCase` among the bases; `write(folder)` makes the input."""

    write = None

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.EXAMPLE_DIR = folder.name
        cls.write(Path(folder.name))
        super().setUpClass()
