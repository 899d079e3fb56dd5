"""`python -m cnnprof`."""

from cnnprof.cli import main

main()
