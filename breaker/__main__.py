"""`python -m breaker`: the same as the command `breaker`. It decides nothing."""

from breaker.cli import main

raise SystemExit(main())
