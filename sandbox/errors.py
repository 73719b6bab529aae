"""Errors of the sandbox itself; a bad candidate never raises one of these."""


class SandboxError(Exception):
    """The sandbox failed in some way; exit code 1."""

    exit_code = 1


class SandboxUnavailableError(SandboxError):
    """No sandbox can be created here; the message names the next step; exit code 4."""

    exit_code = 4


class SandboxBrokenError(SandboxError):
    """The sandbox stopped working and a fresh container does not help; stop and keep the state."""
