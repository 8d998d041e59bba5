"""Makes the bundled model's calibration; minutes on two cores.

python docs/studies/scripts/calibrate_tiny.py [EXAMPLES]
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import lvlmscope as lv
from lvlmscope.tiny import scenes

HERE = Path(__file__).parents[3]
EXAMPLES = 600


def main() -> None:
    """Writes lvlmscope/tiny/calibration.json from scenes of the `tune` split, which no test uses."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else EXAMPLES
    examples = ((scene.image, scene.present) for scene in scenes("tune", n=count))
    found = lv.calibrate(lv.load("tiny"), examples)
    # The signals as they were: git's name of the folder's contents, which a later rebase does not change
    git = subprocess.run(["git", "rev-parse", "HEAD:diagnostics"], cwd=HERE, capture_output=True, text=True, check=True)  # noqa: S607
    made_with = found.made_with | {"split": "tune", "diagnostics_tree": git.stdout.strip()}
    replace(found, made_with=made_with).save(HERE / "lvlmscope/tiny/calibration.json")


if __name__ == "__main__":
    main()
