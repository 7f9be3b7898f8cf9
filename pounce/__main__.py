"""`python -m pounce` is the `pounce` command."""

from __future__ import annotations

from pounce.cli import main

if __name__ == "__main__":
    main()
