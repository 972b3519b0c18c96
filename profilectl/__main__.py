"""`python -m profilectl` is the command profilectl."""

from profilectl.cli import main

if __name__ == "__main__":
    main()
