"""`python -m airlock.cli`: the same as `airlock`."""

from airlock.cli import main

main()
