"""Why a network cannot be evaluated by a kernel."""


class Unsupported(ValueError):
    """A kernel cannot evaluate or train this network; the message is the reason, in words for one log line."""
