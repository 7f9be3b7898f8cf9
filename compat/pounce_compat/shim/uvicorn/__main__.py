"""`python -m uvicorn`."""

import sys

from . import main

uvicorn = sys.modules[str(__package__)]

if __name__ == "__main__":
    main()
