"""``python -m slowfast_zoo``: the command line."""

from slowfast_zoo.cli import main

if __name__ == "__main__":
    main(prog_name="slowfast-zoo")
