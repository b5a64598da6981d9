"""Helpers of the verbs: options, input, output, and calls of the library."""
