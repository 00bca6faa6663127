"""`python -m dcal.cli` is `dcal`."""

from dcal.cli.app import main

if __name__ == "__main__":
    main()
