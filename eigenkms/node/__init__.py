"""The operator node: engine, network, HTTP API and monitor."""
