"""Verification: train again and compare, explain an identity, diagnose a machine."""
