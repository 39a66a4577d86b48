#!/usr/bin/env python3
"""The benchmark of igdm against PyTorch. `make bench` runs it; see README.md beside this file."""

import sys

from igdm_bench.command import main

if __name__ == "__main__":
    sys.exit(main())
