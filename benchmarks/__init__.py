"""Side-by-side measurements of pounce and its peers: `python -m benchmarks --help`."""
