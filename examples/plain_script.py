"""A script that knows nothing of trio: it encrypts for an application, and decrypts as its creator.

    $ python examples/plain_script.py my-devnet 0x…

Each call connects, asks, and closes. From asyncio: ``await asyncio.to_thread(sync.decrypt, …)``.
"""

import sys
from pathlib import Path

from network import read_settings

from eigenkms.client import AppId, EcdsaAttester, sync

folder, app_id = Path(sys.argv[1]), AppId(sys.argv[2])
settings = read_settings(folder / "client.toml")
creator = EcdsaAttester(bytes.fromhex((folder / "creator.key").read_text()))

ciphertext = sync.encrypt(settings, app_id, b"attack at dawn")
print(f"{len(ciphertext)} bytes of ciphertext")
print(sync.decrypt(settings, app_id, ciphertext, creator).decode())
