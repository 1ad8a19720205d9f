"""`python -m tsfm_adapt` is `tsfm-adapt`."""

from tsfm_adapt.cli import main

if __name__ == "__main__":
    main()
