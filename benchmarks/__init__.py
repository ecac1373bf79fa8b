"""Benchmarks as ratios to other code in the same run: `python3 dev.py bench`."""
