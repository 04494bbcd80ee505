"""Run all benchmarks, each in a new process, from the project's root.

    python -m benchmarks [--quick] [--seconds S]

They print tables, and write JSON files and pictures to benchmarks/results/.
"""

import subprocess
import sys
from pathlib import Path

SCRIPTS = ("lenet", "kernels", "layers", "scaling", "mnist99", "distributed", "scaling_out")


def main():
    """Run every script, even if one fails; the exit message names those that failed."""
    codes = {}
    for name in SCRIPTS:
        script = Path(__file__).with_name(f"{name}.py")
        codes[name] = subprocess.run([sys.executable, str(script), *sys.argv[1:]]).returncode
    failed = [name for name, code in codes.items() if code]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
