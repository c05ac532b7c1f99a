"""Machine types: what an app's machine_type names, and what it says of an image."""

from builder.machines.check import check_machines
from builder.machines.table import Machine, find_machines, known_machines, without_gpus

__all__ = ["Machine", "check_machines", "find_machines", "known_machines", "without_gpus"]
