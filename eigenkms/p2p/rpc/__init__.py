"""Requests and answers on long-lived streams, with the bytes that they may hold."""
