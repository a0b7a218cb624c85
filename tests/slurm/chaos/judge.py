"""Whether a case went as the contract says. Pure."""

from .faults import Fault
from .run import Result

_STATES = {"completes": {"COMPLETED"}, "cancelled": {"CANCELLED"}, "stops": {"FAILED"}}


def problems(fault: Fault, result: Result) -> list[str]:
    """All that is wrong with a case; nothing if it is green."""
    if result.problem:
        return [result.problem]
    checks = (
        _wrong_end,
        _wrong_outcome,
        _wrong_state,
        _too_much_lost,
        _two_at_once,
        _disturbed_neighbours,
    )
    found = [text for check in checks if (text := check(fault, result))]
    if result.left_behind:
        found.append(f"left behind: {result.left_behind}")
    return found


def _wrong_end(fault: Fault, result: Result) -> str:
    if (fault.end == "completes") != result.has_completed:
        return "did not complete" if fault.end == "completes" else "completed"
    if result.has_completed and not result.is_identical:
        return "the end differs from the undisturbed run's"
    return ""


def _wrong_outcome(fault: Fault, result: Result) -> str:
    ended = [word for word in result.outcomes if word != "completed"]
    if wrong := sorted({word for word in ended if word not in fault.outcomes}):
        return f"outcome {', '.join(wrong)}, not {' or '.join(sorted(fault.outcomes)) or 'any'}"
    if fault.outcomes and not ended:
        return "no life has an outcome, but one was disturbed"
    if result.has_completed and list(result.outcomes)[-1:] != ["completed"]:
        return "it completed, and its record does not say so"
    return ""


def _wrong_state(fault: Fault, result: Result) -> str:
    wanted = _STATES[fault.end]
    return "" if result.state in wanted else f"SLURM says {result.state}, not {sorted(wanted)[0]}"


def _too_much_lost(fault: Fault, result: Result) -> str:
    lives, lost = len(result.journal.lives), result.journal.steps_lost
    allowed = fault.most_lost * max(lives - 1, 0)
    return f"{lost} steps lost, at most {allowed} may be" if lost > allowed else ""


def _two_at_once(fault: Fault, result: Result) -> str:
    del fault
    pairs = [f"{earlier} and {later}" for earlier, later in result.journal.overlaps]
    return f"two lives at once: {', '.join(pairs)}" if pairs else ""


def _disturbed_neighbours(fault: Fault, result: Result) -> str:
    if all(lives == 1 and has_completed for lives, has_completed in result.neighbours):
        return ""
    return f"other array elements: {list(result.neighbours)} lives and completions"
