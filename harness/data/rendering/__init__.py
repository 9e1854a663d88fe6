"""Rendered pedestrians: attributes of people, pictures of them, and captions of each picture."""
