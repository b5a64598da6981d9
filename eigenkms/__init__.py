"""eigenkms: a master secret that operators of an EigenLayer AVS hold by threshold.

CONTRIBUTING.md has the tree of its packages, and ``pyproject.toml`` their layers. Nothing imports upwards, which the gate checks.
"""

from importlib.metadata import version

__version__ = version("eigenkms")
