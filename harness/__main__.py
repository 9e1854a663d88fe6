"""`python -m harness`."""

from harness.cli.verbs import main

if __name__ == "__main__":
    main()
