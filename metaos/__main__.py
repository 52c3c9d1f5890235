"""The `metaos` command and `python -m metaos`: ready for Ctrl-C before the rest is imported."""

import sys


def main() -> None:
    """Run the command; Ctrl-C while it is being loaded is one line and exit code 130."""
    try:
        from metaos.cli import main as command
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None
    command()


if __name__ == "__main__":
    main()
