"""The one exception for bad input: it ends a command with a clear message, not a traceback."""


class InputError(SystemExit):
    """Bad input from a person. The message says what was found, where, and what would do.

    As a SystemExit with a text it prints that text to stderr and exits with status 1 from any command, nerfstudio's
    included. `except Exception` does not swallow it.
    """

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(f"error: {message}")


def describe(error: BaseException) -> str:
    """What went wrong, for a page."""
    return error.message if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
