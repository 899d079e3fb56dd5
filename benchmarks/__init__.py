"""Measurements of cnnprof, and of the tools that people use today beside it: `python -m benchmarks --help`.

A benchmark is no test: it marks a line that is over its bound, tells where a peer is better, and still exits with 0. The peers come
with the extra `bench`; one that is not installed is named and left out.
"""
