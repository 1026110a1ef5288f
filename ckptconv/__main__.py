"""`python -m ckptconv`."""

from ckptconv.cli import main

if __name__ == "__main__":
    main()
