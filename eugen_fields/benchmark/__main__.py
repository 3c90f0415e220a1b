"""`python -m eugen_fields.benchmark` is `eugen-bench`."""

from eugen_fields.benchmark.cli import main

if __name__ == "__main__":
    main()
