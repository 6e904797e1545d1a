import sys

from deepcosmo.cli import main

if __name__ == "__main__":
    sys.exit(main())
