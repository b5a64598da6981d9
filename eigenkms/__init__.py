"""eigenkms: a master secret that operators of an EigenLayer AVS hold by threshold.

The layers, from the top: ``cli``; ``devnet``, ``node`` and ``client``; ``p2p``, ``chain``, ``storage`` and
``attestation``; ``protocols``; ``crypto``. Nothing imports upwards; the gate checks it.
"""

from importlib.metadata import version

__version__ = version("eigenkms")
