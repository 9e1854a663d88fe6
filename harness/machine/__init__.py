"""This machine: files, paths, seeds, devices, progress, errors, passwords. Imports nothing above it."""
