"""The errors a caller can act on."""


class InputError(ValueError):
    """Something the user gave cannot be used: the message says what, and what to do."""


class UnreachableError(InputError):
    """Something outside this machine did not answer: trying again may help."""
