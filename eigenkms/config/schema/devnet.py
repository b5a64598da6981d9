"""Settings of a devnet."""

from eigenkms.config import parsers as p
from eigenkms.config.settings import Setting

DEVNET = (
    Setting(
        "devnet_operators", p.integer(1, 64), "Operators to run.", int, default=4, flag_name="--operators"
    ),
    Setting(
        "devnet_engine",
        p.choice("embedded", "anvil"),
        "Chain to run on.",
        default="embedded",
        flag_name="--engine",
    ),
    Setting(
        "devnet_dir",
        p.path,
        "Folder for keys, logs and data.",
        is_path=True,
        flag_name="--dir",
        example="devnet",
    ),
    Setting(
        "devnet_policy",
        p.choice("open", "attested"),
        "Policy for partial signatures: open to everybody, or attested, by ecdsa if no other method is given.",
        default="open",
        flag_name="--policy",
    ),
    Setting(
        "devnet_anchor",
        p.boolean,
        "Run a second chain with a commitment registry, and anchor versions there.",
        bool,
        default=False,
        flag_name="--anchor",
    ),
    Setting(
        "devnet_scenario",
        p.choice("genesis", "rotation"),
        "Scenario that devnet run performs.",
        default="genesis",
        flag_name="--scenario",
    ),
    Setting(
        "devnet_rotations",
        p.integer(1, 1000),
        "Consecutive rotations in the scenario rotation.",
        int,
        default=20,
        flag_name="--rotations",
    ),
    Setting(
        "devnet_dead",
        p.integer(0, 100),
        "Operators that are down from genesis on in the scenario rotation; no other event happens then.",
        int,
        default=0,
        flag_name="--dead",
    ),
    Setting(
        "devnet_interval_blocks",
        p.integer(2, 1000),
        "Blocks between boundaries.",
        int,
        flag_name="--interval-blocks",
        example="10",
    ),
    Setting(
        "devnet_block_seconds",
        p.seconds(0.1, 60),
        "Seconds between blocks.",
        float,
        flag_name="--block-seconds",
        example="1",
    ),
    Setting(
        "devnet_window_seconds",
        p.seconds(0.05, 60),
        "Length of a protocol window.",
        float,
        flag_name="--window-seconds",
        example="1",
    ),
)
