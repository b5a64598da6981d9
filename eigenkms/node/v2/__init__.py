"""Protocol 2 in the node: engine, links and services over its machines; ``node.app`` still runs protocol 1."""
