"""Measures how exactly igdm computes: see igdm_numerics/document.py. Run by `make numerics`."""

import sys

from igdm_numerics.document import main

if __name__ == "__main__":
    sys.exit(main())
