"""`python -m pounce` and the `pounce` script."""

from __future__ import annotations


def main() -> None:
    """The `pounce` command."""
    # Here, because multiprocessing runs the `pounce` script in every server process, up to `if __name__ ...`.
    try:
        from pounce.cli import main as command
    except KeyboardInterrupt:  # What a shell shows for it; where is nobody's business.
        raise SystemExit(130) from None
    command()


if __name__ == "__main__":
    main()
