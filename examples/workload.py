"""What an application does first inside a Confidential Space VM: it fetches its secrets, by right of what it is.

    $ python examples/workload.py client.toml 0x… [/run/container_launcher/teeserver.sock]

The launcher of the VM attests which image runs, and with which arguments, in a token for each operator; operators compare that with
the application's release on chain. No key is in the image, and nothing of this is written to disk.

Where the program cannot be changed, ``eigenkms exec --app-id 0x… --attest gcp -- program`` does the same for it.
"""

import sys
from pathlib import Path

import trio
from network import read_settings

from eigenkms.client import AppId, ConfidentialSpaceAttester, Secrets, open_client

LAUNCHER = "/run/container_launcher/teeserver.sock"


async def fetch(settings_file: Path, app_id: AppId, attester: ConfidentialSpaceAttester) -> Secrets:
    async with open_client(read_settings(settings_file)) as client:
        return await client.fetch_secrets(app_id, attester)


def main(settings_file: str, app_id: str, socket: str = LAUNCHER) -> None:
    attester = ConfidentialSpaceAttester("gcp", socket=Path(socket))
    secrets = trio.run(fetch, Path(settings_file), AppId(app_id), attester)
    print(f"serving with {secrets}")


if __name__ == "__main__":
    main(*sys.argv[1:])
