"""`python -m sharpaudit` is `sharpaudit`."""

from sharpaudit.cli import main

main()
