"""How fast it is, as ratios against opponents in the same run: `python3 dev.py bench`."""
