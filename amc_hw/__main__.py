"""``python -m amc_hw`` is the command ``amc-hw``."""

from amc_hw.cli import main

if __name__ == "__main__":
    main()
