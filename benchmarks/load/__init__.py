"""The load generators, and what one run of them found."""
