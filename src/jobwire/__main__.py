"""``python -m jobwire``: the command line."""

from jobwire.cli import main

if __name__ == "__main__":
    main()
