"""The errors of the lab: what happened, where, and what to do about it."""


class LabError(Exception):
    """Say in three parts why the lab can not do what was asked."""

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        """Join the parts to one message of up to three paragraphs."""
        parts = [what, where and f"in {where}", hint and f"hint: {hint}"]
        super().__init__("\n".join(part for part in parts if part))


class CommandFailedError(LabError):
    """A command inside the lab ended badly; holds what it had written until then."""

    def __init__(self, what: str, *, returncode: int | None, stdout: str, stderr: str) -> None:
        """Show both streams, for they hold the reason."""
        super().__init__(f"{what}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr
