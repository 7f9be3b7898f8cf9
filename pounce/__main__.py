"""`python -m pounce` and the `pounce` script."""

from __future__ import annotations


def main() -> None:
    """The `pounce` command."""
    # Here, because multiprocessing runs the `pounce` script in every server process, up to `if __name__ ...`.
    from pounce.cli import main as command

    command()


if __name__ == "__main__":
    main()
