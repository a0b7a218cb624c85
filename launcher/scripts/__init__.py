"""What is wrong with a batch script that somebody wrote by hand, and what to use instead.

Nothing of a script is run: its directives, and as much of its shell as can be known by reading,
are compared with each other, with what the training is told, and with the nodes of the site.
"""

from launcher.scripts.case import Measured
from launcher.scripts.examining import Examined, doctor_script, examine
from launcher.scripts.findings import ScriptFinding
from launcher.scripts.judging import judge
from launcher.scripts.showing import show

__all__ = ["Examined", "Measured", "ScriptFinding", "doctor_script", "examine", "judge", "show"]
