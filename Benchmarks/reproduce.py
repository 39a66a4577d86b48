"""Whether IGDM helps, on Fashion-MNIST: see igdm_reproduction/command.py. Run by `make reproduce`."""

import sys

from igdm_reproduction.command import main

if __name__ == "__main__":
    sys.exit(main())
