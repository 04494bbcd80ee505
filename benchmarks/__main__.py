"""All benchmarks one after the other, each in a process of its own, from the project's root.

    python -m benchmarks [--quick] [--seconds S]

Tables are printed; JSON and pictures are left in benchmarks/results/.
"""

import subprocess
import sys
from pathlib import Path

SCRIPTS = ("lenet", "kernels", "scaling", "mnist99")


def main():
    """Run every script, also after one failed, and end with how many failed."""
    codes = {}
    for name in SCRIPTS:
        script = Path(__file__).with_name(f"{name}.py")
        codes[name] = subprocess.run([sys.executable, str(script), *sys.argv[1:]]).returncode
    failed = [name for name, code in codes.items() if code]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
