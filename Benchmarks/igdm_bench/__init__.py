"""Measures igdm against PyTorch: the same work on both sides, each in a process of its own, in turns."""
