"""`python -m breaker`: the same as the command `breaker`. It decides nothing."""

from breaker.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
