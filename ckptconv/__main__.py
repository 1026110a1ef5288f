"""`python -m ckptconv`."""

from ckptconv.cli.main import main

if __name__ == "__main__":
    main()
