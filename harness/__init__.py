"""Runs studies of text-to-image person retrieval and keeps what they measured."""
