"""Measurements of cnnprof itself, as ratios of medians within one run: `python -m benchmarks.NAME --help`.

A benchmark is no test: it marks a line that is over its bound and still exits with 0.
"""
