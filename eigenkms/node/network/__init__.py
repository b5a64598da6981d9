"""The node's traffic: connections to all operators, what it answers to them and to clients, what it fetches from them."""
