"""The operator node: engine, network, authorisation, HTTP API and monitor."""
