"""Requests and answers on long-lived streams, and the bytes that they may hold."""
