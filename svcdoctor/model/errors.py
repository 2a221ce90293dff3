"""The one error for what a user, a dump or a cluster did wrong, and the kind of it that callers tell apart."""


class SvcdoctorError(Exception):
    """Something outside the program is wrong and a person can mend it.

    ``message`` is one line that names the thing, what was wrong and what to do. ``exit_code`` is the
    process's exit code: 2 for bad usage or unreadable input, 3 when the answer could not be determined
    (API unreachable, credentials refused, a required fact forbidden), 1 for a missing Service.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


class Forbidden(SvcdoctorError):
    """The API server knows the user, and refuses; ``message`` says what to grant."""


class NoWay(SvcdoctorError):
    """The target exists, and has no way in of the kind that was asked for."""
